"""The runner of the pages: what it takes for a command, for output, and for the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.docs import Block, Command, blocks, commands, mismatch, run_page

if TYPE_CHECKING:
    from pathlib import Path


def test_a_console_block_is_commands_and_their_output() -> None:
    block = Block(10, "", "", "console", "$ cat <<END\n> a\n> END\na\n$ true\n$ echo b\nb\n\nc\n")

    assert list(commands(block)) == [
        Command(11, "cat <<END\na\nEND", "a\n"),
        Command(15, "true", ""),
        Command(16, "echo b", "b\n\nc\n"),
    ]


@pytest.mark.parametrize(
    ("expected", "said", "same"),
    [
        ("a\n", "a\r\n", True),
        ("a\n", "b\n", False),
        ("port ...\n", "port 4711\n", True),
        ("port ...\n", "port 4711\nmore\n", False),
        ("...\nb\n...\n", "b\n", True),
        ("...\nb\n...\n", "a\nb\nc\n", True),
        ("...\nb\n", "a\nb\nc\n", False),
        ("", "", True),
        ("", "surprise\n", False),
        ("a.c\n", "abc\n", False),
    ],
)
def test_three_dots_stand_for_anything(expected: str, said: str, same: bool) -> None:
    assert (mismatch(Command(1, "x", expected), said, 0) == "") is same


def test_a_script_only_has_to_succeed() -> None:
    assert mismatch(Command(1, "x", None), "whatever", 0) == ""
    assert "exit status 3" in mismatch(Command(1, "x", None), "whatever", 3)


@pytest.mark.netns
def test_a_page_is_run_in_order_in_one_shell(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# Page\n\n<!-- file: bin/hello -->\n```sh\n#!/bin/sh\necho hello $1\n```\n\n"
        "```console\n$ who=you\n$ bin/hello $who\n$ false\n$ echo $?\n```\n\n"
        "<!-- not run: why -->\n```console\n$ exit 1\n```\n\n"
        "```python\nraise SystemExit\n```\n\n"
        "```sh\necho $who\n```\n"
    )
    directory = tmp_path / "run"
    directory.mkdir()

    results = [(command.text.strip(), said, status) for command, said, status in run_page(page, directory)]

    assert results == [
        ("who=you", "", 0),
        ("bin/hello $who", "hello you\n", 0),
        ("false", "", 1),
        ("echo $?", "1\n", 0),
        ("echo $who", "you\n", 0),
    ]


@pytest.mark.netns
def test_a_server_in_the_background_listens_before_the_next_command(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```console\n$ ucspi-tcpserver -RHl0 ::1 7777 echo hi &\n$ ucspi-tcpcat ::1 7777\nhi\n```\n")

    (tmp_path / "run").mkdir()
    results = run_page(page, tmp_path / "run")

    assert [mismatch(*result) for result in results] == ["", ""]


def test_a_page_can_leave_all_its_blocks_out(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- no block is run: they are pieces -->\n\n```sh\nfalse\n```\n")

    assert blocks(page) == []
