"""What the processes of one tcpserver know together (``--workers``): limits that are exact, counters, who needs waking.

The board is an anonymous mapping that all of them inherit. It has a *part* for each worker and one, number 0, for their
supervisor. Rule 1: only its owner writes to a part, until the owner has died; then the supervisor does. Rule 2: whoever
decides by what others have written holds the lock meanwhile. The lock is one of fcntl(2), which the kernel takes away
from a process that dies, whatever it was about to do.

A part has numbers, counters (`_metrics`) and *rows*: one for each connection that counts for its source (``-C``) or has
a program, with the program's process id and the source. They exist for the day that a worker is killed: its programs
run on, so they must go on to count.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import time

from ucspi_env.tools._limits import WAITING_LIMIT, Sources
from ucspi_env.tools._metrics import CELLS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from ucspi_env._address import IPAddress
    from ucspi_env.tools._limits import Said

_NUMBER = 8  # bytes
_PID = 4
_SOURCE = 16
NO_SOURCE = bytes(_SOURCE)
_NUMBERS = 5  # of each part
_MOST_ROWS = 1 << 22  # there are no more process ids than that on Linux (proc(5), pid_max)
SUPERVISOR = 0  # its part


class Wake:
    """Something to select on that one process sets for another (eventfd(2))."""

    def __init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        """Readable when it is set."""
        return self._fd

    def set(self) -> None:
        """Wake whoever watches it."""
        os.eventfd_write(self._fd, 1)

    def close(self) -> None:
        """Use it no more."""
        os.close(self._fd)

    def clear(self) -> None:
        """Be ready to be set again."""
        try:
            os.eventfd_read(self._fd)
        except BlockingIOError:
            return


class _Lock:
    """Excludes the other processes; the kernel frees it when its holder dies."""

    def __init__(self) -> None:
        self._fd = os.memfd_create("tcpserver")

    def close(self) -> None:
        """Use it no more."""
        os.close(self._fd)

    def __enter__(self) -> None:
        fcntl.lockf(self._fd, fcntl.LOCK_EX)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        fcntl.lockf(self._fd, fcntl.LOCK_UN)


class Board:
    """The mapping, the lock and the bells. Made before the first fork(2).

    Args:
        workers: how many there are; they have the parts 1, 2, ….
        slots: how many programs may run at once, all together.

    Attributes:
        lock: to be held for decisions.
        wakes: one per part.
        taken, ready, sleeps, used, helpers: a number of each part: slots that it has taken, connections that it has
            accepted and that need one, whether it waits to be woken when one is free, rows, its zygote's process id.
    """

    def __init__(self, workers: int, slots: int) -> None:
        self.parts = workers + 1
        self.lock = _Lock()
        self.wakes = [Wake() for _ in range(self.parts)]
        # Even a part that has all slots and all that may wait beside them has room; unused pages cost nothing.
        self._rows = min(slots, _MOST_ROWS) + WAITING_LIMIT
        sizes = [self.parts * _NUMBERS * _NUMBER, self.parts * CELLS * _NUMBER, self.parts * self._rows * _PID]
        self._sources_at = sum(sizes) + -sum(sizes) % _SOURCE
        self._memory = mmap.mmap(-1, self._sources_at + self.parts * self._rows * _SOURCE)
        view = memoryview(self._memory)
        numbers = view[: sizes[0]].cast("Q")
        self._cells = view[sizes[0] : sizes[0] + sizes[1]].cast("d")
        self._pids = view[sizes[0] + sizes[1] : sum(sizes)].cast("I")
        self.taken, self.ready, self.sleeps, self.used, self.helpers = (
            numbers[which * self.parts : (which + 1) * self.parts] for which in range(_NUMBERS)
        )

    def close(self) -> None:
        """Give the descriptors back; the memory goes with the last view of it."""
        self.lock.close()
        for wake in self.wakes:
            wake.close()

    def cells(self, part: int) -> memoryview[float]:
        """The counters of a part, for `_metrics.Metrics`."""
        return self._cells[part * CELLS : (part + 1) * CELLS]

    def pids(self, part: int) -> memoryview[int]:
        """The process ids of a part's rows, 0 where there is no program."""
        return self._pids[part * self._rows : (part + 1) * self._rows]

    def source(self, part: int, row: int) -> bytes:
        """The source that a row counts for, all zero for none."""
        at = self._source_at(part, row)
        return self._memory[at : at + _SOURCE]

    def put_source(self, part: int, row: int, source: bytes) -> None:
        """Write the source of a row."""
        at = self._source_at(part, row)
        self._memory[at : at + _SOURCE] = source

    def count(self, source: bytes, most: int) -> int:
        """How many rows count for a source; looks no further than for ``most``. With the lock held."""
        found = 0
        for part in range(self.parts):
            at = self._source_at(part, 0)
            sources = self._memory[at : at + self.used[part] * _SOURCE]
            at = sources.find(source)
            while at >= 0 and found < most:
                found += not at % _SOURCE  # else it is the end of one and the beginning of the next
                at = sources.find(source, at + 1)
        return found

    def sleepers(self) -> list[int]:
        """Who is to be woken, and sleeps no more. With the lock held."""
        sleepers = [part for part, sleeps in enumerate(self.sleeps) if sleeps]
        for part in sleepers:
            self.sleeps[part] = 0
        return sleepers

    def wake(self, sleepers: Sequence[int]) -> None:
        """Wake these parts; the lock is better free by then."""
        for part in sleepers:
            self.wakes[part].set()

    def _source_at(self, part: int, row: int) -> int:
        return self._sources_at + (part * self._rows + row) * _SOURCE


class SharedLimits:
    """The limits, counted together with other processes: `_limits.Limits` documents the methods.

    Args:
        board: where they are counted.
        part: this process's part.
        slots: programs at the same time, in all processes.
        per_source: connections per source at the same time, in all processes, or None for no limit.
        sources: what a source is.
    """

    def __init__(
        self, board: Board, part: int, slots: int, per_source: int | None = None, sources: Sources | None = None
    ) -> None:
        self._board = board
        self._part = part
        self._slots = slots
        self.per_source = per_source
        self._key = (sources or Sources()).key
        self._taken = board.taken
        self._pids = board.pids(part)
        self._free_rows: list[int] = []
        self._rows: dict[int, int] = {}  # of programs whose connection has not entered
        self._owed = 0  # slots that are free and not yet given back

    @property
    def taken(self) -> int:
        """How many slots are taken now."""
        return sum(self._taken)

    def open(self, ready: int, waiting: int) -> bool:
        """Whether one more connection may be accepted; if not for want of a slot, a free one will wake this process."""
        board = self._board
        if board.ready[self._part] != ready:
            board.ready[self._part] = ready
        if ready + waiting >= WAITING_LIMIT:
            return False
        # A slot for everybody who was accepted earlier, by whomever: else a busy worker would starve another's callers.
        if sum(board.taken) + sum(board.ready) < self._slots:
            return True
        return self._room(lambda: sum(board.taken) + sum(board.ready))

    def free(self) -> bool:
        """Whether one more program may be started; if not, a slot that becomes free will wake this process."""
        return sum(self._taken) < self._slots or self._room(lambda: sum(self._taken))

    def _room(self, needed: Callable[[], int]) -> bool:
        self.settle()
        with self._board.lock:
            if needed() < self._slots:
                return True
            self._board.sleeps[self._part] = 1
            return False

    def take(self, said: Said | None = None, most: int = 1) -> int:
        """Take up to ``most`` slots and return how many there were."""
        taken = self._taken
        with self._board.lock:
            count = sum(taken)
            got = min(most, self._slots - count)
            if got <= 0:
                return 0
            taken[self._part] += got
            if said is not None:
                for number in range(got):
                    said(count + number + 1)
        return got

    def running(self, pid: int, entry: int | None) -> None:
        """A slot that was taken has its program."""
        if entry is None:
            entry = self._rows[pid] = self.new_row()
        self._pids[entry] = pid

    def give_back(self, pid: int, said: Said | None = None) -> None:
        """A slot is free again: for the others with `settle`, or at once where there is something to say."""
        self._owed += 1
        if said is not None:
            self.settle(said)
        row = self._rows.pop(pid, None)
        if row is not None:
            self._pids[row] = 0
            self._free_rows.append(row)

    def settle(self, said: Said | None = None) -> None:
        """Let the others have the slots that were given back: all with one turn of the lock."""
        if not self._owed:
            return
        board = self._board
        with board.lock:
            self._taken[self._part] -= self._owed
            self._owed = 0
            if said is not None:
                said(sum(self._taken))
            sleepers = board.sleepers()
        board.wake(sleepers)

    def assisted_by(self, pid: int) -> None:
        """Programs will be children of this process, which is one of ours."""
        self._board.helpers[self._part] = pid

    def enter(self, ip: IPAddress) -> int | None:
        """Count a connection of this source."""
        source = self._key(ip)
        with self._board.lock:
            if self.per_source is not None and self._board.count(source, self.per_source) >= self.per_source:
                return None
            return self.new_row(source)

    def leave(self, entry: int) -> None:
        """A connection that had entered is over."""
        self._pids[entry] = 0
        self._board.put_source(self._part, entry, NO_SOURCE)
        self._free_rows.append(entry)

    def new_row(self, source: bytes = NO_SOURCE) -> int:
        """A row of this process's part, which counts for ``source``; with the lock held if that is one."""
        if self._free_rows:
            row = self._free_rows.pop()
        else:
            row = self._board.used[self._part]
            self._board.used[self._part] = row + 1
        if source != NO_SOURCE:
            self._board.put_source(self._part, row, source)
        return row


class Estate:
    """What dead workers have left, counted in the supervisor's part until it has ended.

    Args:
        board: where it is counted.

    Attributes:
        helpers: their zygotes, which still may have programs of theirs as children.
    """

    def __init__(self, board: Board) -> None:
        self._board = board
        self._limits = SharedLimits(board, SUPERVISOR, 0)
        self._programs: dict[int, tuple[int, float]] = {}  # process ids; the row of each, and since when it is here
        self._unknown: list[bytes] = []  # slots without a known process: the source that each may count for
        self.helpers: set[int] = set()

    def __len__(self) -> int:
        """How many slots are counted here."""
        return self._board.taken[SUPERVISOR]

    def inherit(self, part: int) -> tuple[int, int]:
        """Take over the part of a worker that has died; its successor finds it empty.

        Returns:
            How many slots are taken by programs, and how many by nobody knows which process, or by none any more.
        """
        board = self._board
        with board.lock:
            pids = board.pids(part)
            rows = range(board.used[part])
            left = [(pids[row], board.source(part, row)) for row in rows]
            programs = [(pid, source) for pid, source in left if pid]
            missing = max(0, board.taken[part] - len(programs))
            sources = [source for pid, source in left if not pid and source != NO_SOURCE]
            self._unknown += [*sources, *[NO_SOURCE] * missing][:missing]
            board.taken[SUPERVISOR] += len(programs) + missing
            for pid, source in programs:
                self._add(pid, source)
            for row in rows:
                pids[row] = 0
                board.put_source(part, row, NO_SOURCE)
            board.taken[part] = board.ready[part] = board.sleeps[part] = board.used[part] = 0
            sleepers = board.sleepers()
        board.wake(sleepers)
        if board.helpers[part]:
            self.helpers.add(board.helpers[part])
            board.helpers[part] = 0
        return len(programs), missing

    def settle(self, children: Sequence[int]) -> tuple[int, list[float]]:
        """Find out what is still there. Not before all `helpers` have ended: programs are this process's children then.

        Args:
            children: all children of this process but the workers, and those who came before them.

        Returns:
            How many slots without a known process have got one, and of each known one that has gone for how long it
            was known here, in seconds.
        """
        there = set(children)
        gone = [self.ended(pid) or 0.0 for pid in [pid for pid in self._programs if pid not in there]]
        unknown = len(self._unknown)
        for pid in children:
            if self._unknown and pid not in self._programs:
                self._add(pid, self._unknown.pop())
        nobodys = len(self._unknown)
        self._unknown.clear()
        for _ in range(nobodys):
            self._limits.give_back(0)
        self._limits.settle()
        return unknown - nobodys, gone

    def ended(self, pid: int, said: Said | None = None) -> float | None:
        """A child has ended: for how long, in seconds, it was known here; None for one that was not."""
        row, since = self._programs.pop(pid, (None, 0.0))
        if row is None:
            return None
        self._limits.leave(row)
        self._limits.give_back(0, said)
        self._limits.settle()
        return time.monotonic() - since

    def _add(self, pid: int, source: bytes) -> None:
        row = self._limits.new_row(source)
        self._limits.running(pid, row)
        self._programs[pid] = row, time.monotonic()
