"""The commands of ``ucspi-envcheck``. The only module of the package that imports click."""

from __future__ import annotations

import errno
import json
import os
import shlex
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import click

from ucspi_env._errors import DialectError
from ucspi_env._facts import Facts
from ucspi_env._model import Connection, Endpoint
from ucspi_env.envcheck._entry import EXIT_NOTHING, hand_over, lean
from ucspi_env.envcheck._report import json_text, make_report, plain, render, wrapped
from ucspi_env.tools._errtext import error_text
from ucspi_env.tools._exec import own_environ
from ucspi_env.tools._program import EXIT_TROUBLE, write_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NAME = "ucspi-envcheck"
PASS_ON = {"ignore_unknown_options": True, "allow_interspersed_args": False}
EXIT_PROBLEMS = 1
EXIT_INTERRUPTED, EXIT_UNREAD = 128 + 2, 128 + 13
DEFAULT_REMOTE, DEFAULT_LOCAL = {4: "192.0.2.1", 6: "2001:db8::1"}, {4: "198.51.100.1", 6: "2001:db8:ffff::1"}
DEFAULT_PORTS = (4711, 25)
TRY = f"{NAME} env ucspi-tcp-ipv6 -- {NAME}"

# lint's engine is as large as everything else together: it is loaded when it is asked for.
_LAZY = {"lint": ("ucspi_env.envcheck.lint.cli", "lint")}


class _Group(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *_LAZY})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _LAZY and cmd_name not in self.commands:
            from importlib import import_module

            module, name = _LAZY[cmd_name]
            command: click.Command = getattr(import_module(module), name)
            self.add_command(command, cmd_name)
        return super().get_command(ctx, cmd_name)


def perform(arguments: Sequence[str]) -> int:
    """The whole program: run a command, and turn whatever goes wrong into a line on stderr and an exit code."""
    try:
        status = main.main(args=list(arguments), prog_name=NAME, standalone_mode=False)
        if sys.stdout is not None:
            sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except OSError as error:
        _forget_output()
        if error.errno in (errno.EPIPE, errno.ECONNRESET):
            return EXIT_UNREAD
        write_line(f"{NAME}: fatal: {error.filename or 'unable to write output'}: {error_text(error)}")
        return EXIT_TROUBLE
    return status if isinstance(status, int) else 0


def _forget_output() -> None:
    """What is still buffered must not raise again at exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    if null != 1:
        os.dup2(null, 1)


def _put(text: str) -> None:
    """Write to stdout, undecodable bytes of arguments and variables as they came; whoever does not listen misses it."""
    rest = text.encode("utf-8", "surrogateescape")
    try:
        while rest:
            rest = rest[os.write(1, rest) :]
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.ECONNRESET):
            _trouble(f"unable to write output: {error_text(error)}")


def _put_json(data: object) -> None:
    _put(json_text(data, indent=2) + "\n")


def _colour() -> bool:
    return os.isatty(1) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _trouble(message: str, status: int = EXIT_TROUBLE) -> NoReturn:
    """One line on stderr, and the end."""
    write_line(f"{NAME}: fatal: {message}")
    sys.exit(status)


def _show_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    del param
    if value:
        from ucspi_env import __version__

        _put(f"{NAME} {__version__}\n")
        ctx.exit()


def _check_trust(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    from ucspi_env._trust import trusted_words

    unknown = None if value is None else trusted_words(value)[1]
    if unknown is not None:
        raise click.BadParameter(f"use kernel, proxy, rules, stunnel or socat:PREFIX, not {unknown!a}", ctx, param)
    return value


def _complete_dialect(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    del ctx, param
    from ucspi_env._dialects import dialects

    return [row.name for row in dialects() if row.name.startswith(incomplete)]


def _complete_kind(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    del ctx, param
    from ucspi_env.envcheck._matrix import ONLY

    return [kind for kind in ONLY if kind.startswith(incomplete)]


# -- the report --


@click.group(cls=_Group, invoke_without_command=True)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Show the version."
)
@click.option("--json", "as_json", is_flag=True, help="The report as JSON (docs/envcheck.md has the schema).")
@click.option(
    "--trust",
    metavar="WORDS",
    callback=_check_trust,
    help="What to believe beside the kernel: proxy, rules, stunnel, socat:PREFIX, or kernel for nothing.",
)
@click.option("--fd", type=click.IntRange(0), default=0, help="The connection's descriptor (6 under tcpclient).")
@click.pass_context
def main(ctx: click.Context, as_json: bool, trust: str | None, fd: int) -> None:
    """Show, try and mend what a server sees of its caller.

    Without a command: report the connection this program runs under. As tcpserver's program it answers the caller.

    Exit: 0 clean, 1 problems, 2 wrong use, 3 nothing to judge.
    """
    if ctx.invoked_subcommand is not None:
        return
    environ = own_environ()
    report = make_report(environ, Facts.observe(fd, trust=trust, environ=environ), trust=trust)
    if as_json:
        _put_json(report)
    elif report["verdict"] != "nothing":
        _put(render(report, colour=_colour()))
    if report["verdict"] == "nothing":
        write_line(f"{NAME}: {plain(report['error']['message'])}")
        write_line(f"{NAME}: try it so: {TRY}")
    ctx.exit({"clean": 0, "problems": EXIT_PROBLEMS, "nothing": EXIT_NOTHING}[report["verdict"]])


@main.command(context_settings=PASS_ON, options_metavar="", short_help="The report to stderr, then PROG.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[OPTIONS] -- PROG [ARGS]...")
def run(arguments: tuple[str, ...]) -> None:
    """Write the report to stderr, then run PROG in the same process.

    \b
    --json               the report as one line of JSON
    --trust WORDS        what to believe beside the kernel: proxy, rules, stunnel,
                         socat:PREFIX; the default is $UCSPI_TRUST
    --fd N               the connection's descriptor

    Exit: PROG's; 2 wrong use; 111 if PROG cannot be run.
    """  # noqa: D301 - click wants a true backspace
    sys.exit(hand_over(lean("run"), arguments))


@main.command(context_settings=PASS_ON, options_metavar="", short_help="Run an IPv4-only server as if all were IPv4.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[OPTIONS] -- PROG [ARGS]...")
def shim(arguments: tuple[str, ...]) -> None:
    """Give an IPv4-only server an environment it can live with, then run it in the same process.

    \b
    --ipv6 refuse        turn IPv6 callers away with a message (the default)
    --ipv6 pass          show them as they are
    --ipv6 map[:NETWORK] show them as a stand-in, the same for a whole /64, out of
                         240.0.0.0/4 or NETWORK; a line on stderr names both
    --message TEXT       what refused callers are told
    --strict             exit 111 unless something vouches for the peer
    --trust WORDS        what to believe beside the kernel: proxy, rules, stunnel,
                         socat:PREFIX; the default is $UCSPI_TRUST

    IPv4-mapped becomes IPv4, TCP6 variables become TCP ones; implausible host names and ident answers and all
    variables of other super-servers are removed.

    Exit: PROG's; 100 for a refused caller; 2 wrong use; 111 if there is no peer or PROG cannot be run.
    """  # noqa: D301 - click wants a true backspace
    sys.exit(hand_over(lean("shim"), arguments))


@main.command(context_settings=PASS_ON, options_metavar="", short_help="The caller as variables of a shell script.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[OPTIONS]")
def shell(arguments: tuple[str, ...]) -> None:
    """Print assignments for a shell script.

    \b
    eval "$(ucspi-envcheck shell || echo exit 111)"
    echo "you are $UCSPI_REMOTE_IP port $UCSPI_REMOTE_PORT"

    \b
    --strict             trouble unless something vouches for the peer
    --trust WORDS        what to believe beside the kernel: proxy, rules, stunnel,
                         socat:PREFIX; the default is $UCSPI_TRUST
    --fd N               the connection's descriptor

    On trouble it prints unsets and 'exit 111', so that the script cannot go on.

    Exit: 0; 2 wrong use; 111 if there is no peer.
    """  # noqa: D301 - click wants a true backspace
    sys.exit(hand_over(lean("shell"), arguments))


@main.command(short_help="The table of dialects.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_context
def dialects(ctx: click.Context, as_json: bool) -> None:
    """List the dialects, this connection's own one marked."""
    from ucspi_env._dialects import dialects as rows

    report = make_report(own_environ(), Facts.observe())
    own = report["connection"]["dialect"] if report["connection"] else None
    if as_json:
        _put_json(
            [
                {
                    "name": row.name,
                    "aliases": list(row.aliases),
                    "program": row.program,
                    "transports": list(row.transports),
                    "ipv6": row.ipv6,
                    "proto": list(row.proto) if row.proto else None,
                    "variables": sorted(
                        {*row.unix_names, *(name for family, _ in row.writes for name in family.names)}
                    ),
                    "note": row.note,
                    "own": row.name == own,
                }
                for row in rows()
            ]
        )
        ctx.exit(0)
    longest = max(len(row.name) for row in rows())
    lines: list[str] = []
    for row in rows():
        mark = "*" if row.name == own else " "
        lines.extend(wrapped(f"{mark} {row.name:<{longest}}  ", row.program, 80))
    _put("\n".join(lines) + "\n")


@main.command(short_help="What a rule of lint means.")
@click.argument("code", required=False)
def explain(code: str | None) -> None:
    """Show the page of a rule, U101 or fixed-buffer: what it finds, why, an example, the fix.

    Without CODE: a line for each rule.

    Exit: 0; 2 if there is no such rule.
    """
    from ucspi_env.envcheck.lint.cli import explain_text, rules_list

    if code is None:
        _put(rules_list())
        return
    try:
        page = explain_text(code)
    except KeyError:
        raise click.UsageError(f"there is no rule {plain(code)!r}; {NAME} explain lists them all") from None
    _put(page.rstrip("\n") + "\n")


# -- env --


class _Address(click.ParamType[tuple[Endpoint, bool]]):
    """An endpoint, and whether it was written as an IPv4-mapped address."""

    name = "address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Endpoint, bool]:
        try:
            end = Endpoint.parse(value)
        except ValueError as error:
            self.fail(f"{plain(str(error))}; write 192.0.2.1:4711 or [2001:db8::1]:4711", param, ctx)
        return end, end.ip.version == 4 and (value.startswith("[") or value.count(":") > 1)


@main.command(short_help="A made-up connection: print it, or run PROG in it.", options_metavar="[OPTIONS]")
@click.argument("dialect", shell_complete=_complete_dialect)
@click.option("--remote", type=_Address(), help="The caller: 192.0.2.1:4711, [2001:db8::1]:4711, [fe80::1%lo]:4711.")
@click.option("--local", type=_Address(), help="The called address.")
@click.option("--host", help="The caller's name in reverse DNS, written as it is.")
@click.option("--info", help="The caller's ident answer, written as it is.")
@click.option("--mapped", is_flag=True, help="An IPv4 caller on a dual-stack socket; ::ffff:192.0.2.1 says the same.")
@click.option("-6", "as_ipv6", is_flag=True, help="What tcpserver -6 writes.")
@click.option("--json", "as_json", is_flag=True, help="Print it as a JSON object.")
@click.option("--shell", "as_shell", is_flag=True, help="Print it as shell commands.")
@click.argument("program", nargs=-1, type=click.UNPROCESSED, metavar="[-- PROG [ARGS]...]")
@click.pass_context
def env(
    ctx: click.Context,
    dialect: str,
    remote: tuple[Endpoint, bool] | None,
    local: tuple[Endpoint, bool] | None,
    host: str | None,
    info: str | None,
    mapped: bool,
    as_ipv6: bool,
    as_json: bool,
    as_shell: bool,
    program: tuple[str, ...],
) -> None:
    """Print the environment of a made-up connection, or run PROG in it.

    PROG gets exactly that environment and, on descriptors 0 and 1, a connection that was really made between those
    addresses, so that it sees the same when it asks the kernel; its other end is your standard input and output.

    Exit: PROG's, 128 and the number of the signal that ended it; 2 wrong use; 111 if it cannot be run.
    """
    from ucspi_env._build import build
    from ucspi_env._dialects import dialect as find
    from ucspi_env._dialects import without_socat
    from ucspi_env.envcheck._matrix import on_dual_stack

    try:
        row = find(dialect)
        unix = "unix" in row.transports
        if unix and (remote or local or mapped):
            raise click.UsageError(f"dialect {row.name} is for UNIX-domain callers, who have no address")
        caller, called = _ends(remote and remote[0], local and local[0], host, info)
        mapped = mapped or bool(remote and remote[1])
        if mapped and caller.ip.version == 6:
            raise click.UsageError(f"--mapped is for IPv4 callers, not for {caller}")
        transport = "tcp" if "tcp" in row.transports else "udp"
        connection = _unix_caller() if unix else Connection(remote=caller, local=called, transport=transport)  # type: ignore[arg-type]  # of its two values
        change = build(connection, row.name, as_ipv6=as_ipv6)
    except DialectError as error:
        raise click.UsageError(plain(str(error))) from None
    special = on_dual_stack(change.set, row.name, caller, called) if mapped and not as_ipv6 else {}
    variables = change.set | special
    if program:
        if as_json or as_shell:
            raise click.UsageError(
                "--json and --shell print an environment; PROG is run in it, and prints what it likes"
            )
        environ = change.apply(without_socat(own_environ())) | special
        ctx.exit(_perform(program, environ, None if unix else (caller, called), transport, mapped=mapped))
    if as_json:
        # The very values, for programs: half a surrogate pair is a byte that is no UTF-8 (PEP 383).
        _put(json.dumps(variables, indent=2) + "\n")
    elif as_shell:
        lines = [f"unset {name}" for name in sorted(change.unset)]
        lines += [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
        _put("\n".join(lines) + "\n")
    else:
        _put("".join(f"{name}={value if value.isprintable() else ascii(value)}\n" for name, value in variables.items()))


def _ends(
    remote: Endpoint | None, local: Endpoint | None, host: str | None, info: str | None
) -> tuple[Endpoint, Endpoint]:
    """Both ends, completed."""
    version = remote.ip.version if remote else local.ip.version if local else 4
    zone = local.zone if local else None
    remote = remote or Endpoint("fe80::1" if zone else DEFAULT_REMOTE[version], zone=zone)
    local = local or Endpoint(_default_local(remote), zone=remote.zone)
    if remote.ip.version != local.ip.version:
        raise click.UsageError(f"--remote {remote} and --local {local} are of two families")
    remote_port, local_port = (
        default if end.port is None else end.port for end, default in zip((remote, local), DEFAULT_PORTS, strict=True)
    )
    return (
        Endpoint(remote.ip, remote_port, remote.zone or local.zone, host, info),
        Endpoint(local.ip, local_port, local.zone or remote.zone),
    )


def _default_local(remote: Endpoint) -> str:
    if remote.ip.is_loopback:
        return str(remote.ip)
    return "fe80::ff" if remote.zone else DEFAULT_LOCAL[remote.ip.version]


def _unix_caller() -> Connection:
    """A UNIX-domain caller: this very process."""
    from ucspi_env._unix import UnixPeer

    return Connection(unix=UnixPeer(os.geteuid(), os.getegid(), os.getpid()), transport="unix")


def _hold_standard_descriptors() -> None:
    """Occupy 0, 1 and 2 where they are closed, so that no connection lands there; using them still fails."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDONLY if fd else os.O_WRONLY)


def _perform(
    program: Sequence[str],
    environ: Mapping[str, str],
    ends: tuple[Endpoint, Endpoint] | None,
    transport: str,
    *,
    mapped: bool,
) -> int:
    """Run PROG on a true connection and be its caller, with our own standard input and output."""
    from ucspi_env.envcheck._relay import relay
    from ucspi_env.envcheck._stage import Stage, StageError, unix_connection

    _hold_standard_descriptors()
    try:
        if ends is None:
            server, client = unix_connection()
        else:
            with Stage() as stage:
                if stage.reason:
                    write_line(f"{NAME}: warning: {stage.reason}: the program gets an unnamed socket pair")
                server, client = stage.connect(*ends, transport=transport, mapped=mapped)
    except StageError as error:
        _trouble(str(error))
    except OSError as error:
        _trouble(f"unable to make a connection: {error_text(error)}")
    try:
        return relay(program, environ, server, client)
    except BrokenPipeError:
        return EXIT_UNREAD
    except (OSError, ValueError) as error:
        reason = error_text(error) if isinstance(error, OSError) else str(error)
        _trouble(f"unable to run {program[0]}: {reason}")


# -- try --


@main.command(name="try", context_settings=PASS_ON, short_help="Is a server ready for IPv6? Try it.")
@click.option("--input", "dialogue", type=click.File("rb"), help="What the caller says; default: nothing.")
@click.option("--expect", help="A regular expression for the answer to a caller who is served; all else may differ.")
@click.option("--timeout", type=click.FloatRange(0.05, 600), default=5.0, show_default=True, help="Seconds a caller.")
@click.option(
    "--only",
    multiple=True,
    shell_complete=_complete_kind,
    help="tcp6 (the next three), ipv6, mapped, link-local, missing, hostile or other; several are allowed.",
)
@click.option("--from4", help="Where IPv4 strangers call from; default: each from an address of its own.")
@click.option("--from6", help="Where IPv6 strangers call from; default: each from a network of its own.")
@click.option(
    "--jobs",
    type=click.IntRange(1, 64),
    default=min(16, 4 * (os.cpu_count() or 2)),
    show_default="4 for each processor",
    help="Callers at once.",
)
@click.option("--json", "as_json", is_flag=True, help="The results as JSON (docs/envcheck.md has the schema).")
@click.option("-v", "--verbose", is_flag=True, help="Every caller: what the server said, its status, time and log.")
@click.argument("program", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- PROG [ARGS]...")
@click.pass_context
def try_(
    ctx: click.Context,
    dialogue: Any,
    expect: str | None,
    timeout: float,
    only: tuple[str, ...],
    from4: str | None,
    from6: str | None,
    jobs: int,
    as_json: bool,
    verbose: bool,
    program: tuple[str, ...],
) -> None:
    """Run PROG for every kind of caller, and compare its answers.

    The answer to an IPv4 caller of DJB's tcpserver is the measure. What stands in parentheses in the table does not
    count: an IPv4 caller of the same super-server fares the same.

    Exit: 0 IPv6 ready, 1 not, 2 wrong use, 3 cannot judge, 111 if PROG cannot be run.
    """
    import re

    from ucspi_env.envcheck import _try
    from ucspi_env.envcheck._matrix import cells

    try:
        matrix = cells(only, stranger4=_stranger(from4, 4), stranger6=_stranger(from6, 6))
        pattern = re.compile(os.fsencode(expect), re.MULTILINE) if expect else None
    except (ValueError, re.error) as error:
        raise click.UsageError(plain(str(error))) from None
    _hold_standard_descriptors()
    progress = os.isatty(2)

    def step(done: int) -> None:
        if progress:
            text = f"\r{done} of {len(matrix)} callers " if done < len(matrix) else "\r\033[K"
            os.write(2, text.encode())

    try:
        trial = _try.trial(
            program,
            matrix,
            base=own_environ(),
            dialogue=dialogue.read() if dialogue else b"",
            timeout=timeout,
            jobs=jobs,
            expect=pattern,
            step=step,
        )
    except _try.CannotRunError as error:
        _trouble(str(error))
    if as_json:
        _put_json(_try.as_data(trial))
    else:
        _put(_try.render(trial, colour=_colour(), verbose=verbose))
    ctx.exit({True: 0, False: EXIT_PROBLEMS, None: EXIT_NOTHING}[trial.verdict.ready])


def _stranger(text: str | None, version: int) -> str | None:
    if text is None:
        return None
    ip = Endpoint(text).ip
    if ip.version != version:
        msg = f"--from{version} {text} is not an IPv{version} address"
        raise ValueError(msg)
    return str(ip)
