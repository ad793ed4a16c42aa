"""Guards against secrets that a RUN step misses, other lines of a Dockerfile that change, and base images not found."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmm.manifests.builders.dockerfile import base_images, mount_in_run_steps

FLAG = " --mount=type=bind,from=x,target=/y"


@pytest.mark.parametrize(
    "dockerfile",
    [
        "FROM a\nRUN{} make\n",
        "FROM a\nrun{} make",
        "FROM a\r\n  RUN{} make\r\n",
        "FROM a\nRUN{} --mount=type=cache,target=/c make\n",
        "FROM a\nONBUILD RUN{} make\n",
        'FROM a\nRUN{} ["make", "all"]\n',
        "FROM a\nRUN{}\\\n  make\n",
        "FROM a\nRUN{} make \\\n# a comment\n\n  RUN all\nRUN{} b\n",
        "# escape=`\nFROM a\nRUN{} dir c:\\\nRUN{} make `\n  RUN all\n",
        "# syntax=docker/dockerfile:1\n# Escape = `\nFROM a\nRUN{} make `\n  RUN all\n",
        "FROM a\n# RUN no\nCOPY <<EOF /x\nRUN no\nEOF\nRUN{} b\n",
        'FROM a\nRUN{} <<-"A" 3<<B cat\n\tRUN no\n\tA\nRUN no\nB\nRUN{} b\n',
        "FROM a\nRUN{} echo $((1<<2)) <<<text\nRUN{} b\n",
        "FROM a\nRUN{} cat <<NEVER\nRUN{} b\n",
        "FROM a\nENV A=<<EOF\nRUN{} b\nEOF\n",
        "FROM a\nENV RUN=1\nLABEL a=RUN\nRUNNER x\n",
    ],
    ids=repr,
)
def test_every_run_step_gets_the_mounts_and_nothing_else(dockerfile):
    original = dockerfile.replace("{}", "")
    assert mount_in_run_steps(original, ["type=bind,from=x,target=/y"]) == dockerfile.replace("{}", FLAG)


@given(st.text(st.sampled_from("RUNFOM aA\\\n\t#<E'\"`$={}"), max_size=60))
def test_taking_the_mounts_out_again_gives_the_dockerfile(text):
    assert mount_in_run_steps(text, ["type=bind,from=x,target=/y"]).replace(FLAG, "") == text
    assert mount_in_run_steps(text, []) == text


@pytest.mark.parametrize(
    ("dockerfile", "arguments", "images"),
    [
        ("FROM a.example/b:1\n", {}, ["a.example/b:1"]),
        ("FROM --platform=linux/amd64 alpine AS x\nFROM X\nFROM scratch\n", {}, ["docker.io/library/alpine:latest"]),
        ("ARG A=a.example/b\nFROM $A:1\n", {}, ["a.example/b:1"]),
        ("ARG A=a.example/b\nFROM ${A}:1\n", {"A": "c.example/d"}, ["c.example/d:1"]),
        ("ARG A\nFROM ${A}\n", {"A": "c.example/d:2"}, ["c.example/d:2"]),
        ('ARG H="a.example" P=$H/b\nFROM $P\n', {}, ["a.example/b:latest"]),
        ("FROM ${A:-a.example/b}\nFROM ${A-a.example/c}\n", {}, ["a.example/b:latest", "a.example/c:latest"]),
        ("ARG A=x\nFROM a.example/b${A:+/more}\n", {}, ["a.example/b/more:latest"]),
        ("FROM a.example/b\nARG A=c.example\nFROM ${A}/d\n", {}, ["a.example/b:latest"]),
        ("FROM ${UNKNOWN}\n", {}, []),
        ("FROM\nFROM Not/An/Image\n", {}, []),
        ("FROM a.example/b \\\n  AS x\n", {}, ["a.example/b:latest"]),
        ("", {}, []),
    ],
    ids=repr,
)
def test_base_images_are_those_of_from(dockerfile, arguments, images):
    assert [str(image) for image in base_images(dockerfile, arguments)] == images


@given(st.text(), st.dictionaries(st.text(max_size=3), st.text(max_size=5), max_size=2))
def test_any_text_has_base_images_or_none(text, arguments):
    base_images(f"FROM {text}", arguments)
    base_images(text, arguments)
