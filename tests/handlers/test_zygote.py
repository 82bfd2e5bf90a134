"""The parent's side of a zygote, with one that is not ours: it says, leaves unread and dies as the test has it."""

from __future__ import annotations

import ctypes
import os
import selectors
import signal
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import PATIENCE
from ucspi_env.tools import _zygote_child as protocol
from ucspi_env.tools._tasks import Tasks
from ucspi_env.tools._zygote import Request, Zygote

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="--preload needs Linux")

# Says that it has started a process, itself as it were, and that it has ended; dies with another request unread.
DYING = """
import os, socket, struct
channel = socket.socket(fileno=3)
report = struct.Struct("<cQii")
channel.send(report.pack(b"r", 0, 0, 0))
request = channel.recv(65536)
serial = int.from_bytes(request[1:9], "little")
channel.send(report.pack(b"s", serial, os.getpid(), 0))
channel.send(report.pack(b"e", 0, os.getpid(), 256))
channel.recv(65536, socket.MSG_PEEK)
"""


def newest_child() -> int:
    return int(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()[-1])


@pytest.fixture
def _orphans_go_elsewhere() -> Iterator[None]:
    """Starting a zygote makes this process a subreaper; afterwards it is none."""
    yield
    ctypes.CDLL(None).prctl(36, 0, 0, 0, 0)


@pytest.mark.usefixtures("_orphans_go_elsewhere")
def test_what_a_zygote_reported_before_it_died_counts_although_it_left_requests_unread() -> None:
    """Such an end is a reset, which the kernel tells of *before* it hands out the reports that are there."""
    started: list[tuple[str, int]] = []
    ended: list[tuple[int, int]] = []
    with selectors.DefaultSelector() as selector, socket.socket() as connection:
        tasks = Tasks(selector)
        zygote = Zygote(
            "fake",
            sys.executable,
            [sys.executable, "-I", "-S", "-c", DYING],
            (),
            dict(os.environ),
            default_signals=(),
            ended=lambda pid, status: ended.append((pid, status)),
            warn=lambda _text: None,
        )
        zygote.start(tasks)
        first = newest_child()
        for name in ("one", "two"):

            def begun(pid: int, name: str = name) -> None:
                started.append((name, pid))

            fds = (connection.fileno(),)
            zygote.ask(Request(protocol.RUN, b"", fds, begun, lambda error: pytest.fail(str(error))))
        os.waitpid(first, 0)  # all that it had to say is waiting now
        deadline = time.monotonic() + PATIENCE
        while len(started) < 2 and time.monotonic() < deadline:
            for key, _ in selector.select(1):
                tasks.on_event(*key.data)
        second = newest_child()
        os.kill(second, signal.SIGKILL)
        os.waitpid(second, 0)
        assert zygote._channel is not None
        zygote._channel.close()
    # What the first one had started was not given to the second: a caller would have been served twice.
    assert started == [("one", first), ("two", second)]
    assert ended[0] == (first, 256)
