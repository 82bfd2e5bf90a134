"""Servers that let a client choose names or values of their program's environment: how each is started and asked.

Each has a loopback address of its own out of 127.0.0.0/8, so that a port which was free a moment ago still is, and so
that the caller's address is never the called one.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.live.servers import path
from tests.support import PATIENCE, Program, peers, start_tcpserver
from tests.support.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from tests.support import Namespace

CALLER = "127.77.1.2"
NOBODY = "65534"
PROBE = Path(__file__).with_name("probe.py")


class Said(NamedTuple):
    """What the program wrote down (see ``probe.py``)."""

    answer: dict[str, Any]
    environ: dict[str, str]
    everything: dict[str, Any]

    @property
    def pids(self) -> list[int]:
        """Its process id, its parent's, and that one's parent's."""
        found: list[int] = self.everything["pids"]
        return found


class Site:
    """Where one server runs.

    Attributes:
        folder: its files; a short name, since UNIX-domain sockets are put there.
        host: the address that it listens on.
        port: the port, free.
        program: the program, in a folder ``cgi-bin`` as busybox wants it.
        www: the folder with ``cgi-bin``.
        namespace: where it runs, if not here.
        callers: where clients are then.
    """

    def __init__(
        self,
        folder: Path,
        host: str,
        port: int,
        namespace: Namespace | None = None,
        callers: Namespace | None = None,
    ) -> None:
        self.folder = folder
        self.host = host
        self.port = port
        self.namespace = namespace
        self.callers = callers
        self.www = folder / "www"
        self.program = self.www / "cgi-bin" / "whoami"
        self._answers = self.program.with_name("answers")
        self._answers.mkdir(parents=True)
        self.program.write_text(f"#!{sys.executable} -I\n{PROBE.read_text()}")
        self.program.chmod(0o755)

    @property
    def family(self) -> socket.AddressFamily:
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET

    @property
    def address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def write(self, name: str, text: str) -> str:
        file = self.folder / name
        file.write_text(text)
        return str(file)

    def run(self, argv: Sequence[str], env: Mapping[str, str] | None = None) -> Program:
        return Program(argv, env=env, cwd=self.folder, namespace=self.namespace)

    def listens(self) -> bool:
        """By the kernel's own table: a trial connection would be a caller."""
        table = "/proc/net/tcp6" if ":" in self.host else "/proc/net/tcp"
        packed = socket.inet_pton(self.family, self.host)
        words = "".join(f"{word:08X}" for word in struct.unpack(f"={len(packed) // 4}I", packed))
        text = self.namespace.run(["cat", table]).stdout.decode() if self.namespace else Path(table).read_text()
        # 0A: TCP_LISTEN
        return any(line.split()[1] == f"{words}:{self.port:04X}" and " 0A " in line for line in text.splitlines()[1:])

    def wait_until_it_listens(self, server: Program) -> None:
        def settled() -> bool:
            assert server.process.poll() in (None, 0), f"{server.argv} ended: {server.stop()}"
            return self.listens()

        wait_until(settled, f"{server.argv} listens")

    def connect(self, source: str = CALLER) -> socket.socket:
        made = self.callers.socket(self.family) if self.callers else socket.socket(self.family)
        made.settimeout(PATIENCE)
        made.bind((source, 0))
        made.connect((self.host, self.port))
        return made

    @contextlib.contextmanager
    def held(self, send: Callable[[], object]) -> Iterator[None]:
        """While this lasts the program, which ``send`` has started, waits at its beginning; then it answers."""
        gate = self.program.with_name("gate")
        os.mkfifo(gate, 0o644)
        writing: list[int] = []

        def waits() -> bool:
            try:
                writing.append(os.open(gate, os.O_WRONLY | os.O_NONBLOCK))
            except OSError as error:
                if error.errno != errno.ENXIO:  # nobody reads yet
                    raise
            return bool(writing)

        send()
        wait_until(waits, "the program starts")
        try:
            yield
        finally:
            os.close(writing[0])
            wait_until(lambda: list(self._answers.glob("*.json")), "the program answers")
            gate.unlink()

    def call(self, send: bytes, source: str = CALLER) -> tuple[bytes, int]:
        """Send, and read all: what came back, and the caller's own port."""
        with self.connect(source) as connection:
            port: int = connection.getsockname()[1]
            connection.sendall(send)
            received = bytearray()
            while chunk := connection.recv(65536):
                received += chunk
        return bytes(received), port

    def take(self, context: object = None) -> Said:
        """What the program has just written down; ``context`` is shown where it has not."""
        written = list(self._answers.glob("*.json"))
        assert len(written) == 1, (written, context)
        found = json.loads(written[0].read_text())
        written[0].unlink()
        return Said(found["answer"], dict(found["environ"]), found)


@contextlib.contextmanager
def here() -> Iterator[Site]:
    """A site on an address of 127.0.0.0/8 that no other test is likely to have."""
    host = f"127.{random.randint(80, 250)}.{random.randint(0, 255)}.{random.randint(1, 254)}"
    with socket.socket() as free:
        free.bind((host, 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="exposed") as folder:
        yield Site(Path(folder), host, port)


def unprivileged(argv: list[str]) -> list[str]:
    """A command for servers that refuse to run programs as the superuser: another user, who may open any file.

    The checkout and its interpreter may lie where only the superuser can look.
    """
    if os.geteuid():
        return argv
    capability = "+dac_override"
    change = ["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--inh-caps", capability]
    return [path("setpriv"), *change, "--ambient-caps", capability, "--", *argv]


# -- web servers ------------------------------------------------------------------------------------------------------


def request(headers: Sequence[tuple[str, str]] = (), body: bytes | None = None, query: str = "") -> bytes:
    lines = [f"{'GET' if body is None else 'POST'} /cgi-bin/whoami{query} HTTP/1.0", "Host: www.example"]
    lines += [f"{name}: {value}" for name, value in headers]
    if body is not None:
        lines += ["Content-Type: text/plain", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


def _lighttpd(site: Site, env: Mapping[str, str], *options: str, more: str = "") -> Program:
    modules = peers().package_root("lighttpd") / "usr/lib/lighttpd"
    conf = f"""
server.modules = ("mod_cgi")
server.document-root = "{site.www}"
server.bind = "{f"[{site.host}]" if ":" in site.host else site.host}"
server.port = {site.port}
server.pid-file = "{site.folder}/pid"
server.errorlog = "{site.folder}/error.log"
cgi.assign = ("/whoami" => "")
{more}
"""
    argv = [path("lighttpd"), *options, "-m", str(modules), "-f", site.write("lighttpd.conf", conf)]
    return site.run(argv, env)


@contextlib.contextmanager
def lighttpd(site: Site, env: Mapping[str, str]) -> Iterator[int]:
    with _lighttpd(site, env, "-D") as server:
        site.wait_until_it_listens(server)
        yield server.pid


@contextlib.contextmanager
def lighttpd_streaming(site: Site, env: Mapping[str, str]) -> Iterator[int]:
    """Programs are started before the whole body is there, and their descriptor 0 is a pipe as long as it comes."""
    with _lighttpd(site, env, "-D", more="server.stream-request-body = 2") as server:
        site.wait_until_it_listens(server)
        yield server.pid


@contextlib.contextmanager
def lighttpd_daemon(site: Site, env: Mapping[str, str]) -> Iterator[int]:
    """As Debian's init script starts it: the program's grandparent is process 1, which is nothing to guess."""
    with _lighttpd(site, env) as starter:
        assert starter.wait() == 0, starter.stop()
        pid = int((site.folder / "pid").read_text())
        try:
            site.wait_until_it_listens(starter)
            yield pid
        finally:
            os.kill(pid, signal.SIGTERM)
            wait_until(lambda: not Path(f"/proc/{pid}/exe").exists(), "lighttpd ends")


@contextlib.contextmanager
def apache(site: Site, env: Mapping[str, str]) -> Iterator[int]:
    """Event MPM with mod_cgid: the program's descriptor 0 is a named UNIX-domain socket of the web server's."""
    modules = peers().package_root("apache2-bin") / "usr/lib/apache2/modules"
    conf = f"""
ServerRoot "{site.folder}"
ServerName www.example
Listen {site.address}
PidFile "{site.folder}/pid"
DefaultRuntimeDir "{site.folder}"
ErrorLog "{site.folder}/error.log"
LoadModule mpm_event_module "{modules}/mod_mpm_event.so"
LoadModule authz_core_module "{modules}/mod_authz_core.so"
LoadModule cgid_module "{modules}/mod_cgid.so"
ScriptSock "{site.folder}/cgisock"
StartServers 1
DocumentRoot "{site.www}"
<Directory "{site.www}/cgi-bin">
    Options +ExecCGI
    SetHandler cgi-script
    Require all granted
</Directory>
"""
    if os.geteuid() == 0:
        shutil.chown(site.folder, int(NOBODY), int(NOBODY))
    argv = [path("apache2"), "-D", "FOREGROUND", "-f", site.write("apache.conf", conf)]
    with site.run(unprivileged(argv), env) as server:
        site.wait_until_it_listens(server)
        try:
            yield server.pid
        except BaseException:
            print((site.folder / "error.log").read_text(), file=sys.stderr)
            raise


@contextlib.contextmanager
def busybox_httpd(site: Site, env: Mapping[str, str]) -> Iterator[int]:
    with site.run([path("busybox"), "httpd", "-f", "-p", site.address, "-h", str(site.www)], env) as server:
        site.wait_until_it_listens(server)
        yield server.pid


@contextlib.contextmanager
def busybox_httpd_below_tcpserver(site: Site, env: Mapping[str, str]) -> Iterator[int]:
    """A web server that is itself a program of a super-server: variables of both stand side by side."""
    argv = ["-RHlwww.example", site.host, str(site.port), path("busybox"), "httpd", "-i", "-h", str(site.www)]
    server = start_tcpserver(*argv, env=env, namespace=site.namespace)
    try:
        yield server.pid
    finally:
        server.stop()


@contextlib.contextmanager
def net_server_http(site: Site, env: Mapping[str, str]) -> Iterator[int]:
    script = "use Net::Server::HTTP; Net::Server::HTTP->run(port => shift, app => shift, server_type => 'Fork')"
    # -I: where the package is unpacked and not installed.
    library = peers().package_root("libnet-server-perl") / "usr/share/perl5"
    argv = [path("perl"), f"-I{library}", "-e", script, site.address, str(site.program)]
    with site.run(argv, env) as server:
        site.wait_until_it_listens(server)
        yield server.pid


class Web(NamedTuple):
    """One web server.

    Attributes:
        needs: the programs that must be there.
        start: starts it at a site, in an environment; the process id that a client would guess.
        dialect: what its programs are told in.
        relay: the methods with which the program's descriptor 0 is a pipe, and the process at its other end the
            witness; for the others nothing vouches.
    """

    needs: tuple[str, ...]
    start: Callable[[Site, Mapping[str, str]], AbstractContextManager[int]]
    dialect: str = "cgi"
    relay: tuple[str, ...] = ("GET", "POST")


WEB = {
    # Without a body descriptor 0 is /dev/null.
    "lighttpd": Web(("lighttpd", "mod_cgi.so"), lighttpd, relay=("POST",)),
    "lighttpd, daemonised": Web(("lighttpd", "mod_cgi.so"), lighttpd_daemon, relay=("POST",)),
    "Apache mod_cgid": Web(
        ("apache2", "mod_mpm_event.so", "mod_cgid.so", "mod_authz_core.so", "setpriv"), apache, relay=()
    ),
    "busybox httpd": Web(("busybox",), busybox_httpd),
    "busybox httpd -i below tcpserver": Web(("busybox",), busybox_httpd_below_tcpserver, "ucspi-tcp-ipv6"),
    "Net::Server::HTTP": Web(("HTTP.pm", "perl"), net_server_http),
}


# -- others -----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def stunnel_with_terminal(site: Site, env: Mapping[str, str]) -> Iterator[int]:
    """TLS taken off by one process for all clients; the program's descriptor 0 is a terminal."""
    command = [path("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=live"]
    subprocess.run([*command, "-keyout", "key", "-out", "cert"], cwd=site.folder, check=True, capture_output=True)
    pem = Path(site.write("both.pem", (site.folder / "key").read_text() + (site.folder / "cert").read_text()))
    pem.chmod(0o600)
    conf = f"""
foreground = yes
pid =
syslog = no
[live]
accept = {site.address}
exec = {site.program}
pty = yes
cert = {pem}
"""
    with site.run([path("stunnel4"), site.write("stunnel.conf", conf)], env) as server:
        site.wait_until_it_listens(server)
        yield server.pid


class Keys(NamedTuple):
    host: Path
    caller: Path

    @classmethod
    def make(cls, folder: Path) -> Keys:
        found = cls(folder / "host", folder / "caller")
        for key in found:
            command = [path("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", str(key)]
            subprocess.run(command, check=True, capture_output=True)
        return found


@contextlib.contextmanager
def sshd(site: Site, keys: Keys, env: Mapping[str, str]) -> Iterator[int]:
    """A forced command; what Debian's sshd_config accepts of the client's environment."""
    options = [f"ListenAddress={site.address}", f"AuthorizedKeysFile={keys.caller}.pub", "AcceptEnv=LANG LC_*"]
    options += ["StrictModes=no", "UsePAM=no", "PidFile=none", "UseDNS=no", "PermitRootLogin=yes"]
    options.append(f"ForceCommand={site.program}")
    command = [path("sshd"), "-D", "-e", "-f", "/dev/null", "-h", str(keys.host)]
    command += [word for option in options for word in ("-o", option)]
    # sshd wants a directory of its own under /run: it gets one that nobody else sees.
    private = 'mount -t tmpfs none /run && mkdir /run/sshd && exec "$@"'
    with site.run(["unshare", "-m", "sh", "-c", private, "sh", *command], env) as server:
        site.wait_until_it_listens(server)
        yield server.pid


def login(site: Site, keys: Keys, chosen: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Log in, and ask for these variables."""
    options = ["IdentityFile=" + str(keys.caller), "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null"]
    options += ["BatchMode=yes", f"BindAddress={CALLER}", "SendEnv=*"]
    command = [path("ssh"), "-F", "/dev/null", *(word for option in options for word in ("-o", option))]
    command += ["-p", str(site.port), f"root@{site.host}"]
    return subprocess.run(
        command, env=dict(chosen), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=90
    )


GIT_SETTINGS = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"} | {
    f"GIT_{who}_{what}": "test@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
}


def git(folder: Path, *words: str, env: Mapping[str, str]) -> str:
    command = [path("git"), *words]
    done = subprocess.run(
        command, cwd=folder, env={**env, **GIT_SETTINGS}, capture_output=True, text=True, check=False, timeout=90
    )
    assert done.returncode == 0, (command, done)
    return done.stdout.strip()


def repository(site: Site, env: Mapping[str, str]) -> str:
    """Make ``live.git`` with one commit, whose name this is, and with the program as a hook of pushes."""
    git(site.folder, "init", "-q", "--bare", "live.git", env=env)
    git(site.folder, "init", "-q", "work", env=env)
    git(site.folder / "work", "commit", "-q", "--allow-empty", "-m", "one", env=env)
    git(site.folder / "work", "push", "-q", "../live.git", "HEAD:refs/heads/main", env=env)
    git(site.folder / "live.git", "config", "receive.advertisePushOptions", "true", env=env)
    hook = site.folder / "live.git" / "hooks" / "pre-receive"
    hook.write_text(f"#!/bin/sh\nexec {site.program}\n")
    hook.chmod(0o755)
    return git(site.folder / "work", "rev-parse", "HEAD", env=env)


def git_daemon(site: Site, *options: str) -> list[str]:
    """The command; the program is also the hook of fetches, which only the server's own configuration can name."""
    hook = f"uploadpack.packObjectsHook={site.program}"
    common = ["--export-all", f"--base-path={site.folder}", "--enable=receive-pack", *options]
    return [path("git"), "-c", hook, "daemon", *common]


@contextlib.contextmanager
def git_daemon_alone(site: Site, env: Mapping[str, str]) -> Iterator[int]:
    argv = git_daemon(site, "--reuseaddr", f"--listen={site.host}", f"--port={site.port}")
    with site.run(argv, {**env, **GIT_SETTINGS}) as server:
        site.wait_until_it_listens(server)
        yield server.pid


@contextlib.contextmanager
def git_daemon_below_tcpserver(site: Site, env: Mapping[str, str]) -> Iterator[int]:
    argv = ["-RHlgit.example", site.host, str(site.port), *git_daemon(site, "--inetd")]
    server = start_tcpserver(*argv, env={**env, **GIT_SETTINGS})
    try:
        yield server.pid
    finally:
        server.stop()


def packet(line: bytes) -> bytes:
    """One line as git's protocol has them."""
    return b"%04x" % (len(line) + 4) + line


def fetch(commit: str, extra: str) -> bytes:
    """What a client sends to fetch one commit; ``extra`` is what its GIT_PROTOCOL says (gitprotocol-pack(5))."""
    first = b"git-upload-pack /live.git\0host=git.example\0" + (b"\0%b\0" % extra.encode() if extra else b"")
    return packet(first) + packet(f"want {commit} no-progress\n".encode()) + b"0000" + packet(b"done\n")


@contextlib.contextmanager
def rsync_daemon(site: Site, env: Mapping[str, str]) -> Iterator[int]:
    # As the superuser rsync would become nobody, who cannot reach the folder.
    user = "uid = 0\ngid = 0\n" if os.geteuid() == 0 else ""
    conf = f"{user}use chroot = no\npre-xfer exec = {site.program}\n[pub]\npath = {site.www}\nread only = no\n"
    argv = [path("rsync"), "--daemon", "--no-detach", f"--address={site.host}", f"--port={site.port}"]
    with site.run([*argv, "--log-file=/dev/stderr", "--config", site.write("rsyncd.conf", conf)], env) as server:
        site.wait_until_it_listens(server)
        yield server.pid
