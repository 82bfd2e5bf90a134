"""Running a tcpclient with a program that tells the server, over the connection, what it was given."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.support import PATIENCE, listening, tool

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.support import Namespace

# Says everything on descriptor 7: a byte too many there would spoil the JSON. The environment is read from the
# kernel, since an interpreter may add to its own.
_PROBE = """
import fcntl, json, os, socket
fds = {}
for fd in range(64):
    try:
        os.fstat(fd)
    except OSError:
        continue
    fds[fd] = os.readlink(f"/proc/self/fd/{fd}").partition(":")[0]
with open("/proc/self/environ", errors="surrogateescape") as start:
    environ = dict(item.split("=", 1) for item in start.read().split("\\0") if item)
with socket.socket(fileno=os.dup(6)) as sock:
    said = {
        "environ": environ,
        "fds": fds,
        "same": os.path.samestat(os.fstat(6), os.fstat(7)),
        "nonblocking": bool(fcntl.fcntl(6, fcntl.F_GETFL) & os.O_NONBLOCK),
        "nodelay": bool(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)),
        "family": sock.family.name,
        "local": sock.getsockname(),
        "remote": sock.getpeername(),
    }
os.write(7, json.dumps(said).encode())
"""
PROBE = (sys.executable, "-I", "-S", "-c", _PROBE)
OURS = tool("tcpclient")
BARE = {"PATH": "/usr/bin:/bin"}


class Run(NamedTuple):
    """A tcpclient that has ended."""

    status: int
    stdout: str
    stderr: str


class Probed(NamedTuple):
    """What the program found, and what tcpclient said."""

    environ: dict[str, str]
    fds: dict[int, str]
    same: bool
    nonblocking: bool
    nodelay: bool
    family: str
    local: tuple[str, int]
    remote: tuple[str, int]
    stderr: str

    @property
    def variables(self) -> dict[str, str]:
        """The variables of the connection, the local port, which differs from run to run, as LOCALPORT."""
        port = str(self.local[1])
        return {
            name: "LOCALPORT" if name.endswith("LOCALPORT") and value == port else value
            for name, value in self.environ.items()
            if name.startswith("TCP") or name == "PROTO"
        }


def client(
    *arguments: str,
    command: Sequence[str] = OURS,
    env: Mapping[str, str] = BARE,
    namespace: Namespace | None = None,
    shell: str = 'exec "$@"',
    pass_fds: Sequence[int] = (),
) -> Run:
    """Run a tcpclient to its end; ``shell`` is how a shell starts it, for instance with descriptors closed."""
    argv = ["/bin/sh", "-c", shell, "sh", *command, *arguments]
    done = subprocess.run(
        namespace.command(argv) if namespace else argv,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE,
        check=False,
        pass_fds=pass_fds,
    )
    return Run(done.returncode, done.stdout.decode(), done.stderr.decode(errors="surrogateescape"))


def heard(listener: socket.socket) -> bytes:
    """Everything that came over the next connection."""
    connection, _ = listener.accept()
    with connection:
        connection.settimeout(PATIENCE)
        received = bytearray()
        while chunk := connection.recv(65536):
            received += chunk
    return bytes(received)


def probed(listener: socket.socket, run: Run) -> Probed:
    """The report of a program that has been run with PROBE as its program."""
    assert run.status == 0, run
    said: dict[str, Any] = json.loads(heard(listener))
    fds = {int(fd): kind for fd, kind in said.pop("fds").items()}
    local, remote = tuple(said.pop("local")[:2]), tuple(said.pop("remote")[:2])
    return Probed(fds=fds, local=local, remote=remote, stderr=run.stderr, **said)


def probe(*options: str, host: str = "127.0.0.1", at: str | None = None, **how: Any) -> Probed:
    """Run the probe against a server on ``host``, or on ``at`` where the operand is something else."""
    with listening(at or host) as (listener, port):
        return probed(listener, client(*options, host, str(port), *PROBE, **how))
