"""Running servers for tests as super-servers run them: on real connections, and under the package's own tcpserver."""

from __future__ import annotations

import contextlib
import errno
import inspect
import io
import os
import selectors
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

from ucspi_env._session import serve
from ucspi_env.envcheck._play import Run, play
from ucspi_env.envcheck._stage import Stage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence
    from typing import Self

    from ucspi_env._callers import Caller
    from ucspi_env._session import Session

    Program = Sequence[str | os.PathLike[str]]
    Function = Callable[[Session], object] | Callable[[], object]

__all__ = ["Harness", "Run", "Server"]

_PORT_ATTEMPTS = 100  # of finding one port that is free in both families
_MOMENT = 0.1  # seconds between the end of a process's connections and its exit status, at most
_LOOPBACKS = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
_NO_LOOK_UPS = ("-v", "-R", "-H", "-l", "0")
# Puts the listening sockets where sd_listen_fds(3) wants them, and becomes tcpserver. The path is the package's own,
# so that the tests' current directory and PYTHONPATH have no say in which tcpserver runs.
_LAUNCH = """
import fcntl, os, sys
package, count, *rest = sys.argv[1:]
high = [fcntl.fcntl(int(fd), fcntl.F_DUPFD, 64) for fd in rest[:int(count)]]
os.closerange(3, 64)
for place, fd in enumerate(high, 3):
    os.dup2(fd, place)
    os.close(fd)
os.environ.update(LISTEN_FDS=count, LISTEN_PID=str(os.getpid()))
sys.path.append(package)
sys.argv[:] = ["tcpserver", *rest[int(count):]]
from ucspi_env.tools import tcpserver
tcpserver.run()
"""


class Harness:
    """Runs servers as a super-server would. A context manager: the stage for connections stands as long as it.

    Attributes:
        reason: empty, or why the servers get unnamed socket pairs instead of connections between the claimed
            addresses (no network namespaces on this system). Known after the first run.
    """

    def __init__(self) -> None:
        self.reason: str = ""
        self._stage: Stage | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._stage is not None:
            self._stage.__exit__(*error)
            self._stage = None

    def connect(self, caller: Caller) -> tuple[socket.socket, socket.socket]:
        """The server's end and the caller's end of a connection between the caller's two addresses.

        Raises:
            StageError: the addresses cannot be used (a multicast address, a zone that cannot be made).
        """
        if self._stage is None:
            self._stage = Stage().__enter__()
            self.reason = self._stage.reason
        return self._stage.connect(caller.remote, caller.local, mapped=caller.mapped)

    def run(
        self,
        server: Program | Function,
        caller: Caller,
        *,
        send: bytes = b"",
        env: Mapping[str, str] | None = None,
        timeout: float = 10.0,
    ) -> Run:
        """Run a server for one caller, who sends ``send``, then ends its side, and reads to the end.

        A program gets the connection as descriptors 0 and 1, and an environment as the super-server makes it. So does
        a function, in this process, so that its exceptions, its coverage and a debugger are yours: one that takes an
        argument is called as `ucspi_env.serve` calls it, one without finds the connection by itself, like a script.

        Args:
            server: the program and its arguments, or a function.
            caller: who calls.
            send: what the caller says.
            env: further variables of the environment.
            timeout: seconds until a program is killed. A function is not: its connection ends under it.

        Returns:
            What it did: ``output`` (what the caller read), ``errors`` (stderr), ``status``, ``seconds``, ``hung``.

        Raises:
            OSError: the program cannot be started.
            StageError: as `connect`.
            TypeError: the program is a string and not a list of words.
        """
        __tracebackhide__ = True  # for pytest: what failed is the test's line, or the function's
        argv = [] if callable(server) else _words(server)
        environ = caller.environ(os.environ) | dict(env or {})
        ours, theirs = self.connect(caller)
        if callable(server):
            return _play_inside(server, environ, ours, theirs, dialogue=send, timeout=timeout)
        try:
            return play(argv, environ, ours, theirs, dialogue=send, timeout=timeout)
        except OSError as error:  # without the inside of subprocess
            raise error.with_traceback(None) from None


def _words(program: Program) -> list[str]:
    """A program and its arguments. A string is a sequence too, of letters.

    Raises:
        TypeError: it is a string, or no words at all.
    """
    __tracebackhide__ = True
    if isinstance(program, (str, bytes, os.PathLike)):
        raise TypeError(f"a program is a list of words, [{os.fspath(program)!r}], and not {program!r}")
    words = [os.fspath(word) for word in program]
    if not words:
        raise TypeError("a program is a list of words, and this one is empty")
    return words


def _play_inside(
    function: Function,
    environ: Mapping[str, str],
    server: socket.socket,
    client: socket.socket,
    *,
    dialogue: bytes,
    timeout: float,
) -> Run:
    """`play`, with a function of this process in place of a program; the caller is two threads."""
    __tracebackhide__ = True
    heard = bytearray()
    late = threading.Event()
    start = time.monotonic()
    client.settimeout(timeout)

    def say() -> None:
        with contextlib.suppress(OSError):  # the function has hung up already, or takes nothing for too long
            client.sendall(dialogue)
            client.shutdown(socket.SHUT_WR)

    def hear() -> None:
        try:
            while piece := client.recv(65536):
                heard.extend(piece)
        except TimeoutError:
            late.set()
            # A reset, so that whatever the function waits for comes to an end: more to read, room to write, a hang-up.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
        except ConnectionResetError:
            pass  # it left without reading everything

    caller = [threading.Thread(target=what, name=f"caller: {what.__name__}", daemon=True) for what in (say, hear)]
    errors = io.BytesIO()
    with client:
        try:
            with server, _as_if_started(environ, server, errors):
                for thread in caller:
                    thread.start()
                status = _call(function)
        finally:
            for thread in caller:
                if thread.ident is not None:
                    thread.join()
    return Run(bytes(heard), errors.getvalue(), None if late.is_set() else status, time.monotonic() - start)


def _call(function: Function) -> int:
    """Call it as its signature asks for, and make of a SystemExit what the interpreter makes of it."""
    __tracebackhide__ = True
    try:
        if inspect.signature(function).parameters:
            serve(function)  # type: ignore[arg-type]  # the function that takes a session
        else:
            function()  # type: ignore[call-arg]  # the function that does not
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        sys.stderr.write(f"{end.code}\n")
        return 1
    return 0


@contextlib.contextmanager
def _as_if_started(environ: Mapping[str, str], server: socket.socket, errors: io.BytesIO) -> Generator[None]:
    """Make this process look like one that a super-server has just started, until the block ends."""
    environ_before, *streams_before = dict(os.environ), sys.stdin, sys.stdout, sys.stderr
    with _in_place_of(0, server.fileno()), _in_place_of(1, server.fileno()):
        os.environ.clear()
        os.environ.update(environ)
        # Closing these closes no descriptor: 0 and 1 are put back as they were, and errors are read afterwards.
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - closed below
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - the same
        sys.stderr = io.TextIOWrapper(errors, errors="backslashreplace", write_through=True)
        try:
            yield
        finally:
            sys.stderr.detach()
            # A caller who has hung up is no fault of the function; what it printed goes nowhere then.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                sys.stdout.close()
            sys.stdin.close()
            sys.stdin, sys.stdout, sys.stderr = streams_before
            os.environ.clear()
            os.environ.update(environ_before)


@contextlib.contextmanager
def _in_place_of(number: int, replacement: int) -> Generator[None]:
    try:
        kept = os.dup(number)
    except OSError:  # a test run without this descriptor
        kept = -1
    os.dup2(replacement, number)
    try:
        yield
    finally:
        if kept < 0:
            os.close(number)
        else:
            os.dup2(kept, number)
            os.close(kept)


class Server:
    """A program under the package's own tcpserver, on the loopback addresses of both families and one port.

    A context manager: leaving it ends tcpserver and the programs that it started.

    Attributes:
        port: where it listens, chosen by the kernel.
        hosts: its addresses, ``("127.0.0.1", "::1")``; one of them where the machine has only one family.
        pid: tcpserver's process id.
    """

    def __init__(
        self,
        program: Program,
        *,
        options: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
    ) -> None:
        """Start it; callers can call at once.

        Args:
            program: the server and its arguments.
            options: for tcpserver, behind ``-v -R -H -l 0`` (log everything, look nothing up).
            env: further variables of its environment.
            cwd: its current directory.

        Raises:
            OSError: the machine has no loopback address to listen on.
            TypeError: the program is a string and not a list of words.
        """
        words = _words(program)
        listeners = _listeners()
        try:
            self.port: int = listeners[0].getsockname()[1]
            self.hosts: tuple[str, ...] = tuple(listener.getsockname()[0] for listener in listeners)
            fds = [str(listener.fileno()) for listener in listeners]
            package = str(Path(__file__).parents[1])
            launch = [sys.executable, "-I", "-S", "-c", _LAUNCH, package, str(len(fds)), *fds]
            self._process = subprocess.Popen(
                [*launch, *_NO_LOOK_UPS, *options, "--listen-fds", *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=[listener.fileno() for listener in listeners],
                env={**os.environ, **(env or {})},
                cwd=cwd,
                process_group=0,
            )
        finally:
            for listener in listeners:
                listener.close()
        self.pid: int = self._process.pid
        self._heard = threading.Condition()
        self._lines: list[str] = []
        self._ended = False
        self._stopping, self._stop = os.pipe()
        self._thread = threading.Thread(target=self._collect, name="tcpserver's log", daemon=True)
        self._thread.start()

    @property
    def log(self) -> list[str]:
        """What tcpserver and its programs have written to stderr so far, line by line."""
        with self._heard:
            return list(self._lines)

    def wait_for_log(self, text: str, timeout: float = 10.0) -> str:
        """The first line of the log that contains ``text``, waiting for it where it has not come yet.

        Raises:
            TimeoutError: it did not come within ``timeout`` seconds, or cannot come any more; the message has the log.
        """
        with self._heard:
            self._heard.wait_for(lambda: self._ended or any(text in line for line in self._lines), timeout)
            for line in self._lines:
                if text in line:
                    return line
            raise TimeoutError(f"tcpserver's log has no {text!r}:\n" + "\n".join(self._lines))

    def call(self, send: bytes = b"", *, host: str | None = None, timeout: float = 10.0) -> bytes:
        """Connect, send, say that no more follows, and return everything that comes back: nothing to a denied caller.

        Args:
            send: what to say.
            host: one of `hosts`; None: the last, which is IPv6 where there is IPv6.
            timeout: seconds for each wait.

        Raises:
            OSError: there is no server behind the address any more, or it does not answer in time; the message has
                the log.
        """
        received = bytearray()
        try:
            with socket.create_connection((host or self.hosts[-1], self.port), timeout) as connection:
                connection.sendall(send)
                with contextlib.suppress(OSError):  # it has hung up already; what it said is still to be read
                    connection.shutdown(socket.SHUT_WR)
                while piece := connection.recv(65536):
                    received += piece
        except (ConnectionResetError, BrokenPipeError) as error:
            # The end of a caller who was denied, or whose program did not read everything, unless tcpserver is gone.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0 if received else _MOMENT)
                raise self._with_log(error) from None
        except OSError as error:
            raise self._with_log(error) from None
        return bytes(received)

    def _with_log(self, error: OSError) -> OSError:
        log = "\n".join(self.log)
        return type(error)(error.errno, f"{error.strerror or error}; tcpserver's log:\n{log}")

    def stop(self) -> list[str]:
        """End tcpserver and its programs, and return the whole log. Once is enough, twice does no harm."""
        if self._stop >= 0:
            self._process.terminate()
            self._process.wait()
            # Programs outlive tcpserver; tests must not leave them behind.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            os.close(self._stop)
            self._stop = -1
            self._thread.join()
            os.close(self._stopping)
            assert self._process.stderr is not None  # noqa: S101 - asked for as a pipe
            self._process.stderr.close()
        return self.log

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _collect(self) -> None:
        assert self._process.stderr is not None  # noqa: S101 - asked for as a pipe
        log = self._process.stderr.fileno()
        tail = b""
        with selectors.DefaultSelector() as selector:
            selector.register(log, selectors.EVENT_READ)
            selector.register(self._stopping, selectors.EVENT_READ)
            stopping = False
            while True:
                # Once told to stop, take what is there and do not wait: a stray program may hold the pipe open.
                ready = {key.fd for key, _ in selector.select(0 if stopping else None)}
                piece = os.read(log, 65536) if log in ready else b""
                *lines, tail = (tail + piece).split(b"\n")
                over = not piece and (stopping or log in ready)
                if over and tail:
                    lines.append(tail)
                with self._heard:
                    self._lines += [line.decode(errors="backslashreplace") for line in lines]
                    self._ended = over
                    self._heard.notify_all()
                if over:
                    return
                stopping = stopping or self._stopping in ready


def _listeners() -> list[socket.socket]:
    """Listening sockets on the loopback addresses that the machine has, on one port.

    Raises:
        OSError: it has none.
    """
    for _ in range(_PORT_ATTEMPTS):
        found: list[socket.socket] = []
        failures: list[OSError] = []
        for family, address in _LOOPBACKS.items():
            try:
                found.append(_listener(family, address, found[0].getsockname()[1] if found else 0))
            except OSError as error:
                failures.append(error)
        # The port that the kernel chose for the first socket may be taken in the other family.
        if found and all(error.errno != errno.EADDRINUSE for error in failures):
            return found
        for listener in found:
            listener.close()
        if not found:
            raise failures[0]
    raise OSError(errno.EADDRINUSE, f"no port is free in both families, {_PORT_ATTEMPTS} times in a row")


def _listener(family: int, address: str, port: int) -> socket.socket:
    listener = socket.socket(family)
    try:
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((address, port))
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener
