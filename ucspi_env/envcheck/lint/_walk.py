"""Which files are looked at: those named, and below directories what .gitignore and the settings leave."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

HUGE = 5_000_000
"""Files above this size, in bytes, are data rather than sources; they are skipped and counted."""

_HEAD = 8192
_NEVER = frozenset(
    {".git", ".hg", ".svn", ".bzr", "CVS", "node_modules", "__pycache__", ".venv", ".tox", ".mypy_cache", ".ruff_cache"}
)


@dataclass(slots=True)
class Skipped:
    """What a walk left out, for the summary."""

    binary: int = 0
    huge: int = 0
    unreadable: list[str] = field(default_factory=list[str])


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> tuple[re.Pattern[str], bool, bool] | None:
    """Return expression, negation and directories-only of one line of a .gitignore, or None for an empty one."""
    line = pattern.rstrip("\n").rstrip()
    if not line or line.startswith("#"):
        return None
    negated = line.startswith("!")
    line = line[1:] if negated else line.removeprefix("\\")
    only_directories = line.endswith("/")
    line = line.rstrip("/")
    anchored = "/" in line
    line = line.removeprefix("/")
    parts: list[str] = []
    position = 0
    while position < len(line):
        char = line[position]
        if line.startswith("**/", position):
            parts.append(r"(?:[^/]+/)*")
            position += 3
        elif line.startswith("**", position):
            parts.append(r".*")
            position += 2
        elif char == "*":
            parts.append(r"[^/]*+")
            position += 1
        elif char == "?":
            parts.append(r"[^/]")
            position += 1
        elif char == "[" and "]" in line[position + 2 :]:
            end = line.index("]", position + 2)
            inner = line[position + 1 : end].replace("\\", "\\\\").replace("[", "\\[")
            parts.append("[" + ("^" + inner[1:] if inner[:1] in "!^" else inner) + "]")
            position = end + 1
        else:
            parts.append(re.escape(char))
            position += 1
    expression = ("" if anchored else r"(?:.*/)?") + "".join(parts)
    try:
        return re.compile(expression.replace("*+", "*") + r"\Z"), negated, only_directories
    except re.error:
        return None


class _Ignore:
    """The ignore patterns from the top of a walk downwards; the last one that matches decides."""

    def __init__(self, rows: tuple[tuple[str, str], ...] = ()) -> None:
        self.rows = rows

    def below(self, directory: str) -> _Ignore:
        try:
            text = Path(directory, ".gitignore").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return self
        return _Ignore(self.rows + tuple((directory, line) for line in text.splitlines()[:2000]))

    def covers(self, path: str, *, directory: bool) -> bool:
        ignored = False
        for base, line in self.rows:
            compiled = _compiled(line)
            if compiled is None or (compiled[2] and not directory):
                continue
            name = os.path.relpath(path, base).replace(os.sep, "/")
            if compiled[0].match(name):
                ignored = not compiled[1]
        return ignored


def _above(directory: str) -> _Ignore:
    """Return the patterns that the repository around ``directory`` sets above it."""
    places: list[Path] = []
    current = Path(directory).resolve()
    for place in (current, *current.parents):
        places.append(place)
        if (place / ".git").exists():
            break
    else:
        return _Ignore()
    ignore = _Ignore()
    for place in reversed(places[1:]):
        ignore = ignore.below(str(place))
    return ignore


def files(path: str, exclude: tuple[str, ...], skipped: Skipped) -> Iterator[str]:
    """Yield the files of one operand: the file itself, or those below the directory, in a stable order."""
    if not os.path.isdir(path):
        yield path
        return
    outer = _above(path)
    resolved = str(Path(path).resolve())
    outer = _Ignore((*outer.rows, *((resolved, line) for line in exclude)))
    stack: list[tuple[str, str, _Ignore]] = [(path, resolved, outer)]
    while stack:
        directory, real, ignore = stack.pop()
        ignore = ignore.below(real)
        try:
            entries = sorted(os.scandir(directory), key=lambda one: one.name)
        except OSError as error:
            skipped.unreadable.append(f"{directory}: {error.strerror}")
            continue
        below: list[tuple[str, str, _Ignore]] = []
        for entry in entries:
            place = os.path.join(real, entry.name)
            if entry.is_symlink():
                continue
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in _NEVER and not ignore.covers(place, directory=True):
                    below.append((entry.path, place, ignore))
            elif entry.is_file(follow_symlinks=False) and not ignore.covers(place, directory=False):
                yield entry.path
        stack.extend(reversed(below))


def read(path: str, skipped: Skipped) -> str | None:
    """Return the text of a file, or None when it is binary, huge or unreadable (which is counted).

    Bytes that are no UTF-8 become U+FFFD: whatever they were, they are neither code nor an address.
    """
    try:
        with open(path, "rb") as file:
            if os.fstat(file.fileno()).st_size > HUGE:
                skipped.huge += 1
                return None
            data = file.read(HUGE + 1)
    except OSError as error:
        skipped.unreadable.append(f"{path}: {error.strerror}")
        return None
    if len(data) > HUGE:
        skipped.huge += 1
        return None
    if b"\0" in data[:_HEAD]:
        skipped.binary += 1
        return None
    return data.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
