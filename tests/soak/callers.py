"""Callers of all kinds, each a function that makes one connection (or a crowd of them) and says what it saw."""

from __future__ import annotations

import contextlib
import errno
import random
import socket
import threading
from typing import TYPE_CHECKING

from tests.soak.ledger import ANSWERED, REFUSED, UNANSWERED, WHATEVER, Ledger
from tests.support import PATIENCE, reset_at_close

if TYPE_CHECKING:
    from collections.abc import Callable

WORD = 500
"""Length of the first of two variables that both versions of the rules set, to ``aaa…`` or to ``bbb…``."""
GREETINGS = tuple(letter * (WORD + 1) + b"\n" for letter in (b"a", b"b"))
DENIED = "127.66.0.0/16"
BALANCERS = "127.77.0.0/16"
_REPAIR = 19  # TCP_REPAIR: closed in this mode, a socket tells the other end nothing
_BIND_ADDRESS_NO_PORT = 24


class Callers:
    """Everybody who calls one server.

    Args:
        port: where it listens.
        ipv6: whether ``::1`` is there.
        proxied: whether it takes PROXY headers from `BALANCERS`.
        share: connections that one source may have (``-C``).
        slots: programs that may run (``-c``).
        ledger: what was seen goes there.
        lock: of the ledger.
    """

    def __init__(
        self, port: int, *, ipv6: bool, proxied: bool, share: int, slots: int, ledger: Ledger, lock: threading.Lock
    ) -> None:
        self._port = port
        self._ipv6 = ipv6
        self._proxied = proxied
        self._share = share
        self._slots = slots
        self._ledger = ledger
        self._lock = lock
        self.troubles: list[str] = []

    def kinds(self) -> list[Callable[[random.Random], None]]:
        """Who calls, each as often as it is listed, all at the same time."""
        found: list[Callable[[random.Random], None]]
        found = [
            self.polite,
            self.polite,
            self.slow,
            self.resetting,
            self.denied,
            self.vanishing,
            self.crowd,
            self.pushy,
        ]
        if self._ipv6:
            found.append(self.over_ipv6)
        if self._proxied:
            found += [self.through_a_balancer, self.of_a_bad_balancer]
        return found

    # --- The kinds ----------------------------------------------------------------------------------------------------

    def polite(self, choose: random.Random) -> None:
        """Says something, says that this was all, and reads the answer."""
        with self._connect(_source(choose)) as connection:
            self._converse(connection, choose.randbytes(choose.randrange(2000)))

    def over_ipv6(self, choose: random.Random) -> None:
        """As `polite`, from ``::1``."""
        with self._connect("::1") as connection:
            self._converse(connection, choose.randbytes(200))

    def slow(self, choose: random.Random) -> None:
        """Says it in pieces."""
        with self._connect(_source(choose)) as connection:
            self._converse(connection, choose.randbytes(8), pause=choose.random() / 20)

    def resetting(self, choose: random.Random) -> None:
        """Resets, with or without having said something, perhaps before anybody has noticed."""
        with self._connect(_source(choose)) as connection:
            reset_at_close(connection)
            with contextlib.suppress(OSError):
                if choose.random() < 0.5:
                    connection.sendall(b"x" * 100)
                if choose.random() < 0.3:
                    connection.recv(10)
            name = connection.getsockname()[:2]
        self._saw(name, WHATEVER)

    def denied(self, choose: random.Random) -> None:
        """Calls from a network that the rules deny, both versions of them."""
        with self._connect(f"127.66.0.{choose.randrange(1, 255)}") as connection:
            self._converse(connection, b"let me in", wanted=REFUSED)

    def vanishing(self, choose: random.Random) -> None:
        """Goes without a word on the wire, as behind a cut cable; whoever may not do that stays and is silent."""
        with self._connect(_source(choose)) as connection:
            name = connection.getsockname()[:2]
            said = bytearray()
            with contextlib.suppress(ConnectionResetError):
                # Not before the greeting: whatever comes later is answered by a reset, since nobody knows of it.
                while not said.endswith(b"\n") and (chunk := connection.recv(65536)):
                    said += chunk
                try:
                    connection.setsockopt(socket.IPPROTO_TCP, _REPAIR, 1)
                except OSError:
                    _read(connection)
        self._saw(name, WHATEVER)
        threading.Event().wait(0.2)

    def crowd(self, choose: random.Random) -> None:
        """More callers at once than there are slots, each from elsewhere."""
        self._together([_source(choose) for _ in range(self._slots + self._slots // 2)])

    def pushy(self, choose: random.Random) -> None:
        """One source that wants more than its share."""
        self._together([_source(choose)] * (self._share * 3))

    def through_a_balancer(self, choose: random.Random) -> None:
        """As `polite`, from where a PROXY header says."""
        host, port = f"10.{choose.randrange(256)}.{choose.randrange(256)}.1", choose.randrange(1024, 65536)
        header = f"PROXY TCP4 {host} 192.0.2.1 {port} 25\r\n".encode()
        with self._connect(f"127.77.0.{choose.randrange(1, 255)}") as connection:
            self._converse(connection, choose.randbytes(100), header=header, name=(host, port))

    def of_a_bad_balancer(self, choose: random.Random) -> None:
        """Has no header."""
        with self._connect(f"127.77.1.{choose.randrange(1, 255)}") as connection:
            self._converse(connection, b"GET / HTTP/1.0\r\n\r\n", wanted=REFUSED)

    # --- Means --------------------------------------------------------------------------------------------------------

    def _connect(self, source: str) -> socket.socket:
        six = ":" in source
        connection = socket.socket(socket.AF_INET6 if six else socket.AF_INET)
        try:
            connection.settimeout(PATIENCE)
            if not six:
                # The port is chosen when the other end is known: there are more of them then.
                connection.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
                connection.bind((source, 0))
            connection.connect(("::1" if six else "127.0.0.1", self._port))
        except BaseException:
            connection.close()
            raise
        return connection

    def _converse(
        self,
        connection: socket.socket,
        data: bytes,
        *,
        pause: float = 0.0,
        wanted: str = UNANSWERED,
        header: bytes = b"",
        name: tuple[str, int] | None = None,
    ) -> None:
        seen = name or connection.getsockname()[:2]
        try:
            if pause:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for at in range(len(data)):
                    connection.sendall(data[at : at + 1])
                    threading.Event().wait(pause)
            else:
                connection.sendall(header + data)
            connection.shutdown(socket.SHUT_WR)
        except OSError as error:
            _only_gone(error)
        outcome = self._outcome(_read(connection), data, wanted)
        self._saw(seen, outcome)

    def _outcome(self, answer: bytes, data: bytes, wanted: str) -> str:
        whole = [greeting + data for greeting in GREETINGS]
        if answer in whole:
            return ANSWERED
        if not any(one.startswith(answer) for one in whole):
            self.troubles.append(
                f"an answer that is none: {answer[:4]!r}…{answer[WORD - 4 : 2 * WORD + 40]!r} for {data[:30]!r}"
            )
        elif wanted == REFUSED and answer:
            self.troubles.append("an answer for somebody who is denied")
        return wanted

    def _together(self, sources: list[str]) -> None:
        with contextlib.ExitStack() as stack:
            connections = [stack.enter_context(self._connect(source)) for source in sources]
            threading.Event().wait(0.3)  # as people do: a slot each, and nothing said
            for number, connection in enumerate(connections):
                self._converse(connection, b"%d" % number)

    def _saw(self, name: tuple[str, int], outcome: str) -> None:
        with self._lock:
            self._ledger.called((name[0], name[1]), outcome)


def _source(choose: random.Random) -> str:
    return f"127.{choose.randrange(1, 60)}.{choose.randrange(256)}.{choose.randrange(1, 255)}"


def _read(connection: socket.socket) -> bytes:
    answer = bytearray()
    try:
        while chunk := connection.recv(65536):
            answer += chunk
    except OSError as error:
        _only_gone(error)
    return bytes(answer)


def _only_gone(error: OSError) -> None:
    """Let pass that the other end has gone."""
    if error.errno not in (errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN):
        raise error
