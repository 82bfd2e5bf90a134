"""Starting a program for a connection: behind one method, so that the loop need not know how.

`SpawnLauncher` uses posix_spawn(3), which does not copy this process: fork(2) of an interpreter costs several times
what the program's own start does. The program gets the connection as descriptors 0 and 1, stderr as it is, and nothing
else: `seal_descriptors` closes, once and for all, everything that this process was started with.
"""

from __future__ import annotations

import errno
import os

from ucspi_env.tools._program import run_program
from ucspi_env.tools._signals import settable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Protocol

    from ucspi_env.tools._environments import Environ, Template
    from ucspi_env.tools._tasks import Tasks

    class Reports(Protocol):
        """Takes what a launcher has to tell later."""

        def launched(self, fd: int, pid: int) -> None:
            """The program for connection ``fd`` runs as this process."""
            ...

        def refused(self, fd: int, error: OSError) -> None:
            """There will be no program for connection ``fd``."""
            ...

        def assisted_by(self, pid: int) -> None:
            """Programs will be children of this process, which the launcher has started."""
            ...

        def warn(self, what: str) -> None:
            """Log that something is odd."""
            ...

        def ended(self, pid: int, status: int) -> None:
            """The program that ran as this process has ended, with this status of wait(2)."""
            ...

    class Launcher(Protocol):
        """Starts programs. The ends of our own children are heard of through waitpid(2), by the loop.

        With ``--workers`` it is made before the processes that it will work in: until `start` it holds nothing that
        they must not share.
        """

        def start(self, tasks: Tasks, reports: Reports) -> None:
            """Get ready; called once, by whom programs will run as.

            Raises:
                Stop: there is nothing to run.
            """
            ...

        def launch(self, fd: int, environ: Environ, template: Template | None) -> int:
            """Start the program with descriptor ``fd`` as its connection and return its process id.

            0 means that the answer will be a report, `Reports.launched` or `Reports.refused`, and that ``fd`` must stay
            open until then. Nothing is reported before this returns.

            Args:
                fd: the connection.
                environ: the program's environment.
                template: what ``environ`` is an instance of, for launchers to whom that says more.

            Raises:
                OSError: it could not be started. `is_fork_failure` tells whether the system or the program is at fault.
            """
            ...

        def forget(self, fd: int) -> None:
            """The connection of a `launch` that was not answered yet is given up."""
            ...

        def reaped(self, pid: int, status: int) -> bool:
            """A child of this process has ended; whether the launcher has reported what there was to report of it."""
            ...

        def reload(self) -> None:
            """SIGHUP."""
            ...


_FORK_FAILURES = (errno.EAGAIN, errno.ENOMEM)
_STANDARD = (0, 1, 2)


class SpawnLauncher:
    """One new process per connection, by posix_spawn(3).

    Args:
        argv: the program and its arguments.
        own_group: make each program the leader of a process group.
    """

    def __init__(self, argv: Sequence[str], *, own_group: bool = False) -> None:
        self._argv = [os.fsencode(word) for word in argv]
        self._name = argv[0]
        # Every signal is to have its default. Those that are ignored need it said, and the others are better said, too:
        # glibc asks the kernel about each one that is not in this set, before it sets that as well.
        options: dict[str, Any] = {"setsigmask": (), "setsigdef": settable()}
        if own_group:
            options["setpgroup"] = 0
        self._options = options
        # Looking along PATH before spawning: a failing exec(2) in a new process is far dearer than a failing stat(2).
        self._search = "/" not in self._name
        self._posix_spawn = os.posix_spawn

    def start(self, tasks: Tasks, reports: Reports) -> None:
        """As `Launcher.start`: there is nothing to prepare."""

    def forget(self, fd: int) -> None:
        """As `Launcher.forget`: every launch is answered at once."""

    def reaped(self, pid: int, status: int) -> bool:  # noqa: ARG002 - nothing to add to it
        """As `Launcher.reaped`."""
        return False

    def reload(self) -> None:
        """As `Launcher.reload`: the program is read for each connection."""

    def launch(self, fd: int, environ: Environ, template: Template | None) -> int:  # noqa: ARG002 - it takes all
        """As `Launcher.launch`."""
        actions = [(os.POSIX_SPAWN_DUP2, fd, 0), (os.POSIX_SPAWN_DUP2, fd, 1)]
        if not self._search:
            return self._posix_spawn(self._name, self._argv, environ, file_actions=actions, **self._options)

        def spawn(path: str, _argv: Sequence[str], environ: Environ) -> int:
            os.stat(path)
            return self._posix_spawn(path, self._argv, environ, file_actions=actions, **self._options)

        return run_program((self._name,), environ, spawn)


def is_fork_failure(error: OSError) -> bool:
    """Whether there was no new process, rather than nothing to run in it."""
    return error.errno in _FORK_FAILURES


def hold_standard_descriptors() -> None:
    """Open /dev/null where 0, 1 or 2 are closed, so that nothing opened later lands there."""
    null = os.open(os.devnull, os.O_RDWR)
    while null in _STANDARD:
        os.set_inheritable(null, True)
        null = os.dup(null)
    os.close(null)


def release_standard_streams() -> None:
    """Let go of stdin and stdout, as C does by closing them: who reads our stdout gets its end."""
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.close(null)


def seal_descriptors() -> None:
    """Keep every inherited descriptor but 0, 1 and 2 from the programs: all become close-on-exec."""
    for fd in _open_descriptors():
        if fd not in _STANDARD:
            try:
                os.set_inheritable(fd, False)
            except OSError as error:
                if error.errno != errno.EBADF:  # the one that listed the directory is gone
                    raise


def _open_descriptors() -> list[int]:
    for directory in ("/proc/self/fd", "/dev/fd"):
        try:
            return [int(name) for name in os.listdir(directory)]
        except OSError:  # no /proc: try the next, then all numbers there may be
            continue
    return list(range(os.sysconf("SC_OPEN_MAX")))
