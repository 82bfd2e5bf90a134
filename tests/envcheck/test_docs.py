"""docs/envcheck.md: the sessions with other packages' programs, and that nothing is left out.

All other sessions of the page are run with those of all pages (tests/docs).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.docs import ROOT, blocks, commands, mismatch

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = ROOT / "docs" / "envcheck.md"
TESTED = {block.value: block for block in blocks(PAGE) if block.mark == "tested"}


@pytest.mark.netns
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.peer(name)) for name in ("micro-httpd", "smtpfront-echo", "git", "rsync")],
)
def test_the_sessions_with_debians_servers_are_true(name: str, peer: Callable[[str], str], tmp_path: Path) -> None:
    path = f"{Path(peer(name)).parent}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    for command in commands(TESTED[name]):
        done = subprocess.run(
            ["sh", "-c", command.text],
            cwd=tmp_path,
            env={"PATH": path, "HOME": str(tmp_path), "LANG": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        difference = mismatch(command, done.stdout.decode(), done.returncode)
        assert not difference, f"$ {command.text}\n{difference}"


def test_each_marked_session_is_tested() -> None:
    assert set(TESTED) == {"micro-httpd", "smtpfront-echo", "git", "rsync"}


def test_every_command_is_on_the_page() -> None:
    text = PAGE.read_text()

    for name in ("run", "env", "try", "lint", "explain", "shim", "shell", "dialects"):
        assert f"| `ucspi-envcheck {name}" in text
