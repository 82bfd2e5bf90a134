"""Many things at once: ends, signals, replaced rules; and the end of the server itself."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import resource
import signal
import socket
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from tests.support import Server, call, tool
from tests.support.processes import state, states, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def descriptors() -> Iterator[int]:
    """As many descriptors as this process may have, 4096 at most."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 4096 if hard == resource.RLIM_INFINITY else min(4096, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
    yield max(soft, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_thousand_children_that_end_at_once_are_all_reaped(
    tcpserver: Callable[..., Server], descriptors: int
) -> None:
    """Stopped, the server gets one SIGCHLD for all of them."""
    number = min(1000, descriptors - 100)
    server = tcpserver("-vRHl0", f"-c{number + 1}", "-b1000", "127.0.0.1", "0", "cat")
    callers = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(number)]
    server.wait_for_line("tcpserver: ok ", count=number)
    server.signal(signal.SIGSTOP)
    wait_until(lambda: state(server.pid) == "T", "the server stops")
    for one in callers:
        one.close()
    wait_until(lambda: states(server.pid) == ["Z"] * number, "all children are zombies")
    server.signal(signal.SIGCONT)
    server.wait_for_line("tcpserver: end ", count=number)
    assert states(server.pid) == []
    assert call(server.port, send=b"x").data == b"x"
    counts = [int(line.split()[2].split("/")[0]) for line in server.lines if " status: " in line]
    assert max(counts) == number


def test_a_storm_of_signals_under_load_loses_no_connection(tcpserver: Callable[..., Server]) -> None:
    server = tcpserver("-vRHl0", "--drain=60", "-b200", "127.0.0.1", "0", "cat")
    over = threading.Event()
    wrong: list[bytes] = []

    def storm() -> None:
        choose = random.Random(9)
        while not over.is_set():
            server.signal(choose.choice((signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD, signal.SIGCHLD)))

    def caller(name: str) -> None:
        for number in range(25):
            wanted = f"{name}-{number}".encode()
            answer = call(server.port, send=wanted).data
            if answer != wanted:
                wrong.append(answer)

    stormy = threading.Thread(target=storm)
    callers = [threading.Thread(target=caller, args=(str(name),)) for name in range(4)]
    for one in (stormy, *callers):
        one.start()
    for one in callers:
        one.join()
    over.set()
    stormy.join()
    assert wrong == []
    server.wait_for_line("tcpserver: end ", count=100)
    assert sum(line.startswith("tcpserver: ok ") for line in server.lines) == 100
    assert not [line for line in server.lines if "warning" in line]


def test_whoever_was_accepted_before_term_is_answered(tcpserver: Callable[..., Server]) -> None:
    server = tcpserver("-vRHl0", "--drain=60", "-b50", "127.0.0.1", "0", "cat")
    answered = itertools.count()

    def caller() -> None:
        while True:
            try:
                answer = call(server.port, send=b"x")
            except ConnectionRefusedError:
                return
            if answer.data == b"x":
                next(answered)
            else:  # was still in the kernel's queue
                assert answer.reset or answer.data == b""

    callers = [threading.Thread(target=caller) for _ in range(4)]
    for one in callers:
        one.start()
    server.wait_for_line("tcpserver: ok ", count=30)
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    for one in callers:
        one.join()
    server.wait_for_silence()
    accepted = sum(line.startswith("tcpserver: ok ") for line in server.lines)
    assert next(answered) == accepted >= 30


def test_programs_outlive_a_killed_server_and_the_next_one_binds_at_once(tcpserver: Callable[..., Server]) -> None:
    server = tcpserver("-RHl0", "0", "0", "sh", "-c", "echo; exec cat")
    with contextlib.ExitStack() as stack:
        callers = [
            stack.enter_context(socket.create_connection((host, server.port), timeout=60))
            for host in ("127.0.0.1", "::1", "127.0.0.1")
        ]
        assert [one.recv(1) for one in callers] == [b"\n"] * 3
        server.signal(signal.SIGKILL)
        server.wait()
        command = [*tool("tcpserver"), "-1RHl0", "0", str(server.port), "cat"]
        with Server(command) as successor:
            successor.read_port()
            assert successor.port == server.port
            for host in ("127.0.0.1", "::1"):
                assert call(successor.port, host, send=b"new").data == b"new"
            for one in callers:
                one.sendall(b"old")
                assert one.recv(3) == b"old"


def test_rules_replaced_a_thousand_times_are_seen_whole(tcpserver: Callable[..., Server], tmp_path: Path) -> None:
    compiled = []
    for word in ("a", "b"):
        rules = f':allow,ONE="{word * 1000}",TWO="{word}"\n'
        done = [*tool("tcprules"), str(tmp_path / word), str(tmp_path / "tmp")]
        subprocess.run(done, input=rules.encode(), check=True)
        compiled.append((tmp_path / word).read_bytes())
    live = tmp_path / "cdb"
    live.write_bytes(compiled[0])
    server = tcpserver("-RHl0", "-x", str(live), "127.0.0.1", "0", "sh", "-c", 'echo "$ONE$TWO"')
    replaced = threading.Event()

    def replace() -> None:
        for number in range(1000):
            (tmp_path / "new").write_bytes(compiled[number % 2])
            os.replace(tmp_path / "new", live)
        replaced.set()

    answers: list[bytes] = []

    def caller() -> None:
        while len(answers) < 60 or not replaced.is_set():
            answers.append(call(server.port).data)

    threads = [threading.Thread(target=replace), *(threading.Thread(target=caller) for _ in range(2))]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert set(answers) <= {b"a" * 1001 + b"\n", b"b" * 1001 + b"\n"}
    assert server.stop() == []
