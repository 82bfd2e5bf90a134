"""tcpserver under the supervisors of docs/deployment.md: it starts, restarts, tells its callers, logs and ends."""

from __future__ import annotations

import gzip
import json
import os
import re
import shlex
import signal
import socket
from typing import TYPE_CHECKING

import pytest

from tests.neighbours.scene import HERE, Scene, compile_rules, documented, snippet, stop_supervisor, until
from tests.support import PATIENCE, Program, peers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PORT = 7000


def says_hello(scene: Scene) -> None:
    """Both families reach the program, which names them."""
    for host in HERE.values():
        answer, caller = scene.ask(host, PORT)
        assert answer == f"hello {caller}\n".encode()


def log_has(log: Path, text: str, count: int = 1) -> None:
    """Wait for lines in a logger's file."""

    def content() -> str:
        return log.read_text() if log.exists() else ""

    until(lambda: content().count(text) >= count, lambda: f"{text!r} {count}x not in {content()!r}")


@pytest.fixture
def patient_caller(scene: Scene) -> Iterator[Callable[[], socket.socket]]:
    """Make callers whose programs wait: ``hello`` reads before it ends."""
    made: list[socket.socket] = []

    def call() -> socket.socket:
        made.append(scene.connect("::1", PORT))
        made[-1].settimeout(PATIENCE)
        assert made[-1].recv(100).startswith(b"hello ")
        return made[-1]

    yield call
    for connection in made:
        connection.close()


def keep_hello_waiting(scene: Scene, where: str) -> None:
    scene.file(where, snippet("hello") + "import sys\nprint(sys.stdin.readline(), end='')\n")


# -- daemontools ------------------------------------------------------------------------------------------------------

DAEMONTOOLS = pytest.mark.peer("svscan", "supervise", "svc", "svstat", "multilog")


class Svscan:
    """svscan with one service, ``hello``, and its log."""

    def __init__(self, scene: Scene, log_run: str, run: str | None = None) -> None:
        self.scene = scene
        keep_hello_waiting(scene, "service/hello/hello")
        scene.file("service/hello/run", run or snippet("daemontools-run"))
        scene.file("service/hello/log/run", log_run)
        self.log = scene.folder / "service/hello/log"
        self.program = scene.start("svscan", ".", cwd="service")
        until(self.is_up, self.state)
        scene.wait_until_it_listens(PORT, self.program)

    def command(self, line: str) -> str:
        done = self.scene.run(*documented(line), cwd="service")
        assert done.returncode == 0, done.stderr
        return done.stdout.decode()

    def state(self) -> str:
        return self.command("svstat hello")

    def is_up(self) -> bool:
        return self.state().startswith("hello: up (pid ")

    def pid(self) -> int:
        found = re.search(r"\(pid (\d+)\)", self.state())
        return int(found[1]) if found else 0

    def close(self) -> None:
        self.scene.run("svc", "-dx", "hello", "hello/log", cwd="service")
        until(lambda: "supervise not running" in self.state(), self.state)
        stop_supervisor(self.program)


@DAEMONTOOLS
def test_daemontools_starts_restarts_and_stops_it(scene: Scene, patient_caller: Callable[[], socket.socket]) -> None:
    svscan = Svscan(scene, snippet("multilog-run"))
    current = svscan.log / "main" / "current"
    first = svscan.pid()
    says_hello(scene)
    log_has(current, "tcpserver: pid ", 2)
    assert all(line.startswith("@4") and " tcpserver: " in line for line in current.read_text().splitlines())

    connected = patient_caller()
    scene.run("kill", "-USR1", str(first))
    log_has(current, "tcpserver: connected ")
    assert f":[::1]::{connected.getsockname()[1]}\n" in current.read_text().partition("tcpserver: connected ")[2]

    svscan.command("svc -t hello")
    until(lambda: svscan.pid() not in (0, first), svscan.state)
    scene.wait_until_it_listens(PORT, svscan.program)
    says_hello(scene)
    connected.sendall(b"still served by the old server's program\n")
    assert connected.recv(100) == b"still served by the old server's program\n"
    assert "unable to bind" not in current.read_text()

    svscan.command("svc -d hello")
    until(lambda: svscan.state().startswith("hello: down "), svscan.state)
    assert not scene.listens(PORT)
    svscan.close()


@DAEMONTOOLS
def test_multilog_parts_refusals_and_warnings_from_the_rest(scene: Scene) -> None:
    compile_rules(scene, "service/hello", "::1:deny\n")
    run = snippet("daemontools-run").replace(" -c 20 ", " -x rules.cdb -c 20 ")
    svscan = Svscan(scene, snippet("multilog-select-run"), run)
    assert scene.ask("127.0.0.1", PORT, b"\n")[0].startswith(b"hello 127.0.0.1:")
    assert scene.ask("::1", PORT)[0] == b""
    log_has(svscan.log / "main" / "current", "tcpserver: end ")
    log_has(svscan.log / "main" / "current", "tcpserver: deny ")
    log_has(svscan.log / "refused" / "current", "tcpserver: deny ")
    svscan.close()
    refused = (svscan.log / "refused" / "current").read_text()
    assert [line.split()[1:3] for line in refused.splitlines()] == [["tcpserver:", "deny"]]


# -- runit ------------------------------------------------------------------------------------------------------------


@pytest.mark.peer("runsv", "sv", "svlogd")
def test_runit_starts_restarts_and_stops_it(scene: Scene, patient_caller: Callable[[], socket.socket]) -> None:
    keep_hello_waiting(scene, "service/hello/hello")
    scene.file("service/hello/run", snippet("daemontools-run"))
    scene.file("service/hello/log/run", snippet("svlogd-run"))
    current = scene.folder / "service/hello/log/main/current"
    scene.env["SVWAIT"] = "60"  # seconds for restart, on a machine that is busy
    runsv = scene.start("runsv", "hello", cwd="service")

    def sv(line: str) -> str:
        done = scene.run(*documented(line), cwd="service")
        assert done.returncode in (0, 3), done  # 3: status of a service that is down
        return done.stdout.decode()

    until((scene.folder / "service/hello/supervise/ok").exists, lambda: runsv.lines)
    until(lambda: sv("sv status ./hello").startswith("run: ./hello: (pid "), lambda: sv("sv status ./hello"))
    scene.wait_until_it_listens(PORT, runsv)
    says_hello(scene)
    log_has(current, " tcpserver: pid ", 2)
    connected = patient_caller()
    sv("sv 1 ./hello")
    log_has(current, "tcpserver: connected ")
    assert f":[::1]::{connected.getsockname()[1]}\n" in current.read_text().partition("tcpserver: connected ")[2]

    assert sv("sv restart ./hello").startswith("ok: run: ./hello: (pid ")
    scene.wait_until_it_listens(PORT, runsv)
    says_hello(scene)
    connected.sendall(b"still there\n")
    assert connected.recv(100) == b"still there\n"
    assert "unable to bind" not in current.read_text()

    sv("sv down ./hello")
    until(lambda: sv("sv status ./hello").startswith("down: ./hello: "), lambda: sv("sv status ./hello"))
    assert not scene.listens(PORT)
    stop_supervisor(runsv)


# -- s6 ---------------------------------------------------------------------------------------------------------------


@pytest.mark.peer("s6-supervise", "s6-svc", "s6-svstat", "s6-log")
def test_s6_starts_restarts_and_stops_it_and_knows_when_it_is_ready(
    scene: Scene, patient_caller: Callable[[], socket.socket]
) -> None:
    keep_hello_waiting(scene, "service/hello/hello")
    scene.file("service/hello/notification-fd", snippet("s6-notification-fd"), 0o644)
    scene.file("service/hello/run", snippet("s6-run"))
    scene.file("service/hello/log/run", snippet("s6-log-run"))
    current = scene.folder / "service/hello/log/main/current"
    # As s6-svscan connects them; that one finds s6-supervise only where its package installs it.
    supervisor = scene.start("sh", "-c", "s6-supervise hello | s6-supervise hello/log", cwd="service")

    def state() -> str:
        done = scene.run(*documented("s6-svstat -o up,ready hello"), cwd="service")
        return done.stdout.decode().strip()

    def pid() -> str:
        return scene.run("s6-svstat", "-o", "pid", "hello", cwd="service").stdout.decode().strip()

    until(lambda: state() == "true true", state)
    # Ready means what it says: nobody has to wait any more.
    says_hello(scene)
    first = pid()
    log_has(current, " tcpserver: pid ", 2)
    connected = patient_caller()
    assert not scene.run(*documented("s6-svc -1 hello"), cwd="service").returncode
    log_has(current, "tcpserver: connected ")
    assert f":[::1]::{connected.getsockname()[1]}\n" in current.read_text().partition("tcpserver: connected ")[2]

    assert not scene.run(*documented("s6-svc -t hello"), cwd="service").returncode
    # In this order: the readiness that is read last is the new process's, not its predecessor's.
    until(lambda: pid() != first and state() == "true true", state)
    says_hello(scene)
    connected.sendall(b"still there\n")
    assert connected.recv(100) == b"still there\n"
    assert "unable to bind" not in current.read_text()

    assert not scene.run(*documented("s6-svc -d hello"), cwd="service").returncode
    until(lambda: state() == "false false", state)
    assert not scene.listens(PORT)
    connected.close()
    scene.run("s6-svc", "-dx", "hello", cwd="service")
    scene.run("s6-svc", "-x", "hello/log", cwd="service")
    assert supervisor.wait() == 0


# -- systemd ----------------------------------------------------------------------------------------------------------


def unit(scene: Scene, name: str) -> str:
    """A unit, with this machine's places in it."""
    return snippet(name).replace("/usr/local/bin/ucspi-", f"{scene.suite.installed}/ucspi-").replace(
        "/usr/local/bin/hello", str(scene.folder / "hello")
    )  # fmt: skip


def exec_start(text: str) -> list[str]:
    return shlex.split(next(line for line in text.splitlines() if line.startswith("ExecStart=")).partition("=")[2])


@pytest.mark.peer("systemd-analyze")
@pytest.mark.parametrize("files", [{"hello.service": "systemd-service"},
                                   {"hello.socket": "systemd-socket", "hello.service": "systemd-activated"},
                                   {"hello.service": "systemd-service",
                                    "hello.service.d/notify.conf": "systemd-notify"},
                                   {"hello.socket": "systemd-accept-socket",
                                    "hello@.service": "systemd-accept-service"}],
                         ids=["service", "socket", "notify", "accept"])  # fmt: skip
def test_systemd_finds_nothing_odd_in_the_units(scene: Scene, files: dict[str, str]) -> None:
    for file, name in files.items():
        scene.file(file, unit(scene, name), 0o644)
    # Where systemd is unpacked and not installed, its own units are there. The colon appends the usual places.
    scene.env["SYSTEMD_UNIT_PATH"] = f"{peers().package_root('systemd')}/lib/systemd/system:"
    units = [f"./{name.replace('@.', '@1.')}" for name in files if "/" not in name]
    done = scene.run("systemd-analyze", "verify", *units)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def drains(scene: Scene, server: Program, patient_caller: Callable[[], socket.socket]) -> None:
    """After SIGTERM nobody new comes in, and the server stays until the program has ended."""
    connected = patient_caller()
    server.signal(signal.SIGTERM)
    until(lambda: not scene.listens(PORT), lambda: server.lines)
    assert server.process.poll() is None
    connected.sendall(b"the last word\n")
    assert connected.recv(100) == b"the last word\n"
    assert server.wait() == 0


def test_the_service_of_systemd_serves_and_drains(scene: Scene, patient_caller: Callable[[], socket.socket]) -> None:
    keep_hello_waiting(scene, "hello")
    server = scene.start(*exec_start(unit(scene, "systemd-service")))
    scene.wait_until_it_listens(PORT, server)
    says_hello(scene)
    drains(scene, server, patient_caller)


@pytest.mark.peer("systemd-socket-activate")
def test_the_socket_of_systemd_serves_and_drains(scene: Scene, patient_caller: Callable[[], socket.socket]) -> None:
    keep_hello_waiting(scene, "hello")
    socket_unit = unit(scene, "systemd-socket")
    address = next(line for line in socket_unit.splitlines() if line.startswith("ListenStream=")).partition("=")[2]
    server = scene.start("systemd-socket-activate", "-l", address, *exec_start(unit(scene, "systemd-activated")))
    scene.wait_until_it_listens(PORT, server)
    says_hello(scene)
    drains(scene, server, patient_caller)


@pytest.mark.peer("systemd-socket-activate")
def test_a_program_of_its_own_for_each_connection_knows_its_caller(scene: Scene) -> None:
    scene.file("hello", snippet("hello"))
    socket_unit, service = unit(scene, "systemd-accept-socket"), unit(scene, "systemd-accept-service")
    assert "Accept=yes" in socket_unit
    assert "StandardInput=socket" in service
    address = next(line for line in socket_unit.splitlines() if line.startswith("ListenStream=")).partition("=")[2]
    server = scene.start("systemd-socket-activate", "--accept", "--inetd", "-l", address, *exec_start(service))
    scene.wait_until_it_listens(PORT, server)
    says_hello(scene)


# -- logrotate --------------------------------------------------------------------------------------------------------


@pytest.mark.peer("logrotate", "gzip")
def test_logrotate_cuts_a_log_that_is_open(scene: Scene) -> None:
    scene.file("hello", snippet("hello"))
    log = scene.folder / "hello.log"
    server = scene.start("sh", "-c", f"exec ucspi-tcpserver -v -RHl0 0 {PORT} ./hello 2>>hello.log")
    scene.wait_until_it_listens(PORT, server)
    says_hello(scene)
    log_has(log, "tcpserver: end ", 2)
    before = log.read_text()
    configuration = scene.file("rotate", snippet("logrotate").replace("/var/log/hello.log", str(log)), 0o644)

    done = scene.run("logrotate", "--force", "--state", str(scene.folder / "state"), str(configuration))

    assert done.returncode == 0, done.stderr
    assert gzip.decompress((scene.folder / "hello.log.1.gz").read_bytes()).decode() == before
    says_hello(scene)
    log_has(log, "tcpserver: end ", 2)
    assert log.read_text().startswith("tcpserver: ")  # and not with a hole


# -- containers -------------------------------------------------------------------------------------------------------


OWN_PROCESSES = ("--pid", "--fork", "--mount-proc")


@pytest.mark.unshare(*(OWN_PROCESSES if os.geteuid() == 0 else ("--user", "--map-root-user", *OWN_PROCESSES)))
def test_in_a_container_it_is_process_1_reaps_drains_and_ends(scene: Scene) -> None:
    """In a process namespace of its own, by the command of the page's Containerfile."""
    containerfile = snippet("containerfile")
    command = json.loads(next(line for line in containerfile.splitlines() if line.startswith("CMD ")).partition(" ")[2])
    assert command[-1] == "/usr/local/bin/hello"
    scene.file(
        "hello",
        snippet("hello")
        + """import os
import signal
import sys
from pathlib import Path

for line in sys.stdin:
    if line == "leave a stray\\n":
        if not os.fork():  # the parent of this one is process 1 as soon as we have ended
            os._exit(0 if os.fork() else os.execvp("true", ["true"]))
    elif line == "states\\n":
        stats = [path.read_text() for path in Path("/proc").glob("[0-9]*/stat")]
        print(*sorted(text.rpartition(")")[2].split()[0] for text in stats), flush=True)
    elif line == "stop\\n":
        os.kill(1, signal.SIGTERM)
    else:
        print(line, end="", flush=True)
""",
    )
    contained = ["unshare", *OWN_PROCESSES, "--kill-child"]
    server = scene.start(*contained, *command[:-1], str(scene.folder / "hello"))
    scene.wait_until_it_listens(PORT, server)
    for host in HERE.values():
        answer, caller = scene.ask(host, PORT)
        assert answer == f"hello {caller}\n".encode()
    scene.ask("::1", PORT, b"leave a stray\n")
    # R or S, but no Z: tcpserver and the program that tells.
    until(lambda: b"Z" not in scene.ask("::1", PORT, b"states\n")[0].split(b"\n")[1], lambda: server.lines)

    with scene.connect("::1", PORT) as connected:
        connected.settimeout(PATIENCE)
        assert connected.recv(100).startswith(b"hello ")
        connected.sendall(b"stop\n")
        until(lambda: not scene.listens(PORT), lambda: server.lines)
        connected.sendall(b"the last word\n")
        assert connected.recv(100) == b"the last word\n"
    assert server.wait() == 0
