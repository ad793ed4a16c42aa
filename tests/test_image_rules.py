"""Guards against images that are asked for needlessly or not at all, missing ones that nobody hears of, and pins that
would unload a module for a digest."""

import pytest
from builders import BUILD, SIGN, module, node

from kmm.image_rules import image_problems, images_to_check, pin_digests
from kmm.manifests.loader import loader_name
from kmm.names import FUTURE_KERNELS_ANNOTATION
from kmm.plan import Action, Images, make_plan
from kmm.workloads import DaemonSet

KERNEL = "5.14.0-70.el9.x86_64"
FUTURE = "5.14.0-80.el9.x86_64"
IMAGE = f"registry.example/org/kmod:{KERNEL}"
FUTURE_IMAGE = f"registry.example/org/kmod:{FUTURE}"
UNSIGNED = f"{IMAGE}-default_kmod_kmm_unsigned"
DIGEST = f"sha256:{'1' * 64}"


def plan_for(*, images=None, future=(), **mapping):
    given = module(mappings=[{"regexp": "el9", **mapping}])
    return make_plan([given], [node(kernel=KERNEL)], images or Images(), future)


def asked(plan, **options):
    return [image for _, image in images_to_check(plan, **options)]


def test_images_that_no_job_makes_are_asked_for_only_on_demand():
    assert asked(plan_for()) == []
    assert asked(plan_for(), check_all=True) == [IMAGE]


def test_images_that_jobs_make_are_asked_for_with_the_one_between_the_jobs():
    assert asked(plan_for(build=BUILD)) == [IMAGE]
    assert asked(plan_for(build=BUILD, sign=SIGN)) == [IMAGE, UNSIGNED]


def test_images_of_future_kernels_are_always_asked_for():
    assert asked(plan_for(future=[FUTURE])) == [FUTURE_IMAGE]


def test_a_kernel_that_a_node_runs_is_not_future():
    assert plan_for(future=[KERNEL, f"{KERNEL}+"]).modules[0].future == ()


def test_future_kernels_are_built_and_never_loaded():
    (future,) = plan_for(images=Images({FUTURE_IMAGE: None}), future=[FUTURE], build=BUILD).modules[0].future
    assert (future.version, future.nodes, future.actions) == (FUTURE, (), (Action.BUILD,))


def test_a_module_names_its_own_future_kernels():
    given = module()
    annotations = {FUTURE_KERNELS_ANNOTATION: f"{FUTURE}, 6.1.0"}
    own = given.model_copy(update={"metadata": given.metadata.model_copy(update={"annotations": annotations})})
    assert [one.version for one in make_plan([own], [], Images()).modules[0].future] == [FUTURE, "6.1.0"]


def test_a_missing_image_is_an_error_where_images_are_required_else_a_warning():
    images = Images({IMAGE: None})
    plan = plan_for(images=images)
    required = image_problems(plan, images, require_images=True, require_future=False)
    assert required.errors == (
        f"default/kmod: kernel {KERNEL} on 1 nodes: image {IMAGE} is not in its registry, and mapping 0 neither builds "
        "nor signs it",
    )
    found = image_problems(plan, images, require_images=False, require_future=False)
    assert (found.errors, found.warnings) == ((), required.errors)


@pytest.mark.parametrize("assume_present", [True, False])
def test_no_image_is_called_missing_before_its_registry_was_asked(assume_present):
    images = Images(assume_present=assume_present)
    plan = plan_for(images=images, future=[FUTURE])
    found = image_problems(plan, images, require_images=True, require_future=True)
    assert (found.errors, found.warnings) == ((), ())


def test_a_missing_image_that_no_job_can_make_is_told_with_the_reason():
    images = Images({IMAGE: None})
    plan = plan_for(images=images, sign=SIGN)
    (problem,) = image_problems(plan, images, require_images=True, require_future=False).errors
    assert problem.endswith(
        f"image {IMAGE} is not in its registry, and mapping 0 has nothing to sign: give it sign.unsignedImage, or build"
    )


def test_an_image_that_a_job_will_make_is_not_missing():
    images = Images({IMAGE: None, FUTURE_IMAGE: None})
    plan = plan_for(images=images, future=[FUTURE], build=BUILD)
    found = image_problems(plan, images, require_images=True, require_future=True)
    assert (found.errors, found.warnings) == ((), ())


def test_a_future_kernel_without_mapping_or_image_is_a_warning_or_as_required_an_error():
    images = Images({FUTURE_IMAGE: None})
    plan = plan_for(images=images, future=[FUTURE, "6.1.0"])
    lenient = image_problems(plan, images, require_images=False, require_future=False)
    strict = image_problems(plan, images, require_images=False, require_future=True)
    assert lenient.errors == strict.warnings == ()
    assert lenient.warnings == strict.errors
    missing, unserved = strict.errors
    assert f"future kernel {FUTURE}: image {FUTURE_IMAGE} is not in its registry" in missing
    assert "future kernel 6.1.0: no kernel mapping matches" in unserved


def test_a_pinned_image_keeps_its_tag_for_the_reader():
    images = Images({IMAGE: DIGEST})
    (kernel,) = pin_digests(plan_for(images=images), images, []).modules[0].kernels
    assert kernel.resolved.pinned_image == f"{IMAGE}@{DIGEST}"


def test_a_loader_waits_for_the_digest_of_an_image_that_is_still_to_be_made():
    images = Images({IMAGE: None})
    (kernel,) = pin_digests(plan_for(images=images, build=BUILD), images, []).modules[0].kernels
    assert kernel.actions == (Action.BUILD,)
    assert "first `pulumi up` that finds the image's digest" in kernel.reason


@pytest.mark.parametrize(
    ("images", "build"),
    [
        pytest.param(Images({IMAGE: None}), BUILD, id="made anew"),
        pytest.param(Images({IMAGE: None}), None, id="gone from its registry"),
        pytest.param(Images(assume_present=True), None, id="assumed present"),
        pytest.param(Images(assume_present=True), BUILD, id="built and assumed present"),
        pytest.param(Images(assume_present=False), BUILD, id="built and assumed missing"),
    ],
)
def test_a_loader_that_runs_keeps_its_image_while_no_digest_is_known(images, build):
    plan = plan_for(images=images, **({"build": build} if build else {}))
    (before,) = plan.modules[0].kernels
    running = DaemonSet("default", loader_name(before.resolved), image="kept@sha256:0")
    (kernel,) = pin_digests(plan, images, [running]).modules[0].kernels
    assert kernel.actions == before.actions
    assert kernel.resolved.pinned_image == "kept@sha256:0"
