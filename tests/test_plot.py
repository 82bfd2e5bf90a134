"""The image in the README: drawn from the results that are kept, and saying what they say."""

from __future__ import annotations

import json
import sys
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.support.peers import ROOT

# At the end: where the wheel is tested, the package must not come from the checkout.
sys.path.append(str(ROOT))
from benchmarks import results
from benchmarks.plot import draw

SVG = "{http://www.w3.org/2000/svg}"
BARS = [
    results.bar("First & foremost", "theirs", 5000.4, 9.94, ours=False),
    results.bar("First & foremost", "ours <1>", 2500.0, 1234.5, ours=True, goal=4500.0),
    results.bar("Second", "alone", 0.0, 1.0, ours=True),
]
GOALS = [
    results.goal("speed", "theirs", "connections/s", ">=", 0.9, 1.8),
    results.goal("slowness", "theirs", "p99", "<=", 0.5, 1.0),
    results.goal("growth", "itself", "KiB", "<=", 256, 0.0),
    results.goal("elsewhere", "theirs", "connections/s", ">=", 1.5, None),
]


def drawn(bars: list[results.Bar], goals: list[results.Goal]) -> ElementTree.Element:
    return ElementTree.fromstring(draw({"machine": 'a "machine" & <its> day', "bars": bars, "goals": goals}))


def texts(image: ElementTree.Element) -> list[str]:
    return ["".join(text.itertext()) for text in image.iter(f"{SVG}text")]


def numbers(image: ElementTree.Element, tag: str, style: str, attribute: str) -> list[float]:
    return [float(one.attrib[attribute]) for one in image.iter(f"{SVG}{tag}") if one.get("class") == style]


def test_every_bar_is_there_with_its_numbers_and_in_proportion() -> None:
    image = drawn(BARS, [])
    assert {"First & foremost", "Second", "theirs", "ours <1>", "alone", 'a "machine" & <its> day'} <= set(texts(image))
    assert {"5,000/sp99 9.9 ms", "2,500/sp99 1,234.5 ms", "0/sp99 1.0 ms"} <= set(texts(image))
    (theirs,) = numbers(image, "rect", "other", "width")
    ours, alone = numbers(image, "rect", "ours", "width")
    assert ours == pytest.approx(theirs / 2, abs=0.2)
    assert alone == 1.0
    start = numbers(image, "rect", "other", "x")[0]
    assert start + 0.9 * theirs in [pytest.approx(x, abs=0.2) for x in numbers(image, "line", "goal", "x1")]


def test_goals_stand_on_the_side_of_the_line_where_they_belong() -> None:
    image = drawn([], GOALS)
    (line,) = numbers(image, "line", "goal", "x1")
    # The first of each is the legend's.
    speed, growth = numbers(image, "circle", "kept", "cx")[1:]
    (slowness,) = numbers(image, "circle", "missed", "cx")[1:]
    assert slowness < line < speed < growth
    assert line - slowness == pytest.approx(speed - line, abs=0.2)  # half as good, twice as good
    assert texts(image).count("not measured here") == 1


@pytest.mark.parametrize("shown", [True, False])
def test_nothing_is_drawn_outside_the_image(shown: bool) -> None:
    image = drawn(BARS if shown else [], GOALS)
    width, height = float(image.attrib["width"]), float(image.attrib["height"])
    for one in image.iter():
        for name, value in one.attrib.items():
            if name in ("x", "x1", "x2", "cx"):
                assert 0 <= float(value) <= width
            if name in ("y", "y1", "y2", "cy"):
                assert 0 <= float(value) <= height


def test_a_promise_is_kept_at_its_bound_and_not_judged_without_a_number() -> None:
    assert [results.kept(goal) for goal in GOALS] == [True, False, True, None]
    assert results.kept(results.goal("", "", "", ">=", 1.0, 1.0)) is True
    assert results.kept(results.goal("", "", "", "<=", 1.0, 1.0)) is True
    lines = results.table(GOALS).splitlines()
    assert [line.rpartition("  ")[2] for line in lines[1:]] == ["kept", "NOT KEPT", "kept", "not measured"]


def test_the_image_of_the_readme_is_that_of_the_kept_results() -> None:
    kept: dict[str, Any] = json.loads((ROOT / "benchmarks" / "results.json").read_text())
    assert (ROOT / "docs" / "benchmarks.svg").read_text() == draw(kept)
    assert "docs/benchmarks.svg" in (ROOT / "README.md").read_text()
    assert kept["bars"]
    assert kept["goals"]
