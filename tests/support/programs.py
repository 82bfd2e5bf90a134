"""Running programs: their stderr collected line by line, a condition to wait for instead of a time."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tests.support.netns import Namespace

PATIENCE = 60.0
"""Seconds after which a test gives up on something that has to happen. Nothing waits this long unless it is broken."""


def tool(name: str) -> list[str]:
    """The command that runs one of our programs, isolated from the environment and from the current directory.

    So it is the installed package that runs, wherever the test stands.
    """
    return [sys.executable, "-I", "-m", f"ucspi_env.tools.{name}"]


def default_signals() -> None:
    """Make sure that programs started from here do not ignore signals.

    A shell ignores INT and QUIT for what it runs in the background, nohup ignores HUP, and a child inherits that.
    """
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


class Program:
    """A running program in a process group of its own, with its stderr read as it comes.

    A context manager: leaving it ends the program and everything it started.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        namespace: Namespace | None = None,
        stdin: int = subprocess.DEVNULL,
        stdout: int = subprocess.PIPE,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.argv = list(argv)
        self._heard = threading.Condition()
        self._lines: list[str] = []
        self._tail = b""
        self._ended = False
        command = namespace.command(argv) if namespace else list(argv)
        self.process: subprocess.Popen[bytes] = subprocess.Popen(
            command,
            env=None if env is None else dict(env),
            cwd=cwd,
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            pass_fds=pass_fds,
            process_group=0,
        )
        assert self.process.stderr is not None
        self._stderr = self.process.stderr.fileno()
        os.set_blocking(self._stderr, False)
        self._wake_reader, self._wake_writer = os.pipe()
        self._thread = threading.Thread(target=self._collect, name=f"stderr of {argv[0]}", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    @property
    def lines(self) -> list[str]:
        """The complete lines of stderr so far, without their ends; bytes that are not UTF-8 as surrogates.

        What was written before somebody asks is among them, whether or not the collecting thread has had its turn.
        """
        with self._heard:
            self._read()
            return list(self._lines)

    def wait_for_line(self, wanted: str | Callable[[str], bool], *, count: int = 1, timeout: float = PATIENCE) -> str:
        """Wait for the ``count``-th line, past or future, that contains a text (or satisfies a predicate); return it.

        Raises:
            AssertionError: it did not come; the message shows what did.
        """

        def matching() -> list[str]:
            return [line for line in self._lines if (wanted in line if isinstance(wanted, str) else wanted(line))]

        with self._heard:
            self._heard.wait_for(lambda: self._ended or len(matching()) >= count, timeout)
            found = matching()
            if len(found) >= count:
                return found[count - 1]
            seen = "\n".join(self._lines)
        state = f"exit status {self.process.poll()}"
        raise AssertionError(f"{self.argv}: waited for {wanted!r} ({count}x), {state}, stderr so far:\n{seen}")

    def wait(self, timeout: float = PATIENCE) -> int:
        """Wait until the program has ended by itself: its exit status (negative: a signal)."""
        return self.process.wait(timeout)

    def wait_for_silence(self, timeout: float = PATIENCE) -> None:
        """Wait until nobody holds stderr any more, neither the program nor anything that it left running.

        Raises:
            AssertionError: somebody still does.
        """
        with self._heard:
            assert self._heard.wait_for(lambda: self._ended, timeout), f"{self.argv}: something holds its stderr"

    def signal(self, number: int) -> None:
        """Send a signal to the program alone."""
        self.process.send_signal(number)

    def stop(self, timeout: float = PATIENCE) -> list[str]:
        """End the program (TERM, and KILL for what is left of its process group) and return all lines of stderr."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        with contextlib.suppress(ProcessLookupError):  # nobody left is what is wanted
            os.killpg(self.process.pid, signal.SIGKILL)
        if self._wake_writer >= 0:
            os.close(self._wake_writer)
            self._wake_writer = -1
            self._thread.join()
            os.close(self._wake_reader)
            for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
                if stream:
                    stream.close()
        return self.lines

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _collect(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._stderr, selectors.EVENT_READ)
            selector.register(self._wake_reader, selectors.EVENT_READ)
            stopping = False
            while True:
                # Once told to stop, take what is there and do not wait: a stray grandchild may hold the pipe open.
                ready = [key.fd for key, _ in selector.select(0 if stopping else None)]
                with self._heard:
                    if self._stderr in ready:
                        self._read()
                    elif stopping:
                        self._take(b"")
                    if self._ended:
                        return
                stopping = stopping or self._wake_reader in ready

    def _read(self) -> None:
        """Take all that is in the pipe; the caller holds the lock."""
        if self._ended:
            return
        with contextlib.suppress(BlockingIOError):  # somebody was quicker
            self._take(os.read(self._stderr, 1 << 20))  # more than a pipe holds

    def _take(self, chunk: bytes) -> None:
        """Cut what was read into lines, nothing being the end; the caller holds the lock."""
        *complete, self._tail = (self._tail + chunk).split(b"\n")
        if not chunk:
            self._ended = True
            if self._tail:
                complete.append(self._tail)
        self._lines += [line.decode("utf-8", "surrogateescape") for line in complete]
        self._heard.notify_all()


class Server(Program):
    """A tcpserver that was told ``-1``: it has said its port, so it listens."""

    port: int

    def read_port(self, timeout: float = PATIENCE) -> None:
        """Take the port from the first line of stdout.

        Raises:
            AssertionError: the program ended, or said something else; the message shows its stderr.
        """
        stdout = self.process.stdout
        assert stdout is not None
        said = b""
        deadline = time.monotonic() + timeout
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            while not said.endswith(b"\n"):
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    break
                chunk = os.read(stdout.fileno(), 1)
                if not chunk:
                    break
                said += chunk
        if not said.strip().isdigit():
            seen = "\n".join(self.stop())
            raise AssertionError(f"{self.argv}: said {said!r} instead of a port, stderr:\n{seen}")
        self.port = int(said)


def start_tcpserver(
    *arguments: str,
    command: Sequence[str] | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    namespace: Namespace | None = None,
) -> Server:
    """Start a tcpserver and wait until it listens.

    Args:
        arguments: options, host, port (``"0"``) and program, as on a command line; ``-1`` is added.
        command: the program to run, ours by default; ``[peer("tcpserver")]`` for Debian's.
        env: its whole environment.
        cwd: its current directory.
        namespace: where to run it.
    """
    server = Server([*(command or tool("tcpserver")), "-1", *arguments], env=env, cwd=cwd, namespace=namespace)
    try:
        server.read_port()
    except BaseException:
        server.stop()
        raise
    return server
