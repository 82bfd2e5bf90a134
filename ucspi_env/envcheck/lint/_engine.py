"""From a text to its findings: language, rules, one report per fault and line, suppression comments, patches."""

# ruff: noqa: E501 - a pattern or a remedy that is cut in pieces cannot be read

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from ucspi_env.envcheck.lint import _rules_decide, _rules_net, _rules_parse, _rules_store, _rules_vars, _rules_write
from ucspi_env.envcheck.lint._languages import PATCHES, guess
from ucspi_env.envcheck.lint._match import forget
from ucspi_env.envcheck.lint._model import RULES, Finding, Hit, Rule
from ucspi_env.envcheck.lint._names import UCSPI
from ucspi_env.envcheck.lint._remedies import remedy
from ucspi_env.envcheck.lint._unit import Unit

# Importing the rule modules is what registers their rules; whoever needs `RULES` complete imports it from here.
__all__ = ["RULES", "RULE_MODULES", "is_patch", "lint_text"]

RULE_MODULES: Final = (_rules_parse, _rules_decide, _rules_store, _rules_net, _rules_vars, _rules_write)

_SUPPRESS: Final = re.compile(r"envcheck:\s*(ignore-file|ignore)(?:\s*\[([\w\s,-]*)\])?")
_HUNK: Final = re.compile(r"@@ -\d+(?:,\d+)? \+\d+(?:,\d+)? @@")
_OLD_HUNK: Final = re.compile(r"\*{3} \d+(?:,\d+)? \*{4}|--- \d+(?:,\d+)? ----")
_WORTH: Final = re.compile(
    r"(?i)(?:TCP|SSL|UDP)6?_?(?:REMOTE|LOCAL)|REMOTE_?(?:IP|ADDR|HOST)|PEERADDR|\bPROTO\b|inet_|sockaddr|gethostby|scanf|\bip|ip\b|addr|AF_INET|227 |netmask|::ffff"
)


_PATCH: Final = re.compile(r"^--- \S[^\n]*\n\+\+\+ \S[^\n]*\n@@ -\d", re.MULTILINE)


def is_patch(path: str, text: str) -> bool:
    """Say whether the file is a patch: by its name, or since a hunk begins near its top."""
    return path.endswith(PATCHES) or _PATCH.search(text[:8192]) is not None


def lint_text(path: str, text: str, language: str | None = None, *, named: bool = True) -> list[Finding]:
    """Return the findings of one file, in the order of its lines.

    Args:
        path: what findings are reported for; helps to guess the language.
        text: the whole file. Any text is accepted.
        language: one of `_languages.LANGUAGES`; None guesses it.
        named: the user named this file, or it lies in a project that uses UCSPI variables; constructs that are IPv4-only by
            themselves are then reported even where no variable is in sight.
    """
    if language is None and is_patch(path, text):
        return _lint_patch(path, text, named=named)
    language = language or guess(path, text)
    if language is None or not _WORTH.search(text):
        return []
    return _lint(Unit(path, text, language, named=named))


def _lint(unit: Unit) -> list[Finding]:
    if unit.language == "python":
        from ucspi_env.envcheck.lint._python import python_hits

        found = {name: hits for name, hits in python_hits(unit).items() if name in RULES}
    else:
        found = {name: list(one.check(unit)) for name, one in RULES.items()}
    best: dict[tuple[int, str], tuple[Rule, int, Hit]] = {}
    for name, hits in found.items():
        one = RULES[name]
        for hit in hits:
            line, column = unit.position(hit.offset)
            key = line, one.group
            if key not in best or (one.rank, column) < (best[key][0].rank, best[key][1]):
                best[key] = one, column, hit
    forget()
    silenced = _Silence(unit)
    findings = [
        Finding(
            unit.path, line, column, one.code, one.name, one.severity, hit.message, remedy(one.remedy, unit.language)
        )
        for (line, _), (one, column, hit) in best.items()
        if not silenced.covers(line, one)
    ]
    return sorted(findings)


class _Silence:
    """What the file's ``envcheck: ignore`` comments switch off."""

    def __init__(self, unit: Unit) -> None:
        self.everywhere: set[str] | None = None
        self.lines: dict[int, set[str]] = {}
        if "envcheck:" not in unit.text:
            return
        for start, end in unit.tokens.comments:
            for match in _SUPPRESS.finditer(unit.text, start, min(end, start + 100_000)):
                names = {word.strip().lower() for word in (match[2] or "").split(",") if word.strip()}
                if match[1] == "ignore-file":
                    self.everywhere = (self.everywhere or set()) | (names or {"all"})
                    continue
                line, _ = unit.position(match.start())
                # A comment that stands alone speaks for the line below it.
                if not unit.line_text(match.start()).strip():
                    line = unit.position(min(end, max(len(unit.text) - 1, 0)))[0] + (
                        0 if unit.text[end - 1 : end] == "\n" else 1
                    )
                self.lines.setdefault(line, set()).update(names or {"all"})

    def covers(self, line: int, one: Rule) -> bool:
        wanted = {"all", one.code.lower(), one.name}
        return bool(wanted & (self.everywhere or set())) or bool(wanted & self.lines.get(line, set()))


def _lint_patch(path: str, text: str, *, named: bool) -> list[Finding]:
    """Return the findings on lines that the patch adds; removed lines are not there, context only helps to understand."""
    findings: list[Finding] = []
    named = named or UCSPI.search(text) is not None
    for name, section, added in _patched_files(text):
        language = guess(name, section.lstrip())
        if language is None or not _WORTH.search(section):
            continue
        findings += [one for one in _lint(Unit(path, section, language, named=named)) if one.line in added]
    return sorted(findings)


def _patched_files(text: str) -> Iterator[tuple[str, str, set[int]]]:
    """Yield name, text and added lines for each file of a patch; the text keeps the patch's line numbers."""
    name = ""
    added: set[int] = set()
    lines: list[str] = []
    inside = False
    rows = text.split("\n")
    for number, row in enumerate(rows, 1):
        if row.startswith(("--- ", "*** ")) and number < len(rows) and rows[number].startswith(("+++ ", "--- ")):
            if added:
                yield name, "\n".join(lines), added
            name, added, lines, inside = "", set[int](), [""] * (number - 1), False
            lines.append("")
        elif (row.startswith("+++ ") and not name) or (
            row.startswith("--- ") and not name and not _OLD_HUNK.match(row)
        ):
            word = row[4:].split("\t")[0].split()
            name = word[0] if word else ""
            lines.append("")
        elif _HUNK.match(row) or _OLD_HUNK.match(row) or row.startswith("***************"):
            inside = True
            lines.append("")
        elif inside and row[:1] == "+":
            added.add(number)
            lines.append(row[1:])
        elif inside and row[:2] == "! ":
            added.add(number)
            lines.append(row[2:])
        elif inside and row[:1] == " ":
            lines.append(row[1:])
        else:
            if row.startswith(("diff ", "Index: ")):
                inside = False
            lines.append("")
    if added:
        yield name, "\n".join(lines), added
