"""Guards against a value from a Module file that a shell splits, expands or runs, and against loading or unloading
in the wrong order. The scripts run for real, in each shell that images have, with a modprobe that only records.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from builders import module
from hypothesis import given, settings
from hypothesis import strategies as st

from kmm.manifests.modprobe import load_command, ready_command, softdep_configuration, unload_command
from kmm.modprobe_words import UNLOAD_FAILED

RECORDER = """#!/bin/sh
printf '%s\\0' "${0##*/}" "$@" >> "$RECORD"
printf '\\n\\0' >> "$RECORD"
[ "${0##*/}" != modprobe ] || [ "$MODPROBE_STATUS" = 0 ] || echo "modprobe: FATAL: Module kmod is in use."
[ "${0##*/}" != modprobe ] || exit "$MODPROBE_STATUS"
"""
SHELLS = ["dash", "bash", "busybox"]
BUSYBOX_TOOLS = ["cp", "find", "rm", "rmdir"]
HOSTILE = [
    "two words",
    "it's",
    'say "x"',
    "$(touch PWNED)",
    "`touch PWNED`",
    "; touch PWNED;",
    "&& touch PWNED",
    "| touch PWNED",
    "> PWNED",
    "$HOME",
    "$(HOME)",
    "$$(HOME) $$ $$$(HOME)",
    "$($(HOME)) $(",
    "*",
    "~",
    "# no comment",
    "back\\slash",
    "new\nline",
    "-x",
    "Ünïcode",
]


class Sandbox:
    """A folder that stands for the root of loader pod and node, and a PATH whose modprobe and sleep only record."""

    def __init__(self, root, shell_path):
        self.root = root
        self.bin = self.folder("bin")
        self.firmware = self.folder("var/lib/firmware")
        self.termination_log = self.folder("dev") / "termination-log"
        self.record = root / "record"
        (self.bin / "sh").symlink_to(shell_path)
        for tool in BUSYBOX_TOOLS if Path(shell_path).name == "busybox" else []:
            (self.bin / tool).symlink_to(shell_path)
        for tool in ("modprobe", "sleep"):
            (self.bin / tool).write_text(RECORDER)
            (self.bin / tool).chmod(0o755)

    def folder(self, path):
        folder = self.root / path
        folder.mkdir(parents=True)
        return folder

    def file(self, path):
        (self.root / path).write_text("")

    def start(self, command, *, modprobe_status=0):
        """The exit status of a container's own command, in which the kubelet expands variables of the container."""
        *shell, script = command
        return self.run([*shell, kubelet_expanded(script)], modprobe_status=modprobe_status)

    def run(self, command, *, modprobe_status=0):
        """The exit status of a command that runs in the container, moved below the root."""
        shell, option, script = command
        assert shell == "/bin/sh"
        for path in ("/var/lib/firmware", "/sys/module", "/dev/termination-log"):
            script = script.replace(path, f"{self.root}{path}")
        environment = {
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "RECORD": str(self.record),
            "MODPROBE_STATUS": str(modprobe_status),
        }
        arguments = [self.bin / "sh", option, script]
        return subprocess.run(arguments, cwd=self.root, env=environment, check=False, timeout=30).returncode

    def calls(self):
        """The recorded calls, as lists of arguments."""
        if not self.record.exists():
            return []
        return [call.split("\0")[:-1] for call in self.record.read_text().split("\n\0")[:-1]]

    def files(self):
        """What lies in the node's folder of firmware."""
        return sorted(str(path.relative_to(self.firmware)) for path in self.firmware.rglob("*"))


def kubelet_expanded(text):
    """`text` as the kubelet hands it to the container (k8s.io/kubernetes/third_party/forked/golang/expansion)."""
    variables = {"HOME": "PWNED", "KUBERNETES_SERVICE_HOST": "PWNED"}

    def expanded(match):
        return "$" if match[0] == "$$" else variables.get(match[1], match[0])

    return re.sub(r"\$\$|\$\(([^)]*)\)", expanded, text)


@pytest.fixture(params=SHELLS)
def sandbox(request, tmp_path):
    return Sandbox(tmp_path, shutil.which(request.param) or request.getfixturevalue("debian").which(request.param))


def modprobe(**fields):
    return module(modprobe={"moduleName": "kmod", **fields}).spec.module_loader.container.modprobe


def raw(load, unload):
    fields = {"rawArgs": {"load": load, "unload": unload}}
    return module(modprobe=fields).spec.module_loader.container.modprobe


def untouched(sandbox):
    return not list(sandbox.root.rglob("*PWNED*"))


def test_loading_runs_modprobe_and_then_waits(sandbox):
    assert sandbox.start(load_command(modprobe(), None)) == 0
    assert sandbox.calls() == [["modprobe", "-v", "-d", "/opt", "kmod"], ["sleep", "infinity"]]


def test_a_module_that_does_not_load_ends_the_container(sandbox):
    assert sandbox.start(load_command(modprobe(), None), modprobe_status=3) == 3
    assert sandbox.calls() == [["modprobe", "-v", "-d", "/opt", "kmod"]]


def test_unloading_runs_modprobe(sandbox):
    assert sandbox.run(unload_command(modprobe())) == 0
    assert sandbox.calls() == [["modprobe", "-rv", "-d", "/opt", "kmod"]]


def test_with_an_empty_folder_modprobe_looks_in_its_own(sandbox):
    sandbox.start(load_command(modprobe(dirName=""), None))
    sandbox.run(unload_command(modprobe(dirName="")))
    assert sandbox.calls() == [["modprobe", "-v", "kmod"], ["sleep", "infinity"], ["modprobe", "-rv", "kmod"]]


def test_every_value_reaches_modprobe_as_it_was_given(sandbox):
    given_modprobe = modprobe(
        dirName="/a b'$(touch PWNED)", parameters=HOSTILE, args={"load": HOSTILE, "unload": HOSTILE}
    )
    sandbox.start(load_command(given_modprobe, None))
    sandbox.run(unload_command(given_modprobe))
    directory = ["-d", "/a b'$(touch PWNED)"]
    assert sandbox.calls() == [
        ["modprobe", *HOSTILE, *directory, "kmod", *HOSTILE],
        ["sleep", "infinity"],
        ["modprobe", *HOSTILE, *directory, "kmod"],
    ]
    assert untouched(sandbox)


def test_raw_arguments_are_all_that_modprobe_gets(sandbox):
    given_modprobe = raw(HOSTILE, HOSTILE[::-1])
    sandbox.start(load_command(given_modprobe, None))
    sandbox.run(unload_command(given_modprobe))
    assert sandbox.calls() == [["modprobe", *HOSTILE], ["sleep", "infinity"], ["modprobe", *HOSTILE[::-1]]]
    assert untouched(sandbox)


@settings(max_examples=50)
@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1), min_size=1))
def test_any_parameter_reaches_modprobe_as_it_was_given(parameters):
    with TemporaryDirectory() as folder:
        sandbox = Sandbox(Path(folder).resolve(), shutil.which("sh"))
        sandbox.start(load_command(modprobe(parameters=parameters), None))
        assert sandbox.record.read_bytes().split(b"\0")[5:-1] == [
            *(parameter.encode() for parameter in parameters),
            b"\n",
            b"sleep",
            b"infinity",
            b"\n",
        ]


def test_a_whole_loading_order_is_unloaded(sandbox):
    ordered = modprobe(modulesLoadingOrder=["kmod", "base", "core"])
    sandbox.start(load_command(ordered, None))
    sandbox.run(unload_command(ordered))
    assert sandbox.calls() == [
        ["modprobe", "-v", "-d", "/opt", "kmod"],
        ["sleep", "infinity"],
        ["modprobe", "-rv", "-d", "/opt", "kmod", "base", "core"],
    ]
    assert softdep_configuration(ordered) == "softdep kmod pre: base\nsoftdep base pre: core\n"
    assert softdep_configuration(modprobe()) is None


@pytest.mark.parametrize(
    ("left", "status"),
    [
        (["base/holders/", "base/initstate"], 1),
        (["core/holders/", "core/initstate"], 1),
        (["base/holders/another/", "base/initstate"], 0),
        (["base/parameters/"], 0),
    ],
    ids=["the next", "the last", "used by a module", "built in"],
)
def test_a_module_of_the_loading_order_that_stays_fails_unless_it_has_to(sandbox, left, status):
    for path in left:
        (sandbox.folder if path.endswith("/") else sandbox.file)(f"sys/module/{path}")
    unload = unload_command(modprobe(modulesLoadingOrder=["kmod", "base", "core"]))
    assert sandbox.run(unload, modprobe_status=1) == status
    assert sandbox.termination_log.read_text().startswith(UNLOAD_FAILED) == bool(status)


def test_an_in_tree_module_is_removed_first_while_it_is_loaded(sandbox):
    sandbox.folder("sys/module/in_tree")
    assert sandbox.start(load_command(modprobe(), "in-tree")) == 0
    assert sandbox.calls()[:2] == [
        ["modprobe", "-r", "in-tree"],
        ["modprobe", "-v", "-d", "/opt", "kmod"],
    ]


def test_an_in_tree_module_that_stays_ends_the_container(sandbox):
    sandbox.folder("sys/module/in_tree")
    assert sandbox.start(load_command(modprobe(), "in-tree"), modprobe_status=1) == 1
    assert sandbox.calls() == [["modprobe", "-r", "in-tree"]]


@pytest.mark.parametrize(("taint", "removed"), [("", True), ("E", True), ("OE", False)], ids=["none", "E", "OE"])
@pytest.mark.parametrize("ours", [modprobe(moduleName="my_kmod"), raw(["my-kmod"], ["-r"])], ids=["named", "raw"])
def test_of_an_in_tree_module_and_ours_of_the_same_name_only_the_first_is_removed(sandbox, ours, taint, removed):
    (sandbox.folder("sys/module/my_kmod") / "taint").write_text(f"{taint}\n")
    assert sandbox.start(load_command(ours, "my-kmod")) == 0
    assert (["modprobe", "-r", "my-kmod"] in sandbox.calls()) is removed


def test_a_module_that_is_loaded_already_is_said_to_be(sandbox, capfd):
    sandbox.start(load_command(modprobe(), None))
    assert "already" not in capfd.readouterr().out
    sandbox.folder("sys/module/kmod")
    assert sandbox.start(load_command(modprobe(), None)) == 0
    assert "kmod is in the kernel already" in capfd.readouterr().out
    assert sandbox.calls()[-2:] == [["modprobe", "-v", "-d", "/opt", "kmod"], ["sleep", "infinity"]]


def test_an_in_tree_module_that_is_not_loaded_needs_no_removal(sandbox):
    assert sandbox.start(load_command(modprobe(), "in-tree")) == 0
    assert sandbox.calls() == [["modprobe", "-v", "-d", "/opt", "kmod"], ["sleep", "infinity"]]


@pytest.mark.parametrize("name", ["firmware", "two words", "it's $(touch PWNED)", "-x", "*", 'a"b`touch PWNED`'])
def test_firmware_comes_and_goes_and_the_nodes_own_stays(sandbox, name):
    source = sandbox.folder(name)
    for file in ("plain.bin", "vendor/deep/er.bin", *(hostile.replace("/", "_") for hostile in HOSTILE)):
        (source / file).parent.mkdir(parents=True, exist_ok=True)
        (source / file).write_text("ours")
    (source / "link.bin").symlink_to("plain.bin")
    (source / ".hidden").write_text("not copied by FW/*")
    for file in ("node.bin", "vendor/node.bin", ".hidden"):
        (sandbox.firmware / file).parent.mkdir(exist_ok=True)
        (sandbox.firmware / file).write_text("the node's")
    before = sandbox.files()
    given_modprobe = modprobe(firmwarePath=str(source))

    assert sandbox.start(load_command(given_modprobe, None)) == 0
    assert {"plain.bin", "link.bin", "vendor/deep/er.bin", *HOSTILE} <= set(sandbox.files())
    assert sandbox.run(unload_command(given_modprobe)) == 0
    assert sandbox.files() == before
    assert not list(sandbox.root.rglob("PWNED"))


def test_firmware_is_there_before_modprobe_runs(sandbox):
    (sandbox.folder("firmware") / "a.bin").write_text("")
    sandbox.start(load_command(modprobe(firmwarePath=f"{sandbox.root}/firmware"), None), modprobe_status=1)
    assert sandbox.files() == ["a.bin"]


def test_firmware_stays_while_the_module_does(sandbox):
    sandbox.folder("sys/module/kmod")
    (sandbox.folder("firmware") / "a.bin").write_text("")
    (sandbox.firmware / "a.bin").write_text("")
    assert sandbox.run(unload_command(modprobe(firmwarePath=f"{sandbox.root}/firmware")), modprobe_status=1) == 1
    assert sandbox.files() == ["a.bin"]


def test_missing_firmware_ends_the_container_before_modprobe(sandbox):
    assert sandbox.start(load_command(modprobe(firmwarePath=f"{sandbox.root}/missing"), None)) != 0
    assert sandbox.calls() == []


def test_ready_is_what_the_kernel_says(sandbox):
    command = ready_command(modprobe(moduleName="my-kmod"))
    assert sandbox.run(command) == 1
    sandbox.folder("sys/module/my_kmod")
    assert sandbox.run(command) == 0
    assert ready_command(raw(["a"], ["b"])) is None


def test_a_module_that_stays_in_use_is_tried_for_again_and_then_named_with_its_users(sandbox):
    sandbox.folder("sys/module/kmod/holders/user_of_kmod")
    assert sandbox.run(unload_command(modprobe()), modprobe_status=1) == 1
    words = sandbox.termination_log.read_text()
    assert words.startswith(f"{UNLOAD_FAILED}modprobe: FATAL: Module kmod is in use.")
    assert "(used by: user_of_kmod" in words
    assert [call for call in sandbox.calls() if call[0] == "modprobe"] == [
        ["modprobe", "-rv", "-d", "/opt", "kmod"]
    ] * 10


def test_a_module_that_is_not_in_the_kernel_any_more_did_not_fail_to_unload(sandbox):
    (sandbox.folder("firmware") / "a.bin").write_text("")
    (sandbox.firmware / "a.bin").write_text("")
    assert sandbox.run(unload_command(modprobe(firmwarePath=f"{sandbox.root}/firmware")), modprobe_status=1) == 0
    assert sandbox.termination_log.read_text() == ""
    assert sandbox.files() == []


def test_its_words_are_there_between_two_tries_and_gone_after_one_that_succeeds(sandbox):
    sandbox.folder("sys/module/kmod")
    heard = sandbox.root / "heard"
    (sandbox.bin / "modprobe").write_text(f"#!/bin/sh\n[ -e {heard} ] || {{ echo is in use; exit 1; }}\n")
    (sandbox.bin / "sleep").write_text(f"#!/bin/sh\ncp {sandbox.termination_log} {heard}\n")
    assert sandbox.run(unload_command(modprobe())) == 0
    assert heard.read_text().startswith(f"{UNLOAD_FAILED}is in use")
    assert sandbox.termination_log.read_text() == ""


def test_nothing_is_said_of_a_module_that_was_unloaded(sandbox):
    assert sandbox.run(unload_command(modprobe())) == 0
    assert sandbox.termination_log.read_text() == ""
