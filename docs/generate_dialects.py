#!/usr/bin/env python3
"""Write docs/dialects.md from the code's own table and the code's own answers, so that the page cannot drift.

Usage: python docs/generate_dialects.py           write it
       python docs/generate_dialects.py --check   exit 1 if it is not up to date
"""

from __future__ import annotations

import sys
from pathlib import Path

import ucspi_env
from ucspi_env import Connection, Descriptor, Dialect, Endpoint, Facts

PAGE = Path(__file__).parent / "dialects.md"

PEER, HERE = Endpoint("192.0.2.1", 4711), Endpoint("198.51.100.1", 25)
TCP = {
    "PROTO": "TCP",
    "TCPREMOTEIP": "192.0.2.1",
    "TCPREMOTEPORT": "4711",
    "TCPLOCALIP": "198.51.100.1",
    "TCPLOCALPORT": "25",
}
CONNECTED = Facts({0: Descriptor("socket", family="inet", type="stream", sockname=HERE, peername=PEER)})
LISTENING = Facts({0: Descriptor("socket", family="inet", type="stream", sockname=HERE, listening=True)})
DATAGRAM = Facts({0: Descriptor("socket", family="inet", type="dgram", sockname=HERE)})
LOOPBACK = Facts(
    {
        0: Descriptor(
            "socket",
            family="inet",
            type="stream",
            sockname=Endpoint("127.0.0.1", 40001),
            peername=Endpoint("127.0.0.1", 40000),
        )
    }
)
INHERITED = Facts({0: Descriptor("pipe"), 4: CONNECTED.descriptors[0][1]})
PIPE = Facts({0: Descriptor("pipe")}, pid=17, ppid=16)
ALONE = Facts()
WHERE = {
    id(CONNECTED): "connected to 192.0.2.1:4711",
    id(LISTENING): "listening",
    id(DATAGRAM): "unconnected UDP",
    id(LOOPBACK): "127.0.0.1 to 127.0.0.1",
    id(INHERITED): "pipe; 4 is connected to 192.0.2.1:4711",
    id(PIPE): "pipe",
    id(ALONE): "not asked",
}

# What happens, the variables beside PATH and the like, and what the kernel says.
SITUATIONS: tuple[tuple[str, dict[str, str], Facts], ...] = (
    ("Variables and kernel agree", TCP, CONNECTED),
    ("No variables", {}, CONNECTED),
    ("Stale variables of another connection", TCP | {"TCPREMOTEIP": "203.0.113.66", "TCPREMOTEPORT": "666"}, CONNECTED),
    ("An operator's rule (tcprules) replaced the address", TCP | {"TCPREMOTEIP": "203.0.113.7"}, CONNECTED),
    ("A foreign PROXY wrapper, not trusted", TCP | {"TCPREMOTEIP": "203.0.113.7", "TCPREMOTEPORT": "9"}, CONNECTED),
    (
        "A foreign PROXY wrapper, trusted",
        TCP | {"TCPREMOTEIP": "203.0.113.7", "TCPREMOTEPORT": "9", "UCSPI_TRUST": "proxy"},
        CONNECTED,
    ),
    (
        "Our PROXY programs",
        TCP | {"TCPREMOTEIP": "203.0.113.7", "TCPREMOTEPORT": "9", "UCSPI_PROXY_PEER": "192.0.2.1:4711"},
        CONNECTED,
    ),
    ("An adapter that cannot read IPv6 wrote 0.0.0.0", TCP | {"TCPREMOTEIP": "0.0.0.0"}, CONNECTED),  # noqa: S104
    ("Mapped text for an IPv4 caller", {"TCPREMOTEIP": "::ffff:192.0.2.1", "TCPREMOTEPORT": "4711"}, CONNECTED),
    ("stunnel's own socket pair", {"REMOTE_HOST": "2001:db8::9", "REMOTE_PORT": "5000"}, LOOPBACK),
    (
        "stunnel's pair beside another server's variables",
        TCP | {"REMOTE_HOST": "2001:db8::9", "REMOTE_PORT": "5000"},
        LOOPBACK,
    ),
    ("A wait service: the listening socket", TCP, LISTENING),
    ("A UDP service: an unconnected socket", TCP, DATAGRAM),
    ("Pipes, and the socket was inherited beside them (ncat)", TCP, INHERITED),
    ("Pipes, and socat's process id is the parent's", {"SOCAT_PEERADDR": "[2001:0db8::0001]", "SOCAT_PID": "16"}, PIPE),
    ("Pipes, and nothing vouches for the variables", TCP, PIPE),
    ("Two families that contradict each other", TCP | {"SSLREMOTEIP": "203.0.113.1"}, PIPE),
    ("TCPREMOTEADDR beside a TCPREMOTEIP (busybox removes nothing)", TCP | {"TCPREMOTEADDR": "[2001:db8::1]:7"}, PIPE),
    ("Half a family: no port", {"PROTO": "TCP", "TCPREMOTEIP": "192.0.2.1"}, ALONE),
    ("Half a family: TCP6 without TCP", {"PROTO": "TCP6", "TCP6REMOTEIP": "2001:db8::1", "TCP6REMOTEPORT": "7"}, ALONE),
    ("Half a family: TCP without TCP6", {"PROTO": "TCP6", "TCPREMOTEIP": "2001:db8::1", "TCPREMOTEPORT": "7"}, ALONE),
    ("PROTO=TCP with an IPv6 peer (s6, nosh, GNU inetd)", TCP | {"TCPREMOTEIP": "2001:db8::1"}, ALONE),
    ("PROTO=TCP6 with an IPv4 peer (tcpserver -6)", TCP | {"PROTO": "TCP6", "TCPREMOTEIP": "::ffff:c000:201"}, ALONE),
    ("Upper case and padding", TCP | {"PROTO": "TCP6", "TCPREMOTEIP": "2001:0DB8:0:0:0:0:0:0001"}, ALONE),
    ("Leading zeros, as DJB's tools read them", TCP | {"TCPREMOTEIP": "192.000.002.001"}, ALONE),
    ("Empty counts as unset", TCP | {"TCPREMOTEIP": ""}, ALONE),
    ("Over-long text", TCP | {"TCPREMOTEIP": "2001:db8::" + "0" * 90 + "1"}, ALONE),
    ("Text that is no address", TCP | {"TCPREMOTEIP": "<no address>"}, ALONE),
    ("A port that is none", TCP | {"TCPREMOTEPORT": "+25"}, ALONE),
    ("A host name that is an address", TCP | {"TCPREMOTEHOST": "192.0.2.99"}, ALONE),
    ("An ident answer with control bytes", TCP | {"TCPREMOTEINFO": "a\033[31m"}, ALONE),
    ("Only an ssh login", {"SSH_CONNECTION": "192.0.2.1 4711 198.51.100.1 22"}, PIPE),
    ("Nothing", {}, PIPE),
)


def cell(text: str) -> str:
    """Text for a table cell."""
    return text.replace("|", "\\|").replace("\n", " ")


def introduce(row: Dialect) -> str:
    """Which program a dialect is of, and what is to be known about it: a line of a table."""
    return f"| `{row.name}` | {cell(row.program)} | {cell(row.note)} |"


def describe(row: Dialect) -> str:
    """What a dialect writes: a line of a table."""
    example4 = Connection(remote=PEER, local=HERE)
    example6 = Connection(remote=Endpoint("2001:db8:0:1:1:1:1:1", 4711), local=Endpoint("2001:db8::2", 25))
    if "unix" in row.transports:
        example4 = Connection(unix=ucspi_env.UnixPeer(1000, 100, 4711, "/run/c"))
    elif "tcp" not in row.transports:
        example4 = Connection(remote=PEER, transport="udp")
        example6 = Connection(remote=example6.remote, transport="udp")
    texts = []
    for example in (example4, example6):
        try:
            change = ucspi_env.build(example, row.name).set
        except ucspi_env.DialectError:
            texts.append("—")
            continue
        shown = [
            f"{name}={value}" for name, value in change.items() if "LOCAL" not in name and not name.endswith("PORT")
        ]
        texts.append(" ".join(f"`{pair}`" for pair in shown) or "nothing")
    if "unix" in row.transports:
        texts[1] = "—"
    names = ", ".join(f"`{name}`" for name in (row.name, *row.aliases))
    return f"| {names} | {texts[0]} | {texts[1]} |"


def outcome(environ: dict[str, str], facts: Facts) -> str:
    """What the library says."""
    try:
        found = ucspi_env.identify(environ, facts)
    except ucspi_env.UCSPIError as error:
        return f"`{type(error).__name__}` | —"
    problems = ", ".join(f"`{problem.code}`" for problem in found.problems) or "—"
    return f"**{found.remote}**, {found.evidence} ({found.dialect}) | {problems}"


def page() -> str:
    """The whole page."""
    lines = [
        "# Dialects",
        "",
        "<!-- Generated by docs/generate_dialects.py from the code's table and the code's answers. Do not edit. -->",
        "",
        "Every super-server tells its program in its own way who is calling. This page has the ways, and what",
        "`ucspi_env.remote()` makes of an environment in which they meet. `tcpserver --dialect NAME` and",
        "`ucspi-envcheck env NAME` write any of them.",
        "",
        "## Who writes what",
        "",
        "The examples are a caller at 192.0.2.1 port 4711 and one at 2001:db8:0:1:1:1:1:1; ports and local variables",
        "are left out. A dash: it cannot carry such a caller.",
        "",
        "| name | IPv4 caller | IPv6 caller |",
        "|---|---|---|",
        *(describe(row) for row in ucspi_env.dialects()),
        "",
        "## Who they are",
        "",
        "| name | program | to know |",
        "|---|---|---|",
        *(introduce(row) for row in ucspi_env.dialects()),
        "",
        "## What is believed",
        "",
        "1. **The kernel**, where descriptor 0 is a connected socket. Exceptions: our own PROXY programs (they leave",
        "   the balancer's address in `UCSPI_PROXY_PEER`, which has to be the kernel's peer), an operator's rule",
        "   (another address, but both ports are this connection's), and stunnel, whose child has a loopback pair.",
        "2. **Nobody**, where descriptor 0 is listening or unconnected: there is no peer yet.",
        "3. **The socket on descriptor 3**, where `LISTEN_PID` is this process.",
        "4. **Credentials**, where the socket is a UNIX-domain one with a name.",
        "5. **Variables with a proof** that they are fresh: an inherited socket with the same peer, a process id that",
        "   is ours, our parent's or grandparent's.",
        "6. **Variables without a proof**, by `PROTO`, marked *unconfirmed*; `strict=True` refuses them.",
        "",
        "The family of the address is never taken from `PROTO`, and a host name is never taken for an address.",
        "",
        "## Precedence and contradiction",
        "",
        "| situation | variables | descriptor 0 | answer | problems |",
        "|---|---|---|---|---|",
    ]
    for title, environ, facts in SITUATIONS:
        variables = " ".join(f"`{name}={ascii(value)[1:-1][:40]}`" for name, value in environ.items()) or "none"
        lines.append(f"| {title} | {cell(variables)} | {WHERE[id(facts)]} | {outcome(environ, facts)} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write or check the page."""
    text = page()
    if "--check" in sys.argv[1:]:
        if PAGE.read_text(encoding="utf-8") == text:
            return 0
        sys.stderr.write(f"{PAGE} is not up to date: run python docs/generate_dialects.py\n")
        return 1
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
