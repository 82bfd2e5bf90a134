"""`ucspi_env.testing`: made-up callers, servers run on real connections, servers under tcpserver."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import ucspi_env
from ucspi_env import DialectError, Endpoint
from ucspi_env.testing import DIALECTS, KINDS, Caller, Harness, Server, callers

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
ASK_THE_KERNEL = "import socket; s = socket.socket(fileno=0); print(s.getpeername()[0], s.getsockname()[0])"


@pytest.fixture(scope="module")
def harness() -> Iterator[Harness]:
    with Harness() as harness:
        yield harness


# -- callers --


def test_a_caller_is_written_in_its_dialect() -> None:
    caller = Caller("s6", "[2001:db8::7]:99", "2001:db8::1", host="a.example")

    assert caller.dialect == "s6-networking"
    assert caller.environ() == {
        "PROTO": "TCP",
        "TCPCONNNUM": "0",
        "TCPREMOTEIP": "2001:db8::7",
        "TCPREMOTEPORT": "99",
        "TCPREMOTEHOST": "a.example.",
        "TCPLOCALIP": "2001:db8::1",
        "TCPLOCALPORT": "25",
    }


def test_variables_of_other_super_servers_go() -> None:
    environ = Caller("ucspi-tcp", "192.0.2.9").environ({"TCP6REMOTEIP": "::1", "SSH_CONNECTION": "x", "HOME": "/"})

    assert "TCP6REMOTEIP" not in environ
    assert "SSH_CONNECTION" not in environ
    assert environ["HOME"] == "/"
    assert environ["TCPREMOTEIP"] == "192.0.2.9"


@pytest.mark.parametrize(
    ("remote", "local"), [("::1", "::1"), ("127.0.0.1", "127.0.0.1"), ("fe80::1%lo", "fe80::ff%lo")]
)
def test_the_called_address_fits_the_caller(remote: str, local: str) -> None:
    assert str(Endpoint(Caller("s6", remote).local.ip, zone=Caller("s6", remote).local.zone)) == local


def test_hostile_names_are_written_as_they_are() -> None:
    environ = Caller(remote="192.0.2.1", host="$(id)\nforged: yes", info="%n").environ()

    assert environ["TCPREMOTEHOST"] == "$(id)\nforged: yes"
    assert environ["TCPREMOTEINFO"] == "%n"


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(DialectError, match="IPv4 only"):
        Caller("ucspi-tcp", "::1")
    with pytest.raises(ValueError, match="two families"):
        Caller("s6", "::1", "127.0.0.1")
    with pytest.raises(ValueError, match="only an IPv4 caller"):
        Caller("s6", "::1", mapped=True)
    with pytest.raises(ValueError, match="not a kind"):
        callers(["s6"], ["IPv5"])
    with pytest.raises(DialectError, match="is not a dialect"):
        callers(["tcpservre"])


def test_the_matrix_has_every_pair_that_can_be() -> None:
    names = [str(caller) for caller in callers()]

    assert len(names) == len(set(names))
    assert "ucspi-tcp-IPv4" in names
    assert "ucspi-tcp-IPv6" not in names
    assert {caller.dialect for caller in callers()} == set(DIALECTS)
    assert {caller.kind for caller in callers()} == set(KINDS)


@pytest.mark.parametrize("caller", callers(), ids=str)
def test_the_library_reads_what_a_caller_writes(caller: Caller) -> None:
    if caller.dialect == "inetd":
        with pytest.raises(ucspi_env.NotUnderSuperServerError):
            ucspi_env.remote(caller.environ())
    else:
        assert ucspi_env.remote(caller.environ()).ip == caller.remote.ip


# -- running --


@pytest.mark.stage
@pytest.mark.parametrize("caller", callers(["ucspi-tcp-ipv6", "inetd"]), ids=str)
def test_a_program_and_the_kernel_see_the_claimed_addresses(harness: Harness, caller: Caller) -> None:
    run = harness.run([sys.executable, "-c", ASK_THE_KERNEL], caller)

    prefix = "::ffff:" if caller.mapped else ""
    assert run.output.decode().split() == [f"{prefix}{caller.remote.ip}", f"{prefix}{caller.local.ip}"]
    assert run.status == 0


def test_a_program_gets_what_is_sent_and_says_how_it_ended(harness: Harness) -> None:
    program = ["/bin/sh", "-c", 'cat; echo "$COLOUR" >&2; exit 3']

    run = harness.run(program, Caller("s6"), send=b"hello\n", env={"COLOUR": "blue"})

    assert (run.output, run.errors, run.status, run.hung) == (b"hello\n", b"blue\n", 3, False)


def test_the_same_caller_can_call_again_and_again(harness: Harness) -> None:
    program, caller = ["/bin/sh", "-c", "echo $TCPREMOTEPORT"], Caller("s6", "[2001:db8::1]:4711")

    assert {harness.run(program, caller, send=b"x").output for _ in range(20)} == {b"4711\n"}


def test_a_program_that_cannot_be_started_is_an_error(harness: Harness) -> None:
    with pytest.raises(FileNotFoundError):
        harness.run(["/nonexistent"], Caller())


def echo_peer(session: ucspi_env.Session) -> None:
    session.writer.write(b"%s %s" % (str(session.remote).encode(), session.reader.read()))


@pytest.mark.stage
def test_a_function_with_an_argument_gets_a_session(harness: Harness) -> None:
    run = harness.run(echo_peer, Caller("s6", "[2001:db8::1]:4711"), send=b"hello")

    assert (run.output, run.errors, run.status) == (b"[2001:db8::1]:4711 hello", b"", 0)


@pytest.mark.stage
def test_a_function_without_an_argument_is_run_like_a_script(harness: Harness) -> None:
    def main() -> None:
        print(ucspi_env.remote(strict=True), os.environ["TCPREMOTEIP"], sys.stdin.readline().strip())
        sys.exit("sorry")

    run = harness.run(main, Caller("ucspi-tcp", "192.0.2.7:9"), send=b"hello\n")

    assert (run.output, run.errors, run.status) == (b"192.0.2.7:9 192.0.2.7 hello\n", b"sorry\n", 1)


def test_a_function_leaves_everything_as_it_was(harness: Harness) -> None:
    def identities() -> list[object]:
        ends = [os.fstat(fd) for fd in (0, 1)]
        return [dict(os.environ), sys.stdin, sys.stdout, sys.stderr, *[(end.st_dev, end.st_ino) for end in ends]]

    before = identities()

    def main() -> None:
        os.environ["LEFT_BEHIND"] = "1"
        raise RuntimeError("out")

    with pytest.raises(RuntimeError, match="out"):
        harness.run(main, Caller())

    assert identities() == before


def test_a_large_dialogue_is_no_deadlock(harness: Harness) -> None:
    def copy(session: ucspi_env.Session) -> None:
        while piece := session.reader.read1(65536):  # type: ignore[attr-defined]  # it is an io.BufferedReader
            session.writer.write(piece)

    run = harness.run(copy, Caller(), send=b"x" * 5_000_000)

    assert len(run.output) == 5_000_000


def test_a_function_that_answers_nobody_loses_its_connection(harness: Harness) -> None:
    run = harness.run(patient, Caller(), timeout=0.2)

    assert run.hung


def patient() -> None:
    """Hold the connection until the caller has gone."""
    poll = select.poll()
    poll.register(0, select.POLLHUP | select.POLLERR)
    poll.poll()


# -- under tcpserver --


def test_callers_of_both_families_reach_the_server() -> None:
    with Server(["/bin/sh", "-c", "echo $PROTO $TCPREMOTEIP"]) as server:
        answers = {host: server.call(host=host) for host in server.hosts}

    expected = {"127.0.0.1": b"TCP 127.0.0.1\n", "::1": b"TCP6 ::1\n"}
    assert answers == {host: expected[host] for host in server.hosts}


def test_the_log_can_be_waited_for() -> None:
    with Server(["/bin/sh", "-c", "exit 7"]) as server:
        server.call()

        assert server.wait_for_log(": end ").endswith(" status 1792")
        assert server.log[0] == "tcpserver: status: 0/40"


def test_a_log_that_can_never_come_is_an_error() -> None:
    with Server(["/bin/true"], options=("-c", "0")) as server:
        server.stop()

        with pytest.raises(TimeoutError, match="has no 'brown cow'"):
            server.wait_for_log("brown cow", timeout=60)


def test_options_reach_tcpserver_and_env_the_program(tmp_path: Path) -> None:
    script = tmp_path / "greet"
    script.write_text("#!/bin/sh\nread line\necho $GREETING $line\n")
    script.chmod(0o755)
    with Server([script], options=("-B", "banner: "), env={"GREETING": "hello"}, cwd=tmp_path) as server:
        assert server.call(b"you\n") == b"banner: hello you\n"


def test_a_wrong_option_is_an_error_that_shows_the_log() -> None:
    with Server(["/bin/true"], options=("--dialect", "nobody")) as server:
        server.wait_for_log("tcpserver: ")
        server._process.wait()

        with pytest.raises(OSError, match="nobody"):
            server.call()


def test_a_denied_caller_hears_nothing(tmp_path: Path) -> None:
    rules = [sys.executable, "-m", "ucspi_env.tools.tcprules", str(tmp_path / "cdb"), str(tmp_path / "tmp")]
    subprocess.run(rules, input=b":deny\n", check=True)

    with Server(["/bin/cat"], options=("-x", str(tmp_path / "cdb"))) as server:
        assert server.call(b"hello") == b""
        assert "tcpserver: deny 0 " in server.wait_for_log("deny")


def test_stopping_takes_running_programs_along() -> None:
    with (
        Server(["/bin/sh", "-c", "echo here; exec tail -f /dev/null"]) as server,
        socket.create_connection((server.hosts[0], server.port), 60) as caller,
    ):
        assert caller.recv(100) == b"here\n"
        server.stop()

        assert caller.recv(100) == b""


def test_test_help_needs_no_pytest() -> None:
    code = "import sys, ucspi_env.testing as t; print('pytest' in sys.modules, t.Caller('s6').environ()['PROTO'])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)

    assert done.stdout == "False TCP\n"
