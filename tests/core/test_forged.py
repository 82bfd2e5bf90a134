"""Every recorded connection again, with variables forged around it: the right peer still, or a flag."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

import ucspi_env
from tests.core.test_captures import has_no_peer_yet, plain
from tests.support.recordings import CAPTURES, environment, recordings
from ucspi_env import Connection, Descriptor, Endpoint, Facts, UCSPIError, identify
from ucspi_env._dialects import PEER_VARIABLES
from ucspi_env.testing import facts_from_capture

FORGED = "203.0.113.66"
NOT_OURS = "99999"  # a process id that none of the recordings has

# What another server, or whoever started this one, may have left behind.
FAMILIES: dict[str, dict[str, str]] = {
    "TCP": {
        "TCPREMOTEIP": FORGED,
        "TCPREMOTEPORT": "666",
        "TCPREMOTEHOST": "forged.example",
        "TCPREMOTEINFO": "forged",
        "TCPLOCALIP": "203.0.113.1",
        "TCPLOCALPORT": "25",
    },
    "TCP without port": {"TCPREMOTEIP": FORGED},
    "TCP6": {"TCP6REMOTEIP": f"::ffff:{FORGED}", "TCP6REMOTEPORT": "666", "TCP6INTERFACE": "forged0"},
    "SSL": {"SSLREMOTEIP": FORGED, "SSLREMOTEPORT": "666", "SSL_PROTOCOL": "TLSv1.3"},
    "busybox": {"TCPREMOTEADDR": f"{FORGED}:666", "TCPCONCURRENCY": "1"},
    "busybox UDP": {"UDPREMOTEADDR": f"{FORGED}:666"},
    "systemd": {"REMOTE_ADDR": FORGED, "REMOTE_PORT": "666", "SYSTEMD_EXEC_PID": NOT_OURS},
    "CGI": {"REMOTE_ADDR": FORGED, "REMOTE_PORT": "666", "GATEWAY_INTERFACE": "CGI/1.1"},
    "xinetd": {"REMOTE_HOST": FORGED},
    "stunnel": {"REMOTE_HOST": FORGED, "REMOTE_PORT": "666"},
    "socat": {"SOCAT_PEERADDR": FORGED, "SOCAT_PEERPORT": "666", "SOCAT_PID": NOT_OURS},
    "ncat": {"NCAT_REMOTE_ADDR": FORGED, "NCAT_REMOTE_PORT": "666", "NCAT_PROTO": "UDP"},
    "sshd": {"SSH_CONNECTION": f"{FORGED} 666 203.0.113.1 22", "SSH_CLIENT": f"{FORGED} 666 22"},
    "unixserver": {"UNIXREMOTEEUID": "0", "UNIXREMOTEEGID": "0", "UNIXLOCALPID": NOT_OURS},
    "s6-ipcserver": {"IPCREMOTEEUID": "0", "IPCREMOTEEGID": "0", "IPCREMOTEPATH": "/forged", "IPCCONNNUM": "1"},
    "socket activation": {"LISTEN_PID": NOT_OURS, "LISTEN_FDS": "1"},
    "our PROXY programs": {"UCSPI_PROXY_PEER": f"{FORGED}:666", "TCPREMOTEIP": FORGED, "TCPREMOTEPORT": "666"},
}
FAMILIES["everything"] = {name: value for family in FAMILIES.values() for name, value in family.items()}
PROTOS = (None, "TCP", "TCP6", "UDP", "SSL", "SSL6", "UNIX", "IPC", "https")


def flagged(found: Connection) -> bool:
    return bool(found.problems) or found.evidence == "unconfirmed"


def check(case: dict[str, Any], environ: dict[str, str], facts: Facts) -> None:
    """The recording's true peer, or a flag."""
    truth = case["truth"]
    proxied = truth.get("proxied_client_ip")
    try:
        found = identify(environ, facts, trust="proxy" if proxied else "kernel")
    except UCSPIError:
        return
    assert not has_no_peer_yet(case) or flagged(found), found
    if truth.get("family") == "AF_UNIX":
        assert found.remote is None or flagged(found), found
        return
    if found.remote is None:
        # The named socket of a balancer or a web server has credentials, which give a flagged answer only.
        credentials = bool(case["fd0"].get("sockname", {}).get("path")) and flagged(found)
        assert found.evidence == "unconfirmed" or credentials or "relay" in case["id"], found
        return
    if flagged(found) or "relay" in case["id"]:
        return
    want = plain(proxied or truth["client_ip"]), truth.get("proxied_client_port") or truth["client_port"]
    assert (found.remote.ip, found.remote.port or want[1]) == want, found


@pytest.mark.parametrize("case", recordings())
def test_what_is_inherited_never_wins_unseen(case: dict[str, Any]) -> None:
    """Forged variables are there before the super-server adds its own: a start script with a dirty environment."""
    own = environment(case)
    facts = facts_from_capture(case)
    for forged, proto in product(FAMILIES.values(), PROTOS):
        check(case, forged | ({"PROTO": proto} if proto else {}) | own, facts)


@pytest.mark.parametrize("case", [case for case in recordings() if "proxied_client_ip" not in case.values[0]["truth"]])
def test_what_is_overwritten_never_wins_unseen(case: dict[str, Any]) -> None:
    """Forged variables replace the super-server's own, as a wrapper in between might do.

    Left out: recordings asked with trust="proxy", which is the order to believe them.
    """
    own = environment(case)
    facts = facts_from_capture(case)
    for forged in FAMILIES.values():
        check(case, own | forged, facts)


@pytest.mark.parametrize("case", recordings())
def test_what_is_missing_is_not_made_up(case: dict[str, Any]) -> None:
    own = environment(case)
    facts = facts_from_capture(case)
    for name in PEER_VARIABLES & own.keys():
        if (case["superserver"], name) != ("stunnel", "REMOTE_PORT"):  # REMOTE_HOST alone is just what xinetd sets
            check(case, {key: value for key, value in own.items() if key != name}, facts)


# Descriptors of every shape that a program can be given.
PEER, HERE = Endpoint("192.0.2.1", 4711), Endpoint("198.51.100.1", 2525)
LOOP, LOOPED = Endpoint("127.0.0.1", 40000), Endpoint("127.0.0.1", 40001)
SHAPES = {
    "IPv4": Descriptor("socket", family="inet", type="stream", sockname=HERE, peername=PEER),
    "UDP": Descriptor("socket", family="inet", type="dgram", sockname=HERE, peername=PEER),
    "IPv6": Descriptor(
        "socket", family="inet6", type="stream", sockname=Endpoint("::1", 25), peername=Endpoint("::1", 1)
    ),
    "loopback": Descriptor("socket", family="inet", type="stream", sockname=LOOPED, peername=LOOP),
    "listening": Descriptor("socket", family="inet", type="stream", sockname=HERE, listening=True),
    "unconnected UDP": Descriptor("socket", family="inet", type="dgram", sockname=HERE),
    "reset": Descriptor("socket", family="inet", type="stream", sockname=HERE),
    "UNIX": Descriptor("socket", family="unix", type="stream", sockname="/run/s", peername="", peercred=(9, 1000, 100)),
    "unnamed pair": Descriptor("socket", family="unix", type="stream", sockname="", peername="", peercred=(9, 1, 1)),
    "vsock": Descriptor("socket", family="other", type="stream"),
    "pipe": Descriptor("pipe"),
    "terminal": Descriptor("chr"),
    "file": Descriptor("file"),
    "directory": Descriptor("other"),
    "closed": Descriptor("closed"),
}


@pytest.mark.parametrize("extra", [{}, {3: SHAPES["IPv4"]}, {1: SHAPES["IPv4"]}], ids=["alone", "3", "1"])
@pytest.mark.parametrize("shape", SHAPES)
def test_only_the_kernel_makes_a_peer_that_strict_accepts(shape: str, extra: dict[int, Descriptor]) -> None:
    """Stale variables of any two servers on any descriptor: what is better than unconfirmed is the kernel's word."""
    descriptor = SHAPES[shape]
    facts = Facts({0: descriptor} | extra, pid=17, ppid=16, grandparent=15)
    for first, second, proto in product(FAMILIES.values(), FAMILIES.values(), PROTOS):
        environ = first | second | ({"PROTO": proto} if proto else {})
        try:
            found = identify(environ, facts)
        except UCSPIError:
            continue
        assert shape not in ("listening", "unconnected UDP", "reset")
        if found.remote is None:
            assert found.unix is not None
            assert found.unix.uid == 1000 if shape == "UNIX" else found.evidence == "unconfirmed"
        elif found.evidence == "proof":
            # By contract: signs of freshness never come without their problem, and strict refuses them.
            assert {"web-server", "stunnel-or-stale"} & {problem.code for problem in found.problems}
            assert not found.vouched
        elif found.vouched:
            assert str(found.remote.ip) != FORGED
            assert found.remote in (descriptor.peername, *(other.peername for other in extra.values()))


def test_the_forgeries_name_only_what_a_dialect_has() -> None:
    """A misspelt name would make the tables above harmless."""
    ours = {"SYSTEMD_EXEC_PID", "SSL_PROTOCOL", "LISTEN_PID", "LISTEN_FDS"}

    assert FAMILIES["everything"].keys() <= PEER_VARIABLES | ours
    assert CAPTURES.is_dir()
    assert ucspi_env.connection(FAMILIES["TCP"]).evidence == "unconfirmed"
