"""Guards against a kernel being served by another mapping, image or build than users of the operator expect."""

import pytest
from builders import ANY_KERNEL, BUILD, IMAGE, SIGN, module

from kmm.errors import PlanError
from kmm.mapping import find_mapping, resolve, version_selector

FEDORA = "6.0.15-300.fc37.x86_64"
REDHAT = "5.14.0-70.el9.x86_64"


def mappings_of(*mappings):
    return module(mappings=mappings).spec.module_loader.container.kernel_mappings


def resolved(kernel=REDHAT, **fields):
    found = resolve(module(**fields), kernel)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("mapping", "kernel"),
    [
        ({"literal": FEDORA}, FEDORA),
        ({"regexp": "^.+$"}, FEDORA),
        ({"regexp": "fc37"}, FEDORA),
        ({"regexp": r"^6\.0\."}, FEDORA),
        ({"regexp": "(?i)FC37"}, FEDORA),
        ({"regexp": r"[[:digit:]]+\.fc37\b"}, FEDORA),
        ({"regexp": "v8$"}, "6.1.21-v8+"),
    ],
    ids=str,
)
def test_a_mapping_takes(mapping, kernel):
    assert resolve(module(mappings=[mapping]), kernel) is not None


@pytest.mark.parametrize(
    ("mapping", "kernel"),
    [
        ({"literal": FEDORA}, FEDORA + ".more"),
        ({"literal": "6.0.15"}, FEDORA),
        ({"literal": "6.0.15-300.FC37.x86_64"}, FEDORA),
        ({"literal": "6x0"}, "6.0"),
        ({"regexp": "^fc37"}, FEDORA),
        ({"regexp": "FC37"}, FEDORA),
        ({"regexp": r"^.+\fc37\.x86_64$"}, FEDORA),
        ({"regexp": "v8[+]$"}, "6.1.21-v8+"),
    ],
    ids=str,
)
def test_a_mapping_does_not_take(mapping, kernel):
    assert resolve(module(mappings=[mapping]), kernel) is None


def test_the_first_matching_mapping_wins():
    mappings = mappings_of({"literal": FEDORA}, {"regexp": "el9"}, {"regexp": "^.+$"}, {"literal": REDHAT})
    assert [find_mapping(mappings, kernel) for kernel in (FEDORA, REDHAT, "4.18.0")] == [0, 1, 2]


def test_a_mapping_overrides_the_container():
    own = {
        "literal": REDHAT,
        "containerImage": "other.example/kmod:1",
        "registryTLS": {"insecure": True},
        "inTreeModuleToRemove": "own",
    }
    container = {"registryTLS": {"insecureSkipTLSVerify": True}, "inTreeModuleToRemove": "default"}
    fields = {"mappings": [own, ANY_KERNEL], "container": container}

    overridden = resolved(REDHAT, **fields)
    assert overridden.mapping == 0
    assert overridden.image == "other.example/kmod:1"
    assert (overridden.registry_tls.insecure, overridden.registry_tls.insecure_skip_tls_verify) == (True, False)
    assert overridden.in_tree_module_to_remove == "own"

    default = resolved(FEDORA, **fields)
    assert default.mapping == 1
    assert default.image == f"registry.example/org/kmod:{FEDORA}"
    assert (default.registry_tls.insecure, default.registry_tls.insecure_skip_tls_verify) == (False, True)
    assert default.in_tree_module_to_remove == "default"


def test_build_is_merged_field_by_field():
    default = {
        "dockerfileConfigMap": {"name": "default"},
        "buildArgs": [{"name": "A", "value": "1"}, {"name": "B", "value": "1"}],
        "secrets": [{"name": "one"}, {"name": "two"}],
        "kanikoParams": {"tag": "debug"},
        "selector": {"default": "yes"},
    }
    own = {
        "dockerfileConfigMap": {"name": "own"},
        "buildArgs": [{"name": "B", "value": "2"}, {"name": "C", "value": "2"}],
        "secrets": [{"name": "two"}, {"name": "three"}],
        "baseImageRegistryTLS": {"insecure": True},
        "selector": {"own": "yes"},
    }
    build = resolved(mappings=[ANY_KERNEL | {"build": own}], container={"build": default}).build
    assert build.dockerfile_config_map.name == "own"
    assert [(argument.name, argument.value) for argument in build.build_args] == [("A", "1"), ("B", "2"), ("C", "2")]
    assert [secret.name for secret in build.secrets] == ["one", "two", "three"]
    assert build.base_image_registry_tls.insecure
    assert build.kaniko_params.tag == "debug"
    assert build.selector == {"own": "yes"}


def test_a_mapping_that_says_little_keeps_the_containers_build():
    default = BUILD | {"selector": {"default": "yes"}, "buildArgs": [{"name": "A", "value": "1"}]}
    build = resolved(mappings=[ANY_KERNEL | {"build": BUILD}], container={"build": default}).build
    assert build.selector == {"default": "yes"}
    assert [argument.name for argument in build.build_args] == ["A"]


def test_sign_is_merged_field_by_field_and_expanded():
    default = SIGN | {"filesToSign": ["/opt/${KERNEL_VERSION}/a.ko"], "unsignedImage": "r.example/u:$KERNEL_X"}
    own = {
        "certSecret": {"name": "own-cert"},
        "keySecret": {"name": "own-key"},
        "filesToSign": ["/opt/${KERNEL_VERSION}/a.ko", "/opt/$MOD_NAME.ko"],
    }
    sign = resolved(mappings=[ANY_KERNEL | {"sign": own}], container={"sign": default}).sign
    assert (sign.cert_secret.name, sign.key_secret.name) == ("own-cert", "own-key")
    assert sign.files_to_sign == (f"/opt/{REDHAT}/a.ko", "/opt/kmod.ko")
    assert sign.unsigned_image == "r.example/u:5"


@pytest.mark.parametrize(
    ("container", "unsigned", "built"),
    [
        ({}, None, "r.example/kmod:1"),
        ({"build": BUILD}, None, "r.example/kmod:1"),
        ({"sign": SIGN | {"unsignedImage": "r.example/raw:1"}}, "r.example/raw:1", "r.example/raw:1"),
        (
            {"build": BUILD, "sign": SIGN},
            "r.example/kmod:1-team_kmod_kmm_unsigned",
            "r.example/kmod:1-team_kmod_kmm_unsigned",
        ),
    ],
    ids=["neither", "build", "sign", "build and sign"],
)
def test_a_build_that_is_signed_afterwards_pushes_the_intermediate_image(container, unsigned, built):
    found = resolved(namespace="team", container=container | {"containerImage": "r.example/kmod:1"})
    assert found.unsigned_image == unsigned
    assert found.build_image == built


@pytest.mark.parametrize(
    "container",
    [{"build": BUILD}, {"sign": SIGN | {"unsignedImage": "r.example/raw:1"}}, {"build": BUILD, "sign": SIGN}],
    ids=["build", "sign", "build and sign"],
)
def test_an_image_by_tag_can_be_made(container):
    assert resolved(container=container).obstacle is None


@pytest.mark.parametrize(
    ("container", "said"),
    [
        ({}, "mapping 0 neither builds nor signs it"),
        ({"sign": SIGN}, "mapping 0 has nothing to sign: give it sign.unsignedImage, or build"),
        ({"containerImage": "kmod:1", "sign": SIGN | {"unsignedImage": "docker.io/library/kmod:1"}}, "of itself"),
        ({"containerImage": f"r.example/kmod@sha256:{'0' * 64}", "build": BUILD}, "is by digest: name a tag"),
    ],
    ids=["neither", "nothing to sign", "from itself", "by digest"],
)
def test_why_no_job_can_make_an_image_is_said(container, said):
    assert said in resolved(container=container).obstacle


def test_the_kernels_own_name_is_kept_beside_the_trimmed_one():
    found = resolved("6.1.21-v8+")
    assert (found.release, found.kernel) == ("6.1.21-v8+", "6.1.21-v8")
    assert found.image == "registry.example/org/kmod:6.1.21-v8"
    assert found.kernel_label == {"kmm.node.kubernetes.io/kernel-version.full": "6.1.21-v8"}


def test_a_plus_inside_a_kernel_is_an_underscore_in_images_but_stays_in_paths():
    sign = SIGN | {"filesToSign": ["/opt/${KERNEL_VERSION}/a.ko"]}
    found = resolved("5.14.0-70.el9.x86_64+debug", container={"sign": sign})
    assert found.image == "registry.example/org/kmod:5.14.0-70.el9.x86_64_debug"
    assert found.sign.files_to_sign == ("/opt/5.14.0-70.el9.x86_64+debug/a.ko",)


@pytest.mark.parametrize(
    ("image", "kernel", "said"),
    [
        (IMAGE, "5.10~rc1", "'registry.example/org/kmod:5.10~rc1', which is no image: its tag"),
        ("r.example/$KERNEL_VERSION/kmod:1", "5.10.0-EL", "which is no image: its repository"),
        ("r.example/kmod:$KERNEL_XYZ", "5.10", "no value for ${KERNEL_XYZ}"),
    ],
    ids=["tag", "repository", "missing part"],
)
def test_a_kernel_that_makes_no_image_is_an_error_with_its_template(image, kernel, said):
    with pytest.raises(PlanError) as error:
        resolve(module(container={"containerImage": image}), kernel)
    assert str(error.value).startswith(image)
    assert said in str(error.value)


def test_a_version_selects_nodes_by_the_users_label():
    versioned = module(namespace="team", container={"version": "v2"})
    assert version_selector(versioned) == {"kmm.node.kubernetes.io/version-module.team.kmod": "v2"}
    assert version_selector(module()) == {}
