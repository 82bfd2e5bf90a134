"""U1xx: code that takes the text of an address apart as if it were four numbers with dots between them."""

# ruff: noqa: E501 - a pattern or a remedy that is cut in pieces cannot be read

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from ucspi_env.envcheck.lint._match import (
    case_branches,
    knows_six,
    matches,
    pattern_sort,
    quoted,
    search,
    tests_colon,
)
from ucspi_env.envcheck.lint._model import BREAKS, SECURITY, Hit, rule

if TYPE_CHECKING:
    from ucspi_env.envcheck.lint._unit import Call, Unit, Use

_DOT: Final = re.compile(
    r"'\.'|\"\.\"|'\\\.'|\"\\\\\.\"|46|/\\\.[+*]?/|/\[\.\]/|m?[/{!|]\\\.[/}!|]|qr/\\\./|\|c\| c == '\.'"
)
_FINDERS: Final = re.compile(
    r"(?:str_?r?chr|strchrnul|r?index|strpbrk|memr?chr|byte_r?chr|strtok(?:_r)?|strsep|str_tok|strc?spn|string_split|IndexByte|LastIndex|Index|splitn?|rsplit\w*|Split\w*|explode|preg_split|strrpos|strpos|rindex|split_once|rfind|find|splitOn|SplitSeq|Cut)\Z"
)


def _names(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."


def dotted(unit: Unit, use: Use) -> tuple[int, str] | None:
    """Return where and by what the value is cut at a dot."""
    call = unit.call(use.start)
    if call is not None and _FINDERS.search(call.last):
        for index in range(min(len(unit.arguments(call)), 5)):
            text = unit.argument_text(call, index)
            if index != call.index and _DOT.fullmatch(text):
                return use.start, call.last
        if call.last == "split" and search(
            r"split\s*\(?\s*(?:m?/(?:\\\.|\[\.\])[+*]?/|['\"]\\?\\?\.['\"])\s*,",
            unit.code[max(0, use.start - 60) : use.start],
        ):
            return use.start, "split"
        if call.last == "splitOn" and 'splitOn "."' in unit.code[max(0, use.start - 30) : use.start]:
            return use.start, "splitOn"
        if call.last in ("strtok", "strtok_r") and call.index > 0:
            return None
    if call is not None and call.last in ("strtok", "strtok_r", "strspn", "strcspn", "strsep") and call.index == 0:
        other = quoted(unit.argument_text(call, 1)) or ""
        if "." in other and len(other) < 14:
            return use.start, call.last
    method = re.compile(
        r"[\"']?\s*(?:\.|&\.|\?\.)\s*(split\w*|rsplit\w*|rpartition|partition|split_once|rfind|find|index|rindex|chars|tr|gsub|sub|replace)\s*(?:::<[^>]*>)?\s*\(?\s*"
    ).match(unit.code, use.end, use.end + 400)
    if method:
        rest = unit.code[method.end() : method.end() + 24]
        argument = re.match(r"'\.'|\"\.\"|/\\\./|/\[\.\]/|b'\.'|4\s*,\s*'\.'|\d,\s*'\.'", rest)
        if argument:
            return use.start, method[1]
    return None


def shell_cuts(unit: Unit, use: Use) -> str | None:
    text = unit.code[use.start : use.end]
    trimmed = re.match(r"\$\{\w+(?:%%?|\##?)\s*[\"']?\*?\\?\.\*?", text)
    if trimmed or re.match(r"\$\{\w+//?\\?\.(?:/|\})", text):
        return text
    rest = unit.line_after(use.end)
    piped = re.match(
        r"[\"'}\s]*(?:\)\s*)?(?:\||<<<)?\s*\|?\s*(cut\s[^|]*-d\s*['\"]?\\?\.|[gm]?awk\s[^|]*-F\s*['\"]?(?:\\+)?(?:\[\.\]|\.)|sed\s[^|]*\\\.|tr\s[^|]*['\"]?\.['\"]?\s|rev\b)",
        rest,
    )
    if piped:
        return piped[1].split()[0]
    before = unit.code[max(0, use.start - 200) : use.start]
    if search(r"<<<?\s*[\"']?\Z", before) and search(
        r"IFS=['\"]?\\?\.['\"]?\s+read|(?:cut|awk|sed)\b[^\n;]*(?:-d\s*['\"]?\.|-F\s*['\"]?(?:\\+)?\.|\\\.)", before
    ):
        return "read"
    if search(r"\bset\s+(?:--\s+)?[\"']?\Z", before) and search(r"IFS=['\"]?\.['\"]?", before):
        return "set"
    return None


def block_list(unit: Unit, use: Use) -> bool:
    """Say whether the cut parts are put together backwards."""
    around = unit.statement_text(use.start)
    if search(
        r"\breverse[dn]?\b|array_reverse|\.rev\(\)|Reverse\(|\[::-1\]|\[3\][^;]{0,30}\[2\][^;]{0,30}\[1\]", around
    ):
        return True
    if search(
        r"\$4[^\n]{0,12}\$3[^\n]{0,12}\$2[^\n]{0,12}\$1|\\4[^\n]{0,6}\\3[^\n]{0,6}\\2[^\n]{0,6}\\1|\$\{?d\}?\.\$\{?c\}?\.\$\{?b\}?\.\$\{?a",
        unit.line_text(use.start),
    ):
        return True
    scope = unit.scope_text(use.start)
    return (
        search(r"(?i)dnsbl|\brbl|blacklist|blocklist|zen\.|reverse|in-addr|spamhaus", scope) is not None
        and search(
            r"\$4[\"'{}.]{0,6}\$3|\[3\][^\n]{0,24}\[2\]|\breverse\b|array_reverse|len\([^()]*\)\s*-\s*1|--|\.rev\(|parts\[3\]",
            scope,
        )
        is not None
    )


@rule("U101", "dot-split", BREAKS, group="text", rank=40, remedy="network")
def dot_split(unit: Unit) -> Iterator[Hit]:
    r"""The address is cut at its dots and the parts are used.

    What it does
        Finds splitting, searching and trimming at "." of a value that comes from the peer's address.

    Why is this bad?
        IPv6 text has no dots: there is one part instead of four. Grouping by the first three numbers puts all IPv6
        clients into one group, parts used as array indexes run past the end, and "::" leaves empty parts.

    Example:
        ```perl
        my $ip = $ENV{TCPREMOTEIP};
        my ($a, $b, $c) = split /\./, $ip;
        my $group = "$a.$b.$c";
        ```

    Use instead
        ```perl
        use NetAddr::IP;
        my $ip = NetAddr::IP->new($ENV{TCPREMOTEIP} // die "no peer\n") or die "no address\n";
        my $group = $ip->version == 6 ? NetAddr::IP->new($ip->addr, 64)->network : NetAddr::IP->new($ip->addr, 24)->network;
        ```

    References:
        RFC 4291 section 2.2 (text representation), RFC 5952.
    """
    for use in unit.uses_of("ip"):
        if unit.language == "sh":
            by = shell_cuts(unit, use)
            if by and not block_list(unit, use):
                yield Hit(use.start, f"`{_names(by)}` cuts the address at its dots; IPv6 text has none")
            continue
        cut = dotted(unit, use)
        if cut and "::ffff" in unit.statement_text(use.start):
            continue
        if cut and not block_list(unit, use) and not (tests_colon(unit, use.start) and not use.direct):
            yield Hit(cut[0], f"`{cut[1]}` cuts {_names(use.name.lstrip('.'))} at its dots; IPv6 text has none")
        loop = re.compile(r"(?:\s*\[[^\[\]]{0,30}\]|\b)\s*(?:==|!=)\s*'\.'").match(unit.code, use.end, use.end + 400)
        if (
            loop
            and unit.language in ("c", "cpp")
            and search(r"\b(?:for|while)\b", unit.code[max(0, use.start - 160) : use.start])
            and "':'" not in unit.statement_text(use.start)
            and not reverse_loop(unit, use)
            and not _digit_loop(unit, use)
        ):
            yield Hit(use.start, f"a loop looks for the dots of {_names(use.name.lstrip('.'))}; IPv6 text has none")


def _digit_loop(unit: Unit, use: Use) -> bool:
    return search(r"isdigit|'0'|'9'|isalpha|isxdigit", unit.statement_text(use.start)) is not None


def reverse_loop(unit: Unit, use: Use) -> bool:
    scope = unit.scope_text(use.start)
    return (
        search(r"(?i)reverse|\brbl|dnsbl|blacklist|zone|in-addr|\bbase\b", scope) is not None
        and search(r"--\s*\w+|\w+\s*--|\w\s*-\s*1\]", scope) is not None
        and search(r"cat\w*\s*\([^;]*\"\.\"", scope) is not None
    )


@rule("U102", "ipv4-only-regex", BREAKS, group="text", rank=50, remedy="parse")
def ipv4_only_regex(unit: Unit) -> Iterator[Hit]:
    r"""A pattern or character class that only a dotted quad can match.

    What it does
        Finds patterns of four numbers, classes of digits and dots, shell globs such as ``*.*.*.*`` and C loops over
        ``isdigit`` and ".", applied to an address.

    Why is this bad?
        IPv6 text holds a-f, ":" and perhaps "%". The test fails for it; without anchors it cuts an IPv4 address out of
        ``::ffff:192.0.2.1`` by luck.

    Example:
        ```perl
        my $ip = $ENV{TCPREMOTEIP};
        my $known = $ip =~ /^\d+\.\d+\.\d+\.\d+$/;
        ```

    Use instead
        ```perl
        use Socket qw(inet_pton AF_INET AF_INET6);
        (my $text = $ENV{TCPREMOTEIP} // '') =~ s/%.*//;
        my $known = defined(inet_pton(AF_INET, $text) // inet_pton(AF_INET6, $text));
        ```

    References:
        RFC 4291 section 2.2.
    """
    seen: set[int] = set()
    for match in matches(unit):
        sort = pattern_sort(match.pattern)
        if sort not in ("quad", "class") or (match.literal is not None and match.literal.start in seen):
            continue
        if match.literal is not None:
            seen.add(match.literal.start)
        if not match.use.strong and sort == "class":
            continue
        yield Hit(match.offset, "the pattern matches IPv4 text only")
    for branch in case_branches(unit):
        if re.fullmatch(r"\*\.\*(?:\.\*)*|\[0-9\][\[\]0-9*.]*|\*\[!0-9.\]\*|\*\[\^0-9.\]\*", branch.glob):
            yield Hit(branch.offset, "the pattern matches IPv4 text only")
    if unit.language in ("c", "cpp"):
        yield from _c_digit_loops(unit)
    if unit.in_scope and unit.language in ("perl", "ruby", "php", "sh", "awk"):
        yield from _loose_patterns(unit, seen)


def _c_digit_loops(unit: Unit) -> Iterator[Hit]:
    if "'.'" not in unit.code:
        return
    for found in re.finditer(r"'\.'", unit.code):
        start, end = unit.statement(found.start())
        text = unit.code[max(start, found.start() - 120) : min(end, found.end() + 120)]
        test = search(r"[^=!<>]==\s*'\.'\s*(?:\|\||&&)|!=\s*'\.'\s*&&", text)
        if (
            not test
            or not search(r"!?\s*is_?digit\s*\(|[<>]=?\s*'[09]'", text)
            or search(r"isx?alnum|isxdigit|'_'|'-'|isalpha|':'", text)
        ):
            continue
        function = unit.scope(found.start())
        named = unit.functions[function].name if function >= 0 else ""
        if search(r"(?i)ip|addr|valid", named) or any(use.kind == "ip" for use in unit.uses_between(start, end)):
            yield Hit(found.start(), "only digits and dots pass this test; IPv6 text has letters and colons")


def _loose_patterns(unit: Unit, seen: set[int]) -> Iterator[Hit]:
    """Four-number patterns on what may well be an address although nothing shows the way it took."""
    if "." not in unit.code:
        return
    for literal in unit.literals:
        if literal.kind not in ("regex", "subst") or literal.start in seen:
            continue
        pattern = unit.content(literal)
        if pattern_sort(pattern) != "quad" or len(re.findall(r"\\\.", pattern)) < 2:
            continue
        line = unit.line_text(literal.start)
        subject = search(
            r"([$@]\{?[\w>{}'\-]+|\w+)\s*(?:=~|!~)\s*\Z", unit.code[max(0, literal.start - 60) : literal.start]
        )
        word = subject[1] if subject else line
        if search(r"(?i)ip|addr|host|client|peer|range|net", word) and not search(
            r"(?i)version|received|message_?id|\bver\b", line
        ):
            yield Hit(literal.start, "the pattern matches IPv4 text only")


_SCAN: Final = re.compile(r"\b[vf]?s?scanf\s*\(")
_FOUR: Final = re.compile(r"(?:%[*]?\d*h{0,2}l?(?:[dui]|\[[^\]a-zA-Z^]{0,4}0-9[^\]a-zA-Z]{0,4}\])(?:%\*c)?\.){3}%")


@rule("U103", "sscanf-quad", BREAKS, group="text", rank=30, remedy="parse")
def sscanf_quad(unit: Unit) -> Iterator[Hit]:
    """Four numbers are scanned out of the text.

    What it does
        Finds ``sscanf`` formats of four numbers with dots between them.

    Why is this bad?
        For IPv6 text the scan returns 0 or 1, so a check is skipped or a fallback (such as resolving the text as a host
        name) runs; IPv4-mapped text fails as well.

    Example:
        ```c
        int known(const char *remoteip) {
            unsigned int a, b, c, d;
            return sscanf(remoteip, "%u.%u.%u.%u", &a, &b, &c, &d) == 4;
        }
        ```

    Use instead
        ```c
        int known(const char *remoteip) {
            struct addrinfo hints = {.ai_flags = AI_NUMERICHOST}, *res;
            return getaddrinfo(remoteip, 0, &hints, &res) == 0;
        }
        ```

    References:
        getaddrinfo(3), RFC 3493 section 6.1.
    """
    if "scan" not in unit.bare or not unit.in_scope:
        return
    for found in _SCAN.finditer(unit.bare):
        close = unit.closing(found.end() - 1)
        for literal in unit.literals_in(found.end(), min(close, found.end() + 600)):
            if _FOUR.search(unit.content(literal)) or (
                "%3[0-9]" in unit.content(literal) and unit.content(literal).count(".") >= 3
            ):
                yield Hit(found.start(), "the format takes four numbers with dots; IPv6 text yields 0 or 1 of them")
                break


_ATON: Final = re.compile(
    r"\b(inet_aton|inet_addr|inet_network|ip_scan|ip4_scan|ipv4_scan|scan_ip4|ip2long|ip_aton|inet_atoi|str2ip|ip2int|iptoint|ip_to_int|str_to_ip|aton|ipv4_parse|parse_ipv4|parse_ip4|ip_parse|IPv4Address|inet_aton4|ip4_parse|ip2n|Ipv4Addr::from_str)\s*\(?"
)


@rule("U104", "inet-aton-family", BREAKS, group="text", rank=45, remedy="parse")
def inet_aton_family(unit: Unit) -> Iterator[Hit]:
    """A parser that knows IPv4 text only is given the peer's address.

    What it does
        Finds ``inet_aton``, ``inet_addr``, ``ip_scan``, ``ip4_scan``, ``ip2long``, ``inet_pton(AF_INET, …)`` alone and
        their like, on addresses that may be IPv6.

    Why is this bad?
        They fail for IPv6, and where the result is not tested, uninitialised bytes are used. They also accept ``127.1``
        and ``010.0.0.1``.

    Example:
        ```c
        int peer_number(struct in_addr *in) {
            const char *remoteip = getenv("TCPREMOTEIP");
            if (!remoteip) return 0;
            return inet_aton(remoteip, in);
        }
        ```

    Use instead
        ```c
        int peer_number(struct in6_addr *in) {
            const char *remoteip = getenv("TCPREMOTEIP");
            struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_V4MAPPED, .ai_family = AF_INET6}, *res;
            if (!remoteip || getaddrinfo(remoteip, 0, &hints, &res)) return 0;
            *in = ((struct sockaddr_in6 *) res->ai_addr)->sin6_addr;
            return 1;
        }
        ```

    References:
        inet_aton(3), inet_pton(3).
    """
    for call, offset, _ in ipv4_parsers(unit):
        yield Hit(offset, f"`{call}` understands IPv4 text only")


def ipv4_parsers(unit: Unit) -> Iterator[tuple[str, int, Use | None]]:
    """Yield the calls of IPv4-only parsers on addresses: the function, the place, and the value."""
    for use in unit.uses_of("ip"):
        call = unit.call(use.start)
        if call is not None and _plain_argument(unit, call):
            if _ATON.fullmatch(call.last + "(") and (call.index == 0 or "->" in call.name):
                if unit.scope(use.start) >= 0 and use.start < unit.functions[unit.scope(use.start)].start:
                    continue
                if unit.language == "perl" and _known_v4(unit, use):
                    continue
                if not use.strong and not unit.in_scope:
                    continue
                if not _has_twin(unit, use):
                    yield call.last, _call_start(unit, call), use
            elif (
                call.last in ("inet_pton", "Inet_pton")
                and re.fullmatch(r"(?:AF|PF)_INET", unit.argument_text(call, 0))
                and not search(r"inet_pton\s*\(\s*(?:AF|PF)_INET6", unit.code)
                and not _has_twin(unit, use)
            ):
                yield "inet_pton(AF_INET)", _call_start(unit, call), use
            elif call.last in ("gethostbyaddr",) and "inet_aton" in unit.argument_text(call, 0):
                yield "inet_aton", use.start, use
            elif (
                call.last == "filter_var"
                and "FILTER_FLAG_IPV4" in unit.code[call.open : call.close]
                and "FILTER_FLAG_IPV6" not in unit.code[call.open : call.close]
            ):
                yield "FILTER_FLAG_IPV4", use.start, use
        if unit.language == "rust":
            method = re.compile(r"[^;\n]{0,24}\.parse::<(?:std::net::)?Ipv4Addr>\(\)").match(
                unit.code, use.end, use.end + 400
            )
            if method and not _has_twin(unit, use):
                yield "Ipv4Addr", use.start, use
        if unit.language == "haskell" and search(r"::\s*(?:Maybe\s+)?IPv4\b", unit.statement_text(use.start)):
            yield "IPv4", use.start, use
    if unit.family == "rust" and "Ipv4Addr" in unit.bare:
        for found in re.finditer(r":\s*(?:std::net::)?Ipv4Addr\s*=\s*(\w+)", unit.bare):
            if any(use.kind == "ip" for use in unit.uses_between(found.start(1), found.end() + 60)):
                yield "Ipv4Addr", found.start(1), None
    if unit.family == "go" and ".To4()" in unit.bare:
        for found in re.finditer(r"\b(\w+)\.To4\(\)", unit.bare):
            if (
                search(r"==\s*nil|!=\s*nil", unit.line_text(found.start()))
                and not knows_six(unit, found.start())
                and unit.speaks_ucspi
            ):
                yield "To4", found.start(), None


def _call_start(unit: Unit, call: Call) -> int:
    start = unit.bare.rfind(call.last, max(0, call.open - 90), call.open + 1 + len(call.last))
    return start if start >= 0 else call.open


def _plain_argument(unit: Unit, call: Call) -> bool:
    spans = unit.arguments(call)
    if call.index >= len(spans):
        return True
    if call.last in ("inet_ntop", "inet_ntoa"):
        return False
    return spans[call.index][1] - spans[call.index][0] < 120


def _known_v4(unit: Unit, use: Use) -> bool:
    return search(r"type\s*(?:eq|==)\s*['\"]A['\"]", unit.scope_text(use.start)) is not None and not use.strong


def _has_twin(unit: Unit, use: Use) -> bool:
    """Say whether the function gives the value to an IPv6 parser as well, or has told the families apart before."""
    scope = unit.scope_text(use.start)
    if search(
        r"inet_pton\s*\(\s*(?:AF|PF)_INET6|ip6_scan|ipv6_scan|scan_ip6|ip6_?scan|Ipv6Addr|FILTER_FLAG_IPV6|getaddrinfo|parse_ipv6|AF_INET6|ip_scan6|IpAddr::V6|V6\(",
        scope,
    ):
        return True
    return tests_colon(unit, use.start)


@rule("U105", "first-colon-split", BREAKS, group="text", rank=42, remedy="split")
def first_colon_split(unit: Unit) -> Iterator[Hit]:
    """A text that holds an address is cut at its first colon.

    What it does
        Finds cutting at ":" of values from the peer and of what is read from lines and arguments named after addresses.

    Why is this bad?
        IPv6 addresses are full of colons: the part before the first is "2001" or empty. Rules are cut short, and an
        address that the peer chose can end up in the wrong field.

    Example:
        ```sh
        ip=${TCPREMOTEADDR%%:*}
        echo "from $ip"
        ```

    Use instead
        ```sh
        ip=${TCPREMOTEADDR%:*}
        ip=${ip#[}
        ip=${ip%]}
        echo "from $ip"
        ```

    References:
        RFC 3986 section 3.2.2 (brackets), busybox tcpsvd sets TCPREMOTEADDR=[2001:db8::1]:4711.
    """
    for use in unit.uses_of("ip"):
        if unit.language == "sh":
            text = unit.code[use.start : use.end]
            rest = unit.line_after(use.end)
            if re.match(r"\$\{\w+(?:%%:\*|#\*:|%%\[!:\])", text) or re.match(
                r"[\"'}\s]*\|\s*(?:cut\s[^|]*-d\s*['\"]?:|[gm]?awk\s[^|]*-F\s*['\"]?:)", rest
            ):
                yield Hit(use.start, "cuts at the first colon, of which IPv6 text has many")
            continue
        if not use.strong:
            continue
        call = unit.call(use.start)
        if call is not None and call.last in (
            "split",
            "explode",
            "Split",
            "SplitN",
            "strtok",
            "strsep",
            "Cut",
            "splitn",
            "preg_split",
            "splitOn",
            "str_tok",
        ):
            separators = [
                unit.argument_text(call, index)
                for index in range(min(4, len(unit.arguments(call))))
                if index != call.index
            ]
            if any(re.fullmatch(r"[\"']:[\"']|/\\?:/|m?[/{]\\?:[/}]", one) for one in separators) or search(
                r"split\s*\(?\s*(?:/\\?:/|['\"]:['\"])\s*,\s*\Z", unit.code[max(0, use.start - 30) : use.start]
            ):
                yield Hit(use.start, "cuts at the first colon, of which IPv6 text has many")
        if re.compile(r"\s*\.\s*(?:split\w*|partition|split_once)\s*(?:\(\s*)?(?:\d\s*,\s*)?['\"]:['\"]").match(
            unit.code, use.end, use.end + 400
        ):
            yield Hit(use.start, "cuts at the first colon, of which IPv6 text has many")
    if unit.family == "c" and unit.in_scope:
        yield from _c_colons(unit)
        yield from _c_fields(unit)


def _c_fields(unit: Unit) -> Iterator[Hit]:
    """Where a line is cut into fields at ":" and one of them is compared with the address."""
    if "strtok" not in unit.bare and "strsep" not in unit.bare:
        return
    for found in re.finditer(r"\bstr(?:tok|sep)(?:_r)?\s*\(", unit.bare):
        close = unit.closing(found.end() - 1)
        stored = re.search(r"(\w+)\s*=\s*\Z", unit.bare[max(0, found.start() - 60) : found.start()])
        if not stored or not re.search(r",\s*\":\"", unit.code[found.end() : min(close, found.end() + 120)]):
            continue
        for use in unit.uses_between(close, close + 600):
            call = unit.call(use.start)
            if use.kind == "ip" and use.strong and call is not None and re.search(r"cmp|diff|equal", call.last):
                others = [unit.argument_text(call, index) for index in range(2) if index != call.index]
                if stored[1] in others:
                    yield Hit(found.start(), "cuts at the first colon, of which IPv6 text has many")
                    break


def _c_colons(unit: Unit) -> Iterator[Hit]:
    for found in re.finditer(r"\b(?:strchr|index|str_chr|byte_chr)\s*\(", unit.bare):
        close = unit.closing(found.end() - 1)
        text = unit.code[found.end() : min(close, found.end() + 120)]
        if not search(r",\s*(?:\d+\s*,\s*)?':'\s*\Z", text):
            continue
        start, _ = unit.statement(found.start())
        stored = search(r"(\w+)\s*=\s*\(*\Z", unit.bare[start : found.start()])
        operand = text.rpartition(",")[0].strip()
        if not stored or search(r"(?i)remoteip|mac|header|\bpath|env|proto|time|date|passwd|cmd|user", operand):
            continue
        scope = unit.scope_text(found.start())
        after = unit.code[close : close + 400]
        cut = search(
            rf"\*\s*{re.escape(stored[1])}\s*(?:\+\+)?\s*=\s*(?:0|'\\0'|NULL)|\b{re.escape(stored[1])}\s*\[0\]\s*=\s*|\*{re.escape(stored[1])}\+\+\s*=\s*",
            after,
        )
        name = unit.functions[unit.scope(found.start())].name if unit.scope(found.start()) >= 0 else ""
        if (
            cut
            and search(r"(?i)\b\w*ip\w*\b|addr", operand + " " + name)
            and search(r"(?i)\b(?:ip|addr|rule|deny|allow)\w*", scope)
            and not search(r"\]|AF_INET6|strrchr", scope)
        ):
            yield Hit(found.start(), "cuts at the first colon, of which IPv6 text has many")


@rule("U106", "zone-id", BREAKS, group="text", rank=70, remedy="parse")
def zone_id(unit: Unit) -> Iterator[Hit]:
    """A scoped address (``fe80::1%eth0``) is not expected.

    What it does
        Finds parsers that refuse a zone (``inet_pton``, ``net.ParseIP``, ``filter_var``, Rust's ``IpAddr``) given the raw
        text, addresses used as a printf format, and loops that strip hex digits until none is left.

    Why is this bad?
        Several super-servers write the zone into the address of a link-local peer. The parse fails, a loop that removes
        only hex digits never ends, and a "%" in a format string is read as a conversion.

    Example:
        ```go
        package main

        import ("fmt"; "net"; "os")

        func main() {
            ip := net.ParseIP(os.Getenv("TCPREMOTEIP"))
            fmt.Println(ip)
        }
        ```

    Use instead
        ```go
        package main

        import ("fmt"; "net/netip"; "os")

        func main() {
            ip, err := netip.ParseAddr(os.Getenv("TCPREMOTEIP"))
            if err != nil {
                os.Exit(111)
            }
            fmt.Println(ip.Unmap().WithZone(""))
        }
        ```

    References:
        RFC 4007 section 11, RFC 6874.
    """
    for use in unit.uses_of("ip", strong=True):
        if not use.proved:
            continue
        scope = unit.scope_text(use.start)
        handled = (
            search(r"'%'|\"%\"|/%|%\.\*|'%[^ds]|AI_NUMERICHOST|if_nametoindex|scope_id|[Zz]one", scope) is not None
        )
        call = unit.call(use.start)
        if call is not None and not handled:
            if (
                call.last in ("inet_pton", "Inet_pton")
                and re.fullmatch(r"(?:AF|PF)_INET6", unit.argument_text(call, 0))
                and call.index == 1
            ):
                yield Hit(_call_start(unit, call), "`inet_pton` refuses an address with a zone")
            elif call.last == "ParseIP" and unit.language == "go":
                yield Hit(_call_start(unit, call), "`net.ParseIP` refuses an address with a zone")
            elif (
                call.last == "filter_var"
                and "FILTER_VALIDATE_IP" in unit.code[call.open : call.close]
                and "FILTER_FLAG_IPV4" not in unit.code[call.open : call.close]
            ):
                yield Hit(_call_start(unit, call), "`filter_var` refuses an address with a zone")
        if (
            unit.language == "rust"
            and not handled
            and re.compile(r"[^;\n]{0,24}\.parse::<(?:std::net::)?IpAddr>\(\)").match(unit.code, use.end, use.end + 400)
        ):
            yield Hit(use.start, "`IpAddr` refuses an address with a zone")
        if (
            unit.family == "c"
            and call is not None
            and _format_argument(call)
            and unit.argument_text(call, call.index).strip("()& ") == use.name.lstrip(".")
        ):
            yield Hit(use.start, "the address is the format itself: the % of a zone is read as a conversion")
        if unit.language == "perl":
            loop = re.compile(r"\s*=~\s*s/\[0-9a-fA-F\]?[^/]{0,12}:?\??\$?/").match(unit.code, use.end, use.end + 400)
            if re.compile(r"\s*=~\s*s/\[(?:0-9a-f|\\da-f|a-f0-9)[^\]]{0,4}\]\+?:?\??\$//").match(
                unit.code, use.end, use.end + 400
            ) or (loop and "while" in scope and "last" not in unit.statement_text(use.start)):
                yield Hit(use.start, "strips hex digits only: with a zone the loop never ends")


def _format_argument(call: Call) -> bool:
    position = {
        "printf": 0,
        "fprintf": 1,
        "sprintf": 1,
        "snprintf": 2,
        "syslog": 1,
        "vsyslog": 1,
        "dprintf": 1,
        "err": 1,
        "warnx": 0,
    }.get(call.last)
    return position is not None and call.index == position


@rule("U107", "mapped-not-normalised", SECURITY, group="text", rank=60, remedy="unmap")
def mapped_not_normalised(unit: Unit) -> Iterator[Hit]:
    """The family is guessed from the text, or only one spelling of a mapped address is known.

    What it does
        Finds tests for ":" that decide the family, and the prefix ``::ffff:`` being compared or cut off as text.

    Why is this bad?
        A dual-stack listener reports an IPv4 peer as ``::ffff:192.0.2.1``; s6 writes ``::ffff:c000:201`` and socat
        ``0000:…:ffff:c000:0201``. Taken for IPv6, the peer escapes all IPv4 rules; cutting seven characters off the
        hexadecimal spelling leaves nonsense.

    Example:
        ```c
        const char *plain(void) {
            const char *remoteip = getenv("TCPREMOTEIP");
            if (remoteip && !strncmp(remoteip, "::ffff:", 7)) remoteip += 7;
            return remoteip;
        }
        ```

    Use instead
        ```c
        const char *plain(char buf[INET6_ADDRSTRLEN]) {
            const char *remoteip = getenv("TCPREMOTEIP");
            struct in6_addr a;
            if (remoteip && inet_pton(AF_INET6, remoteip, &a) == 1 && IN6_IS_ADDR_V4MAPPED(&a) && !strchr(remoteip, '%'))
                return inet_ntop(AF_INET, a.s6_addr + 12, buf, INET6_ADDRSTRLEN);
            return remoteip;
        }
        ```

    References:
        RFC 4291 section 2.5.5.2, RFC 5952 section 5.
    """
    yield from _mapped_literals(unit)
    yield from _skipped_colons(unit)
    for match in matches(unit):
        if (
            pattern_sort(match.pattern) in ("colon", "mapped")
            and (match.use.strong or unit.in_scope)
            and not _unmaps(unit, match.offset)
        ):
            yield Hit(match.offset, "a mapped IPv4 address has colons as well: this takes it for IPv6")
    for branch in case_branches(unit):
        if "[" in unit.code[branch.offset : branch.offset + 60].split("\n")[0]:
            continue
        if branch.glob in ("*:*", "*:", ":*") and not search(r"::ffff:\*?|ffff", unit.scope_text(branch.offset)):
            yield Hit(branch.offset, "a mapped IPv4 address has colons as well: this takes it for IPv6")
    for use in unit.uses_of("ip", strong=True):
        call = unit.call(use.start)
        if call is not None and search(
            r"(?:str_?r?chr|index|strpbrk|memchr|byte_chr|strpos|Contains\w*|IndexByte|strstr|str_contains|contains|count)\Z",
            call.last,
        ):
            others = [
                unit.argument_text(call, index)
                for index in range(min(4, len(unit.arguments(call))))
                if index != call.index
            ]
            if any(re.fullmatch(r"[\"':]{2,3}|\"::\"", one) and ":" in one for one in others) and not _unmaps(
                unit, use.start
            ):
                yield Hit(use.start, "a mapped IPv4 address has colons as well: this takes it for IPv6")
        if (
            unit.family == "c"
            and call is not None
            and re.compile(r"\s*\+\s*7\s*[,);]").match(unit.bare, use.end, use.end + 400)
            and not search(r"\"::ffff:", unit.scope_text(use.start))
        ):
            yield Hit(use.start, "cuts seven characters off whatever the spelling is")
        if re.compile(r"\s*\.\s*(?:include\?|contains|index|find|match\?)\s*\(?\s*['\"/]:{1,2}['\"/]").match(
            unit.code, use.end, use.end + 400
        ) and not _unmaps(unit, use.start):
            yield Hit(use.start, "a mapped IPv4 address has colons as well: this takes it for IPv6")
        if (
            unit.family == "ruby"
            and call is not None
            and call.name.endswith("IPAddr.new")
            and not search(r"\.native|ipv4_mapped\?|ipv4_compat", unit.scope_text(use.start))
        ):
            yield Hit(use.start, "a mapped address is matched as IPv6: IPv4 networks do not hold it")
        if (
            unit.family == "go"
            and call is not None
            and call.last == "ParseAddr"
            and "Unmap()" not in unit.scope_text(use.start)
        ):
            yield Hit(use.start, "a mapped address stays IPv6 without Unmap()")


def _skipped_colons(unit: Unit) -> Iterator[Hit]:
    """Where C code skips to the third colon, with a test for the end: `::1` comes out empty, `::2:3` as "3"."""
    if unit.family != "c" or "':'" not in unit.code or not unit.in_scope:
        return
    for found in _OVERRUN.finditer(unit.code):
        after = unit.code[found.end() : found.end() + 320]
        if not any(use.kind == "ip" for use in unit.uses_between(found.start(), found.end())):
            continue
        if re.search(r"while\s*\([^;{}]*!=\s*':'[^;{}]*&&|while\s*\([^;{}]*&&[^;{}]*!=\s*':'", after):
            yield Hit(found.start(), "skips to the third colon: `::1` becomes the empty text")


def _mapped_literals(unit: Unit) -> Iterator[Hit]:
    for literal in unit.literals:
        if not 4 < literal.outer - literal.inner < 24:
            continue
        content = unit.content(literal)
        if not re.fullmatch(r"(?i)\^?\(?:{1,2}(?:\(\?:)?f{4}:.{0,3}\)?", content):
            continue
        start, _ = unit.statement(literal.start)
        if search(
            r"(?i)print|log\b|cat\w*\s*\(|puts|sprintf|copys\s*\(|echo|write|join|\.\s*=|format!|append|\+\s*$|=\s*\"::ffff:\"\s*\+",
            unit.code[start : literal.start],
        ):
            continue
        if _dot_test(unit, literal.start) or search(r"V4MAPPED|inet_pton", unit.scope_text(literal.start)):
            continue
        if unit.family == "c" and not search(r"\(", unit.code[start : literal.start]):
            continue
        yield Hit(literal.start, "knows one spelling of a mapped address; ::ffff:c000:201 is another")
    for found in re.finditer(r"\bV4MAPPREFIX\b", unit.bare if "V4MAPPREFIX" in unit.bare else ""):
        call = unit.call(found.start())
        if call is not None and search(r"equal|cmp|diff|start", call.name):
            yield Hit(found.start(), "knows one spelling of a mapped address; ::ffff:c000:201 is another")
    if unit.language == "sh":
        for found in re.finditer(r"\$\{\w+#{1,2}::ffff:\}?|s[/,|]\^?::ffff:", unit.code):
            if not search(r"::ffff:\*\.", unit.scope_text(found.start())):
                yield Hit(found.start(), "knows one spelling of a mapped address; ::ffff:c000:201 is another")


def _dot_test(unit: Unit, offset: int) -> bool:
    """Say whether the function also asks for a dot: then it takes the dotted spelling for what it is."""
    return (
        search(
            r"str_?r?chr\s*\([^;()]*'\.'|strspn|\bindex\s*\(\s*\$?\w+\s*,\s*[\"']\.[\"']\s*\)|(?:include\?|contains)\s*\(?\s*['\"]\.['\"]|Contains\w*\([^()]*['\"]\.['\"]\)",
            unit.scope_text(offset),
        )
        is not None
    )


def _unmaps(unit: Unit, offset: int) -> bool:
    """Say whether mapped addresses are known of in the function, or the test only chooses brackets for the text."""
    if search(r"[\"'`]\[[\"'`%$#{]|\[IPv6", unit.code[offset : offset + 160]):
        return True
    return (
        search(
            r"(?i)v4mapped|unmap|to_canonical|ipv4_mapped|::ffff|V4MAPPREFIX|\.native|\\xff\\xff|inet_pton",
            unit.scope_text(offset),
        )
        is not None
    )


_OVERRUN: Final = re.compile(r"(?:\[\s*0\s*\]|\*\s*\w+|\*\(\w+\))\s*==\s*':'")


@rule("U108", "mapped-strip-overrun", SECURITY, group="text", rank=10, remedy="unmap")
def mapped_strip_overrun(unit: Unit) -> Iterator[Hit]:
    """Colons are skipped by hand without a test for the end of the text.

    What it does
        Finds C code that, when the text begins with ":", walks on to the next colon without looking for the terminator.

    Why is this bad?
        It was written for ``::ffff:192.0.2.1``, but ``::1`` begins with a colon too: the loop reads past the end, or the
        result is the empty string or "3" for ``::2:3``, which then becomes a key of the relay table.

    Example:
        ```c
        char *skip_prefix(void) {
            char *ipaddr = getenv("TCPREMOTEIP");
            if (ipaddr && *ipaddr == ':') {
                ipaddr += 2;
                while (*ipaddr != ':') ++ipaddr;
                ++ipaddr;
            }
            return ipaddr;
        }
        ```

    Use instead
        ```c
        char *skip_prefix(char buf[INET6_ADDRSTRLEN]) {
            char *text = getenv("TCPREMOTEIP");
            struct in6_addr a;
            if (text && !strchr(text, '%') && inet_pton(AF_INET6, text, &a) == 1 && IN6_IS_ADDR_V4MAPPED(&a))
                return (char *) inet_ntop(AF_INET, a.s6_addr + 12, buf, INET6_ADDRSTRLEN);
            return text;
        }
        ```

    References:
        RFC 4291 section 2.5.5.2.
    """
    if unit.family != "c" or "':'" not in unit.code or not unit.in_scope:
        return
    for found in _OVERRUN.finditer(unit.code):
        after = unit.code[found.end() : found.end() + 320]
        loop = search(
            r"(?:while\s*\(\s*|for\s*\([^;]*;\s*)(?:\*\s*\(?\s*\w+(?:\s*\+\+)?\s*\)?|\*\+\+\w+|\w+\[[^\[\]]*\])\s*!=\s*':'\s*[;)]",
            after,
        )
        if not loop:
            continue
        if not any(use.kind == "ip" for use in unit.uses_between(found.start() - 40, found.end() + loop.end())):
            continue
        condition = after[max(0, loop.start() - 4) : loop.end()]
        if "&&" in condition:
            continue
        yield Hit(found.start(), "walks to the next colon without a test for the end: `::1` has no further one")
        yield Hit(
            found.end() + loop.start(), "walks to the next colon without a test for the end: `::1` has no further one"
        )


@rule("U109", "stale-regex-captures", SECURITY, group="text", rank=20, remedy="captures")
def stale_regex_captures(unit: Unit) -> Iterator[Hit]:
    r"""Captures are used although the match may have failed.

    What it does
        Finds matches that stand alone as a statement, untested, before their captures are used.

    Why is this bad?
        Perl keeps ``$1`` of the last match that succeeded, which may be that of the rule: every IPv6 client is then
        compared with the rule itself and passes. Bash and PHP leave stale or missing elements.

    Example:
        ```perl
        sub number {
            my ($ip) = @_;
            $ip =~ /(\d+)\.(\d+)\.(\d+)\.(\d+)/;
            return $1 * 256 + $2;
        }
        ```

    Use instead
        ```perl
        use Socket qw(inet_pton AF_INET6);
        sub bytes {
            my ($text) = @_;
            return inet_pton(AF_INET6, $text) // die "no IPv6 address: $text\n";
        }
        ```

    References:
        perlre, "Capture groups"; perlvar, ``$<digits>``.
    """
    for match in matches(unit):
        if (
            match.literal is None
            or "(" not in match.pattern
            or pattern_sort(match.pattern) not in ("quad", "class", "prefix", "mapped")
        ):
            continue
        start, end = unit.statement(match.offset)
        before = unit.code[start : match.offset].strip()
        after = unit.code[match.literal.end : end].strip(" \t\n;gimsxo")
        following = unit.code[end : end + 300]
        if (
            unit.language == "perl"
            and not before
            and not after
            and match.literal.kind == "regex"
            and search(r"\$[1-9]", following)
        ):
            yield Hit(match.offset, "$1 is used even when nothing matched: it keeps an earlier match")
        if (
            unit.language == "php"
            and not before
            and search(r"\$\w+\[[1-9]\]", following)
            and "preg_match" in unit.code[start:end]
            and not search(r"\bif\b|\?|&&|\|\|", unit.code[start:end])
        ):
            yield Hit(match.offset, "the captures are used even when nothing matched")
    if unit.language == "sh" and "BASH_REMATCH" in unit.code:
        for use in unit.uses_of("ip"):
            line = unit.line_text(use.start).strip()
            if re.match(r"\[\[\s", line) and "=~" in line and line.endswith("]]"):
                yield Hit(use.start, "BASH_REMATCH is used even when nothing matched")


_V4_LIBRARY: Final = re.compile(
    r"\b(country_code_by_addr|country_name_by_addr|country_code3_by_addr|record_by_addr|region_by_addr|org_by_addr|id_by_addr|isp_by_addr|record_by_name|GeoIP_(?:country_code|country_name|id|record|region|org|name|country_code3)_by_(?:addr|name|ipnum)|geoip_(?:country_code|country_name|record|region|country_code3|id|isp)_by_name"
    r"|Net::Netmask(?:\s*->\s*new|\b)|IP2Location_get_\w+|get_country_short)\b"
)


@rule("U110", "v4-only-library", BREAKS, group="library", rank=35, remedy="library")
def v4_only_library(unit: Unit) -> Iterator[Hit]:
    r"""A library call that knows IPv4 only.

    What it does
        Finds calls of the old GeoIP library and of Net::Netmask, where no IPv6 variant stands beside.

    Why is this bad?
        They return nothing for IPv6: clients have "no country" and are refused, or pass unchecked.

    Example:
        ```perl
        use Geo::IP;
        my $geo = Geo::IP->new(0);
        my $country = $geo->country_code_by_addr($ENV{TCPREMOTEIP});
        ```

    Use instead
        ```perl
        use GeoIP2::Database::Reader;
        my $reader = GeoIP2::Database::Reader->new(file => 'GeoLite2-Country.mmdb');
        my $ip = $ENV{TCPREMOTEIP} // die "no peer\n";
        my $country = $reader->country(ip => $ip)->country->iso_code;
        ```

    References:
        GeoIP Legacy was retired in 2022; maxminddb reads both families.
    """
    if unit.language == "sql":
        return
    for found in _V4_LIBRARY.finditer(unit.bare):
        before = unit.bare[max(0, found.start() - 40) : found.start()]
        if search(r"\b(?:use|require|sub|def|import|include)\s+\Z", before) or found[1].endswith("_v6"):
            continue
        if not unit.in_scope or search(r"_v6\b|V6|ipnum_v6", unit.scope_text(found.start())):
            continue
        if unit.family == "c" and search(r"\b(?:extern|char|int)\s*\**\s*\Z", before):
            continue
        yield Hit(found.start(), f"`{found[1]}` knows IPv4 only")
