"""What is fuzzed: functions of bytes that may raise nothing, and what a promise of theirs is.

A parser's own error is an answer. Anything else, an AssertionError included, is a find.
"""

from __future__ import annotations

import contextlib
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ucspi_env import Endpoint, UCSPIError
from ucspi_env import proxy as proxy_protocol
from ucspi_env._dialects import DECISIVE
from ucspi_env._facts import Descriptor, Facts
from ucspi_env._identify import identify
from ucspi_env.envcheck.lint import lint_text
from ucspi_env.envcheck.lint._languages import LANGUAGES
from ucspi_env.tools import _cdb, _dnsconf, _dnswire, _identwire, _inetd, _lines, _rbl, _rules

if TYPE_CHECKING:
    from collections.abc import Callable

REGRESSIONS = Path(__file__).parent / "regressions"
PEER = ip_address("2001:db8::1")
NAME = (b"1", b"example")
IDENT = 0x1234


def environment(data: bytes) -> None:
    """The environment of a program: NAME=VALUE, NUL between them; the first byte chooses what the kernel says."""
    inet = Descriptor("socket", family="inet6", type="stream", sockname="[::1]:25", peername="[::1]:4711")
    facts = (Facts(), Facts({0: inet}), Facts({0: Descriptor("pipe")}))[data[0] % 3 if data else 0]
    environ = _variables(data[1:])
    for trust in ("kernel", "proxy"):
        with contextlib.suppress(UCSPIError):
            connection = identify(environ, facts, trust=trust)
            for end in (connection.remote, connection.local):
                assert end is None or str(end).isprintable()


def names(data: bytes) -> None:
    """Two environments, an empty item between them: the names of the second that are not listed change no answer."""
    inet = Descriptor(
        "socket", family="inet6", type="stream", sockname=Endpoint("::1", 25), peername=Endpoint("::1", 4711)
    )
    named = Descriptor("socket", family="unix", type="stream", sockname="/run/s", peername="", peercred=(1, 2, 3))
    choices = (Facts(), Facts({0: inet}), Facts({0: Descriptor("pipe")}, pid=17), Facts({0: named}, pid=17))
    facts = choices[data[0] % len(choices)] if data else Facts()
    first, _, second = data[1:].partition(b"\0\0")
    environ, others = (_variables(part) for part in (first, second))
    unlisted = {name: value for name, value in others.items() if name not in DECISIVE}
    answers: list[object] = []
    for judged in (environ, unlisted | environ, environ | unlisted):
        try:
            answers.append(identify(judged, facts))
        except UCSPIError as error:
            answers.append(str(error))
    assert answers[0] == answers[1] == answers[2]


def _variables(data: bytes) -> dict[str, str]:
    items = [item.partition(b"=") for item in data.split(b"\0")]
    return {
        name.decode("utf-8", "surrogateescape"): value.decode("utf-8", "surrogateescape") for name, _, value in items
    }


def endpoint(data: bytes) -> None:
    """An address as text; what is understood is written in a form that means the same."""
    with contextlib.suppress(ValueError):
        found = Endpoint.parse(data.decode("utf-8", "surrogateescape"))
        assert Endpoint.parse(str(found)) == found


def proxy(data: bytes) -> None:
    """A PROXY header, whole and bit by bit alike."""
    with contextlib.suppress(proxy_protocol.ProxyError):
        found = proxy_protocol.decode(data)
        if found is not None:
            header, length = found
            assert proxy_protocol.decode(data[:length]) == found
            assert proxy_protocol.decode(proxy_protocol.encode(header)) is not None


def cdb(data: bytes) -> None:
    """A file that may be a cdb, searched as rules are."""
    with contextlib.suppress(_cdb.CdbError, _rules.RulesError):
        reader = _cdb.Reader.over(data)
        for address in ("192.0.2.1", "2001:db8::1"):
            _rules.decide(reader.find, ip_address(address), "caller.example", "joe")


def rules(data: bytes) -> None:
    """Rules: what compiles can be read, and decides about everybody."""
    compiler = _rules.Compiler()
    try:
        keys, datas = compiler.compile(data.splitlines(keepends=True))
    except _rules.RuleSyntaxError:
        return
    more = compiler.index()
    reader = _cdb.Reader.over(_cdb.dumps(zip([*keys, *more[0]], [*datas, *more[1]], strict=True)))
    for address in ("192.0.2.1", "2001:db8::1"):
        _rules.decide(reader.find, ip_address(address), "caller.example", "joe")


def dns(data: bytes) -> None:
    """An answer to the question about ``1.example``, behind the header and question that make it one."""
    question = _dnswire.encode_query(IDENT, NAME, 12)
    head = bytearray(question[:12])
    head[2:4] = b"\x81\x80"
    head[6:8] = data[:2].ljust(2, b"\0")
    for packet in (data, bytes(head) + question[12:] + data[2:]):
        with contextlib.suppress(_dnswire.WireError):
            answer = _dnswire.decode_answer(packet, IDENT, NAME, 12)
            for record in answer.records if answer is not None else ():
                _dnswire.name_to_text(_dnswire.name_of(record))


def ident(data: bytes) -> None:
    """An ident answer, at once and byte by byte alike."""
    whole, pieces = _identwire.Reply(1, 2), _identwire.Reply(1, 2)
    whole.feed(data)
    for byte in data:
        if pieces.feed(bytes([byte])):
            break
    assert whole.user == pieces.user
    assert whole.user is None or (whole.user.isprintable() and " " not in whole.user and len(whole.user) <= 512)


def lint(data: bytes) -> None:
    """A source file; the first byte chooses its language, or leaves it to be guessed."""
    text = data[1:].decode("utf-8", "replace")
    language = (None, *LANGUAGES)[data[0] % (len(LANGUAGES) + 1)] if data else None
    rows = text.count("\n") + 1
    for finding in lint_text("a.patch" if data[:1] == b"\xff" else "x", text, language):
        assert 1 <= finding.line <= rows
        assert finding.column >= 1


def resolver(data: bytes) -> None:
    """``$DNSCACHEIP``, resolv.conf, a rewrite file, and a name to look up, NUL between them."""
    variable, conf, rewrite, name = (data.decode("utf-8", "surrogateescape").split("\0") + [""] * 4)[:4]
    for servers in (_dnsconf.servers_from_variable(variable)[0], _dnsconf.servers_from_resolv_conf(conf)):
        assert len(servers) <= 4
    for file in (rewrite, None):
        rules = _dnsconf.rewrite_rules({"LOCALDOMAIN": variable} if variable else {}, file, conf, name)
        for one in _dnsconf.rewritten(name, rules):
            with contextlib.suppress(_dnswire.WireError):
                assert len(_dnswire.encode_query(IDENT, _dnswire.name_from_text(one), 1)) <= 12 + 255 + 4


def smtp(data: bytes) -> None:
    """What a rejected SMTP client says, at once and byte by byte alike."""
    whole, pieces = _rbl.Dialogue(b"553 no"), _rbl.Dialogue(b"553 no")
    said = b""
    for at in range(len(data)):
        said += pieces.feed(data[at : at + 1])
        if pieces.over:
            break
    assert whole.feed(data) == said
    assert whole.over == pieces.over


def http(data: bytes) -> None:
    """An HTTP reply, at once and byte by byte alike, unless its header is too long for either."""
    whole, pieces = _lines.HttpBody(), _lines.HttpBody()
    body = whole.feed(data)
    said = b"".join(pieces.feed(data[at : at + 1]) for at in range(len(data)))
    if not (whole.header_too_long or pieces.header_too_long):
        assert (body, whole.status, whole.length) == (said, pieces.status, pieces.length)
    assert whole.reason.isprintable()


def inetd(data: bytes) -> None:
    """inetd.conf, or xinetd's; what is found can be shown in a line."""
    text = data.decode("utf-8", "surrogateescape")
    for found in _inetd.read_inetd(text, "f"):
        assert isinstance(found, _inetd.Unreadable | _inetd.Service)
    sections = [one for one in _inetd.read_sections(text, "f") if isinstance(one, _inetd.Section)]
    _inetd.read_xinetd(sections)
    _inetd.is_xinetd(text)


class Target(NamedTuple):
    """One function, and inputs that lead into its depths."""

    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]


_RULES = (
    b'127.0.0.1:allow,RELAY=""\n10.1-3.:deny\n2001:db8::/32:deny\n'
    b'=.example.org:allow\njoe@10.0.0.0/8:allow,A="b"\n:deny\n'
)
_KEYS = ((b"192.0.2.1", b"D"), (b"192.0.2.", b"+A=b\0"), (b"", b""))

TARGETS = {
    "environment": Target(
        environment,
        (
            b"\0PROTO=TCP\0TCPREMOTEIP=192.0.2.1\0TCPREMOTEPORT=25\0TCPREMOTEHOST=a.example\0TCPLOCALIP=::ffff:192.0.2.2",
            b"\1PROTO=TCP6\0TCP6REMOTEIP=fe80::1\0TCP6INTERFACE=eth0\0TCP6REMOTEPORT=65535\0TCPREMOTEINFO=x",
            b"\2SSLREMOTEIP=1.2.3.4\0UCSPI_PROXY_PEER=[::1]:1\0SOCAT_PEERADDR=[0000:0000::1]\0NCAT_REMOTE_ADDR=::1",
        ),
    ),
    "names": Target(
        names,
        (
            b"\2PROTO=TCP\0TCPREMOTEIP=192.0.2.1\0\0HTTP_X_PEERADDR=10.1.2.3\0HTTP_X_PID=17",
            b"\0SOCAT_PEERADDR=::1\0UCSPI_TRUST=socat:X\0\0LC_A0_PEERADDR=/run/admin.sock\0LC_A0_PID=17",
            b"\3GATEWAY_INTERFACE=CGI/1.1\0REMOTE_ADDR=::1\0\0HTTP_REMOTE_ADDR=10.1.2.3\0tcpremoteip=10.1.2.3",
        ),
    ),
    "endpoint": Target(endpoint, (b"[fe80::1%eth0]:25", b"192.0.2.1:65535", b"::ffff:1.2.3.4", b"2001:db8::")),
    "proxy": Target(
        proxy,
        (
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1 65535\r\n",
            b"PROXY TCP6 2001:db8::1 ::1 1 25\r\n",
            b"PROXY UNKNOWN x\r\n",
            proxy_protocol.SIGNATURE + b"\x21\x11\x00\x0f\xc0\x00\x02\x01\xc0\x00\x02\x02\x00\x01\x00\x19\x04\x00\x00",
            proxy_protocol.SIGNATURE + b"\x20\x00\x00\x00",
        ),
    ),
    "cdb": Target(cdb, (_cdb.dumps(_KEYS), _cdb.dumps(()), _cdb.dumps(((_rules.INDEX_KEY, b"\x08/\x20"),)))),
    "rules": Target(rules, (_RULES, b"1.2.3.4:allow,A=/b\n", b"x@=h:deny\n", b"::1:allow\n")),
    "dns": Target(
        dns,
        (
            b"\0\1\xc0\x0c\x00\x0c\x00\x01\x00\x00\x00\x3c\x00\x04\x01a\xc0\x0e",
            b"\0\2\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x03\x01b\x00\x01b\x00\x00\x0c\x00\x01\x00\x00\x00\x3c\x00\x03\x01c\x00",
        ),
    ),
    "ident": Target(
        ident, (b"1 , 2 : USERID : UNIX :joe\r\n", b"1,2:ERROR:NO-USER\r\n", b"1,2:USERID:OTHER, UTF-8:j:k\n")
    ),
    "lint": Target(
        lint,
        (
            b'\1int main(void) { char ip[16]; strcpy(ip, getenv("TCPREMOTEIP")); sscanf(ip, "%d.%d.%d.%d", a); }\n',
            b'\3case "$TCPREMOTEIP" in 127.*) echo "${TCPREMOTEIP%.*}" ;; esac <<EOF\n$TCPREMOTEHOST\nEOF\n',
            b"\4my ($ip) = $ENV{TCPREMOTEIP} =~ /^(\\d+)\\./; # ucspi: ignore\n",
            b'\5import os\nip = os.environ["TCPREMOTEIP"]\nif ip.split(".")[0] == "10":\n    pass\n',
            b'\xff--- a/x.c\n+++ b/x.c\n@@ -1,2 +1,2 @@\n-a\n+ip = getenv("TCPREMOTEIP");\n b\n',
            b'\0#!/usr/bin/env ruby\nputs ENV["TCPREMOTEIP"].split(".")\n',
        ),
    ),
    "resolver": Target(
        resolver,
        (
            b"127.0.0.1.2001:db8::53\0nameserver ::1\nsearch a.example b.example\n\0-.local:x.example\n?:.a+.b\n\0host",
            b"127.0.0.1:5353,[::1]:53\0domain d\n\0=a:b\n*.:\n\0a.\\056.example",
        ),
    ),
    "smtp": Target(smtp, (b"HELO a\r\nMAIL FROM:<>\r\nQUIT\r\n", b"quit now\nnoop\n", b"x" * 300 + b"\nrset\r\r\n")),
    "http": Target(
        http,
        (b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", b"HTTP/1.1 404 \xff\n\nx", b"\n", b"\r\nHTTP/1.0 200\n"),
    ),
    "inetd": Target(
        inetd,
        (
            b"127.0.0.1:\nsmtp stream tcp nowait/10.5 mail:mail /usr/sbin/tcpd in.smtpd -bs\n"
            b"#x\n[::1]:http stream tcp6 wait root internal\n",
            b"defaults\n{\n instances = 60\n only_from += 10.0.0.0/8 2001:db8::\n}\n"
            b"service ftp\n{\n disable = no\n server = /x\n"
            b" per_source = UNLIMITED\n cps = 25 30\n rlimit_as = 8M\n nice = -5\n env = A=b\n}\nincludedir /etc/x.d\n",
        ),
    ),
}


def regressions(name: str) -> list[bytes]:
    """What was found once."""
    return [path.read_bytes() for path in sorted((REGRESSIONS / name).glob("*"))]
