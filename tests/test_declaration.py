"""Guards against labels released for others or too late, waits that hold back what is ready, overlapping stacks."""

from dataclasses import replace

import pytest
from builders import ANY_KERNEL, module, node

from kmm.changes import Change, Kind
from kmm.declaration import (
    device_plugins_of,
    former_owner,
    gated_wait,
    kernel_label_owner,
    labels_to_release,
    main_wait,
    namespace_problems,
    others_left_alone,
    ready_label_manager,
    refuse_strangers,
    unwanted,
    what_leaves,
)
from kmm.errors import PlanError
from kmm.manifests import module_manifests
from kmm.names import (
    INSTANCE_LABEL,
    MODULE_NAME_LABEL,
    ROLE_DEVICE_PLUGIN,
    ROLE_LABEL,
    ROLE_MODULE_LOADER,
    TEMPLATE_HASH_ANNOTATION,
    device_plugin_ready_label,
    ready_label,
)
from kmm.plan import Images, make_plan
from kmm.ready_labels import label_changes
from kmm.rollout import Workload, settled_outcomes
from kmm.workloads import DaemonSet

OWNER = "kmm-1"
PLUGIN = {"container": {"image": "registry.example/plugin:v1"}}
BUILT = {"literal": "6.1.0", "build": {"dockerfileConfigMap": {"name": "dockerfile"}}}
PREBUILT = {"literal": "6.1.0"}
IDLE = {
    "selector": {"of": "nobody"},
    "moduleLoader": {
        "serviceAccountName": "own",
        "container": {
            "containerImage": "registry.example/kmod:${KERNEL_FULL_VERSION}",
            "modprobe": {"moduleName": "kmod"},
            "kernelMappings": [BUILT],
        },
    },
}
NODES = [node("a"), node("b", "6.1.0")]


def manifests(*modules):
    return [module_manifests(one) for one in make_plan(modules, NODES, Images(assume_present=False)).modules]


def live(name, owner=OWNER, role=ROLE_MODULE_LOADER, module="kmod"):
    owned = {INSTANCE_LABEL: owner} if owner else {}
    return DaemonSet("default", name, labels={ROLE_LABEL: role, MODULE_NAME_LABEL: module} | owned)


def declared(*names, module="kmod"):
    labels = {MODULE_NAME_LABEL: module}
    return [{"metadata": {"namespace": "default", "name": name, "labels": labels}} for name in names]


def change(kind, *nodes, module="default/kmod"):
    return Change(module, "5.14", kind, "kmod-1", nodes)


class TestLeaving:
    """What goes before anything new comes."""

    def test_nodes_that_lose_their_kernel_label_end_the_pods_of_the_loader_that_stays(self):
        changes = [change(Kind.UNLOAD, "a"), change(Kind.LEAVE, "b", "c")]
        found = what_leaves(changes, (), (), [], {"a", "b"})
        assert (found.losing, found.ending) == (["a", "b"], ["default/kmod-1"])
        assert found.release == {name: [ready_label("default", "kmod")] for name in "abc"}

    def test_a_loader_that_goes_altogether_needs_no_label_to_be_taken_off(self):
        found = what_leaves([change(Kind.UNLOAD, "a")], (), (), ["default/kmod-1"], {"a"})
        assert (found.losing, found.ending, found.daemon_sets) == ([], [], ["default/kmod-1"])

    def test_nothing_leaves_for_a_loader_whose_image_is_still_to_be_made(self):
        modules = manifests(module(mappings=[BUILT]))
        (gated,) = modules[0].loaders
        name = gated["metadata"]["name"]
        for kind in (Kind.RELOAD, Kind.UNLOAD):
            assert not what_leaves([Change("default/kmod", "6.1.0", kind, name, ("b",))], modules, (), [], ())
        found = what_leaves([Change("default/kmod", "6.1.0", Kind.UNLOAD, name, ("a", "b"))], modules, (), [], {"b"})
        assert (found.losing, list(found.release)) == (["b"], ["b"])

    @pytest.mark.parametrize(
        ("mappings", "template_hash", "reloads"),
        [([PREBUILT], "another", True), ([PREBUILT], None, False), ([BUILT], "another", False)],
        ids=["changes in place", "stays as it is", "its image is still to be made"],
    )
    def test_it_tells_whether_a_loader_changes_in_place_whatever_that_does_to_nodes(
        self, mappings, template_hash, reloads
    ):
        """Its pods end then, later in the run: where the selector moved on for example, that is no reload."""
        modules = manifests(module(mappings=mappings))
        (loader, *_) = modules[0].loaders
        metadata = loader["metadata"]
        template_hash = template_hash or metadata["annotations"][TEMPLATE_HASH_ANNOTATION]
        running = DaemonSet(metadata["namespace"], metadata["name"], template_hash=template_hash)
        found = what_leaves([change(Kind.UNLOAD, "a")], modules, [running], [], {"a"})
        assert found.reloads == ([running.key] if reloads else [])

    def test_a_device_plugin_that_goes_altogether_need_not_leave_single_nodes_first(self):
        running = [live("plugin", role=ROLE_DEVICE_PLUGIN)]
        found = [what_leaves([change(Kind.UNLOAD, "a")], (), running, going, ()) for going in ([], ["default/plugin"])]
        assert [one.plugins for one in found] == [["default/plugin"], []]

    def test_what_only_comes_drives_nothing_away(self):
        assert not what_leaves([change(Kind.LOAD, "a")], (), (), [], ())


class TestWaits:
    def test_one_wait_is_for_all_whose_images_are_there(self):
        wait = main_wait(manifests(module(devicePlugin=PLUGIN), module("other")), (), OWNER)
        assert wait.manager == ready_label_manager(OWNER)
        assert [(one.module, one.role, one.nodes) for one in wait.workloads] == [
            ("default/kmod", ROLE_MODULE_LOADER, ("a",)),
            ("default/kmod", ROLE_MODULE_LOADER, ("b",)),
            ("default/kmod", ROLE_DEVICE_PLUGIN, ("a", "b")),
            ("default/other", ROLE_MODULE_LOADER, ("a",)),
            ("default/other", ROLE_MODULE_LOADER, ("b",)),
        ]

    def test_what_is_kept_is_waited_for_too(self):
        kept = Workload("default/kmod", "default", "old", ROLE_MODULE_LOADER, "hash", "label", ("c",))
        assert main_wait([], [kept], OWNER).workloads == (kept,)

    def test_an_image_that_is_still_to_be_built_holds_nobody_back(self):
        (found,) = manifests(module(mappings=[BUILT, ANY_KERNEL], devicePlugin=PLUGIN))
        awaited = [one.nodes for one in main_wait([found], (), OWNER).workloads if one.awaited]
        assert awaited == [("a",), ("a",)]
        (gated,) = [kernel for kernel in found.kernels if kernel.kernel.gated]
        assert [one.nodes for one in gated_wait(gated, OWNER).workloads] == [("b",)]

    def test_a_loader_that_runs_keeps_its_labels_while_its_image_is_made_again(self):
        (found,) = manifests(module(mappings=[BUILT], devicePlugin=PLUGIN))
        keys = dict.fromkeys([ready_label("default", "kmod"), device_plugin_ready_label("default", "kmod")], "")
        manager = ready_label_manager(OWNER)
        labelled = replace(node("b", "6.1.0", labels=keys), label_owners=dict.fromkeys(keys, frozenset([manager])))
        workloads = main_wait([found], (), OWNER).workloads
        left_alone = [one for one in workloads if not one.awaited]
        outcomes = {one: settled_outcomes(one, None, {"b": labelled}) for one in left_alone}
        assert [one.nodes for one in left_alone] == [("b",), ("b",)]
        assert label_changes(manager, outcomes, [labelled]) == []

    def test_no_two_waits_and_no_two_stacks_share_a_field_manager(self):
        built = [
            kernel
            for one in manifests(module(mappings=[BUILT]), module("other", mappings=[BUILT]))
            for kernel in one.kernels
        ]
        managers = [gated_wait(one, owner).manager for one in built for owner in ("kmm-1", "kmm-2")]
        managers += [main_wait([], (), OWNER).manager, kernel_label_owner(OWNER)]
        assert len(set(managers)) == len(managers) == 6

    def test_modules_of_one_name_in_two_namespaces_have_waits_of_their_own(self):
        modules = [module(mappings=[BUILT], namespace=namespace) for namespace in ("default", "team")]
        built = [kernel for one in manifests(*modules) for kernel in one.kernels]
        assert len({one.loader["metadata"]["name"] for one in built}) == 1
        assert len({gated_wait(one, OWNER).name for one in built}) == len(built) == 2


class TestReleasedLabels:
    def test_labels_go_where_a_module_is_unloaded(self):
        changes = [change(Kind.UNLOAD, "b", "a"), change(Kind.RELOAD, "a", module="team/gpu"), change(Kind.LOAD, "c")]
        assert labels_to_release(changes) == {
            "a": ["kmm.node.kubernetes.io/default.kmod.ready", "kmm.node.kubernetes.io/team.gpu.ready"],
            "b": ["kmm.node.kubernetes.io/default.kmod.ready"],
        }

    def test_loading_releases_nothing(self):
        assert labels_to_release([change(Kind.LOAD, "a"), change(Kind.UNLOAD)]) == {}

    def test_a_loader_that_does_not_unload_releases_its_label_only_where_it_goes(self):
        changes = [replace(change(kind, "a"), unloads=False) for kind in (Kind.RELOAD, Kind.UNLOAD)]
        plugins = [live("plugin", role=ROLE_DEVICE_PLUGIN)]
        assert [bool(labels_to_release([one])) for one in changes] == [False, True]
        assert [device_plugins_of([one], plugins) for one in changes] == [[], ["default/plugin"]]

    def test_only_device_plugins_of_modules_that_are_unloaded_have_to_leave(self):
        plugins = [live("plugin", role=ROLE_DEVICE_PLUGIN), live("other", role=ROLE_DEVICE_PLUGIN, module="other")]
        changes = [change(Kind.RELOAD, "a"), change(Kind.LOAD, "a", module="default/other")]
        assert device_plugins_of(changes, [*plugins, live("loader")]) == ["default/plugin"]


class TestNamespaces:
    @pytest.mark.parametrize(
        ("spec", "future", "named"),
        [
            ({}, [], True),
            ({"selector": IDLE["selector"]}, [], True),
            (IDLE, ["6.1.0"], True),
            (IDLE, [], False),
        ],
        ids=["loaders", "only an account", "only a Job", "nothing"],
    )
    def test_one_that_is_missing_is_named_with_the_way_out_where_objects_would_come_to_it(self, spec, future, named):
        modules = [module(namespace="drivrs", **spec), module(namespace="drivers")]
        plan = make_plan(modules, NODES, Images(assume_present=False), future)
        problems = namespace_problems(plan, ["drivrs"], {"drivrs/kmod": "kmod.yaml:1"}, "context 'prod'")
        assert [one.partition(":")[0] for one in problems] == ["drivrs/kmod (kmod.yaml"] * named
        assert all("context 'prod' has no namespace drivrs" in one for one in problems)
        assert all(one.endswith("kubectl create namespace drivrs") for one in problems)


class TestOwnership:
    def test_only_this_stack_s_daemonsets_can_be_unwanted(self):
        running = [live("declared"), live("kept"), live("old"), live("foreign", "kmm-2"), live("of nobody", None)]
        assert unwanted(declared("declared"), [live("kept")], running, OWNER) == ["default/old"]

    @pytest.mark.parametrize(
        ("running", "names"),
        [([], "a"), ([live("a")], "a"), ([live("b", "kmm-2")], "a")],
        ids=["nothing runs", "its own", "others under other names"],
    )
    def test_names_that_are_free_or_its_own_are_accepted(self, running, names):
        refuse_strangers(declared(*names), running, OWNER)

    @pytest.mark.parametrize(
        ("running", "said"),
        [(live("a", "kmm-2"), r"default/a \(of stack kmm-2\)"), (live("a", None), r"default/a \(of no stack\)")],
        ids=["another stack's", "nobody's"],
    )
    def test_a_name_that_is_taken_is_refused_with_the_way_out(self, running, said):
        with pytest.raises(PlanError, match=rf"(?s)^1 .*{said}.*PULUMI_K8S_UPSERT_EXISTING_OBJECTS=true pulumi up"):
            refuse_strangers(declared("a"), [running], OWNER)

    def test_many_names_are_counted_and_cut(self):
        names = [f"n{number}" for number in range(12)]
        with pytest.raises(PlanError, match=r"^12 .*n9 \(of stack kmm-2\) and 2 more\."):
            refuse_strangers(declared(*names), [live(name, "kmm-2") for name in names], OWNER)

    @pytest.mark.parametrize(
        ("running", "owner"),
        [
            ([], None),
            ([live("a", "kmm-7"), live("b", "kmm-7"), live("other", "kmm-8")], "kmm-7"),
            ([live("a", "kmm-7"), live("b", "kmm-8")], None),
            ([live("a", None)], None),
        ],
        ids=["nothing runs", "one owner", "two owners", "nobody's"],
    )
    def test_a_former_owner_is_known_only_when_it_is_the_only_one(self, running, owner):
        assert former_owner(declared("a", "b"), running, []) == owner

    def test_an_owner_of_other_modules_may_be_alive_and_keeps_its_name_and_them(self):
        running = [live("a"), live("b", module="other")]
        assert former_owner(declared("a"), running, []) is None
        assert "default/other" in others_left_alone(declared("a"), running, "kmm-2")

    def test_another_loader_of_the_same_module_is_none_of_them(self):
        running = [live("a"), live("b")]
        assert former_owner(declared("a"), running, []) == OWNER
        assert others_left_alone(declared("a"), running, OWNER) == ""

    @pytest.mark.parametrize(
        ("managers", "owner"),
        [
            ({"kmm-7.kernel.2", "kmm-7.ready"}, "kmm-7"),
            ({"kmm-7.kernel.0", "kmm-8.kernel.0"}, "kmm-7"),
            ({"kmm-7.kernel.0", "kmm-9.kernel.0"}, None),
            ({"kubectl"}, None),
        ],
        ids=["one", "one and one who has a DaemonSet", "two", "somebody else"],
    )
    def test_before_there_are_daemonsets_the_labels_tell_the_former_owner(self, managers, owner):
        labelled = replace(node(), label_owners={"kmm.node.kubernetes.io/x": frozenset(managers)})
        assert former_owner(declared("a"), [live("other", "kmm-8")], [labelled]) == owner
