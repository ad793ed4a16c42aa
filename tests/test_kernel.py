"""Guards against kernel versions being cut or expanded in another way than users of the operator know."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmm.errors import PlanError
from kmm.kernel import expand, referenced_variables, sysfs_module_path, template_variables, trim_kernel_version

KERNELS = st.text(st.sampled_from("0123456789abzAZ._+-~, "), max_size=64)


@pytest.mark.parametrize(
    ("reported", "trimmed"),
    [
        ("6.0.15-300.fc37.x86_64", "6.0.15-300.fc37.x86_64"),
        ("6.1.21-v8+", "6.1.21-v8"),
        ("6.1.21++", "6.1.21+"),
        ("5.14.0-70.el9.x86_64+debug", "5.14.0-70.el9.x86_64+debug"),
        ("+", ""),
    ],
)
def test_one_trailing_plus_is_trimmed(reported, trimmed):
    assert trim_kernel_version(reported) == trimmed


@pytest.mark.parametrize(
    ("kernel", "parts"),
    [
        ("6.0.15-300.fc37.x86_64", ("6.0.15", "6", "0", "15")),
        ("6.1.0-18-amd64", ("6.1.0", "6", "1", "0")),
        ("5.4-rc1-custom", ("5.4.rc1", "5", "4", "rc1")),
        ("5.10.186,gke", ("5.10.186", "5", "10", "186")),
        ("5.15.0_1071+azure", ("5.15.0_1071+azure", "5", "15", "0_1071+azure")),
    ],
)
def test_the_first_three_parts_of_a_kernel_are_variables(kernel, parts):
    variables = template_variables(kernel, "kmod", "team")
    assert variables == {
        "KERNEL_FULL_VERSION": kernel,
        "KERNEL_VERSION": kernel,
        "KERNEL_XYZ": parts[0],
        "KERNEL_X": parts[1],
        "KERNEL_Y": parts[2],
        "KERNEL_Z": parts[3],
        "MOD_NAME": "kmod",
        "MOD_NAMESPACE": "team",
    }


@pytest.mark.parametrize("kernel", ["", "6", "6.1", "custom_kernel"])
def test_a_kernel_with_fewer_parts_has_no_variables_for_them(kernel):
    variables = template_variables(kernel, "kmod", "team")
    assert set(variables) == {"KERNEL_FULL_VERSION", "KERNEL_VERSION", "MOD_NAME", "MOD_NAMESPACE"}


@pytest.mark.parametrize(
    ("template", "expanded"),
    [
        ("r/o/kmod:${KERNEL_FULL_VERSION}", "r/o/kmod:6.0.15-300.fc37.x86_64"),
        ("r/o/kmod:$KERNEL_VERSION", "r/o/kmod:6.0.15-300.fc37.x86_64"),
        ("r/$MOD_NAMESPACE/$MOD_NAME:v$KERNEL_X.$KERNEL_Y-a", "r/team/kmod:v6.0-a"),
        ("${KERNEL_X}${KERNEL_Y}$KERNEL_Z", "6015"),
        ("/opt/lib/modules/${KERNEL_XYZ}/kmod.ko", "/opt/lib/modules/6.0.15/kmod.ko"),
        ("no variables: 5$, $$ and {KERNEL_X}", "no variables: 5$, $$ and {KERNEL_X}"),
        ("", ""),
    ],
)
def test_both_spellings_of_a_variable_are_expanded(template, expanded):
    assert expand(template, template_variables("6.0.15-300.fc37.x86_64", "kmod", "team")) == expanded


@pytest.mark.parametrize("template", ["kmod:${KERNEL_W}", "kmod:$KERNEL_FULL", "kmod:${}", "kmod:${KERNEL_X }"])
def test_an_unknown_variable_is_an_error_that_names_it_and_those_known(template):
    with pytest.raises(PlanError) as error:
        expand(template, {"MOD_NAME": "kmod"})
    name = template.removeprefix("kmod:").strip("${}")
    assert str(error.value) == f"{template}: no value for ${{{name}}}; known here: MOD_NAME"


def test_a_value_that_looks_like_a_variable_is_not_expanded_again():
    assert expand("$MOD_NAME", {"MOD_NAME": "$MOD_NAME"}) == "$MOD_NAME"


def test_referenced_variables_come_in_the_order_of_the_template():
    assert referenced_variables("a:${KERNEL_Y}-$KERNEL_X-${KERNEL_Y}") == ("KERNEL_Y", "KERNEL_X", "KERNEL_Y")


@given(KERNELS)
def test_the_parts_are_those_of_any_kernel(kernel):
    variables = template_variables(kernel, "kmod", "team")
    assert variables["KERNEL_FULL_VERSION"] == kernel
    if "KERNEL_XYZ" in variables:
        x, y, z = (variables[f"KERNEL_{letter}"] for letter in "XYZ")
        assert variables["KERNEL_XYZ"] == f"{x}.{y}.{z}"
        assert kernel.startswith(x)
        assert not set(x + y + z) & set(".,-")


@given(KERNELS)
def test_trimming_takes_away_at_most_one_plus(kernel):
    assert kernel in (trim_kernel_version(kernel), trim_kernel_version(kernel) + "+")


@given(st.text())
def test_a_text_without_a_dollar_is_left_as_it_is(text):
    assert expand(text.replace("$", ""), {}) == text.replace("$", "")


@pytest.mark.parametrize(
    ("name", "folder"), [("kmod", "/sys/module/kmod"), ("my-kmod-2", "/sys/module/my_kmod_2")], ids=["plain", "dashes"]
)
def test_the_kernel_writes_dashes_of_a_module_as_underscores(name, folder):
    assert sysfs_module_path(name) == folder
