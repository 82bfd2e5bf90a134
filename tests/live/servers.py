"""The super-servers of Debian 12: how each is started for each kind of listener."""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING, NamedTuple

from tests.support import peers, tool

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

V4, V6, DUAL, LINK = "IPv4", "IPv6", "IPv4 on [::]", "link-local"
HERE = {V4: "192.0.2.1", V6: "2001:db8::1", DUAL: "192.0.2.1", LINK: "fe80::1"}
ALL = (V4, V6, DUAL, LINK)


class Site(NamedTuple):
    """What a row needs to write its command.

    Attributes:
        case: the kind of listener wanted.
        port: where it is to listen.
        program: the executable to run for each connection.
        folder: where configuration files may be put.
    """

    case: str
    port: int
    program: str
    folder: Path

    @property
    def six(self) -> bool:
        return self.case != V4

    @property
    def any(self) -> str:
        """The wildcard address of this kind of listener."""
        return "::" if self.six else "0.0.0.0"

    @property
    def address(self) -> str:
        """The wildcard address and the port, in brackets where it is IPv6."""
        return f"[::]:{self.port}" if self.six else f"0.0.0.0:{self.port}"

    def write(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text)
        return str(path)


class Row(NamedTuple):
    """One super-server.

    Attributes:
        name: its line in the table.
        needs: the programs that must be there, the first one being the server.
        command: the command line for a site.
        cases: the listeners it can be started with.
        evidence: what `remote()` may rest on.
        zone: whether the caller's zone can be known for link-local callers.
        refuses: cases in which it listens, and the kernel refuses the caller.
        tls: whether callers have to speak TLS.
        root: whether it only runs as the superuser (it changes groups, which a user namespace does not allow).
    """

    name: str
    needs: tuple[str, ...]
    command: Callable[[Site], list[str]]
    cases: tuple[str, ...] = ALL
    evidence: tuple[str, ...] = ("confirmed",)
    zone: bool = True
    refuses: tuple[str, ...] = ()
    tls: bool = False
    root: bool = False


def path(name: str) -> str:
    found = peers().find(name)
    assert found is not None, name
    return found


def user() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name


def tcpserver(program: list[str], *options: str, wrapper: str = "") -> Callable[[Site], list[str]]:
    def command(site: Site) -> list[str]:
        here = [path(program[0])] if len(program) == 1 else program
        between = [path(wrapper)] if wrapper else []
        return [*here, "-RHl0", *options, "::0" if site.six else "0.0.0.0", str(site.port), *between, site.program]

    return command


def socat(action: str) -> Callable[[Site], list[str]]:
    def command(site: Site) -> list[str]:
        listen = "TCP6-LISTEN:{},ipv6only=0" if site.six else "TCP4-LISTEN:{}"
        return [path("socat"), listen.format(site.port) + ",fork,reuseaddr", action.format(site.program)]

    return command


def ncat(option: str) -> Callable[[Site], list[str]]:
    return lambda site: [path("ncat"), "-l", "-k", option, site.program, site.any, str(site.port)]


def inetd_line(site: Site, protocol: str, wrapper: str = "") -> str:
    run = f"{path(wrapper)} {wrapper} {site.program}" if wrapper else f"{site.program} whoami"
    return site.write("inetd.conf", f"{site.port} stream {protocol} nowait {user()} {run}\n")


def openbsd_inetd(wrapper: str = "") -> Callable[[Site], list[str]]:
    return lambda site: [path("inetd"), "-i", inetd_line(site, "tcp6" if site.case in (V6, LINK) else "tcp", wrapper)]


def inetutils(*options: str) -> Callable[[Site], list[str]]:
    def command(site: Site) -> list[str]:
        conf = inetd_line(site, "tcp6" if site.six else "tcp4")
        return [path("inetutils-inetd"), "-d", f"-p{site.folder}/inetd.pid", *options, conf]

    return command


def xinetd(site: Site) -> list[str]:
    conf = f"""
service live
{{
    type = UNLISTED
    port = {site.port}
    socket_type = stream
    protocol = tcp
    wait = no
    user = {user()}
    server = {site.program}
    flags = {"IPv6" if site.six else "IPv4"}
}}
"""
    files = ["-pidfile", f"{site.folder}/xinetd.pid", "-filelog", f"{site.folder}/xinetd.log"]
    return [path("xinetd"), "-f", site.write("xinetd.conf", conf), "-dontfork", *files]


def rlinetd(site: Site) -> list[str]:
    conf = f"""
service "live" {{
    port "{site.port}";
    family {"ipv6" if site.six else "ipv4"};
    user "{user()}";
    exec "{site.program}";
}}
"""
    parser = peers().package_root("rlinetd")
    found = sorted(parser.glob("usr/lib/**/rlinetd/libparse.so"))
    assert found, "rlinetd has no parser"
    return [path("rlinetd"), "-d", "-f", site.write("rlinetd.conf", conf), "-p", str(found[0])]


def stunnel(site: Site, more: str = "") -> list[str]:
    conf = f"""
foreground = yes
pid =
syslog = no
[live]
accept = {":::" if site.six else "0.0.0.0:"}{site.port}
exec = {site.program}
cert = {site.folder}/mail.pem
{more}
"""
    return [path("stunnel4"), site.write("stunnel.conf", conf)]


def couriertcpd(site: Site) -> list[str]:
    return [
        path("couriertcpd"),
        "-nodnslookup",
        "-noidentlookup",
        f"-address={site.any}",
        str(site.port),
        site.program,
    ]


ROWS = (
    Row("tcpserver (ucspi-tcp)", ("ucspi-tcp/tcpserver",), tcpserver(["ucspi-tcp/tcpserver"]), (V4,)),
    Row("tcpserver (ucspi-tcp-ipv6)", ("ucspi-tcp-ipv6/tcpserver",), tcpserver(["ucspi-tcp-ipv6/tcpserver"])),
    Row("tcpserver -6 (ucspi-tcp-ipv6)", ("ucspi-tcp-ipv6/tcpserver",), tcpserver(["ucspi-tcp-ipv6/tcpserver"], "-6")),
    Row(
        "tcpserver, recordio (ucspi-tcp-ipv6)",
        ("ucspi-tcp-ipv6/tcpserver", "recordio"),
        tcpserver(["ucspi-tcp-ipv6/tcpserver"], wrapper="recordio"),
        evidence=("relay",),
    ),
    Row(
        "tcpserver, fixcrio (ucspi-tcp)",
        ("ucspi-tcp/tcpserver", "ucspi-tcp/fixcrio"),
        tcpserver(["ucspi-tcp/tcpserver"], wrapper="ucspi-tcp/fixcrio"),
        (V4,),
        ("relay",),
    ),
    Row("ucspi-tcpserver (ours)", (), tcpserver(tool("tcpserver"))),
    Row("ucspi-tcpserver -6 (ours)", (), tcpserver(tool("tcpserver"), "-6")),
    Row(
        "tcpsvd (ipsvd)",
        ("tcpsvd",),
        lambda site: [path("tcpsvd"), "-l", "0", "0.0.0.0", str(site.port), site.program],
        (V4,),
    ),
    Row(
        "tcpsvd -E (ipsvd)",
        ("tcpsvd",),
        lambda site: [path("tcpsvd"), "-E", "-l", "0", "0.0.0.0", str(site.port), site.program],
        (V4,),
        ("kernel",),
    ),
    Row("socat EXEC", ("socat",), socat("EXEC:{}"), evidence=("relay",)),
    # The shell may stay in between (dash), so the relay is a grandparent.
    Row("socat SYSTEM", ("socat",), socat("SYSTEM:{}"), evidence=("relay",)),
    Row("socat SYSTEM, exec", ("socat",), socat("SYSTEM:exec {}"), evidence=("relay",)),
    Row("socat EXEC,pipes", ("socat",), socat("EXEC:{},pipes"), evidence=("relay",)),
    Row("socat EXEC,pty", ("socat",), socat("EXEC:{},pty,raw,echo=0"), evidence=("relay",)),
    Row("socat EXEC,nofork", ("socat",), socat("EXEC:{},nofork")),
    Row("ncat -e", ("ncat",), ncat("-e"), evidence=("confirmed",), refuses=(DUAL,)),
    Row("ncat --sh-exec", ("ncat",), ncat("--sh-exec"), evidence=("confirmed",), refuses=(DUAL,)),
    Row("xinetd", ("xinetd",), xinetd, root=True),
    Row("inetd (openbsd-inetd)", ("inetd",), openbsd_inetd(), evidence=("kernel",), root=True),
    Row(
        "inetd, fixcrio",
        ("inetd", "fixcrio"),
        openbsd_inetd("fixcrio"),
        evidence=("relay",),
        root=True,
    ),
    Row("inetutils-inetd", ("inetutils-inetd",), inetutils(), evidence=("kernel",), root=True),
    Row("inetutils-inetd --environment", ("inetutils-inetd",), inetutils("--environment"), root=True),
    Row("inetutils-inetd --resolve", ("inetutils-inetd",), inetutils("--resolve"), root=True),
    Row("rlinetd", ("rlinetd",), rlinetd, evidence=("kernel",), root=True),
    Row(
        "mini-inetd (tcputils)",
        ("mini-inetd",),
        lambda site: [path("mini-inetd"), "-d", str(site.port), site.program, "whoami"],
        (V4,),
        ("kernel",),
    ),
    Row(
        "faucet (netpipes)",
        ("faucet",),
        lambda site: [path("faucet"), str(site.port), "--in", "--out", site.program],
        (V6, DUAL, LINK),
        ("kernel",),
    ),
    Row(
        "nc.traditional -e",
        ("nc.traditional",),
        lambda site: [path("nc.traditional"), "-l", "-p", str(site.port), "-e", site.program],
        (V4,),
        ("kernel",),
    ),
    Row(
        "systemd-socket-activate --inetd",
        ("systemd-socket-activate",),
        lambda site: [path("systemd-socket-activate"), "-l", site.address, "-a", "--inetd", site.program],
        evidence=("kernel",),
    ),
    Row(
        "systemd-socket-activate",
        ("systemd-socket-activate",),
        lambda site: [
            path("systemd-socket-activate"),
            "-l",
            site.address,
            "-a",
            "sh",
            "-c",
            f"exec {site.program} >&3",
        ],
        evidence=("kernel",),
    ),
    Row("stunnel exec", ("stunnel4", "openssl"), stunnel, evidence=("proof",), tls=True),
    Row(
        "stunnel exec, pty",
        ("stunnel4", "openssl"),
        lambda site: stunnel(site, "pty = yes"),
        evidence=("relay",),
        tls=True,
    ),
    Row("couriertcpd", ("couriertcpd",), couriertcpd),
)
