#!/usr/bin/env python3
"""Write docs/dialects.md from the code's own table and the code's own answers, so that the page cannot drift.

Usage: python docs/generate_dialects.py           write it
       python docs/generate_dialects.py --check   exit 1 if it is not up to date
"""

from __future__ import annotations

import sys
from pathlib import Path

import ucspi_env
from ucspi_env import Connection, Descriptor, Dialect, Endpoint, Facts, Relay
from ucspi_env._dialects import DECISIVE

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
RELAYED = Facts(
    {0: Descriptor("pipe")},
    pid=17,
    ppid=16,
    relay=Relay(18, "recordio", [CONNECTED.descriptors[0][1]], both=True, accepted=True),
)
BUSY = Facts({0: Descriptor("pipe")}, pid=17, ppid=16, relay=Relay(16, "stunnel4", obstacle="several-peers"))
LOCAL = Facts(
    {
        0: Descriptor(
            "socket", family="unix", type="stream", sockname="/run/mail.sock", peername="", peercred=(9, 33, 33)
        )
    },
    pid=17,
)
ALONE = Facts()
WHERE = {
    id(CONNECTED): "connected to 192.0.2.1:4711",
    id(LISTENING): "listening",
    id(DATAGRAM): "unconnected UDP",
    id(LOOPBACK): "127.0.0.1 to 127.0.0.1",
    id(INHERITED): "pipe; 4 is connected to 192.0.2.1:4711",
    id(PIPE): "pipe",
    id(RELAYED): "pipe of a relay that is connected to 192.0.2.1:4711",
    id(BUSY): "pipe of a relay with several connections",
    id(LOCAL): "accepted at /run/mail.sock, from user 33",
    id(ALONE): "not asked",
}

RULED = TCP | {"TCPREMOTEIP": "203.0.113.7", "UCSPI_RULE_PEER": "192.0.2.1:4711"}
RULED_BY_WORD = TCP | {"TCPREMOTEIP": "203.0.113.7", "UCSPI_TRUST": "rules"}
CGI = {"GATEWAY_INTERFACE": "CGI/1.1", "REMOTE_ADDR": "2001:db8::1", "REMOTE_PORT": "4711"}

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
    ("The same rule by ucspi-tcpserver, which leaves its mark", RULED, CONNECTED),
    ("The same rule, and the operator's word for it", RULED_BY_WORD, CONNECTED),
    ("Pipes, and the relay has this connection (recordio, s6-tlsd)", TCP, RELAYED),
    ("Pipes, the relay has this connection, and no variables (inetd and recordio)", {}, RELAYED),
    (
        "Pipes, and the relay has another connection than the variables say",
        TCP | {"TCPREMOTEIP": "203.0.113.7", "TCPREMOTEPORT": "9"},
        RELAYED,
    ),
    ("Pipes of a relay that serves several callers", TCP, BUSY),
    ("Pipes, and socat's process id is the parent's", {"SOCAT_PEERADDR": "[2001:0db8::0001]", "SOCAT_PID": "16"}, PIPE),
    (
        "A socat that was called relay",
        {"RELAY_PEERADDR": "192.0.2.1", "RELAY_PEERPORT": "4711", "UCSPI_TRUST": "socat:RELAY"},
        PIPE,
    ),
    ("A request header that is called like socat's variable", TCP | {"HTTP_X_PEERADDR": "10.1.2.3"}, PIPE),
    ("A web server's CGI program", CGI, PIPE),
    ("The same over the web server's UNIX-domain socket (Apache mod_cgid)", CGI, LOCAL),
    (
        "A balancer on a UNIX-domain socket, by ucspi-proxyserver",
        TCP | {"UCSPI_PROXY_PEER": "unix:/run/mail.sock"},
        LOCAL,
    ),
    ("The same by a foreign PROXY wrapper, trusted", TCP | {"UCSPI_TRUST": "proxy"}, LOCAL),
    ("The same, not trusted", TCP, LOCAL),
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
    ("Text that is not an address", TCP | {"TCPREMOTEIP": "<not an address>"}, ALONE),
    ("A port that is none", TCP | {"TCPREMOTEPORT": "+25"}, ALONE),
    ("A host name that is an address", TCP | {"TCPREMOTEHOST": "192.0.2.99"}, ALONE),
    ("An ident answer with control bytes", TCP | {"TCPREMOTEINFO": "a\033[31m"}, ALONE),
    ("Only an ssh login", {"SSH_CONNECTION": "192.0.2.1 4711 198.51.100.1 22"}, PIPE),
    ("Nothing", {}, PIPE),
)


EVIDENCE = (
    ("confirmed", "the variables name the peer of a socket that the program has", "yes"),
    ("kernel", "the program's socket alone", "yes"),
    ("relay", "the socket of the relay", "yes"),
    ("proxy", "a PROXY header: our tools' mark is the kernel's or the relay's peer, or `UCSPI_TRUST=proxy`", "yes"),
    (
        "operator",
        "a rule of the super-server, or the operator's word",
        "a rule: with the mark of ucspi-tcpserver (`UCSPI_RULE_PEER`) or `UCSPI_TRUST=rules`, since stale variables "
        "look the same; the other words: yes",
    ),
    ("proof", "a sign of freshness: the program's own process id (systemd, unixserver), CGI, stunnel's pair", "no"),
    ("unconfirmed", "nothing but the variables", "no"),
)
WORDS = (
    ("proxy", "a PROXY wrapper that leaves no proof: its addresses outrank the kernel's peer"),
    ("rules", "rules that replace TCPREMOTEIP, under a super-server that leaves no mark"),
    ("stunnel", "a loopback pair beside REMOTE_HOST and REMOTE_PORT"),
    ("socat:PREFIX", "the variables of a socat that was called by another name, which are `PREFIX_PEERADDR` and so on"),
)
RELAYS = (
    ("recordio, fixcrio (ours, Debian's)", "pipes", "its child", "`relay`"),
    ("s6-tlsd, s6-tlsserver", "pipes", "its child", "`relay`; TLS is the relay's word"),
    ("tlss (ucspi-tools)", "pipes", "its parent", "`relay`; TLS is the relay's word"),
    (
        "socat EXEC, SYSTEM",
        "a socket pair; with `pipes` pipes, with `pty` a terminal",
        "its parent or grandparent",
        "`relay`",
    ),
    ("socat EXEC,nofork", "the connection", "—", "`confirmed`"),
    ("stunnel exec, in inetd mode with `pty = yes`", "a terminal", "its parent", "`relay`"),
    ("stunnel exec, as a daemon", "a loopback pair", "its parent", "`proof`; `operator` with `UCSPI_TRUST=stunnel`"),
    ("ncat -e, sslserver", "pipes; the connection leaks", "—", "`confirmed`"),
    ("any of these under another user than the program", "", "not to be looked at", "`unconfirmed`, with the remedy"),
    ("one process for several connections", "", "several peers", "`unconfirmed`, with the remedy"),
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
        return f"`{type(error).__name__}` | — | —"
    problems = ", ".join(f"`{problem.code}`" for problem in found.problems) or "—"
    who = found.remote or f"user {found.unix.uid if found.unix else None}"
    return f"**{who}**, {found.evidence} ({found.dialect}) | {'yes' if found.vouched else 'no'} | {problems}"


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
        "1. **The program's own socket**, where descriptor 0 is a connected one. Exceptions: our own PROXY programs",
        "   (they leave the balancer's address in `UCSPI_PROXY_PEER`, which has to be the kernel's peer), an",
        "operator's",
        "   rule (another address, but both ports are this connection's), and stunnel, whose child has a",
        "loopback pair.",
        "2. **An error**, where descriptor 0 is listening or unconnected: there is no peer yet.",
        "3. **The socket on descriptor 3**, where `LISTEN_PID` is this process.",
        "4. **A UNIX-domain socket with a name**: the caller that a PROXY wrapper names (with the mark of",
        "   `ucspi-proxyserver`, or `UCSPI_TRUST=proxy`), the client that a web server names, else credentials.",
        "5. **Another connected socket**: one that leaked to the program, or the relay's (below).",
        "6. **Variables alone**: by the operator's word, by a sign of freshness, else by `PROTO` (*unconfirmed*).",
        "",
        "The family of the address is never taken from `PROTO`, and a host name is never taken for an address.",
        "",
        "## Precedence and contradiction",
        "",
        "| situation | variables | descriptor 0 | answer | `strict=True` | problems |",
        "|---|---|---|---|---|---|",
    ]
    after = [
        "",
        "## Evidence, and what `strict=True` accepts",
        "",
        "`strict=True` accepts an answer only if a connected socket that the kernel shows, the program's own or its",
        "relay's, has this peer, or if the operator has vouched for who named another one.",
        "",
        "| evidence | what speaks for the answer | accepted |",
        "|---|---|---|",
        *(f"| `{name}` | {why} | {accepted} |" for name, why, accepted in EVIDENCE),
        "",
        "`UCSPI_TRUST` is the operator's word, in the super-server's environment: words separated by commas. The",
        "argument `trust=` replaces it.",
        "",
        "| word | what it vouches for |",
        "|---|---|",
        *(f"| `{word}` | {what} |" for word, what in WORDS),
        "",
        "## Relays",
        "",
        "A relay is a process between the network and a program that gets a pipe, a socket pair or a terminal. Where",
        "descriptor 0 is one of these, the process at its other end is looked for among the program's children, its",
        "ancestors and their children. It is a witness if every connected socket that it has is connected to one and",
        "the same peer. If it has none and gets its own input from a pipe, the search goes on from there (four hops).",
        "Linux only, and only where its descriptors may be looked at: it runs as the same user, or the",
        "program as root. A terminal must belong to the file system that both see at `/dev/pts`, since each container",
        "counts its terminals from 0.",
        "",
        "| relay | what the program gets | the relay is | evidence |",
        "|---|---|---|---|",
        *(f"| {relay} | {gets} | {place} | {evidence} |" for relay, gets, place, evidence in RELAYS),
        "",
        "Where no variable names a peer (inetd and recordio) the relay's peer is the answer if descriptors 0",
        "and 1 both",
        "lead to it and it has accepted the connection: the local port is a listener's. So `curl … |",
        "program` and a mail",
        "program that a fetcher feeds are not under a super-server.",
        "",
        "## The closed list",
        "",
        "These are the names of all variables that can change an answer. Clients choose names of others (`HTTP_*`,",
        "`LC_*`), so no variable of another name is looked at; `UCSPI_TRUST=socat:PREFIX` adds the names of",
        "that socat.",
        "",
        ", ".join(f"`{name}`" for name in sorted(DECISIVE)),
    ]
    for title, environ, facts in SITUATIONS:
        variables = " ".join(f"`{name}={ascii(value)[1:-1][:40]}`" for name, value in environ.items()) or "none"
        lines.append(f"| {title} | {cell(variables)} | {WHERE[id(facts)]} | {outcome(environ, facts)} |")
    return "\n".join(lines + after) + "\n"


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
