"""The end of the log of a Job that failed: why an image could not be built is said there and nowhere else."""

from typing import Final

import pulumi

from kmm.cluster.client import Cluster
from kmm.errors import ClusterError

_LINES: Final = 40


def job_log_hook(cluster: Cluster) -> pulumi.ErrorHook:
    """A hook that shows the log when the creation of a Job fails; the next `pulumi up` tries again, not the engine."""

    def show(failure: pulumi.ErrorHookArgs) -> bool:
        metadata = (failure.new_inputs or {}).get("metadata", {})
        namespace, name = metadata.get("namespace", ""), metadata.get("name", "")
        try:
            log = cluster.log_of_job(namespace, name, _LINES) or "(it has no log: its pod never started)"
        except ClusterError as error:
            log = f"(its log cannot be read: {error})"
        pulumi.log.error(f"Job {namespace}/{name} failed. The end of its log:\n{log}")
        return False

    return pulumi.ErrorHook("show-job-log", show)
