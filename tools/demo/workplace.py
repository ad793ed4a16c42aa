"""Where the commands of a demo run: Pulumi, kubectl and `python -m kmm` for one stack, their files in one folder."""

import os
import shlex
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from http import HTTPStatus
from pathlib import Path
from typing import Any

from tools.api import ApiError
from tools.bootstrap import Toolset
from tools.cluster import Cluster
from tools.demo.engine import Engine
from tools.environment import pulumi_environment

_UNSET_OF_THE_USER = """\
for name in $(env | sed -nE 's/^((PULUMI|KUBE|KWOK)[A-Za-z0-9_]*)=.*/\\1/p'); do unset "$name"; done
"""


@dataclass(frozen=True)
class Workplace:
    """The stack `stack` on `cluster`; `variables` are added to the environment of its commands."""

    folder: Path
    tools: Toolset
    stack: str
    cluster: Cluster
    variables: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def engine(self) -> Engine:
        """Pulumi with the stack."""
        return Engine(self.folder / "pulumi", self.stack, self.environment)

    @property
    def modules(self) -> Path:
        """The stack's Module files, for the reader to change."""
        return self.folder / "modules"

    @property
    def runner(self) -> Path:
        """A script that runs a command in the demo's environment."""
        return self.folder / "run"

    @cached_property
    def environment(self) -> dict[str, str]:
        """Environment of Pulumi, kubectl and `python -m kmm`; nothing of the user's own is in reach."""
        state = self.folder / "pulumi"
        own = pulumi_environment(self.tools, state)
        return own | {
            "PATH": f"{Path(sys.prefix) / 'bin'}{os.pathsep}{own['PATH']}",
            "KUBECONFIG": str(self.cluster.kubeconfig),
            "KUBECACHEDIR": str(self.folder / "kubectl"),  # else kubectl writes to ~/.kube
            "PULUMI_STACK": self.stack,
            "PULUMI_OPTION_CONFIG_FILE": str(state / f"Pulumi.{self.stack}.yaml"),
            "PULUMI_CONTINUE_ON_ERROR": "true",
            **self.variables,
        }

    def prepare(self, objects: Iterable[tuple[str, dict[str, Any]]]) -> None:
        """Create the stack and `objects`, each with its collection's path in the API, as far as they are not there."""
        for collection, manifest in objects:
            self._create(collection, manifest)
        self.engine.prepare(self.modules)
        self._write_runner()

    def _create(self, collection: str, manifest: dict[str, Any]) -> None:
        try:
            self.cluster.api.request("POST", collection, manifest)
        except ApiError as error:
            if error.status != HTTPStatus.CONFLICT:
                raise

    def _write_runner(self) -> None:
        own = {name: value for name, value in self.environment.items() if os.environ.get(name) != value}
        exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in sorted(own.items()))
        self.runner.write_text(
            f'#!/bin/sh\n# Runs a command in the demo\'s environment.\n{_UNSET_OF_THE_USER}{exports}exec "$@"\n'
        )
        self.runner.chmod(0o755)
