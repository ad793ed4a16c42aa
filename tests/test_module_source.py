"""Guards against Modules of the cluster that are read otherwise than from files, and against left-out files.

A Module that is not read is deleted, and its kernel module unloaded.
"""

import json

import pytest
import yaml
from module_files import FULL, MINIMAL

from kmm.errors import SettingsError
from kmm.loading import load_modules
from kmm.module_source import Source
from kmm.problems import DefinitionError
from kmm.settings import read_settings


def live(text=MINIMAL, **metadata):
    """What the API server makes of a Module file."""
    module = yaml.safe_load(text)
    module["metadata"] |= {"namespace": "drivers", "uid": "7f3a", "resourceVersion": "12"} | metadata
    return module | {"status": {"moduleLoader": {"desiredNumber": 1}}}


def settings(**own):
    given = {f"kmm:{key}": value if isinstance(value, str) else json.dumps(value) for key, value in own.items()}
    return read_settings("kmm", {"PULUMI_CONFIG": json.dumps(given)})


class TestSettings:
    @pytest.mark.parametrize(
        ("own", "source"),
        [
            ({"modules": ["a"]}, Source.FILES),
            ({"modules": ["a"], "source": "files"}, Source.FILES),
            ({"modules": ["a"], "source": "both"}, Source.BOTH),
            ({"source": "cluster"}, Source.CLUSTER),
            ({"source": "cluster", "modules": []}, Source.CLUSTER),
        ],
    )
    def test_each_source_has_what_it_needs(self, own, source):
        assert settings(**own).source is source

    @pytest.mark.parametrize(
        ("own", "said"),
        [
            ({}, "kmm:modules is not set. Set it: pulumi config set"),
            ({"modules": []}, "kmm:modules is not set"),
            ({"source": "both"}, "kmm:modules is not set"),
            ({"source": "cluster", "modules": ["a"]}, "kmm:modules: is not read, as source is cluster"),
            ({"source": "crd", "modules": ["a"]}, "kmm:source: .*'files', 'cluster' or 'both'"),
        ],
    )
    def test_files_are_neither_forgotten_nor_left_out_in_silence(self, own, said):
        with pytest.raises(SettingsError, match=said):
            settings(**own)


class TestLoading:
    @pytest.mark.parametrize("text", [MINIMAL, FULL], ids=["minimal", "full"])
    def test_an_object_means_what_its_file_means(self, tmp_path, text):
        file = tmp_path / "module.yaml"
        file.write_text(yaml.safe_dump(live(text)))
        assert load_modules([], [live(text)]).modules == load_modules([file]).modules

    def test_what_is_wrong_names_the_object_and_the_field(self):
        wrong = live()
        wrong["spec"]["moduleLoader"]["container"]["kernelMappings"][0]["regex"] = "^.+$"
        with pytest.raises(DefinitionError) as caught:
            load_modules([], [wrong, live(name="other", selektor={})])
        first, second = str(caught.value).splitlines()
        assert first.startswith("cluster object drivers/my-kmod: spec.moduleLoader.container.kernelMappings[0].regex: ")
        assert second.startswith("cluster object drivers/other: metadata.selektor: ")

    def test_one_module_in_both_places_is_an_error_that_names_both(self, tmp_path):
        file = tmp_path / "module.yaml"
        file.write_text(yaml.safe_dump(live()))
        with pytest.raises(DefinitionError) as caught:
            load_modules([file], [live()])
        assert f"cluster object drivers/my-kmod: metadata.name: drivers/my-kmod is defined in {file}:1 already" in str(
            caught.value
        )

    def test_modules_of_both_places_come_together_in_order(self, tmp_path):
        file = tmp_path / "module.yaml"
        file.write_text(yaml.safe_dump(live(name="b")))
        loaded = load_modules([file], [live(name="c"), live(name="a")])
        assert [module.key for module in loaded.modules] == ["drivers/a", "drivers/b", "drivers/c"]
        assert str(loaded.sources["drivers/a"]) == "cluster object drivers/a"

    def test_warnings_are_given_for_objects_too(self):
        text = MINIMAL.replace("my-kmod:6.0.15-300.fc37.x86_64", "my-kmod:latest")
        (warning,) = load_modules([], [live(text)]).warnings
        assert str(warning).startswith("cluster object drivers/my-kmod: spec.")
