"""``ucspi-envcheck run [options] -- PROG ARGS``: the report to stderr, then PROG in the same process."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

NAME = "ucspi-envcheck"
SYNOPSIS = f"{NAME} run [--json] [--trust WORDS] [--fd N] -- program [arguments]"


def trusted(value: str | None, synopsis: str = SYNOPSIS) -> str | None:
    """Check the value of ``--trust``; None where it was not given."""
    from ucspi_env._trust import trusted_words
    from ucspi_env.tools._program import usage

    unknown = None if value is None else trusted_words(value)[1]
    if unknown is not None:
        raise usage(NAME, synopsis, f"--trust is kernel, proxy, rules, stunnel or socat:PREFIX, not {unknown!a}")
    return value


def descriptor(value: str, synopsis: str = SYNOPSIS) -> int:
    """Read the value of ``--fd``."""
    from ucspi_env.tools._program import usage

    if not (value.isascii() and value.isdigit() and len(value) <= 6):
        raise usage(NAME, synopsis, f"--fd is the number of a descriptor, not {value!a}")
    return int(value)


def main(arguments: Sequence[str]) -> int:
    """Report and exec.

    Raises:
        Stop: wrong use (100), or PROG cannot be run (111).
    """
    from ucspi_env._facts import Facts
    from ucspi_env.envcheck._report import json_text, make_report, render
    from ucspi_env.tools._exec import become, own_environ
    from ucspi_env.tools._program import scan_options, usage, write_line

    options, program = scan_options(NAME, SYNOPSIS, arguments, "", ("json", "trust=", "fd="))
    if not program:
        raise usage(NAME, SYNOPSIS, "run needs a program")
    chosen = {"fd": "0"} | dict(options)
    trust, fd = trusted(chosen.get("trust")), descriptor(chosen["fd"])
    environ = own_environ()
    report = make_report(environ, Facts.observe(fd, trust=trust, environ=environ), trust=trust)
    if "json" in chosen:
        write_line(json_text(report))
    else:
        write_line(render(report)[:-1])
    become(NAME, program)
