"""tcpserver: run a program for each TCP connection.

    tcpserver [ options ] host port program [ argument ... ]
    tcpserver [ options ] --listen-fds program [ argument ... ]

The program gets the connection as descriptors 0 and 1, and who is calling in its environment (PROTO, TCPREMOTEIP, …).
Options are those of ucspi-tcp's tcpserver with the IPv6 patch (its manual page; docs/differences.md). Beyond it:

    -C n                at most n connections at once from one address (IPv4) or one /64 (IPv6)
    --listen-fds        serve the listening sockets of a service manager ($LISTEN_FDS), no host and port then
    --dialect name      write the environment as another super-server would; --keep-env leaves in it what others wrote
    --proxy networks    callers from these networks are balancers and begin with a PROXY header within --proxy-timeout s
    --drain s           after SIGTERM wait up to s seconds for programs to end
    --preload           the program is a Python script: its imports are done once, it runs by fork(2)
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
    from collections.abc import Mapping, Sequence
    from typing import NoReturn

    from ucspi_env._model import Endpoint
    from ucspi_env._networks import Networks
    from ucspi_env.tools._environments import Environments
    from ucspi_env.tools._launch import Launcher
    from ucspi_env.tools._lookups import Lookups
    from ucspi_env.tools._loop import Loop
    from ucspi_env.tools._reception import Reception
    from ucspi_env.tools._rulesfile import RulesFile
    from ucspi_env.tools._signals import SignalWatch

NAME = "tcpserver"
SYNOPSIS = (
    "tcpserver [ -461UXpPhHrRoOdDqQv ] [ -c limit ] [ -x rules.cdb ] [ -B banner ] [ -g gid ] [ -u uid ] "
    "[ -b backlog ] [ -l localname ] [ -t timeout ] [ -I interface ] host port program"
)
LETTERS = "461UXpPhHrRoOdDqQvc:x:B:g:u:b:l:t:I:C:"
WORDS = (
    *("listen-fds", "dialect=", "keep-env", "proxy=", "proxy-timeout=", "drain="),
    *("preload", "handler", "reuse=", "pool=", "handler-timeout=", "memory-limit="),
)
QUIET, ERRORS, VERBOSE = range(3)


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
        backlog, interface, only_ipv4: how to listen (``-b``, ``-I``, ``-4``).
        print_port: ``-1``.
        as_ipv6: ``-6``.
        rules, rules_optional: ``-x``, ``-X``.
        local_name, remote_name, paranoid, ident: look-ups (``-l``, ``-h``, ``-p``; seconds of ``-t``, None for ``-R``).
        banner, no_delay, kill_options: ``-B``, ``-D``, ``-O``.
        dialect, keep_env: ``--dialect``, ``--keep-env``.
        balancers, header_timeout: ``--proxy``, ``--proxy-timeout`` in seconds.
        drain: seconds, or None.
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
        "handlers",
        "header_timeout",
        "host",
        "ident",
        "identity",
        "interface",
        "keep_env",
        "kill_options",
        "limit",
        "local_name",
        "no_delay",
        "only_ipv4",
        "paranoid",
        "per_source",
        "port",
        "print_port",
        "remote_name",
        "rules",
        "rules_optional",
        "verbosity",
    )
    host: str | None
    port: int | None
    argv: tuple[str, ...]
    identity: tuple[tuple[str, str], ...]
    limit: int
    per_source: int | None
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
    handlers: Handlers | None
    verbosity: int

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
            handlers=_handlers(last),
            verbosity=verbosity,
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
    return int(text)


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
    # Whoever we become may not be allowed to read our own files: all that will be needed is imported before.
    loop, reception = _loop(config, environments, lookups, listeners, signals)
    _privileges.become(NAME, _privileges.choose(NAME, config.identity, environ))
    reception.start()
    if config.print_port:
        ports = dict.fromkeys(str(listener.getsockname()[1]) for listener in listeners)
        write_line("\n".join(ports), 1)
    release_standard_streams()
    try:
        return loop.run()
    finally:
        signals.close()


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
    from ucspi_env.tools._environments import DEFAULT_DIALECT, Environments
    from ucspi_env.tools._listen import ACTIVATION_VARIABLES

    base = dict(environ)
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


def _warn(config: Config, what: str) -> None:
    if config.verbosity >= ERRORS:
        write_line(f"{NAME}: warning: {what}")


def _loop(
    config: Config,
    environments: Environments,
    lookups: Lookups,
    listeners: Sequence[socket.socket],
    signals: SignalWatch,
) -> tuple[Loop, Reception]:
    import selectors

    from ucspi_env.tools._limits import Limits
    from ucspi_env.tools._log import Lines
    from ucspi_env.tools._loop import Loop
    from ucspi_env.tools._reception import Reception, Settings
    from ucspi_env.tools._tasks import Tasks

    selector = selectors.DefaultSelector()
    tasks = Tasks(selector)
    reception = Reception(
        Settings(
            verbosity=config.verbosity,
            banner=config.banner,
            no_delay=config.no_delay,
            kill_options=config.kill_options,
            balancers=config.balancers,
            header_timeout=config.header_timeout,
        ),
        limits=Limits(config.limit, config.per_source),
        lines=Lines(config.limit, as_ipv6=config.as_ipv6),
        lookups=lookups,
        rules=_rules(config),
        environments=environments,
        launcher=_launcher(config, environments),
        program=config.argv[0],
        tasks=tasks,
    )
    warning = lookups.prepare()
    if warning:
        _warn(config, warning)

    def reload() -> None:
        lookups.forget()
        reception.reload()

    loop = Loop(
        listeners,
        reception,
        selector=selector,
        tasks=tasks,
        signals=signals,
        drain=config.drain,
        reload=reload,
        warn=partial(_warn, config),
    )
    return loop, reception


def _launcher(config: Config, environments: Environments) -> Launcher:
    from ucspi_env.tools._signals import ignored

    if config.handlers is None:
        from ucspi_env.tools._launch import SpawnLauncher

        return SpawnLauncher(config.argv, ignored())
    return _handler_launcher(config, config.handlers, environments.base, ignored())


def _handler_launcher(
    config: Config, handlers: Handlers, environ: Mapping[str, str], default_signals: Sequence[int]
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
        warn=partial(_warn, config),
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
