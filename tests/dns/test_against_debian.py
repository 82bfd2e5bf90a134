"""What Debian's tcpclient asks a name server for, ours asks for: rewriting, escapes, servers, words for trouble."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.support.dns_server import NXDOMAIN, DNSServer, respond
from ucspi_env.tools._program import Stop
from ucspi_env.tools._resolve import Resolver, figure_out

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support import Namespace
    from tests.support.dns_server import Zone

SERVER = "127.0.0.53"
ZONE: Zone = {"host.dom.example": {"A": ["127.0.0.1"]}, "a.example": {"A": ["127.0.0.1"]}, "a": {"A": ["127.0.0.1"]}}
TWO_DOMAINS = {"LOCALDOMAIN": "nowhere.example dom.example"}
CLOSED = "1"  # tcpmux: nobody listens in a namespace of our own


def ours(host: str, env: dict[str, str]) -> tuple[str, ...]:
    """What `figure_out` says: addresses, or the line that a program ends with."""
    try:
        return tuple(str(endpoint) for endpoint in figure_out("tcpclient", host, Resolver(environ=env)))
    except Stop as stop:
        return stop.lines


@pytest.mark.netns
@pytest.mark.peer("tcpclient")
@pytest.mark.parametrize(
    ("host", "env", "rules"),
    [
        *(
            (host, TWO_DOMAINS, None)
            for host in ("host", "HOST", "host.", "a.example", "a.example..", "x.y", "a..example")
        ),
        *((host, TWO_DOMAINS, None) for host in (r"a\.example", r"a\056b.example", r"\141.example", r"\1\12", "a\\")),
        *(
            (host, {}, None)
            for host in ("x" * 63 + ".example", "x" * 64 + ".example", "127.0.0.1.", "::ffff:127.0.0.1")
        ),
        ("host", {"LOCALDOMAIN": ""}, None),
        ("host", {}, "=host:a.example\n"),
        ("host", {}, "=HOST:a.example"),
        ("host", {}, "=host:a.example \t\n"),
        ("host", {}, " =host:a.example\n"),
        ("host", {}, "# comment\n\n=host:a.example\nnonsense\n"),
        ("xhost", {}, "=host:a.example\n"),
        ("a.OLD", {}, "*.old:.example\n"),
        ("a.old", {}, "-old:a.example\n"),
        ("a.old", {}, "?.old:.mid\n*.mid:.example\n"),
        ("b.a.old", {}, "?.old:.example\n"),
        ("host", {}, "?:+.nowhere+.dom.example\n"),
        ("host", {}, "=host:127.0.0.1\n"),
        ("a.example", {"DNSCACHEIP": "127.0.0.9." + SERVER}, None),
        ("a.example", {"DNSCACHEIP": "." + SERVER}, None),
        ("a.example", {"DNSCACHEIP": SERVER + "."}, None),
        ("a.example", {"DNSCACHEIP": SERVER + ".nonsense"}, None),
        ("a.example", {"DNSCACHEIP": "127.000.000.053"}, None),
        ("none.example", {}, None),
    ],
)
def test_the_same_questions_lead_to_the_same_end(
    peer: Callable[[str], str],
    netns: Callable[..., Namespace],
    tmp_path: Path,
    host: str,
    env: dict[str, str],
    rules: str | None,
) -> None:
    file = tmp_path / "rules"
    if rules is not None:
        file.write_text(rules)
    environ = {"PATH": os.environ["PATH"], "DNSCACHEIP": SERVER, "DNSREWRITEFILE": str(file), **env}
    namespace = netns()
    with DNSServer(ZONE, host=SERVER, port=53, namespace=namespace) as dns:
        done = namespace.run([peer("tcpclient"), "-RHl0", host, CLOSED, "true"], env=environ)
        theirs = [query.name for query in dns.queries if query.kind == "AAAA"]
        dns.queries.clear()
        said = namespace.call(ours, host, environ)
        assert [query.name for query in dns.queries if query.kind == "AAAA"] == theirs
    lines = done.stderr.decode().splitlines()
    if lines == ["tcpclient: unable to connect to 127.0.0.1 port 1: connection refused"]:
        assert said == ("127.0.0.1",)
    else:
        assert said == tuple(lines)


@pytest.mark.netns
@pytest.mark.peer("tcpclient")
@pytest.mark.parametrize(
    ("host", "better"),
    [
        ("10.0.0.1.example", ("127.0.0.1",)),
        ("[127.0.0.1]", ("127.0.0.1",)),
        ("[::1]", ("::1",)),
        ("fe80::", ("fe80::",)),
        ("localhost", ("::1", "127.0.0.1")),
        (
            "127.0.0.257",
            ("tcpclient: fatal: no IP address for 127.0.0.257: the numbers of an IPv4 address are 0 to 255",),
        ),
        ("12345::1", ("tcpclient: fatal: no IP address for 12345::1: this is not an IPv6 address",)),
    ],
)
def test_where_ours_is_better(
    peer: Callable[[str], str], netns: Callable[..., Namespace], host: str, better: tuple[str, ...]
) -> None:
    """A9, A10, A11, A13: each is shown to be different, so that a C program that learns it is noticed."""
    environ = {"PATH": os.environ["PATH"], "DNSCACHEIP": SERVER, "DNSREWRITEFILE": "/nonexistent"}
    namespace = netns()
    zone: Zone = {"10.0.0.1.example": {"A": ["127.0.0.1"]}}
    with DNSServer(zone, host=SERVER, port=53, namespace=namespace):
        done = namespace.run([peer("tcpclient"), "-RHl0", host, CLOSED, "true"], env=environ)
        said = namespace.call(ours, host, environ)
    assert said == better
    assert done.stderr.decode().splitlines() not in (
        list(said),
        [f"tcpclient: unable to connect to {address} port 1: connection refused" for address in said],
    )


@pytest.mark.netns
@pytest.mark.peer("tcpclient")
def test_trouble_is_not_taken_for_a_name_that_does_not_exist(
    peer: Callable[[str], str], netns: Callable[..., Namespace]
) -> None:
    """A12. NXDOMAIN for AAAA alone, and an A record: C's merged result and ours are the same again."""
    environ = {"PATH": os.environ["PATH"], "DNSCACHEIP": SERVER, "DNSREWRITEFILE": "/nonexistent"}
    namespace = netns()
    with DNSServer(
        ZONE,
        lambda query: [respond(query, rcode=NXDOMAIN)] if query.kind == "AAAA" else None,
        host=SERVER,
        port=53,
        namespace=namespace,
    ):
        done = namespace.run([peer("tcpclient"), "-RHl0", "a.example", CLOSED, "true"], env=environ)
        assert done.stderr == b"tcpclient: unable to connect to 127.0.0.1 port 1: connection refused\n"
        assert namespace.call(ours, "a.example", environ) == ("127.0.0.1",)
    # Nobody listens on port 53 now.
    assert namespace.call(ours, "a.example", environ) == (
        "tcpclient: fatal: temporarily unable to figure out IP address for a.example: connection refused",
    )
