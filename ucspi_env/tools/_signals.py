"""Signals as something to select on, and the dispositions that programs must not inherit.

Rule: nothing is done in a handler. It notes the number; the descriptor that set_wakeup_fd writes to ends the select(2);
the loop then asks what there was. Two signals of one kind may come as one, as always with signals.
"""

from __future__ import annotations

import contextlib
import signal
import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType


class SignalWatch:
    """Catches signals of these numbers from now on, blocked or ignored as they may have been inherited."""

    def __init__(self, numbers: Iterable[int]) -> None:
        self._seen: set[int] = set()
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        # A full pipe loses wake-ups, never signals: the numbers are in `_seen`, and a full pipe does wake.
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in numbers:
            signal.signal(number, self._note)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)

    def fileno(self) -> int:
        """Readable when a signal has come."""
        return self._reader.fileno()

    def take(self) -> set[int]:
        """The numbers that have come since the last call."""
        with contextlib.suppress(BlockingIOError):  # a wake-up that an earlier call has already answered
            self._reader.recv(4096)
        seen, self._seen = self._seen, set()
        return seen

    def close(self) -> None:
        """Stop waking anybody; the signals are still caught, and then nothing happens."""
        signal.set_wakeup_fd(-1)
        self._reader.close()
        self._writer.close()

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._seen.add(number)


def settable() -> tuple[int, ...]:
    """The signals that have a disposition to choose: all but SIGKILL and SIGSTOP."""
    return tuple(sorted(map(int, signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})))


def ignored() -> tuple[int, ...]:
    """The signals that this process ignores, which exec(2) would hand on; every other disposition it resets."""
    return tuple(number for number in settable() if signal.getsignal(number) == signal.SIG_IGN)
