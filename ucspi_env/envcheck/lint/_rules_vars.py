"""U5xx: which variables are read and written, and what PROTO is taken for."""

# ruff: noqa: E501 - a pattern or a remedy that is cut in pieces cannot be read

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from ucspi_env.envcheck.lint._match import search
from ucspi_env.envcheck.lint._model import BREAKS, SECURITY, Hit, rule
from ucspi_env.envcheck.lint._names import kind_of_tail
from ucspi_env.envcheck.lint._unit import SETTER

if TYPE_CHECKING:
    from ucspi_env.envcheck.lint._unit import Unit, Use

_FAMILY: Final = re.compile(r"(TCP6|SSL6|TCP|SSL|UDP6?)(?:REMOTE|LOCAL)")


@rule("U501", "wrong-variable-family", SECURITY, group="names", rank=40, remedy="names")
def wrong_variable_family(unit: Unit) -> Iterator[Hit]:
    """Only one family of names is read, the wrong one first, or a wrapper rewrites one family and leaves the others.

    What it does
        Finds TCP6REMOTEIP read alone or before TCPREMOTEIP, later families overriding earlier ones, and TCPREMOTEIP
        rewritten without touching TCP6*, HOST and INFO.

    Why is this bad?
        TCP6* names exist under some super-servers only, and each manages only its own names: those of an outer server or
        a proxy survive, and the stale address is believed.

    Example:
        ```c
        const char *peer(void) {
            const char *ip = getenv("TCP6REMOTEIP");
            if (!ip) exit(111);
            return ip;
        }
        ```

    Use instead
        ```c
        const char *peer(void) {
            const char *ip = getenv("TCPREMOTEIP");
            if (!ip) ip = getenv("TCP6REMOTEIP");
            if (!ip) exit(111);
            return ip;
        }
        ```

    References:
        ucspi-tcp6 sets TCP6* only with -R; dialects.md.
    """
    reads: dict[str, list[Use]] = {}
    for use in unit.uses_of("ip"):
        if use.direct:
            found = _FAMILY.match(use.name)
            if found:
                reads.setdefault(found[1], []).append(use)
    six = [use for use in reads.get("TCP6", []) if "REMOTEIP" in use.name]
    four = [use for use in reads.get("TCP", []) if "REMOTEIP" in use.name]
    seen: set[int] = set()
    for use in six:
        scope = unit.scope(use.start)
        mates = [other for other in four if unit.scope(other.start) == scope]
        _begin, _ = unit.statement(use.start)
        overrides = [other for other in mates if other.start < use.start and other.start >= use.start - 700]
        if overrides and search(
            r"if\s*\(?\s*!\s*(\w+)\s*\)?\s*\{?\s*\1\s*=\s*\Z|(?:\|\||//|\bor|:-[\"']?)\s*\Z|-z\s[^;]*;\s*then\s+\w+=[\"']?\Z",
            unit.code[max(0, use.start - 160) : use.start],
        ):
            continue
        if overrides and not _assigned(unit, use):
            continue
        line = unit.position(use.start)[0]
        if line in seen or any(line - 3 <= other <= line for other in seen):
            continue
        seen.add(line)
        if not mates:
            yield Hit(use.start, "TCP6REMOTEIP alone: many super-servers never set it")
        elif overrides:
            yield Hit(use.start, "TCP6REMOTEIP overrides TCPREMOTEIP: it may be left over from an outer server")
        else:
            yield Hit(use.start, "TCP6REMOTEIP first: it may be left over from an outer server")
    yield from _written(unit)


def _assigned(unit: Unit, use: Use) -> bool:
    begin, _ = unit.statement(use.start)
    return search(r"[\w}\]]\s*:?=\s*[\"'$({]*\Z", unit.code[begin : use.start]) is not None


def _written(unit: Unit) -> Iterator[Hit]:
    if (
        search(r"\b(?:\w*accept4?|listen|connect|socket_accept\w*|socket_connect\w*|timeoutconn\w*)\s*\(", unit.bare)
        and unit.family == "c"
    ):
        return
    if unit.language in ("sh", "sql") or (
        search(r"TCP6REMOTE|unset_?env|env_unset|Unsetenv|clearenv", unit.code) and search(r"TCP6REMOTE", unit.code)
    ):
        return
    for literal in unit.literals:
        content = unit.content(literal) if literal.outer - literal.inner < 24 else ""
        if content not in ("TCPREMOTEIP", "TCPREMOTEIP="):
            continue
        call = unit.call(literal.start)
        if content.endswith("=") and re.match(r"\s*(?:\+|\.)", unit.code[literal.end : literal.end + 6]):
            yield Hit(literal.start, "TCPREMOTEIP is rewritten, TCP6REMOTEIP and the rest keep the old peer")
            return
        if (
            call is not None
            and SETTER.search(call.name)
            and call.index == 0
            and search(r"\bexec|spawn|pathexec", unit.bare)
        ):
            value = unit.argument_text(call, 1)
            if value and not re.match(r"[\"'](?:127|0|::|1\.)|NULL|0\Z", value):
                yield Hit(literal.start, "TCPREMOTEIP is rewritten, TCP6REMOTEIP and the rest keep the old peer")
                return
    if unit.language in ("perl", "ruby", "python"):
        for found in re.finditer(
            r"\bENV\{?\[?['\"]?TCPREMOTEIP['\"]?[}\]]\s*=(?![=~])\s*(?![\"'](?:127|1\.|0))", unit.code
        ):
            if search(r"\bexec\b|\bsystem\b", unit.bare):
                yield Hit(found.start(), "TCPREMOTEIP is rewritten, TCP6REMOTEIP and the rest keep the old peer")
                return


_GATE_CALLS: Final = re.compile(
    r"(?:str(?:n?case)?cmp|strn(?:case)?cmp|str_diff\w*|str_equal|case_diff\w*|case_equals|streq|STREQ|byte_equal|byte_diff|str_start|EqualFold|HasPrefix|strequal|eq_ignore_ascii_case|starts_with|isPrefixOf|strcoll)\Z"
)


@rule("U502", "proto-gate", BREAKS, group="proto", rank=40, remedy="family")
def proto_gate(unit: Unit) -> Iterator[Hit]:
    """PROTO is compared with one fixed word.

    What it does
        Finds tests of PROTO against "TCP", "TCP6", "SSL" and the like that switch how the address is treated.

    Why is this bad?
        IPv6 text arrives under PROTO=TCP (s6, nosh, GNU inetd), TCP6, SSL, SSL6, UDP, or with no PROTO at all
        (couriertcpd). The wrong branch accepts unchecked, reverses at dots, or ends the program.

    Example:
        ```c
        int is_six(void) {
            const char *proto = getenv("PROTO");
            return proto && !strcmp(proto, "TCP6");
        }
        ```

    Use instead
        ```c
        int is_six(const char *text) {
            struct in6_addr a;
            char plain[INET6_ADDRSTRLEN];
            size_t n = strcspn(text, "%");
            if (n >= sizeof plain) return 0;
            memcpy(plain, text, n);
            plain[n] = 0;
            return inet_pton(AF_INET6, plain, &a) == 1 && !IN6_IS_ADDR_V4MAPPED(&a);
        }
        ```

    References:
        UCSPI-1996: PROTO says which names to look for, not which family the peer has.
    """
    words = r"(?:TCP6?|SSL6?)"
    lines: set[int] = set()
    for use in unit.uses_of("proto"):
        line = unit.position(use.start)[0]
        if line in lines:
            continue
        call = unit.call(use.start)
        if call is not None and _GATE_CALLS.search(call.last):
            for literal in unit.literals_in(call.open, call.close):
                if re.fullmatch(words, unit.content(literal)):
                    lines.add(line)
                    yield Hit(
                        use.start, f"PROTO is compared with {unit.content(literal)!r}; it does not tell the family"
                    )
                    break
            continue
        after = unit.code[use.end : use.end + 40]
        compared = re.match(r"[\"')}\]\s]*(?:==|!=|===|!==|eq|ne|=~|=|/=|\.eql\?)\s*[\"'/^(x]*" + words + r"\b", after)
        before = search(
            words + r"[\"']\s*(?:==|!=|===|eq|ne)\s*[\"'(]?\Z", unit.code[max(0, use.start - 30) : use.start]
        )
        if (compared or before) and not re.match(r"\s*=\s*[\"']", after if unit.language != "sh" else ""):
            lines.add(line)
            yield Hit(use.start, "PROTO is compared with a fixed word; it does not tell the family")
        elif re.match(r"[\"'}\s]*\s+in\b", after) and unit.language == "sh":
            lines.add(line)
            yield Hit(use.start, "PROTO decides a branch; it does not tell the family")


@rule("U503", "proto-prefix-no-fallback", BREAKS, group="names", rank=50, remedy="names")
def proto_prefix_no_fallback(unit: Unit) -> Iterator[Hit]:
    """A variable's name is glued together from PROTO, and nothing else is tried.

    What it does
        Finds PROTO concatenated with "REMOTEIP", "LOCALHOST" and the like, followed by one look-up only.

    Why is this bad?
        PROTO and prefix do not always agree: one sslserver says SSL6 and sets SSL*; ucspi-tcp6 says TCP6 and sets TCP*
        only; couriertcpd has no PROTO. The address is then missing.

    Example:
        ```perl
        my $proto = $ENV{PROTO};
        my $ip = $ENV{$proto . 'REMOTEIP'};
        ```

    Use instead
        ```perl
        my $proto = $ENV{PROTO} // 'TCP';
        my ($ip) = grep { defined } @ENV{"${proto}REMOTEIP", qw(TCPREMOTEIP TCP6REMOTEIP SSLREMOTEIP)};
        ```

    References:
        UCSPI-1996, section 4.
    """
    lines: set[int] = set()
    known = any(True for _ in unit.uses_of("proto")) or "PROTO" in unit.code
    if not known:
        return
    for literal in unit.literals:
        if literal.outer - literal.inner > 20 or kind_of_tail(unit.content(literal)) is None:
            continue
        statement = unit.statement_text(literal.start)
        line = unit.position(literal.start)[0]
        if not search(r"(?i)proto|prefix|tcp", statement) or any(abs(line - other) <= 6 for other in lines):
            continue
        if _falls_back(unit, literal.start):
            continue
        call = unit.call(literal.start)
        if call is not None and search(r"(?i)env", call.last) and call.index == 0 and "proto" not in statement.lower():
            continue
        if call is not None and search(r"getprotoenv", call.last):
            continue
        lines.add(line)
        yield Hit(literal.start, "the name is made of PROTO and nothing else is tried")
    for use in unit.uses_of("proto"):
        after = unit.code[use.end : use.end + 60]
        glued = re.match(r"[\"'}]?\s*(?:\.|\+|\+\+|<>)?\s*[\"']?(?:REMOTE|LOCAL)(?:IP|HOST|PORT|INFO)\b", after)
        line = unit.position(use.start)[0]
        if glued and not any(abs(line - other) <= 6 for other in lines) and not _falls_back(unit, use.start):
            lines.add(line)
            yield Hit(use.start, "the name is made of PROTO and nothing else is tried")
    if unit.family == "c":
        for found in re.finditer(r"\b(?:str_copy2s|str_cat2s|stralloc_cats|strcat|snprintf|sprintf)\s*\(", unit.bare):
            close = unit.closing(found.end() - 1)
            text = unit.code[found.end() : min(close, found.end() + 200)]
            line = unit.position(found.start())[0]
            if not search(r"\b\w*proto\w*\b", text) or any(abs(line - other) <= 6 for other in lines):
                continue
            after = unit.code[close : close + 260]
            if (
                search(r"get_?env\w*\s*\(|env_get\s*\(", after)
                and search(r"name|\bs\b|REMOTE|LOCAL|var|suffix|key", text)
                and not _falls_back(unit, found.start())
            ):
                lines.add(line)
                yield Hit(found.start(), "the name is made of PROTO and nothing else is tried")


def _falls_back(unit: Unit, offset: int) -> bool:
    scope = unit.scope_text(offset)
    return (
        len(re.findall(r"\b(?:TCP6?|SSL6?)(?:REMOTE|LOCAL)IP\b", scope)) > 1
        or len(re.findall(r"[\"'](?:TCP6?|SSL6?)[\"']", scope)) >= 3
    )


_NULL_TEST: Final = r"(?:!\s*\(?\s*{n}\b|\b{n}\s*(?:==|!=)\s*(?:NULL|0|nullptr|\(char\s*\*\))|(?:NULL|0)\s*(?:==|!=)\s*{n}\b|\bif\s*\(\s*\(?{n}\s*(?:\)|&&|\|\|)|\b{n}\s*(?:&&|\|\||\?)|&&\s*{n}\s*(?:\)|&&)|\|\|\s*\(?\s*{n}\b|while\s*\(\s*{n}\s*\)|assert\s*\(\s*{n}|\(\s*{n}\s*\)\s*\?)"
_DEREFERENCES: Final = re.compile(
    r"(?:str\w*len|strn?cpy|strcat|strn?(?:case)?cmp|strdup|printf|fprintf|sprintf|snprintf|syslog|strchr|strrchr|str_len|stralloc_copys|stralloc_cats|str_diff|atoi|inet_aton|inet_addr|ip_scan|strstr|strtok|puts|fputs|case_diffs|string|str_copys|str_cats|setenv|strlcpy|strtol|execl|xstrdup)\Z"
)


@rule("U504", "missing-env", BREAKS, group="missing", rank=60, remedy="missing")
def missing_env(unit: Unit) -> Iterator[Hit]:
    """The variable's absence is not considered.

    What it does
        Finds the value of a look-up that is used at once: copied, measured, printed, concatenated, or in a shell test
        without quotes.

    Why is this bad?
        Under busybox tcpsvd the name is TCPREMOTEADDR, under xinetd and stunnel REMOTE_HOST, elsewhere there is none. The
        program crashes, prints "(null)", or leaves the check out.

    Example:
        ```c
        size_t length(void) {
            return strlen(getenv("TCPREMOTEIP"));
        }
        ```

    Use instead
        ```c
        size_t length(void) {
            const char *ip = getenv("TCPREMOTEIP");
            if (!ip) exit(111);
            return strlen(ip);
        }
        ```

    References:
        getenv(3).
    """
    if unit.family == "c":
        yield from _c_missing(unit)
    if unit.language == "perl":
        for use in unit.uses_of("ip", strong=True):
            if not use.direct or not use.name.isupper():
                continue
            before, after = unit.code[max(0, use.start - 16) : use.start], unit.code[use.end : use.end + 12]
            if unit.literal_at(use.start) is None and (search(r"\.\s*\Z", before) or re.match(r"\s*\.(?!\.)", after)):
                scope = unit.scope_text(use.start)
                if not search(
                    rf"(?:defined|exists|unless|if|&&|\|\||//|\?)\s*\(?\s*\$ENV\{{\s*['\"]?{use.name}|{use.name}['\"]?\}}\s*(?:\|\||//|\?|&&|or\b|and\b)",
                    scope,
                ):
                    yield Hit(use.start, "an absent variable is taken for the empty string")
    if unit.language == "sh":
        for use in unit.uses_of("ip", "port", strong=True):
            before = unit.code[max(0, use.start - 24) : use.start]
            if search(r"(?:^|[\s;!])\[\s+\Z|\btest\s+\Z", before) and re.match(
                r"\s+-(?:eq|ne|lt|gt|le|ge)\b", unit.code[use.end : use.end + 8]
            ):
                yield Hit(use.start, "without the variable the test itself fails")


def _c_missing(unit: Unit) -> Iterator[Hit]:
    scopes: set[tuple[int, str]] = set()
    for use in unit.uses_of("ip", "host", "port"):
        if not use.direct or not use.name.isupper():
            continue
        if not re.match(r"(?:\w+::)?(?:secure_)?getenv\b|env_get\b", unit.code[use.start : use.end]):
            continue
        call = unit.call(use.start)
        printed = call is not None and search(r"printf|syslog|puts", call.last) is not None
        if printed and search(
            rf"(?:if|!|&&|\|\|)[\s(!]*(?:\w+\s*=\s*)?\w*getenv\w*\s*\(\s*\"{use.name}\"|=\s*getenv\s*\(\s*\"{use.name}\"\s*\)\s*;\s*if\b",
            unit.code,
        ):
            continue
        if call is not None and _DEREFERENCES.search(call.last) and not SETTER.search(call.name):
            scope = unit.scope_text(use.start)
            if (
                not search(
                    rf"(?:if|&&|\|\||!|\?|==|!=|=)[\s(]*\w*(?:getenv|env_get)\w*\s*\(\s*\"{use.name}\"\s*\)(?:\s*(?:\)|&&|\|\||==|!=|\?|;))",
                    scope,
                )
                and use.kind != "port"
            ):
                yield Hit(use.start, f"{use.name} may be absent")
            continue
        begin, _ = unit.statement(use.start)
        assigned = search(r"(\w+)\s*=\s*(?:\(\s*[\w\s*]+\)\s*)?\Z", unit.code[begin : use.start])
        if not assigned or use.kind == "port":
            continue
        name, where = assigned[1], unit.scope(use.start)
        if where < 0 or (where, name) in scopes:
            continue
        function = unit.functions[where]
        rest = unit.code[use.end : function.end]
        if re.match(r"\s*\)*\s*(?:\)|==|!=|&&|\|\||\?)", rest) and not rest.lstrip().startswith(";"):
            continue
        test = re.compile(_NULL_TEST.replace("{n}", re.escape(name)))
        tested = test.search(rest)
        for position in unit.places(name, use.end, function.end):
            if tested and tested.start() + use.end <= position:
                break
            called = unit.call(position)
            if (
                called is not None
                and _DEREFERENCES.search(called.last)
                and re.fullmatch(rf"(?:\([\w\s*]+\))?\s*{re.escape(name)}", unit.argument_text(called, called.index))
            ):
                if called.last in ("printf", "fprintf", "sprintf", "snprintf", "syslog", "setenv") and called.index < 1:
                    continue
                scopes.add((where, name))
                yield Hit(position, f"{use.name} may be absent")
                break
