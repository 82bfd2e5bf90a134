"""U6xx: the address is written out: into literals, logs, shells and SQL."""

# ruff: noqa: E501 - a pattern or a remedy that is cut in pieces cannot be read

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from ucspi_env.envcheck.lint._match import search
from ucspi_env.envcheck.lint._model import BREAKS, COSMETIC, SECURITY, Hit, rule

if TYPE_CHECKING:
    from ucspi_env.envcheck.lint._unit import Unit, Use


@rule("U601", "address-literal-brackets", BREAKS, group="literal", rank=50, remedy="text")
def address_literal_brackets(unit: Unit) -> Iterator[Hit]:
    """An address literal is parsed or written as IPv4.

    What it does
        Finds ``ip_scanbracket``, ``user@[`` and HELO arguments put together with the bare address, and URLs without
        brackets.

    Why is this bad?
        SMTP requires the tag ``IPv6:`` inside the brackets, URLs require the brackets. Mail to ``user@[IPv6:…]`` is not
        recognised as local, a correct HELO is refused.

    Example:
        ```sh
        curl "http://$TCPREMOTEIP/status"
        ```

    Use instead
        ```sh
        case $TCPREMOTEIP in
            *:*) host="[${TCPREMOTEIP}]" ;;
            *) host=$TCPREMOTEIP ;;
        esac
        curl "http://$host/status"
        ```

    References:
        RFC 5321 section 4.1.3, RFC 3986 section 3.2.2.
    """
    if (
        unit.family in ("c", "go", "rust")
        and unit.in_scope
        and ("bracket" in unit.bare or "Bracket" in unit.bare)
        and not search(r"(?i)ip_?v?6_?scan_?bracket|ip6_?scan", unit.bare)
    ):
        for found in re.finditer(r"\b(ip_?scan_?bracket|ScanBracket)\s*\(", unit.bare, re.IGNORECASE):
            line = unit.line_text(found.start())
            if (
                not re.match(
                    r"\s*(?:(?:extern|static|func|unsigned|fn|pub)\s+)*(?:int\s+)?ip_?scan_?bracket|\s*func\s",
                    line,
                    re.IGNORECASE,
                )
                and unit.scope(found.start()) >= 0
            ):
                yield Hit(found.start(), f"`{found[1]}` knows [1.2.3.4] only, not [IPv6:…]")
    for use in unit.uses_of("ip", strong=True):
        before = unit.code[max(0, use.start - 60) : use.start]
        if search(r"=\s*\"\[[$%#]|\[%s\]|'\['|\"\[\"", unit.scope_text(use.start)):
            continue
        if search(r"@\[[\"']?\s*(?:\.|\+|,)?\s*\Z", before) or search(
            r"(?:HELO|EHLO)\s+\[?[\"']?\s*(?:\.|\+|,)?\s*\Z", before
        ):
            yield Hit(use.start, "an IPv6 literal needs [IPv6:…]")
        elif search(r"https?://[\"']?\s*(?:\.|\+)?\s*\Z", before) or _url_format(unit, use):
            yield Hit(use.start, "an IPv6 address in a URL needs brackets")


def _url_format(unit: Unit, use: Use) -> bool:
    call = unit.call(use.start)
    if call is None or not search(r"printf|Sprintf|format", call.last):
        return False
    texts = [unit.content(one) for one in unit.literals_in(call.open, use.start)]
    return (
        bool(texts)
        and re.match(r"https?://%s", texts[0]) is not None
        and unit.argument_text(call, call.index) != ""
        and call.index <= 3
    )


def _joined(unit: Unit, use: Use) -> bool:
    """Say whether a colon and a port follow the address."""
    after = unit.code[use.end : use.end + 90]
    before = unit.code[max(0, use.start - 3) : use.start]
    if before.endswith("[") and unit.language != "go":
        return False
    port = r"[\w.$>{(\[\"'#-]{0,28}?(?i:port)"
    if unit.language in ("sh", "perl", "ruby", "php") and re.match(r"\}?:" + port, after):
        return True
    if re.match(r"\s*(?:\+|\.|\+\+|<<|<>)\s*[\"']:[\"']\s*(?:\+|\.|\+\+|<<|<>)\s*" + port, after):
        return True
    if re.match(r"\s*(?:\+|\.)\s*[\"']:\d+", after):
        return True
    call = unit.call(use.start)
    if (
        call is not None
        and search(r"(?i)print\w*!?|format!?|log\w*|die|msg|info|debug|warn\w*|report|notice|err\w*\Z", call.last)
        and unit.family in ("c", "go", "rust", "php", "perl", "ruby")
    ):
        texts = [
            one
            for one in unit.literals_in(call.open, use.start)
            if "%" in unit.content(one) or "{}" in unit.content(one)
        ]
        if not texts:
            return False
        shape = unit.content(texts[0])
        spots = list(re.finditer(r"%[-\d.*]*(?:l{0,2}|h)[sdvuiqx]|\{\w*(?::[^}]*)?\}", shape))
        first = next(
            (
                index
                for index in range(len(unit.arguments(call)))
                if unit.arguments(call)[index][0] <= texts[0].start < unit.arguments(call)[index][1]
            ),
            0,
        )
        at = call.index - first - 1
        if (
            0 <= at < len(spots) - 1
            and shape[spots[at].end() : spots[at + 1].start()] == ":"
            and not shape[: spots[at].start()].endswith("[")
        ):
            following = unit.argument_text(call, call.index + 1)
            return search(r"(?i)port", following) is not None
    return False


@rule("U602", "host-port-colon-join", COSMETIC, group="join", rank=50, remedy="text")
def host_port_colon_join(unit: Unit) -> Iterator[Hit]:
    """Address and port are joined by a bare colon.

    What it does
        Finds the address, ":" and a port put together without brackets.

    Why is this bad?
        ``2001:db8::1:25`` cannot be taken apart again: it is an address by itself. Log readers ban the wrong client.

    Example:
        ```sh
        echo "connect from $TCPREMOTEIP:$TCPREMOTEPORT"
        ```

    Use instead
        ```sh
        echo "connect from [$TCPREMOTEIP]:$TCPREMOTEPORT"
        ```

    References:
        RFC 5952 section 6.
    """
    for use in unit.uses_of("ip"):
        if not use.strong and not (unit.in_scope and unit.speaks_ucspi):
            continue
        if _joined(unit, use) and not _colon_fields(unit, use):
            yield Hit(use.start, "IPv6 text ends in `:25` as well: without brackets nobody can take this apart")


def _colon_fields(unit: Unit, use: Use) -> bool:
    literal = unit.literal_at(use.start)
    if literal is not None and unit.language in ("sh", "perl", "ruby", "php"):
        content = unit.content(literal)
        return len(re.findall(r"(?:\$\{?\w+\}?|\})(?=:)", content)) >= 3
    return False


@rule("U603", "log-delimiter-collision", COSMETIC, group="join", rank=40, remedy="log")
def log_delimiter_collision(unit: Unit) -> Iterator[Hit]:
    r"""A line of colon-separated fields holds an address.

    What it does
        Finds formats with three or more fields ended by ":" and the address among them, not last.

    Why is this bad?
        IPv6 text adds up to seven separators: reports and ban tools take the wrong fields.

    Example:
        ```c
        void note(const char *user, const char *remote_ip, const char *result) {
            const char *ip = getenv("TCPREMOTEIP");
            if (ip) fprintf(stderr, "%s:%s:%s:%s\n", user, ip, remote_ip, result);
        }
        ```

    Use instead
        ```c
        void note(const char *user, const char *result) {
            const char *ip = getenv("TCPREMOTEIP");
            if (ip) fprintf(stderr, "user=%s ip=%s result=%s\n", user, ip, result);
        }
        ```

    References:
        RFC 5952 section 3.2.5.
    """
    for use in unit.uses_of("ip", strong=True):
        literal = unit.literal_at(use.start)
        if literal is not None and unit.language in ("sh", "perl", "ruby", "php") and literal.kind == "string":
            content = unit.content(literal)
            if (
                len(re.findall(r"(?:\$\{?[\w>{}\-\[\]]+\}?|\})(?=:)", content)) >= 3
                and unit.code[use.end : use.end + 1] == ":"
            ):
                yield Hit(use.start, "the address adds colons to a line that is separated by colons")
            continue
        if unit.family == "c" and _appended_between_colons(unit, use):
            yield Hit(use.start, "the address adds colons to a line that is separated by colons")
            continue
        call = unit.call(use.start)
        if call is None or not search(r"(?i)printf|format|log\w*|syslog|write", call.last):
            continue
        texts = [unit.content(one) for one in unit.literals_in(call.open, use.start)]
        if any(re.match(r"%s:(?:allow|deny)", one) for one in texts):
            yield Hit(use.start, "a rule begins at the first colon: IPv6 text has many")
            continue
        shape = next((one for one in texts if one.count("%") >= 3), "")
        if len(re.findall(r"%[-\d.l]*[sduv]:", shape)) >= 3 and not search(r"%[-\d.l]*[sduv]: ", shape):
            yield Hit(use.start, "the address adds colons to a line that is separated by colons")


def _appended_between_colons(unit: Unit, use: Use) -> bool:
    """Say whether C code appends ":", the address and ":" again to one text, and other fields around them."""
    call = unit.call(use.start)
    if call is None or not search(r"(?:cats?\w*|puts?|out|log\w*|append\w*)\Z", call.last):
        return False
    colon = rf"\b{re.escape(call.last)}\s*\([^;()]*\":\"\s*\)"
    before = unit.code[max(0, use.start - 260) : use.start]
    after = unit.code[use.end : use.end + 260]
    return (
        search(colon + r"[^;{}]*[;{}][^;{}\"]*(?:[;{}][^;{}\"]*)?\Z", before) is not None
        and re.match(r"[^;\"]*;[^;\"]*(?:;[^;\"]*)?" + colon, after) is not None
    )


_SAFE_BEFORE: Final = re.compile(
    r"(?:^|[\s;&|(`{])(?:export\s+|local\s+|readonly\s+|declare\s+(?:-\w+\s+)*)?\w+\+?=(?:[^\s\"';&|()]*)\Z|\bcase\s+\S*\Z|<<<\s*\S*\Z"
)


@rule("U604", "shell-unquoted", SECURITY, group="quote", rank=50, remedy="quote")
def shell_unquoted(unit: Unit) -> Iterator[Hit]:
    """The value is expanded without quotes, or becomes part of a command.

    What it does
        Finds unquoted expansions of the peer's variables in shell scripts, and the variables inside ``eval``, ``sh -c``,
        ``system`` and back-quotes.

    Why is this bad?
        An empty value vanishes and the arguments move up. HOST and INFO are chosen by the peer: unquoted they are split
        and globbed, inside a command string they are executed.

    Example:
        ```sh
        /usr/local/bin/check $TCPREMOTEIP 25
        ```

    Use instead
        ```sh
        /usr/local/bin/check "$TCPREMOTEIP" 25
        ```

    References:
        POSIX shell, section 2.6.5 (field splitting); CWE-78.
    """
    if unit.language == "sh":
        yield from _shell_expansions(unit)
        return
    for use in unit.uses_of("ip", "host", "info", strong=True):
        literal = unit.literal_at(use.start)
        call = unit.call(literal.start if literal else use.start)
        if (
            unit.language in ("perl", "ruby", "php")
            and literal is not None
            and (
                literal.kind == "command"
                or (
                    literal.kind == "string"
                    and call is not None
                    and call.last in ("system", "exec", "popen", "shell_exec", "passthru", "open")
                )
            )
        ):
            if call is not None and literal.kind == "string" and len(unit.arguments(call)) > 1 and call.last != "open":
                continue
            if call is not None and call.last == "open" and not search(r"\|", unit.content(literal)):
                continue
            yield Hit(use.start, "the value becomes part of a shell command")
    if unit.family == "c":
        for use in unit.uses_of("ip", "host", "info", strong=True):
            call = unit.call(use.start)
            if call is not None and call.last in ("system", "popen"):
                yield Hit(use.start, "the value becomes part of a shell command")
            elif call is not None and re.search(r"s\w*printf\Z|str(?:cat|cpy)\Z", call.last):
                target = re.findall(r"\w+", unit.argument_text(call, 0))
                if target and search(rf"\b(?:system|popen)\s*\(\s*{target[-1]}\b", unit.scope_text(use.start)):
                    yield Hit(use.start, "the value becomes part of a shell command")
        if re.search(r"\b(?:system|popen)\s*\(", unit.bare):
            for literal in unit.literals:
                content = unit.content(literal)
                if "$" in content and re.search(r"\$\{?(?:TCP|SSL)6?REMOTE(?:IP|HOST|INFO)", content):
                    call = unit.call(literal.start)
                    if call is not None and call.last in ("system", "popen"):
                        yield Hit(literal.start, "the value is expanded by a shell")


def _shell_expansions(unit: Unit) -> Iterator[Hit]:
    lines: set[int] = set()
    for use in unit.uses_of("ip", "host", "info", strong=True):
        line = unit.position(use.start)[0]
        if line in lines:
            continue
        literal = unit.literal_at(use.start)
        start = max(unit.code.rfind("\n", 0, use.start) + 1, use.start - 400)
        before = unit.code[start : use.start]
        if literal is not None:
            if (
                search(r"\beval\s+[^;|&]*\Z|\b(?:ba|da|k)?sh\s+-c\s+\"?[^\"]*\Z", before)
                and literal.kind == "string"
                and "'" not in before[before.rfind('"') :]
            ):
                lines.add(line)
                yield Hit(use.start, "the value becomes part of a shell command")
            continue
        if search(r"\beval\b", before):
            lines.add(line)
            yield Hit(use.start, "the value becomes part of a shell command")
            continue
        bare = unit.bare[start : use.start]
        if bare.rfind("[[") > bare.rfind("]]") or bare.rfind("((") > bare.rfind("))") or _SAFE_BEFORE.search(before):
            continue
        if re.match(r"\$\{#", unit.code[use.start : use.start + 3]) or search(r"\$\{\w*[:#%/][^}]*\Z", before):
            continue
        lines.add(line)
        yield Hit(use.start, "expanded without quotes")


SQL: Final = re.compile(
    r"(?i)\b(?:insert\s+(?:\w+\s+)?into|replace\s+(?:\w+\s+)?into|select\b.{1,300}\bfrom|update\b.{1,200}\bset|delete\s+from|where\b.{0,200}=)\b|\b(?:values)\s*\(",
    re.DOTALL,
)


_ADDRESS_COLUMN: Final = re.compile(
    r"(?i)\b(?:\w+[._])?(?:ip|ip_?addr(?:ess)?|remote_?(?:ip|addr|host)|client_?(?:ip|addr|address)|addr)\s*(?:=|like)\s*\\?['\"]?(?:\$\w|#\{)"
)


@rule("U605", "sql-interpolation", SECURITY, group="sql", rank=50, remedy="sql")
def sql_interpolation(unit: Unit) -> Iterator[Hit]:
    r"""The value is pasted into SQL.

    What it does
        Finds SQL text with the peer's address, host name or ident answer formatted or interpolated into it.

    Why is this bad?
        The value comes from the environment: under another parent it is whatever that set, and HOST and INFO are chosen
        by the peer anyway.

    Example:
        ```perl
        my $ip = $ENV{TCPREMOTEIP};
        $dbh->do("DELETE FROM relay WHERE ip_addr = '$ip'");
        ```

    Use instead
        ```perl
        my $ip = $ENV{TCPREMOTEIP} // die "no peer\n";
        $dbh->do('DELETE FROM relay WHERE ip_addr = ?', undef, $ip);
        ```

    References:
        CWE-89.
    """
    lines: set[int] = set()
    if unit.language in ("perl", "sh", "ruby", "php") and unit.speaks_ucspi:
        for text in unit.literals:
            content = unit.content(text) if text.kind == "string" else ""
            if ("$" in content or "#{" in content) and _ADDRESS_COLUMN.search(content) and SQL.search(content):
                lines.add(text.start)
                yield Hit(text.start, "the value is pasted into SQL")
    for use in unit.uses_of("ip", "host", "info", strong=True):
        line = unit.position(use.start)[0]
        literal = unit.literal_at(use.start)
        if literal is not None and unit.language in ("perl", "sh", "ruby", "php"):
            if literal.kind == "string" and SQL.search(unit.content(literal)) and literal.start not in lines:
                lines.add(literal.start)
                yield Hit(use.start, "the value is pasted into SQL")
            continue
        call = unit.call(use.start)
        if call is not None and search(
            r"(?i)printf|format|Sprintf|query|Exec|mysql|stralloc_cat\w*|str_cat\w*|strcat", call.last
        ):
            texts = [one for one in unit.literals_in(call.open, call.close) if SQL.search(unit.content(one))]
            if texts and search(r"%s|%v|'\s*\Z|\{\}", unit.content(texts[0])) and line not in lines:
                lines.add(line)
                yield Hit(use.start, "the value is pasted into SQL")
        elif (
            search(
                r"[\"'].*(?:'|=\s*)[\"']\s*(?:\.|\+|\|\||<>|\+\+)\s*\Z",
                unit.code[max(0, use.start - 200) : use.start].rpartition("\n")[2],
            )
            and SQL.search(unit.statement_text(use.start))
            and line not in lines
        ):
            lines.add(line)
            yield Hit(use.start, "the value is pasted into SQL")
