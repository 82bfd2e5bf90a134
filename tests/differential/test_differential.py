"""Drop-in: every command line ends as with Debian's programs, or as docs/differences.md says."""

from __future__ import annotations

import ast
import json
from typing import TYPE_CHECKING

import pytest

from tests.differential import harness
from tests.differential.__main__ import GOLDEN, OURS, PAGE
from tests.differential.differences import DIFFERENCES
from tests.differential.document import document, explained, rows_of
from tests.differential.table import ROWS
from tests.support import peers
from tests.support.peers import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.differential.harness import Row

GOLDEN_ROWS = json.loads(GOLDEN.read_text())
OUR_ROWS = json.loads(OURS.read_text())

every_row = pytest.mark.parametrize(
    "row",
    [
        pytest.param(row, id=row.name, marks=[pytest.mark.needs(*row.needs), *([pytest.mark.root] if row.root else [])])
        for row in ROWS
    ],
)


@pytest.fixture(scope="session")
def world() -> Iterator[harness.World]:
    world = harness.World()
    yield world
    world.close()


@pytest.fixture(scope="session")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("ours")
    harness.install_ours(directory)
    return directory


@pytest.fixture(scope="session")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("theirs")
    harness.install_theirs(directory, peers())
    return directory


@pytest.mark.netns
@every_row
def test_ours_ends_as_debian_does_or_as_is_written_down(
    row: Row, world: harness.World, ours: Path, tmp_path: Path
) -> None:
    expected = OUR_ROWS.get(row.name, GOLDEN_ROWS[row.name])
    assert harness.observe(row, world, ours, tmp_path / "run") == expected


@pytest.mark.netns
@pytest.mark.peer(*(f"ucspi-tcp-ipv6/{name}" for name in harness.PROGRAMS))
@every_row
def test_debian_still_ends_as_recorded(row: Row, world: harness.World, theirs: Path, tmp_path: Path) -> None:
    assert harness.observe(row, world, theirs, tmp_path / "run") == GOLDEN_ROWS[row.name]


def test_the_table_is_large_and_its_names_are_unique() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS) >= 150
    assert set().union(*(row.programs for row in ROWS)) == set(harness.PROGRAMS)
    assert list(GOLDEN_ROWS) == [row.name for row in ROWS]


def test_every_difference_has_a_reason_and_is_one() -> None:
    for name, seen in OUR_ROWS.items():
        assert seen != GOLDEN_ROWS[name], f"{name} does not differ"
        assert explained(name), f"{name} differs without a reason"


def test_all_sharp_edges_are_accounted_for_and_shown() -> None:
    codes = [one.code for one in DIFFERENCES]
    assert codes[:40] == [f"A{number}" for number in range(1, 41)]
    assert len(set(codes)) == len(codes)
    for one in DIFFERENCES:
        if one.kept:
            assert set(one.rows) <= set(GOLDEN_ROWS) - set(OUR_ROWS), one.code
        else:
            assert rows_of(one, list(OUR_ROWS)) or one.tests, f"nothing shows {one.code}"
        for pattern in one.rows:
            assert rows_of(one, [pattern]) or pattern in GOLDEN_ROWS, f"{one.code}: no row {pattern}"


def test_the_tests_that_show_a_difference_exist() -> None:
    for one in DIFFERENCES:
        for test in one.tests:
            file, _, name = test.partition("::")
            tree = ast.parse((ROOT / "tests" / file).read_text())
            names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
            assert name in names, f"{one.code}: no {test}"


def test_the_page_is_what_the_table_says() -> None:
    assert PAGE.read_text() == document(ROWS, GOLDEN_ROWS, OUR_ROWS), "run: python -m tests.differential"
