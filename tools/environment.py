"""The environments in which embedded tools run: nothing of the user's is read or written."""

import os
import sys
from pathlib import Path

from tools.bootstrap import Toolset, cache_folder

# The user's own Pulumi account, home and stacks, and their clusters, stay out of reach.
_OF_THE_USER = ("PULUMI_", "KUBE", "KWOK_")


def tool_environment(tools: Toolset) -> dict[str, str]:
    """Return our environment with the tools first on PATH, without the user's Pulumi and clusters."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(_OF_THE_USER)}
    folders = dict.fromkeys(str(folder) for folder in tools.folders.values())
    return environment | {"PATH": os.pathsep.join([*folders, os.environ["PATH"]])}


def pulumi_environment(tools: Toolset, state: Path) -> dict[str, str]:
    """Return `tool_environment` for a Pulumi whose home and `file://` backend are in the folder `state`.

    The provider (170 MB) is not copied there: `plugins` in that home is a link into the cache. Where its folder `logs`
    would be is a file: the engine's own log, which has no switch, costs up to two thirds of the engine's time.
    Without the backend's `.attrs` files a killed engine leaves no empty one, with which it reads no state any more.
    The provider leaves a copy of the kubeconfig among the temporary files at each run.
    """
    home, backend, temporary = state / "home", state / "backend", state / "temporary"
    for folder in (home, backend, temporary):
        folder.mkdir(parents=True, exist_ok=True)
    plugins = home / "plugins"
    plugins.unlink(missing_ok=True)
    plugins.symlink_to(cache_folder() / "plugins", target_is_directory=True)
    (home / "logs").touch()
    return tool_environment(tools) | {
        "TMPDIR": str(temporary),
        "PULUMI_HOME": str(home),
        "PULUMI_BACKEND_URL": f"{backend.as_uri()}?metadata=skip",
        "PULUMI_CONFIG_PASSPHRASE": "embedded",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_IGNORE_AMBIENT_PLUGINS": "true",
        "PULUMI_PYTHON_CMD": sys.executable,
    }
