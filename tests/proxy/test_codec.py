"""`ucspi_env.proxy`: any bytes are a header, the beginning of one, or a ProxyError, and nothing else."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.proxy.corpus import GARBAGE, HEADERS, binary
from ucspi_env import Endpoint, UCSPIError
from ucspi_env.proxy import (
    SIGNATURE,
    V1_MAX,
    V2_MAX,
    ProxyError,
    ProxyHeader,
    ProxySSL,
    crc32c,
    decode,
    encode,
    safe_to_read,
)


def feed(data: bytes) -> tuple[ProxyHeader, int] | None:
    """Decode ``data`` byte by byte: the first answer that is not "more, please", as a reader would have it."""
    for end in range(len(data)):
        found = decode(data[:end])
        if found is not None:
            return found
    return decode(data)


# -- the table --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("data", "header"), HEADERS.values(), ids=HEADERS)
def test_a_header_is_read_whole_byte_by_byte_and_with_bytes_behind_it(data: bytes, header: ProxyHeader) -> None:
    assert decode(data) == (header, len(data))
    assert feed(data) == (header, len(data))
    for behind in (b"P", b"\r\n", b"PROXY ", SIGNATURE, bytes(300)):
        assert decode(data + behind) == (header, len(data))


@pytest.mark.parametrize(("data", "header"), HEADERS.values(), ids=HEADERS)
def test_what_is_written_is_what_was_read(data: bytes, header: ProxyHeader) -> None:
    written = encode(header)
    assert decode(written) == (header, len(written))


@pytest.mark.parametrize(("data", "usable"), GARBAGE.values(), ids=GARBAGE)
def test_what_is_no_header_is_refused_at_the_first_byte_that_no_header_has(data: bytes, usable: int) -> None:
    assert decode(data[:usable]) is None
    with pytest.raises(ProxyError):
        decode(data[: usable + 1])
    with pytest.raises(ProxyError):
        decode(data)
    with pytest.raises(ProxyError):
        decode(data + bytes(300))


def test_an_error_is_one_short_line_of_ascii_whatever_was_sent() -> None:
    for data in (
        *(data for data, _ in GARBAGE.values()),
        b"P\x1b[31m\n" * 50,
        "PROXY TCP4 ١\r\n".encode(),
        b"\xff" * 300,
    ):
        with pytest.raises(ProxyError) as caught:
            decode(data)
        text = str(caught.value).replace("…", "")
        assert text.isascii()
        assert text.isprintable()
        assert len(text) < 400
        assert isinstance(caught.value, (UCSPIError, ValueError))


def test_nothing_yet_is_the_beginning_of_a_header() -> None:
    assert decode(b"") is None


def test_a_prefix_of_version_1_is_only_waited_for_if_something_completes_it() -> None:
    # The other half of "refused at the first wrong byte": no prefix is waited for in vain. Checked for all pairs of
    # characters behind every prefix of a line, each of which must be refused, or be completed by one of these tails.
    tails = ["", "0", ":", ":0", "::", ".0", "0.0", ".0.0", "0.0.0", ".0.0.0", "0.0.0.0"]
    for line, other in ((b"PROXY TCP4 10.0.0.255 ", "1.2.3.4"), (b"PROXY TCP6 1::ffff:25.4.3.2 ", "::1")):
        alphabet = "0159:.aF "
        for end in range(11, len(line)):
            for one in alphabet:
                for two in alphabet:
                    prefix = line[:end] + (one + two).encode()
                    try:
                        assert decode(prefix) is None
                    except ProxyError:
                        continue
                    spaces = prefix.count(b" ")
                    rest = {2: f" {other} 1 2", 3: " 1 2", 4: " 2", 5: ""}[spaces]
                    ports = [f"{tail}{rest}\r\n".encode() for tail in tails] + [b"1" + rest.encode() + b"\r\n"]
                    assert any(completes(prefix + tail) for tail in ports), prefix


def completes(data: bytes) -> bool:
    try:
        return decode(data) is not None
    except ProxyError:
        return False


# -- any bytes --------------------------------------------------------------------------------------------------------

some_bytes = st.one_of(
    st.binary(max_size=300),
    st.binary(max_size=120).map(lambda tail: b"PROXY " + tail),
    st.text(alphabet="0123456789abcdef:. \r\n_+", max_size=100).map(lambda text: b"PROXY TCP4 " + text.encode()),
    st.text(alphabet="0123456789abcdefF:. \r\n%[]", max_size=100).map(lambda text: b"PROXY TCP6 " + text.encode()),
    st.binary(max_size=300).map(lambda tail: SIGNATURE + tail),
    st.builds(
        binary,
        st.sampled_from([0x20, 0x21]),
        st.sampled_from([0x00, 0x11, 0x12, 0x21, 0x22, 0x31, 0x32]),
        st.binary(max_size=400),
    ),
    st.sampled_from([data for data, _ in HEADERS.values()]).flatmap(
        lambda data: st.tuples(st.just(data), st.integers(0, len(data) - 1), st.binary(max_size=3)).map(
            lambda change: change[0][: change[1]] + change[2] + change[0][change[1] + 1 :]
        )
    ),
)


@given(some_bytes)
def test_any_bytes_are_a_header_a_beginning_or_a_proxy_error(data: bytes) -> None:
    try:
        found = decode(data)
    except ProxyError:
        with pytest.raises(ProxyError):
            decode(data + b"\r\n" + bytes(V2_MAX))  # more bytes never mend it
        return
    if found is None:
        assert len(data) < V2_MAX
        assert all(decode(data[:end]) is None for end in range(len(data)))
        return
    header, length = found
    assert length <= len(data)
    assert decode(data[:length]) == found
    assert all(decode(data[:end]) is None for end in range(length))
    written = encode(header)
    assert decode(written) == (header, len(written))


@given(st.binary(max_size=40))
@example(b"")
def test_5000_bytes_are_never_waited_for_in_version_1(tail: bytes) -> None:
    with pytest.raises(ProxyError):
        decode((b"PROXY TCP4 " + tail).ljust(5000, b"1"))


# -- round trips ------------------------------------------------------------------------------------------------------

v4_ends = st.builds(Endpoint, st.ip_addresses(v=4), st.integers(0, 65535))
v6_ends = st.builds(Endpoint, st.ip_addresses(), st.integers(0, 65535))
paths = st.binary(max_size=107).map(lambda path: path.replace(b"\0", b"/")) | st.binary(max_size=106).map(
    lambda name: (b"\0" + name).rstrip(b"\0")
)
tlvs = st.lists(
    st.tuples(st.integers(0, 255).filter(lambda kind: kind not in (3, 5, 0x20)), st.binary(max_size=60))
    | st.tuples(st.just(5), st.binary(max_size=128))
    | st.builds(
        ProxySSL,
        st.integers(0, 255),
        st.integers(0, 0xFFFFFFFF),
        version=st.none() | st.text(max_size=9),
        cn=st.none() | st.text(max_size=30),
        cipher=st.none() | st.text(max_size=30),
    ).map(ProxySSL.tlv),
    max_size=5,
)
headers = st.one_of(
    st.sampled_from([ProxyHeader(1), ProxyHeader(2), ProxyHeader(2, "LOCAL")]),
    st.builds(
        ProxyHeader,
        st.just(1),
        st.just("PROXY"),
        st.just("inet"),
        st.just("stream"),
        source=v4_ends,
        destination=v4_ends,
    ),
    st.builds(
        ProxyHeader,
        st.just(1),
        st.just("PROXY"),
        st.just("inet6"),
        st.just("stream"),
        source=v6_ends,
        destination=v6_ends,
    ),
    *(
        st.builds(
            ProxyHeader,
            st.just(2),
            st.just("PROXY"),
            st.just(family),
            st.sampled_from(["stream", "dgram"]),
            source=ends,
            destination=ends,
            tlvs=tlvs,
            checksum=st.booleans(),
        )
        for family, ends in (("inet", v4_ends), ("inet6", v6_ends))
    ),
    st.builds(
        ProxyHeader,
        st.just(2),
        st.just("PROXY"),
        st.just("unix"),
        st.sampled_from(["stream", "dgram"]),
        source_path=paths,
        destination_path=paths,
        tlvs=tlvs,
        checksum=st.booleans(),
    ),
)


@given(headers, st.binary(max_size=50))
def test_every_header_survives_writing_and_reading_whatever_follows(header: ProxyHeader, behind: bytes) -> None:
    data = encode(header)
    assert decode(data + behind) == (header, len(data))
    assert len(data) <= (V1_MAX if header.version == 1 else V2_MAX)
    assert pickle.loads(pickle.dumps(header)) == header


@given(headers)
def test_what_is_safe_to_read_never_reaches_behind_the_header(header: ProxyHeader) -> None:
    data = encode(header)
    have = 0
    while have < len(data):
        assert decode(data[:have]) is None
        step = safe_to_read(data[:have])
        assert 0 < step <= len(data) - have
        have += step


@given(headers.filter(lambda header: header.checksum), st.data())
def test_a_checksum_finds_every_flipped_bit(header: ProxyHeader, draw: st.DataObject) -> None:
    data = bytearray(encode(header))
    # The fixed part decides how long the header is; past it the checksum has the last word.
    bit = draw.draw(st.integers(16 * 8, len(data) * 8 - 1))
    data[bit // 8] ^= 1 << bit % 8
    try:
        found = decode(bytes(data))
    except ProxyError:
        return
    # The one change that a receiver cannot notice is that the checksum's own type is no longer the checksum's.
    assert found is not None
    assert not found[0].checksum


def test_crc32c_is_the_one_of_the_rfc() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # RFC 3720, B.4, and every catalogue's check value
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(b"") == 0


# -- the value --------------------------------------------------------------------------------------------------------


def test_the_extensions_have_names() -> None:
    data, _ = HEADERS["haproxy proxy-v2-options ssl,cert-cn,ssl-cipher,authority,crc32c"]
    header, _ = decode(data) or pytest.fail("no header")
    assert header.authority == "example.org"
    assert header.ssl == ProxySSL(1, 1, version="TLSv1.3", cipher="TLS_AES_256_GCM_SHA384")
    assert not header.ssl.verified
    data, _ = HEADERS["a no-op for alignment, an ALPN, a unique id, a namespace"]
    header, _ = decode(data) or pytest.fail("no header")
    assert (header.alpn, header.unique_id, header.netns, header.ssl) == (b"h2", b"\x00\x01\x02\xff", "red", None)


@pytest.mark.parametrize(
    ("client", "verify", "verified"),
    [(7, 0, True), (3, 0, True), (5, 0, True), (7, 1, False), (1, 0, False), (0, 0, False)],
)
def test_a_client_is_verified_only_with_a_certificate_and_a_zero(client: int, verify: int, verified: bool) -> None:
    assert ProxySSL(client, verify).verified is verified


def test_the_authority_is_text_even_where_it_is_not_utf8() -> None:
    header = ProxyHeader.between(Endpoint("192.0.2.7", 1), Endpoint("192.0.2.1", 2), tlvs=[(2, b"a\xffb")])
    assert header.authority == "a\\xffb"


def test_ssl_tlvs_nested_deeper_than_the_protocol_knows_are_not_followed() -> None:
    value = b"\x01" + bytes(4)
    while len(value) < 60000:
        value = b"\x01" + bytes(4) + b"\x20" + len(value).to_bytes(2, "big") + value
    header = ProxyHeader.between(Endpoint("192.0.2.7", 1), Endpoint("192.0.2.1", 2), tlvs=[(0x20, value)])
    assert decode(encode(header)) == (header, len(encode(header)))


def test_the_largest_header_is_read_and_a_larger_one_is_not_written() -> None:
    ends = (Endpoint("192.0.2.7", 1), Endpoint("192.0.2.1", 2))
    largest = ProxyHeader.between(*ends, tlvs=[(0xE0, bytes(0xFFFF - 12 - 3))])
    data = encode(largest)
    assert len(data) == V2_MAX
    assert decode(data + b"x") == (largest, V2_MAX)
    assert decode(data[:-1]) is None
    with pytest.raises(ProxyError, match="16-bit"):
        encode(ProxyHeader.between(*ends, tlvs=[(0xE0, bytes(0xFFFF - 12 - 2))]))


def test_ends_of_two_families_travel_as_ipv6() -> None:
    header = ProxyHeader.between(Endpoint("192.0.2.7", 1), Endpoint("2001:db8::1", 2), version=1)
    assert encode(header) == b"PROXY TCP6 ::ffff:192.0.2.7 2001:db8::1 1 2\r\n"


def test_zones_and_names_do_not_travel() -> None:
    header = ProxyHeader.between(
        Endpoint("fe80::1", 1, zone="eth0", host="a.example"), Endpoint("fe80::2", 2, zone="1")
    )
    assert header.source == Endpoint("fe80::1", 1)
    assert decode(encode(header)) == (header, 52)


END = Endpoint("192.0.2.7", 1)
END6 = Endpoint("2001:db8::7", 1)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ProxyHeader(3),
        lambda: ProxyHeader(2, "QUIT"),  # type: ignore[arg-type]  # what is refused
        lambda: ProxyHeader(1, "LOCAL"),
        lambda: ProxyHeader(2, "LOCAL", "inet", "stream", source=END, destination=END),
        lambda: ProxyHeader(2, "PROXY", "inet", "stream"),
        lambda: ProxyHeader(2, "PROXY", "inet", "stream", source=END),
        lambda: ProxyHeader(2, "PROXY", "inet", "stream", source=END6, destination=END),
        lambda: ProxyHeader(2, "PROXY", "inet", "stream", source=Endpoint("192.0.2.7"), destination=END),
        lambda: ProxyHeader(2, "PROXY", "inet", "unspec", source=END, destination=END),
        lambda: ProxyHeader(2, "PROXY", "ax25", "stream", source=END, destination=END),  # type: ignore[arg-type]  # the same
        lambda: ProxyHeader(2, "PROXY", "unix", "stream", source_path=b"a" * 109, destination_path=b""),
        lambda: ProxyHeader(2, "PROXY", "unix", "stream", source_path=b"a\0", destination_path=b""),
        lambda: ProxyHeader(1, "PROXY", "unix", "stream", source_path=b"", destination_path=b""),
        lambda: ProxyHeader(1, "PROXY", "inet", "dgram", source=END, destination=END),
        lambda: ProxyHeader.between(END, END, version=1, tlvs=[(4, b"")]),
        lambda: ProxyHeader.between(END, END, version=1, checksum=True),
        lambda: ProxyHeader.between(END, END, tlvs=[(3, bytes(4))]),
        lambda: ProxyHeader.between(END, END, tlvs=[(256, b"")]),
        lambda: ProxyHeader.between(END, END, tlvs=[(5, bytes(129))]),
        lambda: ProxyHeader(2, tlvs=[(4, b"")]),
        lambda: ProxySSL(256),
    ],
)
def test_what_the_protocol_cannot_say_cannot_be_made(make: object) -> None:
    assert callable(make)
    with pytest.raises(ProxyError):
        make()
