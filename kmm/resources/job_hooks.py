"""What is done around the creation of a build or sign Job.

Before: a Job that an earlier, killed run left behind goes, for the state may not know of it. Meanwhile: what keeps its
pod from starting is told, and how far one is that takes long, for Pulumi waits without a word. After a failure: the end
of its log is shown, for why an image could not be made is said there and nowhere else.
"""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import pulumi

from kmm.cluster.client import Cluster
from kmm.errors import ClusterError
from kmm.names import INSTANCE_LABEL, JOB_TYPE_LABEL
from kmm.workloads import CANNOT_START, Pod

_LINES: Final = 40
_LOOK: Final = 2  # seconds between two looks at a pod
_SILENCE: Final = 10  # seconds a pod runs until its progress is told, twice as long from one time to the next
_GONE_WITHIN: Final = 120  # seconds; a pod may take 30 to end
_PAUSE: Final = 0.5


def job_hooks(cluster: Cluster) -> pulumi.ResourceHookBinding:
    """The hooks for all Jobs of a run. They run beside the program: a blocking one would hold everything up."""
    watches: dict[str, _JobWatch] = {}

    async def remove(creation: pulumi.ResourceHookArgs) -> None:
        metadata = (creation.new_inputs or {})["metadata"]
        await asyncio.to_thread(_remove_left_job, cluster, metadata)
        watches[creation.urn] = _JobWatch(cluster, metadata)

    async def end(creation: pulumi.ResourceHookArgs) -> None:
        watches.pop(creation.urn).end()

    async def show(failure: pulumi.ErrorHookArgs) -> bool:
        metadata = (failure.new_inputs or {}).get("metadata")
        obstacle = watches.pop(failure.urn).end() if failure.urn in watches else ""
        if failure.failed_operation == "create" and metadata:
            pulumi.log.error(await asyncio.to_thread(_failure, cluster, metadata, obstacle))
        return False  # the next `pulumi up` tries again, not the engine

    return pulumi.ResourceHookBinding(
        before_create=[pulumi.ResourceHook("remove-left-job", remove)],
        after_create=[pulumi.ResourceHook("end-watch-of-job", end)],
        on_error=[pulumi.ErrorHook("show-job-log", show)],
    )


class _JobWatch:
    """Tells what keeps the pod of a Job from starting, and the last line of its log now and then, until it is ended."""

    def __init__(self, cluster: Cluster, metadata: Mapping[str, Any]) -> None:
        self._cluster = cluster
        self._metadata = metadata
        self._obstacle = ""
        self._running_since = 0.0
        self._silence = _SILENCE
        self._task = asyncio.create_task(self._run())

    def end(self) -> str:
        """What kept the pod from starting, if it never ran."""
        self._task.cancel()
        return self._obstacle

    async def _run(self) -> None:
        namespace, name = self._metadata["namespace"], self._metadata["name"]
        told: set[str] = set()
        while True:
            await asyncio.sleep(_LOOK)
            with suppress(ClusterError):
                for pod in await asyncio.to_thread(self._cluster.pods_of_job, namespace, name):
                    self._look_at(pod, told)
                    await self._tell_progress(pod)

    def _look_at(self, pod: Pod, told: set[str]) -> None:
        if pod.phase == "Running":
            self._obstacle = ""
        if pod.waiting not in CANNOT_START | {"Unschedulable"}:
            return
        self._obstacle = f"{pod.waiting}: {pod.waiting_message}"
        if pod.waiting not in told:
            told.add(pod.waiting)
            pulumi.log.warn(
                f"The Job's pod {pod.key} does not start: {self._obstacle}."
                f" It is waited for as long as {_time_limit(self._metadata)} says"
            )

    async def _tell_progress(self, pod: Pod) -> None:
        if pod.phase != "Running":
            return
        self._running_since = self._running_since or time.monotonic()
        seconds = time.monotonic() - self._running_since
        if seconds < self._silence:
            return
        self._silence *= 2
        line = (await asyncio.to_thread(self._cluster.log, pod, 1)).strip() or "(no word yet)"
        name = self._metadata["name"]
        pulumi.log.info(f"Job {pod.namespace}/{name} runs for {seconds:.0f} s now: {line}", ephemeral=True)


def _remove_left_job(cluster: Cluster, metadata: Mapping[str, Any]) -> None:
    namespace, name = metadata["namespace"], metadata["name"]
    owner = cluster.owner_of_job(namespace, name)
    if owner is None:
        return
    if owner != metadata["labels"][INSTANCE_LABEL]:
        raise ClusterError(
            f"Job {namespace}/{name} exists already and is {f'of stack {owner}' if owner else 'of no stack'}."
            f" If nobody needs it: kubectl -n {namespace} delete job {name}"
        )
    cluster.delete_job(namespace, name)
    deadline = time.monotonic() + _GONE_WITHIN
    while cluster.owner_of_job(namespace, name) is not None:
        if time.monotonic() > deadline:
            raise ClusterError(
                f"Job {namespace}/{name} of an earlier run has not gone within {_GONE_WITHIN} s."
                f" See why: kubectl -n {namespace} describe pods -l job-name={name}"
            )
        time.sleep(_PAUSE)


def _time_limit(metadata: Mapping[str, Any]) -> str:
    return f"kmm:{metadata['labels'][JOB_TYPE_LABEL]}.timeout"


def _failure(cluster: Cluster, metadata: Mapping[str, Any], obstacle: str) -> str:
    namespace, name = metadata["namespace"], metadata["name"]
    try:
        pods = cluster.pods_of_job(namespace, name)
    except ClusterError as error:
        return f"Job {namespace}/{name} failed, and its pods cannot be read: {error}"
    setting = _time_limit(metadata)
    if obstacle:
        return f"Job {namespace}/{name} failed: its pod did not start within {setting}: {obstacle}"
    if not pods:
        return (
            f"Job {namespace}/{name} failed and has no pod whose log could be shown: none was started, or it was"
            f" deleted. Ran out of time? Set {setting}. See: kubectl -n {namespace} describe job {name}"
        )
    return "\n".join(_last_words(cluster, pod, setting) for pod in pods)


def _last_words(cluster: Cluster, pod: Pod, setting: str) -> str:
    try:
        log = cluster.log(pod, _LINES).rstrip() or "(it is empty)"
    except ClusterError as error:
        log = f"(it cannot be read: {error})"
    remedy = f" Give it more time: {setting}." if pod.reason == "DeadlineExceeded" else ""
    end = f"\n{pod.reason}: {pod.message.rstrip('. ')}.{remedy}" if pod.reason else ""
    return f"The Job's pod {pod.key} failed. The end of its log:\n{log}{end}"
