"""U2xx: decisions about a peer that hold for IPv4 only: who is allowed, who is on a list, what an unknown peer is."""

# ruff: noqa: E501 - a pattern or a remedy that is cut in pieces cannot be read

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from ucspi_env.envcheck.lint._match import (
    SENTINELS,
    case_branches,
    is_address,
    is_prefix,
    matches,
    outcome,
    pattern_sort,
    quoted,
    search,
)
from ucspi_env.envcheck.lint._model import BREAKS, SECURITY, Hit, rule
from ucspi_env.envcheck.lint._rules_parse import ipv4_parsers
from ucspi_env.envcheck.lint._tokens import Literal

if TYPE_CHECKING:
    from ucspi_env.envcheck.lint._unit import Unit, Use

_COMPARISON: Final = re.compile(r"[\"')}\]\s]*(===|!==|==|!=|\beq\b|\bne\b|<>|/=|-eq|-ne|=(?![=~>]))\s*")
_COMPARERS: Final = re.compile(
    r"(?:str(?:case)?cmp|str_diff|str_diffs|str_equal|case_diffs|case_equals|strn(?:case)?cmp|streq|STREQ|str_same|str_compare|byte_equal|byte_diff|memcmp|EqualFold|bcmp|ipcmp|case_starts|str_start|strncasecmp|eq_ignore_ascii_case|strcmp|Compare|case_diffb|str_case_equal|str_starts)\Z"
)
_TEXT_COMPARERS: Final = re.compile(r"(?i)str\w*cmp\Z|str_diffs?\Z|str_equal\Z|streq\Z|case_diffs\Z|case_equals\Z")
_HARMLESS: Final = re.compile(r"(?i)\s*(?:unknown|none|undef|null|nil|-|\?|0|n/?a|unset|stdin|unix|)\s*\Z")
_LOCAL_NAMES: Final = re.compile(r"(?i)\w*(?:local|server|my)_*(?:ip|addr)\w*\Z")


def _other_side(unit: Unit, use: Use) -> tuple[str, bool] | None:
    """Return the other operand of the comparison that the value takes part in, and whether it is a quoted literal."""
    after = _COMPARISON.match(unit.code, use.end, use.end + 60)
    if after and not (after[1] == "=" and unit.language != "sh"):
        rest = unit.code[after.end() : after.end() + 120].split("\n")[0]
        literal = re.match(r"\(*\s*([\"'])((?:(?!\1).)*)\1", rest)
        if literal:
            return literal[2], True
        operand = re.match(r"[\w$@{}\[\]'\"().>:*&-]+", rest)
        return (operand[0], False) if operand else None
    before = search(
        r"([\"'])((?:(?!\1)[^\n]){0,60})\1\s*(?:==|!=|===|!==|eq|ne|=)\s*[\"'\\x]?\Z",
        unit.code[max(0, use.start - 90) : use.start],
    )
    if before and (unit.language == "sh" or not before[0].rstrip().endswith(("'=", '"=', "' =", '" ='))):
        return before[2], True
    loose = search(
        r"([\w$@{}\[\]'\".>:()*-]+)\s*(?:===?|!==?|\beq\b|\bne\b)\s*[\"'(]?\Z",
        unit.code[max(0, use.start - 90) : use.start],
    )
    if loose:
        return loose[1], False
    if unit.language == "sh":
        tested = search(r"\[\s+(\"[^\"]*\"|\S+)\s+(?:==?|!=)\s+\"?\Z", unit.code[max(0, use.start - 90) : use.start])
        if tested:
            return tested[1].strip('"'), not tested[1].strip('"').startswith("$")
    return None


def _interesting_other(other: str, *, literal: bool) -> bool:
    if literal:
        return is_address(other)
    if re.fullmatch(
        r"(?:NULL|null|nil|None|undef|0|1|-1|true|false|nullptr|len\(.*|defined.*|\d+|\(?void.*|Nothing|self|__.*|\"\"|''|[A-Z_]*NONE)",
        other,
    ):
        return False
    return search(
        r"(?i)ip|addr|host\b|client|peer|ntoa|ntop|line|entry|allow|deny|list|net\b|match|\$1|\$_\b|rule|key|val|buf",
        other,
    ) is not None and not search(r"(?i)port|len|size|count|zip|err", other)


@rule("U201", "string-equality-allowlist", BREAKS, group="compare", rank=50, remedy="compare")
def string_equality_allowlist(unit: Unit) -> Iterator[Hit]:
    """An address is compared with one spelling.

    What it does
        Finds ``==``, ``eq``, ``strcmp``, ``in_array``, ``include?`` and the like between the peer's address and a literal
        address, a list entry or the text that another formatter wrote.

    Why is this bad?
        One IPv6 address has many spellings, and super-servers differ in theirs. The loopback is 127.0.0.0/8, ``::1`` and
        ``::ffff:127.0.0.1``. An allow list refuses the right clients, a deny list lets the wrong ones in.

    Example:
        ```sh
        if [ "$TCPREMOTEIP" = "127.0.0.1" ]; then
            echo local
        fi
        ```

    Use instead
        ```sh
        eval "$(ucspi-envcheck shell || echo exit 111)"
        case $UCSPI_REMOTE_IP in
            127.* | ::1) echo local ;;
        esac
        ```

    References:
        RFC 5952 section 2 (how many spellings), RFC 6890 (127.0.0.0/8).
    """
    for use in unit.uses_of("ip"):
        if "assert" in unit.line_text(use.start):
            continue
        if _LOCAL_NAMES.match(use.name.lstrip(".")) and not use.strong:
            continue
        other = _other_side(unit, use)
        if other is not None and (not _HARMLESS.fullmatch(other[0])):
            literal_like = other[1] or is_address(other[0])
            if is_address(other[0].strip("\"'")) and (use.strong or unit.in_scope):
                yield Hit(use.start, f"compares the spelling with {other[0]!r}")
                continue
            if (
                use.strong
                and not literal_like
                and unit.family not in ("c", "go", "rust")
                and (_interesting_other(other[0], literal=False) or re.match(r"[$\"]*\$\w+", other[0]))
            ):
                yield Hit(use.start, "compares two spellings; one address has many")
                continue
            if (
                use.strong
                and not literal_like
                and unit.family in ("go", "rust")
                and _interesting_other(other[0], literal=False)
            ):
                yield Hit(use.start, "compares two spellings; one address has many")
                continue
        yield from _equality_calls(unit, use)
    for use in unit.uses_of("ip", strong=True):
        literal = unit.literal_at(use.start)
        if (
            literal is not None
            and literal.kind == "regex"
            and re.fullmatch(r"(?:\^|\\A)(?:\\Q)?[$#{]+\w+\}?(?:\\E)?(?:\$|\\z)", unit.content(literal))
        ):
            yield Hit(use.start, "compares two spellings; one address has many")
    for match in matches(unit):
        if pattern_sort(match.pattern) == "address" and (match.use.strong or unit.in_scope):
            yield Hit(match.offset, "compares the spelling with one address")
    for branch in case_branches(unit):
        if is_address(branch.glob) and branch.glob != "::1":
            yield Hit(branch.offset, f"compares the spelling with {branch.glob!r}")


_MEMBERS: Final = re.compile(
    r"(?:in_array|array_search|include\?|includes|contains|Contains|member\?|elem|array_key_exists|isset|constmap|has|slices\.Contains)\Z"
)


def _equality_calls(unit: Unit, use: Use) -> Iterator[Hit]:
    call = unit.call(use.start)
    if call is None:
        if use.strong and unit.language in ("perl", "ruby"):
            grep = search(r"\bgrep\s*\{?\s*\(?\s*\$_\s+eq\s*\Z", unit.code[max(0, use.start - 40) : use.start])
            if grep:
                yield Hit(use.start, "compares two spellings; one address has many")
        return
    last = call.last
    if _COMPARERS.search(last):
        spans = unit.arguments(call)
        for index in range(min(3, len(spans))):
            if index == call.index:
                continue
            text = unit.argument_text(call, index)
            content = quoted(text)
            if content is not None:
                if is_address(content) and (use.strong or unit.in_scope) and not is_prefix(content):
                    yield Hit(use.start, f"compares the spelling with {content!r}")
                    return
            elif (
                use.strong
                and index < 2
                and unit.family in ("c", "php", "go")
                and (_another_address(text) or (_TEXT_COMPARERS.search(call.last) and re.fullmatch(r"[a-z]\w*", text)))
            ):
                yield Hit(use.start, "compares two spellings; one address has many")
                return
    elif (
        use.strong
        and _MEMBERS.search(last)
        and not (last == "isset" or (last == "contains" and unit.language == "rust" and call.index > 0))
    ):
        if last in ("Contains", "contains", "include?", "includes") and search(
            r"[\"']", unit.argument_text(call, 0) if call.index else ""
        ):
            return
        if last == "Contains" and not call.name.startswith("slices"):
            return
        yield Hit(use.start, "looks for one spelling in a list; one address has many")
    if unit.language == "haskell" and use.strong and last == "elem":
        yield Hit(use.start, "looks for one spelling in a list; one address has many")


def _another_address(text: str) -> bool:
    if re.fullmatch(r"[\d\s]*|NULL|0|sizeof.*|str_?len.*|len|n|i", text):
        return False
    if re.match(r"(?:inet_nto[ap]|rfc1035_ntoa|ip4?_fmt)\b", text):
        return True
    if '"' in text or "'" in text:
        return False
    return (
        search(
            r"(?i)ip|addr|host|client|peer|buf|line|entry|ptr|allow|deny|name|token|\bs\b|\bp\b|->s\b|\.s\b|row\[", text
        )
        is not None
    )


@rule("U202", "prefix-string-match", SECURITY, group="compare", rank=40, remedy="network")
def prefix_string_match(unit: Unit) -> Iterator[Hit]:
    r"""A network is matched by the leading text of the address.

    What it does
        Finds ``startswith``, ``strncmp``, patterns such as ``^10\.``, globs such as ``10.*``, and loops that take group
        after group off the end and look the rest up.

    Why is this bad?
        Compressed IPv6 text has no fixed groups: ``2001:db8::1`` and ``2001:db8:0:0::1`` lie in one network and share no
        prefix of text. Deny lists are bypassed. A mapped IPv4 address begins with ``::ffff:``.

    Example:
        ```perl
        my $ip = $ENV{TCPREMOTEIP};
        my $inside = $ip =~ /^192\.168\./;
        ```

    Use instead
        ```perl
        use NetAddr::IP;
        my $ip = NetAddr::IP->new($ENV{TCPREMOTEIP} // die "no peer\n") or die "no address\n";
        my $inside = NetAddr::IP->new('192.168.0.0/16')->contains($ip);
        ```

    References:
        RFC 4291 section 2.3 (prefixes).
    """
    for match in matches(unit):
        if pattern_sort(match.pattern) == "prefix" and (match.use.strong or unit.in_scope):
            yield Hit(match.offset, "matches a network by its leading text")
    for branch in case_branches(unit):
        if re.fullmatch(r"\d{1,3}\.(?:\d{1,3}\.){0,2}\*|\d{1,3}\.(?:[\d?*\[\]-]+\.){0,2}[*?\[][^)]*", branch.glob):
            yield Hit(branch.offset, f"`{branch.glob}` matches a network by its leading text")
    for use in unit.uses_of("ip"):
        call = unit.call(use.start)
        if call is not None and (use.strong or unit.in_scope):  # noqa: SIM102 - first whether, then which
            if search(
                r"(?:strn(?:case)?cmp|byte_equal|byte_diff|memcmp|str_starts?|HasPrefix|str_starts_with|strpos|substr_compare|str_start\w*|startswith|isPrefixOf|case_starts|index|strstr|substr|TrimPrefix|wildmat\w*|fnmatch)\Z",
                call.last,
            ):
                contents = [
                    quoted(unit.argument_text(call, index))
                    for index in range(min(4, len(unit.arguments(call))))
                    if index != call.index
                ]
                if unit.language == "haskell":
                    contents += [unit.content(one) for one in unit.literals_in(call.open, use.start)]
                literal = next((one for one in contents if one and is_prefix(one)), None)
                if literal:
                    yield Hit(use.start, f"matches a network by the leading text {literal!r}")
                    continue
                if (
                    call.last in ("strncmp", "HasPrefix", "str_starts_with", "str_start", "strncasecmp")
                    and use.strong
                    and call.index == 0
                ):
                    other = unit.argument_text(call, 1)
                    size = unit.argument_text(call, 2)
                    if (
                        quoted(other) is None
                        and search(r"(?i)len|strlen|sizeof|n\b", size + other)
                        and "str_diff" not in call.last
                    ):
                        yield Hit(use.start, "matches a network by leading text")
                        continue
        if unit.language == "haskell":
            infix = search(r"\"([^\"\n]*)\"\s*`isPrefixOf`\s*\Z", unit.code[max(0, use.start - 60) : use.start])
            if infix and is_prefix(infix[1]):
                yield Hit(use.start, f"matches a network by the leading text {infix[1]!r}")
                continue
        cut = re.compile(
            r"\s*(?:,\s*0\s*,\s*\d+\s*\)|\.\s*(?:substr|slice)\(\s*0\s*,\s*\d+\s*\))\s*===?\s*([\"'])([^\"']*)\1"
        ).match(unit.code, use.end, use.end + 400)
        if cut and is_prefix(cut[2]) and (use.strong or unit.in_scope):
            yield Hit(use.start, f"matches a network by the leading text {cut[2]!r}")
            continue
        method = re.compile(r"[\"']?\s*\.\s*(?:start_with\?|starts_with|start_with)\s*\(?\s*([\"'])([^\"']*)\1").match(
            unit.code, use.end, use.end + 400
        )
        if method and is_prefix(method[2]):
            yield Hit(use.start, f"matches a network by the leading text {method[2]!r}")
        if use.strong and unit.language == "perl":
            if re.compile(r"\s*=~\s*m?[/{]\^(?:\\Q)?[$@]\{?\w+").match(unit.code, use.end, use.end + 400):
                yield Hit(use.start, "matches a network by leading text")
            elif re.compile(
                r"\s*\)?\s*=~\s*s/(?:\\\.)?(?:\(?(?:\\d|\[0-9\]|\(\\d\|\\w\)|\[\^\.\]|\\w)\)?[+*]?)(?:\(:\|\\\.\)\??|\\\.\??)?\)?\??\$//"
            ).match(unit.code, use.end, use.end + 400):
                yield Hit(use.start, "takes groups off the end of the text and looks the rest up")
            elif (
                search(r"\bsubstr\s*\(?\s*\Z", unit.code[max(0, use.start - 12) : use.start])
                and search(r"\beq\b", unit.statement_text(use.start))
                and "':'" not in unit.statement_text(use.start)
            ):
                yield Hit(use.start, "matches a network by its leading text")
        if unit.language == "sh" and use.strong:
            tested = re.compile(r"[\"'}\s]*(?:==|=)\s*[\"']?(\d{1,3}\.(?:\d{1,3}\.){0,2})[\"']?\*").match(
                unit.code, use.end, use.end + 400
            )
            if tested:
                yield Hit(use.start, f"matches a network by the leading text {tested[1]!r}")


@rule("U203", "substring-match", SECURITY, group="compare", rank=45, remedy="compare")
def substring_match(unit: Unit) -> Iterator[Hit]:
    """The address is searched anywhere in a line or file.

    What it does
        Finds ``grep``, ``index``, ``strstr`` and unanchored patterns that look for the address inside other text.

    Why is this bad?
        ``::1`` is contained in ``2001:db8::1``, and 1.2.3.4 in 11.2.3.4: one client gets the permission or the limit of
        another.

    Example:
        ```sh
        if grep -q "$TCPREMOTEIP" /etc/allowed; then
            echo yes
        fi
        ```

    Use instead
        ```sh
        eval "$(ucspi-envcheck shell || echo exit 111)"
        if grep -qxF -e "$UCSPI_REMOTE_KEY" /etc/allowed; then
            echo yes
        fi
        ```

    References:
        grep(1), options -x and -F.
    """
    for use in unit.uses_of("ip", strong=True):
        if unit.language == "sh":
            line = unit.line_before(use.start)
            command = search(r"(?:^|[|;&(`!]|\b(?:if|while|then|do)\b)\s*(?:[ef]?grep|rg|zgrep)\b([^|;&`]*)\Z", line)
            if command:
                options = command[1]
                quote = options.rstrip().rpartition(" ")[2]
                if (
                    not search(r"\s-\w*[xw]", options)
                    and "^" not in quote
                    and len(re.findall(r"\s[^-\s\"'$][^\s]*", options)) <= 1
                ):
                    yield Hit(use.start, "finds the address inside other addresses as well")
            continue
        call = unit.call(use.start)
        if (
            call is not None
            and call.last
            in ("strstr", "strcasestr", "stristr", "str_contains", "index", "strpos", "Contains", "isInfixOf", "memmem")
            and call.index == 1
            and call.name not in ("slices.Contains",)
        ) and quoted(unit.argument_text(call, 0)) is None:
            yield Hit(use.start, "finds the address inside other addresses as well")
        literal = unit.literal_at(use.start)
        if literal is not None and literal.kind == "regex" and unit.language in ("perl", "ruby", "php"):
            content = unit.content(literal)
            if not content.startswith("^") and not re.match(r"\\A|\\b", content):
                yield Hit(use.start, "finds the address inside other addresses as well")


_MASK: Final = re.compile(
    r"\b32\s*-\s*\(?\s*[$@]?\w+|0x[fF]{8}(?:[uU]?[lL]{0,2})\s*\)?\s*(?:<<|>>)|~\s*0[uU]?[lL]*\s*<<(?!\s*\(?\s*8)|<<\s*\(?\s*32\s*-|\bip2long\s*\([^()]*\)\s*&|2\s*\*\*\s*\(?\s*32\s*-|pow\(2,\s*\(?32\s*-|-1\s*<<\s*\(?\s*32|4294967295|0xffffffff\s*<<"
    r"|s_addr\s*&\s*(?:htonl\s*\(\s*)?0x[fF]{2,6}0{2,6}\b"
)
_LONGEST_MASK: Final = re.compile(r"[<>]=?\s*32\b")
_DOTTED_MASK: Final = re.compile(r"255\.(?:255|0)\.(?:255|0)\.\d{1,3}\Z")


@rule("U204", "v4-netmask-math", BREAKS, group="mask", rank=50, remedy="network")
def v4_netmask_math(unit: Unit) -> Iterator[Hit]:
    """Networks are matched with 32-bit masks.

    What it does
        Finds masks computed as ``32 - bits``, shifts of 0xffffffff, and a mask glued to the text of an address.

    Why is this bad?
        No IPv6 prefix can be written this way, so rules never match: deny rules are bypassed, allow rules are dead. In C
        a shift by 32 for ``/0`` is undefined as well.

    Example:
        ```c
        int in_net(unsigned int remote_ip, unsigned int net, int bits) {
            unsigned int mask = 0xffffffff << (32 - bits);
            return (remote_ip & mask) == (net & mask);
        }
        ```

    Use instead
        ```c
        int in_net(const unsigned char remote_ip[16], const unsigned char net[16], int bits) {
            int bytes = bits / 8, rest = bits % 8;
            if (memcmp(remote_ip, net, bytes)) return 0;
            return !rest || (remote_ip[bytes] >> (8 - rest)) == (net[bytes] >> (8 - rest));
        }
        ```

    References:
        RFC 4291 section 2.3, RFC 4632.
    """
    if not unit.in_scope:
        return
    for found in _MASK.finditer(unit.bare):
        line = unit.line_text(found.start())
        context = unit.scope_text(found.start())
        if not search(r"(?i)mask|cidr|\bip|addr|net|bits|prefix|range|\$\d", line):
            continue
        if not search(r"(?i)(?<![a-z])ip|addr|netmask|cidr|subnet", context) and not (
            search(r"(?i)mask", context) and search(r"(?i)inet|sockaddr|TCPREMOTE|ip_?addr|cidr|remote_ip", unit.code)
        ):
            continue
        if search(r"(?i)hash|crc|md5|rotl|rol\b|sha1|random|checksum|blowfish|tai|cdb", line):
            continue
        if search(r"AF_INET6|in6_|ipv6|IPv6|v6", context):
            continue
        yield Hit(found.start(), "a 32-bit mask: no IPv6 network can be matched")
        yield from _shifted(unit, found)
    for found in _LONGEST_MASK.finditer(unit.bare):
        named = search(
            r"(?i)(?:bits|mask|cidr|prefix|network_size|netsize)\w*\s*\Z",
            unit.bare[max(0, found.start() - 40) : found.start()],
        )
        if (
            named
            and search(r"(?i)(?<![a-z])ip|addr|netmask|cidr|subnet", unit.scope_text(found.start()))
            and not search(r"AF_INET6|in6_|ipv6|IPv6|v6", unit.scope_text(found.start()))
            and not search(r"\b128\b", unit.bare[max(0, found.start() - 3000) : found.end() + 3000])
        ):
            yield Hit(found.start() - len(named[0]), "no more than 32 bits: no IPv6 network can be matched")
    yield from _dotted_masks(unit)
    for use in unit.uses_of("ip", strong=True):
        glued = re.compile(r"[\"'}]?\s*(?:\.\s*)?[\"']?/(?:8|16|24|32)\b").match(unit.code, use.end, use.end + 400)
        if glued and unit.language in ("perl", "sh", "php", "ruby", "python"):
            yield Hit(use.start, "an IPv4 mask is glued to the address")


def _shifted(unit: Unit, found: re.Match[str]) -> Iterator[Hit]:
    """Where addresses are shifted by a number of bits that ``found`` has taken from 32."""
    start, _ = unit.statement(found.start())
    name = search(r"(\w+)\s*=\s*\(*\Z", unit.bare[start : found.start()])
    if name is None:
        return
    scope = unit.scope(found.start())
    end = min(unit.functions[scope].end if scope >= 0 else found.end() + 600, found.end() + 4000)
    for shift in re.compile(rf"(?:>>|<<)=?\s*[$]?{re.escape(name[1])}\b").finditer(unit.bare, found.end(), end):
        yield Hit(shift.start(), "a 32-bit mask: no IPv6 network can be matched")


def _dotted_masks(unit: Unit) -> Iterator[Hit]:
    """Where a mask in dotted notation is applied to an address."""
    names: set[str] = set()
    for literal in unit.literals:
        if 8 < literal.outer - literal.inner < 16 and _DOTTED_MASK.match(unit.content(literal)):
            before = unit.bare[max(0, literal.start - 60) : literal.start]
            named = search(r"(\w*(?:mask|net)\w*)\s*(?:=>|:?=|,)\s*\Z", before)
            if named and unit.speaks_ucspi:
                names.add(named[1])
                yield Hit(literal.start, "an IPv4 mask: no IPv6 network can be matched")
    if not names:
        return
    for use in unit.uses_of("ip", strong=True):
        call = unit.call(use.start)
        if call is None:
            continue
        others = [unit.argument_text(call, index) for index in range(len(unit.arguments(call))) if index != call.index]
        if any(one.lstrip("$&*") in names for one in others):
            yield Hit(use.start, "an IPv4 mask is applied to the address")


@rule("U205", "skipped-check", SECURITY, group="text", rank=25, remedy="check")
def skipped_check(unit: Unit) -> Iterator[Hit]:
    """A check is left out for every address that is not IPv4.

    What it does
        Finds guards that return, go on or accept when an IPv4 parser or pattern fails.

    Why is this bad?
        The early way out is always taken for IPv6 and for mapped text: block list, grey list, throttle or allow list
        never run, and nothing tells so.

    Example:
        ```c
        int listed(void) {
            const char *remoteip = getenv("TCPREMOTEIP");
            struct in_addr in;
            if (!remoteip || !inet_aton(remoteip, &in)) return 0;
            return query(&in);
        }
        ```

    Use instead
        ```c
        int listed(void) {
            const char *remoteip = getenv("TCPREMOTEIP");
            struct addrinfo hints = {.ai_flags = AI_NUMERICHOST}, *res;
            if (!remoteip || getaddrinfo(remoteip, 0, &hints, &res)) return -1;
            return query(res);
        }
        ```

    References:
        CWE-636 (not failing securely).
    """
    for parser, offset, use in ipv4_parsers(unit):
        if use is not None and not use.strong:
            continue
        if outcome(unit, offset) == "skip":
            yield Hit(offset, f"every address that `{parser}` cannot parse passes unchecked")
    for match in matches(unit):
        if (
            match.use.strong
            and pattern_sort(match.pattern) in ("quad", "class")
            and outcome(unit, match.offset) == "skip"
        ):
            yield Hit(match.offset, "every address that is not IPv4 passes unchecked")
    yield from _leaves_for_colons(unit)


_LEAVES: Final = re.compile(
    r"[\s)]*(?:\{\s*)?(?:return\b\s*\(?\s*(?:0|DECLINED|OK|FALSE|false|False|undef|NULL|nil)?\s*\)?\s*;|exit\s*\(?\s*0|next\b|continue\b)"
)


def _leaves_for_colons(unit: Unit) -> Iterator[Hit]:
    """Where a colon in the address is reason enough to leave the check out."""
    message = "every address with a colon passes unchecked"
    for use in unit.uses_of("ip", strong=True):
        start, end = use.end, use.end + 120
        if unit.family == "c":
            test = re.compile(r"(?:\s*\[[^\[\]]{0,30}\])?\s*(?:==\s*':'|,\s*':'\s*\)(?:\s*!=\s*(?:NULL|0))?)").match(
                unit.code, start, end
            )
        elif unit.language in ("perl", "ruby", "php"):
            test = re.compile(
                r"[\"'}]?\s*(?:=~\s*m?[/{]:[/}]|,\s*['\"]:['\"]\s*\)(?:\s*(?:!==|>=?|!=)\s*(?:false|-1|0))?)"
            ).match(unit.code, start, end)
        else:
            continue
        if test is None:
            continue
        if search(r"!\s*\(?\s*[\w:$]*\(?\s*\Z", unit.code[max(0, use.start - 24) : use.start]) and unit.family == "c":
            continue
        head = unit.code[unit.statement(use.start)[0] : use.start]
        guarded = (
            _LEAVES.match(unit.code, test.end(), test.end() + 80) is not None
            and search(r"\bif\b", head) is not None
            and search(r"\bunless\b", head) is None
        )
        behind = unit.language in ("perl", "ruby") and re.match(
            r"\s*(?:return\b\s*\(?\s*(?:0|DECLINED|OK|undef)?\s*\)?|next)\s+if\b", head
        )
        if guarded or behind:
            yield Hit(use.start, message)


_VALIDATOR: Final = re.compile(
    r"(?i)(?:validate|valid|parse|check|is|verify|is_valid|isvalid|scan|get)_?(?:remote|client|local|peer)?_?ip(?:v4|4|addr|address)?\Z|(?:validate|parse)_(?:remote|local)ip\Z"
)


@rule("U206", "hard-fail-non-ipv4", BREAKS, group="text", rank=27, remedy="parse")
def hard_fail_non_ipv4(unit: Unit) -> Iterator[Hit]:
    r"""The program gives up unless the address is a dotted quad.

    What it does
        Finds the failed result of an IPv4 parser, pattern or validator leading to die, exit, or a refusal.

    Why is this bad?
        The service cannot be reached over IPv6, and the message ("not run from tcpserver") misleads.

    Example:
        ```perl
        my $ip = $ENV{TCPREMOTEIP};
        die "must be run from tcpserver\n" unless $ip =~ /^\d+\.\d+\.\d+\.\d+$/;
        ```

    Use instead
        ```perl
        use Socket qw(inet_pton AF_INET AF_INET6);
        my $ip = $ENV{TCPREMOTEIP} // die "must be run from tcpserver\n";
        (my $text = $ip) =~ s/%.*//;
        die "no address: $ip\n" unless defined(inet_pton(AF_INET, $text) // inet_pton(AF_INET6, $text));
        ```

    References:
        ../dialects.md: what each super-server writes.
    """
    for parser, offset, use in ipv4_parsers(unit):
        if use is not None and not use.strong:
            continue
        if outcome(unit, offset) == "hard":
            yield Hit(offset, f"gives up when `{parser}` cannot parse the address")
    for match in matches(unit):
        if (
            match.use.strong
            and pattern_sort(match.pattern) in ("quad", "class")
            and outcome(unit, match.offset) == "hard"
        ):
            yield Hit(match.offset, "gives up unless the address is IPv4")
    for use in unit.uses_of("ip", strong=True):
        call = unit.call(use.start)
        if call is None or call.last == "ip_scan":
            continue
        defined = unit.function_named(call.last)
        body = unit.code[defined.start : defined.end] if defined else ""
        if not _VALIDATOR.match(call.last) and not search(
            r"isdigit\s*\(.*'\.'|'\.'.*isdigit\s*\(|\\d\+?\\\..*\\d", body, re.DOTALL
        ):
            continue
        if defined and not search(r"'\.'|ipv4|ip4|ip_scan|inet_aton|inet_addr|isdigit|\\d|scanf", body):
            continue
        if defined and search(r"AF_INET6|ipv6|ip6", body):
            continue
        if outcome(unit, use.start) == "hard":
            yield Hit(use.start, f"gives up when `{call.last}` cannot parse the address")


@rule("U207", "remotehost-trust", BREAKS, group="host", rank=50, remedy="host")
def remotehost_trust(unit: Unit) -> Iterator[Hit]:
    """A decision rests on the peer's host name.

    What it does
        Finds TCPREMOTEHOST compared with names, and its absence leading to a refusal.

    Why is this bad?
        The name is chosen by whoever runs the peer's reverse zone. It is absent also with -H, under super-servers that
        look nothing up, after time-outs, and for scoped addresses.

    Example:
        ```sh
        if [ -z "$TCPREMOTEHOST" ]; then
            echo "554 no reverse DNS"
            exit 1
        fi
        ```

    Use instead
        ```sh
        eval "$(ucspi-envcheck shell || echo exit 111)"
        echo "peer $UCSPI_REMOTE_IP, name ${UCSPI_REMOTE_HOST:-unknown}" >&2
        ```

    References:
        RFC 1912 section 2.1, tcpserver's option -p.
    """
    for use in unit.uses_of("host", strong=True):
        after = unit.code[use.end : use.end + 200]
        before = unit.code[max(0, use.start - 60) : use.start]
        rejects = search(
            r"(?i)\b5[57]\d\b|reject|DENY|denied|deny|die_?(?:no)?\w*(?:dns|host|ptr|relay)|block_|no reverse|access|\bE4\d\d|\bR5\d\d|exit\s*\(?[1-9]",
            after,
        )
        absent = search(
            r"!\s*(?:exists\s+|defined\s*\(?\s*)?\(?\s*\Z|\bunless\s*\(?\s*(?:defined\s*|exists\s*)?\(?\s*\Z|-z\s+\"?\Z|==\s*NULL|not\s+(?:defined\s*)?\(?\s*\Z",
            before,
        ) or re.match(r"[\")}\s]*(?:==|=|eq|===)\s*(?:NULL|nil|null|None|''|\"\"|0\b)", after)
        head = unit.line_before(use.start)
        if absent and re.match(rf"\s*\)\s*\{{?\s*[$]?{re.escape(use.name.lstrip('.'))}\s*=(?!=)", after):
            # The absent name is given another value: what stands behind that is no longer about its absence.
            absent = None
        call = unit.call(use.start)
        if call is not None and _COMPARERS.search(call.last) and rejects:
            others = [quoted(unit.argument_text(call, index)) for index in range(2) if index != call.index]
            if any(one and _HARMLESS.fullmatch(one) for one in others):
                yield Hit(use.start, "refuses a peer because it has no host name")
                continue
        if absent and (rejects or re.search(r"\b(?:die|exit\s*\(?\s*[1-9])[^;]{0,60}\bunless\b", head)):
            yield Hit(use.start, "refuses a peer because it has no host name")
            continue
        if re.match(r"[\s)\"}]*=~\s*m?[/{!]", after) and search(
            r"(?i)RELAYCLIENT|relay|allow|return 1|accept|DENY|OK\b|next|exit", after
        ):
            yield Hit(use.start, "decides by the host name, which the peer chooses")
            continue
        if call is not None and search(
            r"(?:HasSuffix|end_with\?|ends_with|str_ends_with|fnmatch|strcasecmp|strcmp|case_diffs|str_diff|str_end|in_array|include\?)\Z",
            call.last,
        ):
            others = [
                quoted(unit.argument_text(call, index))
                for index in range(min(3, len(unit.arguments(call))))
                if index != call.index
            ]
            if any(one and "." in one for one in others) or call.last in ("in_array", "include?", "fnmatch"):
                yield Hit(use.start, "decides by the host name, which the peer chooses")
                continue
        if re.match(r"[\")}\s]*(?:==|=|eq|===)\s*[\"'][\w-]+(?:\.[\w-]+)+[\"']", after) and not re.match(
            r"[\s]*=\s*[\"']", after if unit.language != "sh" else ""
        ):
            yield Hit(use.start, "decides by the host name, which the peer chooses")


_SENTINEL: Final = re.compile(r"(?:127\.0\.0\.1|0\.0\.0\.0|localhost|255\.255\.255\.255|0)\Z")


@rule("U208", "sentinel-fallback", SECURITY, group="sentinel", rank=30, remedy="unknown")
def sentinel_fallback(unit: Unit) -> Iterator[Hit]:
    r"""An unknown peer is given an invented address.

    What it does
        Finds 127.0.0.1, 0.0.0.0 and localhost standing in for an address that is missing or was not understood.

    Why is this bad?
        The invented value goes through rules and logs like a real client. As 127.0.0.1 it is trusted by everything.

    Example:
        ```perl
        my $ip = $ENV{TCPREMOTEIP} || '127.0.0.1';
        ```

    Use instead
        ```perl
        my $ip = $ENV{TCPREMOTEIP} // die "no peer address\n";
        ```

    References:
        CWE-636 (not failing securely).
    """
    for literal in unit.literals:
        if (
            literal.kind not in ("string", "raw")
            or literal.outer - literal.inner > 48
            or literal.outer <= literal.inner
        ):
            continue
        content = unit.content(literal)
        if (
            re.fullmatch(r"(?:TCP6?|SSL)REMOTEIP=(?:127\.0\.0\.1|0\.0\.0\.0|::1)", content)
            and unit.family == "c"
            and search(r"(?i)putenv|env", unit.line_text(literal.start))
        ):
            if search(r"getenv", unit.scope_text(literal.start)) and search(
                r"!\s*\w|==\s*(?:NULL|0)|\belse\b", unit.code[max(0, literal.start - 160) : literal.start]
            ):
                yield Hit(literal.start, "an unknown peer becomes an invented address")
            continue
        if content not in SENTINELS:
            continue
        if _invented(unit, literal.start, literal.end):
            yield Hit(literal.start, f"an unknown peer becomes {content!r}")
    if unit.language == "sh":
        for use in unit.uses_of("ip"):
            text = unit.code[use.start : use.end]
            default = search(r":?[-=][\"']?([\w.:]+)[\"']?\}\Z", text)
            if default and (default[1] in SENTINELS):
                yield Hit(use.start, f"an unknown peer becomes {default[1]!r}")
        for found in re.finditer(
            r"(?m)(?:^|;|&&|\|\||then|\{)[ \t]*(?:export[ \t]+)?(\w+)=[\"']?(127\.0\.0\.1|0\.0\.0\.0|localhost)[\"']?",
            unit.code,
        ):
            line = unit.code[unit.code.rfind("\n", 0, found.start(1)) + 1 : found.end()]
            guarded = search(
                r"\[\s+-z\s+[\"']?\$\{?" + found[1] + r"\b", unit.code[max(0, found.start() - 160) : found.end()]
            )
            if guarded and (any(use.name == found[1] for use in unit.uses_of("ip")) or "REMOTE" in line):
                yield Hit(found.start(1), f"an unknown peer becomes {found[2]!r}")


_NOTHING: Final = Literal(0, 0, 0, 0, "string")


def _fetched(unit: Unit, target: str, offset: int) -> bool:
    """Say whether the same name gets its value from the environment near ``offset``, in the function or the file's top level."""
    scope = unit.scope(offset)
    for use in unit.uses_between(offset - 6000, offset + 2000):
        if use.kind == "ip" and (use.direct or use.name in unit.returns) and unit.scope(use.start) == scope:
            begin, _ = unit.statement(use.start)
            if search(rf"\b{re.escape(target)}\b", unit.code[begin : use.start]):
                return True
    return False


def _invented(unit: Unit, start: int, end: int) -> bool:
    begin, finish = unit.statement(start)
    before = unit.code[max(begin, start - 200) : start]
    after = unit.code[end:finish]
    uses = [use for use in unit.uses_between(begin - 240, finish) if use.kind == "ip"]
    if search(
        r"(?:\|\||//|\?\?|\bor\b|\|\|=|//=|unwrap_or(?:_else)?\s*\(\s*(?:\|_\|\s*)?|unwrap_or_default|fromMaybe|maybe|\?:|getenv\w*\([^()]*,|,|:)\s*(?:String::from\(\s*|\()?\s*\Z",
        before,
    ):
        inside = [use for use in uses if use.start >= begin and (use.strong or use.direct)]
        operator = search(r"(?:\|\||//|\?\?|\bor\b|unwrap_or\w*|fromMaybe|fetch|\?|:)", before[-60:])
        if inside and operator and not search(r"(?:==|!=|eq|ne)\s*\Z", before):
            call = unit.call(start)
            if call is not None and (
                call.last in ("printf", "fprintf", "in_array", "connect", "inet_aton") or _COMPARERS.search(call.last)
            ):
                return False
            return any(use.direct or use.end <= start for use in inside)
    assigned = search(r"([\w$@.>{}\-\[\]]+)\s*(?::=|=)\s*(?:\(?\w*\s*\*?\)?\s*)?\Z", before)
    if assigned and not search(r"[!=<>]=\s*\Z", before):
        name = re.findall(r"\w+", assigned[1])
        target = name[-1] if name else ""
        guard = unit.code[max(0, begin - 260) : start]
        tested = search(
            r"!\s*\(?\s*[$*]?"
            + re.escape(target)
            + r"\b|\b"
            + re.escape(target)
            + r"\s*==\s*(?:NULL|0|nil|\"\"|'')|\bunless\b[^;]*\b"
            + re.escape(target)
            + r"\b|\belse\b\s*\{?\s*[$]?"
            + re.escape(target)
            + r"\b|== -1|!ok\b|err != nil",
            guard + before,
        ) or search(r"\bunless\b|\bif\s+(?:not|!|!\s*defined|not defined|\$?\w+\s*(?:eq|==)\s*(?:''|\"\"|nil))", after)
        sure = target in unit.strong_names
        if (
            target
            and sure
            and unit.content(unit.literal_at(start) or _NOTHING) != "0"
            and not search(r"(?i)listen|bind|default", target)
        ):
            declared = re.match(
                r"\s*(?:(?:static|const|char|string|std::string|my|our|let|var|local)\b[\s*]*)+[\w$@]+\s*:?=", before
            )
            fetched = _fetched(unit, target, start)
            if fetched and (tested or not declared):
                return True
    call = unit.call(start)
    if (
        call is not None
        and search(r"(?:str(?:n|l)?cpy|stralloc_copys|str_copys|sprintf|snprintf)\Z", call.last)
        and unit.speaks_ucspi
    ):
        target = unit.argument_text(call, 0)
        if any(name in target for name in unit.strong_names) and search(
            r"else|!\s*\w+|== *NULL", unit.code[max(0, begin - 200) : start]
        ):
            return True
    return False
