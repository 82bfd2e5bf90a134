"""Programs of Debian that were made for tcpserver or inetd, behind our tcpserver, called over both families."""

from __future__ import annotations

import os
import re
import smtplib
from typing import TYPE_CHECKING

import pytest

from tests.neighbours.scene import HERE, Scene, compile_rules, snippet

if TYPE_CHECKING:
    import socket

    from tests.support import Program

FAMILIES = pytest.mark.parametrize("family", HERE)


class Mail(smtplib.SMTP):
    """An SMTP client in the scene, with an address of choice."""

    def __init__(self, scene: Scene, host: str, source: str | None = None) -> None:
        self.scene = scene
        self.source = source
        super().__init__(host, 25, local_hostname="client.example.org")

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:  # noqa: ARG002 - smtplib passes it
        return self.scene.connect(host, port, self.source)


def serve(scene: Scene, script: str, port: int, text: str = "") -> Program:
    """Start a documented run script, and wait until it listens."""
    server = scene.script(script, text)
    scene.wait_until_it_listens(port, server)
    return server


# -- axfrdns ----------------------------------------------------------------------------------------------------------

ZONE = """
.example.org::ns.example.org
=www.example.org:192.0.2.80
:v6.example.org:28:\\040\\001\\015\\270\\000\\000\\000\\000\\000\\000\\000\\000\\000\\000\\000\\001
.example.net::ns.example.net
=www.example.net:192.0.2.81
"""
TRANSFERRED = {
    ("example.org.", "SOA"),
    ("example.org.", "NS"),
    ("www.example.org.", "A"),
    ("v6.example.org.", "AAAA"),
}
SECONDARY = {"IPv4": "192.0.2.53", "IPv6": "2001:db8::53"}
STRANGER = {"IPv4": "198.51.100.7", "IPv6": "2001:db8:2::7"}


def axfrdns(scene: Scene) -> None:
    scene.file("root/data", ZONE, 0o644)
    assert not scene.run("tinydns-data", cwd="root").returncode
    compile_rules(scene, ".", snippet("axfrdns-rules"), "tcp")
    # The user that Debian's package would have made.
    script = snippet("axfrdns-run").replace("envuidgid axfrdns ", "envuidgid nobody ")
    assert script != snippet("axfrdns-run")
    serve(scene, "axfrdns-run", 53, script)


def dig(scene: Scene, family: str, source: str, *query: str) -> str:
    done = scene.run("dig", "+tries=1", "+noall", "+answer", "+comments", "-b", source, f"@{HERE[family]}", *query)
    return done.stdout.decode()


def answers(text: str) -> set[tuple[str, str]]:
    return {(words[0], words[3]) for line in text.splitlines() if line and line[0] != ";" for words in [line.split()]}


@pytest.mark.root  # axfrdns changes its root directory and its user
@pytest.mark.peer("axfrdns", "tinydns-data", "dig", "envuidgid", "softlimit")
@FAMILIES
def test_axfrdns_gives_a_zone_to_whom_a_rule_names_and_to_nobody_else(scene: Scene, family: str) -> None:
    axfrdns(scene)
    zone = dig(scene, family, SECONDARY[family], "axfr", "example.org")
    assert answers(zone) == TRANSFERRED
    assert not answers(dig(scene, family, SECONDARY[family], "axfr", "example.net"))
    assert not answers(dig(scene, family, STRANGER[family], "axfr", "example.org"))
    question = dig(scene, family, STRANGER[family], "+tcp", "v6.example.org", "AAAA")
    assert "2001:db8::1" in question


# -- SMTP -------------------------------------------------------------------------------------------------------------


@pytest.mark.peer("smtpfront-echo")
@FAMILIES
def test_mailfront_takes_mail_and_writes_the_callers_address_into_it(scene: Scene, family: str) -> None:
    server = serve(scene, "mailfront-run", 25)
    with Mail(scene, HERE[family], SECONDARY[family]) as mail:
        assert not mail.sendmail("a@example.org", ["b@example.net"], "Subject: hello\n\nhello\n")
    received = server.wait_for_line("Received: ")
    assert f"([{'IPv6:' if family == 'IPv6' else ''}{SECONDARY[family]}])" in received
    assert "by mail.example.org" in received


@pytest.mark.peer("smtpfront-echo", "swaks")
@pytest.mark.needs("/etc/protocols")
def test_mailfront_talks_to_swaks(scene: Scene) -> None:
    serve(scene, "mailfront-run", 25)
    done = scene.run("swaks", "--server", "127.0.0.1", "--from", "a@example.org", "--to", "b@example.net")
    assert done.returncode == 0, done.stdout
    assert b"220 mail.example.org " in done.stdout
    assert b"<-  221 " in done.stdout


# -- git --------------------------------------------------------------------------------------------------------------


@pytest.mark.peer("git")
@FAMILIES
def test_git_daemon_serves_a_repository(scene: Scene, family: str) -> None:
    scene.env |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    scene.env |= {
        f"GIT_{who}_{what}": "test@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    for command in ("init --quiet --bare repositories/p.git", "init --quiet work"):
        assert not scene.run("git", *command.split()).returncode
    for command in ("commit --quiet --allow-empty -m one", "push --quiet ../repositories/p.git HEAD:refs/heads/main"):
        assert not scene.run("git", *command.split(), cwd="work").returncode
    commit = scene.run("git", "rev-parse", "HEAD", cwd="work").stdout.decode().strip()
    server = serve(scene, "git-run", 9418)
    host = f"[{HERE[family]}]" if family == "IPv6" else HERE[family]

    listed = scene.run("git", "ls-remote", f"git://{host}/p.git", "refs/heads/main")
    assert listed.stdout.decode() == f"{commit}\trefs/heads/main\n", listed.stderr
    cloned = scene.run("git", "clone", "--quiet", "--branch", "main", f"git://{host}/p.git", "copy")
    assert not cloned.returncode, cloned.stderr
    assert scene.run("git", "rev-parse", "HEAD", cwd="copy").stdout.decode().strip() == commit
    server.wait_for_line(f"Connection from {host}:", count=2)


# -- rsync ------------------------------------------------------------------------------------------------------------


@pytest.mark.peer("rsync")
@FAMILIES
def test_rsync_serves_a_module_to_whom_its_own_rules_allow(scene: Scene, family: str) -> None:
    scene.file("pub/file", "content\n", 0o644)
    scene.file("rsyncd.conf", snippet("rsync-conf"), 0o644)
    text = snippet("rsync-run")
    if os.geteuid():
        # The root of a user namespace has nobody to become, and rsync would insist.
        text = text.replace(" rsync ", " unshare --map-user=1000 --map-group=1000 rsync ")
        assert "unshare" in text
    server = serve(scene, "rsync-run", 873, text)
    host = f"[{HERE[family]}]" if family == "IPv6" else HERE[family]
    fetch = ("rsync", "-r", f"rsync://{host}/pub/", "copy/")

    done = scene.run(*fetch, f"--address={SECONDARY[family]}")
    assert (done.returncode, done.stderr) == (0, b""), server.lines
    assert (scene.folder / "copy" / "file").read_text() == "content\n"
    refused = scene.run(*fetch, f"--address={STRANGER[family]}")
    assert refused.returncode
    log = (scene.folder / "rsyncd.log").read_text()
    assert re.search(rf"rsync denied on module pub from \S+ \({re.escape(STRANGER[family])}\)", log), log
