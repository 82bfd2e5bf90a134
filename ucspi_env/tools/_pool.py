"""Pooled processes: each serves one connection after the other, never two (``--handler --reuse``).

The zygote makes them; connections go to them directly, over a SOCK_SEQPACKET pair of their own, and all of them answer
on one pipe, so that one system call hears of many: what is shorter than PIPE_BUF is written whole (pipe(7)). Which
process gets a connection is decided here, when it is idle: nothing is ever queued behind a busy one.
"""

from __future__ import annotations

import os
import random
import socket
from collections import deque

from ucspi_env.tools import _zygote_child as protocol
from ucspi_env.tools._zygote import Request, Watchdog, Zygote, pack_environ, send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ucspi_env.tools._environments import Environ, Template
    from ucspi_env.tools._launch import Reports
    from ucspi_env.tools._tasks import Tasks

JITTER = 10  # a process serves up to a tenth fewer connections than it may, so that they do not all end at once
_REPORTS = 240  # of at most so many processes a read(2) hears


class Worker:
    """One pooled process.

    Attributes:
        pid: its process id.
        channel: connections go there.
        serial: of the connection that it is serving, or None.
        stale: made of code, or settings, of before a reload; it ends when it is idle.
        templates: the numbers of the templates that it has, by their slots.
    """

    __slots__ = ("channel", "pid", "serial", "stale", "templates")

    def __init__(self, pid: int, channel: socket.socket) -> None:
        self.pid = pid
        self.channel = channel
        self.serial: int | None = None
        self.stale = False
        self.templates: dict[int, int] = {}

    def tell(self, environ: Environ, template: Template | None) -> tuple[bytes, int, int, bytes]:
        """What to send of an environment: the kind, slot and number of `_zygote_child.CONNECTION`, and the rest."""
        if template is None or not template.ports:
            return protocol.PLAIN, 0, 0, pack_environ(environ)
        slot, count = template.number % protocol.TEMPLATES, len(template.ports)
        if self.templates.get(slot) == template.number:
            return protocol.RECALL, slot, count, environ[template.ports[0]]
        self.templates[slot] = template.number
        return protocol.LEARN, slot, count, pack_environ({**dict.fromkeys(template.ports, b""), **environ})


class PoolLauncher:
    """Gives each connection to an idle process, the one that became idle last.

    Args:
        zygote: makes a zygote out of what to do about its children's ends.
        reuse: connections per process.
        size: processes at most; they are started when they are needed.
        timeout: seconds for one connection, or None.
    """

    def __init__(
        self, zygote: Callable[[Callable[[int, int], None]], Zygote], reuse: int, size: int, timeout: float | None
    ) -> None:
        self._zygote = zygote(self._on_end)
        self._reuse = reuse
        self._size = size
        self._watchdog = Watchdog(timeout, self._zygote.kill)
        self._reports: Reports  # from `start` on
        self._workers: dict[int, Worker] = {}
        self._idle: list[Worker] = []
        self._coming = 0  # asked for, not yet started
        self._generation = 0
        self._queue: deque[tuple[int, Environ, Template | None]] = deque()
        self._serial = 0
        self._done: int  # from `start` on, as the next
        self._workers_done: int

    def start(self, tasks: Tasks, reports: Reports) -> None:
        """As `Launcher.start`."""
        self._reports = reports
        self._done, self._workers_done = os.pipe()
        os.set_blocking(self._done, False)
        self._zygote.start(tasks, reports)
        self._watchdog.start(tasks)
        tasks.watch(self._done, self._hear)

    def launch(self, fd: int, environ: Environ, template: Template | None) -> int:
        """As `Launcher.launch`: with an idle process the answer comes at once."""
        while self._idle:
            worker = self._idle.pop()
            try:
                if self._give(worker, fd, environ, template):
                    return worker.pid
            except OSError:  # a shortage of ours: the process is as idle as before
                self._idle.append(worker)
                raise
        self._queue.append((fd, environ, template))
        try:
            self._grow()
        except OSError:
            if self._workers or self._coming:
                return 0  # one of those will have time
            self._queue.pop()
            raise
        return 0

    def forget(self, fd: int) -> None:
        """As `Launcher.forget`."""
        self._queue = deque(entry for entry in self._queue if entry[0] != fd)

    def reaped(self, pid: int, status: int) -> bool:
        """As `Launcher.reaped`."""
        self._zygote.hear()
        self._on_end(pid, status)
        return True

    def reload(self) -> None:
        """As `Launcher.reload`: every process ends as soon as it is idle, and new ones have the files as they are."""
        self._generation += 1
        for worker in self._workers.values():
            worker.stale = True
        for worker in self._idle:
            worker.channel.close()
        self._idle.clear()

    # --- Processes ----------------------------------------------------------------------------------------------------

    def _grow(self) -> None:
        if len(self._workers) + self._coming >= self._size or self._coming >= len(self._queue):
            return
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        generation = self._generation

        def started(pid: int) -> None:
            theirs.close()
            self._coming -= 1
            worker = Worker(pid, ours)
            worker.stale = generation != self._generation
            self._workers[pid] = worker
            self._offer(worker)

        def failed(error: OSError) -> None:
            ours.close()
            theirs.close()
            self._coming -= 1
            if not self._workers and not self._coming:
                self._refuse(error)

        most = max(1, self._reuse - random.randrange(self._reuse // JITTER + 1))  # noqa: S311 - no secret
        fds = (theirs.fileno(), self._workers_done)
        self._coming += 1
        try:
            self._zygote.ask(Request(protocol.WORK, str(most).encode(), fds, started, failed))
        except OSError:
            self._coming -= 1
            ours.close()
            theirs.close()
            raise

    def _refuse(self, error: OSError) -> None:
        queue, self._queue = self._queue, deque()
        for fd, _, _ in queue:
            self._reports.refused(fd, error)

    def _offer(self, worker: Worker) -> None:
        """A process has nothing to do."""
        if worker.stale:
            worker.channel.close()
            return
        while self._queue:
            fd, environ, template = self._queue[0]
            try:
                if not self._give(worker, fd, environ, template):
                    return
            except OSError as error:
                self._queue.popleft()
                self._reports.refused(fd, error)
            else:
                self._queue.popleft()
                self._reports.launched(fd, worker.pid)
                return
        self._idle.append(worker)

    def _give(self, worker: Worker, fd: int, environ: Environ, template: Template | None) -> bool:
        """Hand over a connection; False if the process has died.

        Of a template that the process has already, it gets no more than the caller's port.

        Raises:
            OSError: it could not be handed over, and may be to none: too many descriptors on their way, no memory.
        """
        self._serial += 1
        kind, slot, count, data = worker.tell(environ, template)
        try:
            send(worker.channel, protocol.CONNECTION.pack(kind, self._serial, slot, count), data, (fd,))
        except (BrokenPipeError, ConnectionResetError):
            return False
        except OSError:
            worker.templates.pop(slot, None)
            raise
        worker.serial = self._serial
        self._watchdog.add(worker.pid)
        return True

    # --- Reports ------------------------------------------------------------------------------------------------------

    def _hear(self) -> None:
        most = protocol.REPORT.size * _REPORTS
        data = b""
        while not data or len(data) == most:
            try:
                data = os.read(self._done, most)
            except BlockingIOError:
                return
            for _, serial, pid, status in protocol.REPORT.iter_unpack(data):
                worker = self._workers.get(pid)
                if worker is not None and worker.serial == serial:
                    worker.serial = None
                    self._watchdog.remove(pid)
                    self._reports.ended(pid, status)
                    self._offer(worker)

    def _on_end(self, pid: int, status: int) -> None:
        """A process has ended, by itself or not."""
        self._hear()  # it may have answered for its last connection before
        self._reports.ended(pid, status)
        worker = self._workers.pop(pid, None)
        if worker is None:
            return
        self._watchdog.remove(pid)
        worker.channel.close()
        if worker in self._idle:
            self._idle.remove(worker)
        try:
            self._grow()
        except OSError as error:
            if not self._workers and not self._coming:
                self._refuse(error)
