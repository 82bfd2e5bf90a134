"""The fail2ban filter finds who was turned away, and nobody else, in the lines that tcpserver really writes."""

from __future__ import annotations

import configparser
import os
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support import call, peers, start_tcpserver, tool
from tests.support.docs import ROOT, blocks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FILTER = ROOT / "docs" / "fail2ban" / "filter.d" / "tcpserver.conf"
TAI64N = "@400000006743d2b00c2f1a64 "
pytestmark = pytest.mark.peer("fail2ban-regex")


def banned(lines: list[str], tmp_path: Path, peer: Callable[[str], str]) -> list[str]:
    """The addresses that fail2ban finds in a log."""
    log = tmp_path / "log"
    log.write_text("".join(f"{line}\n" for line in lines))
    root = peers().package_root("fail2ban")
    done = subprocess.run(
        [
            "/usr/bin/python3",
            peer("fail2ban-regex"),
            "-c",
            str(root / "etc" / "fail2ban"),
            "-o",
            "ip",
            str(log),
            str(FILTER),
        ],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(root / "usr/lib/python3/dist-packages"), "TZ": "UTC"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    return done.stdout.split()


def denied(tmp_path: Path, *options: str, command: list[str] | None = None, hosts: tuple[str, ...]) -> list[str]:
    """What a tcpserver logs that turns these callers away."""
    (tmp_path / "rules").write_text("127.0.0.1:deny\n::1:deny\n")
    rules = ["tcprules", str(tmp_path / "rules.cdb"), str(tmp_path / "tmp")]
    subprocess.run([*tool(rules[0]), *rules[1:]], input=(tmp_path / "rules").read_bytes(), check=True)
    lines: list[str] = []
    for host in hosts:
        arguments = ["-vRHl0", "-x", rules[1], *options, host, "0", "true"]
        with start_tcpserver(*arguments, command=command) as server:
            call(server.port, host)
            server.wait_for_line("deny")
            lines += server.stop()
    return lines


HOSTS = ("127.0.0.1", "::1")


@pytest.mark.parametrize(
    "prefix",
    ["", TAI64N, "2026-11-23_22:00:38.12345 ", "Nov 23 22:00:38 mail smtpd[4711]: ", "2026-11-23T22:00:38Z mail x: "],
)
def test_denied_callers_are_found_whoever_keeps_the_log(
    prefix: str, tmp_path: Path, peer: Callable[[str], str]
) -> None:
    lines = denied(tmp_path, hosts=HOSTS)
    # Without a time a line is none of fail2ban's: it stands for now only behind a date.
    stamped = [(prefix or TAI64N) + line for line in lines]

    assert banned(stamped, tmp_path, peer) == list(HOSTS)


def test_denied_callers_are_found_in_json(tmp_path: Path, peer: Callable[[str], str]) -> None:
    lines = denied(tmp_path, "--log-format", "json", hosts=HOSTS)

    assert banned(lines, tmp_path, peer) == list(HOSTS)


def test_limited_callers_are_found(tmp_path: Path, peer: Callable[[str], str]) -> None:
    lines: list[str] = []
    for options in ([], ["--log-format", "json"]):
        with start_tcpserver("-vRHl0", "-C", "1", *options, "::1", "0", "cat") as server:
            with (
                socket.create_connection(("::1", server.port)) as first,
                socket.create_connection(("::1", server.port)) as second,
            ):
                assert second.recv(1) == b""
                first.close()
            lines += [line if line.startswith("{") else TAI64N + line for line in server.stop()]

    assert banned(lines, tmp_path, peer) == ["::1", "::1"]


@pytest.mark.peer("ucspi-tcp-ipv6/tcpserver")
def test_denied_callers_of_debians_tcpserver_are_found(tmp_path: Path, peer: Callable[[str], str]) -> None:
    lines = denied(tmp_path, command=[peer("ucspi-tcp-ipv6/tcpserver")], hosts=HOSTS)

    assert banned([TAI64N + line for line in lines], tmp_path, peer) == list(HOSTS)


@pytest.mark.parametrize(
    "line",
    [
        "tcpserver: ok 4711 0:[::1]:25 :[2001:db8::1]::40000",
        "tcpserver: pid 4711 from [2001:db8::1]",
        "tcpserver: end 4711 status 0",
        "smtpd: query='tcpserver: deny 0 0:[::1]:25 :[2001:db8::66]::1'",
        '{"time":"2026-11-23T22:00:38.029Z","event":"ok","info":"\\"event\\":\\"deny\\",\\"remote_ip\\":\\"2001:db8::66\\","}',
    ],
)
def test_nobody_else_is_found(line: str, tmp_path: Path, peer: Callable[[str], str]) -> None:
    assert banned([line if line.startswith("{") else TAI64N + line], tmp_path, peer) == []


def test_a_name_that_looks_like_an_address_bans_nobody_else(tmp_path: Path, peer: Callable[[str], str]) -> None:
    line = "tcpserver: deny 0 0:[::1]:25 192.0.2.66:[2001:db8::1]:203.0.113.66:40000"

    assert banned([TAI64N + line], tmp_path, peer) == ["2001:db8::1"]


def test_the_jail_can_be_read() -> None:
    jail = next(block.text for block in blocks(ROOT / "docs" / "fail2ban" / "README.md") if block.value == "jail")
    parsed = configparser.ConfigParser()
    parsed.read_string(jail)

    assert parsed["tcpserver"]["filter"] == FILTER.stem
