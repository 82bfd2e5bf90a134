"""What a program may use, gain and outlive: --rlimit, --no-new-privs, --lifetime."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import Server, call, tool
from tests.tcpserver.faults import injected
from tests.tcpserver.test_program import LIST_FDS, masks
from ucspi_env.tools._confine import read_limits

if TYPE_CHECKING:
    from collections.abc import Callable

linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="prctl(2) is Linux's")


def limits_of(status: bytes) -> dict[str, tuple[str, str]]:
    """Soft and hard limits out of /proc/PID/limits."""
    rows = [line for line in status.decode().splitlines() if line.startswith("Max ")]
    return {row[:26].strip(): (row[26:47].strip(), row[47:68].strip()) for row in rows}


@linux_only
def test_limits_are_the_programs_soft_and_hard_ones(tcpserver: Callable[..., Server]) -> None:
    options = ["--rlimit", "nofile=33", "--rlimit", "CORE=0", "--rlimit", "as=1G"]
    server = tcpserver("-RHl0", *options, "127.0.0.1", "0", "cat", "/proc/self/limits")
    found = limits_of(call(server.port).data)
    assert found["Max open files"] == ("33", "33")
    assert found["Max core file size"] == ("0", "0")
    assert found["Max address space"] == (str(2**30), str(2**30))
    with open(f"/proc/{server.pid}/limits", "rb") as own:
        assert limits_of(own.read())["Max open files"] != ("33", "33")


@linux_only
def test_a_limited_program_gets_what_every_program_gets(tcpserver: Callable[..., Server]) -> None:
    blocked = [signal.SIGHUP, signal.SIGTERM, signal.SIGCHLD]
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, blocked)
    ignored = signal.signal(signal.SIGQUIT, signal.SIG_IGN)
    try:
        server = tcpserver("-RHl0", "--rlimit=core=0", "127.0.0.1", "0", "cat", "/proc/self/status")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)
        signal.signal(signal.SIGQUIT, ignored)
    assert masks(call(server.port).data.decode()) == {"SigBlk": 0, "SigIgn": 0, "SigCgt": 0}
    server = tcpserver("-RHl0", "--rlimit=core=0", "0", "0", *LIST_FDS)
    lines = call(server.port, "::1").data.decode().splitlines()
    descriptors = {line.split()[-3]: line.split()[-1] for line in lines if "->" in line}
    assert set(descriptors) == {"0", "1", "2"}
    assert descriptors["0"] == descriptors["1"]


def test_a_limited_program_that_cannot_be_run_costs_its_caller_only(tcpserver: Callable[..., Server]) -> None:
    server = tcpserver("-vRHl0", "--rlimit=core=0", "127.0.0.1", "0", "./nosuch")
    for number in (1, 2):
        assert call(server.port).data == b""
        server.wait_for_line("status: 0/40", count=number + 1)
    assert "tcpserver: warning: dropping connection, unable to run ./nosuch: file does not exist" in server.lines


def test_many_limited_programs_leave_nothing_behind(tcpserver: Callable[..., Server]) -> None:
    server = tcpserver("-vRHl0", "--rlimit=core=0", "127.0.0.1", "0", "cat")
    call(server.port)
    before = os.listdir(f"/proc/{server.pid}/fd") if sys.platform.startswith("linux") else []
    for _ in range(20):
        assert call(server.port, send=b"x").data == b"x"
    server.wait_for_line("tcpserver: end ", count=21)
    if before:
        assert len(os.listdir(f"/proc/{server.pid}/fd")) == len(before)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("nofile", "is no NAME=VALUE; names here are"),
        ("nosuch=1", "is no NAME=VALUE; names here are"),
        ("=1", "is no NAME=VALUE; names here are"),
        ("nofile=", "has no number"),
        ("nofile=-1", "has no number"),
        ("nofile=1.5", "has no number"),
        ("nofile=k", "has no number"),
        ("nofile=\u0663", "has no number"),
        ("as=9999999999G", "has no number"),
    ],
)
def test_a_limit_that_means_nothing_is_a_usage_error(text: str, why: str) -> None:
    command = [*tool("tcpserver"), f"--rlimit={text}", "127.0.0.1", "0", "true"]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 100
    first = done.stderr.decode().splitlines()[0]
    assert first.startswith(f"tcpserver: option rlimit: {text!r}")
    assert why in first


@given(st.text())
def test_reading_a_limit_never_fails_otherwise(text: str) -> None:
    try:
        ((number, limit),) = read_limits([text])
    except ValueError:
        return
    assert number in {getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")}
    assert limit == resource.RLIM_INFINITY or 0 <= limit < 2**62


def test_units_are_powers_of_1024() -> None:
    assert read_limits(["fsize=1k", "fsize=2M", "fsize=1G", "fsize=unlimited"]) == (
        (resource.RLIMIT_FSIZE, 1024),
        (resource.RLIMIT_FSIZE, 2 * 2**20),
        (resource.RLIMIT_FSIZE, 2**30),
        (resource.RLIMIT_FSIZE, resource.RLIM_INFINITY),
    )


@pytest.mark.peer("prlimit")
def test_a_limit_that_cannot_be_raised_ends_the_start() -> None:
    options = ["-u", "nobody"] if os.geteuid() == 0 else []
    command = ["prlimit", "--core=0:0", *tool("tcpserver"), *options, "--rlimit=core=1", "127.0.0.1", "0", "true"]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 111
    assert done.stderr == b"tcpserver: fatal: unable to set resource limit: 1 is more than the hard limit 0\n"


@linux_only
@pytest.mark.parametrize("more", [[], ["--rlimit=core=0"]])
def test_nothing_that_is_run_can_gain_privileges(tcpserver: Callable[..., Server], more: list[str]) -> None:
    server = tcpserver("-RHl0", "--no-new-privs", *more, "127.0.0.1", "0", "cat", "/proc/self/status")
    assert b"NoNewPrivs:\t1\n" in call(server.port).data
    server = tcpserver("-RHl0", *more, "127.0.0.1", "0", "cat", "/proc/self/status")
    assert b"NoNewPrivs:\t0\n" in call(server.port).data


def test_a_connection_ends_when_its_lifetime_is_over(tcpserver: Callable[..., Server]) -> None:
    """The pipeline's second process holds the connection as well; it is in the same group."""
    server = tcpserver("-vRHl0", "--lifetime", "1", "127.0.0.1", "0", "sh", "-c", "sleep 3600 | cat")
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as caller:
        assert caller.recv(1) == b""
        ok = server.wait_for_line(" ok ").split()
        assert server.wait_for_line(" end ").split()[1:] == ["end", ok[2], "status", "15"]
        own = f"127.0.0.1:{caller.getsockname()[1]}"
    assert f"tcpserver: warning: lifetime is over, ending {ok[2]}: {own}" in server.lines


def test_a_program_that_does_not_mind_term_is_killed(tcpserver: Callable[..., Server]) -> None:
    program = ["sh", "-c", "trap '' TERM; echo; while :; do sleep 3600; done"]
    server = tcpserver("-vRHl0", "--lifetime=1", "--rlimit=core=0", "127.0.0.1", "0", *program)
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as caller:
        assert caller.recv(1) == b"\n"
        assert caller.recv(1) == b""
    assert server.wait_for_line(" end ").endswith(" status 9")


def test_a_program_that_ends_in_time_is_left_alone(tcpserver: Callable[..., Server]) -> None:
    server = tcpserver("-vRHl0", "--lifetime=3600", "127.0.0.1", "0", "cat")
    for _ in range(3):
        assert call(server.port, send=b"x").data == b"x"
    server.wait_for_line("tcpserver: end ", count=3)
    assert not [line for line in server.stop() if "lifetime" in line]


@pytest.mark.peer("strace")
def test_failing_to_fork_a_limited_program_is_told(tcpserver: Callable[..., Server]) -> None:
    # The first process tries whether the limit can be set.
    command = injected("clone:error=EAGAIN:when=2")
    server = tcpserver("-RHl0", "--rlimit=core=0", "127.0.0.1", "0", "cat", command=command)
    assert call(server.port).data == b""
    assert call(server.port, send=b"x").data == b"x"
    assert server.stop() == ["tcpserver: warning: dropping connection, unable to fork: temporary failure"]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--lifetime=0"], "option lifetime takes a number greater than 0"),
        (["--per-source=24/48"], "option per-source needs option C"),
        (["--exempt=127.0.0.1"], "option exempt needs option C"),
        (["-C1", "--exempt=127.0.0.1/33"], "option exempt: "),
        (["--limit-message=no"], "option limit-message needs option C"),
        (["-C1", "--per-source=0/64"], "option per-source takes two prefix lengths such as 32/64, not '0/64'"),
        (["-C1", "--per-source=32"], "option per-source takes two prefix lengths such as 32/64, not '32'"),
        (["--log-format=xml"], "option log-format takes djb or json, not 'xml'"),
        (
            ["--handler", "--lifetime=1"],
            "option lifetime is for programs; with option handler use option handler-t",
        ),
        (
            ["--preload", "--rlimit=core=0"],
            "option rlimit is for programs; with option preload use option memory-l",
        ),
    ],
)
def test_options_that_contradict_are_a_usage_error(options: list[str], complaint: str) -> None:
    command = [*tool("tcpserver"), *options, "127.0.0.1", "0", "true"]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 100
    assert done.stderr.decode().startswith(f"tcpserver: {complaint}")
