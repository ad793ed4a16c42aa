"""Guards against kernels that boot into nothing: a Module said to be ready that is not, or the other way round.

Also against reading more of an image than the answer needs, and against answers from damaged layers.
"""

import base64
import json

import pytest
import yaml
from builders import ANY_KERNEL, BUILD, SIGN, module
from commands import kmm, write_module
from image_store import COMPRESSIONS, ImageStore, tar
from registries import Reply, ScriptedServer

from kmm.errors import RegistryError
from kmm.preflight import check_readiness
from tests.test_cluster import Answer, FakeApi
from tests.test_nodes import wire_list
from tools.images import MANIFEST

KERNEL = "6.1.0-32-amd64"
FOLDER = f"opt/lib/modules/{KERNEL}"
READY = tar({f"{FOLDER}/extra/kmod.ko": "module", f"{FOLDER}/modules.dep": "extra/kmod.ko:\n"})
UNINDEXED = tar({f"{FOLDER}/kmod.ko": "module"})
BASE = tar({f"usr/lib/{number}.so": "x" * 1000 for number in range(100)})
IMAGE = "org/kmod:1"


@pytest.fixture(autouse=True)
def no_logins(tmp_path, monkeypatch):
    for variable in ("REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "KUBECONFIG"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))


@pytest.fixture
def store():
    return ImageStore()


@pytest.fixture
def registry(store):
    with ScriptedServer(store) as registry:
        yield registry


def check(registry, *kernels, image=IMAGE, platform="linux/amd64", modprobe=None, **container):
    settings = {"containerImage": f"{registry.host}/{image}", "registryTLS": {"insecure": True}, **container}
    mapped = module(container=settings, modprobe=modprobe, mappings=container.get("kernelMappings", [ANY_KERNEL]))
    return check_readiness([mapped], kernels or [KERNEL], platform, {})


def only(results):
    assert len(results) == 1
    return results[0]


def layers_read(registry, store):
    read = (request.path.rpartition("/")[2] for request in registry.requests if request.method == "GET")
    return [digest for digest in read if digest in store.layers]


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_module_is_found_in_every_kind_of_layer(registry, store, compression):
    compress = COMPRESSIONS[compression]
    store.add_image(IMAGE, compress(BASE), compress(READY), compress(BASE))
    result = only(check(registry))
    assert (result.problem, result.files) == (None, (f"/{FOLDER}/extra/kmod.ko",))


def test_layers_below_the_module_are_not_read(registry, store):
    layers = BASE, READY, tar({"etc/motd": "hello"})
    store.add_image(IMAGE, *layers)
    assert only(check(registry)).problem is None
    assert layers_read(registry, store) == [
        store.add_blob("org/kmod", layer)["digest"] for layer in (layers[2], layers[1])
    ]


def test_an_index_without_the_module_ends_the_search(registry, store):
    """modprobe looks nowhere else, so that the layers below don't matter."""
    upper = tar({f"{FOLDER}/modules.dep": "other.ko:"})
    store.add_image(IMAGE, READY, upper)
    assert "modules.dep does not list kmod" in only(check(registry)).problem
    assert layers_read(registry, store) == [store.add_blob("org/kmod", upper)["digest"]]


@pytest.mark.parametrize(
    ("layers", "problem"),
    [
        pytest.param(
            [BASE],
            f"holds no kmod.ko (also .gz, .xz, .zst) below /{FOLDER}; copy it there, then run `depmod",
            id="no module",
        ),
        pytest.param(
            [],
            f"holds no kmod.ko (also .gz, .xz, .zst) below /{FOLDER}; copy it there, then run `depmod",
            id="no layers",
        ),
        pytest.param(
            [UNINDEXED],
            f"holds no /{FOLDER}/modules.dep, without which modprobe finds nothing; run `depmod -b /opt {KERNEL}`",
            id="no index",
        ),
        pytest.param(
            [tar({f"{FOLDER}/modules.dep": "other.ko:"}), UNINDEXED],
            f": /{FOLDER}/modules.dep does not list kmod; copy the module below /{FOLDER}, then run `depmod",
            id="old index",
        ),
    ],
)
def test_an_image_without_the_module_is_a_problem(registry, store, layers, problem):
    store.add_image(IMAGE, *layers)
    result = only(check(registry))
    assert result.problem.startswith(f"{registry.host}/{IMAGE}")
    assert problem in result.problem


def test_an_absent_image_that_nothing_makes_is_a_problem(registry):
    problem = only(check(registry)).problem
    assert "is not in its registry; push it, for no Job can make it: mapping 0 neither builds nor signs it" in problem


def test_a_kernel_without_mapping_is_a_problem(registry):
    assert only(check(registry, kernelMappings=[{"literal": "5.14"}])).problem == "no kernel mapping matches"


@pytest.mark.parametrize(
    ("container", "actions"),
    [
        pytest.param({"build": BUILD}, ["build", "load"], id="build"),
        pytest.param({"build": BUILD, "sign": SIGN}, ["build", "sign", "load"], id="build and sign"),
    ],
)
def test_an_image_that_will_be_built_is_no_problem(registry, container, actions):
    result = only(check(registry, **container))
    assert (result.problem, list(result.plan.actions)) == (None, actions)


def test_the_image_to_be_signed_is_searched(registry, store):
    unsigned = {"unsignedImage": f"{registry.host}/org/kmod:unsigned", "unsignedImageRegistryTLS": {"insecure": True}}
    sign = SIGN | unsigned
    assert "org/kmod:unsigned is not in its registry" in only(check(registry, sign=sign)).problem
    store.add_image("org/kmod:unsigned", BASE)
    assert "org/kmod:unsigned holds no kmod.ko" in only(check(registry, sign=sign)).problem
    store.add_image("org/kmod:unsigned", READY)
    assert only(check(registry, sign=sign)).problem is None
    del unsigned["unsignedImageRegistryTLS"]
    with pytest.raises(RegistryError, match="does not speak TLS"):
        check(registry, sign=SIGN | unsigned)


def test_the_folder_is_named_by_the_whole_kernel_release(registry, store):
    folder = "kmods/lib/modules/6.1.0+"
    store.add_image(IMAGE, tar({f"{folder}/kmod.ko": "", f"{folder}/modules.dep": "kmod.ko:"}))
    result = only(check(registry, "6.1.0+", modprobe={"moduleName": "kmod", "dirName": "/kmods/"}))
    assert (result.problem, result.files) == (None, (f"/{folder}/kmod.ko",))


def test_one_image_for_several_kernels_is_read_once(registry, store):
    other = FOLDER.replace("32", "33")
    layer = {f"{FOLDER}/kmod.ko": "", f"{FOLDER}/modules.dep": "kmod.ko:", f"{other}/other.ko": ""}
    store.add_image(IMAGE, tar(layer))
    results = check(registry, KERNEL, KERNEL.replace("32", "33"))
    assert [result.problem is None for result in results] == [True, False]
    assert len(layers_read(registry, store)) == 1


@pytest.mark.parametrize(
    "modprobe",
    [
        pytest.param({"rawArgs": {"load": ["kmod"], "unload": ["-r", "kmod"]}}, id="raw arguments"),
        pytest.param({"moduleName": "kmod", "dirName": "/"}, id="the node's own folder"),
    ],
)
def test_where_the_image_is_not_searched_a_note_says_so(registry, store, modprobe):
    store.add_image(IMAGE, BASE)
    result = only(check(registry, modprobe=modprobe))
    assert result.problem is None
    assert result.note.startswith("not searched")


def test_the_platform_chooses_from_an_index(registry, store):
    store.add_index(IMAGE, {"linux/amd64": READY, "linux/arm64": BASE, "unknown/unknown": b"attestation"})
    assert only(check(registry)).problem is None
    assert "holds no kmod.ko" in only(check(registry, platform="linux/arm64")).problem
    missing = only(check(registry, platform="linux/s390x")).problem
    assert "for linux/amd64, linux/arm64, unknown/unknown, not for linux/s390x" in missing


def test_an_image_for_another_platform_is_a_problem_without_an_index_too(registry, store):
    store.add_image(IMAGE, READY, architecture="arm64")
    assert "has the image for linux/arm64, not for linux/amd64" in only(check(registry)).problem
    assert only(check(registry, platform="linux/arm64")).problem is None


@pytest.mark.parametrize("configuration", [b"{}", b"text"])
def test_an_image_that_names_no_platform_is_searched(registry, store, configuration):
    repository, _, tag = IMAGE.partition(":")
    manifest = {"config": store.add_blob(repository, configuration), "layers": [store.add_blob(repository, READY)]}
    store.add_manifest(repository, tag, MANIFEST, manifest)
    assert only(check(registry)).problem is None


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda layer: layer[:-1000], id="cut short"),
        pytest.param(lambda layer: layer[:200] + b"\0" * 100 + layer[300:], id="broken inside"),
        pytest.param(lambda _: b"<html>not found</html>", id="something else"),
        pytest.param(lambda _: COMPRESSIONS["gzip"](BASE), id="another layer"),
    ],
)
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_damaged_layer_is_never_an_empty_one(registry, store, compression, spoil):
    layer = COMPRESSIONS[compression](BASE + b"the digest is of all bytes")
    store.add_image(IMAGE, layer)
    for path, reply in store.replies.items():
        if reply.body == layer:
            store.replies[path] = Reply(200, {}, spoil(layer))
    problem = only(check(registry)).problem
    assert f"{IMAGE} can't be searched: its registry has layer sha256:" in problem
    assert problem.endswith("push the image again")


@pytest.mark.parametrize(
    "manifest",
    [b"[]", b"{", b'{"layers":[{"digest":"sha256:../../x"}]}', b'{"layers":[{}]}'],
    ids=["list", "no JSON", "odd digest", "no digest"],
)
def test_an_odd_manifest_is_an_error_of_that_image(registry, store, manifest):
    digest = store.add_image(IMAGE, READY)
    reply = store.replies[f"/v2/org/kmod/manifests/{digest}"]
    store.replies["/v2/org/kmod/manifests/1"] = Reply(200, reply.headers, manifest)
    assert "has a manifest that is no image's" in only(check(registry)).problem


def test_a_layer_that_is_gone_is_an_error_of_that_image(registry, store):
    store.add_image(IMAGE, READY)
    for path in [path for path in store.replies if "blobs" in path]:
        del store.replies[path]
    assert "can't be searched: its registry answers 404" in only(check(registry)).problem


def run(folder, registry, *arguments, secret=None, **environment):
    file = write_module(folder, containerImage=f"{registry.host}/{IMAGE}", registryTLS={"insecure": True})
    if secret:
        file.write_text(f"{file.read_text()}  imageRepoSecret: {{name: {secret}}}\n")
    return kmm("preflight", "--modules", file, "--kernel", KERNEL, *arguments, **environment)


def test_the_command_prints_a_verdict_for_each_kernel(tmp_path, registry, store):
    store.add_image(IMAGE, READY)
    done = run(tmp_path, registry)
    assert done.returncode == 0, done.stderr
    assert f"yes: load; /{FOLDER}/extra/kmod.ko" in done.stdout
    store.add_image(IMAGE, UNINDEXED)
    done = run(tmp_path, registry)
    assert (done.returncode, "no: " in done.stdout) == (1, True)


def test_the_command_writes_json_for_scripts(tmp_path, registry, store):
    store.add_image(IMAGE, READY)
    done = run(tmp_path, registry, "-o", "json")
    kernel = {
        "version": KERNEL,
        "mapping": 0,
        "image": f"{registry.host}/{IMAGE}",
        "actions": ["load"],
        "ready": True,
        "files": [f"/{FOLDER}/extra/kmod.ko"],
        "problem": None,
        "note": None,
    }
    assert json.loads(done.stdout) == {"modules": [{"namespace": "default", "name": "kmod", "kernels": [kernel]}]}


def test_a_registry_that_does_not_answer_is_told_without_options_that_preflight_has_not(tmp_path):
    file = write_module(tmp_path, containerImage="localhost:1/kmod", registryTLS={"insecure": True})
    done = kmm("preflight", "--modules", file, "--kernel", KERNEL)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("    check host and port, and that the registry runs\n")


def test_modules_of_the_cluster_are_checked_too(tmp_path, registry, store):
    store.add_image(IMAGE, READY)
    file = write_module(tmp_path, containerImage=f"{registry.host}/{IMAGE}", registryTLS={"insecure": True})
    kubeconfig = tmp_path / "kubeconfig"
    with FakeApi() as api:
        api.answers = [Answer(wire_list(yaml.safe_load(file.read_text()), kind="ModuleList"))]
        context = {"name": "a", "context": {"cluster": "a", "user": "a"}}
        clusters = [{"name": "a", "cluster": {"server": api.url}}]
        kubeconfig.write_text(yaml.safe_dump({"contexts": [context], "clusters": clusters, "current-context": "a"}))
        done = kmm("preflight", "--source", "cluster", "--kubeconfig", kubeconfig, "--kernel", KERNEL)
    assert done.returncode == 0, done.stderr
    assert f"yes: load; /{FOLDER}/extra/kmod.ko" in done.stdout


def test_without_a_cluster_the_users_own_logins_open_the_registry(tmp_path, store):
    store.add_image(IMAGE, READY)
    login = "Basic " + base64.b64encode(b"me:mine").decode()

    def answer(request):
        allowed = request.headers.get("Authorization") == login
        return store(request) if allowed else Reply(401, {"WWW-Authenticate": "Basic realm=x"})

    with ScriptedServer(answer) as registry:
        auths = {registry.host: {"username": "me", "password": "mine"}}
        (tmp_path / "config.json").write_text(json.dumps({"auths": auths}))
        done = run(tmp_path, registry, secret="pull", KUBECONFIG=str(tmp_path / "none"))
    assert done.returncode == 0, done.stderr
    assert "Your own registry logins are used, because imageRepoSecrets can't be read: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param([], "Missing option '--kernel'", id="no kernel"),
        pytest.param(["--kernel", "a b"], "is no kernel release", id="odd kernel"),
        pytest.param(["--kernel", KERNEL, "--platform", "amd64"], "OS/ARCHITECTURE", id="odd platform"),
    ],
)
def test_wrong_usage_is_refused(tmp_path, arguments, message):
    done = kmm("preflight", "--modules", write_module(tmp_path), *arguments)
    assert done.returncode == 2
    assert message in done.stderr
