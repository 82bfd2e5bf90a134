"""tcpserver's command line: what its words mean. Nothing is done about any of it here.

`tcpserver` documents the options, `parse` makes a `Config` of them.
"""

from __future__ import annotations

import os

from ucspi_env._model import Value
from ucspi_env.tools._log import ERRORS, QUIET, VERBOSE
from ucspi_env.tools._program import Stop, leading_number, scan_options, tcp_port, usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ucspi_env._networks import Networks

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
