"""An unmodified qmail-style run script: tcpserver with rules, recordio, rblsmtpd, an SMTP program, and a user to be.

It runs with Debian's ucspi-tcp-ipv6 on PATH and with the launchers of ours, and the same has to come of it.
"""

from __future__ import annotations

import os
import re
import smtplib
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.neighbours.scene import DOC, Scene, snippet
from tests.neighbours.test_servers import Mail
from tests.support.dns_server import DNSServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.neighbours.scene import Suite
    from tests.support import Program

pytestmark = pytest.mark.peer("ucspi-tcp-ipv6/tcpserver", "smtpfront-echo", "softlimit")

# Takes mail for whom a rule allows to relay, and says who called in the Received line.
SMTP = "smtpfront-echo accept-sender relayclient add-received"
USER = "nobody" if os.geteuid() == 0 else "root"  # in a user namespace there is no other
LISTS = {
    "66.2.0.192.dnsbl.example.org": {"TXT": ["192.0.2.66 sends spam"], "A": ["127.0.0.2"]},
    f"{'6.6.' + '0.' * 18 + '1.0.0.0.8.b.d.0.1.0.0.2'}.dnsbl.example.org": {
        "TXT": ["2001:db8:1::66 sends spam"], "A": ["127.0.0.2"]
    },
}  # fmt: skip


class Callers(NamedTuple):
    """Addresses of one family, and where they call."""

    host: str
    relay: str
    stranger: str
    denied: str
    listed: str


FAMILIES = {
    "IPv4": Callers("127.0.0.1", "192.0.2.53", "198.51.100.7", "203.0.113.9", "192.0.2.66"),
    "IPv6": Callers("::1", "2001:db8:1::25", "2001:db8:2::7", "2001:db8:bad::9", "2001:db8:1::66"),
}


def script() -> str:
    """The documented script, with this machine's user and SMTP program."""
    text = snippet("qmail-run")
    for theirs, here, count in (("qmaild`", f"{USER}`", 2), ("/var/qmail/bin/qmail-smtpd ", f"{SMTP} ", 1)):
        assert text.count(theirs) == count
        text = text.replace(theirs, here)
    return text


def start(scene: Scene, *path: str, text: str = "") -> Program:
    """Compile the rules and start the script with these directories first on PATH."""
    scene.env["PATH"] = scene.path(*path)
    scene.env["DNSCACHEIP"] = "127.0.0.53"
    scene.file("tcp.smtp", snippet("qmail-rules"), 0o644)
    done = scene.run("sh", "-c", snippet("qmail-compile"))
    assert (done.returncode, done.stderr) == (0, b"")
    server = scene.script("qmail-run", text or script())
    scene.wait_until_it_listens(25, server)
    return server


@pytest.fixture
def dns(scene: Scene) -> Iterator[DNSServer]:
    with DNSServer(LISTS, host="127.0.0.53", port=53, namespace=scene.namespace) as server:
        yield server


def send(scene: Scene, host: str, source: str) -> str:
    """Try to send a mail: "sent", or the refusal."""
    try:
        with Mail(scene, host, source) as mail:
            refused = mail.sendmail("a@example.org", ["b@example.net"], "Subject: hello\n\nhello\n")
            assert not refused
    except smtplib.SMTPRecipientsRefused as error:
        code, text = error.recipients["b@example.net"]
        return f"{code} {text.decode()}"
    except smtplib.SMTPSenderRefused as error:
        return f"{error.smtp_code} {bytes(error.smtp_error).decode()}"
    except smtplib.SMTPServerDisconnected:
        return "hung up"
    return "sent"


@pytest.mark.parametrize(("whose", "name"), [("Debian's", "::ffff:{}"), ("ours", "{}")])
@pytest.mark.usefixtures("dns")
def test_ipv4_callers_are_treated_as_they_always_were(
    scene: Scene, everybodys_suite: Suite, whose: str, name: str
) -> None:
    server = start(scene, *([str(everybodys_suite.djb)] if whose == "ours" else []))
    check(scene, server, FAMILIES["IPv4"], name)


@pytest.mark.usefixtures("dns")
def test_ipv6_callers_are_treated_alike(scene: Scene, everybodys_suite: Suite) -> None:
    server = start(scene, str(everybodys_suite.djb))
    check(scene, server, FAMILIES["IPv6"], "[{}]")


def check(scene: Scene, server: Program, callers: Callers, name: str) -> None:
    """Every kind of caller in turn, what it gets, and what the log says, where addresses look like ``name``."""
    assert send(scene, callers.host, callers.relay) == "sent"
    assert send(scene, callers.host, callers.stranger).startswith("550 5.1.0 ")
    assert send(scene, callers.host, callers.denied) == "hung up"
    assert send(scene, callers.host, callers.listed) == f"451 {callers.listed} sends spam"

    def verdict(line: str) -> bool:
        return re.match("tcpserver: (ok|deny) ", line) is not None

    server.wait_for_line(verdict, count=4)
    expected = [("ok", callers.relay), ("ok", callers.stranger), ("deny", callers.denied), ("ok", callers.listed)]
    for line, (word, caller) in zip(filter(verdict, server.lines), expected, strict=True):
        assert line.startswith(f"tcpserver: {word} ")
        assert re.sub(r"::\d+$", "", line).endswith(f":25 :{name.format(caller)}"), line

    # The program saw the caller in its environment, so it is in the Received line.
    family = "IPv6:" if ":" in callers.host else ""
    server.wait_for_line(lambda line: "Received: " in line and f"([{family}{callers.relay}])" in line)

    # recordio's number is that of the program, which is tcpserver's as well.
    number = next(filter(verdict, server.lines)).split()[2]
    server.wait_for_line(f"tcpserver: end {number} status 0")
    server.wait_for_line(f"{number} > [EOF]")  # recordio's copier outlives the program
    talk = [line.partition(" ")[2].rstrip() for line in server.lines if line.startswith(f"{number} ")]
    assert re.match(r"> 220 0 .*ESMTP", talk[0])
    assert [line.lower() for line in talk if line.startswith("< ")][:3] == [
        "< ehlo client.example.org", "< mail from:<a@example.org>", "< rcpt to:<b@example.net>",
    ]  # fmt: skip
    assert "> 221 2.0.0 Good bye." in talk


@pytest.mark.root
@pytest.mark.usefixtures("dns")
def test_the_programs_are_the_user_that_the_script_names(scene: Scene, everybodys_suite: Suite) -> None:
    text = script().replace(SMTP, "sh -c 'id -un; id -gn; id -G'")
    start(scene, str(everybodys_suite.djb), text=text)
    for callers in FAMILIES.values():
        assert scene.ask(callers.host, 25, source=callers.relay)[0] == b"nobody\nnogroup\n65534\n"


@pytest.mark.usefixtures("dns")
def test_softlimit_fits_where_the_documentation_puts_it(scene: Scene, everybodys_suite: Suite) -> None:
    for limit in ("softlimit -m 8000000 qmail-smtpd", "softlimit -m 64000000"):
        assert limit in DOC
    inner = script().replace(SMTP, "softlimit -m 8000000 cat")
    outer = script().replace("exec tcpserver", "exec softlimit -m 64000000 tcpserver").replace(SMTP, "cat")
    for text in (inner, outer):
        server = start(scene, str(everybodys_suite.djb), text=text)
        for callers in FAMILIES.values():
            assert scene.ask(callers.host, 25, b"hello\n", callers.relay)[0] == b"hello\n", server.lines
        server.stop()
