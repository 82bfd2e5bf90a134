"""The way of a connection, from accept(2) to the end of its program.

::

    receive → (PROXY header) → limit per source → (look-ups) → ready
    serve → slot → rules → (banner) → launch → ended

The steps in parentheses wait, as tasks on the loop's selector; all others happen at once. Between the two lines calls
queue for a slot, and for the loop to have accepted what else there is: starting a program takes much longer than
accepting a connection, and the kernel's queue (``-b``) is short. Whatever goes wrong costs this connection and one line
in the log.

A denied or undeliverable connection never has a process here, where C has forked one before it knows: its lines carry
process id 0 and no ``end`` follows.
"""

from __future__ import annotations

import _socket
import contextlib
import errno
import os
import signal
import socket
import sys
import time
from collections import deque

from ucspi_env._errors import DialectError, ProxyError
from ucspi_env._model import Endpoint
from ucspi_env._variables import RULE_PEER
from ucspi_env.tools._environments import encoded
from ucspi_env.tools._errtext import error_text
from ucspi_env.tools._launch import is_fork_failure
from ucspi_env.tools._log import ERRORS, VERBOSE
from ucspi_env.tools._metrics import (
    ACCEPTED,
    DENIED_LIMIT,
    DENIED_PROXY,
    DENIED_RULE,
    DROPPED,
    EXPIRED,
    HEALTH_CHECKS,
    LAUNCH_FAILURES,
    STARTED,
)
from ucspi_env.tools._tasks import Wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from ucspi_env._networks import Networks
    from ucspi_env.proxy import ProxyHeader
    from ucspi_env.tools._board import SharedLimits
    from ucspi_env.tools._environments import Environ, Environments, Template
    from ucspi_env.tools._launch import Launcher
    from ucspi_env.tools._limits import Limits, Said
    from ucspi_env.tools._log import Lines
    from ucspi_env.tools._logjson import JSONLines
    from ucspi_env.tools._lookups import Lookups
    from ucspi_env.tools._metrics import Metrics
    from ucspi_env.tools._rules import Decision
    from ucspi_env.tools._rulesfile import RulesFile
    from ucspi_env.tools._tasks import Outcome, Task, Tasks

    SocketAddress: TypeAlias = Any
    """A tuple of 2 or 4, as the family has it."""

BANNER_TIMEOUT = 30.0  # seconds for a caller who does not read the banner
HEADER_GRACE = 0.1
"""Seconds that a caller who is no balancer may keep silent before they are served; one who begins with a PROXY header
is dropped."""
TERM_GRACE = 5.0
"""Seconds between the SIGTERM and the SIGKILL of a program whose connection has outlived ``--lifetime``."""
_V1_START = b"PROXY "
# Everywhere but on Linux an accepted socket is as non-blocking as the listening one, and so would the program's be.
_INHERITS_MODE = not sys.platform.startswith("linux")
_CALLER = b"TCPREMOTEIP"
_IPV4_ADDRESS = 2  # a socket address of IPv4 has two parts, one of IPv6 four


class Settings:
    """What `Reception` needs to know of the command line.

    Attributes:
        verbosity: `_log.QUIET`, `ERRORS` or `VERBOSE`.
        banner: bytes for every caller who is let in.
        no_delay: ``-D``.
        kill_options: ``-O``: IP options of the caller are not answered in kind.
        balancers: ``--proxy``: who must send a PROXY header; None: nobody may.
        header_timeout: seconds for that header.
        exempt: ``--exempt``: whom the limit per source does not concern.
        limit_message: bytes for callers whom that limit turns away.
        lifetime: ``--lifetime``: seconds that a program may run, None for any time.
    """

    __slots__ = (
        "balancers",
        "banner",
        "exempt",
        "header_timeout",
        "kill_options",
        "lifetime",
        "limit_message",
        "no_delay",
        "verbosity",
    )

    def __init__(
        self,
        *,
        verbosity: int = ERRORS,
        banner: bytes = b"",
        no_delay: bool = False,
        kill_options: bool = True,
        balancers: Networks | None = None,
        header_timeout: float = 5.0,
        exempt: Networks | None = None,
        limit_message: bytes = b"",
        lifetime: float | None = None,
    ) -> None:
        self.verbosity = verbosity
        self.banner = banner
        self.no_delay = no_delay
        self.kill_options = kill_options
        self.balancers = balancers
        self.header_timeout = header_timeout
        self.exempt = exempt
        self.limit_message = limit_message
        self.lifetime = lifetime


class Call:
    """One connection.

    Attributes:
        sock: the socket, closed once the program has it.
        since: when it was accepted, `time.monotonic`.
        entry: by which it counts for its source, or None.
        header: the PROXY header it began with.
        balancer: the peer that sent that header.
        task: what it is waiting for.
        key: what its environment depends on beside the caller's port, or None where there is more.
    """

    __slots__ = ("_local", "_name", "_peer", "_remote", "balancer", "entry", "header", "key", "since", "sock", "task")

    def __init__(self, sock: _socket.socket, peer: SocketAddress) -> None:
        self.sock = sock
        self._peer = peer
        self._name: SocketAddress = sock.getsockname()
        self._remote: Endpoint | None = None
        self._local: Endpoint | None = None
        self.since = time.monotonic()
        self.entry: int | None = None
        self.header: ProxyHeader | None = None
        self.balancer: Endpoint | None = None
        self.task: Task[Any] | None = None
        # Address and scope of the caller, and our own end; flow label and port do not matter.
        self.key: object = (peer[0], peer[3:], self._name)

    @property
    def port(self) -> int:
        """The caller's port, as the kernel knows it."""
        port: int = self._peer[1]
        return port

    @property
    def remote(self) -> Endpoint:
        """The caller."""
        if self._remote is None:
            self._remote = endpoint(self._peer)
        return self._remote

    @property
    def local(self) -> Endpoint:
        """Our own end."""
        if self._local is None:
            self._local = endpoint(self._name)
        return self._local

    def rename(self, remote: Endpoint, local: Endpoint) -> None:
        """Replace what the kernel said by what is known now."""
        self._remote = remote
        self._local = local
        self.key = None


def endpoint(address: SocketAddress) -> Endpoint:
    """A socket address of either family as a value."""
    zone = None
    if len(address) > 3 and address[3]:
        try:
            zone = socket.if_indextoname(address[3])
        except OSError:  # the interface has gone since
            zone = str(address[3])
    return Endpoint(address[0].partition("%")[0], address[1], zone)


class Reception:
    """Takes calls, knows which are waiting and which have a program."""

    def __init__(
        self,
        settings: Settings,
        *,
        limits: Limits | SharedLimits,
        lines: Lines | JSONLines,
        say: Callable[[str], None],
        metrics: Metrics,
        lookups: Lookups,
        rules: RulesFile | None,
        environments: Environments,
        launcher: Launcher,
        program: str,
        tasks: Tasks,
    ) -> None:
        self._settings = settings
        self._limits = limits
        self._lines = lines
        self._say = say
        self._metrics = metrics
        self._lookups = lookups
        self._looks_up = lookups.any()
        self._rules = rules
        self._environments = environments
        self._launcher = launcher
        self._program = program
        self._tasks = tasks
        self._verbose = settings.verbosity >= VERBOSE
        self._said: Said | None = self._say_taken_slots if self._verbose else None
        if settings.balancers is not None:
            from ucspi_env.tools import _proxyread

            self._proxy = _proxyread
        # Without a slot: those that a task is waiting for, and those that need nothing more, in order.
        self._waiting: dict[Call, None] = {}
        self._ready: deque[Call] = deque()
        self._running: dict[int, Call] = {}
        # With a slot, and their program not yet started: the banner is still on its way.
        self._greeting: dict[Call, None] = {}
        # With a slot, and asked for a program that some launchers take a while to start; by descriptor.
        self._starting: dict[int, Call] = {}

    def start(self) -> None:
        """Get ready to launch programs; privileges have been dropped.

        Raises:
            Stop: there is nothing to launch.
        """
        self._launcher.start(self._tasks, self)

    def reload(self) -> None:
        """SIGHUP."""
        self._launcher.reload()

    # --- What the loop asks -------------------------------------------------------------------------------------------

    def open(self) -> bool:
        """Whether another connection can be taken."""
        return self._limits.open(len(self._ready), len(self._waiting))

    def idle(self) -> bool:
        """Whether `serve` has nothing to do."""
        return not (self._ready and self._limits.free())

    def pending(self) -> int:
        """How many connections have no program yet."""
        return len(self._waiting) + len(self._ready) + len(self._greeting) + len(self._starting)

    def running(self) -> int:
        """How many programs are running."""
        return len(self._running)

    def say_taken(self) -> None:
        """Print how many slots are taken."""
        self._say(self._lines.status(self._limits.taken))

    # --- The way ------------------------------------------------------------------------------------------------------

    def receive(self, sock: _socket.socket, peer: SocketAddress) -> None:
        """Take a connection that was just accepted."""
        self._metrics.count(ACCEPTED)
        try:
            call = Call(sock, peer)
        except OSError as error:  # reset before it was looked at
            self._metrics.count(DROPPED)
            self.warn(f"dropping connection, unable to get local address: {error_text(error)}")
            sock.close()
            return
        settings = self._settings
        if _INHERITS_MODE:
            sock.setblocking(True)
        if settings.kill_options and len(peer) == _IPV4_ADDRESS:
            # Nothing to kill, or nothing to be done about it: as in C, no reason to turn anybody away.
            # No length, as C says it: with bytes Python would try two other ways to read its arguments before.
            try:  # noqa: SIM105 - on every connection's path
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, None, 0)
            except OSError:
                pass
        if settings.no_delay:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if settings.balancers is None:
            self._identified(call)
        elif call.remote in settings.balancers:
            self._wait(call, self._proxy.proxy_header(sock, settings.header_timeout), self._on_header)
        else:
            self._wait(call, starts_like_header(sock, HEADER_GRACE), self._on_start)

    def _on_header(self, call: Call, outcome: Outcome[ProxyHeader]) -> None:
        balancer = call.remote
        try:
            header = outcome.result()
            connection = self._proxy.proxied(header)
        except self._proxy.BalancerGone:  # a health check that did not wait for an answer
            self._metrics.count(HEALTH_CHECKS)
            self._leave(call)
            return
        except (ProxyError, OSError) as error:
            why = error_text(error) if isinstance(error, OSError) else str(error)
            self._refuse(call, f"unable to read PROXY header from {balancer}: {why}")
            return
        if connection is None or connection.remote is None:
            if header.command == "LOCAL":  # a health check: being answered at all is the answer
                self._metrics.count(HEALTH_CHECKS)
                self._leave(call)
            else:
                self._refuse(call, f"PROXY header from {balancer} names no caller but {self._proxy.nameless(header)}")
            return
        call.header = header
        call.balancer = balancer
        call.rename(connection.remote, connection.local or call.local)
        self._identified(call)

    def _on_start(self, call: Call, outcome: Outcome[bool]) -> None:
        if outcome.error is not None or outcome.value:
            self._refuse(call, f"PROXY header from {call.remote}, which is no trusted balancer")
        else:
            self._identified(call)

    def _identified(self, call: Call) -> None:
        """The caller's address is known."""
        exempt = self._settings.exempt
        if self._limits.per_source is not None and (exempt is None or call.remote not in exempt):
            call.entry = self._limits.enter(call.remote.ip)
            if call.entry is None:
                self._turn_away(call)
                return
        if self._looks_up:
            self._wait(call, self._lookups.task(call.remote, call.local), self._on_names)
        else:
            self._ready.append(call)

    def _turn_away(self, call: Call) -> None:
        """This caller's source has as many connections as it may have."""
        self._metrics.count(DENIED_LIMIT)
        if self._verbose:
            self._say(self._lines.verdict("limit", 0, self._named_local(call), call.remote))
        if self._settings.limit_message:
            # As much as fits, at once: whoever is turned away for taking too much gets no more of our time. What they
            # have sent is read, since closing a socket with unread bytes resets it, and that may outrun the message.
            with contextlib.suppress(OSError):
                call.sock.send(self._settings.limit_message, socket.MSG_DONTWAIT)
                call.sock.shutdown(socket.SHUT_WR)
                call.sock.recv(4096, socket.MSG_DONTWAIT)
        self._leave(call)

    def _on_names(self, call: Call, outcome: Outcome[tuple[Endpoint, Endpoint]]) -> None:
        # It fails as a whole if memory runs out: then nothing is known of the caller, as after any other failure.
        remote, local = (call.remote, self._named_local(call)) if outcome.error else outcome.result()
        key = call.key
        call.rename(remote, local)
        if key is not None:
            call.key = (key, remote.host, remote.info, local.host)
        self._ready.append(call)

    def serve(self, most: int) -> None:
        """Give up to ``most`` calls that are ready the slots that are free."""
        self._limits.settle()
        while most and self._ready:
            # One by one where lines are written: the number of slots taken stands before each connection's own.
            got = self._limits.take(self._said, 1 if self._verbose else min(most, len(self._ready)))
            if not got:
                return
            most -= got
            for _ in range(got):
                self._admit(self._ready.popleft())

    def _admit(self, call: Call) -> None:
        decision = None
        if self._rules is not None:
            decision = self._decide(self._rules, call)
            if decision is None:
                return
            if not decision.allowed:
                self._metrics.count(DENIED_RULE)
                if self._verbose:
                    self._say_verdict("deny", 0, call)
                self._dismiss(call)
                return
        if self._settings.banner:
            self._greet(call, self._settings.banner, decision)
        else:
            self._launch(call, decision)

    def _decide(self, rules: RulesFile, call: Call) -> Decision | None:
        from ucspi_env.tools._rules import RulesError
        from ucspi_env.tools._rulesfile import why_unreadable

        remote = call.remote
        try:
            return rules.decide(remote.ip, remote.host, remote.info)
        except (OSError, RulesError) as error:
            self._abandon(call, f"unable to read {rules.path}: {why_unreadable(error)}")
            return None

    def _greet(self, call: Call, banner: bytes, decision: Decision | None) -> None:
        try:
            sent = call.sock.send(banner, socket.MSG_DONTWAIT)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._abandon(call, f"unable to print banner: {error_text(error)}")
            return
        if sent == len(banner):
            self._launch(call, decision)
            return
        self._greeting[call] = None
        call.task = send_all(call.sock, banner[sent:], BANNER_TIMEOUT)

        def done(outcome: Outcome[None]) -> None:
            call.task = None
            del self._greeting[call]
            if outcome.error is None:
                self._launch(call, decision)
            else:
                why = error_text(outcome.error) if isinstance(outcome.error, OSError) else str(outcome.error)
                self._abandon(call, f"unable to print banner: {why}")

        self._tasks.start(call.task, done)

    def _launch(self, call: Call, decision: Decision | None) -> None:
        fd = call.sock.fileno()
        try:
            pid = self._launcher.launch(fd, *self._environment(call, decision))
        except OSError as error:
            self._fail(call, error)
        except DialectError as error:  # an IPv6 caller, and a dialect that has no word for them
            self._abandon(call, str(error))
        else:
            if pid:
                self._run(call, pid)
            else:
                self._starting[fd] = call

    def _run(self, call: Call, pid: int) -> None:
        call.sock.close()
        call.key = None
        self._running[pid] = call
        self._limits.running(pid, call.entry)
        self._metrics.count(STARTED)
        if self._settings.lifetime is not None:
            self._limit_life(call, pid, self._settings.lifetime)
        if self._verbose:
            self._say_verdict("ok", pid, call)

    def _fail(self, call: Call, error: OSError) -> None:
        # Without a number it is a launcher's own text.
        why = error_text(error) if error.errno else str(error.strerror)
        if is_fork_failure(error):
            self._abandon(call, f"unable to fork: {why}", launch=True)
        else:
            self._abandon(call, f"unable to run {self._program}: {why}", verdict="ok", launch=True)

    def launched(self, fd: int, pid: int) -> None:
        """The launcher has started the program for connection ``fd``."""
        call = self._starting.pop(fd, None)
        if call is not None:
            self._run(call, pid)

    def assisted_by(self, pid: int) -> None:
        """The launcher has a process of its own, whose children the programs will be."""
        self._limits.assisted_by(pid)

    def refused(self, fd: int, error: OSError) -> None:
        """The launcher could not start the program for connection ``fd``."""
        call = self._starting.pop(fd, None)
        if call is not None:
            self._fail(call, error)

    def _environment(self, call: Call, decision: Decision | None) -> tuple[Environ, Template | None]:
        """The program's environment, and what it is an instance of, where nothing but the port was added."""
        template = self._environments.recall(call.key) if call.key is not None else None
        if template is not None:
            environ = template.make(call.port)
        else:
            environ = self._environments.make(call.remote, self._named_local(call))
            if call.key is not None:
                template = self._environments.remember(call.key, environ)
            elif call.header is not None and call.balancer is not None:
                environ |= encoded(self._proxy.proxy_variables(call.header, call.balancer))
        if decision is not None and (decision.unset or decision.environment):
            template = None
            true = environ.get(_CALLER)
            for name in decision.unset:
                environ.pop(os.fsencode(name), None)
            environ |= encoded(dict(decision.environment))
            if environ.get(_CALLER, true) != true and call.header is None:
                # So that remote() can tell a rule's address from a stale one.
                environ[os.fsencode(RULE_PEER)] = os.fsencode(str(call.remote))
        return environ, template

    def reaped(self, pid: int, status: int) -> None:
        """A child of this process has ended."""
        if not self._launcher.reaped(pid, status):
            self.ended(pid, status)

    def ended(self, pid: int, status: int) -> None:
        """A process has ended. One that we did not start (a former self's) is none of our business."""
        call = self._running.pop(pid, None)
        if call is None:
            return
        if call.task is not None:
            self._tasks.cancel(call.task)
        if call.entry is not None:
            self._limits.leave(call.entry)
        seconds = time.monotonic() - call.since
        self._metrics.ended(seconds)
        self._limits.give_back(pid, self._ended(call, pid, status, seconds) if self._verbose else None)

    def _ended(self, call: Call, pid: int, status: int, seconds: float) -> Said:
        lines = self._lines
        end = lines.end(pid, status, seconds, self._named_local(call), call.remote)
        return lambda taken: self._say(f"{end}\n{lines.status(taken)}")

    def _limit_life(self, call: Call, pid: int, lifetime: float) -> None:
        def ended(_outcome: Outcome[None]) -> None:
            call.task = None

        call.task = self._expire(call, pid, time.monotonic() + lifetime)
        self._tasks.start(call.task, ended)

    def _expire(self, call: Call, pid: int, until: float) -> Task[None]:
        """End a program when its time is over; cancelled when it has ended by itself, so the id is still its own."""
        yield Wait(until)
        self._metrics.count(EXPIRED)
        self.warn(f"lifetime is over, ending {pid}: {call.remote}")
        end_program(pid, signal.SIGTERM)
        yield Wait(time.monotonic() + TERM_GRACE)
        end_program(pid, signal.SIGKILL)

    # --- Other ways out -----------------------------------------------------------------------------------------------

    def give_up(self, why: str) -> None:
        """Drop every connection that has no program yet."""
        waiting = [*self._waiting, *self._ready]
        self._ready.clear()
        for fd, call in list(self._starting.items()):
            self._launcher.forget(fd)
            del self._starting[fd]
            self._abandon(call, why)
        for call in [*waiting, *self._greeting]:
            if call.task is not None:
                self._tasks.cancel(call.task)
            if call in self._greeting:
                del self._greeting[call]
                self._abandon(call, why)
            else:
                self._drop(call, f"{why}: {call.remote}")

    def say_connected(self) -> None:
        """Print who is connected: each connection with its process, seconds, and both ends; not how many there are."""
        now = time.monotonic()
        calls = [(0, call) for call in (*self._starting.values(), *self._greeting, *self._ready, *self._waiting)]
        for pid, call in (*self._running.items(), *calls):
            self._say(self._lines.connected(pid, int(now - call.since), self._named_local(call), call.remote))

    def _refuse(self, call: Call, why: str) -> None:
        """Out, for what came in place of a PROXY header."""
        self._metrics.count(DENIED_PROXY)
        self._say_dropped(call, why)
        self._leave(call)

    def _drop(self, call: Call, why: str) -> None:
        """Out, before there was a slot."""
        self._metrics.count(DROPPED)
        self._say_dropped(call, why)
        self._leave(call)

    def _abandon(self, call: Call, why: str, verdict: str = "", *, launch: bool = False) -> None:
        """Out, after there was a slot, by nobody's decision."""
        if launch:
            self._metrics.count(LAUNCH_FAILURES)
        else:
            self._metrics.count(DROPPED)
        if self._verbose:
            self._say(self._lines.undelivered(verdict, self._named_local(call), call.remote))
        self._say_dropped(call, why)
        self._dismiss(call)

    def _dismiss(self, call: Call) -> None:
        self._leave(call)
        self._limits.give_back(0, self._said)

    def _leave(self, call: Call) -> None:
        self._waiting.pop(call, None)
        call.sock.close()
        if call.entry is not None:
            self._limits.leave(call.entry)
            call.entry = None

    # --- Means --------------------------------------------------------------------------------------------------------

    def _wait(self, call: Call, task: Task[Any], then: Callable[[Call, Outcome[Any]], None]) -> None:
        """Go on with ``then(call, outcome)`` when the task has ended."""
        self._waiting[call] = None
        call.task = task

        def done(outcome: Outcome[Any]) -> None:
            call.task = None
            self._waiting.pop(call, None)
            then(call, outcome)

        self._tasks.start(task, done)

    def _named_local(self, call: Call) -> Endpoint:
        local = call.local
        if local.host is None and self._lookups.local_name is not None:
            return Endpoint(local.ip, local.port, local.zone, self._lookups.local_name)
        return local

    def _say_taken_slots(self, taken: int) -> None:
        self._say(self._lines.status(taken))

    def _say_verdict(self, word: str, pid: int, call: Call) -> None:
        self._say(self._lines.admitted(word, pid, self._named_local(call), call.remote))

    def _say_dropped(self, call: Call, why: str) -> None:
        if self._settings.verbosity >= ERRORS:
            self._say(self._lines.dropped(why, self._named_local(call), call.remote))

    def warn(self, what: str) -> None:
        """Log that something is odd."""
        if self._settings.verbosity >= ERRORS:
            self._say(self._lines.warning(what))


def end_program(pid: int, number: int) -> None:
    """Send a signal to a program and whatever it runs in its process group; to it alone if it is in ours."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # gone, or another user's by now (setuid)
        if os.getpgid(pid) == pid:
            os.killpg(pid, number)
        else:
            os.kill(pid, number)


def send_all(sock: _socket.socket, data: bytes, timeout: float) -> Task[None]:
    """Write everything, as a task, without changing the socket's mode.

    Raises:
        OSError: it could not be written; TimeoutError if the caller did not read.
    """
    until = time.monotonic() + timeout
    while data:
        if not (yield Wait(until, write=[sock])):
            raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        with contextlib.suppress(BlockingIOError):
            data = data[sock.send(data, socket.MSG_DONTWAIT) :]


def starts_like_header(sock: _socket.socket, grace: float) -> Task[bool]:
    """Whether the first bytes are those of a PROXY header, as a task that leaves them in the socket's buffer.

    Silence, or a start that is not decided when the grace is over, is no header.
    """
    from ucspi_env.proxy import SIGNATURE

    until = time.monotonic() + grace
    starts = (_V1_START, SIGNATURE)
    longest = max(map(len, starts))
    while True:
        data = b""
        try:
            data = sock.recv(longest, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            wait = Wait(until, read=[sock])
        except OSError:  # reset: its program will notice, as without --proxy
            return False
        else:
            if any(data.startswith(start) for start in starts):
                return True
            if not any(start.startswith(data) for start in starts) or not data:
                return False
            # What was seen stays readable, and nothing tells when there is more of it: look again in a moment.
            wait = Wait(min(until, time.monotonic() + grace / 10))
        if time.monotonic() >= until:
            return False
        yield wait
