"""Guards what users copy from `loader-image/`.

Against a sample that stops compiling for Debian's kernels, and a signer that signs the wrong file, pushes in spite of
a problem, spoils the image, or leaves a signature that the kernel would refuse.
"""

import gzip
import lzma
import re
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from debian_packages import Debian, PackagesMissingError, leave_out
from module_signing import SIGNATURE_MAGIC, Image, SigningKey, new_signing_key, run, signed_by

from tools.bootstrap import Toolset
from tools.registry import Registry

LOADER_IMAGE = Path(__file__).parents[1] / "loader-image"
KERNEL_SERIES = ("6.1", "6.12")

pytestmark = pytest.mark.xdist_group("loader image")  # compiled and signed once


@dataclass(frozen=True)
class Sample:
    """The compiled sample: `root` holds `lib/modules/<release>`, as `/opt` does in the image."""

    root: Path
    release: str

    @property
    def modules(self) -> Path:
        return self.root / "lib/modules" / self.release


def compile_sample(debian: Debian, series: str, folder: Path) -> Sample:
    try:
        sample = Sample(folder / "opt", debian.release(series))
    except PackagesMissingError as error:
        leave_out(str(error))
    source = shutil.copytree(LOADER_IMAGE / "sample", folder / "source")
    headers = debian.root / f"usr/src/linux-headers-{sample.release}"
    # Type information for BPF needs pahole, and says nothing about our sources.
    run("make", "-C", headers, f"M={source}", "CONFIG_DEBUG_INFO_BTF_MODULES=", "KCFLAGS=-Werror", "modules")
    sample.modules.mkdir(parents=True)
    for module in source.glob("*.ko"):
        shutil.copy(module, sample.modules)
    run("depmod", "-b", sample.root, sample.release, env=debian.environment)
    return sample


@pytest.fixture(scope="session", params=KERNEL_SERIES)
def any_sample(request: pytest.FixtureRequest, debian: Debian, tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return compile_sample(debian, request.param, tmp_path_factory.mktemp("sample"))


@pytest.fixture(scope="session")
def sample(debian: Debian, tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return compile_sample(debian, KERNEL_SERIES[0], tmp_path_factory.mktemp("sample"))


def test_the_sample_is_compiled_for_the_kernel_of_the_headers(any_sample: Sample, debian: Debian) -> None:
    def fields(name: str) -> list[str]:
        path = any_sample.modules / "kmm_sample.ko"
        return run("modinfo", f"--field={name}", path, env=debian.environment).splitlines()

    assert fields("vermagic")[0].split()[0] == any_sample.release
    assert fields("depends") == ["kmm_sample_base"]
    assert fields("firmware") == ["kmm_sample.bin"]
    assert [line.partition(":")[0] for line in fields("parm")] == ["greeting", "firmware_required"]


def test_no_containerfile_copies_a_whole_image() -> None:
    """kaniko can't: it would copy its own /proc, too."""
    texts = [path.read_text() for path in LOADER_IMAGE.rglob("Containerfile")]
    assert len(texts) == 4
    assert not [text for text in texts if re.search(r"^COPY --from=\S+ / ", text, re.MULTILINE)]


def test_modprobe_would_load_the_dependency_first_and_pass_the_parameter(any_sample: Sample, debian: Debian) -> None:
    command = ["modprobe", "--show-depends", "-d", str(any_sample.root), "-S", any_sample.release]
    plan = run(*command, "kmm_sample", "greeting=hi", env=debian.environment).splitlines()
    base, main = (str(any_sample.modules / f"{name}.ko") for name in ("kmm_sample_base", "kmm_sample"))
    assert [line.split() for line in plan] == [["insmod", base], ["insmod", main, "greeting=hi"]]


@pytest.fixture(scope="session")
def signing_key(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    return new_signing_key(tmp_path_factory.mktemp("key"), "signer")


@pytest.fixture(scope="session")
def other_key(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    return new_signing_key(tmp_path_factory.mktemp("key"), "other")


@pytest.fixture(scope="session")
def registry(tools: Toolset, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Host and port of a registry."""
    with Registry(tmp_path_factory.mktemp("registry"), tools) as running:
        yield running.host


@dataclass(frozen=True)
class Signing:
    """`sign-image` as a Job runs it: settings in the environment, key and certificate as files."""

    debian: Debian
    unsigned: Image
    signed: Image
    key: SigningKey
    folder: Path

    def push_unsigned(self, tree: Path) -> None:
        """Push an image of one layer that holds `tree` as /opt."""
        layout = self.folder / "layout"
        for arguments in (
            ["init", "--layout", layout],
            ["new", "--image", f"{layout}:1"],
            ["config", "--image", f"{layout}:1", "--config.env", "GREETING=hello"],
            ["insert", "--rootless", "--image", f"{layout}:1", tree, "/opt"],
        ):
            run("umoci", *arguments, env=self.debian.environment)
        target = f"docker://{self.unsigned}"
        run("skopeo", "copy", "--dest-tls-verify=false", f"oci:{layout}:1", target, env=self.debian.environment)

    def run(self, *patterns: str, **settings: str) -> subprocess.CompletedProcess[str]:
        environment = self.debian.environment | {
            "UNSIGNED_IMAGE": str(self.unsigned),
            "SIGNED_IMAGE": str(self.signed),
            "KEY_FILE": str(self.key.key),
            "CERT_FILE": str(self.key.certificate),
            "PULL_TLS_VERIFY": "false",
            "PUSH_TLS_VERIFY": "false",
        }
        command = [LOADER_IMAGE / "signer/sign-image", *patterns]
        return subprocess.run(command, check=False, env=environment | settings, capture_output=True, text=True)

    def signed_files(self, *patterns: str) -> dict[str, bytes]:
        done = self.run(*patterns)
        assert done.returncode == 0, done.stderr
        return self.signed.last_layer()


@pytest.fixture
def tree(sample: Sample, tmp_path: Path) -> Path:
    """A copy of what the image holds as /opt, for a test to change before it is pushed."""
    return shutil.copytree(sample.root, tmp_path / "opt")


@pytest.fixture
def signing(debian: Debian, registry: str, signing_key: SigningKey, tmp_path: Path) -> Signing:
    name = uuid.uuid4().hex
    return Signing(debian, Image(registry, name), Image(registry, f"{name}-signed"), signing_key, tmp_path)


def in_image(sample: Sample, *names: str) -> list[str]:
    return [f"/opt/lib/modules/{sample.release}/{name}" for name in names]


def test_every_module_is_signed_when_none_is_named(
    signing: Signing, sample: Sample, tree: Path, signing_key: SigningKey, tmp_path: Path
) -> None:
    signing.push_unsigned(tree)
    files = signing.signed_files()
    assert sorted(files) == in_image(sample, "kmm_sample.ko", "kmm_sample_base.ko")
    for content in files.values():
        assert signed_by(content, signing_key, signing.folder)
        (tmp_path / "signed.ko").write_bytes(content)
        shown = run("modinfo", tmp_path / "signed.ko", env=signing.debian.environment)
        assert dict(re.findall(r"^(sig_id|signer|sig_hashalgo): +(\S+)$", shown, re.MULTILINE)) == {
            "sig_id": "PKCS#7",
            "signer": "signer",  # the certificate's common name
            "sig_hashalgo": "sha256",
        }


def test_the_signed_image_is_the_unsigned_one_and_a_layer(signing: Signing, tree: Path) -> None:
    signing.push_unsigned(tree)
    signing.signed_files()
    assert signing.signed.manifest["layers"][:-1] == signing.unsigned.manifest["layers"]
    assert signing.signed.config == signing.unsigned.config


@pytest.mark.parametrize(
    "pattern",
    ["/opt/lib/modules/*/*_base.ko", "/opt/lib/modules/*/kmm_sample_bas[e].ko", "/opt/*/*/*/kmm_sample_base.ko"],
)
def test_only_the_files_that_a_pattern_matches_are_signed(
    signing: Signing, sample: Sample, tree: Path, pattern: str
) -> None:
    signing.push_unsigned(tree)
    assert list(signing.signed_files(pattern)) == in_image(sample, "kmm_sample_base.ko")


def test_a_file_that_two_patterns_match_is_signed_once(signing: Signing, sample: Sample, tree: Path) -> None:
    signing.push_unsigned(tree)
    (module,) = in_image(sample, "kmm_sample.ko")
    files = signing.signed_files(module, "/opt/lib/modules/*/kmm_sample.ko")
    assert files[module].count(SIGNATURE_MAGIC) == 1


def test_a_path_with_spaces_is_one_file(signing: Signing, tree: Path, sample: Sample) -> None:
    shutil.copy(tree / f"lib/modules/{sample.release}/kmm_sample.ko", tree / "my module.ko")
    signing.push_unsigned(tree)
    assert list(signing.signed_files("/opt/my module.ko")) == ["/opt/my module.ko"]


@pytest.mark.parametrize(("suffix", "program"), [("gz", "gzip"), ("xz", "xz"), ("zst", "zstd")])
def test_a_compressed_module_is_signed_inside_its_compression(
    signing: Signing, sample: Sample, tree: Path, suffix: str, program: str
) -> None:
    module = tree / f"lib/modules/{sample.release}/kmm_sample.ko"
    run(program, "-q", module, env=signing.debian.environment)
    signing.push_unsigned(tree)
    (packed,) = signing.signed_files(f"/opt/lib/modules/*/*.ko.{suffix}").values()
    unpack = [program, "-dcq"]
    unpacked = subprocess.run(unpack, input=packed, capture_output=True, env=signing.debian.environment, check=True)
    assert signed_by(unpacked.stdout, signing.key, signing.folder)


def test_xz_uses_the_checksum_that_the_kernel_can_read(signing: Signing, sample: Sample, tree: Path) -> None:
    run("xz", tree / f"lib/modules/{sample.release}/kmm_sample.ko", env=signing.debian.environment)
    signing.push_unsigned(tree)
    (packed,) = signing.signed_files("/opt/lib/modules/*/*.ko.xz").values()
    decompressor = lzma.LZMADecompressor()
    decompressor.decompress(packed)
    assert decompressor.check == lzma.CHECK_CRC32


def test_a_changed_module_and_a_foreign_certificate_fail_verification(
    signing: Signing, tree: Path, signing_key: SigningKey, other_key: SigningKey
) -> None:
    signing.push_unsigned(tree)
    (module,) = signing.signed_files("/opt/lib/modules/*/kmm_sample.ko").values()
    assert signed_by(module, signing_key, signing.folder)
    assert not signed_by(module, other_key, signing.folder)
    assert not signed_by(module.replace(b"hello", b"jello"), signing_key, signing.folder)


def add_text_file(tree: Path) -> None:
    (tree / "notes.ko").write_text("not a module\n")


def add_link_out_of_the_image(tree: Path) -> None:
    (tree / "leaving.ko").symlink_to("/etc/passwd")


def remove_all_modules(tree: Path) -> None:
    for module in tree.glob("**/*.ko"):
        module.unlink()


def add_damaged_archive(tree: Path) -> None:
    (tree / "damaged.ko.gz").write_bytes(gzip.compress(b"module")[:-9])


@dataclass(frozen=True)
class Refusal:
    """A call that has to end with `status` and words that match `message`."""

    message: str
    status: int = 1
    change: Callable[[Path], None] = lambda tree: None
    patterns: Sequence[str] = ()
    settings: Mapping[str, str] = field(default_factory=dict)


REFUSALS = {
    "files that are not there, each named": Refusal(
        r"no file matches /opt/a\.ko in .*\n.*no file matches /opt/b\*\.ko in ", patterns=["/opt/a.ko", "/opt/b*.ko"]
    ),
    "no module at all": Refusal("no kernel module .* below /opt in ", change=remove_all_modules),
    "no such folder": Refusal("no kernel module .* below /srv", settings={"MODULES_DIR": "/srv"}),
    "a text": Refusal(r"/opt/notes\.ko is not a kernel module", change=add_text_file),
    "a folder": Refusal("/opt/lib is not a file", patterns=["/opt/lib"]),
    "a damaged archive": Refusal(r"cannot unpack /opt/damaged\.ko\.gz", change=add_damaged_archive),
    "a link out of the image": Refusal(
        r"/opt/leaving\.ko .* leaves the image", change=add_link_out_of_the_image, patterns=["/opt/leaving.ko"]
    ),
    "a relative path": Refusal("'opt/a.ko' is not an absolute path", status=2, patterns=["opt/a.ko"]),
    "no images given": Refusal(
        "UNSIGNED_IMAGE is not set\n.*SIGNED_IMAGE is not set",
        status=2,
        settings={"UNSIGNED_IMAGE": "", "SIGNED_IMAGE": ""},
    ),
    "no key mounted": Refusal("cannot read /no/key: .* Secret", settings={"KEY_FILE": "/no/key"}),
    "an empty certificate": Refusal("cannot sign .* belong together", settings={"CERT_FILE": "/dev/null"}),
}


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
def test_a_problem_is_named_and_nothing_is_pushed(signing: Signing, tree: Path, refusal: Refusal) -> None:
    refusal.change(tree)
    signing.push_unsigned(tree)
    done = signing.run(*refusal.patterns, **refusal.settings)
    assert done.returncode == refusal.status
    assert re.search(refusal.message, done.stderr), done.stderr
    assert not signing.signed.exists


def test_a_certificate_of_another_key_is_refused(signing: Signing, tree: Path, other_key: SigningKey) -> None:
    signing.push_unsigned(tree)
    done = signing.run(CERT_FILE=str(other_key.certificate))
    assert done.returncode == 1
    assert "belong together" in done.stderr
    assert not signing.signed.exists


def test_an_unsigned_image_that_is_absent_is_named(signing: Signing) -> None:
    done = signing.run()
    assert done.returncode == 1
    assert f"cannot pull {signing.unsigned}" in done.stderr


def test_the_signer_leaves_no_copy_of_the_image_behind(signing: Signing, tree: Path) -> None:
    signing.push_unsigned(tree)
    scratch = signing.folder / "scratch"
    scratch.mkdir()
    assert signing.run(TMPDIR=str(scratch)).returncode == 0
    assert signing.run("/opt/absent.ko", TMPDIR=str(scratch)).returncode == 1
    assert list(scratch.iterdir()) == []
