"""Metrics for whoever connects to a UNIX socket, as tasks on the server's own selector: no thread, no waiting.

The answer is HTTP where the question is (``curl --unix-socket PATH http://x/metrics``, Prometheus by way of a proxy),
and the bare text where there is none (``socat - UNIX-CONNECT:PATH </dev/null``). What is asked for does not matter.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import time

from ucspi_env.tools._program import fatal
from ucspi_env.tools._tasks import Wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ucspi_env.tools._tasks import Outcome, Task, Tasks

READERS_LIMIT = 8  # at once; others wait in the kernel's queue
TIMEOUT = 5.0  # seconds for a reader to ask and to take the answer
REQUEST_LIMIT = 8192  # bytes
_LONG = 3600.0  # seconds; tasks need some deadline


class MetricSocket:
    """Listens at ``path``; a socket that a former server left there is replaced.

    Who may connect is the umask's decision, as for every file that this process makes.

    Args:
        program: the name that messages begin with.
        path: where the socket is.

    Raises:
        Stop: it cannot be made, or somebody else is listening there.
    """

    def __init__(self, program: str, path: str) -> None:
        self._path = path
        self._readers = 0
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            _remove_stale(path)
            self._listener.bind(path)
            self._listener.listen(READERS_LIMIT)
        except OSError as error:
            self._listener.close()
            raise fatal(program, f"unable to listen on {path}", error) from None
        self._listener.setblocking(False)
        self._file = os.stat(path)

    def start(self, tasks: Tasks, text: Callable[[], str]) -> None:
        """Answer with ``text()`` from now on."""

        def again(_outcome: Outcome[Any]) -> None:
            # It has failed, since it never ends: no watch or descriptor left. A later one may have more luck.
            tasks.start(self._serve(tasks, text, pause=TIMEOUT), again)

        tasks.start(self._serve(tasks, text), again)

    def close(self) -> None:
        """Stop, and remove the file if it is still ours and we may."""
        self._listener.close()
        with contextlib.suppress(OSError):
            if os.path.samestat(os.stat(self._path), self._file):
                os.unlink(self._path)

    def abandon(self) -> None:
        """Stop in a copy of the process that goes on (fork(2)): the file stays."""
        self._listener.close()

    def _serve(self, tasks: Tasks, text: Callable[[], str], pause: float = 0.0) -> Task[None]:
        if pause:
            yield Wait(time.monotonic() + pause)
        while True:
            if self._readers >= READERS_LIMIT:
                yield Wait(time.monotonic() + TIMEOUT / 10)
                continue
            yield Wait(time.monotonic() + _LONG, read=[self._listener])
            try:
                sock = self._listener.accept()[0]
            except BlockingIOError:
                continue
            except OSError:  # out of descriptors, most likely; connections go first
                yield Wait(time.monotonic() + TIMEOUT / 10)
                continue
            sock.setblocking(False)
            self._readers += 1
            tasks.start(_answer(sock, text), self._answered)

    def _answered(self, _outcome: Outcome[Any]) -> None:
        self._readers -= 1  # whether they got their answer is their affair


def _answer(sock: socket.socket, text: Callable[[], str]) -> Task[None]:
    until = time.monotonic() + TIMEOUT
    request = b""
    with sock:
        while b"\r\n\r\n" not in request and len(request) < REQUEST_LIMIT:
            if not (yield Wait(until, read=[sock])):
                return
            try:
                data = sock.recv(REQUEST_LIMIT)
            except BlockingIOError:
                continue
            if not data:
                break
            request += data
        body = text().encode("ascii")
        if request:
            head = f"HTTP/1.0 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {len(body)}\r\n\r\n"
            body = head.encode("ascii") + (b"" if request.startswith(b"HEAD ") else body)
        while body:
            try:
                body = body[sock.send(body) :]
            except BlockingIOError:
                if not (yield Wait(until, write=[sock])):
                    return


def _remove_stale(path: str) -> None:
    """Remove a socket at ``path`` that nobody listens on; anything else stays, and bind(2) will say so."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except BlockingIOError:  # somebody listens, and is busy
            return
