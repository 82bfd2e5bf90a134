"""A script under --preload cannot tell that it was not exec'd, and nobody else can either."""

from __future__ import annotations

import ast
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.handlers.programs import IDENTITY, MODULES, PROGRAMS
from tests.support import Server, call, reset_at_close, tool
from ucspi_env.tools._zygote import same_interpreter
from ucspi_env.tools._zygote_child import Files, imports_of

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="--preload needs Linux")

OPTIONS = ("-vRHl0",)


def write_script(directory: Path, body: str, name: str = "server.py") -> Path:
    path = directory / name
    path.write_text(f"#!{sys.executable}\n{textwrap.dedent(body)}")
    path.chmod(0o755)
    return path


def report(server: Server, number: int) -> list[str]:
    """What the server's log says from the beginning of a connection to its end, without what differs by nature."""
    server.wait_for_line("status: 0/", count=number + 1)
    text = "\n".join(line for line in server.lines if not line.startswith("tcpserver: ok"))
    text = re.sub(r"(pid|end) \d+", r"\1 N", text)
    return re.sub(r"0x[0-9a-f]+", "0x", text).splitlines()


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"LC_ALL": "C"},
        {"LC_CTYPE": "C.UTF-8"},
        {"LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "latin-1:replace"},
        {"PYTHONPATH": "/nosuch", "PYTHONWARNINGS": "error", "ODD": b"\xff\xe9=".decode("utf-8", "surrogateescape")},
    ],
    ids=["bare", "LC_ALL=C", "LC_CTYPE", "unbuffered", "options"],
)
@pytest.mark.parametrize("flags", ["", " -I", " -Es", " -u"])
def test_everything_about_the_process_is_as_after_exec(
    tcpserver: Callable[..., Server], tmp_path: Path, environ: dict[str, str], flags: str
) -> None:
    path = write_script(tmp_path, IDENTITY)
    if flags:
        path.write_text(
            path.read_text()
            .replace("\n", f"{flags}\n", 1)
            .replace("import helper\n", "import json as helper; helper.value = 1\n")
        )
    (tmp_path / "helper.py").write_text("value = 1\n")
    (tmp_path / "link.py").symlink_to(path)
    answers = []
    for options in ((), ("--preload",)):
        server = tcpserver(
            *options, *OPTIONS, "127.0.0.1", "0", "./link.py", "one", "two words", cwd=tmp_path,
            env={"PATH": "/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1", **environ},
        )  # fmt: skip
        text = call(server.port).data.decode("utf-8", "surrogateescape")
        answers.append((text.replace(str(server.port), "PORT"), report(server, 1)[:-1]))
    assert answers[0][0]
    assert answers[1] == answers[0]


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_does_what_it_does_after_exec(tcpserver: Callable[..., Server], tmp_path: Path, name: str) -> None:
    """Same bytes to the caller, same lines in the log, same status, for the first connection and for the second."""
    path = write_script(tmp_path, PROGRAMS[name])
    for module, text in MODULES.items():
        (tmp_path / module).write_text(text)
    # What a program does not read makes the kernel reset the connection, and that may outrun what it has written.
    sent = b"first\nsecond\n" if re.search(r"stdin|input|listening|read|recv", PROGRAMS[name]) else b""
    results = []
    for options in ((), ("--preload",)):
        server = tcpserver(*options, *OPTIONS, "127.0.0.1", "0", str(path), cwd=tmp_path)
        data = []
        for number in (1, 2):
            data.append(call(server.port, send=sent).data)
            server.wait_for_line("tcpserver: end ", count=number)
        ends = [line.split()[3:] for line in server.lines if line.startswith("tcpserver: end ")]
        # What programs write to stderr in several pieces may have lines of the log in between, so: without those.
        server = tcpserver(*options, "-RHl0", "127.0.0.1", "0", str(path), cwd=tmp_path)
        call(server.port, send=sent)
        server.signal(signal.SIGTERM)
        server.wait_for_silence()
        results.append((data, ends, [re.sub(r"0x[0-9a-f]+", "0x", line) for line in server.lines]))
    assert results[1] == results[0]


def test_a_caller_who_has_gone_leaves_the_same_traces(tcpserver: Callable[..., Server], tmp_path: Path) -> None:
    path = write_script(tmp_path, "import sys\nsys.stdin.read()\nprint('x' * 100)")
    logs = []
    for options in ((), ("--preload",)):
        server = tcpserver(*options, *OPTIONS, "127.0.0.1", "0", str(path))
        with socket.create_connection(("127.0.0.1", server.port)) as caller:
            server.wait_for_line(" ok ")
            reset_at_close(caller)
        logs.append(report(server, 1))
    assert logs[1] == logs[0]


def test_imports_are_done_once_and_the_script_each_time(tcpserver: Callable[..., Server], tmp_path: Path) -> None:
    path = write_script(tmp_path, "import os\nimport once\nprint(once.pid != os.getpid(), once.pid == os.getppid())")
    (tmp_path / "once.py").write_text("import os\npid = os.getpid()\n")
    server = tcpserver("--preload", *OPTIONS, "127.0.0.1", "0", str(path))
    assert [call(server.port).data for _ in range(3)] == [b"True True\n"] * 3


def test_the_zygote_has_no_connection_and_no_listening_socket(tcpserver: Callable[..., Server], tmp_path: Path) -> None:
    path = write_script(tmp_path, "import os\nprint(os.getppid())")
    server = tcpserver("--preload", *OPTIONS, "127.0.0.1", "0", str(path))
    zygote = int(call(server.port).data)
    sockets = Path(f"/proc/{zygote}/net/tcp").read_text().splitlines()[1:]
    inodes = {line.split()[9] for line in sockets if int(line.split()[1].partition(":")[2], 16) == server.port}
    held = {os.readlink(f"/proc/{zygote}/fd/{fd}") for fd in os.listdir(f"/proc/{zygote}/fd")}
    assert inodes
    assert not {f"socket:[{inode}]" for inode in inodes} & held


@pytest.mark.parametrize("file", ["server.py", "part.py"])
def test_the_next_connection_sees_a_change(tcpserver: Callable[..., Server], tmp_path: Path, file: str) -> None:
    write_script(tmp_path, "import part\nVALUE = 1\nprint(VALUE, part.VALUE)")
    (tmp_path / "part.py").write_text("VALUE = 1\n")
    server = tcpserver("--preload", *OPTIONS, "127.0.0.1", "0", "./server.py", cwd=tmp_path)
    assert call(server.port).data == b"1 1\n"
    for value in (22, 333):
        text = (tmp_path / file).read_text()
        (tmp_path / file).write_text(re.sub(r"VALUE = \d+", f"VALUE = {value}", text))
        expected = f"{value} 1\n" if file == "server.py" else f"1 {value}\n"
        assert call(server.port).data.decode() == expected


def test_a_module_may_vanish_break_and_come_back(tcpserver: Callable[..., Server], tmp_path: Path) -> None:
    write_script(tmp_path, "import part\nprint(part.VALUE)")
    part = tmp_path / "part.py"
    server = tcpserver("--preload", *OPTIONS, "127.0.0.1", "0", "./server.py", cwd=tmp_path)
    assert call(server.port).data == b""
    server.wait_for_line("ModuleNotFoundError: No module named 'part'")
    part.write_text("VALUE = 1\n")
    assert call(server.port).data == b"1\n"
    part.write_text("VALUE = = 22\n")
    assert call(server.port).data == b""
    server.wait_for_line("SyntaxError")
    part.write_text("VALUE = 4444\n")
    assert call(server.port).data == b"4444\n"
    part.unlink()
    assert call(server.port).data == b""


def test_changes_drop_nobody(tcpserver: Callable[..., Server], tmp_path: Path) -> None:
    write_script(tmp_path, "import part\nimport sys\nprint(part.VALUE, flush=True)\nprint(sys.stdin.read())")
    part = tmp_path / "part.py"
    part.write_text("VALUE = 1\n")
    server = tcpserver("--preload", "-c", "60", *OPTIONS, "127.0.0.1", "0", "./server.py", cwd=tmp_path)
    callers = []
    for round_ in range(4):
        (tmp_path / "new").write_text(f"VALUE = {'1' * (round_ + 1)}\n")
        (tmp_path / "new").rename(part)
        callers += [socket.create_connection(("127.0.0.1", server.port), 60) for _ in range(10)]
    answers = []
    for caller in callers:
        with caller:
            caller.sendall(b"over")
            caller.shutdown(socket.SHUT_WR)
            answers.append(b"".join(iter(lambda caller=caller: caller.recv(100), b"")))  # type: ignore[misc]
    assert all(re.fullmatch(rb"1+\nover\n", answer) for answer in answers)
    server.wait_for_line("status: 0/60", count=2)
    assert len([line for line in server.lines if line.startswith("tcpserver: end ")]) == 40


@pytest.mark.parametrize(
    ("line", "accepted"),
    [
        (f"#!{sys.executable}", True),
        (f"#! {sys.executable} -u", True),
        ("#!/usr/bin/env python-here", True),
        ("#!/usr/bin/env -S python-here -E", True),
        ("# no first line of the kind", True),
        ("#!/bin/sh", False),
        ("#!/usr/bin/env perl", False),
        ("#!/usr/bin/env nosuch-program-anywhere", False),
        ("#!/nosuch/python3", False),
        ("#!", False),
    ],
)
def test_a_script_for_another_interpreter_is_refused(
    tcpserver: Callable[..., Server], tmp_path: Path, line: str, accepted: bool
) -> None:
    line = line.replace("python-here", Path(sys.executable).name)
    (tmp_path / "server.py").write_text(f"{line}\nprint('served')\n")
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    command = ["--preload", *OPTIONS, "127.0.0.1", "0", "./server.py"]
    if accepted:
        assert call(tcpserver(*command, cwd=tmp_path, env={"PATH": path}).port).data == b"served\n"
        return
    ended = subprocess.run(
        [*tool("tcpserver"), *command], cwd=tmp_path, env={"PATH": path}, capture_output=True, check=False, timeout=60
    )
    assert ended.returncode == 111
    assert ended.stderr.startswith(b"tcpserver: fatal: unable to preload ./server.py: its first line asks for ")
    assert ended.stderr.count(b"\n") == 1


def test_a_venv_is_another_interpreter_than_the_one_it_was_made_of(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python3"
    python.symlink_to(os.path.realpath(sys.executable))
    assert same_interpreter(str(python), os.path.realpath(sys.executable))
    (tmp_path / "pyvenv.cfg").write_text("")
    assert not same_interpreter(str(python), os.path.realpath(sys.executable))
    assert same_interpreter(str(python), str(tmp_path / "bin" / ".." / "bin" / "python3"))


@pytest.mark.parametrize(
    ("program", "why"),
    [("./nosuch.py", "unable to run ./nosuch.py: file does not exist"), ("/bin/true", "unable to preload /bin/true: ")],
)
def test_what_is_no_script_is_refused_at_the_start(tmp_path: Path, program: str, why: str) -> None:
    ended = subprocess.run(
        [*tool("tcpserver"), "--preload", "-RHl0", "127.0.0.1", "0", program],
        cwd=tmp_path, capture_output=True, check=False, timeout=60, text=True,
    )  # fmt: skip
    assert ended.returncode == 111
    assert ended.stderr.startswith(f"tcpserver: fatal: {why}")


def test_a_killed_zygote_costs_nobody_anything(tcpserver: Callable[..., Server], tmp_path: Path) -> None:
    """Callers live on, their ends are counted, and with -c 2 the next ones fit in exactly."""
    path = write_script(tmp_path, "import os, sys\nprint(os.getppid(), flush=True)\nsys.stdin.read()\nsys.exit(3)")
    server = tcpserver("--preload", "-c", "2", *OPTIONS, "127.0.0.1", "0", str(path))
    with socket.create_connection(("127.0.0.1", server.port), 60) as one:
        zygote = int(one.makefile("rb").readline())
        with socket.create_connection(("127.0.0.1", server.port), 60) as two:
            assert int(two.makefile("rb").readline()) == zygote
            os.kill(zygote, signal.SIGKILL)
            server.wait_for_line("is copied from has died, starting another")
        server.wait_for_line("status 768")
        with socket.create_connection(("127.0.0.1", server.port), 60) as three:
            assert int(three.makefile("rb").readline()) not in (zygote, server.pid)
    server.wait_for_line("status: 0/2", count=2)
    assert len([line for line in server.lines if line.endswith("status 768")]) == 3
    assert not [line for line in server.lines if "3/2" in line]


DYING_ZYGOTE = """
import os, signal, socket
from ucspi_env.tools import _zygote_child as protocol
channel = socket.socket(fileno=protocol.CHANNEL)
channel.send(protocol.REPORT.pack(protocol.READY, 0, 0, 0))
os.kill(os.getpid(), signal.SIGSTOP)
kind, serial = protocol.REQUEST.unpack_from(channel.recv(protocol.PACKET))
channel.send(protocol.REPORT.pack(protocol.STARTED, serial, 4242, 0))
"""
PARENT = """
import os, selectors, signal, sys
from ucspi_env.tools._tasks import Tasks
from ucspi_env.tools._zygote import Request, Zygote
from ucspi_env.tools import _zygote_child as protocol
class Reports:
    warn = print
    assisted_by = int
command = [sys.executable, "-I", "-c", sys.argv[1]]
zygote = Zygote("stub", sys.executable, command, (), {}, default_signals=(), ended=print)
with selectors.DefaultSelector() as selector:
    zygote.start(Tasks(selector), Reports)
    pid, _ = os.waitpid(-1, os.WUNTRACED)
    for name in ("one", "two"):
        zygote.ask(Request(protocol.RUN, b"", (0,), lambda pid, name=name: print(name, "started as", pid), print))
    os.kill(pid, signal.SIGCONT)
    os.wait()
    print("more to come:", zygote.hear())
"""


def test_what_a_zygote_said_counts_although_it_died_with_requests_unread() -> None:
    """The kernel reports such an end as a reset, ahead of what was sent; a process must not be lost over it."""
    parent = [sys.executable, "-I", "-c", PARENT, DYING_ZYGOTE]
    ended = subprocess.run(parent, capture_output=True, check=False, timeout=60, text=True, stdin=subprocess.DEVNULL)
    assert (ended.stdout, ended.stderr) == ("one started as 4242\nmore to come: False\n", "")


def test_zygotes_killed_under_load_drop_nobody_and_lose_no_count(
    tcpserver: Callable[..., Server], tmp_path: Path
) -> None:
    path = write_script(tmp_path, "import os\nprint(os.getppid())")
    server = tcpserver("--preload", *OPTIONS, "127.0.0.1", "0", str(path))
    zygote = int(call(server.port).data)
    for _ in range(5):
        callers = [socket.create_connection(("127.0.0.1", server.port), 60) for _ in range(12)]
        os.kill(zygote, signal.SIGKILL)
        for caller in callers:
            with caller:
                answer = b"".join(iter(lambda caller=caller: caller.recv(100), b""))  # type: ignore[misc]
                assert answer
        zygote = int(call(server.port).data)
    # An answer comes from the program, and may overtake what the log says of it.
    server.wait_for_line("tcpserver: end ", count=66)
    begun = [line.split()[2] for line in server.lines if line.startswith("tcpserver: ok ")]
    ended = [line.split()[2] for line in server.lines if line.startswith("tcpserver: end ")]
    assert len(begun) == 66
    assert sorted(begun) == sorted(ended)
    server.wait_for_line(lambda line: line == "tcpserver: status: 0/40", count=2)
    assert server.lines[-1] == "tcpserver: status: 0/40"


def test_term_lets_programs_live_and_drain_waits_for_them(tcpserver: Callable[..., Server], tmp_path: Path) -> None:
    path = write_script(tmp_path, "import sys\nprint('a', flush=True)\nprint(sys.stdin.read())")
    for options, line in (((), " ok "), (("--drain", "3600"), "status 0")):
        server = tcpserver("--preload", *options, *OPTIONS, "127.0.0.1", "0", str(path))
        with socket.create_connection(("127.0.0.1", server.port), 60) as caller:
            assert caller.makefile("rb").readline() == b"a\n"
            server.signal(signal.SIGTERM)
            if not options:
                assert server.wait() == 0
            caller.sendall(b"still here")
            caller.shutdown(socket.SHUT_WR)
            assert caller.makefile("rb").read() == b"still here\n"
        assert server.wait() == 0
        server.wait_for_line(line)
        server.wait_for_silence()  # nothing is left behind


@pytest.mark.root
def test_zygote_and_script_run_without_the_servers_privileges(
    tcpserver: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory
) -> None:
    try:
        subprocess.run([sys.executable, "-c", ""], user=65534, group=65533, check=True, timeout=60)
    except PermissionError:
        pytest.skip(f"nobody but the superuser may run {sys.executable}")
    directory = tmp_path_factory.getbasetemp()
    path = write_script(directory, "import os\nimport once\nprint(os.getresuid(), os.getgroups(), once.uid)", "uid.py")
    (directory / "once.py").write_text("import os\nuid = os.getresuid()\n")
    for place in (directory, *directory.parents[:-2]):
        place.chmod(place.stat().st_mode | 0o055)
    server = tcpserver("-u", "65534", "-g", "65533", "--preload", *OPTIONS, "127.0.0.1", "0", str(path))
    assert call(server.port).data == b"(65534, 65534, 65534) [65533] (65534, 65534, 65534)\n"


def test_rules_limits_and_balancers_work_as_with_programs(tcpserver: Callable[..., Server], tmp_path: Path) -> None:
    path = write_script(tmp_path, "import os\nprint(os.environ['TCPREMOTEIP'], os.environ.get('SET'))")
    rules = b'192.0.2.9:allow,SET="yes"\n:deny\n'
    subprocess.run(
        [*tool("tcprules"), str(tmp_path / "rules.cdb"), str(tmp_path / "tmp")], input=rules, check=True, timeout=60
    )
    server = tcpserver(
        "--preload", "--proxy", "127.0.0.1", "-x", str(tmp_path / "rules.cdb"), *OPTIONS, "127.0.0.1", "0", str(path)
    )
    assert call(server.port, send=b"PROXY TCP4 192.0.2.9 192.0.2.1 4711 25\r\n").data == b"192.0.2.9 yes\n"
    assert call(server.port, send=b"PROXY TCP4 192.0.2.8 192.0.2.1 4711 25\r\n").data == b""
    server.wait_for_line("tcpserver: deny 0")


def test_the_limit_per_source_is_exact(tcpserver: Callable[..., Server], tmp_path: Path) -> None:
    path = write_script(tmp_path, "import sys\nprint('in', flush=True)\nsys.stdin.read()")
    server = tcpserver("--preload", "-C", "1", *OPTIONS, "127.0.0.1", "0", str(path))
    with socket.create_connection(("127.0.0.1", server.port), 60) as caller:
        assert caller.makefile("rb").readline() == b"in\n"
        assert call(server.port).data == b""
        server.wait_for_line("tcpserver: limit 0")
    server.wait_for_line("tcpserver: end ")
    assert call(server.port).data == b"in\n"


def test_a_module_that_starts_threads_is_left_to_the_script(tcpserver: Callable[..., Server], tmp_path: Path) -> None:
    path = write_script(tmp_path, "import threaded\nprint(threaded.thread.is_alive())")
    (tmp_path / "threaded.py").write_text(
        "import threading\nthread = threading.Thread(target=threading.Event().wait, daemon=True)\nthread.start()\n"
    )
    server = tcpserver("--preload", *OPTIONS, "127.0.0.1", "0", str(path))
    assert [call(server.port).data for _ in range(2)] == [b"True\n"] * 2


def test_a_process_that_takes_too_long_is_killed(tcpserver: Callable[..., Server], tmp_path: Path) -> None:
    path = write_script(tmp_path, "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nsignal.pause()")
    server = tcpserver("--preload", "--handler-timeout", "1", *OPTIONS, "127.0.0.1", "0", str(path))
    for number in (1, 2):
        assert call(server.port).data == b""
        server.wait_for_line("status 9", count=number)


def test_memory_is_limited_in_the_processes_only(tcpserver: Callable[..., Server], tmp_path: Path) -> None:
    path = write_script(tmp_path, "import sys\nsize = int(sys.stdin.readline())\nprint(len(bytearray(size)))")
    server = tcpserver("--preload", "--memory-limit", "400000000", *OPTIONS, "127.0.0.1", "0", str(path))
    assert call(server.port, send=b"500000000\n").data == b""
    server.wait_for_line("MemoryError")
    assert call(server.port, send=b"5000\n").data == b"5000\n"


def test_an_environment_may_be_as_large_as_the_systems_limit(tcpserver: Callable[..., Server], tmp_path: Path) -> None:
    """It does not fit into one packet between processes."""
    path = write_script(tmp_path, "import os\nprint(sum(map(len, os.environ.values())) > 1_000_000)")
    large = {f"V{number}": "x" * 100_000 for number in range(11)}
    server = tcpserver("--preload", *OPTIONS, "127.0.0.1", "0", str(path), env={"PATH": os.environ["PATH"], **large})
    assert call(server.port).data == b"True\n"


# --- The pure parts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("'doc'\nimport a.b, c\nfrom d import e, f as g", [("a.b", ()), ("c", ()), ("d", ("e", "f"))]),
        ("from __future__ import annotations\nfrom a import *", [("a", ())]),
        ("def f():\n    import a\nclass C:\n    import b", []),
        ("if True:\n    import a", []),
        ("try:\n    import a\nexcept ImportError:\n    import b", [("a", ())]),
        ("X = 1\nimport a\nimport sys\nsys.path.clear()\nimport b\nimport re", [("a", ()), ("sys", ()), ("re", ())]),
        ("import os\nos.environ['X'] = '1'\nimport b", [("os", ())]),
        ("from . import a", []),
    ],
)  # fmt: skip
def test_what_a_script_imports_whatever_happens(source: str, wanted: list[tuple[str, tuple[str, ...]]]) -> None:
    assert imports_of(ast.parse(source)) == wanted


def test_files_notice_content_size_time_and_absence(tmp_path: Path) -> None:
    path = tmp_path / "file"

    def watch() -> Files:
        path.write_text("one")
        files = Files(path.stat().st_mtime_ns)
        files.add(str(path))
        assert not files.changed()
        return files

    files = watch()
    path.write_text("other")
    assert files.changed()
    files = watch()
    os.utime(path, ns=(1, 1))
    assert files.changed()
    files = watch()
    (tmp_path / "new").write_text("one")
    os.utime(tmp_path / "new", ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    (tmp_path / "new").rename(path)
    assert files.changed()
    files = watch()
    path.unlink()
    assert files.changed()


def test_a_file_written_while_it_was_read_counts_as_changed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("one")
    files = Files(path.stat().st_mtime_ns - 1)
    files.add(str(path))
    assert files.changed()
