"""Guards against Jobs that wait out their time limit for a Secret, a signer or a node that preview could miss."""

import pytest
from builders import ANY_KERNEL, BUILD, SIGN, module, node
from image_jobs import SIGNER, missing_plan

from kmm.job_checks import job_problems, job_warnings
from kmm.job_inputs import ObjectKey, ObjectKind, job_inputs, missing_inputs
from kmm.jobs import JobSettings
from kmm.nodes import Node
from kmm.plan import Images, make_plan

OTHER = "6.0.15-300.fc37.x86_64"
CONTAINER = "spec.moduleLoader.container"
MAPPING = f"{CONTAINER}.kernelMappings[0]"
DOCKERFILE = ObjectKey(ObjectKind.CONFIG_MAP, "default", "dockerfile")
BUSY = {"key": "busy", "operator": "Exists"}
NO_IMAGES = Images(assume_present=False)


def secret(name):
    return ObjectKey(ObjectKind.SECRET, "default", name)


def settings(**given):
    return JobSettings.model_validate({"sign": {"image": SIGNER}} | given)


def wanted(*modules):
    return {(one.field, one.object, one.keys) for one in job_inputs(missing_plan(*modules))}


def problems(found, **container):
    return missing_inputs(job_inputs(missing_plan(module(container=container))), found)


def test_each_input_is_asked_for_by_the_field_that_names_it():
    build = BUILD | {"secrets": [{"name": "token"}]}
    assert wanted(module(container={"build": build, "sign": SIGN}, imageRepoSecret={"name": "pull"})) == {
        (f"{CONTAINER}.build.dockerfileConfigMap", DOCKERFILE, ("dockerfile", "Dockerfile")),
        (f"{CONTAINER}.build.secrets[0]", secret("token"), ()),
        (f"{CONTAINER}.sign.keySecret", secret("key"), ("key",)),
        (f"{CONTAINER}.sign.certSecret", secret("cert"), ("cert",)),
        ("spec.imageRepoSecret", secret("pull"), (".dockerconfigjson",)),
    }


def test_a_mapping_is_named_where_it_says_more_than_the_container():
    own = ANY_KERNEL | {"build": {"dockerfileConfigMap": {"name": "own"}, "secrets": [{"name": "b"}]}}
    found = wanted(module(mappings=[own], container={"build": BUILD | {"secrets": [{"name": "a"}]}}))
    assert {(field, one.name) for field, one, _ in found} == {
        (f"{MAPPING}.build.dockerfileConfigMap", "own"),
        (f"{MAPPING}.build.secrets[0]", "b"),
        (f"{CONTAINER}.build.secrets[0]", "a"),
    }


def test_kernels_that_share_an_input_ask_once():
    plan = missing_plan(module(container={"build": BUILD}), nodes=[node("a"), node("b", OTHER)])
    assert len(job_inputs(plan)) == 1


def test_nothing_is_asked_for_where_the_image_is_there():
    loaded = module(container={"build": BUILD, "sign": SIGN}, imageRepoSecret={"name": "pull"})
    assert job_inputs(make_plan([loaded], [node()], Images())) == ()


@pytest.mark.parametrize("key", ["dockerfile", "Dockerfile"])
def test_either_key_of_the_dockerfile_will_do(key):
    assert problems({DOCKERFILE: frozenset({key, "other"})}, build=BUILD) == ()


def test_what_is_absent_is_named_with_the_command_that_makes_it():
    assert problems({DOCKERFILE: None}, build=BUILD) == (
        f"default/kmod: {CONTAINER}.build.dockerfileConfigMap: ConfigMap default/dockerfile does not exist."
        " Make it: kubectl -n default create configmap dockerfile --from-file=dockerfile=PATH",
    )


def test_a_missing_key_is_named_with_those_that_are_there():
    keys = {secret("key"): frozenset({"tls.key", "tls.crt"}), secret("cert"): frozenset({"cert"})}
    (problem,) = problems(keys, sign=SIGN | {"unsignedImage": SIGNER})
    assert "keySecret: Secret default/key has no key key, only tls.crt, tls.key." in problem
    assert "create secret generic key --from-file=key=PATH" in problem


def test_an_input_that_was_not_looked_for_is_not_taken_for_absent():
    with pytest.raises(KeyError):
        problems({}, build=BUILD)


def test_a_secret_for_run_steps_may_hold_anything():
    found = {DOCKERFILE: frozenset({"dockerfile"}), secret("token"): frozenset()}
    assert problems(found, build=BUILD | {"secrets": [{"name": "token"}]}) == ()


def placement(nodes, given=None, *, selector=None, **spec):
    build = BUILD | ({"selector": selector} if selector else {})
    plan = missing_plan(module(container={"build": build}, **spec))
    return job_problems(plan, settings(build=given or {}), nodes)


def test_a_job_that_a_node_takes_is_no_problem():
    assert placement([node("a", taints=["busy:NoSchedule"]), node("b")]) == ()


def test_nodes_of_the_settings_need_not_be_the_modules():
    builder = Node("builder", labels={"disk": "fast"})
    assert placement([builder], {"nodeSelector": {"disk": "fast"}}) == ()
    (problem,) = placement([builder])
    assert problem.endswith("Change spec.selector or kmm:build.nodeSelector")


@pytest.mark.parametrize(
    ("selector", "given", "place"),
    [
        ({"builder": "yes"}, {}, "builder=yes. Change build.selector or kmm:build.nodeSelector"),
        (None, {"nodeSelector": {"disk": "fast"}}, "the labels disk=fast. Change kmm:build.nodeSelector"),
        (
            {"builder": "yes"},
            {"nodeSelector": {"disk": "fast"}},
            "builder=yes, disk=fast. Change build.selector or kmm:build.nodeSelector",
        ),
    ],
    ids=["module", "settings", "both"],
)
def test_labels_that_no_node_has_are_a_problem(selector, given, place):
    (problem,) = placement([node()], given, selector=selector)
    assert problem.startswith("default/kmod: no node can take the build Job of kernel 5.14.0-70.el9.x86_64: none has")
    assert problem.endswith(place)


def test_taints_that_the_job_does_not_tolerate_are_a_problem():
    (problem,) = placement([node("b", taints=["busy=x:NoSchedule"]), node("a", cordoned=True)])
    assert "2 have its labels, and each a taint" in problem
    assert "such as node.kubernetes.io/unschedulable:NoSchedule on a." in problem
    assert "kmm:build.tolerations" in problem


@pytest.mark.parametrize(
    ("spec", "given"),
    [({"tolerations": [BUSY]}, {}), ({}, {"tolerations": [BUSY]})],
    ids=["module", "settings"],
)
def test_tolerations_are_the_modules_and_the_settings(spec, given):
    assert placement([node(taints=["busy:NoSchedule"])], given, **spec) == ()


def test_kernels_with_one_problem_are_told_in_one_line():
    nodes = [node(f"n{index}", f"5.14.{index}-1") for index in range(9)]
    plan = missing_plan(module(container={"build": BUILD | {"selector": {"a": "b"}}}), nodes=nodes)
    (problem,) = job_problems(plan, settings(), nodes)
    assert "of kernel 5.14.0-1, 5.14.1-1, 5.14.2-1, 5.14.3-1, 5.14.4-1 and 4 more: none has" in problem


def test_a_missing_signer_is_told_once_for_all_modules():
    sign = {"sign": SIGN | {"unsignedImage": SIGNER}}
    plan = missing_plan(module("a", container=sign), module("b", container=sign))
    (problem,) = job_problems(plan, JobSettings(), [node()])
    assert problem.startswith("kmm:sign.image is not set, and default/a, default/b need a sign Job.")


def test_sign_jobs_have_settings_of_their_own():
    plan = missing_plan(module(container={"sign": SIGN | {"unsignedImage": SIGNER}}))
    nodes = [node(taints=["busy:NoSchedule"])]
    assert job_problems(plan, settings(sign={"image": SIGNER, "tolerations": [BUSY]}), nodes) == ()
    assert "kmm:sign.tolerations" in job_problems(plan, settings(build={"tolerations": [BUSY]}), nodes)[0]


def warnings(builder, **build):
    plan = missing_plan(
        module("a", container={"build": BUILD | build}),
        module("b", container={"build": BUILD}),
        nodes=[node("a"), node("b", OTHER)],
    )
    return [field for field, _ in job_warnings(plan, settings(builder=builder))]


def test_kaniko_is_warned_of_once():
    assert warnings("kaniko", kanikoParams={"tag": "v1"}) == ["kmm:builder"]


@pytest.mark.parametrize("builder", ["buildah", "buildkit"])
def test_kaniko_params_are_warned_of_with_other_builders(builder):
    assert warnings(builder, kanikoParams={"tag": "v1"}) == ["default/a: build.kanikoParams"]
    assert warnings(builder) == []


def shared(*mappings, images=NO_IMAGES, **fields):
    """Warnings about a Module on two kernels of one distribution and one of another."""
    nodes = [node("a"), node("b", "5.14.0-162.el9.x86_64"), node("c", OTHER)]
    container = {"containerImage": "r.example/kmod:$KERNEL_XYZ"} | fields
    plan = make_plan([module(mappings=mappings or [ANY_KERNEL], container=container)], nodes, images, ["5.14.0-1"])
    return job_warnings(plan, settings())


@pytest.mark.parametrize(
    "job",
    [
        {"build": BUILD},
        {"sign": SIGN | {"unsignedImage": "r.example/raw:$KERNEL_VERSION"}},
        {"build": BUILD, "sign": SIGN},
    ],
    ids=["build", "sign", "build and sign"],
)
def test_an_image_that_the_jobs_of_several_kernels_would_make_is_warned_of_once(job):
    assert shared(**job) == (
        (
            f"default/kmod: {CONTAINER}.containerImage",
            "r.example/kmod:5.14.0 is made by the Jobs of kernel 5.14.0-162.el9.x86_64, 5.14.0-70.el9.x86_64, 5.14.0-1:"
            " whichever ends last decides whose module it holds. Put ${KERNEL_FULL_VERSION} into its tag",
        ),
    )


def test_a_shared_image_is_told_at_the_mapping_that_names_it():
    (warning,) = shared(ANY_KERNEL | {"containerImage": "r.example/own:$KERNEL_XYZ"}, build=BUILD)
    assert warning.field == f"default/kmod: {MAPPING}.containerImage"


@pytest.mark.parametrize(
    "given",
    [
        {"build": BUILD, "containerImage": "r.example/kmod:$KERNEL_VERSION"},
        {"build": BUILD, "images": Images()},
        {},
    ],
    ids=["of one kernel", "there already", "nobody makes it"],
)
def test_an_image_that_no_two_jobs_make_is_not_warned_of(given):
    assert shared(**given) == ()


def test_nothing_is_warned_of_where_nothing_is_built():
    built = module(container={"build": BUILD | {"kanikoParams": {"tag": "v1"}}})
    assert job_warnings(make_plan([built], [node()], Images()), settings(builder="kaniko")) == ()
