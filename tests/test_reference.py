"""Guards against reference pages that tell of settings, fields, commands or labels as they once were."""

import pytest
import yaml

from kmm import names
from kmm.settings import Settings
from tools.reference import EXAMPLE, FOLDER, key_names, pages


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.name)
def test_the_committed_page_is_what_the_code_says(path):
    assert path.read_text() == pages()[path], "run `make docs`"


def test_there_are_no_other_pages():
    assert set(FOLDER.iterdir()) == set(pages())


def test_the_example_has_every_setting_and_the_program_takes_it():
    given = {key.removeprefix("kmm:"): value for key, value in yaml.safe_load(EXAMPLE).items()}
    settings = Settings.model_validate(given)
    assert settings.model_fields_set == set(Settings.model_fields)
    for inner in (settings.rollout, settings.build, settings.sign):
        assert inner.model_fields_set == set(type(inner).model_fields)


def test_every_key_that_the_project_uses_is_in_the_page_of_labels():
    page = (FOLDER / "labels.md").read_text()
    used = {value for value in vars(names).values() if isinstance(value, str) and "k8s.io/" in value}
    used |= {names.KERNEL_LABEL, names.ready_label("NAMESPACE", "NAME")}
    apart = {names.NODE_PREFIX, names.API_VERSION, names.NFD_API_VERSION}
    assert [key for key in used - apart if f"`{key}`" not in page] == []
    assert len(key_names()) == page.count("\n| `")
