"""Guards against a plan that scripts can't read, that hides something from people, or that fails without a word."""

import json
import re

import pytest
import yaml
from builders import module, node
from commands import GOLDEN, SPECIFICATION, kmm, write_module, write_nodes

from kmm.changes import Change, Kind
from kmm.commands.plan_table import print_plan
from kmm.image_rules import pin_digests
from kmm.names import FUTURE_KERNELS_ANNOTATION
from kmm.plan import Images, make_plan

KERNEL = "5.14.0-70.el9.x86_64"
BUILD = {"dockerfileConfigMap": {"name": "dockerfile"}}
SIGN = {"certSecret": {"name": "cert"}, "keySecret": {"name": "key"}}


def plan(*arguments, **options):
    return kmm("plan", *arguments, **options)


def planned(*arguments, **options):
    finished = plan(*arguments, "-o", "json", **options)
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


def test_json_is_the_plan_of_the_specifications_example():
    kernels = [
        {"version": KERNEL, "nodes": ["redhat"], "mapping": 2, "image": f"some.registry/org/my-kmod:{KERNEL}"},
        {
            "version": "6.0.15-300.fc37.x86_64",
            "nodes": ["fedora-literal"],
            "mapping": 0,
            "image": "some.registry/org/my-kmod:6.0.15-300.fc37.x86_64",
        },
        {
            "version": "6.1.7-200.fc37.x86_64",
            "nodes": ["fedora-other"],
            "mapping": 2,
            "image": "some.registry/org/my-kmod:6.1.7-200.fc37.x86_64",
        },
    ]
    finished = plan(*SPECIFICATION, "-o", "json")
    assert json.loads(finished.stdout) == {
        "modules": [
            {
                "namespace": "default",
                "name": "my-kmod",
                "kernels": [kernel | {"actions": ["load"], "reason": None} for kernel in kernels],
            }
        ],
        "ignored": [],
    }
    assert "kernelMappings[1].regexp: warning: " in finished.stderr


def test_json_gives_reasons_for_what_is_left_out(tmp_path):
    modules = write_module(tmp_path, kernelMappings=[{"literal": KERNEL}])
    document = planned("--modules", modules, "--nodes", write_nodes(tmp_path, {"b": "4.18.0", "a": f"{KERNEL}+"}))
    skipped = {"version": "4.18.0", "nodes": ["b"], "mapping": None, "image": None, "actions": []}
    assert document["modules"][0]["kernels"] == [
        skipped | {"reason": "no kernel mapping matches"},
        {
            "version": KERNEL,
            "nodes": ["a"],
            "mapping": 0,
            "image": f"registry.example/org/kmod:{KERNEL}",
            "actions": ["load"],
            "reason": None,
        },
    ]
    tainted = GOLDEN / "tolerations"
    document = planned("--modules", tainted / "module.yaml", "--nodes", tainted / "nodes.yaml")
    assert document["ignored"] == [{"node": "refused", "reason": "taint storage:NoSchedule is not tolerated"}]


@pytest.mark.parametrize(
    ("assumed", "container", "actions"),
    [
        ("present", {"build": BUILD, "sign": SIGN}, ["load"]),
        ("missing", {"build": BUILD, "sign": SIGN}, ["build", "sign", "load"]),
        ("missing", {"build": BUILD}, ["build", "load"]),
        ("missing", {"sign": SIGN | {"unsignedImage": "registry.example/raw:1"}}, ["sign", "load"]),
        ("missing", {}, ["load"]),
    ],
)
def test_images_are_as_assumed(tmp_path, assumed, container, actions):
    modules, nodes = write_module(tmp_path, **container), write_nodes(tmp_path, {"a": KERNEL})
    document = planned("--modules", modules, "--nodes", nodes, "--assume-images", assumed)
    assert document["modules"][0]["kernels"][0]["actions"] == actions


def test_an_image_that_two_jobs_would_make_is_warned_about(tmp_path):
    modules = write_module(tmp_path, containerImage="registry.example/kmod:$KERNEL_XYZ", build=BUILD)
    nodes = write_nodes(tmp_path, {"a": KERNEL, "b": "5.14.0-162.el9.x86_64"})
    finished = plan("--modules", modules, "--nodes", nodes, "--assume-images", "missing")
    assert "containerImage: registry.example/kmod:5.14.0 is made by the Jobs of kernel" in finished.stderr


def test_without_a_cluster_no_registry_is_asked_and_it_says_so(tmp_path):
    image = "127.0.0.1:9/org/kmod:1"  # nothing listens there
    nodes = write_nodes(tmp_path, {"a": KERNEL})
    given = write_module(tmp_path, containerImage=image)
    assert planned("--modules", given, "--nodes", nodes)["modules"][0]["kernels"][0]["image"] == image
    built = plan("--modules", write_module(tmp_path, containerImage=image, build=BUILD), "--nodes", nodes)
    assert built.returncode == 0
    assert "taken for present" in built.stderr


def test_nodes_come_from_standard_input_too():
    arguments = [argument.replace(str(GOLDEN / "specification" / "nodes.yaml"), "-") for argument in SPECIFICATION]
    text = (GOLDEN / "specification" / "nodes.yaml").read_text()
    assert planned(*arguments, stdin=text) == planned(*SPECIFICATION)


def test_several_modules_are_planned_together():
    first, second = (GOLDEN / case / "module.yaml" for case in ("firmware", "two-kernels"))
    nodes = GOLDEN / "two-kernels" / "nodes.yaml"
    document = planned("--modules", second, "--modules", first, "--nodes", nodes)
    assert [module["namespace"] for module in document["modules"]] == ["default", "team"]


def test_the_table_shows_everything_in_a_pipe(tmp_path):
    image = f"registry.example/{'very/' * 40}long:1"
    modules = write_module(tmp_path, containerImage=image, kernelMappings=[{"literal": KERNEL}])
    nodes = write_nodes(tmp_path, {f"node-{number}": KERNEL for number in range(12)} | {"old": "4.18.0"})
    finished = plan("--modules", modules, "--nodes", nodes)
    header, _, skipped, loaded = finished.stdout.splitlines()
    assert header.split() == ["MODULE", "KERNEL", "NODES", "IMAGE", "ACTIONS"]
    assert skipped.split("  ")[0] == "default/kmod"
    assert skipped.rstrip().endswith("none: no kernel mapping matches")
    assert "12: node-0, node-1, node-10, …" in loaded
    assert image in loaded
    assert "\x1b" not in finished.stdout


def test_the_table_shows_ignored_nodes():
    case = GOLDEN / "tolerations"
    finished = plan("--modules", case / "module.yaml", "--nodes", case / "nodes.yaml")
    assert finished.stdout.splitlines()[-1].split("  ")[0] == "refused"
    assert "taint storage:NoSchedule is not tolerated" in finished.stdout


def test_future_kernels_are_shown_apart(tmp_path):
    modules = write_module(tmp_path, kernelMappings=[{"regexp": r"^5\..+$", "build": BUILD}])
    text = modules.read_text().replace("  name: kmod\n", "  name: kmod\n  annotations: {ANNOTATION: 5.15.0}\n", 1)
    modules.write_text(text.replace("ANNOTATION", FUTURE_KERNELS_ANNOTATION))
    arguments = ["--modules", modules, "--nodes", write_nodes(tmp_path, {"a": KERNEL}), "--future-kernel", "6.1.0"]
    (module,) = planned(*arguments, "--assume-images", "missing")["modules"]
    assert [kernel["version"] for kernel in module["kernels"]] == [KERNEL]
    assert [(kernel["version"], kernel["actions"], kernel["reason"]) for kernel in module["future"]] == [
        ("5.15.0", ["build"], None),
        ("6.1.0", [], "no kernel mapping matches"),
    ]
    finished = plan(*arguments, "--assume-images", "present")
    header, _, built, unserved = finished.stdout.splitlines()[-4:]
    assert "FUTURE KERNEL" in header
    assert "5.15.0" in built
    assert built.rstrip().endswith("none: nothing to make")
    assert unserved.rstrip().endswith("none: no kernel mapping matches")
    assert "default/kmod: future kernel 6.1.0: no kernel mapping matches" in finished.stderr


def test_the_table_shows_where_modules_are_unloaded(capsys):
    changes = [
        Change("default/kmod", KERNEL, Kind.RELOAD, "kmod-1", tuple(f"n{number}" for number in range(12))),
        Change("default/kmod", "6.1", Kind.LOAD, "kmod-2", ("c",)),
        Change("default/old", KERNEL, Kind.UNLOAD, "old-1", ("a",)),
        Change("default/slow", KERNEL, Kind.UNLOAD, "slow-1", ("a",), unloads=False),
    ]
    print_plan(make_plan([module(), module("slow")], [], Images()), changes)
    header, _, *rows = (re.split("  +", line.strip()) for line in capsys.readouterr().out.splitlines()[-6:])
    assert header == ["CHANGED MODULE", "KERNEL", "CHANGE", "NODES"]
    assert rows == [
        ["default/kmod", KERNEL, "unload, load", "12: n0, n1, n2, n3, n4, n5, n6, n7, n8, n9, …"],
        ["default/kmod", "6.1", "load", "1: c"],
        ["default/old", KERNEL, "unload: not among these Modules, but of their stack", "1: a"],
        ["default/slow", KERNEL, "none: stays as it is until the next boot: its unload policy is Never", "1: a"],
    ]
    print_plan(make_plan([module()], [], Images()), [])
    assert "No module is loaded or unloaded" in capsys.readouterr().out


def test_a_stack_file_says_what_no_option_does(tmp_path):
    write_module(tmp_path, kernelMappings=[{"regexp": r"^5\..+$", "build": BUILD}])
    settings = {
        "kmm:modules": [str(tmp_path / "module.yaml")],
        "kmm:futureKernels": ["5.15.0"],
        "kmm:imageCheck": "assume-missing",
        "kmm:context": "left out, as nodes are given",
    }
    stack = tmp_path / "Pulumi.prod.yaml"
    stack.write_text(yaml.safe_dump({"config": settings}))
    arguments = ["--config-file", stack, "--nodes", write_nodes(tmp_path, {"a": KERNEL})]
    (module,) = planned(*arguments)["modules"]
    assert [one["actions"] for one in (*module["kernels"], *module["future"])] == [["build", "load"], ["build"]]
    (module,) = planned(*arguments, "--assume-images", "present", "--future-kernel", "5.16.0")["modules"]
    assert [(one["version"], one["actions"]) for one in module["future"]] == [("5.16.0", [])]
    assert module["kernels"][0]["actions"] == ["load"]


def test_what_a_stack_file_requires_of_future_kernels_holds_without_a_cluster_too(tmp_path):
    write_module(tmp_path, kernelMappings=[{"literal": KERNEL}])
    stack = tmp_path / "Pulumi.prod.yaml"
    settings = {"kmm:modules": [str(tmp_path)], "kmm:futureKernels": ["6.1.0"], "kmm:requireFutureKernels": True}
    stack.write_text(yaml.safe_dump({"config": settings}))
    finished = plan("--config-file", stack, "--modules", tmp_path / "module.yaml", "--nodes", write_nodes(tmp_path, {}))
    assert (finished.returncode, finished.stdout) == (1, "")
    assert finished.stderr == "default/kmod: future kernel 6.1.0: no kernel mapping matches\n"


def test_images_go_by_tag_without_a_cluster_although_a_stack_pins_them_and_it_says_so(tmp_path):
    stack = tmp_path / "Pulumi.prod.yaml"
    stack.write_text("config: {'kmm:pinDigests': true, 'kmm:imageCheck': assume-present}")
    arguments = ["--modules", write_module(tmp_path), "--nodes", write_nodes(tmp_path, {"a": KERNEL})]
    finished = plan("--config-file", stack, *arguments, "-o", "json")
    (kernel,) = json.loads(finished.stdout)["modules"][0]["kernels"]
    assert (kernel["image"], kernel["actions"]) == (f"registry.example/org/kmod:{KERNEL}", ["load"])
    assert "kmm:pinDigests is left out, as --nodes" in finished.stderr


def test_the_table_shows_a_loader_that_waits_for_a_digest(capsys):
    built = make_plan([module(container={"build": BUILD})], [node(kernel=KERNEL)], Images(assume_present=False))
    print_plan(pin_digests(built, Images(), ()), None)
    assert "  build: loaded by the first `pulumi up` that finds the image's digest" in capsys.readouterr().out


@pytest.mark.parametrize("source", ["cluster", "both"])
def test_a_stack_file_whose_modules_are_in_the_cluster_is_told_from_options(tmp_path, source):
    stack, nodes = tmp_path / "Pulumi.prod.yaml", write_nodes(tmp_path, {"a": KERNEL})
    modules = [str(write_module(tmp_path))]
    settings = {"kmm:source": source} | ({"kmm:modules": modules} if source == "both" else {})
    stack.write_text(yaml.safe_dump({"config": settings}))
    finished = plan("--config-file", stack, "--nodes", nodes)
    assert (finished.returncode, finished.stdout) == (2, "")
    assert f"kmm:source in {stack} is {source}, which needs one: leave out --nodes, or" in finished.stderr
    assert planned("--config-file", stack, "--nodes", nodes, "--modules", *modules)["modules"]


def test_a_module_without_nodes_is_in_the_table(tmp_path):
    finished = plan("--modules", write_module(tmp_path), "--nodes", write_nodes(tmp_path, {}))
    assert finished.returncode == 0
    assert "none: no usable node matches its selector" in finished.stdout


@pytest.mark.parametrize(
    ("modules", "nodes", "said"),
    [
        ("kind: Modul\n", "kind: List\nitems: []\n", "module.yaml:1: kind: "),
        (None, "kind: PodList\nitems: []\n", "nodes.yaml"),
        (None, "", "it is empty"),
        (None, "a: [", "nodes.yaml"),
    ],
    ids=["no Module", "no nodes", "empty", "no YAML"],
)
def test_unusable_files_are_named_and_nothing_is_printed(tmp_path, modules, nodes, said):
    file = write_module(tmp_path)
    if modules is not None:
        file.write_text(modules)
    (tmp_path / "nodes.yaml").write_text(nodes)
    finished = plan("--modules", file, "--nodes", tmp_path / "nodes.yaml", "-o", "json")
    assert (finished.returncode, finished.stdout) == (1, "")
    assert said in finished.stderr
    assert "Traceback" not in finished.stderr


def test_a_cluster_that_is_not_there_is_named(tmp_path):
    finished = plan("--modules", write_module(tmp_path), "--kubeconfig", tmp_path / "missing")
    assert (finished.returncode, finished.stdout) == (1, "")
    assert str(tmp_path / "missing") in finished.stderr
    assert "Traceback" not in finished.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--modules"],
        [*SPECIFICATION, "--assume-images", "maybe"],
        [*SPECIFICATION, "-o", "yaml"],
        [*SPECIFICATION, "extra"],
        [*SPECIFICATION, "--context", "other"],
    ],
    ids=["nothing", "no value", "assumption", "format", "extra", "two sources of nodes"],
)
def test_wrong_usage_has_its_own_exit_code(arguments):
    finished = plan(*arguments)
    assert (finished.returncode, finished.stdout) == (2, "")
    assert "Error" in finished.stderr


@pytest.mark.engine
def test_without_a_file_the_nodes_of_the_cluster_are_read(tmp_path, cluster, nodes):
    names = nodes.add("6.1.21-v8+", 2)
    modules = tmp_path / "module.yaml"
    modules.write_text(write_module(tmp_path).read_text().replace("worker: ''", f"kmm.test/name: {nodes.unique}"))
    document = planned("--modules", modules, "--kubeconfig", cluster.kubeconfig)
    assert [kernel["nodes"] for kernel in document["modules"][0]["kernels"]] == [sorted(names)]
