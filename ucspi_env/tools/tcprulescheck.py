"""tcprulescheck: say what tcpserver would do with a caller.

Interface: ``tcprulescheck rules.cdb``, or a rules directory in its place.

Environment: ``TCPREMOTEIP`` (``0.0.0.0`` if unset), ``TCPREMOTEHOST`` and ``TCPREMOTEINFO`` describe the caller. The
address is taken by value, as tcpserver does: ``::ffff:127.0.0.1`` is ``127.0.0.1``. What is not an address is looked
for as text, as in C.

Output: the rule that matched (``rule ADDRESS:``, or ``default:``), then what it does, a line for each instruction.

Exit codes: 0 it could be said; 100 wrong usage; 111 the rules cannot be read.
"""

from __future__ import annotations

import os

from ucspi_env._address import parse_ip
from ucspi_env.tools._exec import restore_interrupt
from ucspi_env.tools._program import Stop, start, usage, write_line
from ucspi_env.tools._rules import Decision, RulesError
from ucspi_env.tools._rulesfile import RulesFile, why_unreadable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import NoReturn

    from ucspi_env._address import IPAddress

PROGRAM = "tcprulescheck"


def main(arguments: Sequence[str]) -> int:
    """Look the caller of the environment up in the rules and print what they say."""
    if not arguments:
        raise usage(PROGRAM, "tcprulescheck rules.cdb")
    path = arguments[0]
    environ = os.environ
    try:
        decision = RulesFile(path).decide(
            _address(environ.get("TCPREMOTEIP", "0.0.0.0")),  # noqa: S104 - the default of C, not a listener
            environ.get("TCPREMOTEHOST"),
            environ.get("TCPREMOTEINFO"),
        )
    except (OSError, RulesError) as error:
        lines = [f"{PROGRAM}: fatal: unable to read {path}: {why_unreadable(error)}"]
        if isinstance(error, RulesError):
            lines.append(f"{PROGRAM}: {error}")
        raise Stop(111, *lines) from None
    write_line("\n".join(_report(decision)), fd=1)
    return 0


def _address(text: str) -> IPAddress | str:
    try:
        return parse_ip(text)[0]
    except ValueError:
        return text


def _report(decision: Decision) -> Iterator[str]:
    yield "default:" if decision.key is None else f"rule {decision.key}:"
    if decision.allowed:
        yield from (f"remove environment variable {name}" for name in decision.unset)
        yield from (f"set environment variable {name}={value}" for name, value in decision.environment)
    yield "allow connection" if decision.allowed else "deny connection"


def run() -> NoReturn:
    """Be the program."""
    restore_interrupt()
    start(main)


if __name__ == "__main__":
    run()
