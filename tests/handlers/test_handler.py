"""Functions under --handler: whatever one does to its process harms its own caller only."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from tests.support import Server, call, reset_at_close, tool
from ucspi_env.tools import _zygote, _zygote_child

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="--handler needs Linux")

MODULE = """
    import ctypes, io, os, signal, subprocess, sys, threading, time

    KEPT = []

    def signals():
        return [signal.getsignal(number) for number in sorted(signal.valid_signals() - {9, 19})]

    START = (signals(), sys.path[:])

    def probe(session):
        '''All that a caller could find of the one before.'''
        facts = {
            "cwd": os.getcwd(), "environ": sorted(set(os.environ) - {"LC_CTYPE"}),
            "umask": os.umask(0o22), "mask": signal.pthread_sigmask(signal.SIG_BLOCK, ()),
            "signals": signals() == START[0], "threads": threading.active_count(),
            "timer": signal.getitimer(signal.ITIMER_REAL), "streams": [sys.stdin.fileno(), sys.stdout.fileno()],
            "std": [sys.stdin is sys.__stdin__, sys.stdout is sys.__stdout__, sys.stderr is sys.__stderr__],
            "open": [sys.stdin.closed, sys.stdout.closed, sys.stderr.closed], "links": os.readlink("/proc/self/fd/2"),
            "child": subprocess.run(["echo", "$0"]).returncode, "argv": sys.argv,
            "fds": len(os.listdir("/proc/self/fd")),
        }
        for name, value in facts.items():
            print(name, value)
        sys.stdout.flush()
        line = session.reader.readline()
        session.writer.write(b"read " + line)

    def do(session):
        what = session.reader.readline().decode().strip()
        if what == "probe":
            return probe(session)
        session.writer.write(b"partial " + what.encode())
        exec(ACTIONS[what], {**globals(), "session": session})

    def pid(session):
        session.writer.write(b"%d\\n" % os.getpid())

    def hold(session):
        session.writer.write(b"%d\\n" % os.getpid())
        session.writer.flush()
        session.reader.read()

    def deaf(session):
        session.writer.write(b"%d\\n" % os.getpid())
        session.writer.flush()
        try:
            session.reader.read()
        except ConnectionResetError:
            session.writer.write(b"for nobody")

    def who(session):
        print(session.remote.ip, os.environ.get("SET"), session.connection.evidence)

    class Application:
        def __call__(self, session):
            session.writer.write(b"object\\n")

    application = Application()
"""
ACTIONS = {
    "raise": "raise ValueError('oops')",
    "exit": "sys.exit('good bye')",
    "exit 3": "sys.exit(3)",
    "interrupt": "raise KeyboardInterrupt",
    "generator exit": "raise GeneratorExit",
    "_exit": "os._exit(4)",
    "kill": "os.kill(os.getpid(), signal.SIGKILL)",
    "segv": "import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); ctypes.string_at(0)",
    "memory": "x = bytearray(900_000_000)",
    "chdir": "os.chdir('/')",
    "chdir gone": "os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')",
    "umask": "os.umask(0)",
    "environ": "os.environ['LEAK'] = '1'; del os.environ['TCPREMOTEIP']",
    "environ clear": "os.environ.clear()",
    "environ object": "os.environ = {'LEAK': '1'}",
    "close 0": "os.close(0)",
    "close 1": "os.close(1)",
    "close 2": "os.close(2)",
    "close all": "os.closerange(0, 100)",
    "close twice": "os.close(0); os.close(0)",
    "reader closed": "session.reader.close(); session.reader.close()",
    "writer closed": "session.writer.close(); session.writer.close()",
    "stdout closed": "sys.stdout.close()",
    "stderr closed": "sys.stderr.close()",
    "stdout replaced": "sys.stdout = sys.__stdout__ = io.StringIO()",
    "stderr replaced": "sys.stderr = sys.__stderr__ = io.StringIO()",
    "file left": "KEPT.append(open('/dev/null'))",
    "connection left": "KEPT.append(os.dup(0))",
    "session left": "KEPT.append(session); session.writer.write(b'leak')",
    "print left": "sys.stdout.write('leak'); KEPT.append(sys.stdout)",
    "gone and left": "KEPT.append(session); os.close(1); session.writer.write(b'leak'); print('leak')",
    "stdin read": "sys.stdin.readline()",
    "signal": "signal.signal(signal.SIGUSR1, lambda *a: None)",
    "ignored signal": "signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
    "blocked signal": "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])",
    "alarm": "signal.alarm(1)",
    "thread": "threading.Thread(target=threading.Event().wait, daemon=True).start()",
    "late thread": "threading.Thread(target=lambda: (time.sleep(.05), os.write(1, b'late'))).start()",
    "fork": "os.fork() or os._exit(0)",
    "fork and return": "os.fork()",
    "child": "KEPT.append(subprocess.Popen(['true']))",
    "exec": "os.execvp('echo', ['echo', 'exec'])",
    "recursion": "def f(): f()\nf()",
    "stdout detached": "sys.stdout.detach()",
    "shutdown": "session.close_write()",
}
MODES = [(), ("--reuse", "1000", "--pool", "1")]


def write_module(directory: Path, body: str = MODULE) -> None:
    text = f"ACTIONS = {ACTIONS!r}\n{textwrap.dedent(body)}"
    (directory / "app.py").write_text(text)


def options(mode: tuple[str, ...], *more: str) -> list[str]:
    return ["--handler", *mode, *more, "-vRHl0", "127.0.0.1", "0"]


def facts(data: bytes) -> dict[str, str]:
    lines = (line.partition(" ") for line in data.decode().splitlines())
    return {name: value for name, blank, value in lines if blank}


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("mode", MODES, ids=["fork", "pool"])
def test_the_next_caller_is_unharmed(
    tcpserver: Callable[..., Server], tmp_path: Path, mode: tuple[str, ...], action: str
) -> None:
    write_module(tmp_path)
    more = ["--memory-limit", "700000000"] if action == "memory" else []
    server = tcpserver(*options(mode, *more), "app:do", "argument", cwd=tmp_path)
    first = call(server.port, send=b"probe\nmine\n").data
    assert call(server.port, send=action.encode() + b"\nrest\nof it\n").data.count(b"leak") <= 1
    server.wait_for_line("tcpserver: end ", count=2)
    second = call(server.port, send=b"probe\nmine\n").data
    assert b"leak" not in second
    assert facts(second) == facts(first)
    assert facts(first)["read"] == "mine"


@pytest.mark.parametrize(("action", "status"), [("raise", 256), ("exit", 256), ("exit 3", 768), ("_exit", 1024),
    ("kill", 9), ("interrupt", 2), ("chdir", 0), ("stderr closed", 0), ("file left", 0)])  # fmt: skip
@pytest.mark.parametrize("mode", MODES, ids=["fork", "pool"])
def test_the_log_has_the_status_of_each_connection(
    tcpserver: Callable[..., Server], tmp_path: Path, mode: tuple[str, ...], action: str, status: int
) -> None:
    write_module(tmp_path)
    server = tcpserver(*options(mode), "app:do", cwd=tmp_path)
    for number in (1, 2):
        call(server.port, send=action.encode() + b"\n")
        line = server.wait_for_line("tcpserver: end ", count=number)
        assert line.endswith(f" status {status}")


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("nosuch:f", "ModuleNotFoundError: No module named 'nosuch'"),
        ("app:nosuch", "AttributeError: module 'app' has no attribute 'nosuch'"),
        ("app:KEPT", "TypeError: app:KEPT is no function but list"),
        ("app", "ValueError: 'app' is not module:function"),
        ("broken:f", "ZeroDivisionError: division by zero"),
        ("wrong:f", "SyntaxError: invalid syntax (wrong.py, line 1)"),
        ("leaving:f", "SystemExit: 3"),
        ("dying:f", "the process that did so has died"),
    ],
)
def test_a_handler_that_cannot_be_imported_ends_the_server(tmp_path: Path, target: str, why: str) -> None:
    write_module(tmp_path)
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "wrong.py").write_text("x = = 1\n")
    (tmp_path / "leaving.py").write_text("import sys\nsys.exit(3)\n")
    (tmp_path / "dying.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    ended = subprocess.run(
        [*tool("tcpserver"), *options(()), target],
        cwd=tmp_path, capture_output=True, check=False, timeout=60, text=True,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout) == (111, "")
    assert ended.stderr == f"tcpserver: fatal: unable to import {target}: {why}\n"


def test_any_callable_will_do_and_prints_at_import_go_to_the_log(
    tcpserver: Callable[..., Server], tmp_path: Path
) -> None:
    write_module(tmp_path, textwrap.dedent(MODULE) + "\nprint('imported')\n")
    server = tcpserver(*options(()), "app:application", cwd=tmp_path)
    server.wait_for_line("imported")
    assert call(server.port).data == b"object\n"


def test_a_process_serves_as_many_as_it_may_and_not_more(tcpserver: Callable[..., Server], tmp_path: Path) -> None:
    write_module(tmp_path)
    server = tcpserver(*options(("--reuse", "3", "--pool", "1")), "app:pid", cwd=tmp_path)
    pids = [int(call(server.port).data) for _ in range(9)]
    assert pids == [pid for pid in dict.fromkeys(pids) for _ in range(3)]
    server.wait_for_line("tcpserver: end ", count=9)


def test_a_process_serves_one_caller_at_a_time_and_others_wait(
    tcpserver: Callable[..., Server], tmp_path: Path
) -> None:
    write_module(tmp_path)
    server = tcpserver(*options(("--reuse", "1000", "--pool", "2")), "app:hold", cwd=tmp_path)
    one, two, three = (socket.create_connection(("127.0.0.1", server.port), 60) for _ in range(3))
    with one, two, three:
        pids = [one.makefile("rb").readline(), two.makefile("rb").readline()]
        assert len(set(pids)) == 2
        server.wait_for_line("status: 3/40")  # it counts, though it has no process yet
        one.close()
        assert three.makefile("rb").readline() == pids[0]
    server.wait_for_line("tcpserver: end ", count=3)


def test_processes_are_started_as_they_are_needed(tcpserver: Callable[..., Server], tmp_path: Path) -> None:
    write_module(tmp_path)
    server = tcpserver(*options(("--reuse", "1000"), "-c", "30"), "app:hold", cwd=tmp_path)
    callers = [socket.create_connection(("127.0.0.1", server.port), 60) for _ in range(30)]
    pids = {caller.makefile("rb").readline() for caller in callers}
    assert len(pids) == 30
    for caller in callers:
        caller.close()
    server.wait_for_line("tcpserver: end ", count=30)
    with socket.create_connection(("127.0.0.1", server.port), 60) as caller:
        assert caller.makefile("rb").readline() in pids


@pytest.mark.parametrize("mode", MODES, ids=["fork", "pool"])
def test_a_hung_handler_is_killed(tcpserver: Callable[..., Server], tmp_path: Path, mode: tuple[str, ...]) -> None:
    write_module(tmp_path)
    server = tcpserver(*options(mode, "--handler-timeout", "1"), "app:hold", cwd=tmp_path)
    with socket.create_connection(("127.0.0.1", server.port), 60) as caller:
        assert caller.makefile("rb").readline()
        server.wait_for_line("status 9")
    assert call(server.port).data
    server.wait_for_line("tcpserver: end ", count=2)


@pytest.mark.parametrize("mode", MODES, ids=["fork", "pool"])
def test_nothing_is_said_of_a_caller_who_hangs_up(
    tcpserver: Callable[..., Server], tmp_path: Path, mode: tuple[str, ...]
) -> None:
    write_module(tmp_path)
    server = tcpserver(*options(mode), "app:deaf", cwd=tmp_path)
    with socket.create_connection(("127.0.0.1", server.port), 60) as caller:
        assert caller.recv(100).strip().isdigit()
        reset_at_close(caller)
    assert server.wait_for_line("tcpserver: end ").endswith(" status 0")
    assert [line for line in server.lines if not line.startswith("tcpserver: ")] == []


@pytest.mark.parametrize("mode", MODES, ids=["fork", "pool"])
def test_term_lets_callers_live_and_leaves_nothing_behind(
    tcpserver: Callable[..., Server], tmp_path: Path, mode: tuple[str, ...]
) -> None:
    write_module(tmp_path)
    server = tcpserver(*options(mode), "app:hold", cwd=tmp_path)
    with socket.create_connection(("127.0.0.1", server.port), 60) as caller:
        assert caller.makefile("rb").readline()
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        caller.shutdown(socket.SHUT_WR)
        assert caller.recv(100) == b""
    server.wait_for_silence()
    assert [line for line in server.lines if not line.startswith("tcpserver: ")] == []


@pytest.mark.parametrize("mode", MODES, ids=["fork", "pool"])
def test_a_changed_module_is_seen(tcpserver: Callable[..., Server], tmp_path: Path, mode: tuple[str, ...]) -> None:
    """With a process per connection by the next caller, with a pool after SIGHUP."""
    app = tmp_path / "app.py"
    app.write_text("def f(session):\n    session.writer.write(b'one')\n")
    server = tcpserver(*options(mode), "app:f", cwd=tmp_path)
    assert call(server.port).data == b"one"
    app.write_text("def f(session):\n    session.writer.write(b'second')\n")
    if mode:
        server.wait_for_line("tcpserver: end ")
        server.signal(signal.SIGHUP)
        server.signal(signal.SIGUSR1)
        server.wait_for_line(lambda line: line == "tcpserver: status: 0/40", count=3)
    assert call(server.port).data == b"second"
    app.write_text("def f(session) broken\n")
    if mode:
        server.wait_for_line("tcpserver: end ", count=2)
        server.signal(signal.SIGHUP)
        server.signal(signal.SIGUSR1)
        server.wait_for_line(lambda line: line == "tcpserver: status: 0/40", count=5)
    assert call(server.port).data == b""
    server.wait_for_line("unable to run app:f: SyntaxError: ")
    app.write_text("def f(session):\n    session.writer.write(b'mended it')\n")
    assert call(server.port).data == b"mended it"


@pytest.mark.parametrize("mode", MODES, ids=["fork", "pool"])
def test_rules_and_balancers_work_as_with_programs(
    tcpserver: Callable[..., Server], tmp_path: Path, mode: tuple[str, ...]
) -> None:
    write_module(tmp_path)
    subprocess.run(
        [*tool("tcprules"), str(tmp_path / "rules.cdb"), str(tmp_path / "tmp")],
        input=b'192.0.2.9:allow,SET="yes"\n192.0.2.7:allow\n:deny\n', check=True, timeout=60,
    )  # fmt: skip
    server = tcpserver(
        *options(mode, "--proxy", "127.0.0.1", "-x", str(tmp_path / "rules.cdb")), "app:who", cwd=tmp_path
    )
    header = b"PROXY TCP4 192.0.2.%d 192.0.2.1 4711 25\r\n"
    assert call(server.port, send=header % 9).data == b"192.0.2.9 yes proxy\n"
    assert call(server.port, send=header % 8).data == b""
    assert call(server.port, send=header % 7).data == b"192.0.2.7 None proxy\n"
    server.wait_for_line("tcpserver: deny 0")


@pytest.mark.parametrize("words", [
    ("--preload", "--handler"), ("--reuse", "3"), ("--preload", "--reuse", "3"), ("--handler", "--pool", "3"),
    ("--handler-timeout", "3"), ("--memory-limit", "3"), ("--handler", "--reuse", "0"), ("--handler", "--reuse", "x"),
])  # fmt: skip
def test_options_that_make_no_sense_together_are_refused(words: tuple[str, ...]) -> None:
    ended = subprocess.run(
        [*tool("tcpserver"), *words, "127.0.0.1", "0", "app:f"], capture_output=True, check=False, timeout=60, text=True
    )
    assert ended.returncode == 100
    assert re.match(r"tcpserver: option [a-z-]+ (needs option|takes a number|and option)", ended.stderr)


@pytest.mark.parametrize(
    "environ", [{}, {b"A": b""}, {b"A": b"=x=", b"B": b""}, {b"A\xff": b"\xe4 \n", b"B": b"\xc3\xa4"}]
)
def test_an_environment_arrives_as_it_was_sent(environ: dict[bytes, bytes]) -> None:
    data = _zygote.pack_environ(environ)
    assert _zygote_child.environ_of(data) == environ
    assert _zygote_child.text_of(data) == {os.fsdecode(name): os.fsdecode(value) for name, value in environ.items()}


@pytest.mark.parametrize("counted", [True, False], ids=["as the kernel counts", "as listed"])
@pytest.mark.parametrize("change", ["none", "more", "high", "hole", "fewer", "other", "all", "folder replaced"])
def test_any_change_of_the_open_descriptors_is_seen(change: str, counted: bool) -> None:
    """In a process of its own, since the descriptors of this one are pytest's; Linux counts them since 6.2."""
    program = f"""
        import os
        spare = os.open("/dev/null", os.O_RDONLY)
        hole = os.dup(spare)
        from ucspi_env.tools._handler import _Descriptors
        if not {counted}:
            _Descriptors._count = lambda self: (*map(int, os.fstat(self._folder)[1:3]), 0)
        os.close(hole)
        found = _Descriptors()
        match {change!r}:
            case "more": os.dup(0)
            case "high": os.dup2(0, 200)
            case "hole": os.dup2(0, found._folder + 2)
            case "fewer": os.close(spare)
            case "other": os.dup2(spare, 200); os.close(spare)
            case "all": os.closerange(0, 100)
            case "folder replaced": os.dup2(spare, found._folder)
        os._exit(found.same())
    """
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=False, timeout=60)
    assert ended.returncode == (change == "none")
