"""What benchmarks have found, kept for the table of goals and the plot: one JSON file for each of them in build/.

A *bar* is one server in one chart; a *goal* is a promise with the number that was measured for it.
"""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypedDict

from benchmarks.load import BUILD

DIRECTORY = BUILD / "results"


class Bar(TypedDict):
    """One server in one chart."""

    chart: str
    name: str
    rate: float
    p99: float
    ours: bool
    goal: float | None
    """Connections per second that would fulfil the promise about this bar."""


class Goal(TypedDict):
    """A promise: ``value`` is at least, or at most, ``bound``; None: it could not be measured."""

    work: str
    peer: str
    measure: str
    relation: str
    bound: float
    value: float | None


def goal(work: str, peer: str, measure: str, relation: str, bound: float, value: float | None) -> Goal:
    """Make one; ``relation`` is ``">="`` or ``"<="``."""
    return Goal(work=work, peer=peer, measure=measure, relation=relation, bound=bound, value=value)


def bar(chart: str, name: str, rate: float, p99: float, *, ours: bool, goal: float | None = None) -> Bar:
    """Make one."""
    return Bar(chart=chart, name=name, rate=round(rate, 1), p99=round(p99, 3), ours=ours, goal=goal and round(goal, 1))


def kept(promise: Goal) -> bool | None:
    """Whether a promise is kept; None if it was not measured."""
    if promise["value"] is None:
        return None
    return promise["value"] >= promise["bound"] if promise["relation"] == ">=" else promise["value"] <= promise["bound"]


def save(name: str, *, bars: Sequence[Bar] = (), goals: Sequence[Goal] = ()) -> None:
    """Keep what benchmark ``name`` has found."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    rounded = [{**one, "value": _rounded(one["value"])} for one in goals]
    (DIRECTORY / f"{name}.json").write_text(json.dumps({"bars": list(bars), "goals": rounded}, indent=1) + "\n")


def _rounded(value: float | None) -> float | None:
    # A ratio to nothing is no number, and JSON has no word for it.
    return None if value is None or math.isnan(value) else round(value, 3)


def forget() -> None:
    """Remove everything that was kept."""
    for path in DIRECTORY.glob("*.json"):
        path.unlink()


def gather() -> dict[str, Any]:
    """Everything that is kept, with the machine."""
    found: dict[str, Any] = {"machine": machine(), "bars": [], "goals": []}
    for path in sorted(DIRECTORY.glob("*.json")):
        one = json.loads(path.read_text())
        found["bars"] += one["bars"]
        found["goals"] += one["goals"]
    return found


def machine() -> str:
    """Where and when: processor, cores, kernel, Python, day."""
    cores = os.cpu_count() or 1
    return (
        f"{_processor()}, {cores} core{'s' * (cores > 1)}, {platform.system()} {platform.release().split('-')[0]}, "
        f"Python {platform.python_version()}, {datetime.now(UTC):%Y-%m-%d}"
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def table(goals: Sequence[Goal]) -> str:
    """The promises as lines of text."""
    lines = [f"{'work':46}{'compared with':30}{'measure':16}{'goal':>10}{'measured':>10}"]
    for one in goals:
        value = "-" if one["value"] is None else f"{one['value']:.2f}"
        word = {True: "kept", False: "NOT KEPT", None: "not measured"}[kept(one)]
        aim = f"{one['relation']} {one['bound']:g}"
        lines.append(f"{one['work']:46}{one['peer']:30}{one['measure']:16}{aim:>10}{value:>10}  {word}")
    return "\n".join(lines)
