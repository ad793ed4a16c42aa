"""Guards against names and label values that the API server refuses, that two things share, or that ever change.

A changed name of a live object unloads kernel modules: the literal ones below are for ever.
"""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmm import names

DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
PARTS = st.lists(st.text(), min_size=1, max_size=4)


def test_the_keys_are_the_operators():
    assert names.MODULE_NAME_LABEL == "kmm.node.kubernetes.io/module.name"
    assert names.KERNEL_LABEL == "kmm.node.kubernetes.io/kernel-version.full"
    assert names.ROLE_LABEL == "kmm.node.kubernetes.io/role"
    assert names.TARGET_KERNEL_LABEL == "kmm.node.kubernetes.io/target-kernel"
    assert names.JOB_TYPE_LABEL == "kmm.node.kubernetes.io/job-type"
    assert names.ready_label("ns", "kmod") == "kmm.node.kubernetes.io/ns.kmod.ready"
    assert names.device_plugin_ready_label("ns", "kmod") == "kmm.node.kubernetes.io/ns.kmod.device-plugin-ready"
    assert names.version_label("ns", "kmod") == "kmm.node.kubernetes.io/version-module.ns.kmod"


@pytest.mark.parametrize(
    ("parts", "name"),
    [
        (("my-kmod", "6.0.15-300.fc37.x86_64"), "my-kmod-6-0-15-300-fc37-x86-64-5d039e5386"),
        (("my-kmod", "6.0.15-300.fc37.x86_64", "v1"), "my-kmod-6-0-15-300-fc37-x86-64-v1-28c66bfd16"),
        (("my-kmod", "device-plugin"), "my-kmod-device-plugin-37b490876b"),
        (("My_Mod", "5.14.0-70.el9.x86_64+debug"), "my-mod-5-14-0-70-el9-x86-64-debug-1c07dab9a6"),
        (("k" * 63, "5.10.0"), "k" * 52 + "-d56c6e56bf"),
        (("_",), "d2e2adf717"),
    ],
    ids=["loader", "loader with a version", "device plugin", "odd characters", "long", "nothing readable"],
)
def test_object_names_never_change(parts, name):
    assert names.object_name(*parts) == name


@given(PARTS)
def test_an_object_name_is_a_dns_label(parts):
    assert DNS_LABEL.fullmatch(names.object_name(*parts))


@given(PARTS, PARTS)
def test_different_things_have_different_names(one, other):
    assert (names.object_name(*one) == names.object_name(*other)) == ("\0".join(one) == "\0".join(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("kmod", "5.10.0_a"), ("kmod", "5.10.0-a")),
        (("kmod", "5.10.0+a"), ("kmod", "5.10.0_a")),
        (("kmod", "5.10.0-A"), ("kmod", "5.10.0-a")),
        (("kmod-5", "10.0"), ("kmod", "5-10.0")),
        (("kmod", "5" * 64), ("kmod", "5" * 63 + "6")),
    ],
    ids=["underscore", "plus", "case", "boundary", "beyond the cut"],
)
def test_kernels_that_look_alike_have_different_names(one, other):
    assert names.object_name(*one) != names.object_name(*other)


@pytest.mark.parametrize(
    ("kernel", "value"),
    [
        ("6.0.15-300.fc37.x86_64", "6.0.15-300.fc37.x86_64"),
        ("5.14.0-70.EL9_x86", "5.14.0-70.EL9_x86"),
        ("5.14.0-70.el9.x86_64+debug", "5.14.0-70.el9.x86_64_debug"),
        ("6.1.21-v8+", "6.1.21-v8"),
        ("_5.10~rc1 a_", "5.10_rc1_a"),
        ("5" * 64, "5" * 63),
        ("5" * 62 + ".6", "5" * 62),
        ("++", ""),
        ("", ""),
    ],
)
def test_label_values_follow_node_feature_discovery(kernel, value):
    assert names.label_value(kernel) == value


@given(st.text(max_size=80))
def test_a_label_value_is_valid_or_empty(text):
    assert LABEL_VALUE.fullmatch(names.label_value(text))


@given(st.from_regex(LABEL_VALUE, fullmatch=True))
def test_a_valid_label_value_stays_as_it_is(value):
    assert names.label_value(value) == value
