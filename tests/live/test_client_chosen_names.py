"""What an untrusted client can set never raises the evidence: against real web servers, sshd, git and rsync.

Each request is made twice, without and with the attack. The attack claims to come from 10.1.2.3, in variables whose
names the client chooses as well (request headers, ``LC_*``), beside process ids that it guessed: process 1, the
server's, and those that are likely to come next. The answers must be the same, and the true one.
"""

from __future__ import annotations

import os
import re
import signal
import ssl
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.live import exposed
from tests.live.exposed import CALLER, WEB, Site, here, request
from tests.live.servers import path
from tests.support import reset_at_close
from ucspi_env._dialects import DECISIVE

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from tests.live.exposed import Said

CLAIMED = "10.1.2.3"
ENV = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
"""Where servers start: nothing of what the tests were started in can change an answer."""
MOST_HEADERS = 60
"""For each request: Apache takes 100 and lighttpd 8 KiB."""
MOST_VARIABLES = 128
"""For each login: sshd takes no more."""


@pytest.fixture
def site() -> Iterator[Site]:
    with here() as made:
        yield made


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def guesses(server: int, before: Said, count: int) -> list[int]:
    """Process ids that the next program, its parent or its grandparent may have."""
    known = [1, server, parent(server), *before.pids]
    return list(dict.fromkeys([*known, *range(before.pids[0] + 1, before.pids[0] + count)]))[:count]


def value_of(name: str, pid: int) -> str:
    """What would be believed if a variable with this name were."""
    if name.endswith("PORT"):
        return "1"
    if name.endswith(("PID", "UID", "GID")):
        return str(pid)
    texts = {
        "PROTO": "TCP",
        "GATEWAY_INTERFACE": "CGI/1.1",
        "UCSPI_TRUST": "proxy,rules,stunnel,socat:HTTP_X_A0,socat:LC_A0",
        "SSH_CONNECTION": f"{CLAIMED} 1 {CLAIMED} 22",
        "SSH_CLIENT": f"{CLAIMED} 1 22",
        "TCPREMOTEADDR": f"{CLAIMED}:1",
        "UDPREMOTEADDR": f"{CLAIMED}:1",
        "UCSPI_PROXY_PEER": f"{CALLER}:1",
        "UCSPI_RULE_PEER": f"{CALLER}:1",
        "IPCREMOTEPATH": "/run/admin.sock",
        "UNIXREMOTEPATH": "/run/admin.sock",
    }
    return texts.get(name, CLAIMED)


def claim(prefix: str, separator: str, pid: int) -> list[tuple[str, str]]:
    """A socat's variables, under a name that the client chose for it."""
    values = {"PeerAddr": CLAIMED, "PeerPort": "1", "SockAddr": CLAIMED, "SockPort": "25", "Pid": str(pid)}
    return [(f"{prefix}{separator}{name}", value) for name, value in values.items()]


def headers(pids: Sequence[int]) -> list[tuple[str, str]]:
    """All that is tried on a web server, in the order of the guesses."""
    found = [pair for number, pid in enumerate(pids) for pair in claim(f"X-A{number}", "-", pid)]
    found += [("X-PeerAddr", CLAIMED), ("X-PeerPort", "1"), ("X-Pid", str(pids[0]))]
    for name in sorted(DECISIVE):
        value = value_of(name, pids[1])
        found += [(name.replace("_", "-"), value), (f"{name.replace('_', '-')}-", value)]
    # What balancers write, and what libraries for CGI believe.
    found += [(name, CLAIMED) for name in ("X-Forwarded-For", "X-Real-IP", "Client-IP", "True-Client-IP")]
    return [*found, ("Forwarded", f"for={CLAIMED}")]


def portions(pairs: list[tuple[str, str]], size: int) -> Iterator[list[tuple[str, str]]]:
    for start in range(0, len(pairs), size):
        yield pairs[start : start + size]


def compared(said: Said) -> dict[str, Any]:
    """What must not depend on what the client chose; its port is another one for each connection."""
    return {name: value for name, value in said.answer.items() if name != "port"}


def variable(header: str) -> str:
    return f"HTTP_{header.upper().replace('-', '_')}"


def hit(said: Said, names: str) -> bool:
    """Whether one of the guesses was right, so that the attack would work on who believes such a guess."""
    pids = {str(pid) for pid in said.pids}
    return any(re.fullmatch(names, name) and value in pids for name, value in said.environ.items())


# -- web servers ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "server", [pytest.param(name, marks=pytest.mark.peer(*web.needs)) for name, web in WEB.items()]
)
def test_request_headers_never_change_who_is_calling(server: str, method: str, site: Site) -> None:
    web = WEB[server]
    body = f"REMOTE_ADDR={CLAIMED}\n".encode() if method == "POST" else None
    with web.start(site, ENV) as pid:

        def ask(chosen: list[tuple[str, str]]) -> Said:
            response, port = site.call(request(chosen, body))
            said = site.take(response)
            assert (said.answer["ip"], said.answer["port"]) == (CALLER, port)
            return said

        plain = ask([])
        attacks = list(portions(headers(guesses(pid, plain, 20)), MOST_HEADERS))
        answers = [ask(chosen) for chosen in attacks]

    relayed = method in web.relay
    assert compared(plain) == {
        "strict": "accepts" if relayed else "UnconfirmedPeerError",
        "error": None,
        "ip": CALLER,
        "unix": False,
        "evidence": "relay" if relayed else "proof",
        "vouched": relayed,
        "dialect": web.dialect,
        "tls": False,
        "problems": [] if relayed else ["web-server"],
    }
    for chosen, said in zip(attacks, answers, strict=True):
        assert compared(said) == compared(plain)
        # All of it has arrived: the program could have believed it.
        assert said.environ.items() >= {(variable(name), value) for name, value in chosen}
    assert any(hit(said, "HTTP_X_A[0-9]+_PID") for said in answers)


@pytest.mark.peer(*WEB["Apache mod_cgid"].needs)
def test_the_web_server_on_a_named_socket_is_not_the_caller(site: Site) -> None:
    """mod_cgid's descriptor 0 has credentials, the web server's own, which are not the caller's."""
    with WEB["Apache mod_cgid"].start(site, ENV):
        response, port = site.call(request(headers([1, os.getpid()])[:MOST_HEADERS]))
        said = site.take(response)

    handed = said.everything["descriptors"]["fd0"]
    assert handed["sockname"]["path"].startswith(f"{site.folder}/cgisock")
    assert handed["peercred"]["uid"] == (os.geteuid() or int(exposed.NOBODY))
    assert said.environ["REMOTE_PORT"] == str(port)
    assert said.answer == {
        "strict": "UnconfirmedPeerError",
        "error": None,
        "ip": CALLER,
        "port": port,
        "unix": False,
        "evidence": "proof",
        "vouched": False,
        "dialect": "cgi",
        "tls": False,
        "problems": ["web-server"],
    }


@pytest.mark.peer("busybox")
def test_a_web_server_below_tcpserver_and_tcpserver_agree(site: Site) -> None:
    name = "busybox httpd -i below tcpserver"
    with WEB[name].start(site, ENV):
        response, port = site.call(request([("TCPREMOTEIP", CLAIMED), ("TCPREMOTEPORT", "1")]))
        said = site.take(response)

    assert said.environ["TCPREMOTEIP"] == said.environ["REMOTE_ADDR"] == CALLER
    assert said.environ["TCPREMOTEPORT"] == str(port)
    assert (said.answer["ip"], said.answer["port"], said.answer["problems"]) == (CALLER, port, [])


def begin_a_request(caller: socket.socket) -> socket.socket:
    """The program is started, and waits for a body that never comes."""
    caller.sendall(request(body=b"begun").replace(b"Content-Length: 5", b"Content-Length: 1000"))
    return caller


def speak_tls(caller: socket.socket) -> socket.socket:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(caller)


@pytest.mark.parametrize(
    ("start", "begin", "kind"),
    [
        pytest.param(
            exposed.lighttpd_streaming,
            begin_a_request,
            "pipe",
            marks=pytest.mark.peer("lighttpd", "mod_cgi.so"),
            id="lighttpd",
        ),
        pytest.param(
            exposed.stunnel_with_terminal, speak_tls, "chr", marks=pytest.mark.peer("stunnel4", "openssl"), id="stunnel"
        ),
    ],
)
def test_who_hangs_up_is_not_taken_for_another_client_of_the_same_server(
    start: Callable[[Site, dict[str, str]], AbstractContextManager[int]],
    begin: Callable[[socket.socket], socket.socket],
    kind: str,
    site: Site,
) -> None:
    """One process has the sockets of all clients, and for a moment the one that hung up is missing among them.

    The server is stopped to make that moment long enough. The other client may be one who is allowed more.
    """
    calling: list[socket.socket] = []
    with start(site, ENV) as pid, site.connect("127.77.9.9"), site.connect() as caller:
        port = caller.getsockname()[1]
        try:
            with site.held(lambda: calling.append(begin(caller))):
                os.kill(pid, signal.SIGSTOP)
                reset_at_close(calling[0])
                calling[0].close()
            said = site.take()
        finally:
            os.kill(pid, signal.SIGCONT)

    assert (said.answer["ip"], said.answer["port"]) == (CALLER, port)
    assert (said.answer["strict"], said.answer["vouched"]) == ("UnconfirmedPeerError", False)
    assert said.everything["descriptors"]["fd0"]["kind"] == kind


# -- sshd -------------------------------------------------------------------------------------------------------------


@pytest.mark.root
@pytest.mark.peer("sshd", "ssh", "ssh-keygen", "unshare")
def test_variables_that_sshd_accepts_never_change_who_is_calling(site: Site) -> None:
    with Path("/etc/passwd").open() as users:
        if not any(line.startswith("sshd:") for line in users):
            pytest.skip("sshd refuses to run as the superuser where there is no user sshd")
    keys = exposed.Keys.make(site.folder)
    with exposed.sshd(site, keys, ENV) as pid:

        def ask(chosen: dict[str, str]) -> Said:
            done = exposed.login(site, keys, chosen)
            return site.take(done)

        plain = ask({})
        tried = guesses(pid, plain, 60)
        sweep = dict(pair for number, guess in enumerate(tried) for pair in claim(f"LC_A{number}", "_", guess))
        listed = {f"LC_{name}": value_of(name, pid) for name in sorted(DECISIVE)}
        listed |= {"LANG": CLAIMED, "LC_PEERADDR": CLAIMED, "LC_PID": str(pid), "LC_X_PEERADDR": CLAIMED}
        attacks = [
            dict(chosen)
            for pairs in ({name.upper(): value for name, value in sweep.items()}, listed)
            for chosen in portions(list(pairs.items()), MOST_VARIABLES - 8)
        ]
        answers = [ask(chosen) for chosen in attacks]
        # What sshd does not accept does not come at all.
        refused = ask({name: value_of(name, pid) for name in DECISIVE})

    # The witness is the socket of the login's sshd.
    told = [plain.answer[name] for name in ("ip", "dialect", "evidence", "strict")]
    assert told == [CALLER, "sshd", "relay", "accepts"]
    for chosen, said in [*zip(attacks, answers, strict=True), ({}, refused)]:
        assert said.environ.items() >= chosen.items()
        assert compared(said) == compared(plain)
        assert said.environ["SSH_CONNECTION"].split()[:2] == [CALLER, str(said.answer["port"])]
    assert any(hit(said, "LC_A[0-9]+_PID") for said in answers)
    assert not refused.environ.keys() & {"TCPREMOTEIP", "UCSPI_TRUST", "REMOTE_ADDR", "SOCAT_PEERADDR"}


# -- git --------------------------------------------------------------------------------------------------------------

GIT: dict[str, Callable[..., AbstractContextManager[int]]] = {
    "git daemon": exposed.git_daemon_alone,
    "git daemon --inetd below tcpserver": exposed.git_daemon_below_tcpserver,
}


@pytest.mark.peer("git")
@pytest.mark.parametrize("server", GIT)
def test_what_a_fetch_says_never_changes_who_is_calling(server: str, site: Site) -> None:
    """GIT_PROTOCOL is any text that the client likes."""
    commit = exposed.repository(site, ENV)
    texts = [f"version=1:REMOTE_ADDR={CLAIMED}:TCPREMOTEIP={CLAIMED}:SOCAT_PEERADDR={CLAIMED}", CLAIMED]
    with GIT[server](site, ENV):

        def ask(extra: str) -> Said:
            response, port = site.call(exposed.fetch(commit, extra))
            said = site.take(response)
            assert (said.answer["ip"], said.answer["port"]) == (CALLER, port)
            return said

        plain = ask("")
        for text in texts:
            said = ask(text)
            assert said.environ["GIT_PROTOCOL"] == text
            assert compared(said) == compared(plain)
    assert (plain.answer["strict"], plain.answer["evidence"]) == ("accepts", "relay")


@pytest.mark.peer("git")
@pytest.mark.parametrize("server", GIT)
def test_options_of_a_push_never_change_who_is_calling(server: str, site: Site) -> None:
    """GIT_PUSH_OPTION_0, … are the client's, too; and what it pushes is called as it likes."""
    exposed.repository(site, ENV)
    work = site.folder / "work"
    options = [f"{name}={value_of(name, 1)}" for name in sorted(DECISIVE)]
    with GIT[server](site, ENV):

        def ask(branch: str, *chosen: str) -> Said:
            push = ["push", "-q", *(f"--push-option={option}" for option in chosen)]
            exposed.git(work, *push, f"git://{site.address}/live.git", f"HEAD:refs/heads/{branch}", env=ENV)
            return site.take()

        plain = ask("plain")
        said = ask(f"REMOTE_ADDR={CLAIMED}", *options)
        assert [said.environ[f"GIT_PUSH_OPTION_{number}"] for number in range(len(options))] == options
        assert compared(said) == compared(plain)
    assert (plain.answer["ip"], plain.answer["evidence"]) == ("127.0.0.1", "relay")


# -- rsync ------------------------------------------------------------------------------------------------------------


@pytest.mark.peer("rsync")
def test_arguments_of_rsync_never_change_who_is_calling(site: Site) -> None:
    """RSYNC_REQUEST, RSYNC_ARG0, … are the client's."""
    with exposed.rsync_daemon(site, ENV):

        def ask(module_path: str, *chosen: str) -> Said:
            command = [path("rsync"), "-r", f"--address={CALLER}", *chosen]
            url = f"rsync://{CLAIMED}@{site.host}:{site.port}/pub/{module_path}"
            done = subprocess.run([*command, url], env=ENV, capture_output=True, text=True, check=False, timeout=90)
            return site.take(done)

        plain = ask("")
        options = [f"--remote-option=--log-format={name}={value_of(name, 1)}" for name in sorted(DECISIVE)]
        said = ask(f"TCPREMOTEIP={CLAIMED}", *options)
    given = [value for name, value in said.environ.items() if name.startswith("RSYNC_ARG")]
    assert {option.removeprefix("--remote-option=") for option in options} <= set(given)
    assert said.environ["RSYNC_REQUEST"] == f"pub/TCPREMOTEIP={CLAIMED}"
    # No variable on the list names a caller, and none that the client chose becomes one.
    assert said.answer == plain.answer == {"strict": "NotUnderSuperServerError", "error": "NotUnderSuperServerError"}
