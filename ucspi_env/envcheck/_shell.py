"""The peer in variables of a POSIX shell script: ``eval "$(ucspi-envcheck shell || echo exit 111)"``.

Prints assignments of ``UCSPI_REMOTE_IP``, ``_PORT``, ``_FAMILY`` (4 or 6), ``_ZONE``, ``_KEY``, ``_NETWORK``,
``_HOST``, ``_INFO``, ``UCSPI_LOCAL_IP``, ``_PORT``, ``UCSPI_PROTO``, ``UCSPI_DIALECT`` and ``UCSPI_EVIDENCE``, and
unsets those that are not known. On trouble it prints the unsets and ``exit 111``, so that the script cannot go on
with what was there before.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ucspi_env._model import Connection

NAME = "ucspi-envcheck"
SYNOPSIS = f"{NAME} shell [--strict] [--trust WORDS] [--fd N]"
NAMES = (
    "UCSPI_REMOTE_IP",
    "UCSPI_REMOTE_PORT",
    "UCSPI_REMOTE_FAMILY",
    "UCSPI_REMOTE_ZONE",
    "UCSPI_REMOTE_KEY",
    "UCSPI_REMOTE_NETWORK",
    "UCSPI_REMOTE_HOST",
    "UCSPI_REMOTE_INFO",
    "UCSPI_REMOTE_UID",
    "UCSPI_REMOTE_GID",
    "UCSPI_LOCAL_IP",
    "UCSPI_LOCAL_PORT",
    "UCSPI_PROTO",
    "UCSPI_DIALECT",
    "UCSPI_EVIDENCE",
)


def quoted(value: str) -> str:
    """One word for any POSIX shell: single quotes, in which nothing is special but the quote itself."""
    return "'" + value.replace("'", "'\\''") + "'"


def assignments(values: Mapping[str, str | None]) -> str:
    """A script that sets or unsets each of `NAMES`."""
    lines: list[str] = []
    for name in NAMES:
        value = values.get(name)
        # A variable that was exported or read-only before is the script's own affair; ours are plain.
        lines.append(f"unset {name}" if value is None else f"{name}={quoted(value)}")
    return "\n".join(lines) + "\n"


def values_of(found: Connection) -> dict[str, str | None]:
    """The values for `NAMES`."""
    values: dict[str, str | None] = {
        "UCSPI_PROTO": found.proto,
        "UCSPI_DIALECT": found.dialect,
        "UCSPI_EVIDENCE": found.evidence,
    }
    if found.remote is not None:
        remote = found.remote
        values |= {
            "UCSPI_REMOTE_IP": str(remote.ip),
            "UCSPI_REMOTE_PORT": None if remote.port is None else str(remote.port),
            "UCSPI_REMOTE_FAMILY": str(remote.ip.version),
            "UCSPI_REMOTE_ZONE": remote.zone,
            "UCSPI_REMOTE_KEY": remote.key(),
            "UCSPI_REMOTE_NETWORK": str(remote.network()),
            "UCSPI_REMOTE_HOST": remote.host,
            "UCSPI_REMOTE_INFO": remote.info,
        }
    if found.unix is not None:
        values["UCSPI_REMOTE_UID"] = None if found.unix.uid is None else str(found.unix.uid)
        values["UCSPI_REMOTE_GID"] = None if found.unix.gid is None else str(found.unix.gid)
    if found.local is not None:
        values["UCSPI_LOCAL_IP"] = str(found.local.ip)
        values["UCSPI_LOCAL_PORT"] = None if found.local.port is None else str(found.local.port)
    return values


def _write(script: str) -> None:
    """Write all of it to stdout.

    Raises:
        Stop: it cannot be written (111).
    """
    import os

    from ucspi_env.tools._program import fatal

    rest = script.encode("utf-8", "surrogateescape")
    try:
        while rest:
            rest = rest[os.write(1, rest) :]
    except OSError as error:
        raise fatal(NAME, "unable to write output", error) from None


def main(arguments: Sequence[str]) -> int:
    """Print the assignments.

    Raises:
        Stop: wrong use (100). The script to evaluate ends the shell all the same.
    """
    import ucspi_env
    from ucspi_env.envcheck._run import descriptor, trusted
    from ucspi_env.tools._program import EXIT_TROUBLE, fatal, scan_options, usage

    # One write at the end: no half of a script can get out.
    script = assignments({}) + f"exit {EXIT_TROUBLE}\n"
    try:
        options, rest = scan_options(NAME, SYNOPSIS, arguments, "", ("strict", "trust=", "fd="))
        if rest:
            raise usage(NAME, SYNOPSIS, f"shell takes no operands ({rest[0]!a})")
        chosen = {"fd": "0"} | dict(options)
        found = ucspi_env.connection(
            fd=descriptor(chosen["fd"], SYNOPSIS),
            trust=trusted(chosen.get("trust"), SYNOPSIS),
            strict="strict" in chosen,
        )
        script = assignments(values_of(found))
    except ucspi_env.UCSPIError as error:
        raise fatal(NAME, str(error)) from None
    finally:
        _write(script)
    return 0
