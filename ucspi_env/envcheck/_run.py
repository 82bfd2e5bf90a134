"""``ucspi-envcheck run [--trust kernel|proxy] -- PROG ARGS``: the report to stderr, then PROG in the same process."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

NAME = "ucspi-envcheck"
SYNOPSIS = f"{NAME} run [--trust kernel|proxy] -- program [arguments]"


def trusted(value: str) -> str:
    """Check the value of ``--trust``."""
    from ucspi_env.tools._program import usage

    if value not in ("kernel", "proxy"):
        raise usage(NAME, SYNOPSIS, f"--trust is kernel or proxy, not {value!a}")
    return value


def main(arguments: Sequence[str]) -> int:
    """Report and exec.

    Raises:
        Stop: wrong use (100), or PROG cannot be run (111).
    """
    import sys

    from ucspi_env._facts import Facts
    from ucspi_env.envcheck._report import make_report, render
    from ucspi_env.tools._exec import become, own_environ
    from ucspi_env.tools._program import scan_options, usage

    options, program = scan_options(NAME, SYNOPSIS, arguments, "", ("trust=",))
    if not program:
        raise usage(NAME, SYNOPSIS, "run needs a program")
    trust = "kernel"
    for _, value in options:
        trust = trusted(value)
    report = make_report(own_environ(), Facts.observe(), trust=trust)
    try:
        sys.stderr.write(render(report))
        sys.stderr.flush()
    except OSError:
        pass  # nobody reads stderr; the program is run all the same
    become(NAME, program)
