"""The command line: what is refused, with which words and exit code, and what is only forgiven."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support import Server, call, listening, tool
from ucspi_env.tools._log import ERRORS, QUIET, VERBOSE
from ucspi_env.tools._serverconfig import SYNOPSIS, parse

if TYPE_CHECKING:
    from collections.abc import Callable

USAGE = f"tcpserver: usage: {SYNOPSIS}\n"
OPERANDS = ("127.0.0.1", "0", "true")
ENDLESS = "9" * 5000  # more digits than Python's int() reads, or a float holds


def run(*arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [*tool("tcpserver"), *arguments], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    assert done.stdout == ""
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), ""),
        (("127.0.0.1",), ""),
        (("127.0.0.1", "0"), ""),
        (("-Z", *OPERANDS), "illegal option -- Z"),
        (("-vRHjq", *OPERANDS), "illegal option -- j"),
        (("-v", "-c"), "option requires an argument -- c"),
        (("--nonsense", *OPERANDS), "illegal option -- nonsense"),
        (("--drain",), "option requires an argument -- drain"),
        (("--drain", "soon", *OPERANDS), "option drain takes a number, not 'soon'"),
        (("-C0", *OPERANDS), "option C takes a number greater than 0"),
        (("-Cmany", *OPERANDS), "option C takes a number, not 'many'"),
        (("--proxy-timeout", "0", *OPERANDS), "option proxy-timeout takes a number greater than 0"),
        (("--proxy", "10.0.0.1/8", *OPERANDS), "option proxy: '10.0.0.1/8' has bits set behind its prefix; write"),
        (("--proxy", "", *OPERANDS), "option proxy: names no network"),
        (("--dialect", "klingon", *OPERANDS), "option dialect: 'klingon' is not a dialect; there are"),
        (("--dialect", "ucspi-unix", *OPERANDS), "option dialect: dialect ucspi-unix is for unix"),
        (("-6", "--dialect", "s6", *OPERANDS), "option dialect: dialect s6"),
        (("--listen-fds",), ""),
    ],
)
def test_a_command_line_that_cannot_be_understood_is_usage(arguments: tuple[str, ...], complaint: str) -> None:
    status, said = run(*arguments)
    assert status == 100
    assert said.endswith(USAGE)
    assert said.startswith(f"tcpserver: {complaint}" if complaint else USAGE)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("127.0.0.1", "nosuchport", "true"), "unable to figure out port number for nosuchport"),
        (("127.0.0.1", "nosuchport"), "unable to figure out port number for nosuchport"),
        (("127.0.0.1", "-1", "true"), "unable to figure out port number for -1"),
        (("127.0.0.1", "0x50", "true"), "unable to figure out port number for 0x50"),
        (("127.0.0.1", "65536", "true"), "unable to figure out port number for 65536"),
        (("127.0.0.257", "0", "true"), "no IP address for 127.0.0.257"),
        (("127.1", "0", "true"), "no IP address for 127.1"),
        (("12345::1", "0", "true"), "no IP address for 12345::1"),
        (("-", "0", "true"), "no IP address for -"),
        (("192.0.2.1", "0", "true"), "unable to bind: address not available"),
        (("2001:db8::1", "0", "true"), "unable to bind: address not available"),
        (("-4", "::1", "0", "true"), "unable to bind: address family not supported"),
        (("fe80::1", "0", "true"), "unable to bind: invalid argument"),
        (("-I", "nosuchif", "fe80::1", "0", "true"), "unable to bind: no interface is called nosuchif"),
        (("fe80::1%nosuchif", "0", "true"), "unable to bind: no interface is called nosuchif"),
        (("-u", "no-such-user", *OPERANDS), "unable to set uid: no user is called 'no-such-user'"),
        (("-g", "no-such-group", *OPERANDS), "unable to set gid: no group is called 'no-such-group'"),
        (("-u", "4294967296", *OPERANDS), "unable to set uid: invalid argument"),
        (("-u", "4294967295", *OPERANDS), "unable to set uid: invalid argument"),
        (("-u", "", *OPERANDS), "unable to set uid: no user is called ''"),
        (("-u", ENDLESS, *OPERANDS), "unable to set uid: invalid argument"),
        (("-g", ENDLESS, *OPERANDS), "unable to set gid: invalid argument"),
        (("127.0.0.1", ENDLESS, "true"), f"unable to figure out port number for {ENDLESS}"),
        (("-I", "4294967297", "fe80::1", "0", "true"), "unable to bind: no interface is called 4294967297"),
        (("-U", *OPERANDS), "unable to set uid: $UID is not set; -U takes what envuidgid sets"),
        (("--listen-fds", "true"), "unable to take listening sockets: $LISTEN_FDS is not set"),
    ],
)
def test_what_cannot_be_done_is_fatal_in_one_line(
    arguments: tuple[str, ...], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("UID", "GID", "LISTEN_FDS", "LISTEN_PID", "DNSCACHEIP"):
        monkeypatch.delenv(name, raising=False)
    assert run("-RHl0", *arguments) == (111, f"tcpserver: fatal: {why}\n")


@pytest.mark.parametrize("option", ["-t", "-c", "-b", "-C", "--drain", "--proxy-timeout"])
def test_a_number_that_nobody_can_mean_is_a_large_number(option: str) -> None:
    assert parse([option, ENDLESS, *OPERANDS]).argv == ("true",)


def test_a_port_that_is_taken_is_fatal() -> None:
    with listening() as (_, port):
        assert run("-RHl0", "127.0.0.1", str(port), "true") == (
            111,
            "tcpserver: fatal: unable to bind: address already used\n",
        )
        # Half of both families is not what was asked for.
        assert run("-RHl0", "0", str(port), "true")[0] == 111


def test_quiet_holds_for_everything_behind_the_options() -> None:
    assert run("-q", "127.0.0.1", "0") == (100, "")
    assert run("-q", "127.0.0.1", "nosuchport", "true") == (111, "")
    assert run("-q", "192.0.2.1", "0", "true") == (111, "")
    assert run("-q", "-Z")[1].startswith("tcpserver: illegal option -- Z\n")


@pytest.mark.parametrize(
    ("options", "field", "value"),
    [
        (["-c3", "-c4"], "limit", 4),
        (["-c", "12abc"], "limit", 12),
        (["-cabc"], "limit", 0),
        (["-c", "-5"], "limit", 0),
        ([], "limit", 40),
        ([], "backlog", 20),
        (["-b", "4294967295"], "backlog", 4294967295),
        (["-Rr"], "ident", 26.0),
        (["-rR"], "ident", None),
        (["-t", "abc"], "ident", 0.0),
        (["-hH"], "remote_name", False),
        (["-Hh"], "remote_name", True),
        (["-pP"], "paranoid", False),
        (["-Pp"], "paranoid", True),
        (["-vQ"], "verbosity", ERRORS),
        (["-qv"], "verbosity", VERBOSE),
        (["-vq"], "verbosity", QUIET),
        (["-Oo"], "kill_options", False),
        (["-oO"], "kill_options", True),
        (["-dD"], "no_delay", True),
        (["-l", ""], "local_name", ""),
        (["-l0"], "local_name", "0"),
        ([], "local_name", None),
        (["-xfile", "-X"], "rules", "file"),
        (["-B", ""], "banner", b""),
        (["-B220 hi"], "banner", b"220 hi"),
        (["-u1", "-U", "-g2"], "identity", (("u", "1"), ("U", ""), ("g", "2"))),
        (["--drain=5"], "drain", 5.0),
        (["--drain", "0"], "drain", 0.0),
        (["--"], "drain", None),
    ],
)
def test_of_contradicting_options_the_last_counts(options: list[str], field: str, value: object) -> None:
    assert getattr(parse([*options, *OPERANDS]), field) == value


def test_the_program_and_its_options_are_left_alone() -> None:
    config = parse(["-v", "host", "0", "prog", "-q", "--drain", "x"])
    assert (config.argv, config.verbosity) == (("prog", "-q", "--drain", "x"), VERBOSE)


@pytest.mark.needs("/etc/services")
def test_the_port_may_have_a_name() -> None:
    assert parse(["h", "smtp", "true"]).port == 25


def test_a_port_may_begin_with_zeros_and_empty_is_zero() -> None:
    assert parse(["h", "", "true"]).port == 0
    assert parse(["h", "00025", "true"]).port == 25


def test_the_config_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        parse(OPERANDS).limit = 1


def test_the_port_is_printed_once_and_stdout_is_let_go(tcpserver: Callable[..., Server]) -> None:
    server = tcpserver("-RHl0", "0", "0", "true")
    stdout = server.process.stdout
    assert stdout is not None
    assert stdout.read() == b""


def test_the_banner_comes_first_and_as_it_is(tcpserver: Callable[..., Server]) -> None:
    server = tcpserver("-RHl0", "-B", "220 hi\r", "127.0.0.1", "0", "cat")
    assert call(server.port, send=b"x").data == b"220 hi\rx"
