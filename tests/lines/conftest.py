"""Both kinds of a line tool: ours, and Debian's."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.support import PATIENCE
from ucspi_env.tools._catalogue import command

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Done(NamedTuple):
    """What a program left behind."""

    status: int
    stdout: bytes
    stderr: bytes


class Tools:
    """Runs a tool by DJB's name."""

    def __init__(self, find: Callable[[str], list[str]]) -> None:
        self.argv = find

    def run(self, name: str, *arguments: str, stdin: bytes | int = b"", env: Mapping[str, str] | None = None) -> Done:
        """Run a tool to its end."""
        done = subprocess.run(
            [*self.argv(name), *arguments],
            stdin=stdin if isinstance(stdin, int) else None,
            input=None if isinstance(stdin, int) else stdin,
            capture_output=True,
            check=False,
            env=None if env is None else dict(env),
            timeout=PATIENCE,
        )
        return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def ours() -> Tools:
    """Our tools, started as the launchers start them."""
    assert sys.executable
    return Tools(command)


@pytest.fixture
def theirs(peer: Callable[[str], str]) -> Tools:
    """Debian's tools."""
    return Tools(lambda name: [peer(name)])
