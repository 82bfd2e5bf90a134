"""What runs in the processes of ``--handler``: a function is found and called with a Session, once or many times.

A pooled process serves connections one at a time, and the next caller must not meet anything of the one before. Rule:
what can be made anew is made anew (environment, descriptors 0 and 1, streams, directory, umask); what cannot, and is
not as it was at the start (another descriptor open, a signal handled, a thread or a child process left behind), is a
reason for this process to end, as one that had served only this connection would have.
"""

from __future__ import annotations

import io
import os
import select
import sys
from typing import TYPE_CHECKING

# With these the first call costs what the second does.
from ucspi_env import _networks  # noqa: F401  # pyright: ignore[reportUnusedImport]
from ucspi_env._errors import UCSPIError
from ucspi_env._facts import Facts, observe_descriptor
from ucspi_env._identify import identify
from ucspi_env._model import from_port
from ucspi_env._session import Session, serve

if TYPE_CHECKING:
    import signal as _signal
    from _socket import socket
    from collections.abc import Callable
    from types import CodeType, ModuleType
    from typing import Any, NoReturn, TextIO

    from ucspi_env._model import Connection
else:
    import _signal  # the C half: the other makes an enum of each of 62 handlers, and that for each connection

__all__ = ["code_of", "load", "serve", "work"]

_DESCRIPTORS = "/proc/self/fd"
_NO_EVENTS = 0  # poll(2) tells of closed descriptors unasked
_SIGNALS = tuple(sorted(_signal.valid_signals() - {_signal.SIGKILL, _signal.SIGSTOP}))


def load(target: str) -> Callable[[Session], object]:
    """The function that ``module:function`` names.

    Raises:
        ValueError: the text is not of that form.
        TypeError: what it names cannot be called.
        Exception: whatever the import raises.
    """
    module, colon, name = target.partition(":")
    if not (module and colon and name):
        raise ValueError(f"{target!r} is not module:function")
    __import__(module)
    found: Any = sys.modules[module]
    for part in name.split("."):
        found = getattr(found, part)
    if not callable(found):
        raise TypeError(f"{target} is no function but {type(found).__name__}")
    function: Callable[[Session], object] = found
    return function


def code_of(function: object) -> CodeType | None:
    """Where a traceback begins to be the function's own."""
    return getattr(function, "__code__", None)


class _Descriptors:
    """Which descriptors are open: those that were at the start, and no others?

    Listing them costs as much as all other looks together, since the kernel makes an entry of /proc for each. Instead:
    there are as many as before (since Linux 6.2 that is the size of the directory), and none of those is closed.
    """

    def __init__(self) -> None:
        self._folder = os.open(_DESCRIPTORS, os.O_RDONLY | os.O_DIRECTORY)
        self._numbers = self._list()
        self._counted = self._count()
        self._known = select.poll()
        for number in map(int, self._numbers):
            self._known.register(number, _NO_EVENTS)
        for number in self._closed():  # the one that listing opens
            self._known.unregister(number)

    def same(self) -> bool:
        try:
            counted = self._count()
            if not counted[-1]:
                return self._list() == self._numbers
        except OSError:  # the directory itself is closed
            return False
        return counted == self._counted and not self._closed()

    def _closed(self) -> list[int]:
        return [number for number, event in self._known.poll(0) if event & select.POLLNVAL]

    def _count(self) -> tuple[int, int, int]:
        found = os.fstat(self._folder)  # what it is as well: a handler may have put something else in its place
        return found.st_dev, found.st_ino, found.st_size

    def _list(self) -> frozenset[str]:
        return frozenset(os.listdir(self._folder))


class _State:
    """What must be the same after a connection as before, because nothing can put it back."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._descriptors = _Descriptors()
        self._found = self._look()

    def clean(self) -> bool:
        return self._descriptors.same() and self._look() == self._found and not self._children()

    def own_process(self) -> bool:
        """Whether this is the process itself, rather than one that a handler forked and that came back."""
        return os.getpid() == self.pid

    def _look(self) -> object:
        try:
            error = os.fstat(2)
            log = (error.st_dev, error.st_ino)
        except OSError:
            log = (0, 0)
        return (
            log,
            tuple(map(_signal.getsignal, _SIGNALS)),
            _signal.pthread_sigmask(_signal.SIG_BLOCK, ()),
            _signal.getitimer(_signal.ITIMER_REAL)[0] > 0,
            tuple(sys._current_frames()),  # pyright: ignore[reportPrivateUsage]
        )

    def _children(self) -> bool:
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return False
        return True


class _Streams:
    """All streams over descriptors 0 and 1 for one connection; what a handler keeps of them is dead afterwards."""

    def __init__(self, text_in: TextIO, text_out: TextIO) -> None:
        self._raw = [io.FileIO(fd, mode, closefd=False) for fd, mode in ((0, "r"), (1, "w"), (0, "r"), (1, "w"))]
        reader, writer, stdin, stdout = self._raw
        self.reader = io.BufferedReader(reader)
        self.writer = io.BufferedWriter(writer)
        sys.stdin = sys.__stdin__ = io.TextIOWrapper(  # type: ignore[misc]  # Final for everybody but us
            io.BufferedReader(stdin), text_in.encoding, text_in.errors
        )
        sys.stdout = sys.__stdout__ = io.TextIOWrapper(  # type: ignore[misc]
            io.BufferedWriter(stdout), text_out.encoding, text_out.errors
        )

    def close(self) -> None:
        """Close what lies below the buffers: what is still in those is nobody's."""
        for raw in self._raw:
            raw.close()


class _Caller:
    """Who is calling, by the environment and the kernel: found out once for callers who differ in their port alone.

    Those are what `at_port` is for. That nothing else is different is for tcpserver to know, which has made all those
    environments of one template, and of what the kernel says.

    Args:
        data: the environment, as it travels.
        ports: how many of its variables, the first ones, are the caller's port.

    Attributes:
        environ: the environment.
        ports: the variables that are the caller's port.
    """

    def __init__(self, data: bytes, ports: int, protocol: ModuleType) -> None:
        self.environ: dict[bytes, bytes] = protocol.environ_of(data)
        self._text: dict[str, str] = protocol.text_of(data)
        self.ports = [*self.environ][:ports]
        self._port = 0
        self._from_port: Callable[[int], Connection] | None = None

    def at_port(self, text: bytes) -> None:
        """The next one calls from this port."""
        for name in self.ports:
            self.environ[name] = text
            self._text[name.decode("ascii")] = text.decode("ascii")
        self._port = int(text)

    def connection(self) -> Connection:
        """Who is calling.

        Raises:
            UCSPIError: there is no telling.
        """
        if self._from_port is not None:
            return self._from_port(self._port)
        # Of descriptor 0 alone: it is a connected socket, and the raw environment is not this connection's.
        known = identify(self._text, Facts({0: observe_descriptor(0)}))
        if self.ports and known.remote is not None:
            self._from_port = from_port(known)
        return known


def work(
    function: Callable[[Session], object], channel: socket, done: int, most: int, protocol: ModuleType
) -> NoReturn:
    """Serve up to ``most`` connections from ``channel``, then end.

    Each comes with its environment and a serial number, and is answered on ``done``; the last one is answered by the
    end of this process, whose status is that connection's.
    """
    stdin, stdout, stderr = sys.stdin, sys.stdout, sys.stderr
    environments = os.environ, os.environb
    home = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    mask = os.umask(0o022)
    null = os.open(os.devnull, os.O_RDWR)
    state = _State()
    callers: dict[int, _Caller] = {}
    packet = memoryview(bytearray(protocol.PACKET))
    while True:
        size, ancillary, _, _ = channel.recvmsg_into((packet,), protocol.FDS_SPACE)
        if not size:
            os._exit(0)
        kind, serial, slot, ports = protocol.CONNECTION.unpack_from(packet)
        fds = protocol.descriptors(ancillary)
        data = protocol.whole(bytes(packet[protocol.CONNECTION.size : size]), fds[1:])
        if kind == protocol.RECALL:
            caller = callers[slot]
            caller.at_port(data)
        else:
            caller = _Caller(data, ports, protocol)
            if kind == protocol.LEARN:
                callers[slot] = caller
        os.dup2(fds[0], 0)
        os.dup2(fds[0], 1)
        os.fchdir(home)
        os.umask(mask)
        sys.stderr = sys.__stderr__ = stderr  # type: ignore[misc,assignment]
        os.environ, os.environb = environments
        protocol.set_environ(caller.environ, caller.ports)
        protocol.close(fds)
        streams = _Streams(stdin, stdout)
        most -= 1
        status = _serve(function, caller, streams, state, protocol)
        if not state.own_process():
            protocol.leave(status)
        if most <= 0 or stderr.closed or not state.clean():
            protocol.leave(status)
        streams.close()
        # The caller sees the end of the connection before anybody hears that this process is free.
        os.dup2(null, 0)
        os.dup2(null, 1)
        protocol.flush(stderr)
        try:
            os.write(done, protocol.REPORT.pack(protocol.ENDED, serial, state.pid, status << 8))
        except OSError:  # tcpserver has ended while this connection lived on
            protocol.leave(status)


def _serve(
    function: Callable[[Session], object],
    caller: _Caller,
    streams: _Streams,
    state: _State,
    protocol: ModuleType,
) -> int:
    """Serve one connection; the exit status of a process that had done only this."""
    try:
        try:
            connection = caller.connection()
        except UCSPIError as error:
            sys.stderr.write(f"{sys.argv[0]}: fatal: {error}\n")
            return 111
        with Session(connection, streams.reader, streams.writer) as session:
            function(session)
    except (BrokenPipeError, ConnectionResetError):
        return 0
    except SystemExit as error:
        status: int = protocol.exit_status(error)
        return status
    except KeyboardInterrupt as error:
        protocol.complain(error, protocol.own_part(error, code_of(function)))
        protocol.leave(1, interrupted=True)
    except BaseException as error:  # whatever it is, it is this connection's
        protocol.complain(error, protocol.own_part(error, code_of(function)))
        return 1
    finally:
        if state.own_process():
            protocol.flush(sys.stdout)
    return 0
