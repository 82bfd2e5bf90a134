"""The helpers themselves: what the other tests rely on."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support import PATIENCE, Namespace, PeerTable, Program, call, listening, refusing_port, start_tcpserver
from tests.support.peers import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def _executable(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)


def _sum_of_arguments_and_bound_address(one: int, two: int) -> tuple[int, str]:
    with socket.create_server(("192.0.2.7", 0)) as listener:
        return one + two, listener.getsockname()[0]


def test_the_first_package_of_the_table_owns_a_name_and_the_others_are_reached_by_package(tmp_path: Path) -> None:
    first = _executable(tmp_path / "one" / "usr/bin/server")
    second = _executable(tmp_path / "two" / "usr/sbin/server")
    table = PeerTable.read("one unpack server # comment\n\ntwo unpack server\n", tmp_path)
    assert table.find("server") == first
    assert table.find("two/server") == second
    assert table.find("three/server") is None


def test_a_peer_outside_the_path_is_named_by_its_whole_path_and_found_by_its_last_part(tmp_path: Path) -> None:
    daemon = _executable(tmp_path / "mail" / "usr/lib/mail/daemon")
    table = PeerTable.read("mail unpack /usr/lib/mail/daemon", tmp_path)
    assert table.find("daemon") == daemon
    assert table.find("mail/daemon") == daemon


def test_a_program_that_is_nowhere_is_none(tmp_path: Path) -> None:
    assert PeerTable.read("none unpack no-such-program-here", tmp_path).find("no-such-program-here") is None


def test_lines_of_a_program_can_be_waited_for_before_and_after_they_came() -> None:
    code = "import sys; sys.stderr.write('one\\ntwo\\nunfinished'); sys.stderr.flush(); sys.stdin.read()"
    with listening() as (held, _), Program([sys.executable, "-c", code], stdin=held.fileno()) as program:
        assert program.wait_for_line("two") == "two"
        assert program.wait_for_line(lambda line: line.startswith("o")) == "one"


def test_waiting_for_a_line_of_a_program_that_ended_says_what_came_instead() -> None:
    with Program(["sh", "-c", "echo other >&2; exit 3"]) as program, pytest.raises(AssertionError, match="other"):
        program.wait_for_line("wanted")


def test_stopping_a_program_ends_what_it_left_in_the_background() -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as alive:
        with Program(["sh", "-c", "sleep 1000 & echo started >&2; wait"], pass_fds=[writer]) as program:
            os.close(writer)
            program.wait_for_line("started")
        assert alive.read() == b""  # an end of file only comes when no process holds the other end any more


def test_a_call_tells_its_own_address_and_everything_that_came_back() -> None:
    with listening("127.0.0.1") as (listener, port):
        import threading

        seen: list[tuple[str, int]] = []

        def serve() -> None:
            connection, address = listener.accept()
            with connection:
                seen.append(address)
                while chunk := connection.recv(100):
                    connection.sendall(chunk.upper())

        thread = threading.Thread(target=serve)
        thread.start()
        answer = call(port, "127.0.0.1", b"hello", source="127.0.0.9")
        thread.join(PATIENCE)
    assert answer.data == b"HELLO"
    assert seen == [(answer.ip, answer.port)] == [("127.0.0.9", answer.port)]


def test_a_refusing_port_refuses() -> None:
    with refusing_port() as port, pytest.raises(ConnectionRefusedError):
        call(port)


@pytest.mark.netns
def test_a_namespace_owns_the_addresses_it_was_given(netns: Callable[..., Namespace]) -> None:
    namespace = netns("192.0.2.7/32", "2001:db8::7/128", "fe80::1/64")
    with namespace.socket(socket.AF_INET6) as listener:
        listener.bind(("2001:db8::7", 25))
        listener.listen()
        with namespace.socket(socket.AF_INET6) as caller:
            caller.connect(("2001:db8::7", 25))
            assert caller.getpeername()[:2] == ("2001:db8::7", 25)
    with namespace.socket(socket.AF_INET6) as zoned:
        zoned.bind(("fe80::1", 0, 0, 1))  # lo is interface 1 in every namespace
        assert zoned.getsockname()[3] == 1
    assert b"2001:db8::7" in namespace.run(["ip", "address"]).stdout
    assert namespace.call(_sum_of_arguments_and_bound_address, 3, two=4) == (7, "192.0.2.7")


@pytest.mark.netns
def test_a_failure_inside_a_namespace_shows_its_traceback(netns: Callable[..., Namespace]) -> None:
    with pytest.raises(AssertionError, match="Cannot assign requested address"):
        netns().call(_sum_of_arguments_and_bound_address, 1, 2)


@pytest.mark.netns
def test_neighbours_reach_each_other_and_nobody_else(netns: Callable[..., Namespace]) -> None:
    here = netns()
    there = here.neighbour("192.0.2.2/24", "fe80::2/64", own=["192.0.2.1/24", "fe80::1/64"])
    with there.socket(socket.AF_INET) as listener, here.socket(socket.AF_INET) as caller:
        listener.bind(("192.0.2.2", 80))
        listener.listen()
        caller.connect(("192.0.2.2", 80))
        accepted, address = listener.accept()
        accepted.close()
        assert address[0] == "192.0.2.1"
    with here.socket(socket.AF_INET) as caller, pytest.raises(OSError, match="unreachable"):
        caller.connect(("198.51.100.1", 80))


@pytest.mark.peer("tcpserver")
def test_a_server_is_called_by_the_port_it_said(peer: Callable[[str], str]) -> None:
    with start_tcpserver("-vRHl0", "127.0.0.1", "0", "cat", command=[peer("tcpserver")]) as server:
        assert call(server.port, send=b"there and back").data == b"there and back"
        server.wait_for_line("end ")


@pytest.mark.root
@pytest.mark.unshare("--mount")
@pytest.mark.peer("ucspi-tcp-ipv6/tcpserver")
def test_another_packages_program_that_is_found_by_path_fails_and_is_named(peer: Callable[[str], str]) -> None:
    theirs = peer("ucspi-tcp-ipv6/tcpserver")
    without_peers = [str(ROOT / ".ci" / "without-peers"), "sh", "-c"]

    ours = subprocess.run([*without_peers, "echo ran"], cwd=ROOT, capture_output=True, check=False)
    caught = subprocess.run([*without_peers, f"{theirs} -1 0; echo $?"], cwd=ROOT, capture_output=True, check=False)

    assert (ours.returncode, ours.stdout, ours.stderr) == (0, b"ran\n", b"")
    assert (caught.returncode, caught.stdout) == (1, b"99\n")
    assert f"{theirs} -1 0 in {ROOT} by sh -c ".encode() in caught.stderr
