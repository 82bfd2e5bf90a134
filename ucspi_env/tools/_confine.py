"""Programs with less than the server has: resource limits of their own, and no way to privileges.

posix_spawn(3) cannot set limits, so a program that gets some is started by fork(2), and limited before it is run. That
copies the server's page tables each time, which posix_spawn(3) does not.
"""

from __future__ import annotations

import errno
import os
import signal

from ucspi_env.tools._program import fatal, run_program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import NoReturn

    from ucspi_env.tools._environments import Environ, Template
    from ucspi_env.tools._launch import Reports
    from ucspi_env.tools._tasks import Tasks

_UNITS = {"k": 2**10, "m": 2**20, "g": 2**30}
_PR_SET_NO_NEW_PRIVS = 38


def read_limits(texts: Iterable[str]) -> tuple[tuple[int, int], ...]:
    """Understand ``--rlimit`` options: ``nofile=64``, ``as=256M``, ``core=0``, ``cpu=unlimited``.

    Names are those of setrlimit(2) without RLIMIT_, in either case; K, M and G count in 1024s. A limit is set as both
    the soft and the hard one, so the program cannot raise it again.

    Returns:
        Number of the resource and its limit, in the order of the options.

    Raises:
        ValueError: what cannot be understood, and why.
    """
    import resource

    limits: list[tuple[int, int]] = []
    for text in texts:
        name, equals, value = text.partition("=")
        number = getattr(resource, f"RLIMIT_{name.upper()}", None) if name.isascii() else None
        if not equals or number is None:
            known = ", ".join(sorted(word[7:].lower() for word in dir(resource) if word.startswith("RLIMIT_")))
            raise ValueError(f"{text!r} is no NAME=VALUE; names here are {known}")
        limits.append((number, resource.RLIM_INFINITY if value == "unlimited" else _amount(text, value)))
    return tuple(limits)


def _amount(text: str, value: str) -> int:
    unit = _UNITS.get(value[-1:].lower(), 1)
    digits = value if unit == 1 else value[:-1]
    # 2**62 is more than any machine has, and less than what setrlimit(2) takes for unlimited.
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 18 or int(digits) * unit >= 2**62:
        raise ValueError(f"{text!r} has no number that a limit can be, nor 'unlimited'")
    return int(digits) * unit


def check_limits(program: str, limits: Sequence[tuple[int, int]]) -> None:
    """Make sure that every limit can be set by who we are now: not everybody may raise one.

    Raises:
        Stop: one cannot.
    """
    import resource

    for number, limit in limits:
        # Tried by a process of its own: what it would take to know in advance is the kernel's affair.
        try:
            pid = os.fork()
        except OSError as error:
            raise fatal(program, "unable to fork", error) from None
        if not pid:
            try:
                resource.setrlimit(number, (limit, limit))
            except (OSError, ValueError):
                os._exit(1)
            os._exit(0)
        if os.waitpid(pid, 0)[1]:
            hard = resource.getrlimit(number)[1]
            raise fatal(program, f"unable to set resource limit: {limit} is more than the hard limit {hard}")


def renounce_privileges(program: str) -> None:
    """Keep this process and all that it starts from gaining privileges by exec(2): PR_SET_NO_NEW_PRIVS.

    Raises:
        Stop: this system cannot do that.
    """
    import ctypes

    prctl = getattr(ctypes.CDLL(None, use_errno=True), "prctl", None)
    if prctl is None:
        raise fatal(program, "unable to renounce privileges", errno.ENOSYS)
    if prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise fatal(program, "unable to renounce privileges", ctypes.get_errno())


class ConfiningLauncher:
    """One new process per connection, by fork(2), with resource limits.

    Args:
        argv: the program and its arguments.
        default_signals: signals that this process ignores and the program must not.
        limits: of `read_limits`.
        own_group: make each program the leader of a process group.
    """

    def __init__(
        self,
        argv: Sequence[str],
        default_signals: Sequence[int],
        limits: Sequence[tuple[int, int]],
        *,
        own_group: bool = False,
    ) -> None:
        import resource

        self._argv = [os.fsencode(word) for word in argv]
        self._name = argv[0]
        self._default_signals = tuple(default_signals)
        self._limits = tuple(limits)
        self._own_group = own_group
        self._setrlimit = resource.setrlimit
        self._every_signal = signal.valid_signals()

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
        """As `Launcher.launch`: it returns when the program runs or has failed to, which a pipe tells."""
        reader, writer = os.pipe()
        try:
            # A signal between fork(2) and exec(2) would be noted by both, through the descriptor that wakes the loop.
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, self._every_signal)
            try:
                pid = os.fork()
                if not pid:
                    self._become(fd, environ, writer)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            os.close(writer)
            writer = -1
            report = os.read(reader, 16)
        finally:
            os.close(reader)
            if writer >= 0:
                os.close(writer)
        if report:
            os.waitpid(pid, 0)
            number = int(report)
            raise OSError(number, os.strerror(number))
        return pid

    def _become(self, fd: int, environ: Environ, report: int) -> NoReturn:
        """In the child: everything that the program needs, then the program."""
        number = errno.EINVAL
        try:
            signal.set_wakeup_fd(-1)
            for ignored in self._default_signals:
                signal.signal(ignored, signal.SIG_DFL)
            # What has handlers gets its default back by exec(2), but a pending signal must not meet our handlers first.
            for caught in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
                signal.signal(caught, signal.SIG_DFL)
            if self._own_group:
                os.setpgid(0, 0)
            os.dup2(fd, 0)
            os.dup2(fd, 1)
            for resource, limit in self._limits:
                self._setrlimit(resource, (limit, limit))
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            run_program((self._name,), environ, self._run)
        except OSError as error:
            number = error.errno or number
        except MemoryError:
            number = errno.ENOMEM
        except ValueError:  # a limit that this system does not take
            number = errno.EINVAL
        finally:
            os.write(report, str(number).encode("ascii"))
            os._exit(111)

    def _run(self, path: str, _argv: Sequence[str], environ: Environ) -> NoReturn:
        os.execve(path, self._argv, environ)
