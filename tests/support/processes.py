"""What other processes are doing, and waiting for a condition that nothing announces."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.programs import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Look until it holds.

    Raises:
        AssertionError: it did not come to hold.
    """
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.005)


def states(parent: int) -> list[str]:
    """The states of a process's children: S, R, Z (zombie) …; without those that are reaped while this looks."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    found = []
    for pid in children:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found.append(state(int(pid)))
    return found


def state(pid: int) -> str:
    """The state of one process."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
