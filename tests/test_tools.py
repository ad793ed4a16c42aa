"""Guards against a bootstrap that installs the wrong thing, half of it, or fails without saying why."""

import functools
import hashlib
import http.server
import json
import os
import shutil
import subprocess
import sys
import tarfile
import threading
from contextlib import contextmanager

import pytest

from tools import bootstrap, sources
from tools.bootstrap import CHECKOUT, PINS, BootstrapError, ensure
from tools.environment import pulumi_environment

ETCD = "#!/bin/sh\necho etcd Version: 3.5.21\n"
REFUSES = "http://127.0.0.1:9"  # the discard port: nobody listens


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """An empty cache, nothing on PATH but the system's own, no mirror and no way to the official downloads."""
    monkeypatch.setenv("KMM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("KMM_TOOLS_MIRROR", str(tmp_path / "mirror"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "bin").mkdir()
    (tmp_path / "mirror").mkdir()
    for scheme in ("http", "https"):
        monkeypatch.setenv(f"{scheme}_proxy", REFUSES)
        monkeypatch.setenv(f"{scheme.upper()}_PROXY", REFUSES)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(bootstrap, "_platform", lambda: ("linux", "amd64"))
    return tmp_path


@pytest.fixture
def archive(machine, monkeypatch):
    """A small etcd in the mirror, with its checksum pinned."""
    (machine / "etcd").write_text(ETCD)
    file = machine / "mirror" / PINS["etcd"]["mirror"]["archive"]
    with tarfile.open(file, "w:xz") as tar:
        tar.add(machine / "etcd", "some/folder/etcd")
    pin_checksum(monkeypatch, file)
    return file


def pin_checksum(monkeypatch, file):
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    monkeypatch.setitem(PINS["etcd"]["mirror"], "sha256", sha256)


def installed(machine):
    return sorted(path.name for path in (machine / "cache/tools").glob("*"))


def put_on_path(machine, script, name="etcd"):
    binary = machine / "bin" / name
    binary.write_text(script)
    binary.chmod(0o755)


@contextmanager
def served(folder):
    """Serve a folder on loopback; yields the URL."""
    handler = functools.partial(QuietHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.02])
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


def test_the_mirror_s_archives_are_what_the_pins_say(monkeypatch, machine):
    mirror = CHECKOUT.parent / "shared/mirror"
    if not mirror.is_dir():
        pytest.skip("no mirror beside the checkout")
    monkeypatch.setenv("KMM_TOOLS_MIRROR", str(mirror))
    monkeypatch.setenv("PATH", os.defpath)
    tools = ensure(["etcd", "registry"])
    versions = {name: subprocess.check_output([tools.binary(name), "--version"], text=True) for name in tools.folders}
    assert versions["registry"].split()[-1] == "v3.0.0"
    assert versions["etcd"].startswith("etcd Version: 3.")
    pinned = {line.split()[1]: line.split()[0] for line in (mirror / "SHA256SUMS").read_text().splitlines()}
    assert pinned == {pin["mirror"]["archive"]: pin["mirror"]["sha256"] for pin in PINS.values()}


def test_a_binary_is_taken_from_anywhere_in_the_archive_and_made_executable(archive, machine):
    etcd = ensure(["etcd"]).binary("etcd")
    assert subprocess.check_output([etcd], text=True, env={"PATH": os.defpath}) == "etcd Version: 3.5.21\n"
    assert [path.name for path in etcd.parent.iterdir()] == ["etcd"]


def test_a_second_run_needs_no_mirror(archive, machine):
    first = ensure(["etcd"])
    archive.unlink()
    assert ensure(["etcd"]) == first


def test_a_mirror_may_be_a_url(archive, machine, monkeypatch):
    with served(machine / "mirror") as url:
        monkeypatch.setenv("KMM_TOOLS_MIRROR", url + "/")
        ensure(["etcd"])
    assert installed(machine) == ["etcd-3.5.21"]


@pytest.mark.parametrize("version", ["3.5.21", "3.5.22", "3.6.8"])
def test_a_fitting_version_on_path_is_used(machine, version):
    put_on_path(machine, f"#!/bin/sh\necho etcd Version: {version}\n")
    assert ensure(["etcd"]).binary("etcd") == machine / "bin/etcd"
    assert installed(machine) == []


@pytest.mark.parametrize(
    "script",
    [
        pytest.param("echo etcd Version: 3.5.20", id="too old"),
        pytest.param("echo etcd Version: 4.0.0", id="too new"),
        pytest.param("echo no version here", id="no version"),
        pytest.param("exit 1", id="does not run"),
    ],
)
def test_another_version_on_path_is_not_used(archive, machine, script):
    put_on_path(machine, f"#!/bin/sh\n{script}\n")
    assert ensure(["etcd"]).binary("etcd").is_relative_to(machine / "cache")


def test_a_tool_on_path_without_its_companions_is_not_used(machine):
    put_on_path(machine, "#!/bin/sh\necho v3.255.0\n", name="pulumi")
    with pytest.raises(BootstrapError, match=r"pulumi 3\.255\.0 could not be had"):
        ensure(["pulumi"])


def truncated(file):
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def garbled(file):
    file.write_bytes(b"not an archive at all")


def without_member(file):
    with tarfile.open(file, "w:xz"):
        pass


@pytest.mark.parametrize("spoil", [truncated, garbled, without_member])
def test_an_archive_with_a_wrong_checksum_installs_nothing(archive, machine, spoil):
    spoil(archive)
    with pytest.raises(BootstrapError, match=r"etcd-v3\.5\.21-linux-amd64\.tar\.xz: wrong checksum: sha256 is"):
        ensure(["etcd"])
    assert installed(machine) == []


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [(truncated, "broken archive"), (garbled, "broken archive"), (without_member, "the archive lacks etcd")],
)
def test_an_archive_that_cannot_be_unpacked_installs_nothing(archive, machine, monkeypatch, spoil, problem):
    spoil(archive)
    pin_checksum(monkeypatch, archive)
    with pytest.raises(BootstrapError, match=problem):
        ensure(["etcd"])
    assert installed(machine) == []
    assert list((machine / "cache/partial").iterdir()) == []


def test_one_error_names_every_place_that_was_tried(machine, monkeypatch):
    monkeypatch.setenv("KMM_TOOLS_MIRROR", f"{REFUSES}/tools")
    with pytest.raises(BootstrapError) as failure:
        ensure(["etcd", "kubectl"])
    text = str(failure.value)
    for part in (
        "etcd 3.5.21 could not be had:",
        "PATH: no etcd >= 3.5.21 and < 4.0.0",
        f"{REFUSES}/tools/etcd-v3.5.21-linux-amd64.tar.xz: [Errno 111] Connection refused",
        "https://github.com/etcd-io/etcd/releases/download/v3.5.21/SHA256SUMS: [Errno 111] Connection refused",
        "kubectl 1.35.3 could not be had:",
        "https://dl.k8s.io/release/v1.35.3/bin/linux/amd64/kubectl.sha256",
    ):
        assert part in text
    assert installed(machine) == []


def test_a_missing_archive_is_named_with_its_folder(machine):
    with pytest.raises(BootstrapError, match=rf"mirror: {machine}/mirror/etcd-v3\S+ is not there"):
        ensure(["etcd"])


def test_a_download_that_ends_early_is_an_error(machine):
    class Cut(QuietHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"too little")

    with http.server.HTTPServer(("127.0.0.1", 0), Cut) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        with pytest.raises(sources.SourceError, match="ended after 10 of 100 bytes"):
            sources.download(f"http://127.0.0.1:{server.server_port}/x", machine / "x")
        thread.join()


OFFICIAL = b"#!/bin/sh\necho official\n"
SHA256 = hashlib.sha256(OFFICIAL).hexdigest()
GITHUB = json.dumps({"assets": [{"name": "other", "digest": None}, {"name": "etcd", "digest": f"sha256:{SHA256}"}]})


@pytest.mark.parametrize(
    "listing",
    [
        pytest.param(SHA256, id="bare checksum"),
        pytest.param(f"{'0' * 64}  other\n{SHA256}  etcd\n", id="sha256sum lines"),
        pytest.param(f"{SHA256} *./etcd\n", id="binary mode and a folder"),
        pytest.param(GITHUB, id="GitHub's release API"),
    ],
)
def test_an_official_download_is_checked_against_the_published_checksum(machine, monkeypatch, listing):
    files = machine / "official"
    files.mkdir()
    (files / "etcd").write_bytes(OFFICIAL)
    (files / "sums").write_text(listing)
    with served(files) as url:
        item = {"url": f"{url}/etcd", "checksums": f"{url}/sums", "binary": "etcd"}
        monkeypatch.setitem(PINS["etcd"], "official", [item])
        assert ensure(["etcd"]).binary("etcd").read_bytes() == OFFICIAL
        shutil.rmtree(machine / "cache")
        (files / "etcd").write_bytes(OFFICIAL + b"more")
        with pytest.raises(BootstrapError, match="wrong checksum"):
            ensure(["etcd"])
    assert installed(machine) == []


@pytest.mark.parametrize(
    "listing",
    [
        pytest.param("", id="empty"),
        pytest.param(f"{SHA256}  other\n", id="other files only"),
        pytest.param('{"assets": [{"name": "etcd", "digest": null}]}', id="asset without digest"),
        pytest.param('{"message": "rate limit"}', id="API error"),
        pytest.param("<html>Sign in</html>", id="captive portal"),
        pytest.param("{", id="broken JSON"),
    ],
)
def test_a_listing_without_the_checksum_is_an_error(machine, listing):
    (machine / "mirror/sums").write_text(listing)
    with (
        served(machine / "mirror") as url,
        pytest.raises(sources.SourceError, match=r"/sums: holds no SHA-256 for etcd"),
    ):
        sources.published_checksum(f"{url}/sums", "etcd", machine)


def test_what_a_killed_run_left_is_removed_and_done_again(archive, machine):
    leftover = machine / "cache/partial/etcd-3.5.21-abc"
    (leftover / "ready").mkdir(parents=True)
    (leftover / "ready/etcd").write_text("half")
    assert ensure(["etcd"]).binary("etcd").read_text() == ETCD
    assert not leftover.exists()


def test_runs_at_the_same_time_install_once(archive, machine):
    """Real processes, as the lock is between processes; the checksum is given by a copy of the pins."""
    program = (
        "import sys, json; from tools import bootstrap as b; b.PINS.update(json.loads(sys.argv[1])); b.ensure(['etcd'])"
    )
    command = [sys.executable, "-c", program, json.dumps({"etcd": PINS["etcd"]})]
    runs = [subprocess.Popen(command, cwd=CHECKOUT, stderr=subprocess.PIPE, text=True) for _ in range(6)]
    outputs = [run.communicate()[1] for run in runs]
    assert [run.returncode for run in runs] == [0] * 6
    assert "".join(outputs).count("unpacking") == 1
    assert installed(machine) == ["etcd-3.5.21"]


def test_a_cache_that_cannot_be_written_says_what_to_set(machine, monkeypatch):
    (machine / "file").write_text("")
    monkeypatch.setenv("KMM_CACHE", str(machine / "file"))
    with pytest.raises(BootstrapError, match="Set KMM_CACHE"):
        ensure(["etcd"])


def test_pulumi_sees_nothing_of_the_user(machine, archive, monkeypatch):
    for variable in ("KUBECONFIG", "PULUMI_ACCESS_TOKEN", "PULUMI_STACK"):
        monkeypatch.setenv(variable, "the user's")
    tools = ensure(["etcd"])
    environment = pulumi_environment(tools, machine / "state")
    assert "the user's" not in environment.values()
    assert environment["PULUMI_HOME"] == str(machine / "state/home")
    assert environment["PULUMI_BACKEND_URL"] == f"file://{machine}/state/backend?metadata=skip"
    assert environment["PATH"].split(os.pathsep)[0] == str(machine / "cache/tools/etcd-3.5.21")


def test_unknown_tools_are_refused_with_the_known_ones():
    command = [sys.executable, "-m", "tools.bootstrap", "ectd"]
    answer = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert answer.returncode == 2
    assert "unknown tool ectd; known: pulumi, " in answer.stderr


@pytest.mark.parametrize(
    ("ci", "code", "verdict"), [("", 0, "All others ran."), ("true", 1, "That is a failure, because CI=true.")]
)
def test_without_an_engine_the_last_lines_say_what_was_left_out(machine, monkeypatch, ci, code, verdict):
    monkeypatch.setenv("CI", ci)
    test = "tests/engine/test_embedded_cluster.py::test_a_node_reports_the_kernel_that_it_was_given_last"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n", "1", test]
    run = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert run.returncode == code
    last = run.stdout.splitlines()
    assert last[-1] == f"LEFT OUT: 1 tests that need the real engine. {verdict}"
    assert f"  - mirror: {machine}/mirror/registry-v3.0.0-linux-amd64.tar.xz is not there" in last
