"""Writes docs/reference from the code: `python -m tools.reference`. What no code says is in the tables here."""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml
from typer.testing import CliRunner

from kmm import names
from kmm.__main__ import app
from kmm.definition.descriptions import DESCRIPTIONS
from kmm.definition.module import Module
from kmm.settings import Settings
from tools.bootstrap import CHECKOUT

FOLDER: Final = CHECKOUT / "docs/reference"
Schema = Mapping[str, Any]

# A stack file with every setting; also the examples of the page.
EXAMPLE: Final = """\
kmm:source: both
kmm:modules: [modules, 'teams/*/kmod.yaml']
kmm:kubeconfig: /etc/kmm/kubeconfig
kmm:context: prod
kmm:imageCheck: registry
kmm:requireImages: true
kmm:futureKernels: [6.1.0-37-amd64]
kmm:requireFutureKernels: true
kmm:pinDigests: true
kmm:rollout:
  timeout: 20m
  maxUnready: 5%
  wait: true
kmm:audit: nfd
kmm:builder: buildkit
kmm:build:
  image: registry.example.com/tools/buildkit:v0.29.0-rootless
  resources: {requests: {cpu: '2', memory: 4Gi}}
  nodeSelector: {example.com/builds: 'true'}
  tolerations: [{key: dedicated, operator: Equal, value: builds, effect: NoSchedule}]
  timeout: 90m
  arguments: [--no-cache]
kmm:sign:
  image: registry.example.com/tools/kmm-signer:1
  resources: {requests: {cpu: 500m, memory: 1Gi}}
  nodeSelector: {example.com/builds: 'true'}
  tolerations: [{key: dedicated, operator: Equal, value: builds, effect: NoSchedule}]
  timeout: 10m
"""

_OF_JOBS: Final = {
    "resources": "Requests and limits of the container, as in a pod",
    "nodeSelector": "Labels of the nodes for the Job, instead of the Module's selector; `build.selector` holds too",
    "tolerations": "Taints in spite of which a node may run the Job, besides those of the Module",
    "timeout": "How long the Job may take once it has a node, with the wait for its image",
}
_INNER: Final = {
    "rollout": {
        "timeout": "How long `up` waits for the next node with a loaded module: each begins the time anew",
        "maxUnready": "How many nodes of a Module may stay without, as a number or per cent, before `up` fails",
        "wait": "Whether `up` waits at all",
    },
    "build": {
        "image": "Image of the builder",
        "arguments": "Arguments that are added to the builder's own",
        **_OF_JOBS,
    },
    "sign": {"image": "Image of the signer, made from `loader-image/signer`; needed to sign", **_OF_JOBS},
}

# Where keys of `kmm.names` are, who sets them, and what they say.
_KEYS: Final = {
    "MODULE_NAME_LABEL": ("all objects, pods", "kmm", "Name of the Module"),
    "KERNEL_LABEL": (
        "nodes; loaders and their pods",
        "kmm",
        "Kernel of the node, without a trailing `+` and with `_` for what labels cannot hold; loaders select by it",
    ),
    "ROLE_LABEL": ("DaemonSets, their pods", "kmm", "`module-loader` or `device-plugin`"),
    "TARGET_KERNEL_LABEL": ("Jobs, their pods", "kmm", "Kernel that is built or signed for"),
    "JOB_TYPE_LABEL": ("Jobs, their pods", "kmm", "`build` or `sign`"),
    "MANAGED_BY_LABEL": ("all objects", "kmm", "Always `kmm`"),
    "INSTANCE_LABEL": ("all objects", "kmm", "Name of the stack on this cluster, `kmm-` and eight digits"),
    "ready_label": ("nodes", "kmm", "The kernel module is loaded; device plugins select by it, and yours may"),
    "device_plugin_ready_label": ("nodes", "kmm", "The device plugin is Ready"),
    "version_label": ("nodes; DaemonSets, their pods", "you; kmm", "Version of the Module that the node shall have"),
    "loaded_label": (
        "nodes",
        "Node Feature Discovery, with `kmm:audit: nfd`",
        "The kernel says that the module is in it",
    ),
    "NFD_KERNEL_LABEL": ("nodes", "Node Feature Discovery", "Kernel that it saw; `kmm:audit` looks at it"),
    "UNLOAD_POLICY_ANNOTATION": (
        "Modules; DaemonSets",
        "you; kmm",
        "`Always`, or `Never` for modules that stay in the kernel whatever becomes of the pod",
    ),
    "FUTURE_KERNELS_ANNOTATION": ("Modules", "you", "Kernels to come, with spaces or commas between them"),
    "PRIVILEGED_DEVICE_PLUGIN_ANNOTATION": ("Modules", "you", "`allowed`, for the policy pack"),
    "TEMPLATE_HASH_ANNOTATION": ("DaemonSets", "kmm", "Tells whether what runs is what is declared"),
}


def pages() -> dict[Path, str]:
    """The text of each page by its path."""
    made = {
        "settings.md": _settings_page(),
        "module.md": _module_page(),
        "commands.md": _commands_page(),
        "labels.md": _labels_page(),
    }
    note = "<!-- Written by `make docs` from the code; change that instead. -->\n\n"
    return {FOLDER / name: note + text for name, text in made.items()}


def _settings_page() -> str:
    described = yaml.safe_load((CHECKOUT / "Pulumi.yaml").read_text())["config"]
    schema = Settings.model_json_schema()
    rows = []
    for key, setting in schema["properties"].items():
        inner = _referred(setting, schema).get("properties", {})
        default = "" if inner else _default(setting)
        rows.append((f"`kmm:{key}`", _type(setting, schema), default, described[key]["description"]))
        rows += [
            (f"`kmm:{key}.{name}`", _type(field, schema), _default(field), _INNER[key][name])
            for name, field in inner.items()
        ]
    return f"""\
# Settings

Settings of a stack are in `stacks/Pulumi.STACK.yaml`. `pulumi config set KEY VALUE` writes them, with `--path` what is
inside of them: `pulumi config set --path 'kmm:modules[0]' modules`, `pulumi config set --path kmm:build.timeout 2h`.
None can be a secret (`--secret`): Pulumi's state and the cluster have them in plain text.

{_table(("Key", "Type", "Default", "Meaning"), rows)}
A duration is made of hours, minutes and seconds: `45s`, `90m`, `1h30m`.

All of them, with examples of values:

```yaml
config:
{"".join(f"  {line}" for line in EXAMPLE.splitlines(keepends=True))}```
"""


def _module_page() -> str:
    schema = Module.model_json_schema()
    sections = [_model_section(name, model, schema) for name, model in _models(schema)]
    return f"""\
# Fields of a Module

The format is that of the operator's `Module` (kernel-module-management v1.1.0), with `spec.tolerations` besides.
`python -m kmm validate` checks files against it, and against rules that concern several fields;
`python -m kmm schema` prints it for editors. Where a type is "as in a pod", it is the pod's field of this name.

{"".join(sections)}"""


def _models(schema: Schema) -> Iterator[tuple[str, Schema]]:
    """Module, and the models below it in the order in which fields refer to them; not those of Kubernetes itself."""
    waiting, seen = ["Module"], set()
    while waiting:
        name = waiting.pop(0)
        if name not in seen:
            seen.add(name)
            model = schema if name == "Module" else schema["$defs"][name]
            yield name, model
            found = re.findall(r"'#/\$defs/([A-Z]\w*)'", str(model["properties"]))
            waiting = [*found, *waiting]


def _model_section(name: str, model: Schema, schema: Schema) -> str:
    required = model.get("required", ())
    rows = [
        (
            f"`{field}`",
            _type(one, schema),
            "required" if field in required else _default(one),
            DESCRIPTIONS[f"{name}.{field}"],
        )
        for field, one in model["properties"].items()
    ]
    return f"## {name}\n\n{model['description']}\n\n{_table(('Field', 'Type', 'Default', 'Meaning'), rows)}\n"


def _commands_page() -> str:
    commands = [str(command.callback.__name__) for command in app.registered_commands if command.callback]
    sections = [f"## {name}\n\n```text\n{_help(name)}\n```\n" for name in commands]
    return f"""\
# Commands

```text
{_help()}
```

{chr(10).join(sections)}"""


def _help(*command: str) -> str:
    result = CliRunner().invoke(app, [*command, "--help"], prog_name="python -m kmm", terminal_width=100)
    return "\n".join(line.rstrip() for line in result.output.strip().splitlines())


def _labels_page() -> str:
    rows = [(f"`{_key(name)}`", *_KEYS[name]) for name in key_names()]
    return f"""\
# Labels and annotations

{_table(("Key", "On", "Set by", "Meaning"), rows)}
"""


def key_names() -> list[str]:
    """Names of all label and annotation keys in `kmm.names`, functions among them, in its order."""
    return [name for name in vars(names) if re.search("(_LABEL|_ANNOTATION|_label)$", name) and name[0] != "_"]


def _key(name: str) -> str:
    key = getattr(names, name)
    return str(key("NAMESPACE", "NAME")) if callable(key) else str(key)


def _type(field: Schema, schema: Schema) -> str:
    """A field's type in words; models link to their section."""
    field = _given(field)
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        model = schema["$defs"][name]
        if "enum" not in model:
            return "as in a pod" if name[0] == "_" else _link(name, schema)
        field = model
    if "enum" in field or "const" in field:
        return " or ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    if field["type"] == "array":
        return f"list: {_type(field['items'], schema)}"
    if field["type"] == "object":
        return "map of strings"
    return str(field.get("format", field["type"]))


def _link(name: str, schema: Schema) -> str:
    """Settings show their models in place, and share `Toleration` with Modules."""
    if schema["title"] == "Module":
        return f"[{name}](#{name.lower()})"
    return "object" if name.endswith("Settings") else f"[{name}](module.md#{name.lower()})"


def _given(field: Schema) -> Schema:
    """The type that a field has when it is given."""
    present = [one for one in field.get("anyOf", ()) if one != {"type": "null"}]
    return present[0] if present else field


def _referred(field: Schema, schema: Schema) -> Schema:
    """The settings inside a setting."""
    reference = _given(field).get("$ref", "").rpartition("/")[2]
    return schema["$defs"][reference] if reference else {}


def _default(field: Schema) -> str:
    default = field.get("default")
    if default in (None, [], {}, ""):
        return ""
    if field.get("format") == "duration":  # ISO 8601
        return f"`{default.removeprefix('PT').lower()}`"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def main() -> int:
    """Write the pages."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for path, text in pages().items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
