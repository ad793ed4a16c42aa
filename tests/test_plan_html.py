"""Guards against a page that runs or loads what it should not, that hides something, or that some cannot read."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from builders import BUILD, module, node
from commands import SPECIFICATION
from commands import kmm as run_kmm

import kmm.commands
from kmm.changes import Change, Kind
from kmm.commands.plan_html import plan_html
from kmm.plan import IgnoredNode, Images, KernelPlan, ModulePlan, Plan, make_plan

STYLE = (Path(kmm.commands.__file__).parent / "plan.css").read_text()
HOSTILE = "</style><script>alert(1)</script>&amp;\"'<img src=x onerror=alert(1)>"
EMPTY_TAGS = {"meta"}


class Page(HTMLParser):
    """Tags with their attributes, and all text outside of the style sheet; fails on tags that do not match."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self._open = [], [], []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in EMPTY_TAGS:
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, text):
        if self._open[-1:] != ["style"]:
            self.text.append(text)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


NO_IMAGES = Images(assume_present=False)


def page(modules, nodes, images=NO_IMAGES, warnings=()):
    return Page(plan_html(make_plan(modules, nodes, images), warnings))


def test_the_page_shows_modules_kernels_nodes_images_and_reasons():
    modules = [module(mappings=[{"regexp": "^5", "build": BUILD}]), module("idle", selector={"no": "node"})]
    nodes = [node("a", "5.14"), node("b", "6.1"), node("c", "5.14", taints=["gpu:NoSchedule"])]
    shown = page(modules, nodes).text
    for text in (
        "default/kmod",
        "default/idle",
        "5.14",
        "6.1",
        "a",
        "registry.example/org/kmod:5.14",
        " build, load",
        "no kernel mapping matches",
        "Nothing: no usable node matches its selector.",
        "taint gpu:NoSchedule is not tolerated",
        "default/kmod leaves out 1 node with kernel 6.1: no kernel mapping matches",
    ):
        assert text in shown


def test_future_kernels_have_a_section_of_their_own():
    modules = [module(mappings=[{"regexp": "^5", "build": BUILD}])]
    plan = make_plan(modules, [node("a", "5.14")], NO_IMAGES, ["5.15", "6.1"])
    shown = Page(plan_html(plan, ())).text
    future = shown[shown.index("Future kernels") : shown.index("Kernels and their nodes")]
    assert {"5.15", " build", "6.1", "no kernel mapping matches"} <= set(future)
    assert "5.14" not in future
    present = Page(plan_html(make_plan(modules, [node("a", "5.14")], Images(), ["5.15"]), ())).text
    assert "nothing to make" in present


def test_many_nodes_are_folded_but_all_there():
    shown = page([module()], [node(f"n{number}") for number in range(1000)])
    assert "1,000 nodes" in shown.text
    assert ", ".join(sorted(f"n{number}" for number in range(1000))) in shown.text


def test_kernels_that_wait_for_version_labels_are_shown_without_nodes():
    assert "0 nodes" in page([module(container={"version": "1"})], [node("a", "5.14")]).text


def test_kernels_are_in_the_order_of_their_numbers():
    nodes = [node(kernel, kernel) for kernel in ("6.11.0-9", "6.8.0-60", "6.8.0-100")]
    text = "".join(page([module()], nodes).text)
    assert text.index("6.8.0-60") < text.index("6.8.0-100") < text.index("6.11.0-9")


def test_warnings_are_shown():
    warning = "kmod.yaml:3: spec.selector: warning: odd"
    assert warning in page([], [], warnings=[warning]).text


CHANGES = [
    Change("default/kmod", "5.14", Kind.RELOAD, "kmod-1", ("a", "b")),
    Change("default/kmod", "6.1", Kind.LOAD, "kmod-2", ("c",)),
    Change("default/old", "5.14", Kind.UNLOAD, "old-1", ("a",)),
    Change("default/slow", "5.14", Kind.RELOAD, "slow-1", ("d",), unloads=False),
]


def changed(changes):
    return Page(plan_html(make_plan([module(), module("slow")], [node()], Images()), (), changes)).text


def test_the_page_shows_what_the_change_touches():
    shown = changed(CHANGES)
    section = shown[shown.index("What this change touches") : shown.index("Modules and kernels")]
    assert [word for word in section if word in ("●", "▼", "-")] == ["▼", "●", "▼", "-"]
    for words in (" unload, load", "a, b", " load", " unload", "not among these Modules, but of their stack"):
        assert words in section
    assert "stays as it is until the next boot: its unload policy is Never" in section
    assert shown[shown.index("nodes that unload") + 1] == "2"


def test_the_page_says_that_nothing_changes_only_when_a_cluster_was_looked_at():
    assert "No module is loaded or unloaded: every loader is as planned." in changed(())
    assert "What this change touches" not in changed(None)


def test_nothing_is_hidden_in_what_names_hold():
    kernels = (KernelPlan(HOSTILE, (HOSTILE,), None, (), HOSTILE),)
    plan = Plan((ModulePlan(module(), kernels),), (IgnoredNode(HOSTILE, HOSTILE),))
    shown = Page(plan_html(plan, [HOSTILE], [Change(HOSTILE, HOSTILE, Kind.UNLOAD, HOSTILE, (HOSTILE,))]))
    assert not {"script", "img"} & {tag for tag, _ in shown.tags}
    assert shown.text.count(HOSTILE) >= 8


def test_nothing_is_loaded_from_elsewhere_and_nothing_runs():
    shown = Page(plan_html(make_plan([module()], [node()], NO_IMAGES), (), CHANGES))
    allowed = {"html", "head", "meta", "title", "style", "body", "header", "main", "section", "article", "div", "span"}
    allowed |= {"h1", "h2", "h3", "p", "ul", "li", "dl", "dt", "dd", "table", "thead", "tbody", "tr", "th", "td"}
    allowed |= {"code", "small", "details", "summary"}
    assert {tag for tag, _ in shown.tags} <= allowed
    assert {name for _, attributes in shown.tags for name in attributes if name in ("src", "href", "srcset")} == set()
    assert not re.search(r"url\(|@import|@font-face|expression", STYLE)


def test_every_heading_of_a_table_says_of_what():
    headings = page([module()], [node(), node("b", "6.1")]).all("th")
    assert headings
    assert all(heading.get("scope") in ("row", "col") for heading in headings)


def test_states_are_told_by_symbol_and_word_as_well_as_by_colour():
    modules = [module(mappings=[{"regexp": "^5"}, {"regexp": "^6", "build": BUILD}])]
    shown = page(modules, [node(kernel, kernel) for kernel in ("4.1", "5.1", "6.1")])
    badges = re.findall(r"([●◆▲])\|( [a-z, ]+)", "|".join(shown.text))
    assert {("●", " load"), ("◆", " build, load"), ("▲", " none")} <= set(badges)


def luminance(colour):
    """Relative luminance of `#rrggbb` (WCAG 2.2)."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def palettes():
    """The light, dark and print palettes of the style sheet."""
    for block in re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL):
        yield dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", block))


@pytest.mark.parametrize("palette", list(palettes()), ids=["light", "dark", "print"])
@pytest.mark.parametrize(
    ("front", "back"),
    [("text", "paper"), ("text", "panel"), ("quiet", "paper"), ("quiet", "panel"), ("text", "make-back")]
    + [(state, f"{state}-back") for state in ("load", "make", "none")],
)
def test_text_stands_out_from_what_is_behind_it(palette, front, back):
    brighter, darker = sorted((luminance(palette[front]), luminance(palette[back])), reverse=True)
    assert (brighter + 0.05) / (darker + 0.05) >= 4.5  # WCAG 2.2, 1.4.3


def test_the_command_prints_the_page():
    done = run_kmm("plan", *SPECIFICATION, "-o", "html")
    assert done.returncode == 0
    assert done.stdout.startswith('<!DOCTYPE html>\n<html lang="en">')
    assert "my-kmod" in "".join(Page(done.stdout).text)
