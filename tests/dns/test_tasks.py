"""The two drivers and the two combinators, with real sockets."""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ucspi_env.tools._tasks import Group, Outcome, Tasks, Wait, complete, gather

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ucspi_env.tools._tasks import Task

SOON = 0.01
LATE = 3600.0  # never reached


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    one.setblocking(False)
    with one, other:
        yield one, other


def value(result: str) -> Task[str]:
    yield from ()
    return result


def ignore(_outcome: Outcome[object]) -> None:
    pass


def never(_outcomes: object) -> None:
    return None


def at_once(_outcomes: object) -> float:
    return 0.0


def soon(_outcomes: object) -> float:
    return SOON


def after(seconds: float, result: str = "late") -> Task[str]:
    ready = yield Wait(time.monotonic() + seconds)
    assert ready == []
    return result


def receive(sock: socket.socket, until: float = LATE) -> Task[bytes]:
    ready = yield Wait(time.monotonic() + until, read=[sock])
    return sock.recv(100) if ready else b"deadline"


def fail() -> Task[str]:
    yield Wait(0)
    raise ValueError("on purpose")


class Closing:
    """A task that tells whether its ``finally`` clause ran."""

    def __init__(self, sock: socket.socket) -> None:
        self.closed = False
        self.task = self._run(sock)

    def _run(self, sock: socket.socket) -> Task[bytes]:
        try:
            return (yield from receive(sock))
        finally:
            self.closed = True


def drive(tasks: Tasks, selector: selectors.BaseSelector) -> None:
    while len(tasks):
        deadline = tasks.next_deadline()
        assert deadline is not None
        for key, _ in selector.select(max(0, deadline - time.monotonic())):
            tasks.on_event(*key.data)
        tasks.on_time(time.monotonic())
    assert not selector.get_map()
    assert tasks.next_deadline() is None


# complete


def test_complete_returns_the_value_of_a_task_that_never_waits() -> None:
    assert complete(value("x")) == "x"


def test_complete_resumes_a_task_with_nothing_when_its_deadline_comes() -> None:
    assert complete(after(SOON)) == "late"
    assert complete(after(-1)) == "late"


def test_complete_hands_over_the_sockets_that_are_ready(pair: tuple[socket.socket, socket.socket]) -> None:
    pair[1].send(b"hello")
    assert complete(receive(pair[0])) == b"hello"


def test_a_socket_that_is_ready_is_seen_even_if_the_deadline_has_passed(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    pair[1].send(b"hello")
    assert complete(receive(pair[0], -1)) == b"hello"


def test_complete_raises_what_the_task_raises() -> None:
    with pytest.raises(ValueError, match="on purpose"):
        complete(fail())


def test_one_socket_can_be_waited_for_in_both_directions(
    pair: tuple[socket.socket, socket.socket], selector: selectors.BaseSelector
) -> None:
    def task() -> Task[bool]:
        ready = yield Wait(time.monotonic() + LATE, read=[pair[0]], write=[pair[0]])
        return ready == [pair[0]]

    assert complete(task())
    tasks = Tasks(selector)
    ended: list[Outcome[bool]] = []
    tasks.start(task(), ended.append)
    drive(tasks, selector)
    assert ended[0].result()


def test_complete_closes_a_task_that_the_owner_abandons(pair: tuple[socket.socket, socket.socket]) -> None:
    class Interrupt(BaseException):
        pass

    closed = []

    def task() -> Task[None]:
        try:
            yield Wait(0)
            raise Interrupt
        finally:
            closed.append(True)

    with pytest.raises(Interrupt):
        complete(task())
    assert closed


# Tasks


def test_tasks_report_each_outcome_once(
    pair: tuple[socket.socket, socket.socket], selector: selectors.BaseSelector
) -> None:
    tasks = Tasks(selector)
    ended: list[Outcome[str]] = []
    received: list[Outcome[bytes]] = []
    tasks.start(value("at once"), ended.append)
    assert [outcome.value for outcome in ended] == ["at once"]
    tasks.start(after(SOON), ended.append)
    tasks.start(fail(), ended.append)
    tasks.start(receive(pair[0]), received.append)
    pair[1].send(b"x")
    drive(tasks, selector)
    assert [outcome.value for outcome in ended] == ["at once", None, "late"]
    assert isinstance(ended[1].error, ValueError)
    assert [outcome.result() for outcome in received] == [b"x"]


def test_cancel_closes_the_task_and_tells_nobody(
    pair: tuple[socket.socket, socket.socket], selector: selectors.BaseSelector
) -> None:
    tasks = Tasks(selector)
    ended: list[Outcome[bytes]] = []
    closing = Closing(pair[0])
    tasks.start(closing.task, ended.append)
    tasks.cancel(closing.task)
    tasks.cancel(closing.task)
    assert (closing.closed, ended, len(tasks), tasks.next_deadline()) == (True, [], 0, None)
    assert not selector.get_map()


def test_a_stale_event_does_not_reach_a_task_that_waits_for_something_else(
    pair: tuple[socket.socket, socket.socket], selector: selectors.BaseSelector
) -> None:
    """Two sockets of one task are ready in one select; the first event changes what it waits for."""
    with contextlib.ExitStack() as stack:
        other, third, *_ = [stack.enter_context(sock) for _ in range(2) for sock in socket.socketpair()]
        steps: list[list[object]] = []

        def task() -> Task[None]:
            steps.append(list((yield Wait(LATE + time.monotonic(), write=[pair[0], other]))))
            steps.append(list((yield Wait(LATE + time.monotonic(), read=[third]))))

        tasks = Tasks(selector)
        running = task()
        tasks.start(running, ignore)
        events = [key.data for key, _ in selector.select(LATE)]
        for data in events:
            tasks.on_event(*data)
        tasks.on_event(running, other)
        assert len(steps) == 1
        tasks.cancel(running)


def test_a_task_may_close_and_replace_its_sockets_while_it_runs(selector: selectors.BaseSelector) -> None:
    def task() -> Task[int]:
        descriptors = set()
        for _ in range(5):
            one, other = socket.socketpair()
            with one, other:
                descriptors.add(one.fileno())
                other.send(b"x")
                yield Wait(time.monotonic() + LATE, read=[one])
        return len(descriptors)

    tasks = Tasks(selector)
    ended: list[Outcome[int]] = []
    tasks.start(task(), ended.append)
    drive(tasks, selector)
    assert ended[0].result() == 1, "the descriptor was the same each time, which is the hard case"


def test_on_time_resumes_in_the_order_of_the_deadlines_and_each_task_once(selector: selectors.BaseSelector) -> None:
    tasks = Tasks(selector)
    steps: list[str] = []

    def task(name: str, until: float) -> Task[None]:
        while True:
            yield Wait(until)
            steps.append(name)

    running = [task("b", 2.0), task("a", 1.0), task("c", 3.0), task("d", 9.0)]
    for one in running:
        tasks.start(one, ignore)
    assert tasks.next_deadline() == 1.0
    tasks.on_time(5.0)
    assert steps == ["a", "b", "c"]
    for one in running:
        tasks.cancel(one)


def test_a_task_may_cancel_another_that_is_due(selector: selectors.BaseSelector) -> None:
    tasks = Tasks(selector)
    steps: list[str] = []

    def victim() -> Task[None]:
        yield Wait(2.0)
        steps.append("victim")

    other = victim()

    def killer() -> Task[None]:
        yield Wait(1.0)
        tasks.cancel(other)
        steps.append("killer")

    tasks.start(killer(), ignore)
    tasks.start(other, ignore)
    tasks.on_time(9.0)
    assert steps == ["killer"]
    assert len(tasks) == 0


def test_deadlines_of_ended_waits_do_not_pile_up(
    pair: tuple[socket.socket, socket.socket], selector: selectors.BaseSelector
) -> None:
    tasks = Tasks(selector)

    def task() -> Task[None]:
        for _ in range(5000):
            yield Wait(time.monotonic() + LATE, write=[pair[0]])

    tasks.start(task(), ignore)
    most = 0
    while len(tasks):
        for key, _ in selector.select(LATE):
            tasks.on_event(*key.data)
        most = max(most, len(tasks._deadlines))
    assert most < 100


# gather and Group


def test_gather_returns_every_outcome_in_order(pair: tuple[socket.socket, socket.socket]) -> None:
    pair[1].send(b"x")
    one, two, three, four = complete(gather(after(SOON), fail(), value("v"), receive(pair[0])))
    assert (one.value, three.value, four.value) == ("late", "v", b"x")
    assert isinstance(two.error, ValueError)


def test_gather_of_nothing_is_nothing() -> None:
    nothing: Task[list[Outcome[str]]] = gather()
    assert complete(nothing) == []


def test_what_is_watched_is_told_of_each_time_and_stays_watched(
    selector: selectors.BaseSelector, pair: tuple[socket.socket, socket.socket]
) -> None:
    heard: list[bytes] = []
    tasks = Tasks(selector)
    tasks.watch(pair[0].fileno(), lambda: heard.append(pair[0].recv(1)))
    pair[1].send(b"ab")
    for _ in range(2):
        for key, _ in selector.select(LATE):
            tasks.on_event(*key.data)
    assert heard == [b"a", b"b"]
    assert selector.select(0) == []
    assert tasks.next_deadline() is None


def test_gather_closes_its_tasks_when_it_is_closed(pair: tuple[socket.socket, socket.socket]) -> None:
    closing = Closing(pair[0])
    task = gather(closing.task)
    next(task)
    task.close()
    assert closing.closed


def test_gather_stops_at_once_when_patience_says_so(pair: tuple[socket.socket, socket.socket]) -> None:
    closing = Closing(pair[0])
    done = complete(gather(value("v"), closing.task, patience=at_once))
    assert closing.closed
    assert done[0].value == "v"
    assert isinstance(done[1].error, TimeoutError)


def test_gather_waits_as_long_as_patience_says_and_no_longer(pair: tuple[socket.socket, socket.socket]) -> None:
    asked: list[int] = []

    def patience(outcomes: object) -> float:
        asked.append(1)
        return SOON

    done = complete(gather(value("v"), receive(pair[0]), after(LATE), patience=patience))
    assert done[0].value == "v"
    assert [type(outcome.error) for outcome in done[1:]] == [TimeoutError, TimeoutError]
    assert asked == [1]


def test_gather_without_a_limit_from_patience_waits_for_all() -> None:
    done = complete(gather(value("v"), after(SOON), patience=never))
    assert [outcome.value for outcome in done] == ["v", "late"]


def test_patience_ends_even_while_sockets_keep_talking(pair: tuple[socket.socket, socket.socket]) -> None:
    def chatter() -> Task[str]:
        while True:
            yield Wait(time.monotonic() + LATE, write=[pair[0]])  # always ready

    done = complete(gather(value("v"), chatter(), patience=soon))
    assert isinstance(done[1].error, TimeoutError)


def test_a_group_can_be_played_without_a_clock(pair: tuple[socket.socket, socket.socket]) -> None:
    """An empty list means that the time waited for has come."""
    group: Group[str] = Group()
    far = time.monotonic() + LATE
    numbers = [group.start(after(LATE, "first")), group.start(after(2 * LATE, "second"))]
    wait = group.wait()
    assert far <= wait.until <= far + LATE
    assert [(number, outcome.value) for number, outcome in group.resume([])] == [(numbers[0], "first")]
    assert len(group) == 1
    assert group.wait(until=far).until == far
    assert group.resume([]) == []
    group.wait()
    assert [outcome.value for _, outcome in group.resume([])] == ["second"]
    assert not group


def test_nested_groups_pass_sockets_down(pair: tuple[socket.socket, socket.socket]) -> None:
    pair[1].send(b"deep")
    done = complete(gather(gather(gather(receive(pair[0])))))
    assert done[0].result()[0].result()[0].result() == b"deep"


def test_a_socket_that_cannot_be_watched_fails_its_task_and_leaves_nothing_watched(
    pair: tuple[socket.socket, socket.socket], tmp_path: Path
) -> None:
    """epoll(7) refuses regular files, as it refuses everything when its watches are exhausted."""
    closed: list[str] = []

    def task() -> Task[None]:
        try:
            yield Wait(time.monotonic() + 60, read=[pair[0], file])  # type: ignore[list-item]  # no socket: the point
        finally:
            closed.append("closed")

    ended: list[Outcome[None]] = []
    with selectors.EpollSelector() as selector, (tmp_path / "file").open("w+") as file:
        tasks = Tasks(selector)
        tasks.start(task(), ended.append)
        assert [type(outcome.error) for outcome in ended] == [PermissionError]
        assert closed == ["closed"]
        assert not selector.get_map()
        assert len(tasks) == 0
        assert tasks.next_deadline() is None
