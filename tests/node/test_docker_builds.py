"""Guards the commands for Docker that users copy from `loader-image/README.md`.

Against an image that does not build, that its documented user or settings do not run, or that holds other files.
"""

import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest
from debian_packages import Debian, docker_engine
from module_signing import Image, new_signing_key, run, signed_by

from tools.bootstrap import CHECKOUT
from tools.real import leftovers
from tools.real.images import DEBIAN_IMAGE
from tools.real.network import REGISTRY
from tools.real.node_root import debian_root, kernels
from tools.real.site import FOLDER, Site

LOADER_IMAGE = CHECKOUT / "loader-image"
BASE_IMAGE = "debian:made"


class Docker:
    """An engine with a socket and a store of its own. A context manager that starts it and ends it."""

    def __init__(self, debian: Debian, folder: Path) -> None:
        host = f"unix://{folder}/socket"
        self.environment = debian.environment | {"DOCKER_HOST": host, "DOCKER_BUILDKIT": "1", "HOME": str(folder)}
        places = [f"--data-root={folder / 'data'}", f"--exec-root={folder / 'run'}", f"--pidfile={folder / 'pid'}"]
        # Containers use the machine's network, to which nothing is added.
        network = ["--bridge=none", "--iptables=false", "--ip6tables=false", f"--insecure-registry={REGISTRY}"]
        self._command = ["dockerd", f"--host={host}", *places, *network]
        self._folder = folder

    def __call__(self, *arguments: str | Path) -> str:
        return run("docker", *arguments, env=self.environment)

    def __enter__(self) -> Self:
        log_file = self._folder / "log"
        with log_file.open("wb") as log:
            self._process = subprocess.Popen(self._command, env=self.environment, stdout=log, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + 60
        while subprocess.run(["docker", "info"], env=self.environment, capture_output=True, check=False).returncode:
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.__exit__()
                pytest.fail(f"Docker does not start:\n{log_file.read_text()}")
            time.sleep(0.2)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
        leftovers.unmount(self._folder)


@pytest.fixture
def docker(site: Site) -> Iterator[Docker]:
    """Docker, which has its base image from the site's registry and packages from its mirror."""
    folder = FOLDER / "docker"  # not pytest's own, which may be too deep: paths of sockets end after 107 bytes
    folder.mkdir()
    with Docker(docker_engine(), folder) as running:
        running("pull", DEBIAN_IMAGE)
        running("tag", DEBIAN_IMAGE, BASE_IMAGE)  # BuildKit itself would ask the registry by HTTPS
        yield running
    shutil.rmtree(folder)


def readme_commands() -> str:
    """The commands for docker, as a reader types them."""
    return "".join(
        re.findall(r"```sh skip=\"needs docker.*?\n(.*?)```", (LOADER_IMAGE / "README.md").read_text(), re.DOTALL)
    )


def test_docker_builds_the_images_as_the_readme_says(docker: Docker, tmp_path: Path) -> None:
    release = kernels(debian_root())[-1]  # with a +, which no tag can hold
    reader = f"""
        kubectl() {{ echo {release}; }}
        docker() {{
            action=$1; shift
            [ "$action" != build ] || set -- --network=host --build-arg=BASE_IMAGE={BASE_IMAGE} "$@"
            command docker "$action" "$@"
        }}
    """
    run("sh", "-euc", reader + readme_commands(), env=docker.environment, cwd=CHECKOUT)
    assert "buildah version" in docker("run", "--rm", "registry.example.com/kmm-builder:1", "buildah", "--version")
    unsigned, signed = (Image(REGISTRY, f"docker/{name}") for name in ("kmm-sample", "kmm-sample-signed"))
    docker("tag", f"registry.example.com/kmm-sample:{release.replace('+', '_')}", str(unsigned))
    docker("push", str(unsigned))
    assert unsigned.config["Labels"]["org.opencontainers.image.version"] == release

    signing_key = new_signing_key(tmp_path, "signer")
    settings = {"UNSIGNED_IMAGE": unsigned, "SIGNED_IMAGE": signed, "PULL_TLS_VERIFY": "false"}
    settings |= {"PUSH_TLS_VERIFY": "false"}
    secrets = [("key", signing_key.key), ("cert", signing_key.certificate)]
    signing_key.key.chmod(0o644)  # the default mode of a mounted Secret: the signer is not root
    options = [f"--env={name}={value}" for name, value in settings.items()]
    options += [f"--volume={file}:/run/secrets/signing-{name}/{name}:ro" for name, file in secrets]
    docker("run", "--rm", "--network=host", *options, "registry.example.com/kmm-signer:1")
    names = [f"/opt/lib/modules/{release}/{name}.ko" for name in ("kmm_sample", "kmm_sample_base")]
    files = signed.last_layer()
    assert sorted(files) == names
    assert all(signed_by(content, signing_key, tmp_path) for content in files.values())

    modprobe = ["modprobe", "--show-depends", "-d", "/opt", "-S", release, "kmm_sample"]
    plan = docker("run", "--rm", str(signed), "sh", "-c", f"sleep 0 && ls /firmware && {shlex.join(modprobe)}")
    assert plan.split() == ["kmm_sample.bin", "insmod", names[1], "insmod", names[0]]
