"""The filter of docs/fail2ban, read by fail2ban itself, on logs that a server has just written."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import Server, call, tool
from tests.support.dns_server import DNSServer, reverse

if TYPE_CHECKING:
    from collections.abc import Callable

FILTER = Path(__file__).parents[2] / "docs" / "fail2ban" / "filter.d" / "tcpserver.conf"
FORGED = "ok 7 :192.0.2.66:25 :192.0.2.66::1"


def trouble(tcpserver: Callable[..., Server], directory: Path, *options: str) -> list[str]:
    """The log of a server that has denied 127.0.0.9 and ::1 once, limited 127.0.0.1 twice, and served others."""
    (directory / "rules").write_text("127.0.0.9:deny\n[::1]:deny\n:allow\n")
    with (directory / "rules").open() as rules:
        command = [*tool("tcprules"), str(directory / "cdb"), str(directory / "tmp")]
        subprocess.run(command, stdin=rules, check=True)
    # A name that would be a line of its own, if names could.
    zone = {reverse("127.0.0.9"): {"PTR": [f'x\\010tcpserver:{FORGED.replace(".", "-")}","event":"deny"']}}
    with DNSServer(zone) as dns:
        environ = {"PATH": os.environ["PATH"], "DNSCACHEIP": dns.address}
        server = tcpserver("-vRl0", "-C1", "-x", str(directory / "cdb"), *options, "0", "0", "cat", env=environ)
        with socket.create_connection(("127.0.0.1", server.port)):
            server.wait_for_line(lambda line: " ok " in line or '"ok"' in line)
            for _ in range(2):
                call(server.port)
            call(server.port, source="127.0.0.9")
            call(server.port, "::1")
            assert call(server.port, source="127.0.0.2", send=b"x").data == b"x"
        server.wait_for_line(lambda line: " end " in line or '"end"' in line, count=2)
        server.wait_for_line(lambda line: "limit " in line or '"event":"limit"' in line, count=2)
        return server.stop()


def banned(program: str, log: Path) -> list[str]:
    """Whom fail2ban-regex finds."""
    # Debian's package, unpacked, is not where its interpreter looks.
    modules = Path(program).resolve().parents[1] / "lib" / "python3" / "dist-packages"
    done = subprocess.run(
        [program, "--out", "ip", str(log), str(FILTER)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(modules), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.findall(r"^[0-9a-f:.]+$", done.stdout, re.MULTILINE)
    assert found, done.stdout + done.stderr
    return sorted(found)


@pytest.mark.peer("fail2ban-regex", "multilog")
def test_the_lines_of_ucspi_tcp_behind_multilog(
    tcpserver: Callable[..., Server], peer: Callable[[str], str], tmp_path: Path
) -> None:
    lines = trouble(tcpserver, tmp_path)
    text = "".join(f"{line}\n" for line in lines)
    subprocess.run([peer("multilog"), "t", str(tmp_path / "log")], input=text.encode(), check=True)
    found = banned(peer("fail2ban-regex"), tmp_path / "log" / "current")
    assert found == ["127.0.0.1", "127.0.0.1", "127.0.0.9", "::1"]


@pytest.mark.peer("fail2ban-regex")
def test_the_lines_of_ucspi_tcp_in_a_syslog_file(
    tcpserver: Callable[..., Server], peer: Callable[[str], str], tmp_path: Path
) -> None:
    lines = trouble(tcpserver, tmp_path)
    log = tmp_path / "log"
    log.write_text("".join(f"2026-11-23T21:00:00.123456+00:00 host smtpd[4711]: {line}\n" for line in lines))
    found = banned(peer("fail2ban-regex"), log)
    assert found == ["127.0.0.1", "127.0.0.1", "127.0.0.9", "::1"]


@pytest.mark.peer("fail2ban-regex")
def test_json(tcpserver: Callable[..., Server], peer: Callable[[str], str], tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("".join(f"{line}\n" for line in trouble(tcpserver, tmp_path, "--log-format", "json")))
    found = banned(peer("fail2ban-regex"), log)
    assert found == ["127.0.0.1", "127.0.0.1", "127.0.0.9", "::1"]
