"""Our own corpus: broken programs with their faults marked on the line, and programs that must stay silent.

Python programs are called ``.py.sample``, which lint sees through, and type checkers and formatters leave alone.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ucspi_env.envcheck.lint import lint_text

CORPUS = Path(__file__).parent / "corpus"
BROKEN = sorted((CORPUS / "broken").iterdir())
FIXED = sorted((CORPUS / "fixed").iterdir())


def expected(text: str) -> set[tuple[int, str]]:
    found = set()
    for number, row in enumerate(text.split("\n"), 1):
        for listed in re.findall(r"expect: ([\w, -]+)", row):
            found |= {(number, name) for name in re.findall(r"[a-z0-9]+(?:-[a-z0-9]+)+", listed)}
    return found


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.name)
def test_each_marked_fault_is_found_on_its_line_and_nothing_else(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert expected(text)
    assert {(one.line, one.name) for one in lint_text(str(path), text)} == expected(text)


@pytest.mark.parametrize("path", FIXED, ids=lambda path: path.name)
def test_programs_that_treat_both_families_are_silent(path: Path) -> None:
    assert lint_text(str(path), path.read_text(encoding="utf-8")) == []


def test_the_corpus_has_every_language() -> None:
    suffixes = {Path(path.name.removesuffix(".sample")).suffix for path in BROKEN}
    assert {".c", ".pl", ".pm", ".sh", ".py", ".rb", ".php", ".go", ".rs", ".awk", ".hs", ".sql", ".patch"} <= suffixes
    assert {Path(path.name.removesuffix(".sample")).suffix for path in FIXED} >= suffixes - {".pm"}
