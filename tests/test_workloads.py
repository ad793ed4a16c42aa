"""Guards against misreading what the API server says of DaemonSets and pods, and against taking no answer for none."""

import json

import pytest

from kmm.errors import ClusterError
from kmm.names import INSTANCE_LABEL, KERNEL_LABEL, MODULE_NAME_LABEL, ROLE_LABEL, TEMPLATE_HASH_ANNOTATION
from kmm.workload_list import parse_daemon_sets, parse_pods
from kmm.workloads import DaemonSet

LABELS = {MODULE_NAME_LABEL: "kmod", KERNEL_LABEL: "5.14", ROLE_LABEL: "module-loader", INSTANCE_LABEL: "kmm-1"}


def listed(*items, token=None):
    metadata = {"resourceVersion": "1"} | ({"continue": token} if token else {})
    return json.dumps({"kind": "List", "metadata": metadata, "items": list(items)}).encode()


def daemon_set(status=None, **metadata):
    return {
        "metadata": {
            "name": "kmod-1",
            "namespace": "drivers",
            "generation": 4,
            "labels": LABELS,
            "annotations": {TEMPLATE_HASH_ANNOTATION: "abc", "deprecated.daemonset.template.generation": "3"},
            **metadata,
        },
        "spec": {"template": {"spec": {"nodeSelector": {"a": "b"}, "containers": [{"image": "kmod:1"}]}}},
        "status": {
            "observedGeneration": 4,
            "desiredNumberScheduled": 2,
            "updatedNumberScheduled": 2,
            "numberReady": 1,
            **(status or {}),
        },
    }


def pod(*statuses, status=None, **metadata):
    return {
        "metadata": {
            "name": "kmod-1-x",
            "namespace": "drivers",
            "labels": {"pod-template-generation": "3"},
            "ownerReferences": [{"kind": "DaemonSet", "name": "kmod-1"}],
            **metadata,
        },
        "spec": {"nodeName": "a"},
        "status": {"phase": "Running", "containerStatuses": list(statuses)} | (status or {}),
    }


def parsed_pod(*statuses, **fields):
    (found,) = parse_pods(listed(pod(*statuses, **fields))).items
    return found


class TestDaemonSets:
    def test_everything_that_counts_is_read(self):
        page = parse_daemon_sets(listed(daemon_set(), token="next"))
        (found,) = page.items
        assert page.continue_token == "next"
        assert (found.module, found.role, found.kernel) == ("drivers/kmod", "module-loader", "5.14")
        assert (found.template_hash, found.template, found.node_selector) == ("abc", "3", {"a": "b"})
        assert (found.observed, found.desired, found.updated, found.ready) == (True, 2, 2, 1)
        assert (found.image, found.unloads) == ("kmod:1", True)

    def test_a_new_one_without_status_is_not_observed(self):
        bare = daemon_set() | {"status": {}}
        (found,) = parse_daemon_sets(listed(bare)).items
        assert (found.observed, found.desired) == (False, 0)

    def test_one_that_lags_behind_its_definition_is_not_observed(self):
        (found,) = parse_daemon_sets(listed(daemon_set({"observedGeneration": 3}))).items
        assert not found.observed

    def test_a_policy_never_to_unload_is_read(self):
        annotations = {"kmm.sigs.x-k8s.io/unload-policy": "Never"}
        (found,) = parse_daemon_sets(listed(daemon_set(annotations=annotations))).items
        assert not found.unloads

    def test_one_of_somebody_else_has_empty_parts(self):
        (found,) = parse_daemon_sets(listed(daemon_set(labels=None, annotations=None))).items
        assert (found.module, found.role, found.template_hash) == ("drivers/", "", "")

    @pytest.mark.parametrize(
        ("found", "expected", "settled"),
        [
            (DaemonSet("n", "d", desired=3, updated=3, ready=3), 3, True),
            (DaemonSet("n", "d", desired=3, updated=3, ready=2), 2, True),
            (DaemonSet("n", "d", desired=3, updated=3, ready=2), 3, False),
            (DaemonSet("n", "d", desired=3, updated=2, ready=3), 3, False),
            (DaemonSet("n", "d", desired=3, updated=3, ready=3, observed=False), 3, False),
            (DaemonSet("n", "d"), 0, True),
        ],
        ids=["all ready", "enough ready", "not enough", "old pods left", "not observed", "no nodes"],
    )
    def test_it_has_settled_when_nothing_is_left_to_do(self, found, expected, settled):
        assert found.settled(expected, 0) is settled


class TestPods:
    def test_a_ready_pod(self):
        found = parsed_pod({"state": {"running": {}}}, status={"conditions": [{"type": "Ready", "status": "True"}]})
        assert (found.namespace, found.node, found.daemon_set, found.template) == ("drivers", "a", "kmod-1", "3")
        assert (found.ready, found.deleting, found.waiting, found.exit_code) == (True, False, "", None)

    @pytest.mark.parametrize(
        "conditions",
        [None, [], [{"type": "Ready", "status": "False"}], [{"type": "ContainersReady", "status": "True"}]],
        ids=["null", "none", "not ready", "another condition"],
    )
    def test_a_pod_that_does_not_say_so_is_not_ready(self, conditions):
        assert not parsed_pod(status={"conditions": conditions}).ready

    def test_a_pod_that_no_node_takes_waits_for_one(self):
        why = {"reason": "Unschedulable", "message": "0/3 nodes are available: 3 Insufficient memory."}
        scheduled = {"type": "PodScheduled", "status": "False", **why}
        found = parsed_pod(status={"phase": "Pending", "conditions": [scheduled]})
        assert (found.waiting, found.waiting_message) == ("Unschedulable", why["message"])
        assert parsed_pod(status={"conditions": [scheduled | {"status": "True"}]}).waiting == ""

    def test_a_pod_that_ends_is_seen_to(self):
        assert parsed_pod(deletionTimestamp="2026-01-01T00:00:00Z").deleting

    def test_a_pull_that_fails_has_the_runtime_s_words(self):
        waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "manifest unknown"}}
        found = parsed_pod({"state": waiting})
        assert (found.waiting, found.waiting_message) == ("ImagePullBackOff", "manifest unknown")

    def test_a_crash_has_the_last_words_of_the_run_before(self):
        ended = {"terminated": {"exitCode": 1, "message": "Exec format error\n"}}
        found = parsed_pod(
            {"restartCount": 4, "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": ended}
        )
        assert (found.exit_code, found.last_words, found.restarts) == (1, "Exec format error", 4)

    def test_the_present_end_wins_over_that_before(self):
        ended = [{"terminated": {"exitCode": code, "message": str(code)}} for code in (2, 1)]
        assert parsed_pod({"state": ended[0], "lastState": ended[1]}).last_words == "2"

    @pytest.mark.parametrize("fields", [{}, {"status": {"containerStatuses": None}}], ids=["none", "null"])
    def test_a_pod_without_containers_yet_says_nothing(self, fields):
        found = parsed_pod(**fields)
        assert (found.waiting, found.last_words, found.exit_code) == ("", "", None)

    def test_a_pod_without_a_node_or_an_owner(self):
        bare = pod(ownerReferences=None) | {"spec": {}}
        (found,) = parse_pods(listed(bare)).items
        assert (found.node, found.daemon_set) == ("", "")

    def test_an_owner_of_another_kind_does_not_count(self):
        owners = [{"kind": "Job", "name": "job"}, {"kind": "DaemonSet", "name": "kmod-2"}]
        assert parsed_pod(ownerReferences=owners).daemon_set == "kmod-2"


@pytest.mark.parametrize("parse", [parse_daemon_sets, parse_pods])
class TestAnswers:
    @pytest.mark.parametrize("items", [[], None], ids=["empty", "null"])
    def test_an_empty_list_is_one(self, parse, items):
        body = json.dumps({"metadata": {}, "items": items}).encode()
        assert (parse(body).items, parse(body).continue_token) == ((), "")

    @pytest.mark.parametrize(
        "body",
        [b"", b"no JSON", b"[]", b"{}", b'{"items": 1}', b'{"items": [{}]}', b'{"items": [{"metadata": {"name": 1}}]}'],
        ids=["nothing", "text", "an array", "no items", "a number", "no metadata", "no name"],
    )
    def test_anything_else_is_an_error_and_no_empty_list(self, parse, body):
        with pytest.raises(ClusterError, match="not the list that was asked for"):
            parse(body)
