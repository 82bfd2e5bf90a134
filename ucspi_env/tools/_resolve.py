"""The suite's resolver: a stub that asks recursive servers, as tasks that never block (see `_tasks`).

How a question is asked. Each attempt has a UDP socket of its own, connected (so only that server can answer, and its
refusal is heard), with a source port chosen by the kernel and an ID from `os.urandom`. Servers are asked in turn. While
one keeps silent the next is asked after a pause (1.5 s in the first round, 3 s in the second, 6 s in the third), but
its late answer still counts; a server that refuses, fails or answers nonsense is not asked again. The answer "no such
name" or "no such records" is an empty list. When 12 s have passed, or no server is left, it is a `LookupTroubleError`;
C's tools take up to 59 s for a question, and then say that the name does not exist. A truncated answer is asked for
again over TCP, within the same 12 s. Packets that answer another question are ignored.

Reverse look-ups ask DNS alone, as C's do: /etc/hosts has names for addresses that nobody has vouched for, and is not
read by PTR, paranoid or DNS list look-ups. Host operands are another matter: see `Resolver.host_addresses`.
"""

from __future__ import annotations

import _socket
import errno
import os
import time

from ucspi_env._address import normalised, parse_ip
from ucspi_env._model import Endpoint
from ucspi_env.tools._dial import SOCK_DGRAM, SOCK_STREAM, connected, dial, endpoint_of
from ucspi_env.tools._dnsconf import (
    LOCAL_SERVERS,
    rewrite_rules,
    rewritten,
    servers_from_resolv_conf,
    servers_from_variable,
)
from ucspi_env.tools._dnswire import (
    AAAA,
    NOERROR,
    NXDOMAIN,
    PTR,
    TXT,
    A,
    Answer,
    Framed,
    WireError,
    decode_answer,
    encode_query,
    name_from_text,
    name_of,
    name_to_text,
    reverse_name,
    text_of,
)
from ucspi_env.tools._program import EXIT_TROUBLE, Stop, fatal
from ucspi_env.tools._tasks import Group, Outcome, Wait, complete, gather

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from ipaddress import IPv4Address, IPv6Address

    from ucspi_env.tools._dnswire import Name
    from ucspi_env.tools._tasks import Task

    IPAddress = IPv4Address | IPv6Address

PAUSES = (1.5, 3.0, 6.0)  # seconds for a server to answer before the next one is asked, by round
PATIENCE = 12.0  # seconds for a question in all
# Once one family has addresses, the other gets this many seconds more, so that a lost answer costs no more than that
# (RFC 8305, section 3, waits for AAAA for at least 0.05 s). An A record is missed more, if IPv6 then turns out dead.
AAAA_GRACE = 0.25
A_GRACE = 1.0
MAX_STRAYS = 64  # packets that are not the answer, after which a socket is given up: somebody is guessing

_DIGITS = frozenset("0123456789")
_HEX = frozenset("0123456789abcdefABCDEF")


class LookupTroubleError(OSError):
    """DNS did not say: nobody knows whether the name exists. Perhaps temporary. ``errno`` says what was wrong."""

    def __init__(self, number: int | None) -> None:
        number = number or errno.EIO
        super().__init__(number, os.strerror(number))


class BadHostError(ValueError):
    """A host operand that looks like an address and is none, so that nobody is asked about it."""


class Resolver:
    """Asks the servers that the environment names.

    Attributes:
        own: whether host operands go to these servers as well (``$DNSCACHEIP`` is set), rather than to the system's
            resolver.
        warning: one line about a ``$DNSCACHEIP`` that cannot be used as it is, or an empty string.
    """

    def __init__(
        self,
        servers: Sequence[Endpoint] | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        resolv_conf: str = "/etc/resolv.conf",
        pauses: Sequence[float] = PAUSES,
        patience: float = PATIENCE,
    ) -> None:
        """Take the settings; no file is read yet.

        Args:
            servers: ask these (with their ports) and look at no settings.
            environ: for DNSCACHEIP, DNSREWRITEFILE and LOCALDOMAIN; this process's own if None.
            resolv_conf: the file that names servers and domains; read when needed, again when it has changed.
            pauses: seconds until the next server is asked, by round.
            patience: seconds for a question in all.
        """
        self._environ = os.environ if environ is None else environ
        self._resolv_conf = resolv_conf
        self._pauses = pauses
        self._patience = patience
        self._seen: tuple[int, int, int] | None = None
        self._read: tuple[Endpoint, ...] = LOCAL_SERVERS
        self._given = tuple(servers or ())
        self.own: bool = servers is not None
        self.warning: str = ""
        variable = self._environ.get("DNSCACHEIP", "")
        if servers is None and variable:
            self.own = True
            found, rest = servers_from_variable(variable)
            self._given = tuple(found)
            if rest:
                used = ", ".join(str(server.ip) for server in found) or resolv_conf
                self.warning = f"DNSCACHEIP: {rest!a} is not an IP address; asking {used}"

    def servers(self) -> Sequence[Endpoint]:
        """The servers to ask now, in order."""
        if self._given:
            return self._given
        try:
            state = os.stat(self._resolv_conf)
        except OSError:
            return LOCAL_SERVERS
        seen = (state.st_mtime_ns, state.st_ino, state.st_size)
        if seen != self._seen:
            self._seen = seen
            self._read = tuple(servers_from_resolv_conf(_text_of_file(self._resolv_conf) or "")) or LOCAL_SERVERS
        return self._read

    def ptr(self, ip: IPAddress) -> Task[str | None]:
        r"""The first name of an address, or None if it has none.

        The text is `name_to_text`'s: nothing but ``a-z 0-9 - _ . \``. It is whatever the owner of the address likes,
        an address in digits for instance; see `verify_ptr`.

        Raises:
            LookupTroubleError: nobody knows.
        """
        records = yield from self._ask(reverse_name(normalised(ip)), PTR)
        return name_to_text(name_of(records[0])) if records else None

    def verify_ptr(self, ip: IPAddress, name: str) -> Task[bool]:
        """Whether ``name`` has ``ip`` among its addresses, so that both owners agree (tcpserver's paranoid check).

        Only the address's own family is asked for. A name that reads as an address, or as a number, is no name; what
        could not be asked is not confirmed.
        """
        ip = normalised(ip)
        try:
            if literal(name) is not None:
                return False
            wire = name_from_text(name)
            records = yield from self._ask(wire, A if ip.version == 4 else AAAA)
        except (BadHostError, WireError, LookupTroubleError):
            return False
        return ip.packed in records

    def addresses(self, name: str) -> Task[list[IPAddress]]:
        """All addresses of a name, IPv6 first, each family in its server's order; empty if it has none.

        Both families are asked for at the same time. Trouble with one of them is only trouble if the other has nothing.

        Raises:
            LookupTroubleError: nobody knows.
        """
        wire = _name(name)
        outcomes = yield from gather(self._ask(wire, AAAA), self._ask(wire, A), patience=_patience)
        found: dict[IPAddress, None] = {}
        for outcome in outcomes:
            for record in outcome.value or ():
                found[_ip(record)] = None
        if not found:
            for outcome in outcomes:
                outcome.result()
        return list(found)

    def a(self, name: str) -> Task[list[IPv4Address]]:
        """The IPv4 addresses of a name, by A records; empty if it has none.

        Raises:
            LookupTroubleError: nobody knows.
        """
        from ipaddress import IPv4Address

        records = yield from self._ask(_name(name), A)
        return [IPv4Address(record) for record in records]

    def txt(self, name: str) -> Task[list[bytes]]:
        """The TXT records of a name, the strings of each joined; empty if it has none. Any byte may be in them.

        Raises:
            LookupTroubleError: nobody knows.
        """
        records = yield from self._ask(_name(name), TXT)
        return [text_of(record) for record in records]

    def host_addresses(self, host: str, *, ipv4_only: bool = False) -> Task[list[Endpoint]]:
        """The addresses of a host operand, without ports, best first; empty if there are none, or no such name.

        An address in any usual spelling stands for itself: with a zone, in brackets, with leading zeros (decimal) or a
        dot at its end. ``0`` and the empty text are ``::`` and ``0.0.0.0``. Anything else is a name. If ``$DNSCACHEIP``
        is set, these servers are asked about it, after DJB's rewriting (`rewrite_rules`); ``localhost`` is loopback
        nevertheless (RFC 6761, section 6.3). Otherwise the system's resolver is, so /etc/hosts works: that one blocks,
        so this task is for operands, not for the middle of serving.

        Args:
            host: the operand.
            ipv4_only: look up only IPv4 addresses (``-4``). An IPv6 address that is spelt out stands for itself still.

        Raises:
            BadHostError: it looks like an address and is none (``127.0.0.257``, ``12345::1``, ``127.1``).
            LookupTroubleError: nobody knows.
        """
        if host in ("", "0"):
            return [Endpoint("::"), Endpoint("0.0.0.0")][ipv4_only:]  # noqa: S104 - what the operand means
        if not self.own:
            address = literal(host)
            return [address] if address else _system_addresses(host, ipv4_only=ipv4_only)
        if host.lower().rstrip(".") == "localhost":
            return [Endpoint("::1"), Endpoint("127.0.0.1")][ipv4_only:]
        for name in rewritten(host, self._rules()):
            address = literal(name)
            if address is not None:
                return [address]
            found = yield from (self.a(name) if ipv4_only else self.addresses(name))
            if found:
                return [Endpoint(ip) for ip in found]
        return []

    def _rules(self) -> list[str]:
        path = self._environ.get("DNSREWRITEFILE", "/etc/dnsrewrite")
        return rewrite_rules(
            self._environ, _text_of_file(path), _text_of_file(self._resolv_conf) or "", _socket.gethostname()
        )

    def _ask(self, name: Name, kind: int) -> Task[list[bytes]]:
        """The records of one type, from the first server that answers."""
        now = time.monotonic()
        deadline = now + self._patience
        servers = dict.fromkeys(self.servers())
        turns = [(server, pause) for pause in self._pauses for server in servers]
        asked: list[Endpoint] = []  # by the attempt's number
        failed: set[Endpoint] = set()
        number = errno.ETIMEDOUT
        group: Group[list[bytes]] = Group()
        turn = now  # when the next server is asked
        try:
            while True:
                while turns and turn <= now and len(failed) < len(servers):
                    server, pause = turns.pop(0)
                    if server not in failed:
                        asked.append(server)
                        group.start(_attempt(server, name, kind, deadline))
                        turn = now + pause
                if not group or len(failed) == len(servers):
                    break
                wait = group.wait(min(turn, deadline) if turns else deadline)
                ready = yield wait
                now = max(time.monotonic(), wait.until) if not ready else time.monotonic()
                for attempt, outcome in group.resume(ready):
                    if outcome.error is None:
                        return outcome.result()
                    if not isinstance(outcome.error, OSError):
                        raise outcome.error
                    failed.add(asked[attempt])
                    number = outcome.error.errno or number
                    turn = now  # no reason to let the next one wait
                if now >= deadline:
                    break
        finally:
            group.close()
        raise LookupTroubleError(number)


def _attempt(server: Endpoint, name: Name, kind: int, deadline: float) -> Task[list[bytes]]:
    """Ask one server; returns the records, raises an OSError if it has no use."""
    try:
        answer = yield from _over_udp(server, name, kind, deadline)
        if answer.truncated:
            answer = yield from _over_tcp(server, name, kind, deadline)
    except WireError:
        raise LookupTroubleError(errno.EPROTO) from None
    if answer.rcode == NXDOMAIN:
        return []
    if answer.rcode != NOERROR or answer.lame:
        raise LookupTroubleError(errno.EAGAIN)
    return answer.records


def _over_udp(server: Endpoint, name: Name, kind: int, deadline: float) -> Task[Answer]:
    ident = int.from_bytes(os.urandom(2), "big")
    sock = dial(server, SOCK_DGRAM)
    try:
        sock.send(encode_query(ident, name, kind))
        strays = 0
        while strays < MAX_STRAYS:
            ready = yield Wait(deadline, read=[sock])
            if not ready:
                raise LookupTroubleError(errno.ETIMEDOUT)
            try:
                packet = sock.recv(65535)
            except BlockingIOError:
                continue
            answer = decode_answer(packet, ident, name, kind)
            if answer is not None:
                return answer
            strays += 1
        raise LookupTroubleError(errno.EPROTO)
    finally:
        sock.close()


def _over_tcp(server: Endpoint, name: Name, kind: int, deadline: float) -> Task[Answer]:
    ident = int.from_bytes(os.urandom(2), "big")
    query = encode_query(ident, name, kind)
    query = len(query).to_bytes(2, "big") + query
    sock = dial(server, SOCK_STREAM)
    try:
        yield from connected(sock, deadline)
        while query:
            try:
                query = query[sock.send(query) :]
            except BlockingIOError:
                if not (yield Wait(deadline, write=[sock])):
                    raise LookupTroubleError(errno.ETIMEDOUT) from None
        framed = Framed()
        message = None
        while message is None:
            if not (yield Wait(deadline, read=[sock])):
                raise LookupTroubleError(errno.ETIMEDOUT)
            try:
                data = sock.recv(65537)
            except BlockingIOError:
                continue
            if not data:
                raise LookupTroubleError(errno.EPROTO)
            message = framed.feed(data)
    finally:
        sock.close()
    answer = decode_answer(message, ident, name, kind)
    # There is nobody else on this connection, so a stray is nonsense; and nothing larger could be asked for.
    if answer is None or answer.truncated:
        raise LookupTroubleError(errno.EPROTO)
    return answer


def literal(text: str) -> Endpoint | None:
    """The address that a host operand spells, or None if it is a name.

    Raises:
        BadHostError: it can be neither.
    """
    inner = text[:-1] if text.endswith(".") else text
    if inner.startswith("[") and inner.endswith("]") and ":" not in inner:
        inner = inner[1:-1]  # plain ucspi-tcp took brackets around IPv4 addresses
    try:
        ip, zone = parse_ip(inner)
    except ValueError:
        pass
    else:
        return Endpoint(ip, zone=zone)
    if "\0" in text:
        raise BadHostError("no host name has a NUL in it")
    if ":" in text or "[" in text or "]" in text:
        raise BadHostError("this is not an IPv6 address")
    labels = inner.split(".")
    if not any(labels):
        raise BadHostError("this is not a host name")
    if all(map(_is_number, labels)):
        if len(labels) == 4:
            raise BadHostError("the numbers of an IPv4 address are 0 to 255")
        raise BadHostError("an IPv4 address has four numbers, 0 to 255")
    return None


def _is_number(label: str) -> bool:
    """Whether inet_aton(3) takes it for one, which reads octal, hex, and addresses of fewer than four numbers."""
    if label[:2] in ("0x", "0X"):
        return _HEX.issuperset(label[2:])
    return bool(label) and _DIGITS.issuperset(label)


def figure_out(program: str, host: str, resolver: Resolver, *, ipv4_only: bool = False) -> list[Endpoint]:
    """`Resolver.host_addresses` for a program's operand, blocking, with C's words for what goes wrong.

    Returns:
        At least one address.

    Raises:
        Stop: ``temporarily unable to figure out IP address for HOST: …`` or ``no IP address for HOST``; 111 both.
    """
    try:
        found = complete(resolver.host_addresses(host, ipv4_only=ipv4_only))
    except BadHostError as error:
        raise Stop(EXIT_TROUBLE, f"{program}: fatal: no IP address for {host}: {error}") from None
    except LookupTroubleError as error:
        raise fatal(program, f"temporarily unable to figure out IP address for {host}", error) from None
    if not found:
        raise fatal(program, f"no IP address for {host}")
    return found


def _name(text: str) -> Name:
    try:
        return name_from_text(text)
    except WireError:
        raise LookupTroubleError(errno.EPROTO) from None


def _ip(packed: bytes) -> IPAddress:
    from ipaddress import IPv4Address, IPv6Address

    return IPv4Address(packed) if len(packed) == 4 else normalised(IPv6Address(packed))


def _patience(outcomes: Sequence[Outcome[list[bytes]] | None]) -> float | None:
    """How long the family that is still missing gets once the other one is there."""
    aaaa, a = outcomes
    if a is not None and a.value:
        return AAAA_GRACE
    if aaaa is not None and aaaa.value:
        return A_GRACE
    return None


def _system_addresses(host: str, *, ipv4_only: bool) -> list[Endpoint]:
    """What getaddrinfo(3) says, in its order."""
    _name(host)  # what DNS cannot carry fails alike everywhere
    try:
        family = _socket.AF_INET if ipv4_only else _socket.AF_UNSPEC
        found = _socket.getaddrinfo(os.fsencode(host), None, family, SOCK_STREAM)
    except _socket.gaierror as error:
        if error.errno in (_socket.EAI_NONAME, getattr(_socket, "EAI_NODATA", _socket.EAI_NONAME)):
            return []
        raise LookupTroubleError(errno.EAGAIN) from None
    except OSError as error:
        raise LookupTroubleError(error.errno) from None
    endpoints: dict[Endpoint, None] = {}
    for *_, address in found:
        end = endpoint_of(address)  # type: ignore[arg-type]  # typeshed also knows the form without IPv6 support
        endpoints[Endpoint(end.ip, zone=end.zone)] = None
    return list(endpoints)


def _text_of_file(path: str) -> str | None:
    """What is in a small file of settings; None if there is no such file, or it may not be read."""
    try:
        with open(path, "rb") as file:
            return os.fsdecode(file.read(65536))
    except OSError:
        return None
