"""Telling systemd how we are: sd_notify(3) without its library.

Source: sd_notify(3), sd_watchdog_enabled(3), systemd.service(5). Nothing here fails: a service manager that does not
listen is no reason not to serve.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time

from ucspi_env.tools._tasks import Wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from ucspi_env.tools._tasks import Outcome, Task, Tasks

VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
"""What the programs must not inherit: with these they could speak for the server."""


class Notifier:
    """Speaks to the service manager that ``environ`` names, or to nobody."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._socket: socket.socket | None = None
        self._interval = _interval(environ)
        path = environ.get("NOTIFY_SOCKET", "")
        if path[:1] not in ("/", "@"):  # not set, or of a kind that is no UNIX socket
            return
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            # Connected before privileges go: afterwards we may not be allowed to.
            sock.connect("\0" + path[1:] if path[0] == "@" else path)
        except OSError:
            sock.close()
            return
        sock.setblocking(False)
        self._socket = sock

    def start(self, tasks: Tasks, alive: Callable[[], bool] = lambda: True) -> None:
        """Say that the server is ready, and from now on that its loop turns, as long as it is ``alive()``."""
        self.say("READY=1")
        if self._socket is not None and self._interval is not None:
            tasks.start(self._beat(self._interval, alive), _forget)

    def reloading(self) -> None:
        """SIGHUP has come; what follows is done when this returns, for services of Type=notify-reload."""
        self.say(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def say(self, state: str) -> None:
        """Send a state, ``"STOPPING=1"``, as sd_notify(3) does."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.send(state.encode("ascii"))

    def close(self) -> None:
        """Say no more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _beat(self, interval: float, alive: Callable[[], bool]) -> Task[None]:
        while True:
            if alive():
                self.say("WATCHDOG=1")
            yield Wait(time.monotonic() + interval)


def _forget(_outcome: Outcome[Any]) -> None:
    """It never ends."""


def _interval(environ: Mapping[str, str]) -> float | None:
    """Seconds between two signs of life: half of what systemd waits for; None if it does not."""
    text = environ.get("WATCHDOG_USEC", "")
    pid = environ.get("WATCHDOG_PID", "")
    if not (text.isascii() and text.isdigit()) or (pid and pid != str(os.getpid())):
        return None
    return int(text[:18]) / 2_000_000 or None
