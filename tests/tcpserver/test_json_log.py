"""The log as JSON: one object a line, complete, and not to be forged."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from tests.support import Server, call
from ucspi_env import Endpoint
from ucspi_env.tools._log import Lines
from ucspi_env.tools._logjson import TEXT_LIMIT, JSONLines

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TIME = "2026-11-23T21:00:00.000Z"
ENDS = {"remote_ip", "remote_port", "local_ip", "local_port"}
NAMES = st.text(max_size=300).map(lambda text: text.encode("utf-8", "replace").decode("utf-8", "surrogateescape"))
BYTES = st.binary(max_size=300).map(lambda raw: raw.decode("utf-8", "surrogateescape"))


def objects(lines: list[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines]


@given(NAMES | BYTES, NAMES | BYTES, NAMES | BYTES)
def test_what_a_stranger_says_stays_in_its_string(host: str, info: str, why: str) -> None:
    lines = JSONLines(40, lambda: TIME)
    local = Endpoint("192.0.2.2", 25, host="mail.example")
    remote = Endpoint("2001:db8::1", 4711, host=host, info=info)
    for line in (
        lines.admitted("ok", 7, local, remote),
        lines.dropped(why, local, remote),
        lines.end(7, 9, 1.23456, local, remote),
        lines.connected(0, 5, local, remote),
    ):
        assert line.isascii()
        assert line.isprintable()
        event = json.loads(line)
        assert (event["remote_ip"], event["remote_port"], event["local_ip"]) == ("2001:db8::1", 4711, "192.0.2.2")
        assert event["time"] == TIME
        assert all(len(event.get(name, "")) <= TEXT_LIMIT + 3 for name in ("remote_host", "remote_info", "reason"))
        # Whoever reads it gets text that can be written down again.
        json.dumps(event, ensure_ascii=False).encode("utf-8")


@given(st.text(), BYTES)
def test_no_warning_is_more_than_one_line_in_the_other_format_either(text: str, raw: str) -> None:
    for what in (text.encode("utf-8", "replace").decode("utf-8"), raw):
        line = Lines(40).warning(what)
        written = line.encode("utf-8", "surrogateescape")
        assert not [byte for byte in written if byte < 32 or byte == 127]
        assert line.startswith("tcpserver: warning: ")


def test_a_connection_leaves_these_events(tcpserver: Callable[..., Server]) -> None:
    server = tcpserver("-vRHl0", "--log-format", "json", "127.0.0.1", "0", "sh", "-c", "read how; eval $how")
    first = call(server.port, send=b"exit 3\n")
    server.wait_for_line('"event":"end"')
    call(server.port, send=b"kill -9 $$\n")
    server.wait_for_line('"event":"end"', count=2)
    events = objects(server.stop())
    assert [event["event"] for event in events] == ["status", *["status", "ok", "end", "status"] * 2]
    assert all(event["time"][10] == "T" and event["time"].endswith("Z") for event in events)
    _, started, ok, end, over, *_, killed, _ = events
    assert (started["active"], started["limit"], over["active"]) == (1, 40, 0)
    assert {name: ok[name] for name in ENDS} == {
        "remote_ip": "127.0.0.1",
        "remote_port": first.port,
        "local_ip": "127.0.0.1",
        "local_port": server.port,
    }
    assert ok["local_host"] == "0"
    assert {name: end[name] for name in (*ENDS, "pid", "exit_code")} == {
        **{name: ok[name] for name in (*ENDS, "pid")},
        "exit_code": 3,
    }
    assert end["seconds"] >= 0
    assert killed["signal"] == 9
    assert "exit_code" not in killed


def test_every_line_is_json_even_a_warning_of_the_start(tcpserver: Callable[..., Server], tmp_path: Path) -> None:
    server = tcpserver("-vRHl0", "--log-format=json", "-x", str(tmp_path / "no.cdb"), "0", "0", "true")
    port = call(server.port).port
    server.wait_for_line('"event":"drop"')
    with socket.create_connection(("127.0.0.1", server.port)):
        server.wait_for_line('"event":"drop"', count=2)
    server.signal(10)
    server.wait_for_line('"event":"status"', count=6)
    dropped = next(event for event in objects(server.stop()) if event["event"] == "drop")
    assert dropped["reason"] == f"unable to read {tmp_path}/no.cdb: file does not exist"
    assert dropped["remote_port"] == port


def test_usr1_says_who_is_connected(tcpserver: Callable[..., Server]) -> None:
    server = tcpserver("-vRHl0", "--log-format=json", "127.0.0.1", "0", "cat")
    with socket.create_connection(("127.0.0.1", server.port)) as caller:
        ok = json.loads(server.wait_for_line('"event":"ok"'))
        server.signal(10)
        connected = json.loads(server.wait_for_line('"event":"connected"'))
        assert connected["remote_port"] == caller.getsockname()[1]
    assert connected["pid"] == ok["pid"]
    assert isinstance(connected["seconds"], int)
