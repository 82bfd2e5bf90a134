"""Every command on every page is run, or its source says why not; every link leads somewhere."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.docs import LANGUAGES, ROOT, blocks, mismatch, run_page

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("**/*.md")])
RUN = [page for page in PAGES if any(not block.mark and block.language in LANGUAGES for block in blocks(page))]
NEEDS = {"docs/guide.md": ("cc", "perl"), "docs/tutorial.md": ("cc", "perl")}
LINKED = sorted(
    [*PAGES, ROOT / "SECURITY.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", ROOT / "CODE_OF_CONDUCT.md"]
)
_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.netns
@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=name(page), marks=[pytest.mark.peer(*NEEDS[name(page)])] if name(page) in NEEDS else [])
        for page in RUN
    ],
)
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


def test_the_codec_does_what_the_page_says() -> None:
    code = next(block.text for block in blocks(ROOT / "docs" / "proxy.md") if block.value == "codec")
    assert "assert" in code

    exec(compile(code, "docs/proxy.md", "exec"), {})


def test_the_pages_that_teach_are_run() -> None:
    assert {"README.md", "docs/guide.md", "docs/tutorial.md", "docs/envcheck.md"} <= {name(page) for page in RUN}


def test_only_the_page_of_lint_is_left_out_as_a_whole() -> None:
    # Its blocks are programs to be judged; tests/lint runs lint over each.
    assert [name(page) for page in PAGES if "<!-- no block is run: " in page.read_text()] == ["docs/rules.md"]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_no_command_hides_in_an_indented_block(page: Path) -> None:
    # The runner reads fenced blocks. A block that is only indented follows a blank line, outside lists.
    outside = _FENCED.sub("", page.read_text())

    assert not re.findall(r"\n\n((?: {4}|\t)(?![-*] ).*)", outside)


@functools.cache
def words_of_the_tests() -> frozenset[str]:
    """What stands between quotes in any test."""
    texts = (path.read_text() for path in (ROOT / "tests").glob("**/*.py"))
    return frozenset(word for text in texts for word in re.findall(r'"([\w.-]+)"', text))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_what_is_said_to_be_tested_is_named_by_a_test(page: Path) -> None:
    for block in blocks(page):
        if block.mark == "tested":
            assert block.value in words_of_the_tests(), f"{name(page)}:{block.line}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_readers_see_the_name_of_a_file_that_later_commands_use(page: Path) -> None:
    lines = page.read_text().split("\n")
    for block in blocks(page):
        if block.mark == "file":
            above = " ".join(lines[max(0, block.line - 4) : block.line - 1])
            assert f"`{block.value}`" in above, f"{name(page)}:{block.line}"


# -- links --


def links(page: Path) -> Iterator[str]:
    """What the links of a page lead to, except to other hosts."""
    text = _FENCED.sub("", page.read_text())
    for found in re.finditer(r"\]\(([^()\s]+)\)", text):
        if not re.match(r"[a-z]+:", found[1]):
            yield found[1]


@functools.cache
def anchors(page: Path) -> frozenset[str]:
    """The anchors of a page, as forges make them of its headings."""
    found: set[str] = set(re.findall(r'<a (?:id|name)="([^"]+)"', page.read_text()))
    for heading in re.findall(r"^#{1,6} (.*?)\s*$", _FENCED.sub("", page.read_text()), re.MULTILINE):
        shown = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        number = 0
        while (numbered := f"{slug}-{number}" if number else slug) in found:
            number += 1
        found.add(numbered)
    return frozenset(found)


@pytest.mark.parametrize("page", LINKED, ids=name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_relative_to(ROOT), f"{name(page)}: {link}"
        assert target.exists(), f"{name(page)}: {link}"
        if anchor:
            assert anchor in anchors(target), f"{name(page)}: {link}"


@pytest.mark.parametrize("page", LINKED, ids=name)
def test_every_page_that_is_named_in_passing_exists(page: Path) -> None:
    # `docs/faults.md`, tests/neighbours/scene.py: with or without backticks, from the top of the tree.
    for found in re.findall(
        r"(?<![\w/.-])((?:docs|tests|examples|benchmarks)/[\w./-]*\w)", _FENCED.sub("", page.read_text())
    ):
        assert (ROOT / found).exists() or (page.parent / found).exists(), f"{name(page)}: {found}"


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached = {ROOT / "README.md"}
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        for link in links(page):
            target = (page.parent / link.partition("#")[0]).resolve()
            found = sorted(target.glob("*.md")) if target.is_dir() else [target]
            for one in found:
                if one.suffix == ".md" and one not in reached:
                    reached.add(one)
                    waiting.append(one)

    assert set(LINKED) <= reached
