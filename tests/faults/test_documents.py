"""docs/security.md and docs/faults.md name tests that are there, and Debian's tcpserver does what they say of it."""

from __future__ import annotations

import fcntl
import os
import re
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


@pytest.mark.parametrize("page", ["security.md", "faults.md"])
def test_every_test_that_a_page_names_exists(page: str) -> None:
    named = NAMED.findall((ROOT / "docs" / page).read_text())
    assert len(named) > 15
    for path, name in named:
        assert f"\ndef {name}(" in (ROOT / path).read_text(), f"{page} names {path}::{name}"


@pytest.mark.peer("ucspi-tcp-ipv6/tcpserver")
def test_cs_tcpserver_stands_still_when_nobody_reads_its_log(peer: Callable[[str], str]) -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, 1031, 4096)  # F_SETPIPE_SZ
    command = [peer("ucspi-tcp-ipv6/tcpserver"), "-1vRHl0", "-b1", "127.0.0.1", "0", "true"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=writer) as process:
        os.close(writer)
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            callers = [socket.create_connection(("127.0.0.1", port))]
            callers[0].recv(1)
            waiting_for_the_pipe = Path(f"/proc/{process.pid}/wchan")
            stuck, said = 0, set()
            deadline = time.monotonic() + PATIENCE
            while stuck < 100 and time.monotonic() < deadline:
                if len(callers) < 500:  # on a busy machine it gets to them later
                    one = socket.socket()
                    one.setblocking(False)
                    one.connect_ex(("127.0.0.1", port))
                    callers.append(one)
                said.add(waiting_for_the_pipe.read_text())
                stuck = stuck + 1 if "pipe" in waiting_for_the_pipe.read_text() else 0
            for one in callers:
                one.close()
            if said == {"0"}:
                pytest.skip("this kernel does not say what a process waits for")
            assert stuck == 100
        finally:
            process.kill()
            os.close(reader)
