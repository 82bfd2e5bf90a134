"""rblsmtpd: turn away SMTP clients that DNS lists warn of, and run the SMTP server for all others.

Interface: ``rblsmtpd [ -bBcC ] [ -t timeout ] [ -r base[:message] ] [ -a base ] smtpd [ arg ... ]`` under a
    super-server, with the client on descriptors 0 and 1. The lists are asked all at once and decide in the order in
    which they are given; where the other options stand makes no difference. Both families can be asked about:
    ``2.0.0.127.base``, and nibbles for IPv6 (RFC 5782); an IPv4-mapped client is an IPv4 client.

Options:
    -r base: an address with a TXT record there that is not empty is turned away with that text.
    -r base:message: an address with an A record there is turned away with this text; ``%IP%`` in it is its address. The
        record must be in 127.0.0.0/8, and 127.255.255.0/24 counts as a failed look-up.
    -a base: an address with an A record there is welcome, whatever lists behind this one say.
    -b, -B: rejections are for good, 553; for now, 451 (the default).
    -c, -C: a failed look-up rejects, with 451; it accepts (the default). After one, no rejection is for good.
    -t timeout: seconds that a rejected client may talk, 60; 0 tells it and hangs up.
    -R: nothing, as there is no list that is asked unless it is told.

Environment: ``RBLSMTPD``, if it is there, decides before any list: empty accepts, a text rejects for now, a text
    behind a dash for good. ``DNSCACHEIP``, as for tcpserver. The client is who `ucspi_env.connection` says it is.

Signals: ALRM ends the talk. PIPE is not ignored.

Exit codes: smtpd's; 0 after a rejection; 100 for a usage error; 111 if smtpd cannot be run.
"""

from __future__ import annotations

import os

from ucspi_env.tools._rbl import (
    GREETING,
    Dialogue,
    List,
    Verdict,
    decide,
    finding_from_addresses,
    verdict_from_variable,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Sequence
    from typing import NoReturn

    from ucspi_env import Endpoint
    from ucspi_env.tools._resolve import Resolver
    from ucspi_env.tools._tasks import Outcome, Task
else:
    # The C half of signal. The other half imports enum, which costs more than all else that is needed here.
    import _signal as signal

PROGRAM = "rblsmtpd"
SYNOPSIS = f"{PROGRAM} [ -b ] [ -R ] [ -t timeout ] [ -r base ] [ -a base ] smtpd [ arg ... ]"
TALK = 60  # seconds
_LONGEST = 2**31 - 1  # what alarm(2) takes


def main(arguments: Sequence[str]) -> int:
    """Judge the client; become the SMTP server, or be the one that turns it away."""
    from ucspi_env.tools._exec import become, leave
    from ucspi_env.tools._program import leading_number, scan_options, usage

    bounce = closed = False
    timeout = TALK
    lists: list[List] = []
    options, operands = scan_options(PROGRAM, SYNOPSIS, arguments, "bBcCRt:r:a:")
    for option, value in options:
        if option in ("b", "B"):
            bounce = option == "b"
        elif option in ("c", "C"):
            closed = option == "c"
        elif option == "t":
            timeout = min(leading_number(value), _LONGEST)
        elif option in ("r", "a"):
            base, colon, message = value.partition(":") if option == "r" else (value, "", "")
            if not base.strip("."):
                raise usage(PROGRAM, SYNOPSIS, f"option needs the name of a DNS list -- {option}")
            lists.append(List(base, allows=option == "a", message=os.fsencode(message) if colon else None))
    if not operands:
        raise usage(PROGRAM, SYNOPSIS)
    variable = os.environ.get("RBLSMTPD")
    caller: Endpoint | None = None
    if variable is not None:
        verdict = verdict_from_variable(os.fsencode(variable))
        if verdict.text is not None:
            caller = _caller(lists=False)
    elif lists:
        caller = _caller(lists=True)
        verdict = _judged(caller, lists, bounce=bounce, closed=closed)
    else:
        verdict = Verdict(None)
    if verdict.text is None:
        become(PROGRAM, operands)
    _turn_away(caller, verdict.reply(), timeout)
    leave(0)


def _caller(*, lists: bool) -> Endpoint | None:
    """The client; None if nobody knows, which is worth a line if lists are to be asked about it."""
    import ucspi_env
    from ucspi_env.tools._program import write_line

    try:
        caller = ucspi_env.connection().remote
    except ucspi_env.UCSPIError as error:
        caller, why = None, str(error)
    else:
        why = "it came through a UNIX-domain socket"
    if caller is None and lists:
        write_line(f"{PROGRAM}: warning: unable to ask about the client: {why}")
    return caller


def _judged(caller: Endpoint | None, lists: Sequence[List], *, bounce: bool, closed: bool) -> Verdict:
    """Ask all lists, for as long as the verdict depends on it."""
    from ucspi_env.tools._program import write_line
    from ucspi_env.tools._resolve import Resolver
    from ucspi_env.tools._tasks import complete, gather

    if caller is None:
        findings: list[bytes | None] = [None] * len(lists)
    else:
        resolver = Resolver()
        if resolver.warning:
            write_line(f"{PROGRAM}: warning: {resolver.warning}")

        def patience(outcomes: Sequence[Outcome[bytes | None] | None]) -> float | None:
            return None if decide(lists, _leading(outcomes), bounce=bounce, closed=closed) is None else 0.0

        tasks = [_finding(resolver, entry, caller) for entry in lists]
        findings = _leading(complete(gather(*tasks, patience=patience)))
    verdict = decide(lists, findings, bounce=bounce, closed=closed)
    assert verdict is not None  # noqa: S101 - every list was asked, or the first ones had decided
    return verdict


def _leading(outcomes: Sequence[Outcome[bytes | None] | None]) -> list[bytes | None]:
    """The findings of the lists before the first that has not answered."""
    findings: list[bytes | None] = []
    for outcome in outcomes:
        if outcome is None or isinstance(outcome.error, TimeoutError):
            break
        findings.append(outcome.result())
    return findings


def _finding(resolver: Resolver, entry: List, caller: Endpoint) -> Task[bytes | None]:
    """What a list says about the client (see `decide`)."""
    from ucspi_env.tools._resolve import LookupTroubleError

    name = caller.dnsbl_name(entry.base)
    try:
        if entry.allows or entry.message is not None:
            return finding_from_addresses(entry, (yield from resolver.a(name)), str(caller.ip))
        return b"".join((yield from resolver.txt(name)))
    except LookupTroubleError:
        return None


def _turn_away(caller: Endpoint | None, reply: bytes, timeout: int) -> None:
    """Log the rejection, and keep the client company until it has enough or its time is up."""
    from ucspi_env._address import djb_text
    from ucspi_env.tools._copier import chunks, write
    from ucspi_env.tools._exec import default_signals
    from ucspi_env.tools._program import write_line

    address = djb_text(caller.ip) if caller else _word(os.environ.get("TCPREMOTEIP", ""))
    write_line(f"{PROGRAM}: {address} pid {os.getpid()}: {reply.decode('ascii')}")
    default_signals()
    try:
        if not timeout:
            write(1, reply + b"\r\n")
            return
        signal.signal(signal.SIGALRM, _time_is_up)
        signal.alarm(timeout)
        write(1, GREETING)
        dialogue = Dialogue(reply)
        for data in chunks(0):
            write(1, dialogue.feed(data))
            if dialogue.over:
                return
    except OSError:
        return  # the client has gone, or its connection has


def _time_is_up(_signal: int, _frame: object) -> None:
    from ucspi_env.tools._exec import leave

    leave(0)


def _word(text: str) -> str:
    """What is in the place of an address, for the log: at most 100 printable ASCII characters without a blank."""
    return "".join(c if "!" <= c <= "~" else "?" for c in text[:100])


def run() -> NoReturn:
    """Be the program."""
    from ucspi_env.tools._program import start

    start(main)


if __name__ == "__main__":
    run()
