"""Real HAProxy and real nginx in front, with the configurations that docs/proxy.md shows."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import ssl
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.proxy.conftest import REPORT, Report, read_all, report
from tests.proxy.corpus import HEADERS
from tests.support import PATIENCE, Program, call, peers, start_tcpserver, tool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support import Server

DOC = (Path(__file__).parents[2] / "docs" / "proxy.md").read_text()
TRUSTED = "127.0.0.1,::1"
LOOPBACKS = ["127.0.0.1", "::1"]

# The two ways to put a program behind a balancer: the chain program under any super-server, and our own option.
WAYS = [
    pytest.param("chain", marks=pytest.mark.peer("tcpserver"), id="proxyserver under Debian's tcpserver"),
    pytest.param("option", id="tcpserver --proxy"),
]


def snippet(name: str) -> str:
    """A configuration from the documentation."""
    found = re.search(rf"<!-- tested: {name} -->\n```\w+\n(.*?)```", DOC, re.DOTALL)
    assert found, f"docs/proxy.md has no snippet {name}"
    return found[1]


def listener(host: str) -> socket.socket:
    """A listening socket for a balancer to inherit: so its port is known, and nobody else's, before it starts."""
    return socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=64)


class Front(NamedTuple):
    """A balancer that runs, with the port that it serves on each address."""

    program: Program
    ports: dict[str, int]

    def ask(self, host: str, send: bytes = b"hello", context: ssl.SSLContext | None = None) -> tuple[Report, str]:
        """Call over the balancer: what the program at the back saw, and the caller's own name for its end."""
        with socket.create_connection((host, self.ports[host]), PATIENCE) as plain:
            ip, port = plain.getsockname()[:2]
            truth = f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"
            if context is None:
                plain.sendall(send)
                plain.shutdown(socket.SHUT_WR)
                return report(read_all(plain)), truth
            with context.wrap_socket(plain, server_hostname="mail.example.org") as client:
                client.sendall(send)
                return report(read_all(client)), truth


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> Iterator[Callable[..., Server]]:
    """Start servers that are to be behind a balancer; their program answers with a report."""
    with contextlib.ExitStack() as running:

        def start(way: str, *arguments: str, host: str = "127.0.0.1", trusted: str = TRUSTED) -> Server:
            program = [*REPORT, *arguments]
            if way == "option":
                server = start_tcpserver("-vRHl", "mail.example", "--proxy", trusted, host, "0", *program)
            else:
                tcpserver = peers().find("tcpserver")
                assert tcpserver
                chain = [*tool("proxyserver"), "-v", "-n", trusted, *program]
                server = start_tcpserver("-vRHl0", host, "0", *chain, command=[tcpserver])
            running.callback(server.stop)
            return server

        yield start


def haproxy(path: str, config: Path, text: str, servers: list[str], listeners: dict[str, socket.socket]) -> Front:
    """Run a documented configuration with the addresses of this machine in place of the documentation's."""
    binds = [rf"    bind fd@{one.fileno()}\1" for one in listeners.values()]
    text = re.sub(r"^    bind \S+ v4v6(.*)$", "\n".join(binds), text, flags=re.MULTILINE)
    for number, server in enumerate(servers, 1):
        text, count = re.subn(rf"^(    server mail{number}) \S+", rf"\1 {server}", text, flags=re.MULTILINE)
        assert count == 1
    config.write_text(text)
    program = Program([path, "-db", "-f", str(config)], pass_fds=[one.fileno() for one in listeners.values()])
    return Front(program, {host: one.getsockname()[1] for host, one in listeners.items()})


@contextlib.contextmanager
def listeners() -> Iterator[dict[str, socket.socket]]:
    with listener("127.0.0.1") as v4, listener("::1") as v6:
        yield {"127.0.0.1": v4, "::1": v6}


def name_of(server: Server, host: str = "127.0.0.1") -> str:
    return f"[{host}]:{server.port}" if ":" in host else f"{host}:{server.port}"


# -- HAProxy ----------------------------------------------------------------------------------------------------------


@pytest.mark.peer("haproxy")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("sends", ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id"])
@pytest.mark.parametrize("host", LOOPBACKS)
def test_haproxys_callers_are_seen(
    peer: Callable[[str], str], backend: Callable[..., Server], tmp_path: Path, way: str, sends: str, host: str
) -> None:
    one, two = backend(way, "mail1", host=host), backend(way, "mail2", host=host)
    text = snippet("haproxy").replace("check send-proxy-v2", sends)
    with listeners() as sockets:
        servers = [name_of(one, host), name_of(two, host)]
        front = haproxy(peer("haproxy"), tmp_path / "haproxy.cfg", text, servers, sockets)
        with front.program:
            answered = set()
            for caller in LOOPBACKS * 2:
                said, truth = front.ask(caller, b"HELO " + caller.encode())
                assert (said.remote, said.evidence, said.rest) == (truth, "proxy", f"HELO {caller}")
                assert said.local == truth.rpartition(":")[0] + f":{front.ports[caller]}"
                assert said.kernel
                assert said.kernel != truth
                assert said.variables["UCSPI_PROXY_PEER"] == said.kernel
                assert said.proto == ("TCP6" if ":" in caller else "TCP")
                assert said.problems == []
                answered.add(said.arguments[0])
            assert answered == {"mail1", "mail2"}


@pytest.mark.peer("haproxy")
@pytest.mark.parametrize("way", WAYS)
def test_haproxys_health_checks_are_answered_and_callers_are_served_by_both_servers(
    peer: Callable[[str], str], backend: Callable[..., Server], tmp_path: Path, way: str
) -> None:
    one, two = backend(way, "mail1"), backend(way, "mail2")
    text = snippet("haproxy").replace(" check ", " check inter 100ms ")
    with listeners() as sockets:
        front = haproxy(peer("haproxy"), tmp_path / "haproxy.cfg", text, [name_of(one), name_of(two)], sockets)
        with front.program:
            answered = []
            for caller in LOOPBACKS * 3:
                said, truth = front.ask(caller)
                assert said.remote == truth
                answered.append(said.arguments[0])
            assert sorted(set(answered)) == ["mail1", "mail2"]
            if way == "chain":
                # Checks go on while callers are served, and each is a success for the balancer and for the log.
                one.wait_for_line(lambda line: "closing LOCAL" in line or "has gone" in line, count=3)
            assert not any("DOWN" in line for line in front.program.lines)
        assert not any("fatal" in line or "warning" in line for line in one.stop())


@pytest.mark.peer("haproxy")
@pytest.mark.parametrize("way", WAYS)
def test_a_server_that_is_gone_costs_no_caller(
    peer: Callable[[str], str], backend: Callable[..., Server], tmp_path: Path, way: str
) -> None:
    one, two = backend(way, "mail1"), backend(way, "mail2")
    text = snippet("haproxy").replace(" check ", " check inter 50ms fall 1 ")
    with listeners() as sockets:
        front = haproxy(peer("haproxy"), tmp_path / "haproxy.cfg", text, [name_of(one), name_of(two)], sockets)
        with front.program:
            front.ask("127.0.0.1")
            one.stop()
            front.program.wait_for_line("mail1 is DOWN")
            for caller in LOOPBACKS * 2:
                said, truth = front.ask(caller)
                assert (said.arguments, said.remote) == (["mail2"], truth)


@pytest.mark.peer("haproxy", "s6-ipcserver-socketbinder", "s6-ipcserverd")
@pytest.mark.parametrize("sends", ["send-proxy", "send-proxy-v2"])
@pytest.mark.parametrize("trusted", ["unix:", "unix:uid", "UCSPI_TRUST=proxy"])
def test_haproxys_callers_are_seen_over_a_unix_socket(
    peer: Callable[[str], str], tmp_path: Path, sends: str, trusted: str
) -> None:
    path = tmp_path / "mail.sock"
    spec = f"unix:uid={os.geteuid()}" if trusted == "unix:uid" else "unix:"
    chain = [*tool("proxyserver"), "-n", spec]
    if trusted == "UCSPI_TRUST=proxy":  # a wrapper that leaves no mark: the operator vouches for it
        chain += ["env", "-u", "UCSPI_PROXY_PEER", trusted]
    # What s6-ipcserver becomes; unpacked it looks for the two where they are not.
    argv = [peer("s6-ipcserver-socketbinder"), str(path), peer("s6-ipcserverd"), "-1", *chain, *REPORT]
    text = snippet("haproxy").replace("check send-proxy-v2", sends)
    text = re.sub(r"^    server mail2 .*\n", "", text, flags=re.MULTILINE)
    with listeners() as sockets, Program(argv) as server:
        assert server.process.stdout is not None
        assert server.process.stdout.readline() == b"\n"  # -1: it listens
        front = haproxy(peer("haproxy"), tmp_path / "haproxy.cfg", text, [f"unix@{path}"], sockets)
        with front.program:
            for caller in LOOPBACKS:
                said, truth = front.ask(caller, b"HELO")
                assert (said.remote, said.evidence, said.rest) == (truth, "proxy", "HELO")
                assert said.local == truth.rpartition(":")[0] + f":{front.ports[caller]}"
                assert said.problems == []
                mark = spec if trusted == "unix:uid" else f"unix:{path}"
                assert said.variables.get("UCSPI_PROXY_PEER") == (None if trusted == "UCSPI_TRUST=proxy" else mark)


@pytest.fixture(scope="session")
def certificate(peer: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate with its key in one file, as HAProxy wants it."""
    folder = tmp_path_factory.mktemp("certificate")
    command = [
        peer("openssl"),
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=mail.example.org",
    ]
    command += ["-addext", "subjectAltName=DNS:mail.example.org", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    both = folder / "mail.pem"
    both.write_bytes((folder / "cert.pem").read_bytes() + (folder / "key.pem").read_bytes())
    return both


@pytest.mark.peer("haproxy", "openssl")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("caller", LOOPBACKS)
def test_haproxy_ends_tls_and_tells_of_it(
    peer: Callable[[str], str], backend: Callable[..., Server], tmp_path: Path, certificate: Path, way: str, caller: str
) -> None:
    text = snippet("haproxy-tls").replace("/etc/haproxy/mail.pem", str(certificate))
    context = ssl.create_default_context(cafile=str(certificate))
    with listeners() as sockets:
        front = haproxy(peer("haproxy"), tmp_path / "haproxy.cfg", text, [name_of(backend(way, "line"))], sockets)
        with front.program:
            said, truth = front.ask(caller, b"USER me\r\n", context)
    assert (said.remote, said.evidence, said.rest, said.problems) == (truth, "proxy", "USER me\r\n", [])
    assert said.tls
    assert said.variables["SSL_PROTOCOL"] == "TLSv1.3"
    assert said.variables["SSL_CIPHER"].startswith("TLS_")
    assert said.variables["SSL_TLS_SNI_SERVERNAME"] == "mail.example.org"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["haproxy send-proxy over IPv6", "haproxy send-proxy-v2 over IPv4"])
def test_a_header_that_comes_around_the_balancer_never_wins(
    backend: Callable[..., Server], way: str, name: str
) -> None:
    server = backend(way, trusted="192.0.2.10,2001:db8::10")
    answer = call(server.port, send=HEADERS[name][0] + b"hello")
    assert answer.data == b""
    assert f"127.0.0.1:{answer.port}" in server.wait_for_line(
        "no trusted balancer" if way == "option" else "not a trusted balancer"
    )


@pytest.mark.parametrize("way", WAYS)
def test_a_trusted_balancer_that_sends_garbage_is_dropped_with_one_line(
    backend: Callable[..., Server], way: str
) -> None:
    server = backend(way)
    answer = call(server.port, send=b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n")
    assert answer.data == b""
    line = server.wait_for_line("is not a PROXY header")
    assert f"unable to read PROXY header from 127.0.0.1:{answer.port}: " in line


# -- nginx ------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def nginx(path: str, folder: Path, servers: list[str], sockets: dict[str, socket.socket]) -> Iterator[Front]:
    """Run the documented configuration; nginx takes sockets over by their addresses ($NGINX)."""
    text = snippet("nginx")
    module = peers().find("ngx_stream_module.so")
    assert module
    text = text.replace("modules/ngx_stream_module.so", module)
    text = text.replace("listen 25;", f"listen 127.0.0.1:{sockets['127.0.0.1'].getsockname()[1]};")
    text = text.replace("listen [::]:25 ipv6only=on;", f"listen [::1]:{sockets['::1'].getsockname()[1]};")
    for number, server in enumerate(servers, 1):
        text = text.replace(f"server 192.0.2.2{number}:25;", f"server {server};")
    config = folder / "nginx.conf"
    config.write_text(text)
    directives = f"daemon off; pid {folder}/nginx.pid;"
    argv = [path, "-e", "stderr", "-p", str(folder), "-c", str(config), "-g", directives]
    inherited = "".join(f"{one.fileno()};" for one in sockets.values())
    with Program(argv, env={"NGINX": inherited}, pass_fds=[one.fileno() for one in sockets.values()]) as program:
        yield Front(program, {host: one.getsockname()[1] for host, one in sockets.items()})


@pytest.mark.peer("nginx", "ngx_stream_module.so")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("host", LOOPBACKS)
def test_nginxs_callers_are_seen(
    peer: Callable[[str], str], backend: Callable[..., Server], tmp_path: Path, way: str, host: str
) -> None:
    servers = [name_of(backend(way, f"mail{number}", host=host), host) for number in (1, 2)]
    with listeners() as sockets, nginx(peer("nginx"), tmp_path, servers, sockets) as front:
        answered = set()
        for caller in LOOPBACKS * 2:
            said, truth = front.ask(caller, b"HELO " + caller.encode())
            assert (said.remote, said.evidence, said.rest) == (truth, "proxy", f"HELO {caller}")
            assert said.kernel != truth
            assert said.problems == []
            answered.add(said.arguments[0])
        assert answered == {"mail1", "mail2"}
