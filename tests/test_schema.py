"""Guards against editors and API servers that judge Module files otherwise than `validate` does."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from commands import GOLDEN
from commands import kmm as run_kmm
from module_files import FULL, MINIMAL

import kmm.definition
from kmm.definition.descriptions import DESCRIPTIONS
from kmm.definition.model import Definition

SCHEMA = Path(__file__).parents[1] / "schema"
SPECIFICATION = (GOLDEN / "specification" / "module.yaml").read_text()


@pytest.fixture(scope="module")
def schema():
    return json.loads(run_kmm("schema").stdout)


def problems(schema, text):
    """Paths of what an editor underlines."""
    return [problem.json_path for problem in jsonschema.Draft7Validator(schema).iter_errors(yaml.safe_load(text))]


def changed(path, value):
    """The minimal Module file with the value at a dotted path replaced, or removed for None."""
    document = yaml.safe_load(MINIMAL)
    *parents, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    place = document
    for step in parents:
        place = place[step]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return yaml.safe_dump(document)


CONTAINER = "spec.moduleLoader.container"
MAPPING = f"{CONTAINER}.kernelMappings.0"
WRONG = [
    pytest.param("metadata.name", "Upper", id="name"),
    pytest.param("kind", "Modul", id="kind"),
    pytest.param("spec.selector", None, id="no selector"),
    pytest.param("spec.selektor", {}, id="unknown key"),
    pytest.param(f"{CONTAINER}.imagePullPolicy", "Sometimes", id="closed word list"),
    pytest.param(f"{CONTAINER}.kernelMappings", [], id="no mapping"),
    pytest.param(f"{CONTAINER}.kernelMappings.0.regexp", "^.+$", id="literal and regexp"),
    pytest.param(f"{CONTAINER}.kernelMappings.0.literal", None, id="neither literal nor regexp"),
    pytest.param(f"{CONTAINER}.kernelMappings.0.containerImage", None, id="no image"),
    pytest.param(f"{MAPPING}.literal", "", id="empty literal"),
    pytest.param(f"{MAPPING}.containerImage", "", id="empty image"),
    pytest.param(f"{CONTAINER}.modprobe.moduleName", "", id="empty module name"),
    pytest.param(f"{CONTAINER}.modprobe.moduleName", None, id="nothing to load"),
    pytest.param(f"{CONTAINER}.modprobe.rawArgs", {"load": ["a"], "unload": ["b"]}, id="two things to load"),
    pytest.param(f"{CONTAINER}.modprobe.parameters", "debug=1", id="text for a list"),
    pytest.param(f"{CONTAINER}.modprobe.moduleName", "a/b.ko/", id="module name"),
    pytest.param("spec.devicePlugin", {"container": {}}, id="no plugin image"),
    pytest.param(
        "spec.devicePlugin", {"container": {"image": "a", "resources": {"limits": {"cpu": "much"}}}}, id="quantity"
    ),
    pytest.param("spec.tolerations", [{"operator": "Is"}], id="toleration"),
]


@pytest.mark.parametrize("text", [MINIMAL, FULL, SPECIFICATION], ids=["minimal", "full", "specification"])
def test_the_schema_takes_valid_files(schema, text):
    assert problems(schema, text) == []
    for kind in ("List", "ModuleList"):
        assert problems(schema, yaml.safe_dump({"kind": kind, "items": [yaml.safe_load(text)]})) == []


RAW = {"load": ["a"], "unload": ["-r", "a"]}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param(f"{CONTAINER}.modprobe", {"moduleName": "", "rawArgs": RAW}, id="rawArgs"),
        pytest.param(f"{CONTAINER}.modprobe", {"moduleName": "a", "dirName": ""}, id="no folder"),
        pytest.param(f"{MAPPING}", {"literal": "", "regexp": "^.+$", "containerImage": "a:1"}, id="regexp"),
        pytest.param(f"{MAPPING}", {"literal": "6.1.0", "regexp": "", "containerImage": "a:1"}, id="literal"),
    ],
)
def test_the_empty_text_is_not_given_to_the_schema_either(schema, tmp_path, path, value):
    text = changed(path, value)
    (tmp_path / "module.yaml").write_text(text)
    assert run_kmm("validate", tmp_path / "module.yaml").returncode == 0
    assert problems(schema, text) == []


@pytest.mark.parametrize(("path", "value"), WRONG)
def test_the_schema_refuses_what_validate_refuses(schema, tmp_path, path, value):
    text = changed(path, value)
    (tmp_path / "module.yaml").write_text(text)
    assert run_kmm("validate", tmp_path / "module.yaml").returncode == 1
    assert problems(schema, text) != []


@pytest.mark.parametrize("file", sorted((SCHEMA.parent / "stacks").rglob("*/*.yaml")), ids=lambda file: file.name)
def test_editors_find_the_schema_of_our_examples_which_keep_it(schema, file):
    first, _, text = file.read_text().partition("\n")
    reference = first.removeprefix("# yaml-language-server: $schema=")
    assert (file.parent / reference).resolve() == SCHEMA / "module.json"
    assert problems(schema, text) == []


@pytest.mark.parametrize("kind", ["List", "ModuleList"])
def test_the_schema_looks_into_lists(schema, kind):
    wrong = {"apiVersion": "v1", "kind": kind, "items": [yaml.safe_load(changed("metadata.name", "Upper"))]}
    assert problems(schema, yaml.safe_dump(wrong)) == ["$.items[0].metadata.name"]


def test_the_schema_is_a_schema(schema):
    jsonschema.Draft7Validator.check_schema(schema)


def test_every_field_is_described_once():
    members = [getattr(kmm.definition, name) for name in kmm.definition.__all__]
    models = [member for member in members if isinstance(member, type) and issubclass(member, Definition)]
    fields = {f"{model.__name__}.{field.alias}" for model in models for field in model.model_fields.values()}
    assert set(DESCRIPTIONS) == fields


@pytest.mark.parametrize(
    ("file", "arguments"), [("module.json", []), ("crd.yaml", ["--crd"])], ids=["JSON Schema", "CRD"]
)
def test_the_files_in_the_repository_are_what_the_command_prints(pytestconfig, file, arguments):
    printed = run_kmm("schema", *arguments).stdout
    if pytestconfig.getoption("--update-golden"):
        (SCHEMA / file).write_text(printed)
    assert (SCHEMA / file).read_text() == printed, "write it anew: make golden"
