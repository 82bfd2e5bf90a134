"""The rules that a server follows, where they lie: a cdb or a directory, looked at anew for each caller.

A decision opens the file, as in C, so that a replaced file counts from the next connection on, on NFS as well. It reads
with pread(2) what it needs (2 KiB and a few records, however large the file) instead of mapping the file: a mapped file
that somebody truncates in place, as ``cp`` does, kills the process that looks at it by SIGBUS; a short read is an error
that denies one connection. Opening costs 2 µs, a probe 1 µs.

While the file that was opened is the same, unchanged, what it said about the last callers is remembered. One that was
changed a moment ago is read anew each time: its next change may have the same time.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from functools import partial

from ucspi_env.tools._cdb import CdbError, Reader
from ucspi_env.tools._errtext import error_text
from ucspi_env.tools._rules import Decision, RulesError, decide

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ucspi_env._address import IPAddress

REMEMBERED = 64  # callers; strangers choose them, so it is bounded
SETTLED = 2_000_000_000  # nanoseconds; file systems count time in steps of up to two seconds (FAT)


class RulesFile:
    """The rules at ``path``: a cdb that tcprules made, or a directory in the layout of s6's accessrules.

    Args:
        path: the file or directory; relative to the current directory at the time of each decision.
        missing_ok: whether everybody is allowed while there is nothing at ``path`` (tcpserver's ``-X``).
    """

    def __init__(self, path: str, *, missing_ok: bool = False) -> None:
        self.path = path
        self.missing_ok = missing_ok
        self._state: object = None
        self._decisions: dict[object, Decision] = {}

    def decide(self, ip: IPAddress | str, host: str | None = None, info: str | None = None) -> Decision:
        """Decide about a caller.

        Args:
            ip: its address, normalised: an IPv4 caller's is an IPv4Address, whatever socket it came through. A text is
                looked for as it is, as C does; a rules directory has no place for those.
            host: its name, None without one.
            info: its ident answer, None without one.

        Raises:
            OSError: the rules cannot be read. Whoever asked must not be let in.
            RulesError: they can be read and make no sense; likewise. `why_unreadable` has the words for both.
        """
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            if self.missing_ok:
                return Decision(True)
            raise
        try:
            status = os.fstat(fd)
            if stat.S_ISREG(status.st_mode):
                return self._by_file(fd, status, ip, host, info)
            if not stat.S_ISDIR(status.st_mode):
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), self.path)
            from ucspi_env.tools import _rulesdir

            return _rulesdir.decide(fd, ip, host, info)
        except CdbError as error:
            raise RulesError(str(error)) from None
        finally:
            os.close(fd)

    def _by_file(
        self, fd: int, status: os.stat_result, ip: IPAddress | str, host: str | None, info: str | None
    ) -> Decision:
        state = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        if state != self._state:
            self._state = state
            self._decisions.clear()
        caller = (ip, host, info)
        known = self._decisions.get(caller)
        if known is not None:
            return known
        decision = decide(Reader(partial(os.pread, fd), status.st_size).find, ip, host, info)
        if time.time_ns() - max(status.st_ctime_ns, status.st_mtime_ns) > SETTLED:
            if len(self._decisions) >= REMEMBERED:
                self._decisions.clear()
            self._decisions[caller] = decision
        return decision


def why_unreadable(error: OSError | RulesError) -> str:
    """What goes behind ``unable to read FILE: ``, in C's words."""
    return error_text(errno.EPROTO if isinstance(error, RulesError) else error)
