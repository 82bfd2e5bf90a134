"""U4xx: sockets, resolvers and protocols that are IPv4 by construction."""

# ruff: noqa: E501 - a pattern or a remedy that is cut in pieces cannot be read

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from ucspi_env.envcheck.lint._match import file_knows_six, knows_six, search
from ucspi_env.envcheck.lint._model import BREAKS, SECURITY, Hit, rule
from ucspi_env.envcheck.lint._rules_parse import block_list, dotted, reverse_loop, shell_cuts

if TYPE_CHECKING:
    from ucspi_env.envcheck.lint._unit import Unit

_PEER: Final = re.compile(r"\b(getpeername|getsockname|accept4?|recvfrom)\s*\(")
_SOCKET: Final = re.compile(
    r"\b(?:socket|socketpair)\s*\(\s*(?:AF|PF)_INET\s*,|\b(socket_(?:bind4|accept4|recv4|listen4|bind4_reuse|getaddr4|peer_addr4|remote4))\s*\("
)
_PERL: Final = re.compile(
    r"\b(unpack_sockaddr_in|(?<!un)sockaddr_in|inet_ntoa|IO::Socket::INET\s*->\s*new|IO::Socket::INET\b(?!6)(?=[^;\n]*;\s*$))\s*\(?",
    re.MULTILINE,
)
_OTHERS: Final = {
    "go": re.compile(r"\"(?:tcp4|udp4)\""),
    "ruby": re.compile(r"\bSocket::AF_INET\b(?!6)|\bunpack_sockaddr_in\b|\bAF_INET\b(?!6)"),
    "php": re.compile(r"\bsocket_create\s*\(\s*AF_INET\s*,"),
    "rust": re.compile(r"\bSocketAddrV4\b|\bAF_INET\b"),
    "haskell": re.compile(r"\bSockAddrInet\b(?!6)"),
}  # fmt: skip


@rule("U401", "af-inet-socket", SECURITY, group="socket", rank=50, remedy="socket")
def af_inet_socket(unit: Unit) -> Iterator[Hit]:
    """A socket's address is read, or a socket is made, as IPv4 only.

    What it does
        Finds ``getpeername``, ``getsockname`` and ``accept`` into ``struct sockaddr_in``, ``socket(AF_INET, …)``,
        ``inet_ntoa`` of what they gave, Perl's ``sockaddr_in``, and four-byte socket wrappers, in files without any IPv6.

    Why is this bad?
        On an AF_INET6 descriptor the same bytes are a port and flow information: the peer becomes 0.0.0.0 and everything
        behind believes it. Perl dies. Own listeners never see IPv6.

    Example:
        ```c
        void peer(void) {
            struct sockaddr_in sa;
            socklen_t len = sizeof sa;
            if (getpeername(0, (struct sockaddr *) &sa, &len) == -1) exit(111);
            setenv("TCPREMOTEIP", inet_ntoa(sa.sin_addr), 1);
        }
        ```

    Use instead
        ```c
        void peer(char *ip, size_t size) {
            struct sockaddr_storage sa;
            socklen_t len = sizeof sa;
            if (getpeername(0, (struct sockaddr *) &sa, &len) == -1) exit(111);
            if (getnameinfo((struct sockaddr *) &sa, len, ip, size, 0, 0, NI_NUMERICHOST)) exit(111);
        }
        ```

    References:
        RFC 3493 section 3.4 (sockaddr_storage).
    """
    if not unit.in_scope:
        return
    if unit.family == "c":
        yield from _c_sockets(unit)
        return
    if unit.language == "perl":
        if search(r"Socket6|IO::Socket::INET6|IO::Socket::IP|getnameinfo|sockaddr_in6", unit.bare) and not search(
            r"inet_ntoa", unit.bare
        ):
            return
        for found in _PERL.finditer(unit.bare):
            line = unit.line_text(found.start())
            if re.match(r"\s*(?:use|require|import)\b", line) or search(r"127\.0\.0\.1|localhost", line):
                continue
            if _SIX_PERL.search(unit.scope_text(found.start())):
                continue
            if found[1].startswith("IO") and not _listens(unit, found.start()):
                continue
            if found[1] == "sockaddr_in" and not search(
                r"\)\s*=\s*\Z", unit.bare[max(0, found.start() - 40) : found.start()]
            ):
                continue
            yield Hit(found.start(), f"`{' '.join(found[1].split())}` knows IPv4 sockets only")
        return
    pattern = _OTHERS.get(unit.language)
    if pattern is None or file_knows_six(unit):
        return
    for found in pattern.finditer(unit.code):
        quoted = unit.literal_at(found.start()) is not None and unit.language != "go"
        if not quoted and "127.0.0.1" not in unit.line_text(found.start()):
            yield Hit(found.start(), "IPv4 sockets only")


def _listens(unit: Unit, offset: int) -> bool:
    """Say whether the socket that is made here listens, or goes back to the peer."""
    start, end = unit.statement(offset)
    text = unit.code[start:end]
    return search(r"\bListen\b|LocalPort|LocalAddr", text) is not None or any(
        use.kind == "ip" and use.strong for use in unit.uses_between(start, end)
    )


_SIX_PERL: Final = re.compile(r"sockaddr_in6|AF_INET6|getnameinfo|inet_ntop|has_ipv6|PF_INET6")


def _c_sockets(unit: Unit) -> Iterator[Hit]:
    bare = unit.bare
    if not search(
        r"sockaddr_in\b|AF_INET\b|PF_INET\b|inet_ntoa|socket_\w+4|socket_(?:udp|tcp)\s*\(|gethostbyname", bare
    ) or file_knows_six(unit):
        return
    names = {found[1] for found in re.finditer(r"\bsockaddr_in\s+\*?\s*(\w+)", bare)} | {
        found[1] for found in re.finditer(r"\bsockaddr_in\s+\w+\s*,\s*\*?(\w+)", bare)
    }
    lines: set[int] = set()
    wrapped: set[int] = set()
    scopes: set[int] = set()
    for found in _PEER.finditer(bare):
        close = unit.closing(found.end() - 1)
        text = bare[found.end() : min(close, found.end() + 200)]
        if search(r"\b(?:un|sun)\b|sockaddr_un|_unix", text):
            continue
        if any(search(rf"\b{re.escape(name)}\b", text) for name in names):
            lines.add(unit.position(found.start())[0])
            scopes.add(unit.scope(found.start()))
            yield Hit(found.start(), f"`{found[1]}` into sockaddr_in: an IPv6 peer becomes 0.0.0.0")
    for found in _SOCKET.finditer(bare):
        if search(r"AF_UNIX|AF_LOCAL", unit.line_text(found.start())):
            continue
        scope = unit.scope_text(found.start())
        if search(r"127\.0\.0\.1|INADDR_LOOPBACK|SIOCGIF", scope):
            continue
        if search(r"\bconnect\w*\s*\(|socket_connect|timeoutconn", scope) and not search(
            r"\blisten\s*\(|\baccept", scope
        ):
            continue
        if found[1] and "bind4" in found[1] and not search(r"socket_(?:udp|tcp|listen|accept|recv)", scope):
            continue
        if unit.scope(found.start()) < 0 or (found[1] is None and not search(r"\blisten\s*\(|\bbind\s*\(", scope)):
            continue
        if found.start() < unit.functions[unit.scope(found.start())].start:
            continue
        line = unit.position(found.start())[0]
        if not lines & {line - 1, line, line + 1} and (found[1] is None or unit.scope(found.start()) not in wrapped):
            lines.add(line)
            wrapped.add(unit.scope(found.start()))
            yield Hit(found.start(), f"`{found[1] or 'socket(AF_INET)'}` knows IPv4 only")
    for found in re.finditer(r"\binet_ntoa\s*\(", bare):
        line = unit.position(found.start())[0]
        if (
            unit.scope(found.start()) not in scopes
            and (unit.speaks_ucspi or search(r"\bgetpeername|\baccept4?\s*\(", bare))
            and _PEERISH_NTOA.search(unit.statement_text(found.start()))
            and not search(r"\bchar\s*\*\s*inet_ntoa", unit.line_text(found.start()))
        ):
            scopes.add(unit.scope(found.start()))
            lines.add(line)
            yield Hit(found.start(), "`inet_ntoa` knows IPv4 only")


_PEERISH_NTOA: Final = re.compile(r"(?i)remote|peer|client|caddr|from|sin_addr|ip")


@rule("U402", "family-hardcoded", BREAKS, group="socket", rank=60, remedy="family")
def family_hardcoded(unit: Unit) -> Iterator[Hit]:
    r"""A family constant stands beside a value of any family.

    What it does
        Finds ``inet_ntop(AF_INET, …)`` alone, and "tcp4", "INET" or "inet" given to a protocol next to the peer's address.

    Why is this bad?
        The bytes of another family are read, or the other side refuses the IPv6 text under an IPv4 label.

    Example:
        ```perl
        my $ip = $ENV{TCPREMOTEIP};
        $milter->send_connect($name, 'tcp4', 0, $ip);
        ```

    Use instead
        ```perl
        use Net::IP qw(ip_is_ipv6);
        my $ip = $ENV{TCPREMOTEIP} // die "no peer\n";
        $milter->send_connect($name, ip_is_ipv6($ip) ? 'tcp6' : 'tcp4', 0, $ip);
        ```

    References:
        The milter protocol: SMFIA_INET '4' and SMFIA_INET6 '6'.
    """
    if (
        unit.family == "c"
        and unit.in_scope
        and "inet_ntop" in unit.bare
        and not search(r"AF_INET6|PF_INET6", unit.bare)
    ):
        for found in re.finditer(r"\binet_ntop\s*\(\s*(?:AF|PF)_INET\s*,", unit.bare):
            yield Hit(found.start(), "AF_INET whatever the family is")
    for use in unit.uses_of("ip", strong=True):
        start, end = unit.statement(use.start)
        for literal in unit.literals_in(start, end):
            content = unit.content(literal)
            if (
                content in ("tcp4", "INET", "udp4", "inet4", "TCP4", "AF_INET", "IPv4")
                and not search(r"(?i)tcp6|inet6|ipv6|udp6", unit.code[start:end])
                and unit.language not in ("sh",)
            ):
                if not search(
                    r"(?:==|!=|eq|ne|cmp\s*\()\s*\Z", unit.code[max(start, literal.start - 12) : literal.start]
                ):
                    yield Hit(literal.start, f"{content!r} whatever the family is")
                break


_LOOKUP: Final = re.compile(r"\b(gethostbyname2?(?:_r)?|gethostbyname_ex)\b\s*\(?\s*")


@rule("U403", "gethostbyname-a-only", BREAKS, group="resolve", rank=50, remedy="resolve")
def gethostbyname_a_only(unit: Unit) -> Iterator[Hit]:
    """Names are looked up for IPv4 only.

    What it does
        Finds ``gethostbyname`` for names that are not constant, and filters that keep A records only.

    Why is this bad?
        AAAA records are never seen: IPv6-only senders "do not resolve" and are refused, and forward confirmation of an
        IPv6 peer fails.

    Example:
        ```perl
        my $host = $ENV{TCPREMOTEHOST};
        my @found = gethostbyname($host);
        ```

    Use instead
        ```perl
        use Socket qw(getaddrinfo SOCK_STREAM);
        my $host = $ENV{TCPREMOTEHOST} // 'unknown';
        my ($error, @found) = getaddrinfo($host, '', {socktype => SOCK_STREAM});
        ```

    References:
        RFC 3493 section 6.1.
    """
    if not unit.speaks_ucspi and not any(use.direct for use in unit.uses):
        return
    if "gethostbyname" in unit.bare and unit.family in ("c", "perl", "php", "ruby"):
        for found in _LOOKUP.finditer(unit.bare):
            line = unit.line_text(found.start())
            if (
                search(r"\bextern\b|^\s*#|\bhostent\s*\*+\s*gethostbyname\w*\s*\(|\buse\b|\bimport\b|\bsub\b", line)
                and "=" not in line
            ):
                continue
            argument = unit.code[found.end() : found.end() + 40]
            if re.match(r"[\"']\w|localhost|me\b|hostname\b|myhost|gethostname", argument) or search(
                r"AF_INET6|getaddrinfo|IPPROTO_IPV6", unit.scope_text(found.start())
            ):
                continue
            yield Hit(found.start(), f"`{found[1]}` finds IPv4 addresses only")
    if unit.language in ("perl", "ruby"):
        for found in re.finditer(
            r"\bnext\s+(?:unless|if)\s+\(?\s*\$?\w+(?:->|\.)type\s*(eq|ne|==|!=)\s*['\"]A['\"]", unit.code
        ):
            if search(r"AAAA", unit.scope_text(found.start())):
                continue
            if ("unless" in found[0] and found[1] in ("eq", "==")) or ("if" in found[0] and found[1] in ("ne", "!=")):
                yield Hit(found.start(), "only A records are kept: IPv6 answers are dropped")


_FOUR_BACK: Final = re.compile(
    r"\[\s*3\s*\](?>[^;{}]{0,60}?\[\s*2\s*\])(?>[^;{}]{0,60}?\[\s*1\s*\])[^;{}]{0,60}?\[\s*0\s*\]"
)


@rule("U404", "dnsbl-v4-reverse", SECURITY, group="text", rank=15, remedy="reverse")
def dnsbl_v4_reverse(unit: Unit) -> Iterator[Hit]:
    r"""A block-list name is made by reversing at the dots.

    What it does
        Finds the address cut at "." and put together backwards, and four bytes written in reverse before a zone.

    Why is this bad?
        IPv6 needs 32 reversed hex digits. Without dots the question is the text itself, and the answer is always "not
        listed": the block list is bypassed, and nothing shows it.

    Example:
        ```perl
        my $ip = $ENV{TCPREMOTEIP};
        my $name = join('.', reverse split(/\./, $ip)) . '.zen.example.org';
        ```

    Use instead
        ```perl
        use Socket qw(inet_pton AF_INET AF_INET6);
        (my $text = $ENV{TCPREMOTEIP} // die "no peer\n") =~ s/%.*//;
        my $four = inet_pton(AF_INET, $text);
        my $labels = defined $four ? join('.', reverse unpack('C4', $four)) : join('.', reverse split //, unpack('H32', inet_pton(AF_INET6, $text)));
        ```

    References:
        RFC 5782 sections 2.1 and 2.4.
    """
    for use in unit.uses_of("ip"):
        if unit.language == "sh":
            if shell_cuts(unit, use) and block_list(unit, use):
                yield Hit(use.start, "reverses the address at its dots; for IPv6 the block list is never asked")
            continue
        cut = dotted(unit, use)
        if cut and block_list(unit, use):
            yield Hit(use.start, "reverses the address at its dots; for IPv6 the block list is never asked")
        if (
            unit.family == "c"
            and use.strong
            and re.compile(r"(?:\s*\[[^\[\]]{0,30}\]|\b)\s*(?:==|!=)\s*'\.'").match(unit.code, use.end, use.end + 400)
            and reverse_loop(unit, use)
        ):
            yield Hit(use.start, "reverses the address at its dots; for IPv6 the block list is never asked")
    if unit.in_scope and unit.family in ("c", "php", "perl", "go", "rust", "ruby", "awk"):
        seen: set[int] = set()
        for found in _FOUR_BACK.finditer(unit.bare):
            scope = unit.scope_text(found.start())
            if (
                search(r"(?i)rbl|dnsbl|blacklist|blocklist|zone|\bzen\b|spamhaus", scope)
                and "in-addr" not in scope
                and not knows_six(unit, found.start())
            ):
                seen.add(unit.position(found.start())[0])
                yield Hit(found.start(), "four bytes in reverse; IPv6 needs 32 nibbles")
        if unit.family == "c":
            yield from _bytes_downwards(unit)
            for found in re.finditer(r"\[\s*3\s*\]", unit.bare):
                text = unit.bare[found.start() : found.start() + 700]
                if (
                    re.match(r"\[\s*3\s*\](?>[^{}]*?\[\s*2\s*\])(?>[^{}]*?\[\s*1\s*\])[^{}]*?\[\s*0\s*\]", text)
                    and unit.position(found.start())[0] not in seen
                ):
                    scope = unit.scope_text(found.start())
                    called = unit.call(found.start())
                    if (
                        called is not None
                        and search(r"cat|fmt|put|printf|append", called.last)
                        and search(r"(?i)rbl|dnsbl|blacklist|blocklist|zone|\bzen\b|spamhaus", scope)
                        and "in-addr" not in scope
                        and not knows_six(unit, found.start())
                    ):
                        seen.add(unit.position(found.start())[0])
                        yield Hit(found.start(), "four bytes in reverse; IPv6 needs 32 nibbles")


_DOWNWARDS: Final = re.compile(
    r"\bfor\s*\(\s*(?:int\s+)?(\w+)\s*=\s*3\s*;\s*\1\s*>=\s*0\s*;\s*(?:--\s*\1|\1\s*--)\s*\)"
)


def _bytes_downwards(unit: Unit) -> Iterator[Hit]:
    """Loops over four bytes from the last to the first that write each with a dot behind."""
    for found in _DOWNWARDS.finditer(unit.bare):
        body = unit.bare[found.end() : found.end() + 400]
        byte = re.search(
            rf"(?i)\b\w*(?:ip|addr|octet|quad|byte)\w*(?:(?:\.|->)\w+)?\s*\[\s*{re.escape(found[1])}\s*\]", body
        )
        dotted_text = re.search(r"\"\.\"|'\.'|%[du]\.", unit.code[found.end() : found.end() + 400])
        if byte and dotted_text and not knows_six(unit, found.start()):
            yield Hit(found.end() + byte.start(), "four bytes in reverse; IPv6 needs 32 nibbles")


_PASSIVE: Final = re.compile(
    r"227 .{0,40}(?:%d|%u|%i|,)|(?:%[du],\s?){5}%[du]|(?:\\d\+,\s?){3,5}|\(\\d\+,\\d\+,\\d\+,\\d\+|(?:%\w*d,\s?){4}"
)


@rule("U405", "v4-protocol-field", BREAKS, group="protocol", rank=50, remedy="protocol")
def v4_protocol_field(unit: Unit) -> Iterator[Hit]:
    r"""A protocol element has room for four bytes only.

    What it does
        Finds FTP's PORT and PASV texts and SOCKS4 requests, where EPRT and EPSV do not stand beside.

    Why is this bad?
        There is no place for sixteen bytes: transfers fail over IPv6.

    Example:
        ```c
        void passive(const unsigned char ip[4], int port) {
            printf("227 Entering Passive Mode (%d,%d,%d,%d,%d,%d)\r\n", ip[0], ip[1], ip[2], ip[3], port / 256, port % 256);
        }
        ```

    Use instead
        ```c
        void passive(int port) {
            printf("229 Entering Extended Passive Mode (|||%d|)\r\n", port);
        }
        ```

    References:
        RFC 2428 (EPRT, EPSV), RFC 1928 (SOCKS5).
    """
    if not unit.in_scope or search(r"(?i)\bEPSV\b|\bEPRT\b", unit.code):
        return
    for literal in unit.literals:
        if 8 <= literal.outer - literal.inner < 120 and literal.kind in ("string", "raw"):
            content = unit.content(literal)
            if search(r"=~|expect|assert|cmp\s*\(", unit.line_text(literal.start)):
                continue
            if (content.startswith("227 ") or "Entering Passive" in content) or (
                content.count(",") >= 4
                and search(r"\b(?:PASV|PORT)\b", unit.code)
                and _PASSIVE.search(content)
                and search(r"%\w*[dui],\s?%\w*[dui],\s?%\w*[dui],\s?%", content)
            ):
                yield Hit(literal.start, "the field has four bytes for the address")
