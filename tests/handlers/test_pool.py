"""What pooled processes are told of a connection: less than everything, and they know everything."""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING

import pytest

from tests.handlers.test_handler import write_module
from tests.support import Server
from ucspi_env import DialectError, Endpoint, dialects
from ucspi_env._facts import Descriptor, Facts
from ucspi_env._identify import identify
from ucspi_env.tools import _handler
from ucspi_env.tools import _zygote_child as protocol
from ucspi_env.tools._environments import REMEMBERED, Environments
from ucspi_env.tools._pool import Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="--handler needs Linux")

ENDS = {
    "IPv4": (Endpoint("192.0.2.9", 1), Endpoint("192.0.2.1", 25)),
    "loopback": (Endpoint("127.0.0.1", 1), Endpoint("127.0.0.1", 3000)),
    "IPv6": (Endpoint("2001:db8::9", 1), Endpoint("2001:db8::1", 25)),
    "link-local": (Endpoint("fe80::9", 1, "eth0"), Endpoint("fe80::1", 25, "eth0")),
}
PORTS = (1, 25, 113, 1023, 1024, 3000, 50000, 65535)
# What a stranger's DNS and ident server say may look like a port, or like the port of somebody else.
WORDS = ((None, None), ("a.example", "root"), ("50000", "50000"), ("25.example", "1"), ("not a name", "\x1b[2J"))


@pytest.fixture
def worker() -> Iterator[Worker]:
    with socket.socket() as channel:
        yield Worker(1, channel)


@pytest.mark.parametrize("ends", ENDS)
@pytest.mark.parametrize("name", [row.name for row in dialects() if "tcp" in row.transports])
def test_who_is_calling_is_what_the_whole_environment_and_the_kernel_say(
    name: str, ends: str, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    environments = Environments({"PATH": "/bin", "REMOTE_PORT": "50000", "TCPREMOTEINFO": "25"}, name)
    remote, local = ENDS[ends]
    kernel = Descriptor("closed")
    monkeypatch.setattr(_handler, "observe_descriptor", lambda _fd: kernel)
    callers: dict[int, _handler._Caller] = {}
    kinds: list[bytes] = []
    for host, info in WORDS:
        for port in PORTS:
            end = Endpoint(remote.ip, port, remote.zone, host, info)
            kernel = Descriptor(
                "socket",
                family="inet" if end.ip.version == 4 else "inet6",
                type="stream",
                peername=Endpoint(end.ip, port, end.zone),
                sockname=local,
            )
            key = (host, info)
            try:
                environ = environments.make(end, local)
            except DialectError:
                assert ends in ("IPv6", "link-local")
                return
            template = environments.recall(key) or environments.remember(key, environ)
            kind, slot, count, data = worker.tell(environ, template)
            kinds.append(kind)
            if kind == protocol.RECALL:
                callers[slot].at_port(data)
            else:
                callers[slot] = _handler._Caller(data, count, protocol)
            whole = b"\0".join([*environ, *environ.values()])
            caller = callers[slot]
            assert caller.environ == protocol.environ_of(whole)
            expected = identify(protocol.text_of(whole), Facts({0: kernel}))
            found = caller.connection()
            assert found == expected
            assert found.remote is not None
            assert expected.remote is not None
            assert (found.remote.host, found.remote.info) == (expected.remote.host, expected.remote.info)
    assert kinds.count(protocol.RECALL) in (0, len(WORDS) * (len(PORTS) - 1))


def test_a_process_learns_again_what_has_taken_the_place_of_another(worker: Worker) -> None:
    environments = Environments({})
    remote, local = ENDS["IPv4"]
    environ = environments.make(remote, local)
    first = environments.remember(0, environ)
    kinds = [worker.tell(environ, template)[0] for template in (None, first, first, None, first)]
    plain, learn, recall = protocol.PLAIN, protocol.LEARN, protocol.RECALL
    assert kinds == [plain, learn, recall, plain, recall]
    last = [environments.remember(key, environ) for key in range(1, protocol.TEMPLATES + 1)][-1]
    assert [worker.tell(environ, template)[0] for template in (last, first, last)] == [learn, learn, learn]
    assert REMEMBERED <= protocol.TEMPLATES  # else two that are in use would have one place


def test_callers_from_one_address_differ_in_their_ports(tcpserver: Callable[..., Server], tmp_path: Path) -> None:
    write_module(
        tmp_path,
        """
        import os, socket

        def who(session):
            kernel = socket.socket(fileno=os.dup(0)).getpeername()[1]
            variables = os.environ["TCPREMOTEPORT"], os.environb[b"TCP6REMOTEPORT"].decode()
            inherited = os.popen("echo $TCPREMOTEPORT").read().strip()
            print(session.remote.port, *variables, inherited, kernel, len(os.environ))
            os.environ["TCPREMOTEPORT"] = "lies"
        """,
    )
    options = ["--handler", "--reuse", "1000", "--pool", "1", "-RHl0", "127.0.0.1", "0"]
    server = tcpserver(*options, "app:who", cwd=tmp_path)
    sizes: set[bytes] = set()
    for number in range(6):
        with socket.socket() as sock:
            sock.bind((f"127.0.0.{1 + number % 2}", 0))
            sock.connect(("127.0.0.1", server.port))
            *ports, size = sock.makefile("rb").read().split()
            assert {int(port) for port in ports} == {sock.getsockname()[1]}
            sizes.add(size)
    assert len(sizes) == 1
