"""The commands of ``ucspi-envcheck``. The only module of the package that imports click."""

from __future__ import annotations

import json
import os
import shlex
import sys
from typing import TYPE_CHECKING, Any

import click

from ucspi_env._errors import DialectError
from ucspi_env._facts import Facts
from ucspi_env._model import Connection, Endpoint
from ucspi_env.envcheck._entry import EXIT_NOTHING, hand_over, lean
from ucspi_env.envcheck._report import make_report, render
from ucspi_env.tools._program import EXIT_TROUBLE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ucspi_env.envcheck._matrix import Result

NAME = "ucspi-envcheck"
PASS_ON = {"ignore_unknown_options": True, "allow_interspersed_args": False}
EXIT_PROBLEMS = 1
DEFAULT_REMOTE, DEFAULT_LOCAL = {4: "192.0.2.1", 6: "2001:db8::1"}, {4: "198.51.100.1", 6: "2001:db8:ffff::1"}
DEFAULT_PORTS = (4711, 25)

# lint's engine is as large as everything else together: it is loaded when it is asked for.
_LAZY = {"lint": ("ucspi_env.envcheck.lint.cli", "lint"), "explain": ("ucspi_env.envcheck.lint.cli", "explain")}


class _Group(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *_LAZY})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _LAZY and cmd_name not in self.commands:
            from importlib import import_module

            module, name = _LAZY[cmd_name]
            self.add_command(getattr(import_module(module), name), cmd_name)
        return super().get_command(ctx, cmd_name)


def _colour() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def _trouble(message: str, status: int = EXIT_TROUBLE) -> None:
    """One line on stderr, and the end."""
    click.echo(f"{NAME}: fatal: {message}", err=True)
    sys.exit(status)


class _Address(click.ParamType[Endpoint]):
    name = "address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Endpoint:
        if isinstance(value, Endpoint):
            return value
        try:
            return Endpoint.parse(value)
        except ValueError as error:
            self.fail(f"{error}; write 192.0.2.1:4711 or [2001:db8::1]:4711", param, ctx)


def _complete_dialect(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    del ctx, param
    from ucspi_env._dialects import dialects

    return [row.name for row in dialects() if row.name.startswith(incomplete)]


@click.group(cls=_Group, invoke_without_command=True)
@click.version_option(package_name="ucspi-env", prog_name=NAME)
@click.option("--json", "as_json", is_flag=True, help="The report as JSON (docs/envcheck.md has the schema).")
@click.option("--trust", type=click.Choice(["kernel", "proxy"]), default="kernel", help="Whose word wins.")
@click.pass_context
def main(ctx: click.Context, as_json: bool, trust: str) -> None:
    """Show, try and mend what a server sees of its caller.

    Without a command: report the connection this program runs under. As tcpserver's program it answers the caller.

    Exit: 0 clean, 1 problems, 2 wrong use, 3 nothing to judge.
    """
    if ctx.invoked_subcommand is not None:
        return
    report = make_report(os.environ, Facts.observe(), trust=trust)
    try:
        sys.stdout.write(json.dumps(report, indent=2) + "\n" if as_json else render(report, colour=_colour()))
        sys.stdout.flush()
    except (BrokenPipeError, ConnectionResetError):
        # The reader has gone: so has the report. What is still buffered must not raise again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if report["verdict"] == "nothing":
        click.echo(f"{NAME}: try it so: {NAME} env ucspi-tcp-ipv6 -- {NAME}", err=True)
    ctx.exit({"clean": 0, "problems": EXIT_PROBLEMS, "nothing": EXIT_NOTHING}[report["verdict"]])


@main.command(context_settings=PASS_ON)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def run(arguments: tuple[str, ...]) -> None:
    """[--trust kernel|proxy] -- PROG ARGS: the report to stderr, then PROG in the same process.

    Exit: PROG's, 111 if it cannot be run.
    """
    sys.exit(hand_over(lean("run"), arguments))


@main.command(context_settings=PASS_ON)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def shim(arguments: tuple[str, ...]) -> None:
    r"""[options] -- PROG ARGS: give an IPv4-only server an environment it can live with, then exec it.

    \b
    --ipv6 refuse        turn IPv6 callers away with a message (the default)
    --ipv6 pass          show them as they are
    --ipv6 map[:NETWORK] show them as a stand-in, the same for a whole /64, out of
                         240.0.0.0/4 or NETWORK; a line on stderr names both
    --message TEXT       what refused callers are told
    --trust proxy        a foreign PROXY wrapper rewrote the variables

    IPv4-mapped becomes IPv4, TCP6 variables become TCP ones; implausible host names and ident answers and all
    variables of other super-servers are removed.

    Exit: PROG's; 100 for a refused caller; 111 if there is no peer or PROG cannot be run.
    """
    sys.exit(hand_over(lean("shim"), arguments))


@main.command(context_settings=PASS_ON)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def shell(arguments: tuple[str, ...]) -> None:
    r"""[--strict] [--trust kernel|proxy]: print assignments for a shell script.

    \b
    eval "$(ucspi-envcheck shell)"
    echo "you are $UCSPI_REMOTE_IP port $UCSPI_REMOTE_PORT"

    On trouble it prints unsets and 'exit 111', so that the script cannot go on.
    """
    sys.exit(hand_over(lean("shell"), arguments))


@main.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_context
def dialects(ctx: click.Context, as_json: bool) -> None:
    """List the dialects, this connection's own one marked."""
    from ucspi_env._dialects import dialects as rows

    report = make_report(os.environ, Facts.observe())
    own = report["connection"]["dialect"] if report["connection"] else None
    if as_json:
        table = [
            {
                "name": row.name,
                "aliases": list(row.aliases),
                "program": row.program,
                "transports": list(row.transports),
                "ipv6": row.ipv6,
                "proto": list(row.proto) if row.proto else None,
                "variables": sorted({*row.unix_names, *(name for family, _ in row.writes for name in family.names)}),
                "note": row.note,
                "own": row.name == own,
            }
            for row in rows()
        ]
        click.echo(json.dumps(table, indent=2))
        ctx.exit(0)
    longest = max(len(row.name) for row in rows())
    for row in rows():
        mark = "*" if row.name == own else " "
        click.echo(f"{mark} {row.name:<{longest}}  {row.program}")


@main.command()
@click.argument("dialect", shell_complete=_complete_dialect)
@click.option("--remote", type=_Address(), help="The caller: 192.0.2.1:4711, [2001:db8::1]:4711, [fe80::1%lo]:4711.")
@click.option("--local", type=_Address(), help="The called address.")
@click.option("--host", help="The caller's name in reverse DNS, written as it is.")
@click.option("--info", help="The caller's ident answer, written as it is.")
@click.option("--mapped", is_flag=True, help="Accept an IPv4 caller on a dual-stack socket.")
@click.option("--minus-6", is_flag=True, help="What tcpserver -6 writes.")
@click.option("--json", "as_json", is_flag=True, help="Print it as a JSON object.")
@click.option("--shell", "as_shell", is_flag=True, help="Print it as shell commands.")
@click.argument("program", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def env(
    ctx: click.Context,
    dialect: str,
    remote: Endpoint | None,
    local: Endpoint | None,
    host: str | None,
    info: str | None,
    mapped: bool,
    minus_6: bool,
    as_json: bool,
    as_shell: bool,
    program: tuple[str, ...],
) -> None:
    """Print the environment of a made-up connection, or run PROG in it: env DIALECT [options] [-- PROG ARGS].

    PROG gets exactly that environment and, on descriptors 0 and 1, a TCP connection that was really made between those
    addresses, so that it sees the same when it asks the kernel; its other end is your standard input and output.

    Exit: PROG's; 111 if it cannot be run.
    """
    from ucspi_env._build import build

    version = remote.ip.version if remote else local.ip.version if local else 4
    remote = remote or Endpoint(DEFAULT_REMOTE[version], DEFAULT_PORTS[0])
    local = local or Endpoint(_default_local(remote), DEFAULT_PORTS[1], remote.zone)
    remote = Endpoint(remote.ip, DEFAULT_PORTS[0] if remote.port is None else remote.port, remote.zone, host, info)
    local = Endpoint(local.ip, DEFAULT_PORTS[1] if local.port is None else local.port, local.zone)
    if remote.ip.version != local.ip.version:
        raise click.UsageError(f"--remote {remote} and --local {local} are of two families")
    try:
        change = build(_connection_for(dialect, remote, local), dialect, as_ipv6=minus_6)
    except DialectError as error:
        raise click.UsageError(str(error)) from None
    if program:
        ctx.exit(_perform(program, change.apply(os.environ), remote, local, mapped=mapped))
    if as_json:
        click.echo(json.dumps(change.set, indent=2))
    elif as_shell:
        for name in sorted(change.unset):
            click.echo(f"unset {name}")
        for name, value in change.pairs:
            click.echo(f"export {name}={shlex.quote(value)}")
    else:
        for name, value in change.pairs:
            click.echo(f"{name}={value}" if value.isprintable() else f"{name}={value!a}")


def _default_local(remote: Endpoint) -> str:
    if remote.ip.is_loopback:
        return str(remote.ip)
    return "fe80::ff" if remote.zone else DEFAULT_LOCAL[remote.ip.version]


def _connection_for(name: str, remote: Endpoint, local: Endpoint) -> Connection:
    """The connection in a transport that the dialect carries; UNIX-domain ones get this process's credentials."""
    from ucspi_env._dialects import dialect
    from ucspi_env._model import UnixPeer

    row = dialect(name)
    if "unix" in row.transports:
        return Connection(unix=UnixPeer(os.geteuid(), os.getegid(), os.getpid()))
    return Connection(remote=remote, local=local, transport="tcp" if "tcp" in row.transports else "udp")


def _perform(
    program: Sequence[str], environ: Mapping[str, str], remote: Endpoint, local: Endpoint, *, mapped: bool
) -> int:
    """Run PROG on a true connection and be its caller, with our own standard input and output."""
    from ucspi_env.envcheck._relay import relay
    from ucspi_env.envcheck._stage import Stage, StageError
    from ucspi_env.tools._errtext import error_text

    with Stage() as stage:
        if stage.reason:
            click.echo(f"{NAME}: warning: {stage.reason}: the program gets an unnamed socket pair", err=True)
        try:
            server, client = stage.connect(remote, local, mapped=mapped)
        except StageError as error:
            _trouble(str(error))
            raise
        try:
            return relay(program, environ, server, client)
        except OSError as error:
            _trouble(f"unable to run {program[0]}: {error_text(error)}")
            raise


@main.command(name="try", context_settings=PASS_ON)
@click.option("--input", "dialogue", type=click.File("rb"), help="What the caller says; default: nothing.")
@click.option("--expect", help="A regular expression that the answer to an IPv4 caller must match.")
@click.option("--timeout", type=click.FloatRange(0.05, 600), default=5.0, show_default=True, help="Seconds a caller.")
@click.option("--only", multiple=True, help="tcp6, ipv6, mapped, link-local, missing or hostile; several are allowed.")
@click.option("--jobs", type=click.IntRange(1, 64), default=os.cpu_count() or 2, help="Callers at once.")
@click.option("--json", "as_json", is_flag=True, help="The results as JSON.")
@click.option("-v", "--verbose", is_flag=True, help="Every caller, also those answered alike.")
@click.argument("program", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_context
def try_(
    ctx: click.Context,
    dialogue: Any,
    expect: str | None,
    timeout: float,
    only: tuple[str, ...],
    jobs: int,
    as_json: bool,
    verbose: bool,
    program: tuple[str, ...],
) -> None:
    """Run PROG once for every kind of caller and compare: try [options] -- PROG ARGS.

    Exit: 0 IPv6 ready, 1 not, 3 cannot judge.
    """
    import re

    from ucspi_env.envcheck import _try
    from ucspi_env.envcheck._matrix import cells

    try:
        matrix = cells(only)
        pattern = re.compile(expect.encode()) if expect else None
    except (ValueError, re.error) as error:
        raise click.UsageError(str(error)) from None
    progress = sys.stderr.isatty() and not as_json

    def step(done: int) -> None:
        if progress:
            click.echo(f"\r{done} of {len(matrix)} callers ", err=True, nl=done == len(matrix))

    try:
        said = dialogue.read() if dialogue else b""
        trial = _try.trial(program, matrix, dialogue=said, timeout=timeout, jobs=jobs, expect=pattern, step=step)
    except _try.CannotRunError as error:
        _trouble(str(error))
        raise
    if as_json:
        click.echo(json.dumps(_try.as_data(trial), indent=2))
    else:
        _print_trial(trial.results, verbose=verbose)
        if trial.warning:
            click.echo(f"note: {trial.warning}")
        click.echo(str(trial.verdict))
    ctx.exit({True: 0, False: EXIT_PROBLEMS, None: EXIT_NOTHING}[trial.verdict.ready])


def _print_trial(results: Sequence[Result], *, verbose: bool) -> None:
    good = ("alike",)
    shown = [result for result in results if verbose or result.outcome not in good or result.log]
    for result in shown:
        colour = "green" if result.outcome in good else "red"
        word = click.style(f"{result.outcome:<9}", fg=colour) if _colour() else f"{result.outcome:<9}"
        click.echo(f"{word} {result.cell.name}: {result.detail}")
        if result.log:
            click.echo(f"          {result.log}")
    quiet = len(results) - len(shown)
    if quiet:
        click.echo(f"{quiet} callers answered alike")
