"""Every command on every page is run, or its source says why not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.docs import LANGUAGES, ROOT, blocks, mismatch, run_page

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("**/*.md")])
RUN = [page for page in PAGES if any(not block.mark and block.language in LANGUAGES for block in blocks(page))]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.netns
@pytest.mark.timeout(400)
@pytest.mark.parametrize("page", RUN, ids=name)
def test_a_page_shows_what_happens(page: Path, tmp_path: Path) -> None:
    wrong = [
        f"{name(page)}:{command.line}: $ {command.text}\n{difference}"
        for command, said, status in run_page(page, tmp_path)
        if (difference := mismatch(command, said, status))
    ]

    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_marks_are_known(page: Path) -> None:
    for block in blocks(page):
        assert block.mark in ("", "file", "not run", "tested"), f"{name(page)}:{block.line}"


def test_the_pages_that_teach_are_run() -> None:
    assert {"docs/guide.md", "docs/tutorial.md"} <= {name(page) for page in RUN}
