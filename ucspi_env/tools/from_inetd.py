"""ucspi-from-inetd: turn inetd's and xinetd's services into run scripts for tcpserver.

Interface: ``ucspi-from-inetd [ -t tcpserver ] [ -d directory ] file …``. A file is an inetd.conf or in xinetd's
    language, which is
told by its content; of a directory (xinetd.d) every file is read whose name has no dot and does not end with ``~``.
With ``-d`` each service gets a directory with an executable ``run`` (and ``rules``, where access is limited), as
daemontools, runit and s6 want them; without it the scripts are printed. ``-t`` says how tcpserver is called in them.

What is different from before, and which services cannot be carried and why, is told on stderr.

Exit codes: 0; 100 for a usage error, for lines that cannot be read, or if a directory to be made is there already
(nothing is written then); 111 for trouble with files.
"""

from __future__ import annotations

import os

from ucspi_env.tools._inetd import (
    Include,
    Section,
    Service,
    Unreadable,
    is_xinetd,
    read_inetd,
    read_sections,
    read_xinetd,
)
from ucspi_env.tools._program import EXIT_USAGE, Stop, fatal, scan_options, start, usage, write_line
from ucspi_env.tools._runscript import directory_names, rules_file, run_script

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

PROGRAM = "ucspi-from-inetd"
SYNOPSIS = f"{PROGRAM} [ -t tcpserver ] [ -d directory ] file ..."
INCLUDE_DEPTH = 8
"""Includes within includes; more are a circle."""


class Reader:
    """Gathers services from files and from what they include.

    Attributes:
        services: in the order of the files.
        complaints: lines that could not be read.
    """

    def __init__(self) -> None:
        self.services: list[Service] = []
        self.complaints: list[str] = []
        self._sections: list[Section] = []

    def read(self, path: str) -> None:
        """Read a file, or all files of a directory.

        Raises:
            Stop: a file cannot be read; exit 111.
        """
        if os.path.isdir(path):
            for name in self._names(path):
                self._read_file(os.path.join(path, name), 0)
        else:
            self._read_file(path, 0)

    def finish(self) -> list[str]:
        """Make services of all sections, which share their defaults; return the places of those switched off."""
        services, disabled = read_xinetd(self._sections)
        if services:
            self.complaints.append(
                "note: xinetd itself obeys hosts.allow and hosts.deny (libwrap); tcpserver does not: "
                "write their rules for -x, or run the program by tcpd"
            )
        self.services += services
        return disabled

    def _names(self, directory: str) -> list[str]:
        try:
            names = sorted(os.listdir(directory))
        except OSError as error:
            raise fatal(PROGRAM, f"unable to read {directory}", error) from None
        return [
            name
            for name in names
            if "." not in name and not name.endswith("~") and os.path.isfile(os.path.join(directory, name))
        ]

    def _read_file(self, path: str, depth: int) -> None:
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                text = file.read()
        except OSError as error:
            raise fatal(PROGRAM, f"unable to read {path}", error) from None
        if not is_xinetd(text):
            for item in read_inetd(text, path):
                if isinstance(item, Service):
                    self.services.append(item)
                else:
                    self._complain(item)
            return
        for found in read_sections(text, path):
            if isinstance(found, Section):
                self._sections.append(found)
            elif isinstance(found, Unreadable):
                self._complain(found)
            else:
                self._include(found, depth)

    def _include(self, include: Include, depth: int) -> None:
        if depth >= INCLUDE_DEPTH:
            self._complain(Unreadable(f"{include.where}: includes go round in a circle"))
            return
        names = self._names(include.path) if include.directory else [""]
        for name in names:
            self._read_file(os.path.join(include.path, name) if name else include.path, depth + 1)

    def _complain(self, error: Unreadable) -> None:
        self.complaints.append(f"error: {error}")


def make_directories(parent: str, services: Sequence[tuple[str, Service]], tcpserver: str) -> None:
    """Write each service's directory.

    Raises:
        Stop: one is there already (100, and none is written), or it cannot be written (111).
    """
    taken = [path for name, _ in services if os.path.lexists(path := os.path.join(parent, name))]
    if taken:
        raise Stop(EXIT_USAGE, *(f"{PROGRAM}: fatal: {path} is there already; move it away" for path in taken))
    for name, service in services:
        path = os.path.join(parent, name)
        try:
            os.makedirs(path)
            rules = rules_file(service)
            if rules is not None:
                _write(os.path.join(path, "rules"), rules, 0o666)
            _write(os.path.join(path, "run"), run_script(service, tcpserver), 0o777)
        except OSError as error:
            raise fatal(PROGRAM, f"unable to write {path}", error) from None


def _write(path: str, text: str, mode: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(fd, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)


def main(arguments: Sequence[str]) -> int:
    """Convert; the exit code.

    Raises:
        Stop: usage, or trouble with files.
    """
    options, files = scan_options(PROGRAM, SYNOPSIS, arguments, "t:d:")
    chosen = dict(options)
    if not files:
        raise usage(PROGRAM, SYNOPSIS)
    tcpserver = chosen.get("t", "tcpserver")
    reader = Reader()
    for path in files:
        reader.read(path)
    disabled = reader.finish()

    carried = [service for service in reader.services if not service.obstacle]
    named = list(zip(directory_names(carried), carried, strict=True))
    if "d" in chosen:
        make_directories(chosen["d"], named, tcpserver)
    else:
        for name, service in named:
            rules = rules_file(service)
            shown = "" if rules is None else f"# {name}/rules\n{rules}\n"
            write_line(f"# {name}/run\n{run_script(service, tcpserver)}\n{shown}".removesuffix("\n"), 1)

    for place in disabled:
        write_line(f"{PROGRAM}: {place}: left out, it is disabled")
    for service in reader.services:
        about = f"{PROGRAM}: {service.where}: {service.name}"
        if service.obstacle:
            write_line(f"{about}: left out, {service.obstacle}")
            continue
        for note in service.notes:
            write_line(f"{about}: {note}")
        if service.per_source is not None:
            write_line(f"{about}: -C {service.per_source} needs this package's tcpserver")
    for complaint in reader.complaints:
        write_line(f"{PROGRAM}: {complaint}")
    return EXIT_USAGE if any(line.startswith("error") for line in reader.complaints) else 0


def run() -> NoReturn:
    """Be the program."""
    start(main)


if __name__ == "__main__":
    run()
