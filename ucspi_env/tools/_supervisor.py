"""The process above the workers of ``--workers``: starts them, passes orders on, and replaces those that die.

Rule 1: this process accepts nothing and serves nobody, so that nothing a caller does can harm it.
Rule 2: whoever has died is replaced, and what they have left goes on to count (`_board.Estate`): their programs become
children of this process, which is a subreaper (prctl(2)).

Orders are single bytes over a SOCK_SEQPACKET pair, and a worker answers each with the same byte when it is done. A
worker that finds the other end closed has lost its supervisor, and ends as if it had been killed with it: programs live
on, and the port is free.
"""

from __future__ import annotations

import contextlib
import gc
import os
import selectors
import signal
import socket
import sys
import time

from ucspi_env.tools._board import SUPERVISOR
from ucspi_env.tools._errtext import error_text
from ucspi_env.tools._log import ERRORS, VERBOSE
from ucspi_env.tools._loop import STOP_GRACE
from ucspi_env.tools._metrics import ACCEPTED, DROPPED, STARTED, Metrics
from ucspi_env.tools._program import Stop, fatal, start
from ucspi_env.tools._tasks import Wait
from ucspi_env.tools._zygote import become_subreaper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, NoReturn

    from ucspi_env.tools._board import Board, Estate, Wake
    from ucspi_env.tools._limits import Said
    from ucspi_env.tools._log import Lines
    from ucspi_env.tools._logjson import JSONLines
    from ucspi_env.tools._signals import SignalWatch
    from ucspi_env.tools._tasks import Task, Tasks

READY, GO = b"r", b"g"
STOP, HURRY, RELOAD, LIST, BEAT = b"s", b"h", b"l", b"c", b"b"
LOST = b""
"""What a worker reads when its supervisor has died."""
RESTART_PAUSE = 1.0  # seconds before a worker is replaced that has not lived for as long
KILL_AFTER = 5.0  # seconds that workers may take to stop, beyond what they are granted for their connections
_LONG = 3600.0  # seconds; tasks need some deadline


class Worker:
    """A process that accepts connections.

    Attributes:
        part: its part of the board.
        pid: its process id.
        channel: orders go there.
        since: when it was started, `time.monotonic`.
    """

    __slots__ = ("channel", "part", "pid", "since")

    def __init__(self, part: int, pid: int, channel: socket.socket) -> None:
        self.part = part
        self.pid = pid
        self.channel = channel
        self.since = time.monotonic()


class Supervisor:
    """One process's loop, as `_loop.Loop`.

    Args:
        listeners: what the workers listen on; closed here when they are told to stop.
        work: what a worker does, given its part and its end of the channel; returns its exit code.
        board: what they know together.
        estate: what dead ones have left.
        selector: what to select with; the one that ``tasks`` are on.
        tasks: what else this process does.
        signals: `_loop.SIGNALS`, watched.
        lines, say: the log; ``say`` takes its lines.
        verbosity: what is said, `_log.QUIET`, `ERRORS` or `VERBOSE`.
        drain: seconds to wait for running programs after SIGTERM, or None: do not wait.
        reload: called on SIGHUP; ``reloaded`` when every worker has done so.
        stopping: called on the first SIGTERM.
        part_with: called in each worker: lets go of what is this process's alone.
    """

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        work: Callable[[int, socket.socket], int],
        *,
        board: Board,
        estate: Estate,
        selector: selectors.BaseSelector,
        tasks: Tasks,
        signals: SignalWatch,
        lines: Lines | JSONLines,
        say: Callable[[str], None],
        verbosity: int,
        drain: float | None,
        reload: Callable[[], None],
        reloaded: Callable[[], None],
        stopping: Callable[[], None],
        part_with: Callable[[], None],
    ) -> None:
        self._listeners = tuple(listeners)
        self._work = work
        self._board = board
        self._estate = estate
        self._selector = selector
        self._tasks = tasks
        self._signals = signals
        self._lines = lines
        self._say = say
        self._verbosity = verbosity
        self._drain = drain
        self._reload = reload
        self._reloaded = reloaded
        self._stopping = stopping
        self._part_with = part_with
        self._workers: dict[int, Worker] = {}
        self._before: set[int] = set()  # children that were there before us
        # Orders that not all have answered yet, in order: who has not, and what to do then.
        self._asked: list[tuple[bytes, set[int], Callable[[], None]]] = []
        self._alive = True
        self._unsettled = False  # dead workers may have left programs that nobody knows of
        self._metrics = Metrics(board.cells(SUPERVISOR))
        # After SIGTERM: when to kill workers that do not end, and when to stop waiting for programs.
        self._kill_at: float | None = None
        self._drain_ends: float | None = None

    def start(self) -> None:
        """Start the workers, one after the other, so that what is wrong is said once.

        Raises:
            Stop: one of them has ended, and has said why; or there can be no such process.
        """
        become_subreaper()
        self._before = set(children())
        self._selector.register(self._signals, selectors.EVENT_READ)
        gc.collect()
        gc.freeze()
        # What they do to get ready may take long, and SIGTERM must not wait for it: they end with this process.
        previous = signal.signal(signal.SIGTERM, signal.SIG_DFL)
        try:
            for part in range(1, self._board.parts):
                worker = self._start(part)
                worker.channel.setblocking(True)
                if worker.channel.recv(1) != READY:
                    status = os.waitstatus_to_exitcode(os.waitpid(worker.pid, 0)[1])
                    if status < 0:
                        raise fatal("tcpserver", f"unable to start a worker: it was killed by signal {-status}")
                    raise Stop(status)
                worker.channel.setblocking(False)
        except OSError as error:
            raise fatal("tcpserver", "unable to start a worker", error) from None
        finally:
            signal.signal(signal.SIGTERM, previous)

    def run(self) -> int:
        """Supervise until SIGTERM; the exit code."""
        if self._verbosity >= VERBOSE:
            self._say(self._lines.status(sum(self._board.taken)))
        for worker in self._workers.values():
            self._let_go(worker)
        while not self._finished():
            for key, _ in self._selector.select(self._timeout()):
                if key.data is None:
                    self._on_signals()
                else:
                    self._tasks.on_event(*key.data)
            self._tasks.on_time(time.monotonic())
        return 0

    def alive(self) -> bool:
        """Whether all workers have answered since this was asked the last time."""
        if not self._alive:
            return False

        def answered() -> None:
            self._alive = True

        self._alive = False
        self._ask(BEAT, answered)
        return True

    def _timeout(self) -> float | None:
        times = [self._tasks.next_deadline(), self._kill_at, self._drain_ends]
        due = min((at for at in times if at is not None), default=None)
        return None if due is None else max(0.0, due - time.monotonic())

    # --- Workers ------------------------------------------------------------------------------------------------------

    def _start(self, part: int) -> Worker:
        """Start a worker.

        Raises:
            OSError: no process can be made.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = os.fork()
        if not pid:
            ours.close()
            self._be_worker(part, theirs)
        theirs.close()
        ours.setblocking(False)
        worker = self._workers[pid] = Worker(part, pid, ours)
        return worker

    def _be_worker(self, part: int, channel: socket.socket) -> NoReturn:
        """In the new process. Nothing of the supervisor's may run here any more, not even at the end."""
        status: Any = 1
        try:
            for worker in self._workers.values():
                worker.channel.close()
            self._selector.close()
            self._signals.close()
            self._part_with()
            start(lambda _: self._work(part, channel))
        except SystemExit as end:
            status = end.code
        except BaseException as error:
            sys.excepthook(type(error), error, error.__traceback__)
        finally:
            os._exit(status)

    def _let_go(self, worker: Worker) -> None:
        with contextlib.suppress(OSError):  # it has died, which SIGCHLD tells
            worker.channel.send(GO, socket.MSG_NOSIGNAL)
        self._tasks.start(self._listen(worker), lambda outcome: outcome.result())

    def _listen(self, worker: Worker) -> Task[None]:
        """Take a worker's answers, until it has died."""
        while True:
            yield Wait(time.monotonic() + _LONG, read=[worker.channel])
            try:
                answer = worker.channel.recv(1)
            except BlockingIOError:
                continue
            except ConnectionResetError:  # it has died with an order unread; answers may be there all the same
                continue
            if not answer:
                worker.channel.close()
                return
            self._answered(answer, worker.pid)

    def _ask(self, order: bytes, then: Callable[[], None]) -> None:
        """Tell every worker, and do ``then`` when all of them have done it."""
        self._asked.append((order, set(self._workers), then))
        for worker in self._workers.values():
            # One that has died will be missed; one whose buffer is full has hundreds of orders to carry out.
            with contextlib.suppress(OSError):
                worker.channel.send(order, socket.MSG_NOSIGNAL)
        self._act()

    def _answered(self, order: bytes, pid: int) -> None:
        for asked, waiting, _ in self._asked:
            if asked == order and pid in waiting:
                waiting.remove(pid)
                break
        self._act()

    def _act(self) -> None:
        done = [then for _, waiting, then in self._asked if not waiting]
        self._asked = [entry for entry in self._asked if entry[1]]
        for then in done:
            then()

    def _died(self, worker: Worker, status: int) -> None:
        del self._workers[worker.pid]
        programs, missing = self._estate.inherit(worker.part)
        # What is not over is counted here from now on. It may have died between two counts of one event, so what it
        # had noted of programs on the board is what counts. Those it had not noted `_settle` will find.
        counters = Metrics(self._board.cells(worker.part))
        active, waiting = counters.active(), counters.waiting()
        counters.count(STARTED, -active)
        counters.count(ACCEPTED, -active - waiting)
        known = min(programs, active + waiting)
        without = active + waiting - known
        self._metrics.count(ACCEPTED, active + waiting)
        self._metrics.count(STARTED, known)
        self._metrics.count(DROPPED, max(0, without - missing))
        self._unsettled = True
        for _, asked, _ in self._asked:
            asked.discard(worker.pid)
        self._act()
        if self._kill_at is not None:
            return
        how = f"signal {status & 0x7F}" if status & 0x7F else f"exit code {status >> 8}"
        self._warn(f"worker {worker.pid} has ended ({how}), connections without a program: {without}; starting another")
        early = time.monotonic() - worker.since < RESTART_PAUSE
        self._tasks.start(self._restart(worker.part, RESTART_PAUSE if early else 0.0), lambda outcome: outcome.result())

    def _restart(self, part: int, pause: float) -> Task[None]:
        yield Wait(time.monotonic() + pause)
        while self._kill_at is None:
            try:
                worker = self._start(part)
            except OSError as error:
                self._warn(f"unable to start a worker, trying again in {RESTART_PAUSE:g} s: {error_text(error)}")
                yield Wait(time.monotonic() + RESTART_PAUSE)
            else:
                self._let_go(worker)
                return

    # --- Signals ------------------------------------------------------------------------------------------------------

    def _on_signals(self) -> None:
        seen = self._signals.take()
        if signal.SIGCHLD in seen:
            self._reap()
        if signal.SIGHUP in seen:
            self._reload()
            self._ask(RELOAD, self._reloaded)
        if signal.SIGUSR1 in seen:
            self._ask(LIST, lambda: self._say(self._lines.status(sum(self._board.taken))))
        if signal.SIGTERM in seen:
            self._stop()

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                pid, status = 0, 0
            if not pid:
                break
            worker = self._workers.get(pid)
            if worker is not None:
                self._died(worker, status)
            elif pid in self._estate.helpers:
                self._estate.helpers.remove(pid)
            else:
                seconds = self._estate.ended(pid, self._said(pid, status) if self._verbosity >= VERBOSE else None)
                if seconds is not None:
                    self._ended(seconds)
        if self._unsettled and not self._estate.helpers:
            self._settle()

    def _said(self, pid: int, status: int) -> Said:
        return lambda taken: self._say(f"{self._lines.left(pid, status)}\n{self._lines.status(taken)}")

    def _settle(self) -> None:
        """What dead workers have left is all ours now: find out what is still there."""
        self._unsettled = False
        waiting = self._metrics.waiting()
        there = [pid for pid in children() if pid not in self._workers and pid not in self._before]
        found, gone = self._estate.settle(there)
        found = min(found, waiting)
        self._metrics.count(STARTED, found)
        self._metrics.count(DROPPED, waiting - found)
        for seconds in gone:  # ended, and were reaped, before they were ours
            self._ended(seconds)

    def _ended(self, seconds: float) -> None:
        if self._metrics.active():  # else its worker had lived to count the end
            self._metrics.ended(seconds)

    def _stop(self) -> None:
        """First SIGTERM: as in `Loop.stop`, in every worker. Second: no time."""
        now = time.monotonic()
        if self._kill_at is not None:
            self._ask(HURRY, nothing)
            self._kill_at = now + KILL_AFTER
            self._drain_ends = self._drain = None
            return
        self._stopping()
        for listener in self._listeners:
            listener.close()
        self._ask(STOP, nothing)
        self._kill_at = now + STOP_GRACE + (self._drain or 0.0) + KILL_AFTER
        if self._drain is not None:
            self._drain_ends = now + self._drain

    def _warn(self, what: str) -> None:
        if self._verbosity >= ERRORS:
            self._say(self._lines.warning(what))

    def _finished(self) -> bool:
        if self._kill_at is None:
            return False
        now = time.monotonic()
        if self._workers:
            if now >= self._kill_at:
                self._kill_at = now + KILL_AFTER
                for pid in self._workers:
                    self._warn(f"worker {pid} does not stop, killing it")
                    os.kill(pid, signal.SIGKILL)
            return False
        # Programs of workers that have died; the others' have been waited for by their workers.
        if self._drain_ends is None or not len(self._estate):
            return True
        if now < self._drain_ends:
            return False
        self._warn(f"stopping, programs still running: {len(self._estate)}")
        return True


def obey(channel: socket.socket, orders: Mapping[bytes, Callable[[], None]]) -> Task[None]:
    """A worker's side: carry out what comes, `LOST` in the end, as a task.

    Args:
        channel: where orders come from.
        orders: what to do for each.
    """
    channel.setblocking(False)
    while True:
        yield Wait(time.monotonic() + _LONG, read=[channel])
        try:
            order = channel.recv(1)
        except BlockingIOError:
            continue
        orders[order]()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # lost; recv(2) will say so
            channel.send(order, socket.MSG_NOSIGNAL)


def released(channel: socket.socket) -> bool:
    """A worker's side, first: say that it is ready, and wait until all are; False if that will never be."""
    channel.send(READY)
    return channel.recv(1) == GO


def answer(wake: Wake) -> Task[None]:
    """A worker's side, too: be woken, which is all: the loop looks at the limits in each turn."""
    while True:
        yield Wait(time.monotonic() + _LONG, read=[wake])  # type: ignore[list-item]  # has fileno(): enough
        wake.clear()


def nothing() -> None:
    """What there is to do when all have stopped: their ends will be heard of."""


def children() -> list[int]:
    """The process ids of our children (proc(5)), zombies included; none where the kernel does not tell."""
    try:
        # As bytes: a codec would be imported, and privileges are gone.
        with open(f"/proc/self/task/{os.getpid()}/children", "rb") as file:
            return [int(word) for word in file.read().split()]
    except FileNotFoundError:  # a kernel without CONFIG_PROC_CHILDREN
        return []
