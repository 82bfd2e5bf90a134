"""The door of ``ucspi-envcheck``.

``run``, ``shim`` and ``shell`` stand on every connection's path, so they are handed over before click is imported.
Everything else, their ``--help`` too, is click's.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn

EXIT_USAGE = 2
"""Wrong use of ucspi-envcheck, as click has it; programs of the suite say 100."""
EXIT_NOTHING = 3
"""There is nothing to judge: no super-server speaks."""
_INTERRUPTED = 128 + 2


def lean(name: str) -> Callable[[Sequence[str]], int]:
    """The function behind a command that must start quickly."""
    from importlib import import_module

    main: Callable[[Sequence[str]], int] = import_module(f"ucspi_env.envcheck._{name}").main
    return main


def wants_help(arguments: Sequence[str]) -> bool:
    """Whether ``--help`` stands among the command's own options, before ``--`` and the program."""
    for argument in arguments:
        if argument == "--" or not argument.startswith("-"):
            return False
        if argument == "--help":
            return True
    return False


def hand_over(main: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> int:
    """Run a lean command; its complaints go to stderr, and wrong use is 2 here."""
    from ucspi_env.tools._program import EXIT_USAGE as SUITE_USAGE
    from ucspi_env.tools._program import Stop, write_line

    try:
        return main(arguments)
    except Stop as stop:
        for line in stop.lines:
            write_line(line)
        return EXIT_USAGE if stop.status == SUITE_USAGE else stop.status
    except KeyboardInterrupt:
        return _INTERRUPTED


def run() -> NoReturn:
    """The console script."""
    arguments = sys.argv[1:]
    if arguments and arguments[0] in ("run", "shim", "shell") and not wants_help(arguments[1:]):
        status = hand_over(lean(arguments[0]), arguments[1:])
    else:
        from ucspi_env.envcheck.cli import perform

        status = perform(arguments)
    sys.exit(status)
