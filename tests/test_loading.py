"""Guards reading Module files: a file that is left out (its Modules would be deleted), a problem without its place,
input that ends in a traceback."""

import os

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from module_files import FULL, MINIMAL

from kmm.loading import MAX_BYTES, load_modules
from kmm.problems import DefinitionError, Problem, Severity


def named(name, namespace="default"):
    return MINIMAL.replace("name: my-kmod", f"name: {name}\n  namespace: {namespace}")


def listed(*texts, kind="List"):
    return yaml.safe_dump({"apiVersion": "v1", "kind": kind, "items": [yaml.safe_load(text) for text in texts]})


@pytest.fixture
def write(tmp_path):
    """Writes a file below the test's folder and returns its path."""

    def write_file(content, name="modules.yaml"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write_file


def keys(*paths):
    return [module.key for module in load_modules(paths).modules]


def problems(*paths):
    with pytest.raises(DefinitionError) as caught:
        load_modules(paths)
    return caught.value.problems


def test_modules_come_sorted_with_their_sources(write):
    path = write("---\n".join([named("b"), named("a", "z"), named("a")]))
    loaded = load_modules([path])
    assert [module.key for module in loaded.modules] == ["default/a", "default/b", "z/a"]
    lines = MINIMAL.count("\n") + 1
    assert str(loaded.sources["default/b"]) == f"{path}:1"
    assert str(loaded.sources["z/a"]) == f"{path}:{lines + 2}"


@pytest.mark.parametrize("kind", ["List", "ModuleList"])
def test_lists_are_taken_apart(write, kind):
    assert keys(write(listed(named("a"), named("b"), kind=kind))) == ["default/a", "default/b"]


def test_a_problem_in_a_list_has_its_index_and_line(write):
    path = write(
        "kind: List\nitems:\n- kind: ConfigMap\n- " + MINIMAL.replace("\n", "\n  ").replace("Module", "Pod", 1)
    )
    first, second = problems(path)
    assert (first.field, first.line) == ("items[0].kind", 3)
    assert (second.field, second.line) == ("items[1].kind", 5)
    assert "'ConfigMap' is not read here" in first.message


@pytest.mark.parametrize(
    ("content", "field", "message"),
    [
        ("", "", "is empty"),
        ("# only a comment\n---\n", "", "is empty"),
        ("- a\n", "", "must be a Module, not a list"),
        ("text", "", "must be a Module, not 'text'"),
        ("kind: Modul", "kind", "did you mean Module?"),
        ("kind: [Module]", "kind", "a list is not read here"),
        ("kind: List", "items", "is required"),
        ("kind: List\nitems: {a: 1}", "items", "must be a list"),
        (b"a: \xff\xfe", "", "is not UTF-8"),
        (MINIMAL.encode("utf-16"), "", "is not UTF-8"),
        (b"a: \x00", "", "0x0 is not allowed"),
        (b" " * (MAX_BYTES + 1), "", "larger than 4 MiB"),
        ("a: !!python/object:os.system {}\n", "a", "is not supported"),
        ("[" * 100_000, "", "levels deep"),
    ],
    ids=lambda given: str(given)[:25],
)
def test_unusable_content_is_a_problem(write, content, field, message):
    path = write(content)
    found = problems(path)
    assert any(problem.field == field and message in problem.message for problem in found)
    assert {problem.file for problem in found} == {str(path)}


@pytest.mark.parametrize("prefix", [b"\xef\xbb\xbf", b"---\n", b"# note\n\n"], ids=["BOM", "marker", "comment"])
def test_harmless_beginnings_are_accepted(write, prefix):
    assert keys(write(prefix + MINIMAL.encode())) == ["default/my-kmod"]


def test_all_problems_of_all_files_come_at_once_in_order_of_place(write):
    second = write(
        MINIMAL.replace("moduleName: my_kmod", "moduleName: 1").replace("  name: my-kmod", "  name: A"), "b.yaml"
    )
    first = write("a: [\n", "a.yaml")
    found = problems(second, first)
    assert [(problem.file, problem.line) for problem in found] == [(str(first), 2), (str(second), 4), (str(second), 9)]
    assert str(found[2]) == (
        f"{second}:9: spec.moduleLoader.container.modprobe.moduleName: must be text, not 1; put it in quotes"
    )


def test_two_modules_of_one_name_are_an_error_that_names_both_places(write):
    first, second = write(MINIMAL, "a.yaml"), write("\n" + MINIMAL, "b.yaml")
    (problem,) = problems(first, second)
    assert (problem.file, problem.line, problem.field) == (str(second), 5, "metadata.name")
    assert f"default/my-kmod is defined in {first}:1 already" in problem.message


def test_one_name_in_two_namespaces_is_fine(write):
    assert keys(write(named("a", "x") + "---\n" + named("a", "y"))) == ["x/a", "y/a"]


def test_folders_are_read_with_subfolders_but_without_hidden_or_other_files(write, tmp_path):
    write(named("a"), "a.yaml")
    write(named("b"), "sub/b.yml")
    write(listed(named("c")), "sub/deeper/c.json")
    for name in (".hidden.yaml", ".git/d.yaml", "notes.txt"):
        write("not: a module", name)
    assert keys(tmp_path) == ["default/a", "default/b", "default/c"]


def test_globs_are_expanded(write, tmp_path):
    write(named("a"), "a.yaml")
    write(named("b"), "sub/b.yaml")
    write("no module", "sub/b.txt")
    assert keys(f"{tmp_path}/*.yaml") == ["default/a"]
    assert keys(f"{tmp_path}/**/*.yaml") == ["default/a", "default/b"]


def test_a_file_reached_twice_is_read_once(write, tmp_path):
    path = write(MINIMAL)
    (tmp_path / "link.yaml").symlink_to(path)
    assert keys(path, tmp_path, f"{tmp_path}/*.yaml", tmp_path / "." / path.name) == ["default/my-kmod"]


def test_linked_folders_are_followed_and_loops_end(write, tmp_path):
    write(MINIMAL, "elsewhere/a.yaml")
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "modules" / "loop").symlink_to(tmp_path / "modules")
    assert keys(tmp_path / "modules") == ["default/my-kmod"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "No such file"),
        (lambda path: path.symlink_to(path.parent / "nowhere"), "No such file"),
        (lambda path: path.symlink_to(path), "cannot be read"),
        (os.mkfifo, "not a regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
        (lambda path: path.mkdir(), "holds no files named *.yaml, *.yml, *.json"),
    ],
    ids=["missing", "broken link", "link to itself", "FIFO", "device", "empty folder"],
)
def test_unusable_paths_are_problems(tmp_path, make, message):
    path = tmp_path / "modules.yaml"
    make(path)
    (problem,) = problems(path)
    assert problem.file == str(path)
    assert message in problem.message


@pytest.mark.parametrize("path", ["", "a\0b", "x" * 5000, "nothing-*.yaml"], ids=["empty", "NUL", "long", "glob"])
def test_impossible_paths_are_problems(path):
    assert len(problems(path)) == 1


@pytest.mark.parametrize("pattern", ["", "*/*.yaml", "**/*.yaml", "l*/b.yaml"])
def test_an_unreadable_subfolder_is_a_problem_not_a_shorter_list(write, tmp_path, monkeypatch, pattern):
    write(MINIMAL, "a.yaml")
    locked = write(named("b"), "locked/b.yaml").parent
    scandir = os.scandir

    def refuse(path):
        if str(path) == str(locked):
            raise PermissionError(13, "Permission denied", str(locked))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)  # root, as which tests may run, can read everything
    (problem,) = problems(tmp_path / pattern)
    assert (problem.file, problem.message) == (str(locked), "cannot be read: Permission denied")


def test_a_link_to_a_folder_that_is_not_there_is_a_problem(write, tmp_path):
    write(MINIMAL, "a.yaml")
    (tmp_path / "site").symlink_to(tmp_path / "not-mounted")
    (problem,) = problems(tmp_path)
    assert (problem.file, problem.message) == (str(tmp_path / "site"), "cannot be read: No such file or directory")


def test_warnings_do_not_stop_and_have_a_place(write):
    path = write(FULL.replace("registryTLS: {insecure: false}\n", "registryTLS: {insecure: true}\n"))
    loaded = load_modules([path])
    (warning,) = (found for found in loaded.warnings if "registryTLS" in found.field)
    assert warning == Problem(
        str(path),
        FULL[: FULL.index("registryTLS: {insecure: false}\n")].count("\n") + 1,
        "spec.moduleLoader.container.kernelMappings[1].registryTLS.insecure",
        Severity.WARNING,
        "allows plain HTTP: images can be replaced on their way",
    )


def test_the_number_of_problems_shown_is_limited(write):
    parameters = ", ".join(["1"] * 1000)
    path = write(MINIMAL.replace("moduleName: my_kmod", f"moduleName: my_kmod\n        parameters: [{parameters}]"))
    found = problems(path)
    assert len(found) == 101
    assert any(problem.message == "has 900 more problems" for problem in found)


def assert_only_definition_errors(path):
    try:
        load_modules([path])
    except DefinitionError as error:
        assert error.problems
        assert str(error)


any_value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def mutated_modules(draw):
    """The full Module with some of its values replaced by anything."""

    def mutate(value):
        if draw(st.integers(0, 30)) == 0:
            return draw(any_value)
        if isinstance(value, dict):
            return {key: mutate(inner) for key, inner in value.items()}
        return [mutate(inner) for inner in value] if isinstance(value, list) else value

    return yaml.safe_dump(mutate(yaml.safe_load(FULL)))


@pytest.mark.parametrize("content", [st.binary(), st.text().map(str.encode), mutated_modules().map(str.encode)])
def test_arbitrary_content_never_raises_anything_else(tmp_path, content):
    path = tmp_path / "fuzz.yaml"

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(content)
    def check(data):
        path.write_bytes(data)
        assert_only_definition_errors(path)

    check()
