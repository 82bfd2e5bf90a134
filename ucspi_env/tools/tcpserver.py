"""tcpserver: run a program for each TCP connection.

    tcpserver [ options ] host port program [ argument ... ]
    tcpserver [ options ] --listen-fds program [ argument ... ]

The program gets the connection as descriptors 0 and 1, and who is calling in its environment (PROTO, TCPREMOTEIP, …).
Options are those of ucspi-tcp's tcpserver with the IPv6 patch (its manual page; docs/differences.md). Beyond it:

    -C n                at most n connections at once from one source, an address (IPv4) or a /64 (IPv6), or as
                        --per-source 32/64 has it; --exempt networks: not these; --limit-message text: what others read
    --listen-fds        serve the listening sockets of a service manager ($LISTEN_FDS), no host and port then
    --dialect name      write the environment as another super-server would; --keep-env leaves in it what others wrote
    --proxy networks    callers from these networks are balancers and begin with a PROXY header within --proxy-timeout s
    --drain s           after SIGTERM wait up to s seconds for programs to end
    --lifetime s        end a program that runs for longer: SIGTERM, and SIGKILL 5 s later
    --rlimit name=n     limit what each program may use (setrlimit(2): nofile=64, as=256M); more than once for several
    --no-new-privs      nothing that is run can gain privileges (Linux)
    --keep-caps names   with -u or -U: programs keep these of root's capabilities(7), net_bind_service for one
    --log-format json   one JSON object per event instead of ucspi-tcp's lines (djb)
    --metrics path      count, and tell Prometheus at this UNIX socket
    --preload           the program is a Python script: its imports are done once, it runs by fork(2)
    --workers n         n processes accept connections, limits and log are those of all together (Linux)
    --handler           the program is module:function, called with a Session; --reuse n: n connections per process,
                        at most --pool k of them. Both: --handler-timeout s, --memory-limit bytes (docs/handlers.md)

Signals: SIGTERM stops listening and exits 0, running programs live on; SIGHUP reads the resolver's settings again
(rules are read for each connection anyway); SIGUSR1 prints who is connected. Exit codes: 0, 100 (usage), 111 (trouble).
"""

from __future__ import annotations

import os
import socket
from functools import partial
from importlib import import_module

from ucspi_env.tools import _privileges
from ucspi_env.tools._log import ERRORS, QUIET, VERBOSE
from ucspi_env.tools._program import Stop, fatal, start, usage, write_line
from ucspi_env.tools._serverconfig import NAME, SYNOPSIS, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import NoReturn, TypeAlias

    from ucspi_env._model import Endpoint
    from ucspi_env.tools._board import SharedLimits
    from ucspi_env.tools._environments import Environments
    from ucspi_env.tools._launch import Launcher
    from ucspi_env.tools._limits import Limits, Sources
    from ucspi_env.tools._log import Lines
    from ucspi_env.tools._logjson import JSONLines
    from ucspi_env.tools._logwriter import LogWriter
    from ucspi_env.tools._lookups import Lookups
    from ucspi_env.tools._loop import Loop
    from ucspi_env.tools._metrics import Metrics
    from ucspi_env.tools._metricsocket import MetricSocket
    from ucspi_env.tools._reception import Reception
    from ucspi_env.tools._rulesfile import RulesFile
    from ucspi_env.tools._serverconfig import Config, Handlers
    from ucspi_env.tools._signals import SignalWatch
    from ucspi_env.tools._tasks import Outcome, Tasks

    Steps: TypeAlias = tuple[Callable[[], None], Callable[[], None], Callable[[], int], Callable[[], None]]
    """What is left to do, in this order: get ready, as whom programs will run as; let everybody know; run until
    SIGTERM; close what is not the kernel's to close."""

ACCEPTS_PER_TURN_OF_WORKERS = 4  # what one has accepted no other can take off its hands


def main(arguments: Sequence[str]) -> int:
    """Run tcpserver; returns after SIGTERM."""
    config = parse(arguments)
    try:
        return serve(config)
    except Stop as stop:
        if config.verbosity == QUIET:
            raise Stop(stop.status) from None
        raise


def serve(config: Config) -> int:
    """Start up in C's order, then serve.

    Raises:
        Stop: something is missing for that.
    """
    from ucspi_env.tools._exec import own_environ, restore_interrupt
    from ucspi_env.tools._launch import hold_standard_descriptors, release_standard_streams, seal_descriptors
    from ucspi_env.tools._loop import SIGNALS
    from ucspi_env.tools._signals import SignalWatch

    hold_standard_descriptors()
    restore_interrupt()
    environ = own_environ()
    environments = _environments(config, environ)
    lookups = _lookups(config)
    signals = SignalWatch(SIGNALS)
    listeners = _listeners(config, environ, lookups)
    seal_descriptors()
    server = _server if config.workers == 1 else _supervised_server
    # Whoever we become may not be allowed to read our own files: all that will be needed is imported before.
    begin, ready, run, end = server(config, environ, environments, lookups, listeners, signals)
    _become(config, environ)
    begin()
    if config.print_port:
        ports = dict.fromkeys(str(listener.getsockname()[1]) for listener in listeners)
        write_line("\n".join(ports), 1)
    release_standard_streams()
    ready()
    try:
        return run()
    finally:
        end()
        signals.close()


def _metric_socket(config: Config) -> MetricSocket | None:
    if config.metrics is None:
        return None
    from ucspi_env.tools._metricsocket import MetricSocket

    return MetricSocket(NAME, config.metrics)


def _become(config: Config, environ: Mapping[str, str]) -> None:
    """Give up what is not needed to serve."""
    if config.keep_caps:
        from ucspi_env.tools import _capabilities

        _capabilities.prepare(NAME)
        _give_up_root(config, environ)
        _capabilities.keep(NAME, config.keep_caps)
    else:
        _give_up_root(config, environ)


def _give_up_root(config: Config, environ: Mapping[str, str]) -> None:
    if config.rlimits or config.no_new_privs:
        from ucspi_env.tools import _confine

        import_module("ctypes")
        _privileges.become(NAME, _privileges.choose(NAME, config.identity, environ))
        if config.rlimits:
            _confine.check_limits(NAME, config.rlimits)
        if config.no_new_privs:
            _confine.renounce_privileges(NAME)
    else:
        _privileges.become(NAME, _privileges.choose(NAME, config.identity, environ))


def _lookups(config: Config) -> Lookups:
    from ucspi_env.tools._lookups import Lookups

    return Lookups(
        local_name=config.local_name,
        remote_name=config.remote_name,
        paranoid=config.paranoid,
        ident=config.ident,
    )


def _environments(config: Config, environ: Mapping[str, str]) -> Environments:
    from ucspi_env._errors import DialectError
    from ucspi_env.tools import _systemd
    from ucspi_env.tools._environments import DEFAULT_DIALECT, Environments
    from ucspi_env.tools._listen import ACTIVATION_VARIABLES

    base = dict(environ)
    for name in _systemd.VARIABLES:
        base.pop(name, None)
    if config.host is None:
        for name in ACTIVATION_VARIABLES:
            base.pop(name, None)
    dialect = config.dialect or DEFAULT_DIALECT
    try:
        return Environments(base, dialect, as_ipv6=config.as_ipv6, keep=config.keep_env)
    except DialectError as error:
        raise usage(NAME, SYNOPSIS, f"option dialect: {error}") from None


def _listeners(config: Config, environ: Mapping[str, str], lookups: Lookups) -> list[socket.socket]:
    from ucspi_env.tools._listen import inherited_listeners, open_listeners

    if config.host is None or config.port is None:
        return inherited_listeners(NAME, environ)

    def resolve(host: str) -> Sequence[Endpoint]:
        from ucspi_env.tools._errtext import error_text
        from ucspi_env.tools._resolve import BadHostError
        from ucspi_env.tools._tasks import complete

        try:
            return complete(lookups.resolver.host_addresses(host))
        except BadHostError:
            return ()
        except OSError as error:
            what = f"temporarily unable to figure out IP address for {host}: {error_text(error)}"
            raise fatal(NAME, what) from None

    return open_listeners(
        NAME,
        config.host,
        config.port,
        backlog=config.backlog,
        only_ipv4=config.only_ipv4,
        interface=config.interface,
        resolve=resolve,
        warn=partial(_warn, config),
    )


def _lines(config: Config) -> Lines | JSONLines:
    if config.log_format == "json":
        from ucspi_env.tools._logjson import JSONLines
        from ucspi_env.tools._logwriter import utc_now

        return JSONLines(config.limit, utc_now)
    from ucspi_env.tools._log import Lines

    return Lines(config.limit, as_ipv6=config.as_ipv6)


def _warn(config: Config, what: str) -> None:
    """Say at start-up what is odd; the loop has better means."""
    if config.verbosity >= ERRORS:
        write_line(_lines(config).warning(what))


def _server(
    config: Config,
    environ: Mapping[str, str],
    environments: Environments,
    lookups: Lookups,
    listeners: Sequence[socket.socket],
    signals: SignalWatch,
) -> Steps:
    """One process that does it all."""
    from ucspi_env.tools._limits import Limits
    from ucspi_env.tools._metrics import Metrics, exposition
    from ucspi_env.tools._systemd import Notifier

    notifier = Notifier(environ)
    metric_socket = _metric_socket(config)
    metrics = Metrics()
    service = _Service(config, environments, lookups)
    loop = service.loop(
        listeners,
        signals,
        Limits(config.limit, config.per_source, _sources(config)),
        metrics,
        reloading=notifier.reloading,
        reloaded=partial(notifier.say, "READY=1"),
        stopping=partial(notifier.say, "STOPPING=1"),
    )

    def begin() -> None:
        service.begin()
        if metric_socket is not None:
            metric_socket.start(service.tasks, lambda: exposition([metrics.cells()], config.limit))

    def run() -> int:
        if config.verbosity >= VERBOSE:
            service.say_taken()
        return loop.run()

    def end() -> None:
        if metric_socket is not None:
            metric_socket.close()
        notifier.close()
        service.end()

    return begin, lambda: notifier.start(service.tasks), run, end


def _supervised_server(
    config: Config,
    environ: Mapping[str, str],
    environments: Environments,
    lookups: Lookups,
    listeners: Sequence[socket.socket],
    signals: SignalWatch,
) -> Steps:
    """A process above those that serve (``--workers``)."""
    import selectors

    from ucspi_env.tools import _supervisor
    from ucspi_env.tools._board import SUPERVISOR, Board, Estate, SharedLimits
    from ucspi_env.tools._launch import release_standard_streams
    from ucspi_env.tools._logwriter import LogWriter
    from ucspi_env.tools._loop import SIGNALS
    from ucspi_env.tools._metrics import LINES_DROPPED, Metrics, exposition
    from ucspi_env.tools._signals import SignalWatch
    from ucspi_env.tools._systemd import Notifier
    from ucspi_env.tools._tasks import Tasks

    import_module("ctypes")
    notifier = Notifier(environ)
    metric_socket = _metric_socket(config)
    board = Board(config.workers, config.limit)
    selector = selectors.DefaultSelector()
    tasks = Tasks(selector)
    lines = _lines(config)
    log = LogWriter(tasks, lines.lost, partial(Metrics(board.cells(SUPERVISOR)).count, LINES_DROPPED))
    service = _Service(config, environments, lookups)

    def part_with() -> None:
        notifier.close()
        log.close()
        if metric_socket is not None:
            metric_socket.abandon()

    def work(part: int, channel: socket.socket) -> int:
        signals = SignalWatch(SIGNALS)
        limits = SharedLimits(board, part, config.limit, config.per_source, _sources(config))
        loop = service.loop(listeners, signals, limits, Metrics(board.cells(part)), accepts=ACCEPTS_PER_TURN_OF_WORKERS)
        orders: dict[bytes, Callable[[], None]] = {
            _supervisor.STOP: loop.stop,
            _supervisor.HURRY: loop.hurry,
            _supervisor.RELOAD: service.reload,
            _supervisor.LIST: service.say_connected,
            _supervisor.BEAT: _supervisor.nothing,
            _supervisor.LOST: partial(os._exit, 0),
        }
        service.begin()
        if not _supervisor.released(channel):
            return 0
        release_standard_streams()
        service.tasks.start(_supervisor.obey(channel, orders), _surface)
        service.tasks.start(_supervisor.answer(board.wakes[part]), _surface)
        try:
            return loop.run()
        finally:
            service.end()

    supervisor = _supervisor.Supervisor(
        listeners,
        work,
        board=board,
        estate=Estate(board),
        selector=selector,
        tasks=tasks,
        signals=signals,
        lines=lines,
        say=log,
        verbosity=config.verbosity,
        drain=config.drain,
        reload=notifier.reloading,
        reloaded=partial(notifier.say, "READY=1"),
        stopping=partial(notifier.say, "STOPPING=1"),
        part_with=part_with,
    )

    def metrics_text() -> str:
        return exposition([Metrics(board.cells(part)).cells() for part in range(board.parts)], config.limit)

    def ready() -> None:
        if metric_socket is not None:
            metric_socket.start(tasks, metrics_text)
        notifier.start(tasks, supervisor.alive)

    def end() -> None:
        if metric_socket is not None:
            metric_socket.close()
        notifier.close()
        log.close()

    return supervisor.start, ready, supervisor.run, end


def _surface(outcome: Outcome[None]) -> None:
    outcome.result()


def _sources(config: Config) -> Sources:
    from ucspi_env.tools._limits import Sources

    return Sources(*config.source_bits)


def _nothing() -> None:
    """For whom nobody need be told."""


class _Service:
    """What accepts and serves connections; one in each process that does.

    Making it imports what that takes, and nothing in it is tied to the process that made it; `loop` is.
    """

    tasks: Tasks
    _reception: Reception
    _log: LogWriter

    def __init__(self, config: Config, environments: Environments, lookups: Lookups) -> None:
        import_module("selectors")
        for module in ("_logwriter", "_loop", "_metrics", "_reception", "_tasks"):
            import_module(f"ucspi_env.tools.{module}")
        self._config = config
        self._environments = environments
        self._lookups = lookups
        self._lines = _lines(config)
        self._rules = _rules(config)
        self._launcher = _launcher(config, environments)
        warning = lookups.prepare()
        if warning:
            _warn(config, warning)

    def loop(
        self,
        listeners: Sequence[socket.socket],
        signals: SignalWatch,
        limits: Limits | SharedLimits,
        metrics: Metrics,
        *,
        accepts: int | None = None,
        reloading: Callable[[], None] = _nothing,
        reloaded: Callable[[], None] = _nothing,
        stopping: Callable[[], None] = _nothing,
    ) -> Loop:
        """Its loop, for this process."""
        import selectors

        from ucspi_env.tools._logwriter import LogWriter
        from ucspi_env.tools._loop import ACCEPTS_PER_TURN, Loop
        from ucspi_env.tools._metrics import LINES_DROPPED
        from ucspi_env.tools._reception import Reception, Settings
        from ucspi_env.tools._tasks import Tasks

        config = self._config
        selector = selectors.DefaultSelector()
        self.tasks = Tasks(selector)
        self._log = LogWriter(self.tasks, self._lines.lost, partial(metrics.count, LINES_DROPPED))
        self._reception = Reception(
            Settings(
                verbosity=config.verbosity,
                banner=config.banner,
                no_delay=config.no_delay,
                kill_options=config.kill_options,
                balancers=config.balancers,
                header_timeout=config.header_timeout,
                exempt=config.exempt,
                limit_message=config.limit_message,
                lifetime=config.lifetime,
            ),
            limits=limits,
            lines=self._lines,
            say=self._log,
            metrics=metrics,
            lookups=self._lookups,
            rules=self._rules,
            environments=self._environments,
            launcher=self._launcher,
            program=config.argv[0],
            tasks=self.tasks,
        )
        self.say_taken = self._reception.say_taken
        self.say_connected = self._reception.say_connected

        def reload() -> None:
            reloading()
            self.reload()
            reloaded()

        return Loop(
            listeners,
            self._reception,
            accepts=accepts or ACCEPTS_PER_TURN,
            selector=selector,
            tasks=self.tasks,
            signals=signals,
            drain=config.drain,
            reload=reload,
            stopping=stopping,
        )

    def begin(self) -> None:
        """Get ready, as whom programs will run as.

        Raises:
            Stop: there is nothing to run.
        """
        self._reception.start()

    def reload(self) -> None:
        """Read again what can be read again."""
        self._lookups.forget()
        self._reception.reload()

    def end(self) -> None:
        """Close what is not the kernel's to close."""
        self._log.close()


def _launcher(config: Config, environments: Environments) -> Launcher:
    from ucspi_env.tools._signals import ignored

    if config.handlers is not None:
        return _handler_launcher(config, config.handlers, environments.base, ignored())
    # A program whose time may end takes what it has started along: a group can be signalled as a whole.
    own_group = config.lifetime is not None
    if config.rlimits:
        from ucspi_env.tools._confine import ConfiningLauncher

        return ConfiningLauncher(config.argv, ignored(), config.rlimits, own_group=own_group)
    from ucspi_env.tools._launch import SpawnLauncher

    return SpawnLauncher(config.argv, own_group=own_group)


def _handler_launcher(
    config: Config,
    handlers: Handlers,
    environ: Mapping[str, str],
    default_signals: Sequence[int],
) -> Launcher:
    import sys

    from ucspi_env.tools import _pool, _zygote

    import_module("ctypes")
    import_module("fcntl")
    name, *arguments = config.argv
    if handlers.kind == "script":
        name, interpreter, words = _zygote.find_script(name, environ)
    else:
        interpreter, words = sys.executable, [sys.executable]
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    zygote = partial(
        _zygote.Zygote,
        name,
        interpreter,
        words,
        (handlers.kind, str(handlers.memory), package, name, *arguments),
        environ,
        default_signals=default_signals,
    )
    if handlers.reuse is None:
        return _zygote.ForkLauncher(lambda ended: zygote(ended=ended), handlers.timeout)
    size = min(handlers.pool or config.limit, config.limit)
    return _pool.PoolLauncher(lambda ended: zygote(ended=ended), handlers.reuse, size, handlers.timeout)


def _rules(config: Config) -> RulesFile | None:
    if config.rules is None:
        return None
    from ucspi_env.tools._rulesfile import RulesFile

    import_module("ucspi_env.tools._rulesdir")
    return RulesFile(config.rules, missing_ok=config.rules_optional)


def run() -> NoReturn:
    """Be the program."""
    start(main)


if __name__ == "__main__":
    run()
