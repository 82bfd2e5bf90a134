"""--workers: several processes that accept, and for everybody outside one server."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import PATIENCE, Server, call, tool
from tests.support.processes import state, wait_until
from tests.tcpserver.faults import injected
from tests.tcpserver.test_limits import COUNTING
from tests.tcpserver.test_metrics import DENIED, OVER, ask, samples
from ucspi_env.tools._board import SUPERVISOR, Board, Estate, SharedLimits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="--workers needs Linux")

OPTIONS = ("--workers", "3", "-vRHl0")
SAY_PARENT = "echo $PPID; exec cat"
HANDLER = """
import os
def parent(session):
    session.writer.write(b"%d\\n" % os.getppid())
    session.writer.flush()
    session.writer.write(session.reader.read())
"""
LAUNCHERS = {
    "spawn": ((), ("sh", "-c", SAY_PARENT)),
    "rlimit": (("--rlimit", "nofile=64"), ("sh", "-c", SAY_PARENT)),
    "preload": (("--preload",), ("./script.py",)),
    "handler": (("--handler",), ("app:parent",)),
    "reuse": (("--handler", "--reuse", "50", "--pool", "8"), ("app:parent",)),
}
SCRIPT = f"#!{sys.executable}\nimport os, sys\nprint(os.getppid(), flush=True)\nsys.stdout.write(sys.stdin.read())\n"


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def sleeps(pid: int) -> bool:
    """Whether a process waits for something."""
    return state(pid) == "S"


def greeting(caller: socket.socket) -> bytes:
    """The line that a program begins with."""
    line = b""
    while not line.endswith(b"\n"):
        chunk = caller.recv(1)
        assert chunk, f"the connection ended after {line!r}"
        line += chunk
    return line.strip()


@contextlib.contextmanager
def held(port: int, count: int, host: str = "127.0.0.1") -> Iterator[list[socket.socket]]:
    """So many callers that their program has greeted, with its parent."""
    with contextlib.ExitStack() as stack:
        callers = [stack.enter_context(socket.create_connection((host, port), PATIENCE)) for _ in range(count)]
        for caller in callers:
            assert greeting(caller).isdigit()
        yield callers


def kill(server: Server, worker: int) -> int:
    """Kill a worker; the process id of its successor."""
    known = set(children(server.pid))
    others = known - {worker}
    count = sum(f"worker {worker} " in line for line in server.lines)
    os.kill(worker, signal.SIGKILL)
    server.wait_for_line(f"worker {worker} has ended (signal 9)", count=count + 1)
    fresh: list[int] = []
    workers = re.compile(rb"tcpserver")

    def come() -> bool:
        for pid in set(children(server.pid)) - others - {worker}:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a program that has ended since
                # A program of the dead one's that was not yet run looks like a worker, too, but does not wait.
                if workers.search(Path(f"/proc/{pid}/cmdline").read_bytes()) and sleeps(pid):
                    fresh.append(pid)
        return bool(fresh)

    wait_until(come, "another worker is there")
    return fresh[0]


def write_programs(directory: Path) -> None:
    (directory / "app.py").write_text(HANDLER)
    (directory / "script.py").write_text(SCRIPT)
    (directory / "script.py").chmod(0o755)


@pytest.fixture(params=sorted(LAUNCHERS))
def launcher(
    request: pytest.FixtureRequest, tcpserver: Callable[..., Server], tmp_path: Path, users_python: None
) -> Callable[..., Server]:
    """Starts a server with workers; its programs say their parent, then echo."""
    write_programs(tmp_path)
    options, program = LAUNCHERS[request.param]

    def start(*more: str) -> Server:
        return tcpserver(*OPTIONS, *options, *more, "127.0.0.1", "0", *program, cwd=tmp_path)

    return start


def test_every_worker_accepts(tcpserver: Callable[..., Server]) -> None:
    server = tcpserver(*OPTIONS, "127.0.0.1", "0", "sh", "-c", SAY_PARENT)
    workers = set(children(server.pid))
    assert len(workers) == 3
    seen: set[int] = set()
    while seen != workers:
        # As soon as the one that served is stopped, others must do it.
        parent = int(call(server.port).data)
        assert parent in workers - seen
        seen.add(parent)
        wait_until(lambda parent=parent: sleeps(parent), "it waits")  # type: ignore[misc]  # so it does not hold the lock
        os.kill(parent, signal.SIGSTOP)
    for worker in workers:
        os.kill(worker, signal.SIGCONT)


def test_whoever_reads_the_port_gets_the_end_of_stdout(tcpserver: Callable[..., Server]) -> None:
    server = tcpserver(*OPTIONS, "127.0.0.1", "0", "true")
    assert server.process.stdout is not None
    assert server.process.stdout.read() == b""


def test_whatever_starts_programs_starts_them_under_workers(launcher: Callable[..., Server]) -> None:
    server = launcher("-c", "6")
    with held(server.port, 6) as callers:
        assert server.wait_for_line("status: 6/6")
        for caller in callers:
            caller.sendall(b"hello")
            caller.shutdown(socket.SHUT_WR)
            assert caller.makefile("rb").read() == b"hello"
    server.wait_for_line("tcpserver: end ", count=6)
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    server.wait_for_silence()


def test_the_limit_is_exact_for_all_together_under_churn(tcpserver: Callable[..., Server], tmp_path: Path) -> None:
    server = tcpserver(*OPTIONS, "-c3", "127.0.0.1", "0", "sh", "-c", COUNTING, "sh", str(tmp_path))
    seen: list[int] = []

    def caller() -> None:
        for _ in range(15):
            seen.append(int(call(server.port).data))

    callers = [threading.Thread(target=caller) for _ in range(8)]
    for one in callers:
        one.start()
    for one in callers:
        one.join()
    assert len(seen) == 120
    assert max(seen) <= 3
    server.wait_for_line("tcpserver: end ", count=120)
    server.wait_for_line("tcpserver: status: 0/3", count=2)
    counts = [int(line.split()[2].split("/")[0]) for line in server.lines if " status: " in line]
    # One log: each line says one more or one less than the line before, whoever wrote it.
    assert counts[0] == counts[-1] == 0
    assert {abs(one - other) for one, other in itertools.pairwise(counts)} == {1}
    assert max(counts) == 3


def test_a_source_has_its_share_of_all_together(tcpserver: Callable[..., Server]) -> None:
    server = tcpserver(*OPTIONS, "-C4", "127.0.0.1", "0", "sh", "-c", SAY_PARENT)
    with held(server.port, 4):
        for _ in range(6):
            assert call(server.port).data == b""
        assert call(server.port, source="127.0.0.2").data
    server.wait_for_line("tcpserver: end ", count=5)
    with held(server.port, 4):
        assert call(server.port).data == b""
    server.wait_for_line("tcpserver: limit ", count=7)


def test_a_slot_that_one_worker_frees_wakes_the_others(tcpserver: Callable[..., Server]) -> None:
    """Callers beyond the limit wait; whoever frees a slot, somebody serves them."""
    server = tcpserver(*OPTIONS, "-c1", "127.0.0.1", "0", "sh", "-c", SAY_PARENT)
    for _ in range(20):
        with held(server.port, 1):
            waiting = [socket.create_connection(("127.0.0.1", server.port), PATIENCE) for _ in range(3)]
        for one in waiting:
            one.shutdown(socket.SHUT_WR)
        for one in waiting:
            with one:
                assert greeting(one).isdigit()
    server.wait_for_line("tcpserver: end ", count=80)


def test_a_killed_worker_is_replaced_and_its_programs_live_on_and_count(launcher: Callable[..., Server]) -> None:
    server = launcher("-c", "5", "-C", "4")
    workers = set(children(server.pid))
    with held(server.port, 4) as callers:
        for worker in workers:
            kill(server, worker)
        # All four run on: their address has its share, and there is room for one more from elsewhere, not for two.
        assert call(server.port).data == b""
        elsewhere = [
            socket.create_connection(("127.0.0.1", server.port), PATIENCE, source_address=("127.0.0.2", 0))
            for _ in range(2)
        ]
        server.wait_for_line("status: 5/5")
        for caller in callers[:2]:
            caller.sendall(b"still here")
            caller.shutdown(socket.SHUT_WR)
            assert caller.makefile("rb").read() == b"still here"
        for one in elsewhere:
            with one:
                assert greeting(one).isdigit()
    server.wait_for_line("tcpserver: status: 0/5", count=2)
    with held(server.port, 4):
        assert call(server.port).data == b""
    assert not [line for line in server.lines if "6/5" in line]
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    server.wait_for_silence()


def test_workers_killed_under_load_cost_only_callers_without_a_program(
    tcpserver: Callable[..., Server], tmp_path: Path
) -> None:
    path = tmp_path / "metrics"
    server = tcpserver(*OPTIONS, "-c5", "--metrics", str(path), "127.0.0.1", "0", "sh", "-c", "echo served")
    stop = threading.Event()
    answers: list[bytes] = []

    def caller() -> None:
        while not stop.is_set():
            try:
                answers.append(call(server.port).data)
            except OSError:  # reset, with the worker that had accepted it
                answers.append(b"")

    callers = [threading.Thread(target=caller) for _ in range(6)]
    for thread in callers:
        thread.start()
    try:
        worker = children(server.pid)[0]
        for _ in range(10):
            served = answers.count(b"served\n")
            wait_until(lambda served=served: answers.count(b"served\n") > served + 5, "callers are served")  # type: ignore[misc]
            worker = kill(server, worker)
    finally:  # else they would call on for as long as the other tests run
        stop.set()
        for thread in callers:
            thread.join()
    wait_until(lambda: samples(ask(path))["active"] + samples(ask(path))["waiting"] == 0, "all is over")
    found = samples(ask(path))
    assert found["accepted_total"] == sum(found[name] for name in (*DENIED, *OVER, "active", "waiting"))
    # Whose worker died before it knew of the program counts as dropped, though it may have been served.
    assert found["duration_seconds_count"] + found["dropped_total"] >= answers.count(b"served\n")
    # Slots are neither lost nor won.
    server.wait_for_line(lambda line: line.startswith("tcpserver: status: 0/5"))
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection(("127.0.0.1", server.port), PATIENCE)) for _ in range(5)]
        for one in silent:
            assert one.recv(100) == b"served\n"
    counts = [int(line.split()[2].split("/")[0]) for line in server.lines if " status: " in line]
    assert max(counts) <= 5


def test_a_killed_supervisor_leaves_programs_and_no_worker(launcher: Callable[..., Server]) -> None:
    server = launcher()
    with held(server.port, 3) as callers:
        server.signal(signal.SIGKILL)
        server.wait()
        for caller in callers:
            caller.sendall(b"x")
            caller.shutdown(socket.SHUT_WR)
            assert caller.makefile("rb").read() == b"x"
    server.wait_for_silence()  # no worker and no zygote holds the log

    def free() -> bool:
        with socket.socket() as next_one, contextlib.suppress(OSError):
            next_one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            next_one.bind(("127.0.0.1", server.port))
            next_one.listen()
            return True
        return False

    wait_until(free, "the port is free")  # a process that ends closes the log before what it listens on


def test_term_hup_and_usr1_are_for_all(tcpserver: Callable[..., Server]) -> None:
    server = tcpserver(*OPTIONS, "--drain", "3600", "127.0.0.1", "0", "sh", "-c", SAY_PARENT)
    with held(server.port, 5) as callers:
        server.signal(signal.SIGHUP)
        server.wait_for_line("tcpserver: ok ", count=5)
        before = len([line for line in server.lines if "status: 5/40" in line])
        server.signal(signal.SIGUSR1)
        server.wait_for_line("status: 5/40", count=before + 1)
        connected = [line.split()[2] for line in server.lines if line.startswith("tcpserver: connected ")]
        begun = [line.split()[2] for line in server.lines if line.startswith("tcpserver: ok ")]
        assert sorted(connected) == sorted(begun)
        assert server.lines[-1] == "tcpserver: status: 5/40"
        kill(server, children(server.pid)[0])
        server.signal(signal.SIGTERM)
        for caller in callers:
            caller.shutdown(socket.SHUT_WR)
            assert caller.recv(100) == b""
    assert server.wait() == 0
    server.wait_for_silence()
    assert len([line for line in server.lines if line.startswith("tcpserver: end ")]) == 5


def test_a_worker_that_is_told_to_end_is_replaced(tcpserver: Callable[..., Server]) -> None:
    server = tcpserver(*OPTIONS, "127.0.0.1", "0", "sh", "-c", SAY_PARENT)
    workers = children(server.pid)
    with held(server.port, 3) as callers:
        for worker in workers:
            os.kill(worker, signal.SIGTERM)
        server.wait_for_line("has ended (exit code 0)", count=3)
        assert call(server.port).data
        for caller in callers:
            caller.sendall(b"x")
            assert caller.recv(100) == b"x"


def test_what_cannot_run_is_said_once(tmp_path: Path) -> None:
    command = [*tool("tcpserver"), "--workers", "3", "--handler", "-RHl0", "127.0.0.1", "0", "nosuch:function"]
    ended = subprocess.run(command, capture_output=True, check=False, timeout=PATIENCE, text=True, cwd=tmp_path)
    assert ended.returncode == 111
    assert ended.stderr.startswith("tcpserver: fatal: unable to import nosuch:function: ModuleNotFoundError")
    assert ended.stderr.count("\n") == 1


@pytest.mark.peer("strace")
def test_a_worker_that_cannot_be_started_is_said_at_the_start() -> None:
    command = [*injected("clone:error=EAGAIN:when=1"), "--workers", "2", "-RHl0", "127.0.0.1", "0", "true"]
    ended = subprocess.run(command, capture_output=True, check=False, timeout=PATIENCE, text=True)
    assert (ended.returncode, ended.stderr) == (111, "tcpserver: fatal: unable to start a worker: temporary failure\n")


@pytest.mark.parametrize("count", ["0", "x", ""])
def test_the_number_of_workers_is_one(count: str) -> None:
    command = [*tool("tcpserver"), f"--workers={count}", "127.0.0.1", "0", "true"]
    ended = subprocess.run(command, capture_output=True, check=False, timeout=PATIENCE, text=True)
    assert ended.returncode == 100
    assert ended.stderr.startswith("tcpserver: option workers takes a number")


# --- The board by itself ----------------------------------------------------------------------------------------------


@pytest.fixture
def board() -> Iterator[Board]:
    with contextlib.closing(Board(2, slots=5)) as board:
        yield board


def test_what_a_dead_worker_leaves_is_counted_until_it_has_ended(board: Board) -> None:
    dead = SharedLimits(board, 1, 5, per_source=2)
    living = SharedLimits(board, 2, 5, per_source=2)
    estate = Estate(board)
    source = "192.0.2.1"
    entries = [dead.enter(ip_address(source)) for _ in range(2)]
    for pid, entry in zip((101, 102), entries, strict=True):
        assert dead.take()
        dead.running(pid, entry)
    assert dead.take()  # for a program that the worker did not live to hear of
    assert dead.take()  # for one that never came to be
    assert living.take()
    assert not living.free()

    assert estate.inherit(1) == (2, 2)
    assert living.taken == 5
    assert living.enter(ip_address(source)) is None
    found, gone = estate.settle([101, 103])
    assert (found, len(gone)) == (1, 1)  # 103 has been found, 102 has gone
    assert living.taken == len(estate) + 1 == 3
    assert living.enter(ip_address(source)) is not None
    assert estate.ended(104) is None
    assert estate.ended(101) is not None
    assert estate.ended(103) is not None
    assert living.taken == 1
    assert board.taken[SUPERVISOR] == 0


def test_a_source_is_found_where_rows_begin_only(board: Board) -> None:
    for row, source in enumerate((b"\1" * 8 + b"\2" * 8, b"\2" * 8 + b"\1" * 8, b"\2" * 8 + b"\1" * 8)):
        board.put_source(1, row, source)
    board.used[1] = 3
    assert board.count(b"\2" * 16, 9) == 0
    assert board.count(b"\2" * 8 + b"\1" * 8, 9) == 2
    assert board.count(b"\2" * 8 + b"\1" * 8, 1) == 1


def test_the_lock_is_nobodys_when_its_holder_is_killed(board: Board) -> None:
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        board.lock.__enter__()
        os.write(writer, b"x")
        signal.pause()
        os._exit(1)
    os.read(reader, 1)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    with board.lock:
        assert SharedLimits(board, 1, 1).taken == 0
    os.close(reader)
    os.close(writer)
