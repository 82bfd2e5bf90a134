"""The rules language: what a line becomes, and which rule decides about whom."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.rules import compiled, decided, key, longest_match, notes
from ucspi_env._address import djb_text, normalised
from ucspi_env.tools._cdb import Reader, dumps
from ucspi_env.tools._rules import (
    INDEX_KEY,
    Compiler,
    Decision,
    RulesError,
    RuleSyntaxError,
    candidates,
    decide,
    decode,
    items,
)


def records(line: bytes) -> list[tuple[bytes, bytes]]:
    return list(zip(*Compiler().compile([line]), strict=True))


# --- Lines -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"1.2.3.4:allow\n", [(b"1.2.3.4", b"")]),
        (b"1.2.3.4:deny", [(b"1.2.3.4", b"D\0")]),
        (b":deny\n", [(b"", b"D\0")]),
        (b"::1:deny\n", [(b"::1", b"D\0")]),
        (b"::deny\n", [(b":", b"D\0")]),
        (b"2001:db8::allow\n", [(b"2001:db8:", b"")]),
        (b"# comment:deny\n", []),
        (b"\n", []),
        (b"1.2.3.4:deny \t \n", [(b"1.2.3.4", b"D\0")]),
        (b" 1.2.3.4:deny\n", [(b" 1.2.3.4", b"D\0")]),
        (b"joe@1.2.3.4:deny\n", [(b"joe@1.2.3.4", b"D\0")]),
        (b"joe@=host.example:deny\n", [(b"joe@=host.example", b"D\0")]),
        (b"=.example:allow\n", [(b"=.example", b"")]),
        (b'1.:allow,A="x",B=/y/\n', [(b"1.", b"+A=x\0+B=y\0")]),
        (b'1.:deny,A="x"\n', [(b"1.", b"D\0+A=x\0")]),
        (b"1.:allow,A=xyzx\n", [(b"1.", b"+A=yz\0")]),
        (b'1.:allow,A="a,b:deny\\",B=""\n', [(b"1.", b"+A=a,b:deny\\\0+B=\0")]),
        (b'\xff:allow,A="\xfe"\n', [(b"\xff", b"+A=\xfe\0")]),
        (b"1.2.3.7-9:deny\n", [(b"1.2.3.7", b"D\0"), (b"1.2.3.8", b"D\0"), (b"1.2.3.9", b"D\0")]),
        (b"007-8.:deny\n", [(b"7.", b"D\0"), (b"8.", b"D\0")]),
        (b"1.254-999.:deny\n", [(b"1.254.", b"D\0"), (b"1.255.", b"D\0")]),
        (b"1.%b2-2:deny\n" % (b"0" * 5000), [(b"1.2", b"D\0")]),
        (b"1.-1:deny\n", [(b"1.0", b"D\0"), (b"1.1", b"D\0")]),
        (b"1.5-3:deny\n", []),
        (b"1.2-3.4-5.:deny\n", [(b"1.2.4-5.", b"D\0"), (b"1.3.4-5.", b"D\0")]),
        (b"=a-b:deny\n", [(b"=a-b", b"D\0")]),
        (b"joe-x@1.2.3.4:deny\n", [(b"joe-x@1.2.3.4", b"D\0")]),
    ],
)
def test_a_line_becomes_the_records_of_c(line: bytes, expected: list[tuple[bytes, bytes]]) -> None:
    assert records(line) == expected


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"1.2.3.4\n", "no :allow or :deny"),
        (b"1.2.3.4:alow\n", "no :allow or :deny"),
        (b"1.2.3.4:Deny\n", "no :allow or :deny"),
        (b"1.2.3.4: deny\n", "no :allow or :deny"),
        (b"   \n", "no :allow or :deny"),
        (b" # comment\n", "no :allow or :deny"),
        (b"1.2.3.4:", "no :allow or :deny"),
        (b"1.2.3.4:denyx\n", "must follow deny"),
        (b"1.2.3.4:allow;A=1\n", "must follow allow"),
        (b"1.2.3.4:deny,\n", "NAME="),
        (b"1.2.3.4:allow,A\n", "NAME="),
        (b"1.2.3.4:allow,A=\n", "'A' has no closing quote"),
        (b'1.2.3.4:allow,A="x\n', "'A' has no closing quote"),
        (b'1.2.3.4:allow,A="x" ,B="y"\n', "must follow the value"),
        (b"1.2.3.4:allow\r\n", "carriage return"),
        (b'1.2.3.4:allow,A="x"\r\n', "carriage return"),
        (b'1.2.3.4:allow,="x"\n', "name of a variable"),
        (b'1.2.3.4:allow,A B="x"\n', "name of a variable"),
        (b'1.2.3.4:allow, B="x"\n', "name of a variable"),
        (b'1.2.3.4:allow,A="x\0y"\n', "contains a NUL"),
        (b"1.\0:allow\n", "contains a NUL"),
        (b"a-b.example:deny\n", "range"),
        (b"fe80::1-3:deny\n", "range"),
        (b"fe80::1%eth0:deny\n", "zones"),
        (b"10.0.0.1/8:deny\n", "the network is 10.0.0.0/8"),
        (b"2001:db8::1/32:deny\n", "the network is 2001:db8::/32"),
        (b"10.0.0.0/33:deny\n", "'33' is not a prefix length"),
        (b"10.0.0.0/:deny\n", "'' is not a prefix length"),
        (b"10.0.0.0/+8:deny\n", "is not a prefix length"),
        (b"::/129:deny\n", "'129' is not a prefix length"),
        (b"::ffff:0.0.0.0/90:deny\n", "is not a prefix length"),
        (b"host/8:deny\n", "'host' before the slash"),
        (b"joe@10.0.0.0/8:deny\n", "ident answer"),
    ],
)
def test_what_is_no_rule_is_refused_with_its_line_and_the_reason(line: bytes, reason: str) -> None:
    with pytest.raises(RuleSyntaxError) as caught:
        Compiler().compile([b"# one\n", b"1.2.3.4:deny\n", line])

    assert caught.value.number == 3
    assert caught.value.line == line.removesuffix(b"\n").rstrip(b" \t")
    assert reason in caught.value.reason


@given(st.binary(max_size=60))
def test_any_line_is_a_rule_or_a_syntax_error(line: bytes) -> None:
    try:
        pairs = records(line.replace(b"\n", b"") + b"\n")
    except RuleSyntaxError:
        return
    for _, data in pairs:
        assert data == b"" or data.endswith(b"\0")


@given(
    st.lists(st.sampled_from([b"1.2.3.4:deny\n", b"10.0.0.0/9:allow\n", b'::1:allow,A="1"\n', b"# x\n"]), max_size=30)
)
def test_lines_in_portions_are_the_same_rules(lines: list[bytes]) -> None:
    rules = b"".join(lines)

    assert compiled(rules, at_once=3) == compiled(rules)


# --- Networks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "stored"),
    [
        (b"10.0.0.0/8", b"10."),
        (b"10.1.0.0/16", b"10.1."),
        (b"010.1.0.0/16", b"10.1."),
        (b"10.1.2.0/24", b"10.1.2."),
        (b"10.1.2.3/32", b"10.1.2.3"),
        (b"::ffff:10.0.0.0/104", b"10."),
        (b"2001:db8::/32", b"2001:db8:"),
        (b"2001:db8::/128", b"2001:db8:0:0:0:0:0:0"),
        (b"2001:DB8::/32", b"2001:db8:"),
        (b"2001:db8::1/128", b"2001:db8::1"),
        (b"10.64.0.0/10", b"\x004\x0a\x0a\x40"),
        (b"0.0.0.0/0", b"\x004\0"),
        (b"fe80::/10", b"\x006\x0a\xfe\x80"),
        (b"::/0", b"\x006\0"),
    ],
)
def test_a_network_is_stored_as_c_would_know_it_where_it_can_be(network: bytes, stored: bytes) -> None:
    assert [key for key, _ in records(network + b":deny\n")] == [stored]


def test_no_number_is_too_long_for_a_range() -> None:
    """C's wrap at 2 ** 64, so that this range is empty or about anything."""
    assert records(b"1.254-18446744073709551616:deny\n") == [(b"1.254", b"D\0"), (b"1.255", b"D\0")]
    assert records(b"1.18446744073709551616-18446744073709551617:deny\n") == []
    assert len(records(b"0-%b:deny\n" % (b"9" * 5000))) == 256


def test_only_files_with_networks_have_an_index() -> None:
    assert Reader.over(compiled(b"10.0.0.0/8:deny\n2001:db8::/32:deny\n")).find(INDEX_KEY) is None
    index = Reader.over(compiled(b"10.0.0.0/9:deny\n10.0.0.0/30:deny\n::/3:deny\n")).find(INDEX_KEY)
    assert index == bytes([30, 9, 0xFF, 3])


@pytest.mark.parametrize("index", [b"", b"\x08", b"\x08\x09\xff", b"\x08\x08\xff", b"\x20\xff", b"\xff\x80"])
def test_a_damaged_index_is_an_error(index: bytes) -> None:
    reader = Reader.over(dumps([(INDEX_KEY, index)]))

    with pytest.raises(RulesError, match="index"):
        decide(reader.find, IPv4Address("10.0.0.1"))


NETWORKS = [
    "10.0.0.0/8",
    "10.128.0.0/9",
    "10.192.0.0/10",
    "10.200.0.0/16",
    "10.200.128.0/17",
    "0.0.0.0/0",
    "10.200.200.0/24",
]


@pytest.mark.parametrize("ip", ["10.1.1.1", "10.130.1.1", "10.193.0.1", "10.200.0.1", "10.200.200.1", "9.9.9.9"])
def test_the_longest_network_decides(ip: str) -> None:
    rules = "".join(f'{network}:allow,NET="{network}"\n' for network in NETWORKS).encode()

    assert decided(rules, ip).environment == (("NET", longest_match(NETWORKS, ip_address(ip)) or ""),)


Address = IPv4Address | IPv6Address
V4: st.SearchStrategy[Address] = st.integers(0, 2**32 - 1).map(lambda number: IPv4Address(number & 0x0F0F0303))
V6: st.SearchStrategy[Address] = st.integers(0, 2**128 - 1).map(
    lambda number: IPv6Address(0x20010DB8 << 96 | number & 0x0000_0003_0001_0000_0001_0003_0000_0003)
)


@given(st.data())
def test_networks_and_prefixes_match_by_value_longest_first(data: st.DataObject) -> None:
    """Against an oracle that compares every rule with the caller, for either family and any mix of spellings."""
    ips = data.draw(st.sampled_from([V4, V6]))
    chosen = data.draw(st.lists(st.tuples(ips, st.integers(0, 128)), max_size=8))
    texts: list[str] = []
    rules: list[str] = []
    for ip, wanted in chosen:
        length = min(wanted, ip.max_prefixlen - 1)
        network = ip_network((ip, length), strict=False)
        address = str(network)
        if length % 16 == 0 and length and ip.version == 6 and data.draw(st.booleans()):
            groups = network.network_address.exploded.split(":")[: length // 16]
            if data.draw(st.booleans()):
                groups = [f"{int(group, 16):x}" for group in groups]
            address = ":".join(groups) + ":"
        elif length in (8, 16, 24) and ip.version == 4 and data.draw(st.booleans()):
            address = ".".join(str(network.network_address).split(".")[: length // 8]) + "."
        if str(network) not in texts:
            texts.append(str(network))
            rules.append(f'{address}:allow,NET="{network}"\n')
    caller = data.draw(ips)
    expected = longest_match(texts, caller)

    decision = decided("".join(rules).encode(), str(caller))

    assert decision.environment == ((("NET", expected),) if expected else ())


# --- Spellings -------------------------------------------------------------------------------------------------------


@given(st.integers(0, 2**128 - 1) | st.integers(0, 2**16 - 1) | V6.map(int), st.sampled_from("xXplu"))
def test_an_address_matches_in_any_spelling(number: int, spelling: str) -> None:
    ip = IPv6Address(number)
    text = {"x": ip.exploded, "X": ip.exploded.upper(), "p": ip.compressed, "l": djb_text(ip), "u": str(ip).upper()}[
        spelling
    ]

    assert decided(f"{text}:deny\n".encode(), str(normalised(ip))).allowed is False


@pytest.mark.parametrize(
    ("rule", "caller"),
    [
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("::FFFF:a00:1", "10.0.0.1"),
        ("010.000.000.001", "10.0.0.1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("::ffff:10.0.", "10.0.0.1"),
        ("::FFFF:10.", "10.0.0.1"),
        ("::ffff:", "10.0.0.1"),
        ("010.0.", "10.0.0.1"),
        ("2001:0DB8:", "2001:db8::1"),
        ("2001:db8:0:", "2001:db8::1"),
        ("2001:db8:0:", "2001:db8:0:1::1"),
        ("2001:db8:0:0:0:0:0:", "2001:db8::1"),
        ("2001:db8::", "2001:db8:1:2:3:4:5:6"),
        ("2001:db8::", "2001:db8::1"),
        ("2001:db8:0::", "2001:db8:0:1::1"),
        ("2001:db8::1:", "2001:db8::1:2"),
        ("2001:db8::/128", "2001:db8::"),
        ("2001:db8:0:0:0:0:0:0", "2001:db8::"),
        ("2001:0db8:0::0", "2001:db8::"),
        ("::/128", "::"),
        ("1:2:3:4:5:6:7:0", "1:2:3:4:5:6:7:0"),
    ],
)
def test_a_rule_holds_for_a_caller_it_names_in_other_words(rule: str, caller: str) -> None:
    assert decided(f"{rule}:deny\n".encode(), caller).allowed is False


@pytest.mark.parametrize(
    ("rule", "caller"),
    [
        ("2001:db8:0:", "2001:db8:1::1"),
        ("2001:db8::1:", "2001:db8:1::2"),
        ("::", "2001:db8::1"),
        (":", "2001:db8::1"),
        ("::ffff:", "::1"),
        ("::/96", "10.0.0.1"),
        ("::", "10.0.0.1"),
        ("1.2.3", "1.2.3.4"),
        ("12345::", "2345::1"),
        ("2001:db8::/128", "2001:db8::1"),
        ("2001:db8:0:0:0:0:0:0", "2001:db8::1"),
        ("::/128", "::1"),
        ("1:2:3:4:5:6:7:0", "1:2:3:4:5:6:7:8"),
    ],
)
def test_a_rule_does_not_hold_for_a_caller_it_does_not_name(rule: str, caller: str) -> None:
    assert decided(f"{rule}:deny\n".encode(), caller) == Decision(True)


def test_identified_callers_match_by_value_too() -> None:
    assert key(b"joe@2001:DB8::1:deny\n", "2001:db8::1", info="joe") == "joe@2001:db8::1"
    assert key(b"joe@::ffff:1.2.3.4:deny\n", "1.2.3.4", info="joe") == "joe@::ffff:1.2.3.4"


def test_what_c_does_not_see_is_noted_and_nothing_else() -> None:
    silent = (
        b"1.2.3.4:deny\n10.:deny\n10.0.0.0/8:deny\n2001:db8::deny\n2001:db8::/32:deny\nFE80::1:deny\n::1:deny\n"
        b"::deny\n:::deny\n2001:db8::1::deny\n=host:deny\njoe@::1:deny\n:deny\nfoo:deny\n"
    )
    seen = notes(silent + b"fe80::/10:deny\n2001:db8:::deny\n2001:db8:0::deny\n2001:db8:0::/48:deny\n2001::/16:deny\n")

    assert [note.partition(" ")[2].split(":")[0] for note in seen] == ["15", "16", "17", "18"]
    assert '"fe80::/10"' in seen[0]


# --- The order -------------------------------------------------------------------------------------------------------

ORDER4 = [
    "joe@1.2.3.4", "joe@=a.b.example", "1.2.3.4", "=a.b.example", "1.2.3.4/31", "1.2.3.0/25", "1.2.3.", "1.2.2.0/23",
    "1.2.",
    "1.2.0.0/15", "1.", "0.0.0.0/1", "0.0.0.0/0", "=.b.example", "=.example", "=", "",
]  # fmt: skip
ORDER6 = [
    "joe@2001:db8::1:2", "joe@=a.b.example", "2001:db8::1:2", "=a.b.example", "2001:db8::1:2/127", "2001:db8::1:",
    "2001:db8:0:0:0:0:1:", "2001:db8::/111", "2001:db8:0:0:0:0:", "2001:db8:0:", "2001:db8:0::", "2001:db8::/47",
    "2001:db8::",
    "2001:db8:", "2001:db8::/31", "2001:", "2001::", "2000::/3", "::/0", "=.b.example", "=.example", "=", "",
]  # fmt: skip


@pytest.mark.parametrize(("order", "ip"), [(ORDER4, "1.2.3.4"), (ORDER6, "2001:db8::1:2")], ids=["IPv4", "IPv6"])
def test_rules_count_in_this_order(order: list[str], ip: str) -> None:
    for first in range(len(order)):
        left = list(reversed(order[first:]))
        rules = "".join(f'{address}:allow,RULE="{address}"\n' for address in left).encode()

        assert decided(rules, ip, "a.b.example", "joe").environment == (("RULE", order[first]),)


@pytest.mark.parametrize(
    ("ip", "keys"),
    [
        ("1.2.3.4", ["1.2.3.4", "1.2.3.", "1.2.", "1.", ""]),
        ("2001:db8::1:2", ["2001:db8::1:2", "2001:db8::1:", "2001:db8::", "2001:db8:", "2001:", ""]),
        ("::1", ["::1", "::", ":", ""]),
        ("1:2:3:4:5:6:7::", ["1:2:3:4:5:6:7::", *(f"{'1:2:3:4:5:6:7'[:end]}:" for end in range(13, 0, -2)), ""]),
        (
            "2001:db8:0:1:1:1:1:1",
            ["2001:db8::1:1:1:1:1", "2001:db8::1:1:1:1:", "2001:db8::1:", "2001:db8::", "2001:db8:", ""],
        ),
    ],
)  # fmt: skip
def test_what_c_looks_for_is_looked_for_in_c_s_order(ip: str, keys: list[str]) -> None:
    asked = [key.decode() for key in candidates(ip_address(ip), None, None)]

    assert [key for key in asked if key in keys] == keys
    assert len(asked) == len(set(asked))


@given(st.integers(0, 2**128 - 1) | V6.map(int), st.none() | st.sampled_from(["a", "a.b", "a..b"]))
def test_a_decision_is_a_handful_of_probes_and_never_the_same_twice(number: int, host: str | None) -> None:
    asked = list(candidates(IPv6Address(number), host, "joe"))

    assert len(asked) == len(set(asked))
    assert len(asked) <= 32


def test_empty_names_are_names() -> None:
    assert key(b"@1.2.3.4:deny\n", "1.2.3.4", info="") == "@1.2.3.4"
    assert key(b"=:deny\n", "1.2.3.4", host="") == "="
    assert key(b"=:deny\n", "1.2.3.4") is None


def test_bytes_that_are_not_utf_8_are_matched_and_handed_on() -> None:
    decision = decided(b'j\xff@1.2.3.4:allow,A="\xfe"\n', "1.2.3.4", info="j\udcff")

    assert decision.environment == (("A", "\udcfe"),)


# --- Records ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", Decision(True, (), "k")),
        (b"D\0", Decision(False, (), "k")),
        (b"+A=1\0D\0+B=2\0", Decision(False, (("A", "1"), ("B", "2")), "k")),
        (b"+A=1\0+A=\0", Decision(True, (("A", "1"), ("A", "")), "k")),
        (b"+A\0Xunknown\0\0", Decision(True, (), "k")),
        (b"D", Decision(True, (), "k")),
        (b"+A=1\0+B=2", Decision(True, (("A", "1"),), "k")),
        (b"+=v\0", Decision(True, (), "k")),
    ],
)
def test_a_record_says_what_c_takes_it_to_say_save_impossible_names(data: bytes, expected: Decision) -> None:
    assert decode(data, b"k") == expected


@given(st.binary())
def test_any_data_is_a_decision_that_an_environment_can_hold(data: bytes) -> None:
    for name, value in decode(data, b"k").environment:
        assert name
        assert "=" not in name
        assert "\0" not in name + value
    assert b"\0" not in b"".join(items(data))


def test_nobody_is_denied_by_no_rules() -> None:
    assert decided(b"", "1.2.3.4", "host", "joe") == Decision(True)
