"""What a rule is, what it finds, and the registry of all rules."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ucspi_env.envcheck.lint._unit import Unit

SECURITY: Final = "security"
BREAKS: Final = "breaks"
COSMETIC: Final = "cosmetic"
SEVERITIES: Final = (SECURITY, BREAKS, COSMETIC)


@dataclass(frozen=True, slots=True)
class Hit:
    """A place that a rule points at: an offset into the text, and what is wrong there in one sentence."""

    offset: int
    message: str


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One fault of one file, as the user sees it.

    Attributes:
        path: as given on the command line or found below it.
        line: counted from 1.
        column: counted from 1, in characters.
        code: the rule's stable code, such as ``U101``.
        name: the rule's name, such as ``dot-split``.
        severity: "security" (a check is bypassed or memory is damaged), "breaks" (refused or wrong), "cosmetic".
        message: what is wrong on this line.
        fix: what to write instead, in the file's own language.
    """

    path: str
    line: int
    column: int
    code: str
    name: str
    severity: str
    message: str
    fix: str


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule: its identity, its page, and the function that applies it.

    Attributes:
        rank: of two rules of one ``group`` that hit the same line, the lower rank is reported.
        group: which sort of fault; different groups may both be reported on a line.
        remedy: the topic in `_remedies.REMEDIES` that says per language what to write.
    """

    code: str
    name: str
    severity: str
    group: str
    rank: int
    remedy: str
    check: Callable[[Unit], Iterator[Hit]]

    @property
    def page(self) -> dict[str, str]:
        """The rule's documentation, by heading; "" holds the summary line."""
        return sections(inspect.getdoc(self.check) or "")


HEADINGS: Final = ("What it does", "Why is this bad?", "Example", "Use instead", "References")
_HEADING: Final = re.compile(r"^(" + "|".join(map(re.escape, HEADINGS)) + r"):?\n", re.MULTILINE)


def sections(text: str) -> dict[str, str]:
    """Split a rule's docstring at its headings.

    Raises:
        ValueError: a heading is missing, out of order or has nothing under it.
    """
    parts = _HEADING.split(text)
    page = {"": parts[0].strip()}
    for heading, body in zip(parts[1::2], parts[2::2], strict=True):
        page[heading] = inspect.cleandoc("\n" + body).strip()
    if tuple(page)[1:] != HEADINGS or not all(page.values()):
        raise ValueError(f"a rule's page needs the headings {', '.join(HEADINGS)}, in this order, each with text")
    return page


RULES: Final[dict[str, Rule]] = {}
_CODE: Final = re.compile(r"U[1-6]\d\d")
_NAME: Final = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")

Check = Callable[["Unit"], Iterator[Hit]]


def rule(code: str, name: str, severity: str, *, group: str, rank: int, remedy: str) -> Callable[[Check], Check]:
    """Register a rule. Codes and names are for ever: one that is dropped is never given to another rule.

    Raises:
        ValueError: the code or name is malformed or taken, or the severity is none.
    """

    def register(check: Check) -> Check:
        if not _CODE.fullmatch(code) or not _NAME.fullmatch(name) or severity not in SEVERITIES:
            raise ValueError(f"{code} {name}: not a code, a name and a severity")
        if any(code == other.code or name == other.name for other in RULES.values()):
            raise ValueError(f"{code} {name}: the code or the name is taken")
        RULES[name] = Rule(code, name, severity, group, rank, remedy, check)
        return check

    return register


def find_rule(word: str) -> Rule | None:
    """Return the rule with this code (in any case) or name."""
    if word in RULES:
        return RULES[word]
    return next((one for one in RULES.values() if one.code == word.upper()), None)
