"""Guards against a rollout that calls nodes ready that are not, waits for what can't come, or labels wrongly."""

from dataclasses import replace

import pytest
from builders import module, node
from hypothesis import given
from hypothesis import strategies as st

from kmm.manifests import module_manifests
from kmm.names import KERNEL_LABEL, ROLE_DEVICE_PLUGIN, ROLE_MODULE_LOADER
from kmm.plan import Images, make_plan
from kmm.ready_labels import is_settled, label_changes, shares_of_former_waits
from kmm.rollout import (
    Outcome,
    State,
    Workload,
    allowed_unready,
    block_device_plugins,
    device_plugin_workload,
    failure_report,
    loader_workload,
    lost,
    outcomes,
    settled_outcomes,
)
from kmm.workloads import DaemonSet, Pod

MANAGER = "kmm-1.ready"
FORMER = "kmm-1.ready-1a2b"
LABEL = "kmm.node.kubernetes.io/default.kmod.ready"
LOADER = Workload("default/kmod", "default", "kmod-1", ROLE_MODULE_LOADER, "hash", LABEL, ("a", "b"))
RUNNING = DaemonSet("default", "kmod-1", template_hash="hash", template="3", desired=2, updated=2, ready=2)
NODES = {name: node(name) for name in ("a", "b")}
READY = Pod("default", "pod-a", "a", "kmod-1", template="3", phase="Running", ready=True)
LOST = node("a", taints=["node.kubernetes.io/unreachable:NoExecute"])


def labelled(name, *keys, manager=MANAGER):
    return replace(node(name, labels=dict.fromkeys(keys, "")), label_owners={key: frozenset({manager}) for key in keys})


def shared(name, *managers):
    return replace(node(name, labels={LABEL: ""}), label_owners={LABEL: frozenset(managers)})


def outcome_of(pod, on=NODES["a"], daemon_set=RUNNING):
    nodes = {} if on is None else {"a": on}
    return outcomes(replace(LOADER, nodes=("a",)), daemon_set, [pod] if pod else [], nodes)[0]


class TestAllowedUnready:
    @pytest.mark.parametrize(
        ("text", "total", "allowed"),
        [("0", 40, 0), ("3", 40, 3), ("0%", 40, 0), ("10%", 40, 4), ("10%", 39, 3), ("10%", 9, 0), ("100%", 7, 7)],
    )
    def test_numbers_and_per_cent_are_taken(self, text, total, allowed):
        assert allowed_unready(text)(total) == allowed

    @pytest.mark.parametrize("text", ["", "-1", "1.5", "101%", "%", "10 %", "ten", "1e3", "9999999", "10%%"])
    def test_anything_else_is_refused_with_an_example(self, text):
        with pytest.raises(ValueError, match="such as 2 or 10%"):
            allowed_unready(text)

    @given(st.integers(0, 100), st.integers(0, 10_000))
    def test_per_cent_are_rounded_down(self, percent, total):
        allowed = allowed_unready(f"{percent}%")(total)
        assert 0 <= allowed <= total
        assert allowed * 100 <= percent * total < (allowed + 1) * 100


class TestSettled:
    def test_counts_are_enough_when_everything_is_ready(self):
        found = settled_outcomes(LOADER, RUNNING, NODES)
        assert found == [Outcome("a", State.READY), Outcome("b", State.READY)]

    @pytest.mark.parametrize(
        "daemon_set",
        [
            None,
            replace(RUNNING, template_hash="older"),
            replace(RUNNING, observed=False),
            replace(RUNNING, updated=1),
            replace(RUNNING, ready=1),
            replace(RUNNING, desired=0, updated=0, ready=0),
        ],
        ids=["absent", "older template", "not observed", "being updated", "not ready", "nothing scheduled yet"],
    )
    def test_otherwise_pods_must_be_looked_at(self, daemon_set):
        assert settled_outcomes(LOADER, daemon_set, NODES) is None

    def test_so_they_must_be_where_the_daemonset_runs_on_nodes_of_another_workload_too(self):
        assert settled_outcomes(replace(LOADER, partial=True), RUNNING, NODES) is None

    def test_a_lost_node_is_not_waited_for(self):
        nodes = NODES | {"a": LOST}
        found = settled_outcomes(LOADER, replace(RUNNING, desired=1, updated=1, ready=1), nodes)
        assert [one.state for one in found] == [State.LEFT_OUT, State.READY]
        assert "unreachable" in found[0].words

    def test_a_node_that_went_is_not_waited_for(self):
        found = settled_outcomes(LOADER, replace(RUNNING, desired=1, updated=1, ready=1), {"b": NODES["b"]})
        assert (found[0].state, found[0].words) == (State.LEFT_OUT, "the node is gone")

    @pytest.mark.parametrize(
        ("label", "counts", "settled"),
        [
            ({LABEL: ""}, {"desired": 1, "updated": 1, "ready": 1, "misscheduled": 1}, True),
            ({LABEL: ""}, {}, True),
            ({LABEL: ""}, {"desired": 1, "updated": 1, "ready": 1}, False),
            ({}, {"desired": 1, "updated": 1, "ready": 1, "misscheduled": 1}, False),
            ({LABEL: ""}, {"desired": 1, "updated": 1, "ready": 0, "misscheduled": 2}, False),
        ],
        ids=["its pod is there", "the taint is not seen yet", "its pod is gone", "it was not Ready", "another is not"],
    )
    def test_a_pod_that_was_ready_before_a_taint_came_is_taken_for_ready_while_it_is_there(
        self, label, counts, settled
    ):
        nodes = NODES | {"a": node("a", labels=label, taints=["gpu:NoSchedule"])}
        found = settled_outcomes(LOADER, replace(RUNNING, **counts), nodes)
        assert ([one.state for one in found] if found else None) == ([State.LEFT_OUT, State.READY] if settled else None)

    def test_labels_must_say_the_same(self):
        bare = [node("a"), labelled("b", LABEL)]
        assert not is_settled([LOADER], [RUNNING], bare, MANAGER)
        assert is_settled([LOADER], [RUNNING], [labelled("a", LABEL), labelled("b", LABEL)], MANAGER)

    def test_labels_of_former_waits_are_to_be_taken_over(self):
        nodes = [labelled("a", LABEL), shared("b", MANAGER, FORMER)]
        assert not is_settled([LOADER], [RUNNING], nodes, MANAGER)
        at_work = replace(LOADER, awaited=False)
        assert is_settled([at_work], [RUNNING], nodes, MANAGER)

    def test_one_workload_that_has_not_settled_is_enough(self):
        nodes = [labelled("a", LABEL), labelled("b", LABEL)]
        assert not is_settled([LOADER, replace(LOADER, name="other")], [RUNNING], nodes, MANAGER)


class TestOutcomes:
    @pytest.mark.parametrize(
        ("pod", "state", "words"),
        [
            (READY, State.READY, ""),
            (None, State.WAITING, "no pod yet"),
            (replace(READY, ready=False), State.WAITING, "pod pod-a (Running)"),
            (replace(READY, template="2"), State.WAITING, "pod pod-a is to be replaced: one node changes at a time"),
            (replace(READY, deleting=True), State.WAITING, "pod pod-a is ending"),
            (replace(READY, daemon_set="other"), State.WAITING, "no pod yet"),
            (replace(READY, namespace="other"), State.WAITING, "no pod yet"),
            (replace(READY, ready=False, waiting="ContainerCreating"), State.WAITING, "ContainerCreating"),
            (replace(READY, ready=False, waiting="ErrImagePull"), State.WAITING, "ErrImagePull"),
            (replace(READY, ready=False, waiting="ImagePullBackOff"), State.FAILED, "ImagePullBackOff"),
            (replace(READY, ready=False, waiting="CrashLoopBackOff", restarts=1), State.WAITING, "1 restarts"),
            (replace(READY, ready=False, waiting="CrashLoopBackOff", restarts=4), State.FAILED, "4 restarts"),
            (replace(READY, ready=False, phase="Failed", exit_code=1), State.FAILED, "exit code 1"),
        ],
        ids=[
            "ready",
            "none",
            "running",
            "of an older template",
            "ending",
            "of another DaemonSet",
            "of another namespace",
            "starting",
            "first failed pull",
            "pull given up",
            "crashed once",
            "crashing",
            "failed",
        ],
    )
    def test_a_pod_tells_how_its_node_fares(self, pod, state, words):
        found = outcome_of(pod)
        assert found.state is state
        assert words in found.words

    def test_a_node_that_boots_another_kernel_meanwhile_is_not_waited_for(self):
        daemon_set = replace(RUNNING, labels={KERNEL_LABEL: "6.1.0-18"})
        before, after = node("a", "6.1.0-18+"), node("a", "6.1.0-20")
        assert outcome_of(replace(READY, ready=False), before, daemon_set).state is State.WAITING
        found = outcome_of(replace(READY, ready=False), after, daemon_set)
        assert (found.state, found.words) == (
            State.BLOCKED,
            "the node runs kernel 6.1.0-20 now: run `pulumi up` again",
        )

    def test_a_device_plugin_is_not_waited_for_where_the_loader_failed(self):
        plugin = replace(LOADER, name="kmod-plugin", role=ROLE_DEVICE_PLUGIN)
        other = replace(plugin, module="default/other")
        waiting = [Outcome("a", State.WAITING), Outcome("b", State.WAITING)]
        found = block_device_plugins(
            {LOADER: [Outcome("a", State.FAILED), Outcome("b", State.WAITING)], plugin: waiting, other: waiting}
        )
        assert [one.state for one in found[plugin]] == [State.BLOCKED, State.WAITING]
        assert [one.state for one in found[other]] == [State.WAITING, State.WAITING]

    def test_without_a_daemonset_no_pod_counts(self):
        assert outcome_of(READY, daemon_set=None).state is State.WAITING

    def test_only_modprobe_s_last_line_is_quoted_and_its_meaning_added(self):
        said = "insmod kmod.ko\nmodprobe: ERROR: could not insert 'kmod': Exec format error"
        first, second = outcome_of(
            replace(READY, ready=False, waiting="CrashLoopBackOff", last_words=said)
        ).words.split("\n")
        assert first.endswith(": modprobe: ERROR: could not insert 'kmod': Exec format error")
        assert "another kernel" in second

    def test_a_pull_that_fails_gives_the_runtime_s_words(self):
        words = outcome_of(
            replace(READY, ready=False, waiting="ImagePullBackOff", waiting_message="manifest unknown")
        ).words
        assert "manifest unknown" in words
        assert "imageRepoSecret" in words

    @pytest.mark.parametrize(
        ("on", "pod", "state"),
        [
            (LOST, READY, State.LEFT_OUT),
            (None, READY, State.LEFT_OUT),
            (node("a", taints=["gpu:NoSchedule"]), None, State.BLOCKED),
            (node("a", taints=["gpu:NoSchedule"]), READY, State.READY),
            (node("a", taints=["gpu:NoSchedule"]), replace(READY, ready=False), State.WAITING),
            (node("a", cordoned=True), replace(READY, ready=False, waiting="CrashLoopBackOff"), State.BLOCKED),
            (node("a", cordoned=True), READY, State.READY),
            (node("a", cordoned=True), None, State.BLOCKED),
            (node("a", taints=["slow:PreferNoSchedule"]), None, State.WAITING),
        ],
        ids=[
            "lost",
            "gone",
            "tainted without a pod",
            "tainted with a ready pod",
            "tainted with a pod that starts",
            "cordoned with a pod that fails",
            "cordoned with a ready pod",
            "cordoned without a pod",
            "a taint that keeps nothing off",
        ],
    )
    def test_nodes_that_take_no_pods_now_are_not_waited_for(self, on, pod, state):
        assert outcome_of(pod, on).state is state


class TestLabels:
    @pytest.mark.parametrize(
        ("state", "before", "after"),
        [
            (State.READY, (), {LABEL: ""}),
            (State.READY, (LABEL,), None),
            (State.WAITING, (LABEL,), {}),
            (State.FAILED, (LABEL,), {}),
            (State.WAITING, (), None),
            (State.LEFT_OUT, (LABEL,), None),
            (State.LEFT_OUT, (), None),
            (State.BLOCKED, (LABEL,), {}),
        ],
        ids=[
            "turned ready",
            "still ready",
            "restarts",
            "failed",
            "never was",
            "left as it is",
            "left without",
            "blocked",
        ],
    )
    def test_the_ready_label_follows_the_pod(self, state, before, after):
        changes = label_changes(MANAGER, {LOADER: [Outcome("a", state)]}, [labelled("a", *before)])
        assert [change.labels for change in changes] == ([] if after is None else [after])

    @pytest.mark.parametrize("before", [(), (LABEL,)], ids=["off", "on"])
    @pytest.mark.parametrize(
        ("former", "stays"),
        [({}, True), ({"ready": False}, False), ({"deleting": True}, False)],
        ids=["ready", "not ready", "ending"],
    )
    def test_the_label_stays_as_it_is_while_a_former_pod_is_ready(self, former, stays, before):
        outcome = outcome_of(replace(READY, template="2", **former))
        assert outcome.state is State.WAITING
        changes = label_changes(MANAGER, {LOADER: [outcome]}, [labelled("a", *before)])
        assert changes == [] or (before and not stays)

    def test_labels_of_workloads_that_are_gone_are_given_up(self):
        (change,) = label_changes(MANAGER, {}, [labelled("a", LABEL)])
        assert (change.node, change.uid, change.labels) == ("a", "uid-a", {})

    def test_labels_of_other_managers_are_left_alone(self):
        assert label_changes(MANAGER, {}, [labelled("a", LABEL, manager="other")]) == []

    def test_what_a_former_wait_labelled_is_taken_over_where_nothing_can_be_known(self):
        found = {LOADER: [Outcome("a", State.LEFT_OUT)]}
        (change,) = label_changes(MANAGER, found, [shared("a", FORMER)])
        assert change.labels == {LABEL: ""}
        assert label_changes(MANAGER, found, [shared("a", "kmm-2.ready-1a2b")]) == []
        at_work = {replace(LOADER, awaited=False): [Outcome("a", State.LEFT_OUT)]}
        assert label_changes(MANAGER, at_work, [shared("a", FORMER)]) == []

    @pytest.mark.parametrize(
        ("awaited", "before", "given_up"),
        [(True, [MANAGER, FORMER], [FORMER]), (True, ["kmm-2.ready-1a2b"], []), (False, [FORMER], [])],
        ids=["left behind", "another stack's", "at work"],
    )
    def test_former_waits_give_up_what_nobody_else_would_take_off(self, awaited, before, given_up):
        workload = replace(LOADER, awaited=awaited)
        changes = shares_of_former_waits(MANAGER, [workload], [shared("a", *before)])
        labels = {manager: [one.labels for one in found] for manager, found in changes.items()}
        assert labels == {manager: [{}] for manager in given_up}

    def test_all_modules_of_a_node_go_in_one_change(self):
        other = replace(LOADER, label="kmm.node.kubernetes.io/default.other.ready")
        found = {LOADER: [Outcome("a", State.READY)], other: [Outcome("a", State.READY)]}
        (change,) = label_changes(MANAGER, found, [node("a")])
        assert list(change.labels) == sorted([LABEL, other.label])

    def test_two_versions_of_a_module_share_the_label(self):
        old = replace(LOADER, name="old")
        found = {old: [Outcome("a", State.READY)], LOADER: [Outcome("b", State.READY)]}
        assert [change.node for change in label_changes(MANAGER, found, [node("a"), node("b")])] == ["a", "b"]


def test_workloads_are_what_the_manifests_promise():
    plugin = {"container": {"image": "registry.example/plugin:v1"}}
    plan = make_plan([module(devicePlugin=plugin)], [node("a"), node("b", "6.1.0")], Images()).modules[0]
    declared = module_manifests(plan)
    loaders = [loader_workload(one.kernel, one.loader) for one in declared.kernels]
    assert [(one.nodes, one.role, one.label) for one in loaders] == [
        (("a",), ROLE_MODULE_LOADER, LABEL),
        (("b",), ROLE_MODULE_LOADER, LABEL),
    ]
    served = device_plugin_workload(plan.kernels, declared.device_plugins[0])
    assert (served.nodes, served.role) == (("a", "b"), ROLE_DEVICE_PLUGIN)
    assert served.label.endswith("default.kmod.device-plugin-ready")


@pytest.mark.parametrize(
    ("found", "is_lost"),
    [(None, True), (LOST, True), (node(taints=["node.kubernetes.io/not-ready:NoSchedule"]), True), (node(), False)],
    ids=["gone", "unreachable", "not ready", "there"],
)
def test_a_node_is_lost_when_nothing_can_be_known_of_it(found, is_lost):
    assert lost(found) is is_lost


class TestReport:
    def test_it_counts_and_names_nodes_with_their_words(self):
        found = [
            Outcome("a", State.READY),
            Outcome("b", State.FAILED, "pod x: why\n  meaning"),
            Outcome("c", State.LEFT_OUT),
        ]
        assert failure_report("default/kmod", ROLE_MODULE_LOADER, found).splitlines() == [
            "default/kmod is not loaded as defined on 1 of 3 nodes:",
            "  b: pod x: why",
            "      meaning",
        ]

    def test_many_nodes_are_cut(self):
        found = [Outcome(f"n{number}", State.WAITING, "no pod yet") for number in range(12)]
        report = failure_report("default/kmod", ROLE_DEVICE_PLUGIN, found)
        assert report.startswith("default/kmod has no ready device plugin on 12 of 12 nodes:")
        assert report.endswith("  and 2 more nodes")
