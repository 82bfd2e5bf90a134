"""The rules' documentation, made from their docstrings: one page for ``explain``, all of them for docs/rules.md."""

# ruff: noqa: E501 - prose of a page

from __future__ import annotations

import re

from ucspi_env.envcheck.lint._engine import RULES
from ucspi_env.envcheck.lint._languages import LANGUAGES
from ucspi_env.envcheck.lint._model import HEADINGS, Rule, find_rule
from ucspi_env.envcheck.lint._remedies import REMEDIES

_GROUPS = {
    "1": "Taking the text apart",
    "2": "Deciding about a peer",
    "3": "Storing",
    "4": "Sockets, resolvers, protocols",
    "5": "Variables",
    "6": "Writing it out",
}
_TITLES = {"": "In general", "c": "C, C++", "sh": "Shell", "php": "PHP", "sql": "SQL", "awk": "awk"}


def _plain(text: str) -> str:
    """Text that is not Markdown, so that a forge shows it as it is: `parse::<IpAddr>()` is no HTML, `127.*` no emphasis."""
    return re.sub(r"[\\`*<]|(?<!\w)_|_(?!\w)|\](?=\()", r"\\\g<0>", text)


def _page(one: Rule, level: int) -> str:
    shown = _plain if level > 1 else str  # the page of one rule is for a terminal
    marks = "#" * level
    page = one.page
    parts = [f"{marks} {one.code} `{one.name}`\n", f"{page['']}\n", f"*Severity: {one.severity}.*\n"]
    for heading in HEADINGS:
        parts.append(f"{marks}# {heading}\n\n{page[heading]}\n")
        if heading == "Use instead":
            table = REMEDIES[one.remedy]
            rows = [
                f"- {_TITLES.get(key, key.capitalize())}: {shown(table[key])}"
                for key in ("", *LANGUAGES)
                if key in table
            ]
            parts.append("\n".join(rows) + "\n")
    return "\n".join(parts)


def explain_text(code: str) -> str:
    """Return the page of a rule, given by its code or name, as Markdown.

    Raises:
        KeyError: there is no such rule.
    """
    one = find_rule(code)
    if one is None:
        raise KeyError(code)
    return _page(one, 1)


def rules_list() -> str:
    """Return a line for each rule, for a terminal."""
    rules = sorted(RULES.values(), key=lambda one: one.code)
    widest = max(len(one.name) for one in rules)
    return "".join(f"{one.code} {one.name:<{widest}}  {one.page['']}\n" for one in rules)


def rules_page() -> str:
    """Return docs/rules.md."""
    rules = sorted(RULES.values(), key=lambda one: one.code)
    parts = [
        "# Rules of `ucspi-envcheck lint`\n",
        "Made from the rules' docstrings by `python -m ucspi_env.envcheck.lint.docs`; edit those, not this file.\n",
        "<!-- no block is run: they are pieces of programs, and tests/lint judges them -->\n",
        "A finding is silenced by a comment in the file's own syntax, on its line or alone on the line above:"
        " `envcheck: ignore`, `envcheck: ignore[U101, dot-split]`; for a whole file `envcheck: ignore-file`.\n",
        "Severities: *security* (a check is bypassed or memory is damaged), *breaks* (refused, or wrong), *cosmetic*.\n",
        "| code | name | severity | finds |\n|---|---|---|---|\n"
        + "\n".join(
            f"| [{one.code}](#{one.code.lower()}-{one.name}) | `{one.name}` | {one.severity} | {one.page['']} |"
            for one in rules
        )
        + "\n",
    ]
    group = ""
    for one in rules:
        if one.code[1] != group:
            group = one.code[1]
            parts.append(f"## U{group}xx: {_GROUPS[group]}\n")
        parts.append(_page(one, 3))
    return "\n".join(parts)
