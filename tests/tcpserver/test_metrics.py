"""--metrics: what it says is exact, and asking for it stops nobody."""

from __future__ import annotations

import re
import socket
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from tests.support import Server, call, tool
from ucspi_env.tools._metrics import ACCEPTED, BUCKETS, LINES_DROPPED, STARTED, Metrics, exposition

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SAMPLE = re.compile(r'ucspi_tcpserver_(\w+)(?:\{(\w+)="([^"]+)"\})? (\S+)')
OVER = ("launch_failures_total", "dropped_total", "health_checks_total", "duration_seconds_count")
DENIED = tuple(f"denied_total {by}" for by in ("rule", "limit", "proxy"))


def samples(text: str) -> dict[str, float]:
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            match = SAMPLE.fullmatch(line)
            assert match, line
            found[f"{match[1]} {match[3]}" if match[3] else match[1]] = float(match[4])
    return found


def ask(path: Path, request: bytes = b"") -> str:
    with socket.socket(socket.AF_UNIX) as reader:
        reader.settimeout(60)
        reader.connect(str(path))
        reader.sendall(request)
        if not request:
            reader.shutdown(socket.SHUT_WR)
        answer = b""
        while chunk := reader.recv(65536):
            answer += chunk
    return answer.decode("ascii")


def test_the_text_is_a_histogram_that_adds_up() -> None:
    metrics = Metrics()
    for seconds in (0.001, 0.005, 0.3, 100000.0):
        metrics.ended(seconds)
    metrics.count(STARTED, 5)
    metrics.count(ACCEPTED, 7)
    other = Metrics()
    other.count(LINES_DROPPED, 4)
    found = samples(exposition([metrics.cells(), other.cells()], limit=3))
    buckets = [found[f"duration_seconds_bucket {bound}"] for bound in (*map(repr, BUCKETS), "+Inf")]
    assert buckets[:2] == [2, 2]
    assert buckets == sorted(buckets)
    assert buckets[-1] == found["duration_seconds_count"] == 4
    assert found["duration_seconds_sum"] == 100000.306
    assert (found["active"], found["waiting"], found["limit"], found["log_lines_dropped_total"]) == (1, 2, 3, 4)


def test_every_connection_is_counted_once(tcpserver: Callable[..., Server], tmp_path: Path) -> None:
    (tmp_path / "rules").write_text("127.0.0.9:deny\n:allow\n")
    compile_rules = [*tool("tcprules"), str(tmp_path / "cdb"), str(tmp_path / "tmp")]
    with (tmp_path / "rules").open() as rules:
        subprocess.run(compile_rules, stdin=rules, check=True)
    path = tmp_path / "metrics"
    options = ["-vRHl0", "-C1", "-x", str(tmp_path / "cdb"), "--proxy", "127.0.0.5", "--metrics", str(path)]
    server = tcpserver(*options, "127.0.0.1", "0", "sh", "-c", "read how; eval $how")

    assert samples(ask(path))["accepted_total"] == 0
    with socket.create_connection(("127.0.0.1", server.port)) as held:
        server.wait_for_line(" ok ")
        call(server.port)
        server.wait_for_line("tcpserver: limit ")
        call(server.port, source="127.0.0.9")
        server.wait_for_line("tcpserver: deny ")
        call(server.port, source="127.0.0.5", send=b"GET / HTTP/1.0\r\n\r\n")
        server.wait_for_line("unable to read PROXY header")
        call(server.port, source="127.0.0.5", send=b"PROXY TCP4 192.0.2.9 192.0.2.1 9 25\r\nexit 0\n")
        server.wait_for_line("tcpserver: end ")
        found = samples(ask(path))
        assert found["active"] == 1
        held.sendall(b"exit 1\n")
        server.wait_for_line("tcpserver: end ", count=2)
    found = samples(ask(path))
    assert {name: found[name] for name in (*DENIED, *OVER)} == dict(
        zip((*DENIED, *OVER), (1, 1, 1, 0, 0, 0, 2), strict=True)
    )
    assert found["accepted_total"] == sum(found[name] for name in (*DENIED, *OVER, "active", "waiting")) == 5


def test_the_answer_is_http_where_the_question_is(tcpserver: Callable[..., Server], tmp_path: Path) -> None:
    path = tmp_path / "metrics"
    tcpserver("-RHl0", "--metrics", str(path), "127.0.0.1", "0", "true")
    head, _, body = ask(path, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").partition("\r\n\r\n")
    assert head.startswith("HTTP/1.0 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n")
    assert f"Content-Length: {len(body)}" in head
    assert samples(body).keys() == samples(ask(path)).keys()
    assert ask(path, b"HEAD / HTTP/1.0\r\n\r\n").partition("\r\n\r\n")[2] == ""


@pytest.mark.peer("curl")
def test_curl_reads_it(tcpserver: Callable[..., Server], tmp_path: Path, peer: Callable[[str], str]) -> None:
    path = tmp_path / "metrics"
    tcpserver("-RHl0", "--metrics", str(path), "127.0.0.1", "0", "true")
    command = [peer("curl"), "-sS", "--fail", "--unix-socket", str(path), "http://localhost/metrics"]
    done = subprocess.run(command, capture_output=True, check=True)
    assert "accepted_total" in samples(done.stdout.decode())


def test_readers_who_say_nothing_stop_nobody(tcpserver: Callable[..., Server], tmp_path: Path) -> None:
    path = tmp_path / "metrics"
    server = tcpserver("-RHl0", "--metrics", str(path), "127.0.0.1", "0", "cat")
    silent = [socket.socket(socket.AF_UNIX) for _ in range(4)]
    for one in silent:
        one.connect(str(path))
    assert call(server.port, send=b"x").data == b"x"
    assert samples(ask(path))["accepted_total"] == 1
    for one in silent:
        one.close()


def test_the_socket_goes_with_the_server_and_one_that_was_left_is_replaced(
    tcpserver: Callable[..., Server], tmp_path: Path
) -> None:
    path = tmp_path / "metrics"
    killed = tcpserver("-RHl0", "--metrics", str(path), "127.0.0.1", "0", "true")
    killed.signal(9)
    killed.wait()
    assert path.is_socket()
    server = tcpserver("-RHl0", "--metrics", str(path), "127.0.0.1", "0", "true")
    assert "active" in samples(ask(path))
    server.signal(15)
    assert server.wait() == 0
    assert not path.exists()


@pytest.mark.parametrize("what", ["file", "listener"])
def test_what_is_somebody_elses_stays(tmp_path: Path, what: str) -> None:
    path = tmp_path / "metrics"
    with socket.socket(socket.AF_UNIX) as other:
        if what == "file":
            path.write_text("mine")
        else:
            other.bind(str(path))
            other.listen()
        command = [*tool("tcpserver"), "--metrics", str(path), "127.0.0.1", "0", "true"]
        done = subprocess.run(command, capture_output=True, check=False)
        assert done.returncode == 111
        assert done.stderr.decode() == f"tcpserver: fatal: unable to listen on {path}: address already used\n"
        assert path.exists()


def test_it_is_answered_under_load_and_never_off(tcpserver: Callable[..., Server], tmp_path: Path) -> None:
    path = tmp_path / "metrics"
    server = tcpserver("-RHl0", "-c4", "--metrics", str(path), "127.0.0.1", "0", "true")

    def load() -> None:
        for _ in range(20):
            call(server.port)

    callers = [threading.Thread(target=load) for _ in range(3)]
    for one in callers:
        one.start()
    while any(one.is_alive() for one in callers):
        found = samples(ask(path))
        assert found["accepted_total"] == sum(found[name] for name in (*DENIED, *OVER, "active", "waiting"))
        assert found["active"] <= 4
    for one in callers:
        one.join()
    assert samples(ask(path))["accepted_total"] == 60
