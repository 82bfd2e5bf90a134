"""argv0: run a program under another name.

Interface: ``argv0 realname program [ arg ... ]`` runs realname, looked for along PATH, with ``program`` as its argument
    zero.

Exit codes: the program's; 100 for a usage error; 111 if realname cannot be run.
"""

from __future__ import annotations

from ucspi_env.tools._exec import become

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

PROGRAM = "argv0"


def main(arguments: Sequence[str]) -> int:
    """Become the program named by the arguments; it returns only by raising Stop."""
    if len(arguments) < 2:
        from ucspi_env.tools._program import usage

        raise usage(PROGRAM, f"{PROGRAM} realname program [ arg ... ]")
    become(PROGRAM, arguments[1:], path=arguments[0])


def run() -> NoReturn:
    """Be the program."""
    from ucspi_env.tools._program import start

    start(main)


if __name__ == "__main__":
    run()
