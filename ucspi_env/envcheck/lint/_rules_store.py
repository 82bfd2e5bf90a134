"""U3xx: places that are too small, or shaped for four bytes, and keys made of raw text."""

# ruff: noqa: E501 - a pattern or a remedy that is cut in pieces cannot be read

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from ucspi_env.envcheck.lint._match import search
from ucspi_env.envcheck.lint._model import BREAKS, SECURITY, Hit, rule
from ucspi_env.envcheck.lint._names import is_ipish, is_peerish

if TYPE_CHECKING:
    from ucspi_env.envcheck.lint._unit import Unit, Use

_CHARACTERS: Final = re.compile(r"\b(unsigned\s+|signed\s+|u_)?char\s+([^;{}()]{1,400})")
_ARRAY: Final = re.compile(r"(\w+)\s{0,4}\[([^\[\]]{1,40})\]")
_SMALL: Final = re.compile(
    r"(?:1[5-9]|2\d|3[0-9])\Z|(?:1[5-9]|2\d|3[0-9])\s*\+\s*1\Z|INET_ADDRSTRLEN\Z|(?:MAX_?)?IP_?(?:LEN|SIZE|STR_?LEN|ADDR_?LEN|FMT|MAX|BUF\w*)(?:\s*\+\s*1)?\Z|IPFMT\Z|IP4_FMT\Z|MAX_IP\w*\Z"
)
_NUMBER: Final = re.compile(r"\d+")
_LIMIT: Final = re.compile(
    r"^[ \t]*#[ \t]*define[ \t]+(\w*(?:IP|ADDR)\w*)[ \t]+\(?(1[4-9]|2[0-9]|3[0-2])\)?[ \t]*$", re.MULTILINE
)
_TEXTUAL: Final = re.compile(
    r"(?:str(?:n|l)?cpy|strlcpy|snprintf|sprintf|strcat|strncat|strcmp|inet_ntoa|inet_ntop|strlen|fgets|puts|printf|syslog|strtok|strchr|getnameinfo|sscanf|ip_fmt|strdup)"
)
_BINARY: Final = re.compile(
    r"byte_copy|byte_diff|inet_pton|memcmp|memcpy|socket_\w*6|ip6|dns_ip6|V4mapped|V6any|\b16\s*\)|s6_addr|in6"
)


@rule("U301", "fixed-buffer", SECURITY, group="store", rank=30, remedy="buffer")
def fixed_buffer(unit: Unit) -> Iterator[Hit]:
    """A buffer or limit is sized for a dotted quad.

    What it does
        Finds character arrays of 15 to 39 bytes that hold an address as text, copies of the address limited to such
        sizes, and limits of that size named after addresses.

    Why is this bad?
        IPv6 text needs 46 bytes with its terminator, 62 with a zone. The copy overflows, or cuts the text so that it
        still looks like an address, but another one.

    Example:
        ```c
        void remember(void) {
            char ip[16];
            char *remote = getenv("TCPREMOTEIP");
            if (remote) strcpy(ip, remote);
        }
        ```

    Use instead
        ```c
        int remember(char *ip, size_t size) {
            char *remote = getenv("TCPREMOTEIP");
            if (!remote || strlen(remote) >= size) return -1;
            memcpy(ip, remote, strlen(remote) + 1);
            return 0;
        }
        ```

    References:
        RFC 4291 section 2.2; INET6_ADDRSTRLEN in netinet/in.h.
    """
    if unit.family != "c":
        return
    reported: set[str] = set()
    for offset, name, size, binary in _arrays(unit):
        if not _SMALL.match(size):
            continue
        scope = unit.scope_text(offset)
        reached = _copied_into(unit, name, offset)
        if not reached and not (
            unit.in_scope and is_ipish(name) and (unit.speaks_ucspi or size[0].isdigit() or is_peerish(name))
        ):
            continue
        if binary and not reached:
            continue
        mentions = [
            scope[max(0, one.start() - 60) : one.end() + 40] for one in re.finditer(rf"\b{re.escape(name)}\b", scope)
        ][:40]
        wanted = "".join(mentions)
        member = unit.scope(offset) < 0
        textual = _TEXTUAL.search(wanted) is not None
        if not reached:
            if size == "16" and _BINARY.search(wanted):
                continue
            if not textual and not (member and size != "16"):
                continue
            if search(r"INET6_|AF_INET6|in6_addr", wanted):
                continue
        reported.add(name)
        yield Hit(offset, f"`{name}[{size}]` holds a dotted quad; IPv6 text needs 46 bytes, 62 with a zone")
    for found in _LIMIT.finditer(unit.code):
        if (
            unit.in_scope
            and not search(
                r"(?i)INET_|META|IP_?V?[46]|IPS\b|ADDRS\b|version|family|proto|type|AF_|opt|flag|VERSION|VER\b|PF_|STATE|ERR",
                found[1],
            )
            and search(r"(?i)(?:ip|addr)\w{0,4}_?(?:len|siz|fmt|max|buf)|(?:max|len)_?(?:ip|addr)", found[1])
        ):
            yield Hit(
                found.start(1),
                f"`{found[1]}` is the length of a dotted quad; IPv6 text needs 45 characters, 61 with a zone",
            )
    for use in unit.uses_of("ip", strong=True):
        call = unit.call(use.start)
        if call is None or not search(r"(?:strn\w*cpy|strlcpy|snprintf|xstrncpy|strncat)\Z", call.last):
            continue
        spans = unit.arguments(call)
        sizes = [unit.argument_text(call, index) for index in range(1, min(4, len(spans))) if index != call.index]
        limit = next((one for one in sizes if re.fullmatch(r"1[4-9]|2\d|3[0-2]|INET_ADDRSTRLEN", one)), None)
        if limit:
            yield Hit(use.start, f"copies at most {limit} bytes of an address; IPv6 text needs 46, 62 with a zone")
    for found in re.finditer(
        r"\b(?:str_?len\s*\(\s*(\w+)\s*\)|(\w+)\s*-\s*(\w+))\s*(?:>=?|<=?)\s*(1[4-7])\b", unit.bare
    ):
        if any(use.kind == "ip" and use.strong for use in unit.uses_between(found.start(), found.end())) or (
            found[3]
            and search(
                r"(?i)ip|addr", unit.functions[unit.scope(found.start())].name if unit.scope(found.start()) >= 0 else ""
            )
        ):
            yield Hit(
                found.start(), "a length limit of a dotted quad; IPv6 text has up to 45 characters, 61 with a zone"
            )


def _arrays(unit: Unit) -> Iterator[tuple[int, str, str, bool]]:
    """Yield the character arrays that the file declares: place, name, size, and whether they are of bytes rather than text."""
    for found in _CHARACTERS.finditer(unit.bare):
        for item in _ARRAY.finditer(found[2]):
            if "=" not in found[2][: item.start()].rpartition(",")[2]:
                yield found.start(2) + item.start(), item[1], item[2].strip(), found[1] is not None


def _copied_into(unit: Unit, name: str, offset: int) -> bool:
    """Say whether the peer's address is copied into the array."""
    scope = unit.scope(offset)
    for use in _copies(unit):
        call = unit.call(use.start)
        if call is None:
            continue
        target = re.findall(r"\w+", unit.argument_text(call, 0))
        if target and target[-1] == name and (scope < 0 or unit.scope(use.start) == scope):
            texts = [unit.content(one) for one in unit.literals_in(call.open, call.close)]
            if call.last in ("sprintf", "snprintf") and texts and texts[0] not in ("%s", "[%s]"):
                return "%s" in texts[0] and is_ipish(name)
            return True
    return False


_COPY: Final = re.compile(r"(?:str(?:n|l)?cpy|strlcpy|snprintf|sprintf|strcat|strncat|memcpy|stpcpy)\Z")


def _copies(unit: Unit) -> list[Use]:
    """Return the uses that are the source of a copy into a buffer."""
    if unit.copies is None:
        unit.copies = []
        for use in unit.uses_of("ip", strong=True):
            call = unit.call(use.start)
            if call is not None and call.index > 0 and _COPY.search(call.last):
                unit.copies.append(use)
    return unit.copies


_SHIFTS: Final = re.compile(r"<<\s*24\b")
_PACKED: Final = re.compile(r"\b(?:unpack|pack)\s*\(?\s*(['\"])(?:N|L|V|I|C4|CCCC|C\*|!I|!L|>I|>L|=I)\1")


@rule("U302", "int32-storage", BREAKS, group="text", rank=43, remedy="binary")
def int32_storage(unit: Unit) -> Iterator[Hit]:
    r"""An address is kept as a 32-bit number or sent as four bytes.

    What it does
        Finds ``unpack "N"``, ``pack "CCCC"``, ``<< 24`` sums, ``long2ip`` and four-byte copies of addresses.

    Why is this bad?
        128 bits do not fit. ``pack`` wraps 2001 to 209, a failed parse leaves an empty SQL value, and the wire format has
        no place for IPv6.

    Example:
        ```perl
        use Socket;
        my $number = unpack('N', inet_aton($ENV{TCPREMOTEIP}));
        ```

    Use instead
        ```perl
        use Socket qw(inet_pton AF_INET AF_INET6);
        (my $text = $ENV{TCPREMOTEIP} // die "no peer\n") =~ s/%.*//;
        my $bytes = inet_pton(AF_INET, $text) // inet_pton(AF_INET6, $text) // die "no address\n";
        ```

    References:
        RFC 3493 section 3.2 (struct in6_addr).
    """
    if unit.language == "sql":
        return
    seen: set[int] = set()
    for found in _PACKED.finditer(unit.code):
        statement = unit.statement_text(found.start())
        near = unit.code[found.end() : found.end() + 80]
        converts = search(r"inet_aton|inet_ntoa|gethostbyname|split\s*\(?\s*/\\\.", near) is not None
        held = any(use.kind == "ip" for use in unit.uses_between(found.end(), found.end() + 30))
        if unit.in_scope and (converts or held) and search(r"(?i)ip|addr|host|net|client|peer", statement):
            yield Hit(found.start(), "four bytes: an IPv6 address has sixteen")
    if unit.in_scope and "24" in unit.bare:
        for found in _SHIFTS.finditer(unit.bare):
            text = unit.statement_text(found.start())
            line = unit.position(found.start())[0]
            scope = unit.scope(found.start())
            name = unit.functions[scope].name if scope >= 0 else ""
            if line in seen or not search(r"<<\s*16", text) or re.match(r"inet_(?:aton|addr|network|pton)", name):
                # A libc's own parser, carried along for systems without one, is not what has to change.
                continue
            operands = text + " " + name
            if search(r"(?i)\bip\w*|addr|\w*ip\b|\bdot|quad|octet|inet", operands) and not search(
                r"(?i)crc|md5|sha|utf|rgb|color|magic|uint32_unpack|cdb|hash|b64|base64", operands
            ):
                seen.add(line)
                yield Hit(found.start(), "the address becomes a 32-bit number")
    if unit.language == "perl" and "intip" in unit.bare:
        for found in re.finditer(r"\bpack\s*\(", unit.bare):
            if "intip" in unit.bare[found.end() : min(unit.closing(found.end() - 1), found.end() + 600)]:
                yield Hit(found.start(), "four bytes: an IPv6 address has sixteen")
    if unit.family == "php" and "long2ip" in unit.bare and unit.in_scope:
        for found in re.finditer(r"\blong2ip\s*\(", unit.bare):
            yield Hit(found.start(), "the address is kept as a 32-bit number")
    if unit.family == "c" and unit.speaks_ucspi:
        for found in re.finditer(
            r"\b(?:byte_copy\s*\([^;]*?,\s*4\s*,|memcpy\s*\([^;()]*(?:\([^()]*\)[^;()]*)*,\s*4\s*\))", unit.bare
        ):
            text = unit.bare[found.start() : unit.statement(found.start())[1]]
            if not search(r"(?i)\bip\b|addr|\bip\w*|\w*ip\b", text) or search(
                r"(?i)AF_INET6|ip6|12\b|sin_addr|sin6|V4mapped|dnsip|answer|\bout\b|port|uint32", text
            ):
                continue
            if search(r"AF_INET6|sockaddr_in6|\bip6|16\s*,|\b16\s*\)", unit.scope_text(found.start())):
                continue
            yield Hit(found.start(), "four bytes of an address are copied: an IPv6 address has sixteen")


_COLUMN: Final = re.compile(
    r"(?i)[`\"'\[(,\s\\]((?:\w{0,40}_)?(?:ip|addr|ip_?addr|ip_?address|remote\w{0,20}|client_?\w{0,20}|host_?ip)\w{0,40})[`\"'\]]?\s+(?:var|n?|nvar)?char(?:acter)?2?(?:\s+varying)?\s*\(\s*(\d+)\s*(?:char|byte)?\s*\)"
)
_INTEGER_COLUMN: Final = re.compile(
    r"(?i)[`\"'\[(,\s]((?:\w{1,40}_)?ip(?:_?(?:addr|address|num|long|int|start|end|from|to))?)[`\"'\]]?\s+(?:int(?:eger)?(?:\s*\(\s*1[01]\s*\))?(?:\s+unsigned)?|bigint)\b\s*(?=,|\)|not|null|default|unsigned|$|--)"
)


@rule("U303", "db-column-too-short", BREAKS, group="store", rank=35, remedy="buffer")
def db_column_too_short(unit: Unit) -> Iterator[Hit]:
    """A database column has room for a dotted quad only.

    What it does
        Finds CHAR and VARCHAR columns shorter than 39 characters, and integer columns, whose name says address.

    Why is this bad?
        IPv6 text has up to 39 characters in canonical form, 45 when mapped. The insert fails, or the address is cut in
        silence and looks like another one.

    Example:
        ```sql
        CREATE TABLE relay (ip_addr CHAR(18) NOT NULL, stamp INT);
        ```

    Use instead
        ```sql
        CREATE TABLE relay (ip_addr VARBINARY(16) NOT NULL, stamp INT);
        ```

    References:
        MySQL INET6_ATON, PostgreSQL inet.
    """
    if not search(
        r"(?i)char2?\s*\(\s*\d|varying\s*\(" if unit.language != "sql" else r"(?i)char2?\s*\(|\bint", unit.code
    ):
        return
    for found in _COLUMN.finditer(unit.code):
        length = int(found[2]) if len(found[2]) < 6 else 0
        if (
            not 7 <= length < 39
            or not search(r"(?i)ip|addr", found[1])
            or search(r"(?i)mail|street|zip|descr|ship|recip|subscri|script|port|host_?name|country", found[1])
        ):
            continue
        yield Hit(found.start(1), f"{length} characters for `{found[1]}`: IPv6 text has up to 45")
    if unit.language == "sql":
        for found in _INTEGER_COLUMN.finditer(unit.code):
            yield Hit(found.start(1), f"an integer for `{found[1]}`: an IPv6 address has 128 bits")


_PATH_CALLS: Final = re.compile(
    r"(?:f?open|open_\w+|fopen64|freopen|mkdir|rmdir|unlink|stat|lstat|access|creat|rename|utime|touch|chdir|mkfifo|symlink|link|truncate|is_file|file_exists|file_put_contents|file_get_contents|readlink|WriteFile|ReadFile|OpenFile|Create|Stat|Remove|MkdirAll|utimes|File\.open|File\.exist\?|File\.write|sysopen|opendir)\Z"
)
_KEY_CALLS: Final = re.compile(
    r"(?:cdb_find|cdb_seek|cdb_findnext|dbm_fetch|dbm_store|gdbm_fetch|gdbm_store|hash_get|hash_put|hcreate|hsearch|memcached_\w+|redisCommand|dict_get|dict_add|ghash_get|apc_\w+|dba_fetch|dba_insert|get_db_key|constmap|Incr|HGet|SetNX)\Z"
)


@rule("U304", "noncanonical-key", BREAKS, group="key", rank=50, remedy="key")
def noncanonical_key(unit: Unit) -> Iterator[Hit]:
    """Raw address text is a file name, table key or counter key.

    What it does
        Finds the peer's address in paths, redirections, hash subscripts, and keys of cdb, dbm, redis and the like.

    Why is this bad?
        Spellings differ per super-server, so writer and reader disagree. Each of the 2^64 addresses of one customer is a
        key of its own: grey lists never pass, counters never bite, directories grow. From an untrusted parent the text
        may hold "/" and "..".

    Example:
        ```sh
        touch "/var/lib/grey/$TCPREMOTEIP"
        ```

    Use instead
        ```sh
        eval "$(ucspi-envcheck shell || echo exit 111)"
        touch "/var/lib/grey/$UCSPI_REMOTE_KEY"
        ```

    References:
        RFC 5952; RFC 6177 (customers get a /64 or more).
    """
    for use in unit.uses_of("ip", strong=True):
        if _is_key(unit, use):
            yield Hit(use.start, "raw address text is used as a key")


def _is_key(unit: Unit, use: Use) -> bool:
    language = unit.language
    before = unit.code[max(0, use.start - 80) : use.start]
    after = unit.code[use.end : use.end + 40]
    line = unit.line_text(use.start)
    if search(r"(?i)getpid|\$\$|mktemp|tempfile|tmpnam", line):
        return False
    if language == "perl":
        if (
            search(r"(?:\$\w+|->|\])\s*\{\s*[\"']?\Z", before)
            and re.match(r"[\"']?\s*\}", after)
            and not use.name.startswith((".", "TCP"))
            and unit.code[use.start] == "$"
        ):
            return not search(r"=~\s*s/[^/\n]*\$/|=~\s*s/[^/\n]*\$//|s/\(", unit.scope_text(use.start))
        literal = unit.literal_at(use.start)
        if literal is not None and literal.kind == "string" and use.start > literal.start:
            if (
                re.search(r"(?:\$\w+|->|\])\s*\{\s*\Z", unit.code[max(0, literal.start - 40) : literal.start])
                and unit.code[literal.end : literal.end + 1] == "}"
            ):
                return True
            content = unit.text[literal.inner : use.start]
            statement = unit.statement_text(use.start)
            return (
                search(r"/\Z", content) is not None
                and search(r"://\Z|://", content) is None
                and search(
                    r"\bopen\b|\bunlink\b|-[efdrs]\s|\bmkdir\b|\butime\b|\$\w*(?:file|path|dir|f|db)\w*\s*=|\bstat\b|rename",
                    statement,
                )
                is not None
            )
        return search(r"\$\w*(?:dir|path|base|db)\w*\s*\.\s*[\"']/[\"']\s*\.\s*\Z", before) is not None
    if language == "sh":
        word = search(r"[^\s\"'=<>|;&()]*[\"']?[^\s\"'=<>|;&()]*/[^\s\"'<>|;&():]*[\"']?\Z", before)
        if (
            word
            and not search(r"://|^s/|\bsed\b", word[0])
            and not re.match(r"[\"']?/(?:\d|64)", after)
            and not search(r"\becho\b[^>]*\Z|\bprintf\b[^>]*\Z|\blogger\b", before.rpartition("\n")[2])
        ):
            return True
        return (
            search(r">>?\s*[\"']?\Z", before) is not None
            or search(
                r"\b(?:touch|mkdir(?:\s+-p)?|rm(?:\s+-\w+)?|cat)\s+[\"']?\Z|-[efdrs]\s+[\"']?\Z|redis-cli\s[^|;]*\Z",
                before,
            )
            is not None
        )
    if (
        language in ("ruby", "php", "go", "awk")
        and search(r"[\w\]]\s*\[\s*\Z", before)
        and re.match(r"\s*\]", after)
        and unit.bare[use.start] == unit.code[use.start]
    ):
        return not search(r"(?i)(?:env|argv|_SERVER|os\.Args)\s*\[\s*\Z", before)
    if language == "haskell":
        return (
            search(
                r"\b(?:writeFile|readFile|appendFile|doesFileExist|openFile|removeFile)\b[^\n]*/\"\s*(?:\+\+|<>)\s*\Z",
                before,
            )
            is not None
        )
    literal = unit.literal_at(use.start)
    call = unit.call(literal.start if literal is not None else use.start)
    if call is None:
        return False
    if language == "ruby" and literal is not None and re.match(r"(?:File|Dir|FileUtils|IO)\b", call.name):
        return unit.text[literal.inner : use.start].rstrip("#{").endswith("/")
    if _KEY_CALLS.search(call.last) or (
        call.last in ("get", "set", "incr", "Get", "Set", "insert")
        and search(r"(?i)redis|cache|memcache|rdb|map|db", call.name)
    ):
        return True
    if _PATH_CALLS.search(call.last) and call.index == 0 and (call.last != "open" or unit.family == "c"):
        return True
    if unit.family not in ("c", "go", "rust", "php") or not _FORMATS.search(call.last.rstrip("!")):
        return False
    if call.last == "Join" and call.name.startswith(("filepath", "path")):
        return True
    if call.last == "join" and language == "rust":
        return True
    texts = [unit.content(one) for one in unit.literals_in(call.open, call.close)]
    shape = texts[0] if texts else ""
    if language == "rust":
        shape = re.sub(r"\{[^{}]*\}", "%s", shape)
    return (
        re.match(r"(?:/|\./|\.\./|%s/|[\w.%-]+/)", shape) is not None
        and re.search(r"/[\w.-]*%s(?:\.[a-z]+)?\Z|/%s", shape) is not None
        and "://" not in shape
        and " " not in shape
    )


_FORMATS: Final = re.compile(r"(?:sprintf|snprintf|asprintf|Sprintf|format|str_copy\dS?|Join|join|PathBuf|push)\Z")
