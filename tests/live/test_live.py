"""Each super-server for real: it runs examples/servers/whoami.py, which answers with the caller's own name, or fails.

Server and caller are two private namespaces joined by a cable, so that addresses, ports and zones are the test's own.
"""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.live.servers import DUAL, HERE, LINK, ROWS, V4, V6, Row, Site, path
from tests.live.table import CELL
from tests.support import PATIENCE, Namespace, Program
from ucspi_env import UnixPeer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WHOAMI = Path(__file__).parents[2] / "examples" / "servers" / "whoami.py"


class Cable:
    """The two namespaces."""

    def __init__(self, server: Namespace, caller: Namespace) -> None:
        self.server = server
        self.caller = caller
        self._port = 7000

    def port(self) -> int:
        """A port that nobody has used in there."""
        self._port += 1
        return self._port


@pytest.fixture(scope="session")
def cable() -> Iterator[Cable]:
    with Namespace() as server:
        caller = server.neighbour(
            "192.0.2.2/24", "2001:db8::2/64", "fe80::2/64", own=["192.0.2.1/24", "2001:db8::1/64", "fe80::1/64"]
        )
        yield Cable(server, caller)


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    """whoami.py as one word, which is all that some super-servers take, by this interpreter; it adds the evidence."""
    copy = tmp_path_factory.mktemp("program") / "whoami"
    evidence = "import sys, ucspi_env\nsys.stdout.write(f'evidence: {ucspi_env.connection().evidence}\\r\\n')\n"
    copy.write_text(f"#!{sys.executable} -I\n{WHOAMI.read_text()}\n{evidence}")
    copy.chmod(0o755)
    copy.parent.chmod(0o755)
    return str(copy)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("certificate")
    command = [path("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=live"]
    subprocess.run([*command, "-keyout", "key", "-out", "cert"], cwd=folder, check=True, capture_output=True)
    return (folder / "key").read_bytes() + (folder / "cert").read_bytes()


def wait_until_it_listens(server: Program, namespace: Namespace, port: int, table: str) -> None:
    """By the kernel's own table: a trial connection would be a caller to servers that serve only one."""
    until = time.monotonic() + PATIENCE
    wanted = f":{port:04X} "
    while True:
        lines = namespace.run(["cat", f"/proc/net/{table}"]).stdout.decode().splitlines()
        if any(wanted in line.partition(" 0A ")[0] for line in lines if " 0A " in line):  # 0A: TCP_LISTEN
            return
        assert server.process.poll() is None, f"{server.argv} ended: {server.stop()}"
        assert time.monotonic() < until, f"{server.argv} never listened: {server.lines}"
        time.sleep(0.01)


def read_all(connection: socket.socket) -> bytes:
    received = bytearray()
    while chunk := connection.recv(4096):
        received += chunk
    return bytes(received)


def ask(namespace: Namespace, case: str, port: int, *, tls: bool = False, send: bytes = b"") -> tuple[str, str]:
    """Call: what came back, and the caller's own name."""
    family = socket.AF_INET if case in (V4, DUAL) else socket.AF_INET6
    with namespace.socket(family) as connection:
        here = HERE[case]
        connection.connect((here, port, 0, scope(namespace)) if case == LINK else (here, port))
        ip, own = connection.getsockname()[:2]
        ip = ip.partition("%")[0]
        truth = f"{ip}:{own}" if family == socket.AF_INET else f"[{ip}{'%veth0' if case == LINK else ''}]:{own}"
        if not tls:
            connection.sendall(send)
            return read_all(connection).decode(), truth
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with context.wrap_socket(connection) as secured:
            return read_all(secured).decode(), truth


def scope(namespace: Namespace) -> int:
    """The number of the caller's interface, which only its own namespace knows."""
    return int(namespace.run(["ip", "-o", "link", "show", "veth0"], check=True).stdout.partition(b":")[0])


CELLS = [
    pytest.param(
        row,
        case,
        id=f"{row.name}-{case}",
        marks=[
            pytest.mark.peer(*row.needs),
            *([pytest.mark.root] if row.root else []),
            *([pytest.mark.needs("/etc/protocols")] if {"xinetd", "inetutils-inetd"} & set(row.needs) else []),
        ],
    )
    for row in ROWS
    for case in row.cases
]


@pytest.mark.netns
@pytest.mark.parametrize(("row", "case"), CELLS)
def test_remote_is_the_caller_that_the_caller_knows(
    row: Row,
    case: str,
    cable: Cable,
    program: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
) -> None:
    if row.tls:
        (tmp_path / "mail.pem").write_bytes(request.getfixturevalue("certificate"))
        (tmp_path / "mail.pem").chmod(0o600)
    site = Site(case, cable.port(), program, tmp_path)
    with Program(row.command(site), namespace=cable.server) as server:
        wait_until_it_listens(server, cable.server, site.port, "tcp6" if site.six else "tcp")
        if case in row.refuses:
            record_property(CELL, (row.name, case, "refused"))
            with pytest.raises(ConnectionRefusedError):
                ask(cable.caller, case, site.port, tls=row.tls)
            return
        answer, truth = ask(cable.caller, case, site.port, tls=row.tls)
        answer = answer.replace("\r\r\n", "\r\n")  # a terminal adds its own
        lines = server.stop()
    said, _, facts = answer.partition("\r\n")
    evidence = facts.rpartition("evidence: ")[2].strip()
    right = f"you are {truth}" if row.zone else f"you are {truth.replace('%veth0', '')}"
    word = "right" if row.zone or case != LINK else "right, no zone"
    record_property(CELL, (row.name, case, f"{word} ({evidence})" if said == right else said))
    assert said == right, lines
    assert evidence in row.evidence


def request_of_git(path: str) -> bytes:
    """What a git client asks first (gitprotocol-pack(5))."""
    line = f"git-upload-pack {path}\0host=live\0".encode()
    return f"{len(line) + 4:04x}".encode() + line


@pytest.mark.netns
@pytest.mark.peer("git")
@pytest.mark.parametrize("case", [V4, V6, DUAL, LINK])
def test_the_access_hook_of_git_daemon_is_told_the_caller(
    case: str, cable: Cable, program: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    git = path("git")
    subprocess.run([git, "init", "-q", "--bare", str(tmp_path / "live.git")], check=True)
    hook = tmp_path / "hook"
    # The daemon shows the first line of a hook that refuses.
    hook.write_text(f"#!/bin/sh\nsaid=$({program} | tr -d '\\r' | tr '\\n' ';')\necho \"$said\"\nexit 1\n")
    hook.chmod(0o755)
    daemon = (
        subprocess.run([git, "--exec-path"], check=True, capture_output=True, text=True).stdout.strip() + "/git-daemon"
    )
    port = cable.port()
    host = "0.0.0.0" if case == V4 else "::"
    argv = [daemon, "--reuseaddr", f"--base-path={tmp_path}", "--export-all", f"--listen={host}", f"--port={port}"]
    with Program([*argv, f"--access-hook={hook}", "--informative-errors"], namespace=cable.server) as server:
        wait_until_it_listens(server, cable.server, port, "tcp" if case == V4 else "tcp6")
        if case == DUAL:
            record_property(CELL, ("git daemon --access-hook", case, "refused"))
            with pytest.raises(ConnectionRefusedError):
                ask(cable.caller, case, port)
            return
        answer, truth = ask(cable.caller, case, port, send=request_of_git("/live.git"))
    said = answer.partition("ERR ")[2]
    right = f"you are {truth.replace('%veth0', '')};"  # git does not tell the zone
    word = "right, no zone" if case == LINK else "right"
    evidence = said.partition("evidence: ")[2].partition(";")[0]
    record_property(
        CELL, ("git daemon --access-hook", case, f"{word} ({evidence})" if said.startswith(right) else said)
    )
    assert said.startswith(right), server.lines
    assert evidence == "unconfirmed"


@pytest.fixture(scope="session")
def ssh_keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ssh")
    for name in ("host", "caller"):
        subprocess.run(
            [path("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)],
            check=True,
            capture_output=True,
        )
    return folder


@pytest.mark.netns
@pytest.mark.root
@pytest.mark.peer("sshd", "ssh", "ssh-keygen", "ncat", "ucspi-tcp-ipv6/tcpserver", "unshare")
@pytest.mark.parametrize("case", [V4, V6, DUAL, LINK])
def test_a_login_over_sshd_below_tcpserver_is_told_the_caller(
    case: str, cable: Cable, program: str, ssh_keys: Path, record_property: Callable[[str, object], None]
) -> None:
    with Path("/etc/passwd").open() as users:
        if not any(line.startswith("sshd:") for line in users):
            pytest.skip("sshd refuses to run as the superuser where there is no user sshd")
    port, own = cable.port(), cable.port()
    options = ["AuthorizedKeysFile=" + str(ssh_keys / "caller.pub"), "StrictModes=no", "UsePAM=no", "PidFile=none"]
    options += [f"ForceCommand={program}", "PermitRootLogin=yes", "UseDNS=no"]
    sshd = [path("sshd"), "-i", "-e", "-f", "/dev/null", "-h", str(ssh_keys / "host")]
    sshd += [word for option in options for word in ("-o", option)]
    tcpserver = [path("ucspi-tcp-ipv6/tcpserver"), "-RHl0", "0.0.0.0" if case == V4 else "::0", str(port)]
    # sshd wants a directory of its own under /run: it gets one that nobody else sees.
    private = 'mount -t tmpfs none /run && mkdir /run/sshd && exec "$@"'
    argv = ["unshare", "-m", "sh", "-c", private, "sh", *tcpserver, *sshd]
    ip = {V6: "[2001:db8::2]", LINK: "[fe80::2%veth0]"}.get(case, "192.0.2.2")
    here = HERE[case] + ("%%veth0" if case == LINK else "")  # ssh has a meaning of its own for single ones
    truth = f"{ip}:{own}"
    with Program(argv, namespace=cable.server) as server:
        wait_until_it_listens(server, cable.server, port, "tcp" if case == V4 else "tcp6")
        ssh = [path("ssh"), "-F", "/dev/null", "-i", str(ssh_keys / "caller"), "-o", "StrictHostKeyChecking=no"]
        ssh += ["-o", f"ProxyCommand={path('ncat')} -p {own} {here} {port}"]
        ssh += ["-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes", "root@live"]
        done = cable.caller.run(ssh)
    answer = done.stdout.decode()
    evidence = answer.rpartition("evidence: ")[2].strip()
    right = answer.startswith(f"you are {truth}\r\n")
    record_property(CELL, ("sshd -i below tcpserver", case, f"right ({evidence})" if right else answer))
    assert right, (done.stderr, server.lines)
    assert evidence == "relay"  # sshd has the connection that SSH_CONNECTION names


UNIX_SERVERS: dict[str, tuple[str, Callable[[str, str], list[str]]]] = {
    "unixserver (ucspi-unix)": ("unixserver", lambda name, program: [path("unixserver"), name, program]),
    "s6-ipcserver": (
        "s6-ipcserver-socketbinder",
        lambda name, program: [path("s6-ipcserver-socketbinder"), name, path("s6-ipcserverd"), program],
    ),
    "socat UNIX-LISTEN, EXEC,nofork": (
        "socat",
        lambda name, program: [path("socat"), f"UNIX-LISTEN:{name},fork", f"EXEC:{program},nofork"],
    ),
}


@pytest.mark.parametrize(
    "server", [pytest.param(name, marks=pytest.mark.peer(row[0]), id=name) for name, row in UNIX_SERVERS.items()]
)
def test_a_caller_over_a_unix_domain_socket_is_known_by_its_credentials(
    server: str, program: str, record_property: Callable[[str, object], None]
) -> None:
    with tempfile.TemporaryDirectory(prefix="live") as folder:  # a socket's name has at most 107 bytes
        name = f"{folder}/socket"
        with Program(UNIX_SERVERS[server][1](name, program)) as running, socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE)
            until = time.monotonic() + PATIENCE
            while True:
                try:
                    connection.connect(name)
                except (FileNotFoundError, ConnectionRefusedError):
                    assert running.process.poll() is None, running.stop()
                    assert time.monotonic() < until, running.lines
                    time.sleep(0.01)
                else:
                    break
            answer = read_all(connection).decode()
    truth = UnixPeer(os.geteuid(), os.getegid(), os.getpid(), None)
    evidence = answer.rpartition("evidence: ")[2].strip()
    right = answer.startswith(f"you are {truth}\r\n")
    record_property(CELL, (server, "UNIX", f"right ({evidence})" if right else answer))
    assert right, answer
    assert evidence in ("confirmed", "kernel")
