"""Every recorded environment of every super-server: the right peer, or a flag that says it may not be."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

import ucspi_env
from tests.support.recordings import environment, recordings, trust_of
from ucspi_env.testing import facts_from_capture

# What no program can know from inside: a relay's client, and environments in which everything is forged.
UNKNOWABLE = {
    ("faucet", "fd3"),  # the socket is on descriptor 3 and nothing says so
    ("git-daemon", "stale-v4_any_net"),
    ("git-daemon", "stale-dual_v6_net"),
    ("git-daemon", "stale-ll_any"),
}


def plain(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    ip = ipaddress.ip_address(text.partition("%")[0].strip("[]"))
    return getattr(ip, "ipv4_mapped", None) or ip


def has_no_peer_yet(case: dict[str, Any]) -> bool:
    """Whether the program was given a listening or unconnected socket."""
    fd = case["fd0"] if case["fd0"]["kind"] == "socket" else case["fd1"]
    if fd["kind"] == "socket":
        return bool(fd.get("listening") or "error" in fd["peername"])
    third = case["extra_fds"].get("fd3", {})
    return bool(third.get("listening")) and case["env_added"].get("LISTEN_PID") == str(case["pid"])


def tells_of_tls(environ: dict[str, str]) -> bool:
    """Whether anything in the environment says that TLS was taken off; ncat --ssl, for one, says nothing."""
    named = "SSL_PROTOCOL" in environ or any(name.startswith("SOCAT_OPENSSL_") for name in environ)
    return named or environ.get("PROTO", "").startswith("SSL")


@pytest.mark.parametrize("case", recordings())
def test_the_peer_is_right_or_flagged(case: dict[str, Any]) -> None:
    truth = case["truth"]
    proxied = truth.get("proxied_client_ip")
    environ = environment(case)
    facts = facts_from_capture(case)

    def ask() -> ucspi_env.Connection:
        return ucspi_env.identify(environ, facts, trust=trust_of(case))

    if truth.get("family") == "AF_UNIX":
        try:
            found = ask()
        except ucspi_env.UCSPIError:
            return
        assert found.remote is None or found.problems or found.evidence == "unconfirmed"
        return
    if has_no_peer_yet(case):
        with pytest.raises(ucspi_env.NoPeerYetError):
            ask()
        return
    # The witness was a socket of the parent's, whose descriptors are not in a recording.
    knowable = truth.get("knowable", True)
    file = case["superserver"]
    try:
        found = ask()
    except ucspi_env.UCSPIError:
        assert not knowable or case["id"] in {name for _, name in UNKNOWABLE}, file
        return
    if not knowable:
        assert not found.vouched
        return
    if "tls" in truth and truth["tls"] == tells_of_tls(environ):
        assert found.tls == truth["tls"]
    if found.remote is None:  # a UNIX-domain relay in front: the relay is the peer
        assert "relay" in case["id"]
        return
    if "relay" in case["id"]:
        return
    if found.evidence == "operator" and found.dialect != "socat":
        assert found.remote.ip == plain(environ["TCPREMOTEIP"])
        return
    want = plain(proxied or truth["client_ip"]), truth.get("proxied_client_port") or truth["client_port"]
    if (found.remote.ip, found.remote.port or want[1]) != want:
        assert found.problems or found.evidence == "unconfirmed"
        assert case["id"] in {name for _, name in UNKNOWABLE}
        return
    if "ll_" in case["case"] and found.evidence in ("confirmed", "kernel"):
        assert found.remote.zone == truth["server_ifname"]


def test_the_recordings_are_all_here() -> None:
    """A wrong path would make the table above pass by being empty."""
    assert len(recordings()) > 700
