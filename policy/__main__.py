"""CrossGuard policy pack: `pulumi preview --policy-pack policy`. What the rules are is in `kmm/policies.py`."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pulumi_policy import (
    EnforcementLevel,
    PolicyConfigSchema,
    PolicyPack,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
)

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the engine starts this file from anywhere

from kmm.checks import Finding, insecure_registries
from kmm.definition import Module
from kmm.policies import foreign_images, is_from, movable_images, unapproved_device_plugins
from kmm.problems import field_name

_MODULE: Final = "kmm:index:KernelModule"
_JOB: Final = "kubernetes:batch/v1:Job"


def no_insecure_registries(args: ResourceValidationArgs, report: ReportViolation) -> None:
    """Judge the TLS settings of a Module."""
    if args.resource_type == _MODULE:
        _report(insecure_registries(_module(args.props)), report)


def fixed_images(args: ResourceValidationArgs, report: ReportViolation) -> None:
    """Judge the images that a Module names."""
    if args.resource_type == _MODULE:
        _report(movable_images(_module(args.props)), report)


def allowed_registries(args: ResourceValidationArgs, report: ReportViolation) -> None:
    """Judge where images come from: those of Modules, and those of builder and signer, which the settings name."""
    registries = args.get_config()["registries"]
    if not registries:
        return
    if args.resource_type == _MODULE:
        _report(foreign_images(_module(args.props), registries), report)
    if args.resource_type == _JOB:
        for container in args.props["spec"]["template"]["spec"]["containers"]:
            if not is_from(container["image"], registries):
                report(f"image {container['image']} is not from {' or '.join(registries)}", None)


def approved_device_plugins(args: ResourceValidationArgs, report: ReportViolation) -> None:
    """Judge the device plugin of a Module."""
    if args.resource_type == _MODULE:
        _report(unapproved_device_plugins(_module(args.props)), report)


def _module(inputs: Mapping[str, Any]) -> Module:
    return Module.model_validate(_with_integers(inputs))


def _with_integers(value: Any) -> Any:  # noqa: ANN401 (whatever JSON holds)
    """Numbers come from the engine as floats."""
    if isinstance(value, Mapping):
        return {key: _with_integers(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_with_integers(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _report(findings: Iterable[Finding], report: ReportViolation) -> None:
    for finding in findings:
        report(f"{field_name(finding.path)}: {finding.message}", None)


PolicyPack(
    name="kmm",
    enforcement_level=EnforcementLevel.MANDATORY,
    policies=[
        ResourceValidationPolicy(
            name="no-insecure-registries",
            description="Registries are reached by TLS, and their certificates are checked.",
            validate=no_insecure_registries,
        ),
        ResourceValidationPolicy(
            name="fixed-images",
            description="Images are named by digest or by a tag with the kernel's version.",
            validate=fixed_images,
        ),
        ResourceValidationPolicy(
            name="allowed-registries",
            description="Images come from the registries that are allowed.",
            config_schema=PolicyConfigSchema(
                properties={"registries": {"type": "array", "items": {"type": "string"}, "default": []}}
            ),
            validate=allowed_registries,
        ),
        ResourceValidationPolicy(
            name="approved-device-plugins",
            description="Device plugins, which run privileged, are approved by an annotation of their Module.",
            validate=approved_device_plugins,
        ),
    ],
)
