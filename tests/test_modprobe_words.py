"""Guards against explaining a failure by the wrong cause: the words are those of kmod, BusyBox, shells and runtimes."""

import pytest

from kmm.modprobe_words import explain, telling_line

OTHER_KERNEL = "built for another kernel"
UNSIGNED = "modules signed with a key"
PULL = "cannot pull the image"
ABSENT = "holds no such module"
PROGRAM = "lacks a program"
FULL = "disk is full"
IN_USE = "uses the module"


@pytest.mark.parametrize(
    ("words", "meaning"),
    [
        ("modprobe: ERROR: could not insert 'kmod': Exec format error", OTHER_KERNEL),
        ("modprobe: can't load module kmod (kmod.ko): invalid module format", OTHER_KERNEL),
        ("kmod: version magic '6.1.0 SMP' should be '5.14.0 SMP'", OTHER_KERNEL),
        ("modprobe: ERROR: could not insert 'kmod': Required key not available", UNSIGNED),
        ("modprobe: ERROR: could not insert 'kmod': Key was rejected by service", UNSIGNED),
        ("Lockdown: modprobe: unsigned module loading is restricted", UNSIGNED),
        ("modprobe: ERROR: could not insert 'kmod': Operation not permitted", "CAP_SYS_MODULE"),
        (
            "modprobe: ERROR: could not insert 'kmod': Unknown symbol in module, or unknown parameter (see dmesg)",
            "modulesLoadingOrder",
        ),
        ("kmod: disagrees about version of symbol module_layout", "built against another kernel"),
        ("modprobe: FATAL: Module kmod not found in directory /opt/lib/modules/5.14.0", ABSENT),
        ("modprobe: module kmod not found in modules.dep", ABSENT),
        ("modprobe: can't change directory to '/opt/lib/modules': No such file or directory", ABSENT),
        ("kmod_search_moddep() could not open moddep file '/opt/lib/modules/5.14/modules.dep.bin'", ABSENT),
        ("cp: cannot stat '/firmware/*': No such file or directory", "no files in `firmwarePath`"),
        ("cp: can't stat '/firmware/*': No such file or directory", "no files in `firmwarePath`"),
        ("kmod 0000:00:1f.0: Direct firmware load for kmod.bin failed with error -2", "firmware_class.path"),
        ("modprobe: FATAL: Module kmod is in use.", IN_USE),
        ("modprobe: can't unload module kmod: Resource temporarily unavailable", IN_USE),
        ("modprobe: ERROR: could not insert 'kmod': Device or resource busy", IN_USE),
        ("modprobe: FATAL: Module tcp_cubic is builtin.", "built into this kernel"),
        ("modprobe: ERROR: could not insert 'kmod': No such device", "found no device"),
        ("modprobe: ERROR: could not insert 'kmod': Invalid argument", "refused its parameters"),
        ("modprobe: ERROR: could not insert 'kmod': Cannot allocate memory", "no memory"),
        ("manifest for registry.example/kmod:1 not found: manifest unknown", PULL),
        ('failed to resolve reference "registry.example/kmod:1": unexpected status: 401 Unauthorized', PULL),
        ('Back-off pulling image "registry.example/kmod:1"', PULL),
        ('pods "kmod-x" is forbidden: violates PodSecurity "restricted:latest": privileged', "enforce=privileged"),
        ('failed to pull image "kmod:1": write /var/lib/x.ko: no space left on device', FULL),
        ("cp: error writing '/var/lib/firmware/kmod.bin': No space left on device", FULL),
        ("The node was low on resource: ephemeral-storage. Threshold quantity: 60Mi", FULL),
        ("/bin/sh: 1: modprobe: not found", PROGRAM),
        ("bash: modprobe: command not found", PROGRAM),
        ('exec: "/bin/sh": stat /bin/sh: no such file or directory: unknown', PROGRAM),
        ('exec: "modprobe": executable file not found in $PATH', PROGRAM),
        ("exec /bin/sh: exec format error", "processor architecture"),
        ("some lines before\nexec /bin/sh: exec format error", "processor architecture"),
    ],
)
def test_known_words_are_explained(words, meaning):
    assert meaning in (explain(words) or "")


@pytest.mark.parametrize(
    "words",
    [
        "",
        "insmod /opt/lib/modules/5.14.0/kmod.ko",
        "killed",
        "modprobe: ERROR: could not insert 'kmod': Unknown error 524",
    ],
)
def test_of_other_words_nothing_is_claimed(words):
    assert explain(words) is None


REFUSED = "modprobe: ERROR: could not insert 'kmod': Key was rejected by service"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        pytest.param(f"{REFUSED}\ninsmod /opt/lib/modules/6.1.0/kmod.ko \n", REFUSED, id="insmod line from the buffer"),
        pytest.param(f"cp: one\n{REFUSED}", REFUSED, id="the last of several"),
        pytest.param("one\ntwo", "two", id="nothing that looks like a failure"),
        pytest.param("", "", id="no words"),
    ],
)
def test_the_line_that_is_shown_says_what_failed(words, line):
    assert telling_line(words) == line
