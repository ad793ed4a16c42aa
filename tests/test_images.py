"""Guards against asking the wrong registry or repository for an image, and against unusable intermediate names."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmm.images import MAX_TAG, ImageReference, unsigned_image

SHA256 = "sha256:" + "0123456789abcdef" * 4

REFERENCES = {
    "alpine": ("docker.io", "library/alpine", "latest", None),
    "alpine:3.20": ("docker.io", "library/alpine", "3.20", None),
    "org/kmod": ("docker.io", "org/kmod", "latest", None),
    "docker.io/alpine": ("docker.io", "library/alpine", "latest", None),
    "index.docker.io/org/kmod:1": ("docker.io", "org/kmod", "1", None),
    "registry-1.docker.io/alpine": ("docker.io", "library/alpine", "latest", None),
    "localhost/kmod": ("localhost", "kmod", "latest", None),
    "localhost:5000/kmod:1": ("localhost:5000", "kmod", "1", None),
    "localhost:5000": ("docker.io", "library/localhost", "5000", None),
    "Registry/kmod": ("Registry", "kmod", "latest", None),
    "[::1]:5000/kmod": ("[::1]:5000", "kmod", "latest", None),
    "10.0.0.1/a/b/c:5.14.0-70.el9.x86_64": ("10.0.0.1", "a/b/c", "5.14.0-70.el9.x86_64", None),
    f"quay.io/org/kmod@{SHA256}": ("quay.io", "org/kmod", None, SHA256),
    f"quay.io/org/kmod:1@{SHA256}": ("quay.io", "org/kmod", "1", SHA256),
    "quay.io/a__b/c---d.e_f": ("quay.io", "a__b/c---d.e_f", "latest", None),
    "quay.io/kmod:" + "t" * MAX_TAG: ("quay.io", "kmod", "t" * MAX_TAG, None),
}

MALFORMED = {
    "": "repository",
    "quay.io/": "repository",
    "quay.io/Kmod": "lower-case",
    "quay.io//kmod": "repository",
    "quay.io/-kmod": "repository",
    "quay.io/a___b": "repository",
    "quay.io/kmod:": "tag is empty",
    "quay.io/kmod:-1": "tag",
    "quay.io/kmod:5.14+rt": "tag",
    "quay.io/kmod:" + "t" * (MAX_TAG + 1): "1 to 128",
    "quay.io/kmod:1\n": "tag",
    "quay.io/kmod@": "digest is empty",
    "quay.io/kmod@sha256:abc": "64 hexadecimal digits",
    "quay.io/kmod:a:b": "tag",
    "https://quay.io/kmod": "registry host is 'https:'",
    "-quay.io/kmod": "registry host",
    "quay.io:port/kmod": "registry host",
    "quay.io/${KERNEL}": "repository",
    "quay.io/" + "a" * 250: "longer than 255",
    "kmöd": "repository",
}


@pytest.mark.parametrize("image", REFERENCES)
def test_an_image_names_registry_repository_tag_and_digest(image):
    assert ImageReference.parse(image) == ImageReference(*REFERENCES[image])


@pytest.mark.parametrize(("image", "problem"), MALFORMED.items())
def test_a_malformed_image_is_refused_with_the_part_that_is_wrong(image, problem):
    with pytest.raises(ValueError, match=problem):
        ImageReference.parse(image)


def test_docker_hub_answers_on_another_host_than_its_name():
    assert ImageReference.parse("alpine").host == "registry-1.docker.io"
    assert ImageReference.parse("quay.io/kmod").host == "quay.io"


def test_a_digest_is_asked_for_rather_than_the_tag():
    assert ImageReference.parse(f"quay.io/kmod:1@{SHA256}").version == SHA256


component = st.from_regex(r"[a-z0-9]{1,8}(?:(?:[._]|__|-{1,3})[a-z0-9]{1,8}){0,2}", fullmatch=True)
host = st.from_regex(r"(?:[a-z0-9]{1,8}\.[a-z]{2,5}|localhost)(?::[0-9]{1,5})?", fullmatch=True)
tag = st.from_regex(re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII), fullmatch=True)
images = st.builds("{}/{}:{}".format, host, st.lists(component, min_size=1, max_size=4).map("/".join), tag)


@given(images, st.booleans())
def test_the_full_name_of_a_reference_stands_for_the_same_reference(image, with_digest):
    reference = ImageReference.parse(f"{image}@{SHA256}" if with_digest else image)
    assert ImageReference.parse(str(reference)) == reference


@given(st.text())
def test_any_text_is_an_image_or_a_value_error(text):
    try:
        reference = ImageReference.parse(text)
    except ValueError:
        return
    assert ImageReference.parse(str(reference)) == reference


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("quay.io/org/kmod:5.14", "quay.io/org/kmod:5.14-ns_mod_kmm_unsigned"),
        ("quay.io/org/kmod", "quay.io/org/kmod:ns_mod_kmm_unsigned"),
        ("localhost:5000/kmod", "localhost:5000/kmod:ns_mod_kmm_unsigned"),
        ("localhost:5000/kmod:1", "localhost:5000/kmod:1-ns_mod_kmm_unsigned"),
        (f"quay.io/kmod:1@{SHA256}", "quay.io/kmod:1-ns_mod_kmm_unsigned"),
        ("kmod:1", "kmod:1-ns_mod_kmm_unsigned"),
    ],
)
def test_the_unsigned_image_carries_namespace_and_name_in_its_tag(image, expected):
    assert unsigned_image(image, "ns", "mod") == expected


@given(images, st.from_regex(r"[a-z0-9]{1,63}", fullmatch=True), st.from_regex(r"[a-z0-9.-]{1,200}", fullmatch=True))
def test_an_unsigned_image_is_always_a_usable_name_in_the_same_repository(image, namespace, name):
    unsigned = ImageReference.parse(unsigned_image(image, namespace, name))
    assert (unsigned.registry, unsigned.repository) == (
        ImageReference.parse(image).registry,
        ImageReference.parse(image).repository,
    )


def test_two_long_unsigned_tags_stay_apart():
    image = "quay.io/kmod:" + "5" * 120
    assert unsigned_image(image, "ns", "one") != unsigned_image(image, "ns", "two")
    assert unsigned_image(image, "ns", "one") != unsigned_image(image + "5", "ns", "one")
