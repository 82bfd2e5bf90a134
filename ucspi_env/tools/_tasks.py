"""Waiting without blocking: small tasks that say what they wait for, and the ways to drive them.

A task is a generator. It yields a `Wait` (sockets and a deadline) and is resumed with the list of sockets that became
ready, an empty list when the deadline passed. Its ``return`` value is its result, and an exception it raises is its
failure. Nothing in a task may block, so one thread serves thousands of them: tcpserver drives its look-ups with `Tasks`
in its own selector, while tcpclient and rblsmtpd, which have nothing else to do, drive one with `complete`. Inside a
task, `gather` and `Group` wait for several others as one.

What a task can rely on, whoever drives it:

- Nothing is registered anywhere while it runs, so it may open, close and hand over sockets as it likes.
- Readiness is a hint, as for select(2): sockets are non-blocking, and BlockingIOError means "wait again".
- An empty list means that ``until`` has come. It needs no clock to find that out, so tests can play one by hand.
- Closing it (`Tasks.cancel`, an error elsewhere) runs its ``finally`` clauses; that is where sockets are closed.
"""

from __future__ import annotations

import time
from heapq import heapify, heappop, heappush

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket  # the class under socket.socket: small programs do without the module around it
    from collections.abc import Callable, Generator, Iterable, Sequence
    from selectors import BaseSelector
    from typing import Any, Generic, TypeAlias, TypeVar

    T = TypeVar("T")
    Task: TypeAlias = Generator["Wait", "list[socket]", T]
else:

    class _Subscriptable:
        """Stands in for typing's names, which would cost start-up time."""

        __slots__ = ()

        def __class_getitem__(cls, _item):
            return cls

    T = Task = Any = None
    Generic = _Subscriptable

# selectors.EVENT_READ and EVENT_WRITE, whose values are documented; the module would cost small programs their start.
_READ, _WRITE = 1, 2


class Wait:
    """What a task waits for.

    Attributes:
        read: sockets (or bells) of which one must become readable (or ring).
        write: sockets of which one must become writable (a connect(2) that ends counts).
        until: when to give up, on the clock of `time.monotonic`, in seconds.
    """

    __slots__ = ("read", "until", "write")

    def __init__(self, until: float, *, read: Sequence[socket | Bell] = (), write: Sequence[socket] = ()) -> None:
        self.read = read
        self.write = write
        self.until = until

    def events(self) -> dict[Any, int]:
        """Each socket once, with what it is waited for (selectors' EVENT_READ, EVENT_WRITE or both)."""
        events = dict.fromkeys(self.read, _READ)
        for sock in self.write:
            events[sock] = events.get(sock, 0) | _WRITE
        return events


class Bell:
    """Something to wait for that is no descriptor: it rings once, and whoever reads it, then or later, goes on.

    Only `Tasks` can wait for one.
    """

    __slots__ = ("_rung", "_waiting")

    def __init__(self) -> None:
        self._rung = False
        self._waiting: dict[Task[Any], list[tuple[Task[Any], Any]]] = {}

    def ring(self) -> None:
        """Let all who wait go on, not at once but in their turn."""
        self._rung = True
        for task, turns in self._waiting.items():
            turns.append((task, self))
        self._waiting.clear()

    def add(self, task: Task[Any], turns: list[tuple[Task[Any], Any]]) -> None:
        """``task`` waits: when it can go on, a pair with it is put into ``turns``."""
        if self._rung:  # a part of the same task was quicker
            turns.append((task, self))
        else:
            self._waiting[task] = turns

    def remove(self, task: Task[Any]) -> None:
        """``task`` does not wait any more."""
        self._waiting.pop(task, None)


class Outcome(Generic[T]):
    """How a task ended: its value, or the exception that ended it."""

    __slots__ = ("error", "value")

    def __init__(self, value: T | None = None, error: Exception | None = None) -> None:
        self.value = value
        self.error = error

    def result(self) -> T:
        """The value; raises what the task raised."""
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]


def _step(task: Task[T], ready: list[socket] | None) -> Wait | Outcome[T]:
    """Run a task up to its next wait or its end; ``ready`` is None for the first step."""
    try:
        return next(task) if ready is None else task.send(ready)
    except StopIteration as stop:
        return Outcome(stop.value)
    except Exception as error:
        return Outcome(error=error)


class Group(Generic[T]):
    """Several tasks that another task waits for as one; more may join at any time.

    The owner yields `wait`, passes what it is resumed with to `resume`, and calls `close` in a ``finally`` clause.
    Tasks are known by the number that `start` gave them, counted from 0. Meant for a handful: each step looks at all.
    """

    def __init__(self) -> None:
        self._running: dict[int, tuple[Task[T], Wait]] = {}
        self._started = 0
        self._ended: list[tuple[int, Outcome[T]]] = []
        self._until = 0.0

    def __len__(self) -> int:
        """How many are still running, or have ended and were not yet reported by `resume`."""
        return len(self._running) + len(self._ended)

    def start(self, task: Task[T]) -> int:
        """Run ``task`` up to its first wait and return its number."""
        number = self._started
        self._started += 1
        self._enter(number, task, None)
        return number

    def wait(self, until: float = float("inf")) -> Wait:
        """What the owner must wait for: the tasks' sockets, and the earliest of their deadlines and ``until``.

        A task that ended where it started is due at once.
        """
        waits = [wait for _, wait in self._running.values()]
        self._until = 0.0 if self._ended else min([until, *(wait.until for wait in waits)])
        return Wait(
            self._until,
            read=[sock for wait in waits for sock in wait.read],
            write=[sock for wait in waits for sock in wait.write],
        )

    def resume(self, ready: list[socket]) -> list[tuple[int, Outcome[T]]]:
        """Give every task its share of ``ready``, and an empty list to those whose deadline has come.

        Returns:
            Number and outcome of the tasks that have ended since the last call, in the order of their numbers.
        """
        # Nothing ready means that the time waited for has come, whatever a clock with another rounding says.
        now = time.monotonic() if ready else max(time.monotonic(), self._until)
        sockets = set(ready)
        for number, (task, wait) in list(self._running.items()):
            mine = [sock for sock in wait.events() if sock in sockets]
            if mine or now >= wait.until:
                del self._running[number]
                self._enter(number, task, mine)
        ended, self._ended = sorted(self._ended, key=_number), []
        return ended

    def close(self) -> None:
        """Close the tasks that are still running."""
        running, self._running = self._running, {}
        for task, _ in running.values():
            task.close()

    def _enter(self, number: int, task: Task[T], ready: list[socket] | None) -> None:
        result = _step(task, ready)
        if isinstance(result, Wait):
            self._running[number] = (task, result)
        else:
            self._ended.append((number, result))


def _number(ended: tuple[int, Outcome[Any]]) -> int:
    return ended[0]


def gather(
    *tasks: Task[T], patience: Callable[[Sequence[Outcome[T] | None]], float | None] | None = None
) -> Task[list[Outcome[T]]]:
    """Run several tasks as one and return their outcomes in order; never fails itself.

    Args:
        tasks: started in this order.
        patience: asked whenever one has ended, with the outcomes so far (None for those still running): how many
            seconds more the others get (0: none), or None for no limit. A limit once set is only ever shortened.

    Returns:
        An outcome per task. Those that ran out of patience have a TimeoutError.
    """
    outcomes: list[Outcome[T] | None] = [None] * len(tasks)
    limit = float("inf")
    group: Group[T] = Group()
    try:
        for task in tasks:
            group.start(task)
        while group:
            wait = group.wait(limit)
            ready = yield wait
            ended = group.resume(ready)
            for number, outcome in ended:
                outcomes[number] = outcome
            if ended and patience is not None and group:
                more = patience(outcomes)
                if more is not None:
                    limit = min(limit, time.monotonic() + more) if more > 0 else 0.0
            if time.monotonic() >= limit or (not ready and wait.until >= limit):
                break
    finally:
        group.close()
    return [Outcome(error=TimeoutError()) if outcome is None else outcome for outcome in outcomes]


class Tasks:
    """Many tasks on one selector, which the owner polls.

    The owner registers nothing for tasks itself: keys that are theirs have a pair as ``data``, which goes to
    `on_event`. It also calls `on_time` not later than `next_deadline`. A step costs the same however many there are.
    """

    def __init__(self, selector: BaseSelector) -> None:
        self._selector = selector
        # What each waiting task waits for, whom to tell, and the number of its entry among the deadlines.
        self._waits: dict[Task[Any], tuple[dict[Any, int], Callable[[Outcome[Any]], None], int]] = {}
        # A heap of (until, number); entries of waits that ended otherwise stay until they come up or are too many.
        self._deadlines: list[tuple[float, int]] = []
        self._due: dict[int, Task[Any]] = {}
        self._count = 0
        self._rung: list[tuple[Task[Any], Any]] = []  # tasks whose bells have rung

    def __len__(self) -> int:
        return len(self._waits)

    def start(self, task: Task[T], done: Callable[[Outcome[T]], None]) -> None:
        """Run ``task`` up to its first wait; ``done`` is called once, with how it ended (perhaps at once).

        A task whose sockets the selector cannot watch has failed with the selector's OSError.
        """
        self._resume(task, done, None)

    def watch(self, file: int, ready: Callable[[], None]) -> None:
        """Call ``ready`` whenever the descriptor ``file`` is readable, from now on.

        For what is waited for all the time, and often: a task would be taken out of the selector for each event.

        Raises:
            OSError: the selector cannot watch it.
        """
        self._selector.register(file, _READ, (ready, file))

    def cancel(self, task: Task[Any]) -> None:
        """Forget a task without calling its ``done``; its ``finally`` clauses run. Harmless for one that has ended."""
        self._forget(task)
        task.close()

    def next_deadline(self) -> float | None:
        """When `on_time` must be called at the latest (`time.monotonic`), or None."""
        if self._rung:
            return 0.0
        deadlines = self._deadlines
        while deadlines and deadlines[0][1] not in self._due:
            heappop(deadlines)
        return deadlines[0][0] if deadlines else None

    def on_event(self, whose: Task[Any] | Callable[[], None], sock: Any) -> None:
        """The selector said that ``sock`` is ready: its key's ``data`` is this pair.

        An event that an earlier one of the same select(2) has made stale is ignored.
        """
        if callable(whose):
            whose()
            return
        entry = self._waits.get(whose)
        if entry is not None and sock in entry[0]:
            self._forget(whose)
            self._resume(whose, entry[1], [sock])

    def on_time(self, now: float) -> None:
        """Resume the tasks whose bell has rung, and those whose deadline has passed at ``now``, each once."""
        rung = [*self._rung]
        self._rung.clear()
        for woken, bell in rung:
            self.on_event(woken, bell)
        due: list[Task[Any]] = []
        while self._deadlines and self._deadlines[0][0] <= now:
            task = self._due.get(heappop(self._deadlines)[1])
            if task is not None:
                due.append(task)
        for task in due:
            # One of them may have cancelled another.
            entry = self._forget(task)
            if entry is not None:
                self._resume(task, entry, [])

    def _forget(self, task: Task[Any]) -> Callable[[Outcome[Any]], None] | None:
        """Take a waiting task out of everything; returns its ``done``, or None for one that does not wait."""
        entry = self._waits.pop(task, None)
        if entry is None:
            return None
        events, done, number = entry
        del self._due[number]
        self._unwatch(task, events)
        if len(self._deadlines) > 64 + 2 * len(self._due):
            self._deadlines = [deadline for deadline in self._deadlines if deadline[1] in self._due]
            heapify(self._deadlines)
        return done

    def _resume(self, task: Task[Any], done: Callable[[Outcome[Any]], None], ready: list[socket] | None) -> None:
        result = _step(task, ready)
        if isinstance(result, Outcome):
            done(result)
            return
        events = result.events()
        self._count += 1
        self._waits[task] = (events, done, self._count)
        self._due[self._count] = task
        heappush(self._deadlines, (result.until, self._count))
        watched: list[socket | Bell] = []
        try:
            for sock, mask in events.items():
                if isinstance(sock, Bell):
                    sock.add(task, self._rung)
                else:
                    self._selector.register(sock, mask, (task, sock))
                watched.append(sock)
        except OSError as error:  # out of memory, or of the watches that epoll(7) grants one user
            events.clear()
            self._unwatch(task, watched)
            self.cancel(task)
            done(Outcome(error=error))

    def _unwatch(self, task: Task[Any], sockets: Iterable[socket | Bell]) -> None:
        for sock in sockets:
            if isinstance(sock, Bell):
                sock.remove(task)
            else:
                self._selector.unregister(sock)


def complete(task: Task[T]) -> T:
    """Drive one task to its end, blocking; returns its value or raises what it raised."""
    import select

    try:
        result = _step(task, None)
        while isinstance(result, Wait):
            poll = select.poll()
            sockets = {sock.fileno(): sock for sock in result.events()}
            for sock, mask in result.events().items():
                poll.register(sock, (select.POLLIN if mask & _READ else 0) | (select.POLLOUT if mask & _WRITE else 0))
            ready: list[tuple[int, int]] = []
            late = False
            while not (ready or late):
                left = result.until - time.monotonic()
                late = left <= 0
                # Milliseconds, rounded up; at most a day, since C counts them in an int.
                ready = poll.poll(0 if late else int(min(left, 86400.0) * 1000) + 1)
            result = _step(task, [sockets[fd] for fd, _ in ready])
        return result.result()
    finally:
        task.close()
