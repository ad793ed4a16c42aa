"""The plan as one page of HTML that needs nothing else: for a merge request, a phone or paper.

It is built as a tree, whose texts are escaped when it is written: names and reasons may hold anything.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Final
from xml.etree.ElementTree import Element, tostring

from kmm.changes import Change, Kind
from kmm.commands.change_words import change_action, change_remark, unloads
from kmm.commands.html_tree import Content, element
from kmm.plan import Action, KernelPlan, ModulePlan, Plan

_SHOWN_NODES: Final = 3  # more are folded up
_FIT_ON_PAPER: Final = 6  # columns of the matrix with words in them; of more, paper shows the symbols
_SYMBOLS: Final = {"load": "●", "make": "◆", "none": "▲", "unused": "-", "unload": "▼"}
_LEGEND: Final = {
    "load": "Loaded: the image is there, as far as registries were asked.",
    "make": "Loaded once Jobs have made the image.",
    "none": "Left without the module.",
    "unused": "No node of this kernel is selected.",
}


def plan_html(plan: Plan, warnings: Sequence[str], changes: Sequence[Change] | None = None) -> str:
    """The whole page. Without `changes` it does not say what is loaded and unloaded: no cluster was looked at."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", "Kernel modules: the plan"),
        element("style", files("kmm.commands").joinpath("plan.css").read_text()),
    )
    body = element("body", _header(plan, warnings, changes), element("main", *_sections(plan, warnings, changes)))
    page = tostring(element("html", head, body, lang="en"), encoding="unicode", method="html")
    return f"<!DOCTYPE html>\n{page}\n"


def _header(plan: Plan, warnings: Sequence[str], changes: Iterable[Change] | None) -> Element:
    kernels = [kernel for module in plan.modules for kernel in module.kernels]
    future = [kernel for module in plan.modules for kernel in module.future]
    facts = {
        "Modules": len(plan.modules),
        "kernels": len(_nodes_by_kernel(plan)),
        "nodes": sum(map(len, _nodes_by_kernel(plan).values())),
        "loaders": sum(Action.LOAD in kernel.actions for kernel in kernels),
        "images to make": sum(kernel.gated for kernel in (*kernels, *future)),
        "left without": sum(kernel.reason is not None for kernel in kernels),
        "warnings": len(warnings),
        "ignored nodes": len({ignored.node for ignored in plan.ignored}),
    }
    if changes is not None:
        facts["nodes that unload"] = len({node for change in changes if unloads(change) for node in change.nodes})
    counts = (element("div", element("dt", name), element("dd", f"{count:,}")) for name, count in facts.items())
    return element("header", element("h1", "Kernel modules: the plan"), element("dl", *counts))


def _sections(plan: Plan, warnings: Sequence[str], changes: Sequence[Change] | None) -> Iterator[Element]:
    if concerns := [*_left_without(plan), *warnings]:
        yield _section("Attention", element("ul", *(element("li", concern) for concern in concerns)))
    if changes is not None:
        yield _section("What this change touches", _changes(plan, changes))
    yield _section("Modules and kernels", _matrix(plan), _legend())
    yield _section("What is done", *map(_module, plan.modules))
    if any(module.future for module in plan.modules):
        yield _section("Future kernels", element("p", "No node runs them yet; only images are made."), _future(plan))
    yield _section("Kernels and their nodes", _kernels(plan))
    if plan.ignored:
        yield _section("Ignored nodes", _ignored(plan))


def _left_without(plan: Plan) -> Iterator[str]:
    """A sentence for each Module and reason."""
    for module in plan.modules:
        by_reason: dict[str, list[KernelPlan]] = defaultdict(list)
        for kernel in module.kernels:
            if kernel.reason:
                by_reason[kernel.reason].append(kernel)
        for reason, kernels in by_reason.items():
            nodes = _count([node for kernel in kernels for node in kernel.nodes], "node")
            versions = ", ".join(sorted((kernel.version for kernel in kernels), key=_natural))
            yield f"{module.module.key} leaves out {nodes} with kernel {versions}: {reason}"


def _section(title: str, *content: Content) -> Element:
    return element("section", element("h2", title), *content)


def _changes(plan: Plan, changes: Sequence[Change]) -> Element:
    if not changes:
        return element("p", "No module is loaded or unloaded: every loader is as planned.")
    rows = ((one.module, one.kernel, _change(plan, one), _nodes(one.nodes)) for one in changes)
    return _table(("Module", "Kernel", "Change", "Nodes"), rows)


def _change(plan: Plan, change: Change) -> Element:
    state = "unload" if unloads(change) else "load" if change.kind is Kind.LOAD else "unused"
    return element("div", _badge(state, change_action(change)), _reason(change_remark(plan, change)))


def _matrix(plan: Plan) -> Element:
    """Modules by kernels; wide ones scroll by themselves, also by keyboard."""
    kernels = list(_nodes_by_kernel(plan))
    columns = (element("th", kernel, scope="col") for kernel in kernels)
    rows = (_matrix_row(module, kernels) for module in plan.modules)
    table = element(
        "table",
        element("thead", element("tr", element("th", "Module", scope="col"), *columns)),
        element("tbody", *rows),
        class_="matrix wide" if len(kernels) > _FIT_ON_PAPER else "matrix",
    )
    return element("div", table, class_="scroll", role="region", tabindex="0", aria_label="Modules and kernels")


def _matrix_row(module: ModulePlan, kernels: Iterable[str]) -> Element:
    plans = {kernel.version: kernel for kernel in module.kernels}
    cells = (_matrix_cell(plans.get(kernel)) for kernel in kernels)
    metadata = module.module.metadata
    return element("tr", element("th", element("small", f"{metadata.namespace}/"), metadata.name, scope="row"), *cells)


def _matrix_cell(kernel: KernelPlan | None) -> Element:
    if kernel is None:
        return element("td", element("span", _SYMBOLS["unused"], class_="unused", aria_label="not selected"))
    return element("td", _kernel_badge(kernel), " ", element("small", _count(kernel.nodes, "node")))


def _kernel_badge(kernel: KernelPlan) -> Element:
    state = "none" if kernel.reason else "make" if kernel.gated else "load"
    return _badge(state, ", ".join(kernel.actions) or "none")


def _badge(state: str, words: str) -> Element:
    symbol = element("span", _SYMBOLS[state], aria_hidden="true")
    return element("span", symbol, element("span", f" {words}", class_="word"), class_=f"badge {state}")


def _legend() -> Element:
    terms = (
        element("div", element("dt", element("span", _SYMBOLS[state], class_=f"badge {state}")), element("dd", meaning))
        for state, meaning in _LEGEND.items()
    )
    return element("dl", *terms, class_="legend")


def _module(module: ModulePlan) -> Element:
    title = element("h3", module.module.key)
    if not module.kernels:
        return element("article", title, element("p", "Nothing: no usable node matches its selector."))
    return element(
        "article",
        title,
        _table(
            ("Kernel", "Action", "Image", "Nodes"),
            map(_kernel_row, sorted(module.kernels, key=lambda kernel: _natural(kernel.version))),
        ),
    )


def _kernel_row(kernel: KernelPlan) -> Sequence[Content]:
    return (
        kernel.version,
        element("div", _kernel_badge(kernel), _reason(kernel.reason)),
        _image(kernel),
        _nodes(kernel.nodes),
    )


def _future(plan: Plan) -> Element:
    rows = (
        (module.module.key, kernel.version, _future_action(kernel), _image(kernel))
        for module in plan.modules
        for kernel in sorted(module.future, key=lambda kernel: _natural(kernel.version))
    )
    return _table(("Module", "Kernel", "Action", "Image"), rows)


def _future_action(kernel: KernelPlan) -> Content:
    return _action(kernel) if kernel.gated or kernel.reason else "nothing to make"


def _action(kernel: KernelPlan) -> Element:
    return element("div", _kernel_badge(kernel), _reason(kernel.reason))


def _reason(words: str | None) -> Content:
    return element("p", words, class_="reason") if words else ""


def _image(kernel: KernelPlan) -> Content:
    if kernel.resolved is None:
        return "-"
    mapping = f"kernelMappings[{kernel.resolved.mapping}]"
    return element("div", element("code", kernel.resolved.deployed_image), " ", element("small", mapping))


def _kernels(plan: Plan) -> Element:
    by_kernel = _nodes_by_kernel(plan)
    most = max(map(len, by_kernel.values()), default=0) or 1
    rows = ((kernel, _bar(len(nodes), most), _nodes(nodes)) for kernel, nodes in by_kernel.items())
    return _table(("Kernel", "Number", "Nodes"), rows)


def _bar(count: int, most: int) -> Element:
    width = f"width: {100 * count / most:.1f}%"
    return element("div", element("span", class_="bar", style=width, aria_hidden="true"), str(count), class_="bars")


def _ignored(plan: Plan) -> Element:
    by_reason: dict[str, list[str]] = defaultdict(list)
    for ignored in plan.ignored:
        by_reason[ignored.reason].append(ignored.node)
    return _table(("Reason", "Nodes"), ((reason, _nodes(nodes)) for reason, nodes in sorted(by_reason.items())))


def _table(columns: Sequence[str], rows: Iterable[Sequence[Content]]) -> Element:
    """A table whose rows become cards on narrow screens: each cell knows the name of its column."""
    head = element("tr", *(element("th", column, scope="col", class_=column.lower()) for column in columns))
    body = (
        element(
            "tr",
            element("th", row[0], scope="row"),
            *(element("td", cell, data_column=column) for column, cell in zip(columns[1:], row[1:], strict=True)),
        )
        for row in rows
    )
    return element("table", element("thead", head), element("tbody", *body), class_="cards")


def _nodes(names: Sequence[str]) -> Element:
    if len(names) <= _SHOWN_NODES:
        return element("div", ", ".join(names))
    return element("details", element("summary", _count(names, "node")), element("div", ", ".join(names)))


def _count(things: Sequence[str], noun: str) -> str:
    return f"{len(things):,} {noun}{'' if len(things) == 1 else 's'}"


def _nodes_by_kernel(plan: Plan) -> Mapping[str, Sequence[str]]:
    """The nodes that Modules use, by kernel: the oldest first."""
    found: dict[str, set[str]] = defaultdict(set)
    for module in plan.modules:
        for kernel in module.kernels:
            found[kernel.version].update(kernel.nodes)
    return {kernel: sorted(found[kernel]) for kernel in sorted(found, key=_natural)}


def _natural(kernel: str) -> list[tuple[int, str]]:
    """Sorts 6.8 before 6.11, as people do."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", kernel)]
