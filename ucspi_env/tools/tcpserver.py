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

from ucspi_env._model import Value
from ucspi_env.tools import _privileges
from ucspi_env.tools._program import Stop, fatal, leading_number, scan_options, start, tcp_port, usage, write_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import NoReturn, TypeAlias

    from ucspi_env._model import Endpoint
    from ucspi_env._networks import Networks
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
    from ucspi_env.tools._signals import SignalWatch
    from ucspi_env.tools._tasks import Outcome, Tasks

    Steps: TypeAlias = tuple[Callable[[], None], Callable[[], None], Callable[[], int], Callable[[], None]]
    """What is left to do, in this order: get ready, as whom programs will run as; let everybody know; run until
    SIGTERM; close what is not the kernel's to close."""

NAME = "tcpserver"
SYNOPSIS = (
    "tcpserver [ -461UXpPhHrRoOdDqQv ] [ -c limit ] [ -x rules.cdb ] [ -B banner ] [ -g gid ] [ -u uid ] "
    "[ -b backlog ] [ -l localname ] [ -t timeout ] [ -I interface ] host port program"
)
LETTERS = "461UXpPhHrRoOdDqQvc:x:B:g:u:b:l:t:I:C:"
WORDS = (
    *("listen-fds", "dialect=", "keep-env", "proxy=", "proxy-timeout=", "drain="),
    *("preload", "handler", "reuse=", "pool=", "handler-timeout=", "memory-limit="),
    *(
        "workers=",
        "lifetime=",
        "rlimit=",
        "no-new-privs",
        "keep-caps=",
        "per-source=",
        "exempt=",
        "limit-message=",
        "log-format=",
        "metrics=",
    ),
)
QUIET, ERRORS, VERBOSE = range(3)
ACCEPTS_PER_TURN_OF_WORKERS = 4  # what one has accepted no other can take off its hands


class Handlers(Value):
    """How Python is run without an exec(2) per connection.

    Attributes:
        kind: ``"script"`` (``--preload``) or ``"handler"``.
        reuse: connections per process; None: a process per connection.
        pool: processes at most; None: as many as ``-c`` allows connections.
        timeout: seconds that a connection may take, or None.
        memory: bytes of address space that a process may have, 0 for any number.
    """

    __slots__ = ("kind", "memory", "pool", "reuse", "timeout")
    kind: str
    reuse: int | None
    pool: int | None
    timeout: float | None
    memory: int

    def __init__(self, **values: object) -> None:
        self._set(**values)


class Config(Value):
    """The command line, understood.

    Attributes:
        host, port: the operands; None with ``--listen-fds``.
        argv: the program and its arguments.
        identity: the options that say whom to become (``-u``, ``-g``, ``-U``), in order.
        limit, per_source: programs at once (``-c``), connections per source (``-C``, None for any number).
        source_bits: of an IPv4 and an IPv6 address, as many make a source (``--per-source``).
        exempt, limit_message: ``--exempt``; ``--limit-message`` with its line end.
        backlog, interface, only_ipv4: how to listen (``-b``, ``-I``, ``-4``).
        print_port: ``-1``.
        as_ipv6: ``-6``.
        rules, rules_optional: ``-x``, ``-X``.
        local_name, remote_name, paranoid, ident: look-ups (``-l``, ``-h``, ``-p``; seconds of ``-t``, None for ``-R``).
        banner, no_delay, kill_options: ``-B``, ``-D``, ``-O``.
        dialect, keep_env: ``--dialect``, ``--keep-env``.
        balancers, header_timeout: ``--proxy``, ``--proxy-timeout`` in seconds.
        drain, lifetime: seconds, or None.
        rlimits, no_new_privs: ``--rlimit`` (numbers of resources with their limits), ``--no-new-privs``.
        keep_caps: ``--keep-caps``: numbers of capabilities.
        log_format: ``"djb"`` or ``"json"``.
        metrics: where to listen for readers of metrics, or None.
        workers: processes that accept connections.
        handlers: ``--preload`` or ``--handler`` with what belongs to it; None: programs.
        verbosity: QUIET, ERRORS or VERBOSE.
    """

    __slots__ = (
        "argv",
        "as_ipv6",
        "backlog",
        "balancers",
        "banner",
        "dialect",
        "drain",
        "exempt",
        "handlers",
        "header_timeout",
        "host",
        "ident",
        "identity",
        "interface",
        "keep_caps",
        "keep_env",
        "kill_options",
        "lifetime",
        "limit",
        "limit_message",
        "local_name",
        "log_format",
        "metrics",
        "no_delay",
        "no_new_privs",
        "only_ipv4",
        "paranoid",
        "per_source",
        "port",
        "print_port",
        "remote_name",
        "rlimits",
        "rules",
        "rules_optional",
        "source_bits",
        "verbosity",
        "workers",
    )
    host: str | None
    port: int | None
    argv: tuple[str, ...]
    identity: tuple[tuple[str, str], ...]
    limit: int
    per_source: int | None
    source_bits: tuple[int, int]
    exempt: Networks | None
    limit_message: bytes
    backlog: int
    interface: str | None
    only_ipv4: bool
    print_port: bool
    as_ipv6: bool
    rules: str | None
    rules_optional: bool
    local_name: str | None
    remote_name: bool
    paranoid: bool
    ident: float | None
    banner: bytes
    no_delay: bool
    kill_options: bool
    dialect: str | None
    keep_env: bool
    balancers: Networks | None
    header_timeout: float
    drain: float | None
    lifetime: float | None
    rlimits: tuple[tuple[int, int], ...]
    no_new_privs: bool
    keep_caps: tuple[int, ...]
    log_format: str
    metrics: str | None
    handlers: Handlers | None
    verbosity: int
    workers: int

    def __init__(self, **values: object) -> None:
        self._set(**values)


def parse(arguments: Sequence[str]) -> Config:
    """Understand the command line. Of an option given twice the last counts.

    Raises:
        Stop: it cannot be understood; silently if ``-q`` is among the options and they are all known.
    """
    options, operands = scan_options(NAME, SYNOPSIS, arguments, LETTERS, WORDS)
    last = dict(options)
    # Among letters that contradict each other the last one counts, too.
    switches = dict.fromkeys(("pP", "hH", "rR", "oO", "dD", "qQv"), "")
    for letter, _ in options:
        for group in switches:
            if letter in group and len(letter) == 1:
                switches[group] = letter
    verbosity = {"q": QUIET, "v": VERBOSE}.get(switches["qQv"], ERRORS)
    try:
        host, port, argv = _operands(operands, listen_fds="listen-fds" in last)
        return Config(
            host=host,
            port=port,
            argv=argv,
            identity=tuple(option for option in options if option[0] in ("u", "g", "U")),
            limit=leading_number(last.get("c", "40")),
            per_source=_positive(last, "C"),
            source_bits=_source_bits(last),
            exempt=_exempt(last),
            limit_message=_limit_message(last),
            backlog=leading_number(last.get("b", "20")),
            interface=last.get("I"),
            only_ipv4="4" in last,
            print_port="1" in last,
            as_ipv6="6" in last,
            rules=last.get("x"),
            rules_optional="X" in last,
            local_name=last.get("l"),
            remote_name=switches["hH"] != "H",
            paranoid=switches["pP"] == "p",
            ident=None if switches["rR"] == "R" else float(leading_number(last.get("t", "26"))),
            banner=os.fsencode(last.get("B", "")),
            no_delay=switches["dD"] == "D",
            kill_options=switches["oO"] != "o",
            dialect=last.get("dialect"),
            keep_env="keep-env" in last,
            balancers=_balancers(last.get("proxy")),
            header_timeout=float(_positive(last, "proxy-timeout") or 5),
            drain=None if "drain" not in last else float(_seconds("drain", last["drain"])),
            lifetime=_lifetime(last),
            rlimits=_rlimits([value for option, value in options if option == "rlimit"], last),
            no_new_privs="no-new-privs" in last,
            keep_caps=_keep_caps(last),
            log_format=_log_format(last.get("log-format", "djb")),
            metrics=last.get("metrics"),
            handlers=_handlers(last),
            verbosity=verbosity,
            workers=_positive(last, "workers") or 1,
        )
    except Stop as stop:
        if verbosity == QUIET:
            raise Stop(stop.status) from None
        raise


def _operands(operands: Sequence[str], *, listen_fds: bool) -> tuple[str | None, int | None, tuple[str, ...]]:
    if listen_fds:
        if not operands:
            raise usage(NAME, SYNOPSIS)
        return None, None, tuple(operands)
    if len(operands) < 2:
        raise usage(NAME, SYNOPSIS)
    port = tcp_port(NAME, operands[1])
    if len(operands) < 3:
        raise usage(NAME, SYNOPSIS)
    return operands[0], port, tuple(operands[2:])


def _seconds(option: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise usage(NAME, SYNOPSIS, f"option {option} takes a number, not {text!r}")
    return leading_number(text)


def _positive(last: Mapping[str, str], option: str) -> int | None:
    """The number of one of our own options, which are not C's to be lenient about; None if it is not given."""
    if option not in last:
        return None
    number = _seconds(option, last[option])
    if not number:
        raise usage(NAME, SYNOPSIS, f"option {option} takes a number greater than 0")
    return number


def _handlers(last: Mapping[str, str]) -> Handlers | None:
    if "preload" in last and "handler" in last:
        raise usage(NAME, SYNOPSIS, "option preload and option handler exclude each other")
    kind = "script" if "preload" in last else "handler" if "handler" in last else None
    for option, needed in (
        ("pool", "reuse"),
        ("reuse", "handler"),
        ("handler-timeout", kind or "preload or handler"),
        ("memory-limit", kind or "preload or handler"),
    ):
        if option in last and needed not in (*last, kind):
            raise usage(NAME, SYNOPSIS, f"option {option} needs option {needed}")
    if kind is None:
        return None
    timeout = _positive(last, "handler-timeout")
    return Handlers(
        kind=kind,
        reuse=_positive(last, "reuse"),
        pool=_positive(last, "pool"),
        timeout=None if timeout is None else float(timeout),
        memory=_positive(last, "memory-limit") or 0,
    )


def _needs_per_source(last: Mapping[str, str], option: str) -> None:
    if option in last and "C" not in last:
        raise usage(NAME, SYNOPSIS, f"option {option} needs option C")


def _source_bits(last: Mapping[str, str]) -> tuple[int, int]:
    _needs_per_source(last, "per-source")
    text = last.get("per-source", "32/64")
    v4, _, v6 = text.partition("/")
    try:
        bits = _seconds("per-source", v4), _seconds("per-source", v6)
    except Stop:
        bits = (0, 0)
    if not (1 <= bits[0] <= 32 and 1 <= bits[1] <= 128):
        raise usage(NAME, SYNOPSIS, f"option per-source takes two prefix lengths such as 32/64, not {text!r}")
    return bits


def _exempt(last: Mapping[str, str]) -> Networks | None:
    _needs_per_source(last, "exempt")
    if "exempt" not in last:
        return None
    from ucspi_env._networks import Networks

    try:
        return Networks.parse(last["exempt"].replace(",", " ").split())
    except ValueError as error:
        raise usage(NAME, SYNOPSIS, f"option exempt: {error}") from None


def _limit_message(last: Mapping[str, str]) -> bytes:
    _needs_per_source(last, "limit-message")
    return os.fsencode(last["limit-message"]) + b"\r\n" if "limit-message" in last else b""


def _not_with_handlers(last: Mapping[str, str], option: str, instead: str) -> None:
    for other in ("preload", "handler"):
        if option in last and other in last:
            raise usage(NAME, SYNOPSIS, f"option {option} is for programs; with option {other} use option {instead}")


def _lifetime(last: Mapping[str, str]) -> float | None:
    _not_with_handlers(last, "lifetime", "handler-timeout")
    seconds = _positive(last, "lifetime")
    return None if seconds is None else float(seconds)


def _rlimits(texts: Sequence[str], last: Mapping[str, str]) -> tuple[tuple[int, int], ...]:
    _not_with_handlers(last, "rlimit", "memory-limit")
    if not texts:
        return ()
    from ucspi_env.tools._confine import read_limits

    try:
        return read_limits(texts)
    except ValueError as error:
        raise usage(NAME, SYNOPSIS, f"option rlimit: {error}") from None


def _keep_caps(last: Mapping[str, str]) -> tuple[int, ...]:
    if "keep-caps" not in last:
        return ()
    if not {"u", "U"} & set(last):
        raise usage(NAME, SYNOPSIS, "option keep-caps needs option u or option U")
    from ucspi_env.tools._capabilities import read_names

    try:
        return read_names(last["keep-caps"])
    except ValueError as error:
        raise usage(NAME, SYNOPSIS, f"option keep-caps: {error}") from None


def _log_format(text: str) -> str:
    if text not in ("djb", "json"):
        raise usage(NAME, SYNOPSIS, f"option log-format takes djb or json, not {text!r}")
    return text


def _balancers(text: str | None) -> Networks | None:
    if text is None:
        return None
    from ucspi_env.tools._proxyread import balancers

    try:
        return balancers(text)
    except ValueError as error:
        raise usage(NAME, SYNOPSIS, f"option proxy: {error}") from None


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
    from ucspi_env.tools._exec import own_environ
    from ucspi_env.tools._launch import hold_standard_descriptors, release_standard_streams, seal_descriptors
    from ucspi_env.tools._loop import SIGNALS
    from ucspi_env.tools._signals import SignalWatch, restore_interrupt

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
        for module in ("selectors", "ucspi_env.tools._logwriter", "ucspi_env.tools._loop", "ucspi_env.tools._tasks"):
            import_module(module)
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

    return SpawnLauncher(config.argv, ignored(), own_group=own_group)


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
