"""Waiting without blocking: small tasks that say what they wait for, and the two ways to drive them.

A task is a generator. It yields a `Wait` (sockets and a deadline) and is resumed with the list of sockets that became ready, an
empty list when the deadline passed. Its ``return`` value is its result, and an exception it raises is its failure. Nothing in a
task may block, so one thread serves thousands of them: tcpserver drives its look-ups with `Tasks` in its own selector, while
tcpclient and rblsmtpd, which have nothing else to do, drive one with `complete`.
"""

from __future__ import annotations

import selectors
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from socket import socket
    from typing import Any, Generic, TypeVar

    T = TypeVar("T")
    Task = Generator["Wait", "list[socket]", T]
else:

    class _Subscriptable:
        """Stands in for typing's names, which would cost start-up time."""

        def __class_getitem__(cls, _item):
            return cls

    T = Task = Any = None
    Generic = _Subscriptable


class Wait:
    """What a task waits for.

    Attributes:
        read: sockets of which one must become readable.
        write: sockets of which one must become writable (a connect(2) that ends counts).
        until: when to give up, on the clock of `time.monotonic`, in seconds.
    """

    __slots__ = ("read", "until", "write")

    def __init__(self, until: float, *, read: Sequence[socket] = (), write: Sequence[socket] = ()) -> None:
        self.read = read
        self.write = write
        self.until = until


class Outcome(Generic[T] if TYPE_CHECKING else object):
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


def gather(*tasks: Task[Any]) -> Task[list[Outcome[Any]]]:
    """Run several tasks as one: waits for all of them, and never fails itself."""
    outcomes: list[Outcome[Any]] = [Outcome() for _ in tasks]
    waiting: dict[int, Wait] = {}

    def resume(index: int, ready: list[socket] | None) -> None:
        try:
            waiting[index] = next(tasks[index]) if ready is None else tasks[index].send(ready)
        except StopIteration as stop:
            outcomes[index].value = stop.value
            waiting.pop(index, None)
        except Exception as error:  # noqa: BLE001 - handed on in the Outcome
            outcomes[index].error = error
            waiting.pop(index, None)

    try:
        for index in range(len(tasks)):
            resume(index, None)
        while waiting:
            ready = set(
                (
                    yield Wait(
                        min(wait.until for wait in waiting.values()),
                        read=[sock for wait in waiting.values() for sock in wait.read],
                        write=[sock for wait in waiting.values() for sock in wait.write],
                    )
                )
            )
            now = time.monotonic()
            for index, wait in list(waiting.items()):
                mine = [sock for sock in (*wait.read, *wait.write) if sock in ready]
                if mine or now >= wait.until:
                    resume(index, mine)
    finally:
        for task in tasks:
            task.close()
    return outcomes


class Tasks:
    """Many tasks on one selector, which the owner polls: register once, then call `on_event` and `on_time`."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._waits: dict[Task[Any], tuple[Wait, Callable[[Outcome[Any]], None]]] = {}

    def __len__(self) -> int:
        return len(self._waits)

    def start(self, task: Task[T], done: Callable[[Outcome[T]], None]) -> None:
        """Run ``task`` up to its first wait; ``done`` is called once, with how it ended (perhaps at once)."""
        self._resume(task, done, None)

    def cancel(self, task: Task[Any]) -> None:
        """Forget a task without calling its ``done``; its ``finally`` clauses run."""
        entry = self._waits.pop(task, None)
        if entry is not None:
            self._unregister(entry[0])
        task.close()

    def next_deadline(self) -> float | None:
        """When `on_time` must be called at the latest (`time.monotonic`), or None."""
        return min((wait.until for wait, _ in self._waits.values()), default=None)

    def on_event(self, task: Task[Any], sock: socket) -> None:
        """The selector said that ``sock`` is ready: its ``data`` is this ``(task, sock)`` pair."""
        entry = self._waits.pop(task, None)
        if entry is not None:
            self._unregister(entry[0])
            self._resume(task, entry[1], [sock])

    def on_time(self, now: float) -> None:
        """Resume the tasks whose deadline has passed at ``now``."""
        for task, (wait, done) in list(self._waits.items()):
            if wait.until <= now and self._waits.pop(task, None) is not None:
                self._unregister(wait)
                self._resume(task, done, [])

    def _resume(self, task: Task[Any], done: Callable[[Outcome[Any]], None], ready: list[socket] | None) -> None:
        try:
            wait = next(task) if ready is None else task.send(ready)
        except StopIteration as stop:
            done(Outcome(stop.value))
        except Exception as error:  # noqa: BLE001 - handed on in the Outcome
            done(Outcome(error=error))
        else:
            self._waits[task] = (wait, done)
            for sock in wait.read:
                self._selector.register(sock, selectors.EVENT_READ, (task, sock))
            for sock in wait.write:
                self._selector.register(sock, selectors.EVENT_WRITE, (task, sock))

    def _unregister(self, wait: Wait) -> None:
        for sock in (*wait.read, *wait.write):
            self._selector.unregister(sock)


def complete(task: Task[T]) -> T:
    """Drive one task to its end, blocking; returns its value or raises what it raised."""
    with selectors.DefaultSelector() as selector:
        tasks = Tasks(selector)
        ended: list[Outcome[T]] = []
        tasks.start(task, ended.append)
        while not ended:
            deadline = tasks.next_deadline()
            assert deadline is not None  # noqa: S101 - a task that has not ended waits for something
            for key, _ in selector.select(max(0.0, deadline - time.monotonic())):
                tasks.on_event(*key.data)
                break  # one event can change what the task waits for
            tasks.on_time(time.monotonic())
        return ended[0].result()
