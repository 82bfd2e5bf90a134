"""Processes by fork(2) of one that has imported everything already: the parent's side (`_zygote_child` is the other).

tcpserver itself is never copied: the zygote is started with posix_spawn(3), lean, and after privileges were dropped.
Its children are not tcpserver's children, but their ends are counted exactly: the zygote reports them, and if it is
killed, tcpserver, as a *subreaper* (prctl(2), Linux), becomes their parent and reaps them itself. Forking twice would
also make them tcpserver's children, and cost a second fork, which is nearly all that such a process costs.
"""

from __future__ import annotations

import array
import errno
import os
import signal
import socket
import sys
import time
from collections import deque

from ucspi_env.tools import _zygote_child as protocol
from ucspi_env.tools._program import fatal, run_program
from ucspi_env.tools._tasks import Wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ucspi_env.tools._environments import Environ, Template
    from ucspi_env.tools._launch import Reports
    from ucspi_env.tools._tasks import Outcome, Task, Tasks

WINDOW = 32  # requests on their way at the same time: more would only wait in the kernel, with their descriptors
MOST_TRIES = 3  # zygotes that one request may lose before it is given up
_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER
_LONG = 3600.0  # seconds; tasks need some deadline
# Numbers instead of enum's members, each of which is converted anew for each call.
_SOL_SOCKET, _SCM_RIGHTS, _MSG_NOSIGNAL = int(socket.SOL_SOCKET), int(socket.SCM_RIGHTS), int(socket.MSG_NOSIGNAL)
_SPARE_FD = 10  # above what file actions write to


class Request:
    """A process that is wanted.

    Args:
        kind: `_zygote_child.RUN` or `_zygote_child.WORK`.
        payload: its environment, or how many connections it serves.
        fds: descriptors for it, open until it is answered.
        started: called with its process id.
        failed: called with the reason if there will be none.
    """

    __slots__ = ("failed", "fds", "kind", "payload", "started", "tries")

    def __init__(
        self,
        kind: bytes,
        payload: bytes,
        fds: Sequence[int],
        started: Callable[[int], None],
        failed: Callable[[OSError], None],
    ) -> None:
        self.kind = kind
        self.payload = payload
        self.fds = fds
        self.started = started
        self.failed = failed
        self.tries = 0


class Zygote:
    """A zygote, restarted when it dies.

    Args:
        name: what is run, for messages.
        interpreter: its file.
        argv: its name and flags.
        arguments: of `_zygote_child.main`.
        environ: what the interpreter is started with.
        default_signals: signals that this process ignores and the program must not.
        ended: called with process id and wait status of each child.
    """

    def __init__(
        self,
        name: str,
        interpreter: str,
        argv: Sequence[str],
        arguments: Sequence[str],
        environ: Mapping[str, str],
        *,
        default_signals: Sequence[int],
        ended: Callable[[int, int], None],
    ) -> None:
        self._name = name
        self._interpreter = interpreter
        self._argv = [*argv, protocol.__file__, *arguments]
        self._environ = dict(environ)
        self._default_signals = tuple(default_signals)
        self._ended = ended
        self._tasks: Tasks  # from `start` on
        self._reports: Reports
        self._channel: socket.socket | None = None
        self._ready = False
        self._serial = 0
        self._queue: deque[Request] = deque()
        self._asked: dict[int, Request] = {}
        self._pids: set[int] = set()

    def start(self, tasks: Tasks, reports: Reports) -> None:
        """Start it and wait until it has imported what there is.

        Raises:
            Stop: it cannot be started, or what it should run cannot be imported.
        """
        self._tasks = tasks
        self._reports = reports
        become_subreaper()
        # An import that hangs must not keep SIGTERM from ending this process.
        previous = signal.signal(signal.SIGTERM, signal.SIG_DFL)
        try:
            channel = self._spawn()
            channel.setblocking(True)
            report = channel.recv(protocol.PACKET)
            channel.setblocking(False)
        except OSError as error:
            raise fatal("tcpserver", f"unable to run {self._interpreter}", error) from None
        finally:
            signal.signal(signal.SIGTERM, previous)
        if not report:
            raise fatal("tcpserver", f"unable to import {self._name}: the process that did so has died")
        if report[:1] == protocol.UNUSABLE:
            raise fatal("tcpserver", f"unable to import {self._name}: {_text(report)}")
        self._take(report)

    def ask(self, request: Request) -> None:
        """Ask for a process; the answer comes later.

        Raises:
            OSError: it cannot even be asked for.
        """
        channel = self._channel or self._spawn()
        if self._queue or len(self._asked) >= WINDOW or not self._send(channel, request):
            self._queue.append(request)

    def forget(self, fds: Sequence[int]) -> None:
        """Do not ask for what has not been asked for yet."""
        self._queue = deque(request for request in self._queue if request.fds != fds)

    def kill(self, pid: int) -> None:
        """SIGKILL for a process that has started and whose end is not known."""
        if pid in self._pids and self._channel is not None:
            try:
                self._channel.send(protocol.REQUEST.pack(protocol.KILL, 0) + protocol.KILLED_PID.pack(pid))
            except BlockingIOError:
                return  # the owner will ask again
            except OSError as error:
                if error.errno not in (errno.EPIPE, errno.ECONNRESET):
                    raise
            else:
                return
        # Its zygote has died, so nobody but us can reap it: the number is still its own.
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return

    def hear(self) -> bool:
        """Take the reports that are there; False if no more will come."""
        channel = self._channel
        if channel is None:
            return False
        while True:
            try:
                report = channel.recv(protocol.REPORT.size + protocol.LONGEST_TEXT * 4)
            except BlockingIOError:
                return True
            except ConnectionResetError:
                # It died with requests unread, which the kernel says once, ahead of the reports that it did send.
                continue
            if not report:
                return False
            self._take(report)

    # --- The process --------------------------------------------------------------------------------------------------

    def _spawn(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # 0 and 1 are sockets for the zygote, too, so that its streams are made as for a connection; not connected, so
        # that a module that talks to its caller while it is imported fails there, and is imported by the program.
        with theirs, socket.socket() as nobody:
            ours.setblocking(False)
            fds = [_above(theirs.fileno()), _above(nobody.fileno())]
            try:
                pid = os.posix_spawn(
                    self._interpreter,
                    self._argv,
                    self._environ,
                    file_actions=[
                        (os.POSIX_SPAWN_DUP2, fds[1], 0),
                        (os.POSIX_SPAWN_DUP2, fds[1], 1),
                        (os.POSIX_SPAWN_DUP2, fds[0], protocol.CHANNEL),
                    ],
                    setsigmask=(),
                    setsigdef=self._default_signals,
                )
            except OSError:
                ours.close()
                raise
            finally:
                for fd in fds:
                    os.close(fd)
        self._reports.assisted_by(pid)
        self._channel = ours
        self._ready = False
        self._pids.clear()
        self._tasks.start(self._listen(ours), self._lost)
        return ours

    def _listen(self, channel: socket.socket) -> Task[None]:
        while True:
            ready = yield Wait(time.monotonic() + _LONG, read=[channel])
            if ready and not self.hear():
                return

    def _lost(self, outcome: Outcome[None]) -> None:
        """The zygote has died. What it was asked for and never started goes to the next one."""
        outcome.result()
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        requests = [*self._asked.values()]
        self._asked.clear()
        self._queue.extendleft(reversed(requests))
        if not self._ready and not self._queue:
            self._reports.warn(f"the process that {self._name} is copied from has died while it was starting")
            return  # the next caller brings another attempt
        self._reports.warn(f"the process that {self._name} is copied from has died, starting another")
        try:
            self._spawn()
        except OSError as error:
            queue, self._queue = self._queue, deque()
            for request in queue:
                request.failed(error)
        self._flush()

    # --- Packets ------------------------------------------------------------------------------------------------------

    def _send(self, channel: socket.socket, request: Request) -> bool:
        """Send a request; False if there is no room."""
        self._serial += 1
        try:
            send(channel, protocol.REQUEST.pack(request.kind, self._serial), request.payload, request.fds)
        except BlockingIOError:
            return False
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has died, which `_lost` is about to hear: the request will go to the next one
        self._asked[self._serial] = request
        request.tries += 1
        return True

    def _flush(self) -> None:
        while self._queue and self._channel is not None and len(self._asked) < WINDOW:
            request = self._queue[0]
            if request.tries >= MOST_TRIES:
                error = OSError(0, "the process that it is copied from dies")
            else:
                try:
                    if not self._send(self._channel, request):
                        return
                except OSError as refused:
                    error = refused
                else:
                    self._queue.popleft()
                    continue
            self._queue.popleft()
            request.failed(error)

    def _take(self, report: bytes) -> None:
        kind, serial, pid, status = protocol.REPORT.unpack_from(report)
        if kind == protocol.STARTED:
            request = self._asked.pop(serial, None)
            if request is not None:
                self._pids.add(pid)
                request.started(pid)
                self._flush()
        elif kind == protocol.ENDED:
            self._pids.discard(pid)
            self._ended(pid, status)
        elif kind == protocol.FAILED:
            request = self._asked.pop(serial, None)
            if request is not None:
                request.failed(OSError(status, _text(report) or os.strerror(status)))
                self._flush()
        elif kind == protocol.READY:
            self._ready = True
        elif kind == protocol.UNUSABLE:
            self._ready = True
            self._reports.warn(f"unable to import {self._name}: {_text(report)}")


class ForkLauncher:
    """One new process per connection, by fork(2) of a zygote.

    Args:
        zygote: makes a zygote out of what to do about its children's ends.
        timeout: seconds that a process may take, or None.
    """

    def __init__(self, zygote: Callable[[Callable[[int, int], None]], Zygote], timeout: float | None) -> None:
        self._zygote = zygote(self._on_end)
        self._reports: Reports  # from `start` on
        self._watchdog = Watchdog(timeout, self._zygote.kill)

    def start(self, tasks: Tasks, reports: Reports) -> None:
        """As `Launcher.start`."""
        self._reports = reports
        self._zygote.start(tasks, reports)
        self._watchdog.start(tasks)

    def launch(self, fd: int, environ: Environ, template: Template | None) -> int:  # noqa: ARG002 - it takes all
        """As `Launcher.launch`; the process id comes later."""
        reports = self._reports

        def started(pid: int) -> None:
            self._watchdog.add(pid)
            reports.launched(fd, pid)

        self._zygote.ask(
            Request(protocol.RUN, pack_environ(environ), (fd,), started, lambda error: reports.refused(fd, error))
        )
        return 0

    def forget(self, fd: int) -> None:
        """As `Launcher.forget`."""
        self._zygote.forget((fd,))

    def reaped(self, pid: int, status: int) -> bool:
        """As `Launcher.reaped`: a process that a zygote has left to us, perhaps before its beginning was heard of."""
        self._zygote.hear()
        self._on_end(pid, status)
        return True

    def reload(self) -> None:
        """As `Launcher.reload`: the zygote looks for itself."""

    def _on_end(self, pid: int, status: int) -> None:
        self._watchdog.remove(pid)
        self._reports.ended(pid, status)


class Watchdog:
    """Kills processes that take too long.

    Args:
        timeout: seconds, or None: nobody does.
        kill: how. Asked again after a second if the process lives on.
    """

    def __init__(self, timeout: float | None, kill: Callable[[int], None]) -> None:
        self._timeout = timeout
        self._kill = kill
        self._ends: dict[int, float] = {}  # in the order of their ends, since all have the same time

    def start(self, tasks: Tasks) -> None:
        """Begin to watch."""
        if self._timeout is not None:
            tasks.start(self._watch(self._timeout), _surface)

    def add(self, pid: int) -> None:
        """This process's time runs from now."""
        if self._timeout is not None:
            self._ends.pop(pid, None)
            self._ends[pid] = time.monotonic() + self._timeout

    def remove(self, pid: int) -> None:
        """This process need not be watched any more."""
        self._ends.pop(pid, None)

    def _watch(self, timeout: float) -> Task[None]:
        while True:
            now = time.monotonic()
            late: list[int] = []
            until = now + timeout
            for pid, end in self._ends.items():
                if end > now:
                    until = end
                    break
                late.append(pid)
            for pid in late:
                self._kill(pid)
                self.remove(pid)
                self._ends[pid] = now + timeout
            yield Wait(until)


def _surface(outcome: Outcome[None]) -> None:
    outcome.result()


def send(channel: socket.socket, head: bytes, payload: bytes, fds: Sequence[int]) -> None:
    """Send a request with its descriptors; a payload that does not fit into a packet goes in a file.

    Raises:
        OSError: it cannot be sent; BlockingIOError if there is no room now.
    """
    if len(head) + len(payload) <= protocol.PACKET:
        _put(channel, head + payload, fds)
        return
    fd = os.memfd_create("environment")
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(payload)
        _put(channel, head, (*fds, fd))
    finally:
        os.close(fd)


def _put(channel: socket.socket, data: bytes, fds: Sequence[int]) -> None:
    channel.sendmsg((data,), ((_SOL_SOCKET, _SCM_RIGHTS, array.array("i", fds)),), _MSG_NOSIGNAL)


def pack_environ(environ: Environ) -> bytes:
    """An environment as it travels."""
    return b"\0".join([*environ, *environ.values()])


def become_subreaper() -> None:
    """Become the parent of whatever a dying zygote leaves.

    Raises:
        Stop: the system has nothing of the kind.
    """
    if not sys.platform.startswith("linux"):
        raise fatal("tcpserver", "--preload and --handler need Linux, which can tell of grandchildren")
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_SUBREAPER, 1, 0, 0, 0):
        raise fatal("tcpserver", "unable to become a subreaper", ctypes.get_errno())


def _above(fd: int) -> int:
    import fcntl

    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _SPARE_FD)


def _text(report: bytes) -> str:
    return os.fsdecode(report[protocol.REPORT.size :])


# --- Which interpreter ------------------------------------------------------------------------------------------------


def find_script(name: str, environ: Mapping[str, str]) -> tuple[str, str, list[str]]:
    """The script as the kernel would get it, the file of its interpreter, and what that is called with.

    Raises:
        Stop: there is no such script, or it is not for this interpreter.
    """

    def probe(path: str, _argv: Sequence[str], _environ: Mapping[str, str]) -> tuple[str, bytes]:
        with open(path, "rb") as file:
            return path, file.read(4096)

    try:
        path, start = run_program((name,), environ, probe)
    except OSError as error:
        raise fatal("tcpserver", f"unable to run {name}", error) from None
    if start.startswith(b"\x7fELF") or b"PK\3\4" in start:
        raise fatal("tcpserver", f"unable to preload {name}: it is no Python source")
    return path, *interpreter_of(name, start, environ)


def interpreter_of(name: str, start: bytes, environ: Mapping[str, str]) -> tuple[str, list[str]]:
    """The interpreter that the first line of a script names, and the words it does so with; this one if it has none.

    Raises:
        Stop: it is another one.
    """
    line = os.fsdecode(start.partition(b"\n")[0]).rstrip("\r")
    if not line.startswith("#!"):
        return sys.executable, [sys.executable]
    program, _, argument = line[2:].strip().partition(" ")
    words = [program, argument.strip()] if argument.strip() else [program]
    if os.path.basename(program) == "env":
        words = argument.split()
        if words[:1] == ["-S"]:
            del words[0]
        found = _on_path(words[0], environ) if words else None
    else:
        found = program
    if found is None or not same_interpreter(found, sys.executable):
        raise fatal(
            "tcpserver",
            f"unable to preload {name}: its first line asks for {' '.join(words)}, and this is {sys.executable}",
        )
    return found, words


def _on_path(name: str, environ: Mapping[str, str]) -> str | None:
    if "/" in name:
        return name
    for directory in environ.get("PATH", os.defpath).split(":"):
        path = os.path.join(directory or ".", name)
        if os.access(path, os.X_OK) and os.path.isfile(path):
            return path
    return None


def same_interpreter(one: str, other: str) -> bool:
    """Whether two paths start the same interpreter with the same packages: a venv's is a link to another's."""

    def identity(path: str) -> tuple[str, str | None]:
        directory = os.path.realpath(os.path.dirname(path))
        for place in (directory, os.path.dirname(directory)):
            if os.path.exists(os.path.join(place, "pyvenv.cfg")):
                return os.path.realpath(path), place
        return os.path.realpath(path), None

    return identity(one) == identity(other)
