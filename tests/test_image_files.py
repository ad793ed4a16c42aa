"""Guards against a module reported as there that modprobe would not find, or as missing though it would."""

import pytest

from kmm.image_files import Entry, FoundModules, ImageFiles, Kind, ModuleFolder, module_name

FOLDER = "opt/lib/modules/6.1"
INDEX = f"{FOLDER}/modules.dep"


def find(*layers, modules=("my_kmod",), folder=FOLDER):
    """The answer for layers, topmost first, written as `tar` does in `image_store`."""
    files = ImageFiles([ModuleFolder(folder, modules)])
    for layer in layers:
        for path, text in layer.items():
            kind = Kind.FOLDER if path.endswith("/") else Kind.LINK if text.startswith("-> ") else Kind.FILE
            files.add(Entry(path.rstrip("/"), kind, text.removeprefix("-> ")))
        files.end_layer()
    return files.found()[0]


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("my_kmod.ko", id="at the top"),
        pytest.param("extra/my_kmod.ko", id="in a subfolder"),
        pytest.param("updates/dkms/my_kmod.ko.xz", id="xz"),
        pytest.param("my_kmod.ko.gz", id="gz"),
        pytest.param("my_kmod.ko.zst", id="zst"),
        pytest.param("my-kmod.ko", id="with a dash"),
    ],
)
def test_a_module_is_found_wherever_modprobe_finds_it(path):
    found = find({f"{FOLDER}/{path}": "", INDEX: f"{path}:\n"})
    assert found == FoundModules((f"/{FOLDER}/{path}",), (), ())
    assert found.decided


@pytest.mark.parametrize(
    "layers",
    [
        pytest.param([{f"{FOLDER}/other.ko": ""}], id="another module"),
        pytest.param([{f"{FOLDER}/my_kmod.ko.bak": ""}], id="no module file"),
        pytest.param([{f"{FOLDER}/my_kmod.ko/": ""}], id="a folder"),
        pytest.param([{"opt/lib/modules/6.10/my_kmod.ko": ""}], id="another kernel"),
        pytest.param([{"lib/modules/6.1/my_kmod.ko": ""}], id="another folder"),
        pytest.param([{f"{FOLDER}/.wh.my_kmod.ko": ""}, {f"{FOLDER}/my_kmod.ko": ""}], id="removed by a layer above"),
        pytest.param([{"opt/.wh.lib": ""}, {f"{FOLDER}/my_kmod.ko": ""}], id="removed with its folder"),
        pytest.param([{f"{FOLDER}/.wh..wh..opq": ""}, {f"{FOLDER}/my_kmod.ko": ""}], id="folder made anew"),
        pytest.param([{"opt/lib": ""}, {f"{FOLDER}/my_kmod.ko": ""}], id="folder replaced by a file"),
        pytest.param([{f"{FOLDER}/my_kmod.ko/": ""}, {f"{FOLDER}/my_kmod.ko": ""}], id="file replaced by a folder"),
        pytest.param([{f"{FOLDER}/my_kmod.ko": "-> gone.ko"}], id="a link to nothing"),
        pytest.param([{f"{FOLDER}/my_kmod.ko": "-> my_kmod.ko"}], id="a link to itself"),
    ],
)
def test_what_modprobe_would_not_find_is_missing(layers):
    assert find(*layers).missing == ("my_kmod",)


def test_a_whiteout_does_not_hide_files_of_its_own_layer():
    layer = {f"{FOLDER}/.wh..wh..opq": "", f"{FOLDER}/.wh.my_kmod.ko": "", f"{FOLDER}/my_kmod.ko": ""}
    assert find(layer, {f"{FOLDER}/my_kmod.ko": ""}).missing == ()


@pytest.mark.parametrize(
    "layers",
    [
        pytest.param([{f"{FOLDER}/my_kmod.ko": "-> ../../../k.ko", "opt/k.ko": ""}], id="relative"),
        pytest.param([{f"{FOLDER}/my_kmod.ko": "-> /data/k.ko"}, {"data/k.ko": ""}], id="into a lower layer"),
        pytest.param([{"opt/lib": "-> ../usr/lib", "usr/lib/modules/6.1/my_kmod.ko": ""}], id="folder on the way"),
        pytest.param(
            [{"usr/lib/modules/6.1/my_kmod.ko": ""}, {"opt/lib": "-> /usr/lib"}], id="folder of a lower layer"
        ),
        pytest.param([{f"{FOLDER}/extra": "-> /data", "data/my_kmod.ko": ""}], id="folder below"),
        pytest.param(
            [{f"{FOLDER}/a.ko": "-> ../../../../../..//opt/../opt/k.ko", "opt/k.ko": ""}], id="beyond the root"
        ),
    ],
)
def test_links_are_followed_within_the_image(layers):
    modules = ("a",) if any(f"{FOLDER}/a.ko" in layer for layer in layers) else ("my_kmod",)
    assert find(*layers, modules=modules).missing == ()


def test_modules_below_the_links_to_headers_do_not_count():
    assert find({f"{FOLDER}/build": "-> /usr/src/linux", "usr/src/linux/my_kmod.ko": ""}).missing == ("my_kmod",)


@pytest.mark.parametrize(
    ("layer", "unindexed"),
    [
        pytest.param({}, None, id="no index"),
        pytest.param({INDEX: ""}, ("my_kmod",), id="empty"),
        pytest.param({INDEX: "extra/other.ko: my_kmod.ko\n"}, ("my_kmod",), id="only as a dependency"),
        pytest.param({INDEX: "/lib/modules/6.1/my-kmod.ko.xz: a.ko\n"}, (), id="by its full path"),
    ],
)
def test_the_index_must_list_the_module(layer, unindexed):
    found = find({f"{FOLDER}/my_kmod.ko": "", **layer})
    assert found.unindexed == unindexed
    assert found.decided is (unindexed is not None)


def test_the_index_of_the_upper_layer_counts():
    layers = [{INDEX: "other.ko:\n"}, {INDEX: "my_kmod.ko:\n", f"{FOLDER}/my_kmod.ko": ""}]
    assert find(*layers).unindexed == ("my_kmod",)


def test_every_module_of_the_order_is_asked_for():
    found = find({f"{FOLDER}/a.ko": "", INDEX: "a.ko:\n"}, modules=("a", "b"))
    assert found == FoundModules((f"/{FOLDER}/a.ko",), ("b",), ("b",))


@pytest.mark.parametrize(
    ("file", "name"), [("a-b.ko.zst", "a_b"), ("a.ko", "a"), (".ko", ""), ("a.ko.bz2", ""), ("ko", "")]
)
def test_module_files_are_known_by_their_names(file, name):
    assert module_name(file) == name
