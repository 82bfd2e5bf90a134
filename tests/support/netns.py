"""Private network namespaces: any address, any port, dead routes and zones, without touching the machine's network.

A namespace is held open by an agent inside it. Commands enter it through nsenter(1); sockets for the test itself
are made by the agent and handed over, since a socket belongs for life to the namespace it was made in. So a test can
call, listen or answer DNS there without moving itself. An ordinary user gets the same by a user namespace, in which it
is uid 0.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import pickle
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.support.processes import wait_until
from ucspi_env.envcheck._stage import Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import ParamSpec, TypeVar

    P = ParamSpec("P")
    T = TypeVar("T")

ROOT = Path(__file__).resolve().parents[2]

# Runs inside: says that it is there, then makes one socket per request until the test is gone. With ports free for all,
# the test may bind 25 or 53 on a socket that it was handed, as it may not be root in there itself.
_AGENT = """
import os, socket
link = socket.socket(fileno=0)
with open("/proc/sys/net/ipv4/ip_unprivileged_port_start", "w") as start:
    start.write("0")
link.sendall(b"+")
while request := link.recv(100):
    with socket.socket(*map(int, request.split())) as made:
        socket.send_fds(link, [b"+"], [made.fileno()])
"""

_CALLER = """
import os, pickle, runpy, sys
with os.fdopen(0, "rb") as request:
    path, file, name, args, kwargs = pickle.load(request)
sys.path[:] = path
result = runpy.run_path(file)[name](*args, **kwargs)
sys.stdout.flush()
with os.fdopen(int(sys.argv[1]), "wb") as reply:
    pickle.dump(result, reply)
"""


@functools.cache
def _unshare() -> tuple[list[str], str]:
    """The command that makes a namespace here, or the reason why none can be made."""
    if not (shutil.which("unshare") and shutil.which("nsenter") and shutil.which("ip")):
        return [], "unshare, nsenter or ip is missing"
    reason = ""
    plain = [["unshare", "-n"]] if os.geteuid() == 0 else []
    for command in (*plain, ["unshare", "-r", "-n"]):
        done = subprocess.run([*command, "ip", "link", "set", "lo", "up"], capture_output=True, check=False)
        if done.returncode == 0:
            return command, ""
        reason = done.stderr.decode(errors="replace").strip()
    return [], f"network namespaces are not permitted: {reason}"


def namespaces_refused() -> str:
    """Why no namespace can be made here; empty if they can."""
    return _unshare()[1]


@functools.cache
def stage_refused() -> str:
    """Why envcheck and the pytest plugin can make no connections between made-up addresses; empty if they can."""
    with Stage() as stage:
        return stage.reason


@functools.cache
def unshare_refused(*options: str) -> str:
    """Why unshare(1) makes no namespaces with these options; empty if it does."""
    if not shutil.which("unshare"):
        return "unshare is missing"
    done = subprocess.run(["unshare", *options, "true"], capture_output=True, check=False)
    said = done.stderr.decode(errors="replace").strip()
    return f"unshare {' '.join(options)} is not permitted: {said}" if done.returncode else ""


class Namespace:
    """A network namespace with lo up, and nothing else until it is asked for.

    Args:
        addresses: addresses for lo, ``"192.0.2.1/32"``, ``"fe80::1/64"``; usable at once, without duplicate detection.
    """

    def __init__(self, *addresses: str, _within: Namespace | None = None) -> None:
        unshare, refused = _unshare()
        if refused:
            raise RuntimeError(refused)
        self._children: list[Namespace] = []
        if _within:
            unshare = _within.command(["unshare", "-n"])
        self._user: bool = "-r" in unshare or (_within is not None and _within._user)
        self._link, inside = socket.socketpair()
        with inside:
            self._agent = subprocess.Popen([*unshare, sys.executable, "-I", "-S", "-c", _AGENT], stdin=inside.fileno())
        if self._link.recv(1) != b"+":
            self.close()
            raise RuntimeError("the namespace's agent did not start")
        self.ip("link", "set", "lo", "up")
        for address in addresses:
            self.add(address)

    def command(self, argv: Sequence[str]) -> list[str]:
        """The command line that runs ``argv`` inside; nsenter replaces itself, so its process id is the program's."""
        of = f"/proc/{self._agent.pid}/ns"
        enter = ["nsenter", f"--net={of}/net"]
        if self._user:
            enter += [f"--user={of}/user", "--preserve-credentials"]
        return [*enter, "--", *argv]

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        input: bytes | None = None,
        check: bool = False,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a command inside to its end, its output captured."""
        stdin = subprocess.DEVNULL if input is None else None
        environ = None if env is None else dict(env)
        return subprocess.run(
            self.command(argv), env=environ, input=input, stdin=stdin, capture_output=True, check=check, timeout=90
        )

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a module-level function inside, in a fresh interpreter, and return its result.

        Arguments and result are pickled. What it prints and raises shows up in the AssertionError if it fails.
        """
        file = inspect.getsourcefile(function)
        assert file is not None
        path = [*sys.path, str(ROOT)]
        request = pickle.dumps((path, file, function.__name__, args, kwargs))
        reader, writer = os.pipe()
        with os.fdopen(reader, "rb") as reply:
            try:
                process = subprocess.Popen(
                    self.command([sys.executable, "-c", _CALLER, str(writer)]),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    pass_fds=[writer],
                )
            finally:
                os.close(writer)
            with process:
                output = process.communicate(request)[0].decode(errors="replace")
            if process.returncode:
                raise AssertionError(
                    f"{function.__name__} inside the namespace ended with {process.returncode}:\n{output}"
                )
            result: T = pickle.load(reply)
            return result

    def socket(self, family: int = socket.AF_INET6, kind: int = socket.SOCK_STREAM, protocol: int = 0) -> socket.socket:
        """A new socket that belongs to the namespace. Every port is free to bind."""
        self._link.sendall(f"{int(family)} {int(kind)} {protocol}".encode())
        _, descriptors, _, _ = socket.recv_fds(self._link, 1, 1)
        made = socket.socket(fileno=descriptors[0])
        made.settimeout(60)
        return made

    def ip(self, *words: str) -> None:
        """Run ip(8) inside; it must succeed."""
        done = self.run(["ip", *words])
        assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr.decode(errors='replace')}"

    def add(self, address: str, device: str = "lo") -> None:
        """Give a device an address that is usable at once."""
        self.ip("address", "add", address, "dev", device, *(["nodad"] if ":" in address else []))
        if ":" in address and device == "lo":
            # A work queue of the kernel adds the route a moment later, on a loaded machine too late for connect(2).
            host = address.partition("/")[0]
            routes = ["ip", "-6", "route", "show", "table", "local", "to", "exact", f"{host}/128"]
            wait_until(lambda: self.run(routes).stdout, f"{host} has its route")

    def set(self, name: str, value: str) -> None:
        """Set a sysctl of the namespace, ``"net/ipv6/bindv6only"``."""
        done = self.run(["sh", "-c", f'printf %s "$1" >/proc/sys/{name}', "sh", value])
        assert done.returncode == 0, done.stderr.decode(errors="replace")

    def neighbour(self, *addresses: str, device: str = "veth0", own: Sequence[str] = ()) -> Namespace:
        """A second namespace, joined to this one by a cable whose ends are both called ``device``.

        Args:
            addresses: of the neighbour's end.
            device: the name of each end.
            own: addresses of this end.
        """
        other = Namespace(_within=self)
        self._children.append(other)
        self.ip("link", "add", device, "type", "veth", "peer", "name", device, "netns", str(other._agent.pid))
        for namespace, wanted in ((self, own), (other, addresses)):
            # No link-local address of the kernel's own: it would be tentative for a second or two.
            namespace.ip("link", "set", device, "addrgenmode", "none")
            namespace.ip("link", "set", device, "up")
            for address in wanted:
                namespace.add(address, device)
        return other

    def close(self) -> None:
        """Let the namespace go; processes still inside keep it alive until they end."""
        for child in self._children:
            child.close()
        self._link.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._agent.wait(10)
            return
        self._agent.kill()
        self._agent.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
