"""Options, messages and exit codes: what scripts see, beside what Debian's tcpclient says."""

from __future__ import annotations

import contextlib
import errno
import socket
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.support import listening
from tests.tcpclient.probing import OURS, Run, client, probe
from ucspi_env.tools._program import Stop
from ucspi_env.tools.tcpclient import MAX_PATIENCE, Settings, parse_patience

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

USAGE = (
    "tcpclient: usage: tcpclient [ -46hHrRdDqQv ] [ -i localip ] [ -p localport ] [ -T timeoutconn ] [ -l localname ] "
    "[ -t timeoutinfo ] [ -I interface ] host port program\n"
)
REFUSED = "tcpclient: unable to connect to {} port PORT: connection refused\n"


# PORT stands for one that refuses, OPEN for one that accepts.
SAME = [
    ("", 100, USAGE),
    ("127.0.0.1", 100, USAGE),
    ("127.0.0.1 25", 100, USAGE),
    ("-q", 100, ""),
    ("-Z 0 1 true", 100, "tcpclient: illegal option -- Z\n" + USAGE),
    ("-qZ", 100, "tcpclient: illegal option -- Z\n" + USAGE),
    ("-: 0 1 true", 100, "tcpclient: illegal option -- :\n" + USAGE),
    ("-RT", 100, "tcpclient: option requires an argument -- T\n" + USAGE),
    ("-P 127.0.0.1 1 true", 100, "tcpclient: illegal option -- P\n" + USAGE),
    ("-i foo 127.0.0.1 1 true", 100, USAGE),
    ("-qi foo 127.0.0.1 1 true", 100, USAGE),
    ("-i 0 127.0.0.1 1 true", 100, USAGE),
    ("0 nosuchservice", 111, "tcpclient: fatal: unable to figure out port number for nosuchservice\n"),
    ("0 -1 true", 111, "tcpclient: fatal: unable to figure out port number for -1\n"),
    ("0 0x50 true", 111, "tcpclient: fatal: unable to figure out port number for 0x50\n"),
    ("-q 0 nosuchservice", 111, ""),
    ("-RHl0 127.0.0.1 PORT true", 111, REFUSED.format("127.0.0.1")),
    ("-QRHl0 127.0.0.1 PORT true", 111, REFUSED.format("127.0.0.1")),
    ("-qRHl0 127.0.0.1 PORT true", 111, ""),
    ("-qvRHl0 127.0.0.1 PORT true", 111, REFUSED.format("127.0.0.1")),
    ("-6RHl0 127.0.0.1 PORT true", 111, REFUSED.format("127.0.0.1")),
    ("-4RHl0 0 PORT true", 111, REFUSED.format("127.0.0.1")),
    ("-RHl0 ::ffff:127.0.0.1 PORT true", 111, REFUSED.format("127.0.0.1")),
    ("-RHl0 ::1 PORT true", 111, REFUSED.format("::1")),
    ("-RHl0 0:0:0:0:0:0:0:1 PORT true", 111, REFUSED.format("::1")),
    ("-RHl0 ::0 PORT true", 111, REFUSED.format("::")),
    ("-RHl0 127.0.0.1. PORT true", 111, REFUSED.format("127.0.0.1")),
    ("-RHl0 -i :: 127.0.0.1 PORT true", 111, REFUSED.format("127.0.0.1")),
    ("-RHl0 -p junk 127.0.0.1 PORT true", 111, REFUSED.format("127.0.0.1")),
    ("-RHl0 -I nosuchif 127.0.0.1 PORT true", 111, REFUSED.format("127.0.0.1")),
    ("-RHl0 -T abc 127.0.0.1 PORT true", 111, REFUSED.format("127.0.0.1")),
    (
        "-RHl0 -i ::1 127.0.0.1 PORT true",
        111,
        REFUSED.format("127.0.0.1").replace("connection refused", "network unreachable"),
    ),
    (
        "-RHl0 -i 127.0.0.1 ::1 PORT true",
        111,
        REFUSED.format("::1").replace("connection refused", "address family not supported"),
    ),
    ("-RHl0 -i 192.0.2.1 127.0.0.1 OPEN true", 111, "tcpclient: fatal: unable to bind socket: address not available\n"),
    ("-RHl0 -i 192.0.2.1 ::1 OPEN true", 111, "tcpclient: fatal: unable to bind socket: address not available\n"),
    ("-qRHl0 -i 192.0.2.1 127.0.0.1 OPEN true", 111, ""),
    (
        "-4RHl0 -i ::1 127.0.0.1 OPEN true",
        111,
        "tcpclient: fatal: unable to bind socket: address family not supported\n",
    ),
    ("-RHl0 127.0.0.1 OPEN ./nosuch", 111, "tcpclient: fatal: unable to run ./nosuch: file does not exist\n"),
    ("-RHl0 127.0.0.1 OPEN nosuch", 111, "tcpclient: fatal: unable to run nosuch: file does not exist\n"),
    ("-RHl0 127.0.0.1 OPEN ''", 111, "tcpclient: fatal: unable to run : access denied\n"),
    ("-RHl0 127.0.0.1 OPEN /", 111, "tcpclient: fatal: unable to run /: access denied\n"),
    ("-RHl0 127.0.0.1 OPEN /etc/passwd", 111, "tcpclient: fatal: unable to run /etc/passwd: access denied\n"),
    ("-vRHl0 127.0.0.1 OPEN true", 0, "tcpclient: connected to 127.0.0.1 port OPEN\n"),
    ("-vRHl0 0.0.0.0 OPEN true", 0, "tcpclient: connected to 127.0.0.1 port OPEN\n"),
    ("-6vRHl0 127.0.0.1 OPEN true", 0, "tcpclient: connected to ::ffff:127.0.0.1 port OPEN\n"),
    ("-vQRHl0 127.0.0.1 OPEN true", 0, ""),
    ("-RHl0 127.0.0.1 OPEN false", 1, ""),
    ("-RHl0 -- 127.0.0.1 OPEN false", 1, ""),
]

# What we say, and why C says something else is in docs/differences.md.
DIFFERENT = [
    # (arguments, status, ours, C's status, C's)
    ("-RHl0 0 PORT true", 111, REFUSED.format("::1") + REFUSED.format("127.0.0.1"), 111, REFUSED.format("::1")),
    (
        "-4RHl0 ::1 PORT true",
        111,
        "tcpclient: unable to connect to ::1 port PORT: address family not supported\n",
        111,
        REFUSED.format("::1"),
    ),
    (
        "-RHl0 [127.0.0.1] PORT true",
        111,
        REFUSED.format("127.0.0.1"),
        111,
        "tcpclient: fatal: no IP address for [127.0.0.1]\n",
    ),
    (
        "-RHl0 :: PORT true",
        111,
        REFUSED.format("::"),
        111,
        "tcpclient: fatal: temporarily unable to figure out IP address for ::: file does not exist\n",
    ),
    (
        "-RHl0 127.0.0.257 PORT true",
        111,
        "tcpclient: fatal: no IP address for 127.0.0.257: the numbers of an IPv4 address are 0 to 255\n",
        111,
        REFUSED.format("127.0.0.1"),
    ),
    (
        "-RHl0 127.0.0.1 65536 true",
        111,
        "tcpclient: fatal: unable to figure out port number for 65536\n",
        111,
        "tcpclient: unable to connect to 127.0.0.1 port 0: connection refused\n",
    ),
    (
        "-p 65536 127.0.0.1 PORT true",
        100,
        "tcpclient: -p 65536 is not a port (0 to 65535)\n" + USAGE,
        111,
        REFUSED.format("127.0.0.1"),
    ),
    ("-i 127.0.0.1x -RHl0 127.0.0.1 PORT true", 100, USAGE, 111, REFUSED.format("127.0.0.1")),
    (
        "-RHl0 fe80::1 PORT true",
        111,
        "tcpclient: unable to connect to fe80::1 port PORT: invalid argument\n"
        "tcpclient: fe80::1 exists on every link: name the interface, as in -I eth0 or fe80::1%eth0\n",
        111,
        "tcpclient: unable to connect to fe80::1 port PORT: invalid argument\n",
    ),
    (
        "-RHl0 -i fe80::1 ::1 PORT true",
        111,
        "tcpclient: fatal: unable to bind socket: invalid argument\n"
        "tcpclient: fe80::1 exists on every link: name the interface, as in -I eth0 or fe80::1%eth0\n",
        111,
        "tcpclient: fatal: unable to bind socket: invalid argument\n",
    ),
    (
        "-RHl0 -I nosuchif fe80::1 PORT true",
        111,
        "tcpclient: fatal: unable to reach fe80::1: no interface is called nosuchif\n",
        111,
        "tcpclient: unable to connect to fe80::1 port PORT: invalid argument\n",
    ),
]


@contextlib.contextmanager
def loopback_port(*, listen: bool) -> Iterator[int]:
    """A port that is ours on 127.0.0.1 and on ::1, and accepts or refuses on both."""
    for _ in range(50):
        with socket.socket(socket.AF_INET) as four, socket.socket(socket.AF_INET6) as six:
            four.bind(("127.0.0.1", 0))
            port = four.getsockname()[1]
            try:
                six.bind(("::1", port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                continue
            for sock in (four, six) if listen else ():
                sock.listen()
            yield port
            return
    raise RuntimeError("no port is free on both loopback addresses")


def run(arguments: str, command: Sequence[str] = OURS) -> Run:
    """Run a line of the tables; the ports in its messages become their names again."""
    with loopback_port(listen=False) as refusing, loopback_port(listen=True) as accepting:
        names = {"PORT": str(refusing), "OPEN": str(accepting), "''": ""}
        done = client(*(names.get(word, word) for word in arguments.split()), command=command)
    stderr = done.stderr.replace(f"port {refusing}:", "port PORT:").replace(f"port {accepting}\n", "port OPEN\n")
    return Run(done.status, done.stdout, stderr)


@pytest.mark.parametrize(("arguments", "status", "stderr"), SAME, ids=[row[0] or "nothing" for row in SAME])
def test_what_is_said_is_what_c_says(arguments: str, status: int, stderr: str) -> None:
    assert run(arguments) == (status, "", stderr)


@pytest.mark.peer("tcpclient")
@pytest.mark.parametrize(("arguments", "status", "stderr"), SAME, ids=[row[0] or "nothing" for row in SAME])
def test_c_says_so_indeed(arguments: str, status: int, stderr: str, peer: Callable[[str], str]) -> None:
    assert run(arguments, [peer("tcpclient")]) == (status, "", stderr)


@pytest.mark.parametrize(
    ("arguments", "status", "stderr"), [row[:3] for row in DIFFERENT], ids=[row[0] for row in DIFFERENT]
)
def test_what_is_said_on_purpose_otherwise_than_c_does(arguments: str, status: int, stderr: str) -> None:
    assert run(arguments) == (status, "", stderr)


@pytest.mark.peer("tcpclient")
@pytest.mark.parametrize(
    ("arguments", "status", "stderr"), [(row[0], *row[3:]) for row in DIFFERENT], ids=[row[0] for row in DIFFERENT]
)
def test_c_still_differs(arguments: str, status: int, stderr: str, peer: Callable[[str], str]) -> None:
    assert run(arguments, [peer("tcpclient")]) == (status, "", stderr)


@pytest.mark.peer("tcpclient")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("words", [["-vRHl0"], ["-vRHl", ""], ["-6vRHl0"], ["-RHl0D"], ["-qRHlname"]], ids=" ".join)
def test_the_program_finds_the_same_as_under_c(words: list[str], host: str, peer: Callable[[str], str]) -> None:
    same_as_under(peer("tcpclient"), words, host)


@pytest.mark.peer("tcpclient")
@pytest.mark.parametrize("options", ["-4vRHl0", "-46vRHl0"])
def test_the_program_finds_the_same_as_under_c_with_ipv4_sockets(options: str, peer: Callable[[str], str]) -> None:
    same_as_under(peer("tcpclient"), [options], "127.0.0.1")


def same_as_under(theirs_command: str, words: list[str], host: str) -> None:
    ours = probe(*words, host=host)
    theirs = probe(*words, host=host, command=[theirs_command])
    assert {name: value for name, value in ours.variables.items() if not name.startswith("TCP6")} == {
        **theirs.variables,
        "TCPREMOTEPORT": str(ours.remote[1]),
    }
    assert ours.fds == theirs.fds
    assert (ours.same, ours.nonblocking, ours.nodelay) == (theirs.same, theirs.nonblocking, theirs.nodelay)
    assert ours.stderr.replace(str(ours.remote[1]), "N") == theirs.stderr.replace(str(theirs.remote[1]), "N")


@pytest.mark.peer("tcpclient")
@pytest.mark.parametrize("command", ["ours", "C's"])
def test_a_local_port_that_somebody_listens_on_is_fatal(command: str, peer: Callable[[str], str]) -> None:
    with listening() as (_, busy), listening() as (_, port):
        argv = OURS if command == "ours" else [peer("tcpclient")]
        done = client("-RHl0", "-i", "127.0.0.1", "-p", str(busy), "127.0.0.1", str(port), "true", command=argv)
    assert done == (111, "", "tcpclient: fatal: unable to bind socket: address already used\n")


@pytest.mark.parametrize(
    ("text", "patience"),
    [
        ("2+58", (2, 58)),
        ("5", (5, 0)),
        ("5+", (5, 0)),
        ("+2", (0, 2)),
        ("5x3", (5, 0)),
        ("5x+3", (5, 0)),
        ("5 +3", (5, 0)),
        ("5++3", (5, 0)),
        ("007+08s", (7, 8)),
        ("abc", (0, 0)),
        ("", (0, 0)),
        ("-5+-3", (0, 0)),
        ("٣+٤", (0, 0)),
        ("9" * 20 + "+" + "9" * 5000, (MAX_PATIENCE, MAX_PATIENCE)),
    ],
)
def test_the_two_numbers_of_the_timeout(text: str, patience: tuple[int, int]) -> None:
    assert parse_patience(text) == patience


@given(st.integers(0, 10**12), st.integers(0, 10**12), st.text(st.characters(codec="utf-8")))
def test_whatever_follows_the_numbers_of_a_timeout_is_ignored(first: int, second: int, rest: str) -> None:
    if rest[:1] not in tuple("0123456789"):
        assert parse_patience(f"{first}+{second}{rest}") == (min(first, MAX_PATIENCE), min(second, MAX_PATIENCE))


@given(st.text())
def test_any_text_is_a_timeout(text: str) -> None:
    assert all(0 <= seconds <= MAX_PATIENCE for seconds in parse_patience(text))


words = st.text(st.characters(exclude_characters="\0"), max_size=8) | st.sampled_from(
    [
        "-",
        "--",
        "-46",
        "-RHl0",
        "-l",
        "-T",
        "2+58",
        "-i",
        "::1",
        "fe80::1%lo",
        "-p",
        "70000",
        "--serial",
        "--serial=1",
        "0",
    ]
)


@given(st.lists(words, max_size=8))
@example(["-i", "127.0.0.1:80"])
@example(["-p", "9" * 5000])
def test_any_options_are_settings_or_a_usage_error(arguments: list[str]) -> None:
    try:
        settings = Settings(arguments)
    except Stop as stop:
        said = stop
    else:
        assert settings.operands == arguments[len(arguments) - len(settings.operands) :]
        assert 0 <= settings.local_port <= 65535
        assert settings.verbosity in (0, 1, 2)
        return
    assert said.status == 100
    assert said.lines[-1] + "\n" == USAGE
    assert all(line.startswith("tcpclient: ") for line in said.lines)


@given(st.lists(st.sampled_from("46hHrRdDqQv"), min_size=1))
def test_the_last_flag_of_a_kind_wins_in_any_grouping(flags: list[str]) -> None:
    one = vars(Settings(["-" + "".join(flags), "0"]))
    assert one == vars(Settings([f"-{flag}" for flag in flags] + ["0"]))
    for attribute, kind in (("look_up_host", "Hh"), ("ask_ident", "Rr"), ("no_delay", "dD"), ("verbosity", "qQv")):
        last = next((kind.index(flag) for flag in reversed(flags) if flag in kind), None)
        if last is not None:
            assert one[attribute] == last


@pytest.mark.peer("tcpclient")
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    st.lists(
        st.sampled_from(
            [
                "-q",
                "-Q",
                "-v",
                "-qv",
                "-6",
                "-d",
                "-D",
                "-T",
                "-T1",
                "-p0",
                "-p",
                "-i127.0.0.1",
                "-i",
                "-X",
                "--",
                "-",
                "-l0",
                "-I",
                "lo",
            ]
        ),
        max_size=5,
    )
)
def test_any_soup_of_options_gets_the_same_answer_as_from_c(peer: Callable[[str], str], soup: list[str]) -> None:
    with loopback_port(listen=False) as port:
        # A port that is no service: neither looks up what may have become the host.
        for operands in (["127.0.0.1", "nosuchservice", "true"], ["127.0.0.1"]):
            arguments = [*soup, "-RHl0", *operands]
            if "-" in soup:
                arguments = [*soup[: soup.index("-") + 1], "nosuchservice", str(port)]
            assert client(*arguments) == client(*arguments, command=[peer("tcpclient")])
