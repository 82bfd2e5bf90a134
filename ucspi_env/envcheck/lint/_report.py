"""Findings as a person, a program, GitHub or a code scanner wants them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from ucspi_env.envcheck.lint._engine import RULES
from ucspi_env.envcheck.lint._model import BREAKS, COSMETIC, SECURITY, Finding

_LEVELS = {SECURITY: "error", BREAKS: "warning", COSMETIC: "note"}
_GITHUB = {SECURITY: "error", BREAKS: "warning", COSMETIC: "notice"}
_COLOURS = {SECURITY: "31", BREAKS: "33", COSMETIC: "36"}
_WIDEST = 160


def _printable(text: str) -> str:
    """Return ``text`` with control characters replaced: source lines must not drive the terminal."""
    return "".join(char if char.isprintable() else " " for char in text)


def text(findings: Sequence[Finding], sources: Mapping[str, Sequence[str]], *, colour: bool = False) -> str:
    """Return the findings for a person: place, rule and message, the line with a caret, and what to write instead.

    Args:
        findings: in the order in which they are shown.
        sources: the lines of each file.
        colour: whether to use ANSI colours.
    """

    def paint(code: str, what: str) -> str:
        return f"\x1b[{code}m{what}\x1b[0m" if colour else what

    parts: list[str] = []
    for one in findings:
        where = f"{_printable(one.path)}:{one.line}:{one.column}"
        parts.append(
            f"{paint('1', where)} {paint(_COLOURS[one.severity], one.code)} {one.message} [{one.name}, {one.severity}]"
        )
        lines = sources.get(one.path, ())
        if 0 < one.line <= len(lines):
            row = lines[one.line - 1]
            start = max(0, one.column - _WIDEST // 2)
            shown = _printable(row.expandtabs(1)[start : start + _WIDEST])
            parts.append(f"    {shown}")
            parts.append("    " + " " * (one.column - 1 - start) + paint("32", "^"))
        parts.append(f"    fix: {one.fix}")
    return "".join(part + "\n" for part in parts)


def as_json(findings: Sequence[Finding]) -> str:
    """Return a JSON array of objects with path, line, column, code, name, severity, message and fix."""
    return json.dumps([asdict(one) for one in findings], indent=2, ensure_ascii=False) + "\n"


def _escaped(value: str, *, property_: bool = False) -> str:
    value = value.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return value.replace(":", "%3A").replace(",", "%2C") if property_ else value


def github(findings: Sequence[Finding]) -> str:
    """Return workflow commands, which GitHub shows as annotations on the lines."""
    rows: list[str] = []
    for one in findings:
        place = f"file={_escaped(one.path, property_=True)},line={one.line},col={one.column}"
        title = _escaped(f"{one.code} {one.name}", property_=True)
        rows.append(f"::{_GITHUB[one.severity]} {place},title={title}::{_escaped(f'{one.message}. Fix: {one.fix}')}\n")
    return "".join(rows)


def _uri(path: str) -> str:
    return quote(PurePath(path).as_posix(), safe="/:@!$&'()*+,;=~-._")


def sarif(findings: Sequence[Finding], version: str) -> str:
    """Return a SARIF 2.1.0 log with one run.

    Args:
        findings: the results.
        version: of the tool.
    """
    rules = sorted(RULES.values(), key=lambda one: one.code)
    index = {one.code: number for number, one in enumerate(rules)}
    driver: dict[str, Any] = {
        "name": "ucspi-envcheck",
        "version": version,
        "rules": [
            {
                "id": one.code,
                "name": one.name,
                "shortDescription": {"text": one.page[""]},
                "fullDescription": {"text": one.page["What it does"]},
                "help": {"text": one.page["Why is this bad?"]},
                "defaultConfiguration": {"level": _LEVELS[one.severity]},
                "properties": {"tags": ["ipv6", one.severity]},
            }
            for one in rules
        ],
    }
    results = [
        {
            "ruleId": one.code,
            "ruleIndex": index[one.code],
            "level": _LEVELS[one.severity],
            "message": {"text": f"{one.message}. Fix: {one.fix}"},
            "locations": [
                {
                    "physicalLocation": {
                        "artifactLocation": {"uri": _uri(one.path)},
                        "region": {"startLine": one.line, "startColumn": one.column},
                    }
                }
            ],
        }
        for one in findings
    ]
    log = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}],
    }
    return json.dumps(log, indent=2, ensure_ascii=False) + "\n"
