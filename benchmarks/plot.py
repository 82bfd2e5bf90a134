"""The results as an SVG image: a chart of bars for each kind of work, and every goal with how far it is kept.

It has its own colours on light and dark backgrounds, and draws nothing that is not in the results. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from math import log
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from benchmarks.results import kept

if TYPE_CHECKING:
    from benchmarks.results import Bar, Goal

WIDTH = 880
MARGIN = 24
LABELS = 272  # where the names of bars end
ROOM = 200  # right of the longest bar, for its numbers
ROW = 26
BAR = 16
GOAL_LABELS = 540  # where the names of goals end
SPAN = 4.0  # the scale of goals goes from a quarter of what was promised to four times that

STYLE = """
svg { --back: #ffffff; --text: #1f2328; --soft: #59636e; --line: #d1d9e0 }
svg { --other: #b6bfc9; --ours: #0969da; --goal: #bc4c00 }
@media (prefers-color-scheme: dark) {
svg { --back: #0d1117; --text: #e6edf3; --soft: #9198a1; --line: #3d444d }
svg { --other: #59636e; --ours: #4493f8; --goal: #f0883e }
}
text { font: 13px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: var(--text) }
.title { font-size: 17px; font-weight: 600 } .head { font-size: 14px; font-weight: 600 }
.soft { font-size: 12px; font-weight: 400; fill: var(--soft) } .right { text-anchor: end }
.centre { text-anchor: middle } .mine { font-weight: 600 }
.back { fill: var(--back) } .other { fill: var(--other) } .ours { fill: var(--ours) }
.line { stroke: var(--line) } .edge { stroke: var(--back); stroke-width: 6 }
.goal { stroke: var(--goal); stroke-width: 2.5 }
.kept { fill: var(--ours); stroke: var(--ours); stroke-width: 2 }
.missed { fill: var(--back); stroke: var(--goal); stroke-width: 2.5 }
"""


def draw(results: dict[str, Any]) -> str:
    """The image, of what `results.gather` found."""
    body: list[str] = []
    y = MARGIN + 14.0
    body.append(_text(MARGIN, y, "ucspi-tcpserver beside other super-servers: connections per second", "title"))
    y += 20
    body.append(_text(MARGIN, y, results["machine"], "soft"))
    y += 18
    legend = "medians of alternating rounds on one machine, callers on the same cores; longer is better"
    body.append(_text(MARGIN, y, legend, "soft"))
    for title, group in groupby(results["bars"], key=lambda bar: bar["chart"]):
        y += 34
        body.append(_text(MARGIN, y, title, "head"))
        body.append(_goal_mark(WIDTH - MARGIN - 40, y - 4))
        body.append(_text(WIDTH - MARGIN, y, "goal", "soft right"))
        y += 14
        bars = list(group)
        body += _bars(bars, y)
        y += ROW * len(bars)
    if results["goals"]:
        y += 34
        body.append(_text(MARGIN, y, "Goals: what was measured, as a share of what is promised", "head"))
        body.append(f'<circle class="kept" cx="{WIDTH - MARGIN - 110}" cy="{y - 4}" r="5"/>')
        body.append(_text(WIDTH - MARGIN - 100, y, "kept", "soft"))
        body.append(f'<circle class="missed" cx="{WIDTH - MARGIN - 58}" cy="{y - 4}" r="5"/>')
        body.append(_text(WIDTH - MARGIN, y, "missed", "soft right"))
        y += 14
        body += _goals(results["goals"], y)
        y += ROW * len(results["goals"]) + 22
    height = round(y + MARGIN)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" aria-label="Benchmark results, {escape(results["machine"], QUOTES)}">\n'
        f"<style>{STYLE}</style>\n"
        f'<rect class="back" width="{WIDTH}" height="{height}" rx="8"/>\n' + "\n".join(body) + "\n</svg>\n"
    )


QUOTES = {'"': "&quot;"}


def _bars(bars: Sequence[Bar], top: float) -> Iterator[str]:
    longest = max([bar["rate"] for bar in bars] + [bar["goal"] or 0.0 for bar in bars]) or 1.0
    scale = (WIDTH - MARGIN - ROOM - LABELS - 10) / longest
    for number, bar in enumerate(bars):
        middle = top + ROW * number + ROW / 2
        length = max(1.0, bar["rate"] * scale)
        weight = " mine" if bar["ours"] else ""
        yield _text(LABELS, middle + 4.5, bar["name"], f"right{weight}")
        start = LABELS + 10
        yield (
            f'<rect class="{"ours" if bar["ours"] else "other"}" x="{start}" y="{middle - BAR / 2:.1f}" '
            f'width="{length:.1f}" height="{BAR}" rx="2"/>'
        )
        end = start + length
        if bar["goal"]:
            at = start + bar["goal"] * scale
            yield _goal_mark(at, middle)
            end = max(end, at)
        tail = f'<tspan class="soft" dx="8">p99 {bar["p99"]:,.1f} ms</tspan>'
        yield (
            f'<text class="{weight.strip()}" x="{end + 8:.1f}" y="{middle + 4.5:.1f}">{bar["rate"]:,.0f}/s{tail}</text>'
        )


def _goals(goals: Sequence[Goal], top: float) -> Iterator[str]:
    left, right = GOAL_LABELS + 24, WIDTH - MARGIN - 64
    middle = (left + right) / 2
    bottom = top + ROW * len(goals)

    def place(share: float) -> float:
        share = min(SPAN, max(1 / SPAN, share))
        return middle + log(share, SPAN) * (right - left) / 2

    for share, label in ((0.25, "¼"), (0.5, "½"), (1.0, "as promised"), (2.0, "2 ×"), (4.0, "4 ×")):
        style = "goal" if share == 1.0 else "line"
        yield f'<line class="{style}" x1="{place(share):.1f}" y1="{top}" x2="{place(share):.1f}" y2="{bottom}"/>'
        yield _text(place(share), bottom + 15, label, "soft centre")
    for number, goal in enumerate(goals):
        at = top + ROW * number + ROW / 2
        what = f"{goal['work']}, {goal['measure']} {'≥' if goal['relation'] == '>=' else '≤'} {goal['bound']:,g}"
        if goal["peer"] != "itself":
            what += f" ({goal['peer']})"
        yield _text(GOAL_LABELS, at + 4.5, what, "right")
        value = goal["value"]
        if value is None:
            yield _text(middle + 8, at + 4.5, "not measured here", "soft")
            continue
        share = _share(goal["relation"], goal["bound"], value)
        style = "kept" if kept(goal) else "missed"
        yield f'<circle class="{style}" cx="{place(share):.1f}" cy="{at:.1f}" r="5"/>'
        yield _text(WIDTH - MARGIN, at + 4.5, f"{value:,.4g}" if value < 1000 else f"{value:,.0f}", "soft right")


def _share(relation: str, bound: float, value: float) -> float:
    """How many times the promise: more is better, whichever way it goes."""
    if relation == ">=":
        return value / bound
    return bound / value if value > 0 else SPAN


def _goal_mark(x: float, y: float) -> str:
    # With an edge in the colour of the background: it may lie on a bar.
    place = f'x1="{x:.1f}" y1="{y - 10:.1f}" x2="{x:.1f}" y2="{y + 10:.1f}"'
    return f'<line class="edge" {place}/><line class="goal" {place}/>'


def _text(x: float, y: float, text: str, style: str) -> str:
    return f'<text class="{style}" x="{x:g}" y="{y:.1f}">{escape(text)}</text>'
