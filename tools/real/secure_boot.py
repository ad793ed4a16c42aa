"""UEFI firmware with Secure Boot on. It trusts one key: the snake oil that Debian's package `ovmf` ships for tests.

The firmware starts no kernel that this key has not signed. The kernel then takes it for its own, and loads modules that
it signed.
"""

import shutil
import subprocess
from pathlib import Path
from typing import Final

from tools.real.packages import FIRMWARE, RealNodesError

_VARIABLES: Final = Path("/usr/share/OVMF/OVMF_VARS_4M.snakeoil.fd")
_KEY: Final = Path("/usr/share/ovmf/PkKek-1-snakeoil.key")
_CERTIFICATE: Final = Path("/usr/share/ovmf/PkKek-1-snakeoil.pem")
_PASSPHRASE: Final = "snakeoil"  # no secret, as the package's README says


def trusted_pair() -> dict[str, bytes]:
    """Return the `key` that the firmware trusts and its `cert`; PEM, without a passphrase."""
    key = _run("openssl", "pkey", "-in", _KEY, "-passin", f"pass:{_PASSPHRASE}")
    return {"key": key, "cert": _CERTIFICATE.read_bytes()}


def untrusted_pair(folder: Path, signer: str) -> dict[str, bytes]:
    """Make a `key` that no kernel trusts and its `cert`, which names the signer; PEM, kept in `folder`."""
    key, certificate = folder / "key.pem", folder / "cert.pem"
    _run(
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        f"/CN={signer}",
        "-keyout",
        key,
        "-out",
        certificate,
    )
    return {"key": key.read_bytes(), "cert": certificate.read_bytes()}


def hardware(folder: Path) -> list[str | Path]:
    """Return QEMU's options of a machine in `folder` with this firmware, which remembers nothing of earlier boots."""
    variables = folder / "firmware-variables"
    shutil.copy2(_VARIABLES, variables)
    return [
        *("-machine", "smm=on", "-global", "driver=cfi.pflash01,property=secure,value=on"),
        *("-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={FIRMWARE}"),
        *("-drive", f"if=pflash,unit=1,format=raw,file={variables}"),
    ]


def signed(kernel: Path, folder: Path) -> Path:
    """Return a copy of `kernel` in `folder` that the firmware starts."""
    key, copy = folder / "firmware-key", folder / "vmlinuz-signed"
    key.write_bytes(trusted_pair()["key"])
    _run("sbsign", "--key", key, "--cert", _CERTIFICATE, "--output", copy, kernel)
    return copy


def _run(*command: str | Path) -> bytes:
    done = subprocess.run(command, check=False, capture_output=True)
    if done.returncode != 0:
        raise RealNodesError(f"{command[0]} failed: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout
