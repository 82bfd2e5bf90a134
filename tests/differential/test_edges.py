"""Sharp edges that no single command line shows: they need a limit, a group or a child at the right moment."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support import PATIENCE, call, start_tcpserver, tool

if TYPE_CHECKING:
    from pathlib import Path


def test_a_server_without_descriptors_says_so_waits_and_recovers() -> None:
    """A1: C retries for ever, without a word."""
    with start_tcpserver("-RHl0", "127.0.0.1", "0", "echo", "served") as server:
        call(server.port)  # it has said its port before it was quite ready
        limits = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (0, limits[1]))
        with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as caller:
            server.wait_for_line("tcpserver: warning: ")
            resource.prlimit(server.pid, resource.RLIMIT_NOFILE, limits)
            with caller.makefile("rb") as answer:
                assert answer.read() == b"served\n"
        assert call(server.port).data == b"served\n"


@pytest.mark.root
def test_giving_up_root_gives_up_its_groups() -> None:
    """A7: C keeps gid 0 and all supplementary groups."""
    done = subprocess.Popen(
        [*tool("tcpserver"), "-1RHl0", "-u", "65534", "127.0.0.1", "0", "/usr/bin/id", "-G"],
        stdout=subprocess.PIPE,
        extra_groups=[0, 4, 24],
    )
    try:
        assert done.stdout is not None
        port = int(done.stdout.readline())
        groups = call(port).data.split()
    finally:
        done.terminate()
        done.communicate()
    assert groups
    assert not {b"0", b"4", b"24"} & set(groups)


def test_a_child_that_was_there_before_is_no_connection(tmp_path: Path) -> None:
    """A29: C logs its end and counts a connection less."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    script = f'cat {gate} & exec "$@"'
    command = ["sh", "-c", script, "sh", *tool("tcpserver")]
    with start_tcpserver("-vRHl0", "127.0.0.1", "0", "cat", command=command) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as caller:
            caller.sendall(b"x")
            assert caller.recv(1) == b"x"
            gate.write_bytes(b"")  # the foreign child ends while a connection is served
            assert call(server.port).data == b""
            server.wait_for_line("status: 1/40", count=3 - 1)
        server.wait_for_line("status: 0/40", count=2)
        log = server.lines
    assert [line.split(": ")[-1] for line in log if "status: " in line] == ["0/40", "1/40", "2/40", "1/40", "0/40"]
    assert len([line for line in log if " end " in line]) == 2


def test_no_signal_with_a_name_is_ignored_in_programs() -> None:
    """D4: signals 32 and 33 may be, since posix_spawn(3) of glibc leaves them so."""
    with start_tcpserver("-RHl0", "127.0.0.1", "0", "grep", "SigIgn", "/proc/self/status") as server:
        ignored = int(call(server.port).data.split()[1], 16)
    assert ignored & ~(1 << 31 | 1 << 32) == 0
