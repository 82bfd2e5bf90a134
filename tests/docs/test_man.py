"""The manual: every program has a page, every option is on it, and man(1) can show it."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING

import pytest

from tests.support.docs import ROOT
from ucspi_env.tools import tcpclient, tcpserver

if TYPE_CHECKING:
    from collections.abc import Callable

MAN = ROOT / "docs" / "man"
SCRIPTS = sorted(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"])
HEADINGS = {"Interface", "Options", "Environment", "Output", "Exit codes", "Signals", "Notes"}


def test_the_manual_is_what_the_docstrings_say() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "generate_man.py"), "--check"], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_every_installed_program_has_a_page() -> None:
    assert {path.stem for path in MAN.glob("*.md")} == set(SCRIPTS)
    assert {path.stem for path in (MAN / "man1").iterdir()} == set(SCRIPTS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_pages_have_the_same_headings(name: str) -> None:
    headings = re.findall(r"^## (.*)$", (MAN / f"{name}.md").read_text(), re.MULTILINE)

    assert set(headings) <= HEADINGS
    assert "Interface" in headings
    assert "Exit codes" in headings


@pytest.mark.parametrize(
    ("name", "letters", "words"),
    [
        ("ucspi-tcpserver", tcpserver.LETTERS, tcpserver.WORDS),
        ("ucspi-tcpclient", tcpclient.LETTERS, tcpclient.WORDS),
    ],
)
def test_every_option_is_on_the_page_and_no_other(name: str, letters: str, words: tuple[str, ...]) -> None:
    section = (MAN / f"{name}.md").read_text().partition("## Options")[2].partition("## ")[0]
    known = {f"-{letter}" for letter in letters.replace(":", "")} | {f"--{word.rstrip('=')}" for word in words}
    assert options_of(section) == known


def options_of(section: str) -> set[str]:
    terms = re.findall(r"^\| (`.*?`) \|", section, re.MULTILINE)
    return {option for term in terms for option in re.findall(r"(?:^|[`, ])(--?[\w-]+)", term)}


@pytest.mark.parametrize("command", ["env", "try", "lint", "dialects"])
def test_every_option_of_envcheck_is_on_the_page_and_no_other(command: str) -> None:
    section = (MAN / "ucspi-envcheck.md").read_text().partition(f"### {command}\n")[2].partition("\n##")[0]
    said = subprocess.run(
        [sys.executable, "-m", "ucspi_env", command, "--help"], capture_output=True, text=True, check=True
    ).stdout

    known = set(re.findall(r"^  (?:(-\w), )?(--?[\w-]+)", said.partition("\nOptions:\n")[2], re.MULTILINE))
    assert options_of(section) == {option for pair in known for option in pair if option} - {"--help"}


@pytest.mark.parametrize(("command", "heading"), [("run", "The report, run"), ("shim", "shim"), ("shell", "shell")])
def test_every_option_of_what_starts_without_click_is_on_the_page(command: str, heading: str) -> None:
    section = (MAN / "ucspi-envcheck.md").read_text().partition(f"### {heading}\n")[2].partition("\n##")[0]
    said = subprocess.run(
        [sys.executable, "-m", "ucspi_env", command, "--help"], capture_output=True, text=True, check=True
    ).stdout

    assert options_of(section) == set(re.findall(r"^  (--?[\w-]+)", said, re.MULTILINE)) - {"--help"}


def test_every_command_of_envcheck_is_on_the_page() -> None:
    page = (MAN / "ucspi-envcheck.md").read_text()
    said = subprocess.run(
        [sys.executable, "-m", "ucspi_env", "--help"], capture_output=True, text=True, check=True
    ).stdout

    commands = set(re.findall(r"^  (\w+)  ", said.partition("\nCommands:\n")[2], re.MULTILINE))
    assert set(re.findall(r"^`ucspi-envcheck (\w+) ", page, re.MULTILINE)) == commands
    assert "try" in commands


def test_no_page_of_man_leads_into_a_directory_that_is_not_there() -> None:
    for page in (MAN / "man1").iterdir():
        assert "../" not in page.read_text(), page


@pytest.mark.peer("man")
@pytest.mark.parametrize("name", SCRIPTS)
def test_man_shows_the_page(name: str, peer: Callable[[str], str]) -> None:
    done = subprocess.run(
        [peer("man"), "--warnings", "-l", "-Tascii", str(MAN / "man1" / f"{name}.1")],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": "/usr/bin:/bin", "MANWIDTH": "100", "LC_ALL": "C.UTF-8"},
    )

    assert done.stderr == ""
    assert name in re.sub(".\b", "", done.stdout)
