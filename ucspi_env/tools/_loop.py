"""tcpserver's loop: what happens next.

Rule 1: this file decides and never parses; what a connection needs is `Reception`'s affair.
Rule 2: nothing here waits but select(2).
Rule 3: what cannot be served is not watched: at the limit, after a shortage, and while stopping, the listening sockets
are not in the selector, so that nothing spins.
"""

from __future__ import annotations

import _socket
import errno
import os
import selectors
import signal
import time

from ucspi_env.tools._errtext import error_text
from ucspi_env.tools._program import fatal

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence
    from typing import Any

    from ucspi_env.tools._reception import Reception
    from ucspi_env.tools._signals import SignalWatch
    from ucspi_env.tools._tasks import Tasks

# The machine is short of something that other programs will give back.
OVERLOAD = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)
OVERLOAD_PAUSE = 0.1  # seconds
# The listening socket itself is unusable; everything else that accept(2) says is about one caller (accept(2), "Error
# handling"), or about a network that will be back.
BROKEN = (errno.EBADF, errno.EINVAL, errno.ENOTSOCK, errno.EOPNOTSUPP, errno.EFAULT)
ACCEPTS_PER_TURN = 64
LAUNCHES_PER_TURN = 4  # before the kernel's queues are looked at again: a program's start takes up to a millisecond
STOP_GRACE = 2.0  # seconds for connections still in their look-ups when SIGTERM comes
LONGEST_SLEEP = 86400.0  # seconds; epoll_wait(2) counts milliseconds in an int

# A socket address of IPv4 has two parts, one of IPv6 four.
_FAMILIES = {2: _socket.AF_INET, 4: _socket.AF_INET6}

SIGNALS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


class Loop:
    """One process's loop.

    Args:
        listeners: non-blocking listening sockets.
        reception: takes the connections.
        accepts: of one listening socket, before the others get their turn.
        selector: what to select with; the one that ``tasks`` are on.
        tasks: what connections are waiting for.
        signals: `SIGNALS`, watched.
        drain: seconds to wait for running programs after SIGTERM, or None: do not wait.
        reload: called on SIGHUP.
        stopping: called on the first SIGTERM.
    """

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        reception: Reception,
        *,
        accepts: int = ACCEPTS_PER_TURN,
        selector: selectors.BaseSelector,
        tasks: Tasks,
        signals: SignalWatch,
        drain: float | None,
        reload: Callable[[], None],
        stopping: Callable[[], None],
    ) -> None:
        self._listeners = tuple(listeners)
        self._reception = reception
        self._accepts = accepts
        self._selector = selector
        self._tasks = tasks
        self._signals = signals
        self._drain = drain
        self._reload = reload
        self._stopping = stopping
        self._watching = False
        self._paused_until: float | None = None
        self._short = False  # of descriptors or memory, since the last connection that could be accepted
        # After SIGTERM: when to give up look-ups, and when to stop waiting for programs.
        self._grace_ends: float | None = None
        self._drain_ends: float | None = None
        selector.register(signals, selectors.EVENT_READ)

    def run(self) -> int:
        """Serve until SIGTERM; the exit code.

        Raises:
            Stop: a listening socket has become unusable.
        """
        self._reap()  # what a former self started may have ended before SIGCHLD was watched
        while not self._finished():
            self._watch(self._paused_until is None and self._grace_ends is None and self._reception.open())
            turn = self._selector.select(self._timeout())
            for key, _ in turn:
                if key.data is None:
                    self._on_signals()
            for key, _ in turn:
                if key.data in self._listeners:
                    self._accept(key.data)
                elif key.data is not None:
                    self._tasks.on_event(*key.data)
            self._on_time(time.monotonic())
            self._reception.serve(LAUNCHES_PER_TURN)
        return 0

    def _watch(self, wanted: bool) -> None:
        if wanted == self._watching:
            return
        watched = [] if wanted else [*self._listeners]
        try:
            while wanted and len(watched) < len(self._listeners):
                listener = self._listeners[len(watched)]
                self._selector.register(listener, selectors.EVENT_READ, listener)
                watched.append(listener)
        except OSError as error:  # no memory, or no watches left for this user (epoll(7))
            self._pause("wait for callers", error)
            wanted = False
        self._watching = wanted
        if not wanted:
            for listener in watched:
                self._selector.unregister(listener)

    def _timeout(self) -> float | None:
        if not self._reception.idle():
            return 0
        due = self._tasks.next_deadline()
        for at in (self._paused_until, self._grace_ends, self._drain_ends):
            if at is not None and (due is None or at < due):
                due = at
        return None if due is None else max(0.0, min(due - time.monotonic(), LONGEST_SLEEP))

    def _on_time(self, now: float) -> None:
        self._tasks.on_time(now)
        if self._paused_until is not None and now >= self._paused_until:
            self._paused_until = None

    def _accept(self, listener: socket.socket) -> None:
        if self._grace_ends is not None:  # SIGTERM came in the same turn
            return
        for _ in range(self._accepts):
            if not self._reception.open():
                return
            try:
                sock, peer = _accept(listener)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in BROKEN:
                    raise fatal("tcpserver", "unable to accept", error) from None
                if error.errno in OVERLOAD:
                    self._pause("accept", error)
                    return
                continue
            self._short = False
            self._reception.receive(sock, peer)

    def _pause(self, what: str, error: OSError) -> None:
        self._paused_until = time.monotonic() + OVERLOAD_PAUSE
        if not self._short:
            self._short = True
            self._reception.warn(f"unable to {what}, trying again every {OVERLOAD_PAUSE:g} s: {error_text(error)}")

    # --- Signals ------------------------------------------------------------------------------------------------------

    def _on_signals(self) -> None:
        seen = self._signals.take()
        if signal.SIGCHLD in seen:
            self._reap()
        if signal.SIGHUP in seen:
            self._reload()
        if signal.SIGUSR1 in seen:
            self._reception.say_connected()
            self._reception.say_taken()
        if signal.SIGTERM in seen:
            if self._grace_ends is None:
                self.stop()
            else:
                self.hurry()

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            self._reception.reaped(pid, status)

    def stop(self) -> None:
        """SIGTERM: no new connections, a short time for those in between."""
        if self._grace_ends is not None:
            return
        now = time.monotonic()
        self._stopping()
        self._watch(False)
        for listener in self._listeners:
            listener.close()
        self._grace_ends = now + STOP_GRACE
        if self._drain is not None:
            self._drain_ends = now + self._drain

    def hurry(self) -> None:
        """SIGTERM once more: no time."""
        self.stop()
        self._grace_ends = time.monotonic()
        self._drain_ends = None
        self._drain = None

    def _finished(self) -> bool:
        if self._grace_ends is None:
            return False
        now = time.monotonic()
        if self._reception.pending():
            if now < self._grace_ends:
                return False
            self._reception.give_up("stopping")
        self._grace_ends = float("inf")  # nothing of the kind can come any more
        if self._drain_ends is None or not self._reception.running():
            return True
        if now < self._drain_ends:
            return False
        self._reception.warn(f"stopping, programs still running: {self._reception.running()}")
        return True


def _accept(listener: socket.socket) -> tuple[_socket.socket, Any]:
    """accept(2), with the socket as the C half of the module has it.

    `socket.accept` makes enums of the listener's family and type and a Python object around the C one, for each call.
    """
    fd, peer = getattr(listener, "_accept")()  # noqa: B009 - type checkers do not know it
    return _socket.socket(_FAMILIES[len(peer)], _socket.SOCK_STREAM, 0, fd), peer
