"""Record what web servers and relays hand to their programs: ``python -m tests.live.record [FILE ...]``, as root.

Writes ``tests/captures/FILE.json`` for each file of the table below, or for those that are named. Server and caller are
two private namespaces with addresses of the documentation's; paths are replaced, so that nothing in a recording depends
on the machine.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.live.exposed import WEB, Said, Site, request
from tests.support import Namespace, peers
from tests.support.recordings import CAPTURES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOT = Path(__file__).resolve().parents[2]

PORT = 8080
HERE = {"v4": "192.0.2.1", "v6": "2001:db8::1"}
CALLER = {"v4": "192.0.2.2", "v6": "2001:db8::2"}
CLEAN = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C", "CAPCANARY": "kept"}
LEFT_OVER = {
    "PROTO": "TCP",
    "TCPREMOTEIP": "203.0.113.66",
    "TCPREMOTEPORT": "666",
    "REMOTE_ADDR": "203.0.113.67",
    "REMOTE_PORT": "667",
    "REMOTE_HOST": "forged.example",
    "SOCAT_PEERADDR": "203.0.113.68",
    "SOCAT_PEERPORT": "668",
    "SSH_CONNECTION": "203.0.113.69 669 203.0.113.1 22",
}
ATTACK = [
    ("X-PeerAddr", "10.1.2.3"),
    ("X-PeerPort", "1"),
    ("X-Pid", "1"),
    ("TCPREMOTEIP", "10.1.2.3"),
    ("Remote-Addr", "10.1.2.3"),
    ("Remote-Port", "1"),
    ("Socat-PeerAddr", "10.1.2.3"),
    ("Socat-Pid", "1"),
    ("Ucspi-Trust", "proxy,socat:HTTP_X"),
    ("Gateway-Interface", "CGI/1.1"),
    ("X-Forwarded-For", "10.1.2.3"),
]


class Case(NamedTuple):
    """One recording.

    Attributes:
        family: "v4" or "v6".
        headers: what the client adds to its request.
        body: of a POST request.
        stale: whether the server is started in an environment with other servers' variables.
    """

    family: str
    headers: Sequence[tuple[str, str]] = ()
    body: bytes | None = None
    stale: bool = False

    @property
    def name(self) -> str:
        words = [("POST", self.body is not None), ("headers", bool(self.headers)), ("stale", self.stale)]
        return "+".join([self.family, *(word for word, wanted in words if wanted)])


V4, V6 = Case("v4"), Case("v6")
HEADERS, STALE = Case("v4", ATTACK), Case("v4", stale=True)
FILES = {
    "lighttpd": ("lighttpd", [V4, V6, Case("v4", ATTACK, b"X-PeerAddr=10.1.2.3"), HEADERS]),
    "apache-cgid-headers": ("Apache mod_cgid", [HEADERS, Case("v6", ATTACK, b"X-PeerAddr=10.1.2.3")]),
    "busybox-httpd-tcpserver": ("busybox httpd -i below tcpserver", [V4, V6, HEADERS, STALE]),
    "net-server-http": ("Net::Server::HTTP", [V4, V6, HEADERS, STALE]),
}


def inetd(site: Site, wrapper: str) -> list[str]:
    protocol = "tcp6" if ":" in site.host else "tcp"
    line = f"{site.host}:{site.port} stream {protocol} nowait root {peer(wrapper)} {wrapper} {site.program}\n"
    return [peer("inetd"), "-i", site.write("inetd.conf", line)]


def tcpserver(site: Site, *wrapper: str) -> list[str]:
    return [peer("ucspi-tcp-ipv6/tcpserver"), "-RHl0", site.host, str(site.port), *wrapper, str(site.program)]


def socat(site: Site, options: str) -> list[str]:
    listen = (
        f"TCP6-LISTEN:{site.port},bind=[{site.host}]"
        if ":" in site.host
        else f"TCP4-LISTEN:{site.port},bind={site.host}"
    )
    return [peer("socat"), f"{listen},fork,reuseaddr", f"EXEC:{site.program}{options}"]


def standin(shape: str) -> list[str]:
    """s6-tlsd's shape (child) or tlss's (parent), without TLS; Debian has neither."""
    return [sys.executable, "-I", str(ROOT / "tests" / "support" / "relay.py"), shape, "--"]


# Relays: their command lines. The recordings hold the relay's sockets, too.
RELAYS: dict[str, tuple[Callable[[Site], list[str]], list[Case]]] = {
    "tcpserver-recordio": (lambda site: tcpserver(site, peer("recordio")), [V4, V6, STALE]),
    "tcpserver-recordio-fixcrio": (lambda site: tcpserver(site, peer("recordio"), peer("fixcrio")), [V4, V6]),
    "inetd-fixcrio": (lambda site: inetd(site, "fixcrio"), [V4, STALE]),
    "tcpserver-child": (lambda site: tcpserver(site, *standin("child")), [V4, V6, STALE]),
    "tcpserver-parent": (lambda site: tcpserver(site, *standin("parent")), [V4, V6, STALE]),
    "tcpserver-two-hops": (lambda site: tcpserver(site, *standin("parent"), peer("recordio")), [V6]),
    "socat-exec": (lambda site: socat(site, ""), [V4, V6, STALE]),
    "socat-exec-pipes": (lambda site: socat(site, ",pipes"), [V4, V6]),
    "socat-exec-pty": (lambda site: socat(site, ",pty,raw,echo=0"), [V4, V6]),
}


def peer(name: str) -> str:
    found = peers().find(name)
    assert found is not None, name
    return found


def changes(before: dict[str, str], said: Said) -> dict[str, Any]:
    """How the program's environment differs from the server's, in the order that it was handed over."""
    values: dict[str, list[str]] = {}
    for name, value in said.everything["environ"]:
        values.setdefault(name, []).append(value)
    after = {name: found[0] for name, found in values.items()}
    return {
        "env_base": before,
        "env_added": {name: value for name, value in after.items() if before.get(name) != value},
        "env_removed": [name for name in before if name not in after],
        "env_changed": {name: value for name, value in before.items() if after.get(name, value) != value},
        "env_duplicates": {name: found for name, found in values.items() if len(found) > 1},
    }


def record(file: str, server: str, case: Case, here: Namespace, there: Namespace) -> dict[str, Any]:
    """Start the server, call it once, and put down what its program saw."""
    env = CLEAN | (LEFT_OVER if case.stale else {})
    with tempfile.TemporaryDirectory(prefix="record") as folder:
        site = Site(Path(folder), HERE[case.family], PORT, here, there)
        with WEB[server].start(site, env) as pid:
            command = Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").replace("\0", " ")
            sent = request(case.headers, case.body)
            response, port = site.call(sent, CALLER[case.family])
            said = site.take(response)
        return written(file, file, case, said, env, pid, port, command, sent, folder)


def written(
    file: str,
    name: str,
    case: Case,
    said: Said,
    env: dict[str, str],
    pid: int,
    port: int,
    command: str,
    sent: bytes,
    folder: str,
) -> dict[str, Any]:
    """One recording, without anything of this machine."""
    descriptors = said.everything["descriptors"]
    found = {
        "id": f"{name}-{case.name}",
        "superserver": file,
        "version": said.environ.get("NET_SERVER_SOFTWARE", said.environ.get("SERVER_SOFTWARE", "")),
        "command": command,
        "case": case.name,
        **changes(env, said),
        **{name: descriptors.pop(name) for name in ("fd0", "fd1", "fd2")},
        "extra_fds": descriptors,
        "relay": said.everything["relay"],
        "argv": said.everything["argv"],
        "pid": said.pids[0],
        "ppid": said.pids[1],
        "server_pid": pid,
        "truth": {
            "client_ip": CALLER[case.family],
            "client_port": port,
            "server_ip": HERE[case.family],
            "server_port": PORT,
            "family": "AF_INET6" if case.family == "v6" else "AF_INET",
            "tls": False,
        },
        "client_sent": sent.decode(),
    }
    # Paths of this machine: the folder, the interpreter of our tools, the root of an unpacked package.
    text = json.dumps(found)
    text = text.replace(f"{sys.executable} -I -m ucspi_env.tools.", "ucspi-").replace(folder, "/srv")
    text = text.replace(f"{sys.executable} -I {ROOT}/tests/support/relay.py", "relay.py")
    text = text.replace(str(peers().unpacked), "/srv/peers")
    replaced: dict[str, Any] = json.loads(text)
    return replaced


def record_relay(name: str, case: Case, here: Namespace, there: Namespace) -> dict[str, Any]:
    """Start the super-server with the relay, call it once, and put down what the program saw."""
    env = CLEAN | (LEFT_OVER if case.stale else {})
    with tempfile.TemporaryDirectory(prefix="record") as folder:
        site = Site(Path(folder), HERE[case.family], PORT, here, there)
        with site.run(RELAYS[name][0](site), env) as server:
            site.wait_until_it_listens(server)
            with site.connect(CALLER[case.family]) as client:
                port = client.getsockname()[1]
                while client.recv(4096):
                    continue
            said = site.take()
            return written("relays", name, case, said, env, server.pid, port, " ".join(server.argv), b"", folder)


def main() -> None:
    with Namespace() as here:
        own = [f"{HERE['v4']}/24", f"{HERE['v6']}/64"]
        there = here.neighbour(f"{CALLER['v4']}/24", f"{CALLER['v6']}/64", own=own)
        for file in sys.argv[1:] or [*FILES, "relays"]:
            if file == "relays":
                made = [record_relay(name, case, here, there) for name, (_, cases) in RELAYS.items() for case in cases]
                (CAPTURES / "relays.json").write_text(json.dumps(made, indent=1) + "\n")
                print(file, *(case["id"] for case in made))
                continue
            server, cases = FILES[file]
            recorded = [record(file, server, case, here, there) for case in cases]
            (CAPTURES / f"{file}.json").write_text(json.dumps(recorded, indent=1) + "\n")
            print(file, *(case["id"] for case in recorded))


if __name__ == "__main__":
    main()
