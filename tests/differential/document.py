"""docs/differences.md, made of the table, of what Debian's programs did, and of what ours do."""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING

from tests.differential.differences import DIFFERENCES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.differential.differences import Difference
    from tests.differential.harness import Observation, Row

INTRODUCTION = """\
# Differences from ucspi-tcp-ipv6

The programs of `ucspi_env.tools` take the place of Debian's `ucspi-tcp-ipv6`: same options, messages, exit codes,
variables and files. {rows} command lines are run by both and compared; {same} of them end alike to the byte. The others
differ on purpose, and this page says how and why. It is made by `python -m tests.differential` from the table that the
tests use.

*A1* to *A40* are edges of the C programs that can cut, *D1* and on are differences of our own.

"""


def rows_of(difference: Difference, marked: Sequence[str]) -> list[str]:
    """The marked rows in which a difference shows."""
    return [name for name in marked if any(fnmatch.fnmatchcase(name, pattern) for pattern in difference.rows)]


def explained(name: str) -> bool:
    """Whether there is a reason for a row to differ."""
    return any(rows_of(one, [name]) for one in DIFFERENCES if not one.kept)


def document(rows: Sequence[Row], golden: Mapping[str, Observation], ours: Mapping[str, Observation]) -> str:
    """The whole page.

    Args:
        rows: the table.
        golden: what Debian's programs did.
        ours: what ours do in the rows that differ.
    """
    table = {row.name: row for row in rows}
    page = INTRODUCTION.format(rows=len(rows), same=len(rows) - len(ours))
    page += "| | about | |\n|---|---|---|\n"
    for one in DIFFERENCES:
        verdict = "kept" if one.kept else "better" if one.code.startswith("A") else "other"
        page += f"| [{one.code}](#{one.code.lower()}) | {one.title} | {verdict} |\n"
    for one in DIFFERENCES:
        page += (
            f'\n## <a id="{one.code.lower()}"></a>{one.code}: {one.title}\n\n*C:* {one.theirs}\n\n*Here:* {one.ours}\n'
        )
        for name in rows_of(one, list(ours)):
            page += _example(table[name], golden[name], ours[name])
        shown = [f"`tests/{test}`" for test in one.tests]
        if one.kept:
            shown = [f"`{name}`" for name in one.rows]
        if shown:
            page += f"\nShown by {', '.join(shown)}.\n"
    return page


def _example(row: Row, theirs: Observation, ours: Observation) -> str:
    text = "\n```\n"
    for line in row.files.get("rules", "").splitlines()[:5]:
        text += f"rules: {_line(line)}\n"
    given = [f"{name}={value}" for name, value in row.env.items() if value is not None]
    text += f"$ {' '.join([*given, row.command])}\n"
    for field in ours:
        if ours[field] != theirs.get(field):
            text += _told("C", field, theirs.get(field), ours[field]) + _told(
                "here", field, ours[field], theirs.get(field)
            )
    return text + "```\n"


def _told(who: str, field: str, value: object, other: object) -> str:
    """One side of one field: what both sides have in common is left out of lists of lines."""
    if field == "files":
        return ""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], list):
        value = value[0]
        other = other[0] if isinstance(other, list) and other and isinstance(other[0], list) else []
    if isinstance(value, list):
        kept = other if isinstance(other, list) else []
        only = [_line(item) for item in value if item not in kept]
        return "".join(f"{who:4} {field}: {line}\n" for line in only or ["(nothing more)"])
    return f"{who:4} {field}: {_line(value)}\n"


def _line(value: object) -> str:
    if isinstance(value, str):
        return value.encode("unicode_escape").decode() or "(nothing)"
    return str(value)
