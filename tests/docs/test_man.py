"""The manual: every program has a page, every option is on it, and man(1) can show it."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.docs import ROOT
from ucspi_env.tools import tcpclient, tcpserver
from ucspi_env.tools._catalogue import scripts

if TYPE_CHECKING:
    from collections.abc import Callable

MAN = ROOT / "docs" / "man"
HEADINGS = {"Interface", "Options", "Environment", "Output", "Exit codes", "Signals", "Notes"}


def test_the_manual_is_what_the_docstrings_say() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "generate_man.py"), "--check"], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_every_installed_program_has_a_page() -> None:
    assert {path.stem for path in MAN.glob("*.md")} == set(scripts())
    assert {path.stem for path in (MAN / "man1").iterdir()} == set(scripts())


@pytest.mark.parametrize("name", scripts())
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
    terms = re.findall(r"^\| (`.*?`) \|", section, re.MULTILINE)
    documented = {option for term in terms for option in re.findall(r"(?:^|[`, ])(--?[\w-]+)", term)}

    known = {f"-{letter}" for letter in letters.replace(":", "")} | {f"--{word.rstrip('=')}" for word in words}
    assert documented == known


@pytest.mark.peer("man")
@pytest.mark.parametrize("name", scripts())
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
