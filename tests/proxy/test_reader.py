"""Taking the header from a descriptor or a socket: whole, in time, and not a byte more."""

from __future__ import annotations

import os
import selectors
import socket
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.proxy.conftest import connected, read_all
from tests.proxy.corpus import GARBAGE, HEADERS, v2
from tests.support import reset_at_close
from ucspi_env import Endpoint
from ucspi_env.proxy import ProxyError, ProxyHeader, ProxySSL, encode
from ucspi_env.tools._proxyread import BalancerGone, balancers, proxied, proxy_header, proxy_variables, read_header
from ucspi_env.tools._tasks import Outcome, Tasks, complete, gather

FOREVER = 60.0


def blocking(sock: socket.socket, timeout: float) -> ProxyHeader:
    return read_header(sock.fileno(), timeout)


def as_task(sock: socket.socket, timeout: float) -> ProxyHeader:
    return complete(proxy_header(sock, timeout))


READERS = (blocking, as_task)


def from_pipe(data: bytes) -> tuple[ProxyHeader, bytes]:
    reader, writer = os.pipe()
    try:
        with os.fdopen(writer, "wb") as out:
            out.write(data)
        header = read_header(reader, FOREVER)
        return header, os.read(reader, 100000)
    finally:
        os.close(reader)


def from_socket(data: bytes) -> tuple[ProxyHeader, bytes]:
    near, far = socket.socketpair()
    with near, far:
        far.sendall(data)
        far.shutdown(socket.SHUT_WR)
        header = complete(proxy_header(near, FOREVER))
        return header, read_all(near)


@pytest.mark.parametrize("take", [from_pipe, from_socket])
@pytest.mark.parametrize(("data", "header"), HEADERS.values(), ids=HEADERS)
def test_what_follows_a_header_is_left_where_it_is(take: object, data: bytes, header: ProxyHeader) -> None:
    assert callable(take)
    for behind in (b"", b"\n", b"PROXY TCP4 ", bytes(20000)):
        assert take(data + behind) == (header, behind)


@pytest.mark.parametrize("take", [from_pipe, from_socket])
@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_is_refused_without_waiting_for_more(take: object, name: str) -> None:
    data, usable = GARBAGE[name]
    assert callable(take)
    with pytest.raises(ProxyError):
        take(data[: usable + 1])


@given(st.sampled_from([data for data, _ in HEADERS.values()]), st.binary(max_size=30), st.data())
def test_a_header_may_come_in_any_pieces(data: bytes, behind: bytes, draw: st.DataObject) -> None:
    whole = data + behind
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    near, far = socket.socketpair()
    with near, far:
        task = proxy_header(near, FOREVER)
        next(task)  # nothing is there yet
        found: list[ProxyHeader] = []
        for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
            far.sendall(whole[start:end])
            if not found and end > start:
                try:
                    task.send([near])
                except StopIteration as stop:
                    found.append(stop.value)
        far.shutdown(socket.SHUT_WR)
        assert found == [dict(HEADERS.values())[data]]
        assert read_all(near) == behind


def test_byte_by_byte_over_tcp_is_a_header_too() -> None:
    data, header = HEADERS["haproxy send-proxy-v2 over IPv6"]
    for read in READERS:
        with connected() as (client, server):
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

            def drip(client: socket.socket = client) -> None:
                for byte in data:
                    client.sendall(bytes((byte,)))
                client.sendall(b"rest")

            thread = threading.Thread(target=drip)
            thread.start()
            assert read(server, FOREVER) == header
            thread.join()
            assert server.recv(4, socket.MSG_WAITALL) == b"rest"


@pytest.mark.parametrize("sent", [b"", b"PROXY TCP4 192.0.2.7 ", HEADERS["UDP over IPv4"][0][:20]])
def test_a_header_that_does_not_come_in_time_is_an_error(sent: bytes) -> None:
    for read in READERS:
        with connected() as (client, server):
            client.sendall(sent)
            with pytest.raises(ProxyError, match="timed out"):
                read(server, 0.05)


@pytest.mark.parametrize(
    ("sent", "says"), [(b"", "without a byte"), (b"PROXY TCP4 192", "after 14 bytes"), (b"\r\n\r\n", "after 4 bytes")]
)
def test_an_end_within_the_header_is_an_error(sent: bytes, says: str) -> None:
    for read in READERS:
        with connected() as (client, server):
            client.sendall(sent)
            client.shutdown(socket.SHUT_WR)
            with pytest.raises(ProxyError, match=says):
                read(server, FOREVER)


@pytest.mark.parametrize("sent", [b"", HEADERS["haproxy send-proxy-v2 check"][0][:15]])
def test_a_balancer_that_resets_has_gone_which_is_no_other_error(sent: bytes) -> None:
    for read in READERS:
        with connected() as (client, server):
            client.sendall(sent)
            reset_at_close(client)
            client.close()
            with pytest.raises(BalancerGone, match="connection reset"):
                read(server, FOREVER)
    with connected() as (client, server):
        task = proxy_header(server, FOREVER)
        client.sendall(b"PROXY ")
        next(task)  # takes what is there
        reset_at_close(client)
        client.close()
        with pytest.raises(BalancerGone, match="connection reset"):
            task.send([server])


def test_a_descriptor_that_is_not_open_is_an_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    os.close(writer)
    with pytest.raises(ProxyError, match="not open"):
        read_header(reader, FOREVER)


def test_a_silent_balancer_delays_nobody_else() -> None:
    data, header = HEADERS["the specification's example"]
    with connected() as (_, silent), connected() as (talker, server), selectors.DefaultSelector() as selector:
        tasks = Tasks(selector)
        ended: list[tuple[str, Outcome[ProxyHeader]]] = []
        waiting = proxy_header(silent, FOREVER)
        tasks.start(waiting, lambda outcome: ended.append(("silent", outcome)))
        tasks.start(proxy_header(server, FOREVER), lambda outcome: ended.append(("talker", outcome)))
        talker.sendall(data)
        for key, _ in selector.select(FOREVER):
            tasks.on_event(*key.data)
        assert [(who, outcome.result()) for who, outcome in ended] == [("talker", header)]
        tasks.cancel(waiting)


def test_two_readers_run_as_one_task() -> None:
    data, header = HEADERS["haproxy send-proxy-v2 over IPv4"]
    with connected() as (good, one), connected() as (bad, two):
        good.sendall(data)
        bad.sendall(b"GET / HTTP/1.0\r\n")
        first, second = complete(gather(proxy_header(one, FOREVER), proxy_header(two, FOREVER)))
        assert first.result() == header
        assert isinstance(second.error, ProxyError)


def test_the_flags_of_the_socket_are_left_alone() -> None:
    with connected() as (client, server):
        client.sendall(HEADERS["UDP over IPv4"][0])
        server.setblocking(True)
        complete(proxy_header(server, FOREVER))
        assert os.get_blocking(server.fileno())


def test_a_deadline_holds_while_bytes_keep_coming() -> None:
    # A header of 64 kB, all of it there but for the last byte: ready to read, and never complete.
    header = encode(v2("192.0.2.7:1", "192.0.2.1:2", tlvs=[(0xE0, bytes(30000))]))
    with connected() as (client, server):
        client.sendall(header[:-1])
        until = time.monotonic()
        with pytest.raises(ProxyError, match="timed out"):
            read_header(server.fileno(), 0)
        assert time.monotonic() >= until


# -- what a header means ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("data", "header"), HEADERS.values(), ids=HEADERS)
def test_only_callers_over_tcp_are_callers(data: bytes, header: ProxyHeader) -> None:
    if header.source is not None and header.source.ip.is_unspecified:
        with pytest.raises(ProxyError, match="cannot be a caller"):
            proxied(header)
        return
    connection = proxied(header)
    if header.transport != "stream" or header.source is None:
        assert connection is None
        return
    assert connection is not None
    assert (connection.remote, connection.local) == (header.source, header.destination)
    assert (connection.transport, connection.evidence) == ("tcp", "proxy")
    assert connection.tls == (header.ssl is not None)
    assert data


def test_a_destination_that_says_nothing_is_none() -> None:
    connection = proxied(v2("192.0.2.7:4711", "0.0.0.0:25"))
    assert connection is not None
    assert connection.local is None


@pytest.mark.parametrize("source", ["0.0.0.0:1", "[::]:1", "224.0.0.1:1", "[ff02::1]:1"])
def test_an_address_that_nobody_calls_from_is_refused(source: str) -> None:
    with pytest.raises(ProxyError, match="cannot be a caller"):
        proxied(v2(source, "192.0.2.1:25"))


BALANCER = Endpoint("127.0.0.1", 5555)


def test_tls_and_the_balancer_are_told_in_variables() -> None:
    ssl = ProxySSL(1, 1, version="TLSv1.3", cipher="TLS_AES_256_GCM_SHA384")
    header = v2("192.0.2.7:1", "192.0.2.1:2", tlvs=[ssl.tlv(), (2, b"Mail.Example.ORG.")])
    assert proxy_variables(header, BALANCER) == {
        "UCSPI_PROXY_PEER": "127.0.0.1:5555",
        "SSL_PROTOCOL": "TLSv1.3",
        "SSL_CIPHER": "TLS_AES_256_GCM_SHA384",
        "SSL_TLS_SNI_SERVERNAME": "mail.example.org",
    }


@pytest.mark.parametrize("text", ["a\0b", "a\nTCPREMOTEIP=1.2.3.4", "\x1b[31m", "é", "x" * 300, ""])
def test_texts_that_could_harm_a_program_or_a_log_are_not_told(text: str) -> None:
    ssl = ProxySSL(1, 1, version=text, cipher=text)
    header = v2("192.0.2.7:1", "192.0.2.1:2", tlvs=[ssl.tlv(), (2, text.encode())])
    assert proxy_variables(header, BALANCER) == {"UCSPI_PROXY_PEER": "127.0.0.1:5555"}


def test_without_tls_no_tls_is_told() -> None:
    header = v2("192.0.2.7:1", "192.0.2.1:2", tlvs=[ProxySSL(0, 1, version="TLSv1.3").tlv(), (2, b"example.org")])
    assert proxy_variables(header, BALANCER) == {"UCSPI_PROXY_PEER": "127.0.0.1:5555"}


def test_balancers_are_networks_and_never_nobody_by_mistake() -> None:
    nets = balancers("127.0.0.1, ::1,10.1.0.0/16")
    assert all(Endpoint(ip) in nets for ip in ("127.0.0.1", "::1", "10.1.2.3", "::ffff:127.0.0.1"))
    assert all(Endpoint(ip) not in nets for ip in ("127.0.0.2", "::2", "10.2.0.1"))
    for text in ("", " ", ",", "localhost", "10.1.0.1/16", "127.0.0.1:80"):
        with pytest.raises(ValueError, match=r"no network|is not|has bits"):
            balancers(text)
