"""The servers that benchmarks compare: ours, and those of other packages that are installed or unpacked.

All of them run the same program, listen on 127.0.0.1, know of a queue of `BACKLOG` connections and may run `SLOTS`
programs at once, where they have a word for that. Their environment is nothing but a PATH.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

from tests.support.peers import ROOT, peers
from ucspi_env.tools._serverconfig import WORDS

SLOTS = 64
BACKLOG = 128
OPTIONS = ("-1RHl0", "-c", str(SLOTS), "-b", str(BACKLOG))
PLACE = ("127.0.0.1", "0")
ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
PATIENCE = 20.0  # seconds for a server to listen, or to end

WORKERS = "workers=" in WORDS
DEBIAN = "Debian tcpserver"
OURS = "ucspi-tcpserver"
OURS_TWO = f"{OURS} --workers 2"
LEAST = "the least in Python"


def python(interpreter: str = sys.executable) -> list[str]:
    """Our tcpserver under an interpreter: isolated and without site-packages, as a launcher of ``link`` runs it."""
    run = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from ucspi_env.tools.tcpserver import run; run()"
    return [interpreter, "-I", "-S", "-c", run]


class Server:
    """A running server.

    Args:
        command: with the port in it, or an option by which it prints the one it got as its first line.
        port: the port in the command; None: it is printed.
        environ: the environment; `ENVIRONMENT` if it is not given.
    """

    def __init__(self, command: list[str], port: int | None = None, environ: dict[str, str] | None = None) -> None:
        self.command = command
        self.process = subprocess.Popen(
            command,
            env=ENVIRONMENT if environ is None else environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL if port else subprocess.PIPE,
            stderr=subprocess.DEVNULL if port else None,  # some log every connection and cannot be told not to
            start_new_session=True,
        )
        if port is None:
            assert self.process.stdout is not None
            line = self.process.stdout.readline()
            if not line:
                raise OSError(f"{command[0]} did not start: status {self.process.wait()}")
            self.port = int(line)
        else:
            self.port = port
            self._await_listener()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _await_listener(self) -> None:
        until = time.monotonic() + PATIENCE
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
            except ConnectionRefusedError:
                if self.process.poll() is not None or time.monotonic() > until:
                    self.stop()
                    raise OSError(f"{self.command[0]} does not listen") from None
                time.sleep(0.02)
            else:
                return

    def stop(self) -> None:
        """End it, and whatever it has left in its process group."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        if self.process.stdout is not None:
            self.process.stdout.close()

    def memory(self) -> int:
        """Resident memory in KiB, of the server and the processes that are part of it, without the programs."""
        return sum(map(resident, self._processes()))

    def processor_time(self) -> float:
        """Seconds of processor time that the server and all programs that it has waited for have taken."""
        return sum(map(_processor_time, self._processes()))

    def _processes(self) -> list[int]:
        own = self.process.pid
        return [own, *(pid for pid in children(own) if _command_line(pid) == _command_line(own))]


def children(pid: int) -> list[int]:
    """The children of a process."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += map(int, (task / "children").read_text().split())
    return found


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return b""


def _processor_time(pid: int) -> float:
    # user, system, and the same of children (proc(5)); a name with spaces stands before them, in parentheses.
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, words[11:15])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> int:
    """Resident memory of one process in KiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


def debian() -> str | None:
    """Debian's tcpserver, or None."""
    return peers().find("ucspi-tcp-ipv6/tcpserver")


def ours(*options: str) -> dict[str, list[str]]:
    """Our own rows: the commands up to host and port, with one process, and with two if there is such an option."""
    rows = {OURS: [*python(), *OPTIONS, *options]}
    if WORKERS:
        rows[OURS_TWO] = [*python(), "--workers", "2", *OPTIONS, *options]
    return rows


def tcpservers(program: str, *options: str, environ: dict[str, str] | None = None) -> dict[str, Server]:
    """Debian's tcpserver, if it is there, and ours, started alike."""
    rows = ours(*options)
    found = debian()
    if found:
        rows = {DEBIAN: [found, *OPTIONS, *options], **rows}
    else:
        print(f"{DEBIAN} is not installed (package ucspi-tcp-ipv6): no ratios to it")
    return {name: Server([*command, *PLACE, program], environ=environ) for name, command in rows.items()}


def least(program: str) -> dict[str, Server]:
    """The floor: servers in Python that do nothing else than start the program, as one process and as two."""
    script = str(ROOT / "benchmarks" / "least.py")
    return {
        f"{LEAST}, {count} process{'es' if count > 1 else ''}": Server(
            [sys.executable, "-I", "-S", script, str(count), program]
        )
        for count in (1, 2)
    }


def others(program: str, directory: Path) -> dict[str, Server]:
    """Every other super-server there is, running ``program``; those that are missing are named.

    ``directory`` is a place for configuration.
    """
    running: dict[str, Server] = {}
    for name, needed in {
        "s6-tcpserver + access": ("s6-tcpserver", "s6-tcpserver-access"),
        "systemd-socket-activate": ("systemd-socket-activate",),
        "socat": ("socat",),
        "xinetd": ("xinetd",),
        "ncat": ("ncat",),
        "ipsvd tcpsvd": ("ipsvd/tcpsvd",),
        "busybox tcpsvd": ("busybox",),
    }.items():
        paths = [path for path in map(peers().find, needed) if path]
        if len(paths) < len(needed):
            print(f"{name}: not installed")
            continue
        port = free_port()
        try:
            running[name] = Server(_command(name, paths, port, program, directory), port)
        except OSError as error:
            print(f"{name}: left out, {error}")
    return running


def _command(name: str, paths: list[str], port: int, program: str, directory: Path) -> list[str]:
    number, slots, backlog = str(port), str(SLOTS), str(BACKLOG)
    match name:
        case "s6-tcpserver + access":
            server, access = paths
            return [server, "-v0", "-c", slots, "-b", backlog, "127.0.0.1", number, access, "-v0", "-HRl0", program]
        case "systemd-socket-activate":
            return [*paths, "--accept", "--inetd", "-l", f"127.0.0.1:{port}", program]
        case "socat":
            return [
                *paths,
                f"TCP4-LISTEN:{port},bind=127.0.0.1,reuseaddr,fork,backlog={backlog}",
                f"EXEC:{program},nofork",
            ]
        case "xinetd":
            configuration = directory / "xinetd.conf"
            configuration.write_text(XINETD.format(program=program, port=port, user=os.getuid(), slots=slots))
            return [*paths, "-dontfork", "-f", str(configuration), "-pidfile", str(directory / "xinetd.pid")]
        case "ncat":
            return [*paths, "-l", "-k", "-m", slots, "-e", program, "127.0.0.1", number]
        case "ipsvd tcpsvd":
            return [*paths, "-c", slots, "-b", backlog, "-l", "0", "127.0.0.1", number, program]
        case _:
            return [*paths, "tcpsvd", "-c", slots, "-b", backlog, "-l", "0", "127.0.0.1", number, program]


# Without limits on rates, which would be all that is measured.
XINETD = """
service bench
{{
    type = UNLISTED
    socket_type = stream
    protocol = tcp
    wait = no
    user = {user}
    bind = 127.0.0.1
    port = {port}
    server = {program}
    instances = {slots}
    per_source = UNLIMITED
    cps = 1000000 1
}}
"""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
