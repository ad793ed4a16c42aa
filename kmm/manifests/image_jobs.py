"""The Jobs that make the images of a Module."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from kmm.errors import PlanError
from kmm.jobs import JobSettings
from kmm.manifests.build import build_manifest
from kmm.manifests.common import Manifest
from kmm.manifests.sign import sign_manifest
from kmm.plan import Action, KernelPlan, ModulePlan

Dockerfiles = Mapping[tuple[str, str], str]  # text by namespace and name of the ConfigMap
ImageJobs = Mapping[str, tuple[Manifest, ...]]  # by kernel version, those of a kernel one after the other


@dataclass(frozen=True)
class JobInputs:
    """What Jobs are made of besides the plan: settings, and the Dockerfile in each ConfigMap that a build names."""

    settings: JobSettings
    dockerfiles: Dockerfiles


def image_jobs(plan: ModulePlan, inputs: JobInputs) -> ImageJobs:
    """The Jobs for the kernels whose image is to be made. Raises PlanError for one that cannot be."""
    jobs = {kernel.version: tuple(_jobs(kernel, inputs)) for kernel in (*plan.kernels, *plan.future)}
    return {version: found for version, found in jobs.items() if found}


def _jobs(kernel: KernelPlan, inputs: JobInputs) -> Iterator[Manifest]:
    resolved = kernel.resolved
    if resolved is None:
        return
    if Action.BUILD in kernel.actions and resolved.build is not None:
        config_map = (resolved.module.metadata.namespace, resolved.build.dockerfile_config_map.name)
        if config_map not in inputs.dockerfiles:
            raise PlanError(
                f"{resolved.module.key}: kernel {kernel.version} is built from the Dockerfile in ConfigMap"
                f" {'/'.join(config_map)}, which was not read"
            )
        yield build_manifest(resolved, resolved.build, inputs.dockerfiles[config_map], inputs.settings)
    if Action.SIGN in kernel.actions and resolved.sign is not None:
        yield sign_manifest(resolved, resolved.sign, inputs.settings.sign)
