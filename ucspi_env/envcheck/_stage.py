"""A stage for made-up connections: real TCP between any two addresses, without touching the machine's network.

An agent process (`_agent`) moves into a network namespace of its own (with a user namespace around it, so that no
privilege is needed), takes the claimed addresses onto its loopback, makes the connections there and hands their ends
out over a UNIX-domain socket. A socket belongs for life to the namespace it was made in, so a program outside that is
given one end sees, when it asks the kernel, exactly the addresses that were claimed.

Where namespaces are not allowed (other systems, some containers) there is only an unnamed socket pair: `Stage.reason`
says why.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

    from ucspi_env._model import Endpoint

_OK = b"+"
_NO_SUCH_INDEX = 0x10000  # an interface number that no machine has


class StageError(Exception):
    """A connection that was asked for cannot be made; the message says why."""


class Stage:
    """Makes connections between claimed addresses. A context manager; the agent lives as long as it.

    Attributes:
        reason: empty, or why there are only unnamed socket pairs here.
    """

    def __init__(self) -> None:
        self.reason = ""
        self._agent: subprocess.Popen[bytes] | None = None
        self._link: socket.socket | None = None

    def __enter__(self) -> Self:
        if sys.platform != "linux":
            self.reason = "only Linux has network namespaces"
            return self
        self._link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        agent = os.path.join(os.path.dirname(__file__), "_agent.py")
        with theirs:
            # A process of its own, not a fork: this one may have threads. In a group of its own, so that an interrupt
            # from the terminal leaves the order of things to us.
            self._agent = subprocess.Popen([sys.executable, "-I", "-S", agent], stdin=theirs.fileno(), process_group=0)
        said = self._link.recv(1000)
        if said != _OK:
            self.reason = said.decode(errors="replace") or "the namespace agent did not start"
            self.close()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the agent go; connections that it made stay."""
        if self._link is not None:
            self._link.close()
            self._link = None
        if self._agent is not None:
            self._agent.wait()
            self._agent = None

    def connect(
        self, remote: Endpoint, local: Endpoint, *, transport: str = "tcp", mapped: bool = False
    ) -> tuple[socket.socket, socket.socket]:
        """Connect ``remote`` to ``local``; ports that are None or 0 are the kernel's choice.

        Args:
            remote: the caller.
            local: the called address, of the same family.
            transport: ``"tcp"`` or ``"udp"``.
            mapped: accept an IPv4 caller on a dual-stack socket, whose kernel peer is IPv4-mapped then.

        Returns:
            The server's end and the client's end, both blocking and close-on-exec.

        Raises:
            StageError: the addresses cannot be used (two families, a multicast address, a taken port).
        """
        if remote.ip.version != local.ip.version:
            msg = f"{remote.ip} cannot call {local.ip}: two families"
            raise StageError(msg)
        if self._link is None:
            return socket.socketpair(type=socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM)
        ends = [f"{end.ip} {end.port or 0} {end.zone or '-'}" for end in (remote, local)]
        index = _index_here(remote.zone or local.zone)
        try:
            self._link.send(f"{transport} {mapped:d} {' '.join(ends)} {index}".encode())
            said, fds, _, _ = socket.recv_fds(self._link, 1000, 2)
        except OSError as error:
            msg = f"the namespace agent has died: {error.strerror}"
            raise StageError(msg) from None
        if said != _OK:
            raise StageError(said.decode(errors="replace") or "the namespace agent has died")
        server, client = (socket.socket(fileno=fd) for fd in fds)
        return server, client


def unix_connection() -> tuple[socket.socket, socket.socket]:
    """The two ends of a UNIX-domain connection that was made by calling a path, which is gone by now."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="ucspi-envcheck-") as folder, socket.socket(socket.AF_UNIX) as listener:
        path = os.path.join(folder, "s")
        listener.bind(path)
        listener.listen(1)
        client = socket.socket(socket.AF_UNIX)
        try:
            client.connect(path)
            return listener.accept()[0], client
        except OSError:
            client.close()
            raise


def _index_here(zone: str | None) -> int:
    """The number that the zone's interface has out here, where the program will ask for its name."""
    if zone is None or zone.isdigit():
        return 0
    try:
        return socket.if_nametoindex(zone)
    except OSError:
        return _NO_SUCH_INDEX
