"""Guards against names that are torn apart or cut off on a narrow terminal."""

import re
from collections import Counter

import pytest
from commands import SPECIFICATION
from rich.console import Console
from terminal import Terminal

from kmm.commands.tables import Table

ROWS = [
    (
        "drivers/drbd",
        "5.14.0-503.el9.x86_64",
        "2: a, b",
        "registry.example/kmods/drbd:9.2-5.14.0-503.el9.x86_64",
        "load",
    ),
    ("", "6.1.0-37-amd64", "1: c", "-", "none: no kernel mapping matches"),
    ("drivers/other", "6.1.0-37-amd64", "1: c", "registry.example/[red]other:1", "build"),
]


def shown(width, below=2):
    table = Table("MODULE", "KERNEL", "NODES", "IMAGE", "ACTIONS", below=below)
    for row in ROWS:
        table.add_row(*row)
    console = Console(width=width, markup=False, highlight=False)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_what_fits_stands_in_one_line_for_each_row():
    head, _rule, *rows = shown(140).splitlines()
    assert head.split() == ["MODULE", "KERNEL", "NODES", "IMAGE", "ACTIONS"]
    assert [re.split(r"\s{2,}", line.strip()) for line in rows] == [[cell for cell in row if cell] for row in ROWS]


def test_what_does_not_fit_stands_below_and_the_module_above():
    assert [line.rstrip() for line in shown(80).splitlines()] == [
        "MODULE",
        "  KERNEL                  NODES",
        "─" * 80,
        "drivers/drbd",
        "  5.14.0-503.el9.x86_64   2: a, b",
        "    registry.example/kmods/drbd:9.2-5.14.0-503.el9.x86_64   load",
        "  6.1.0-37-amd64          1: c",
        "    none: no kernel mapping matches",
        "drivers/other",
        "  6.1.0-37-amd64          1: c",
        "    registry.example/[red]other:1   build",
    ]


@pytest.mark.parametrize("below", [0, 2], ids=["in place", "below"])
@pytest.mark.parametrize("width", [20, 40, 60])
def test_nothing_is_cut_off(width, below):
    lines = shown(width, below).splitlines()
    assert all(len(line) <= width for line in lines)
    found, told = Counter("".join(lines)), Counter("".join(cell for row in ROWS for cell in row if cell != "-"))
    assert {
        letter: told[letter] - found[letter] for letter in told if letter != " " and found[letter] < told[letter]
    } == {}


def test_a_plan_on_a_terminal_of_80_columns_keeps_its_names_in_one_piece():
    with Terminal("plan", *SPECIFICATION, columns=80) as terminal:
        assert terminal.end() == 0
        lines = [line for line in terminal.screen.splitlines() if "warning:" not in line]
    assert all(len(line) <= 80 for line in lines)
    assert any("some.registry/org/my-kmod:" in line.split(" ")[4] for line in lines if line.startswith("    "))
