"""Run scripts for tcpserver out of `Service` values. Nothing here writes a file."""

from __future__ import annotations

import os
import shlex

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ucspi_env.tools._inetd import Service


def directory_names(services: Iterable[Service]) -> list[str]:
    """A name for each service's directory: portable characters only, no two alike."""
    taken: set[str] = set()
    names: list[str] = []
    for service in services:
        safe = "".join(char if char.isascii() and (char.isalnum() or char in "._-+") else "_" for char in service.name)
        if not safe or safe[0] in ".-":
            safe = f"_{safe}"
        name = safe
        number = 2
        while name in taken:
            name = f"{safe}-{number}"
            number += 1
        taken.add(name)
        names.append(name)
    return names


def run_script(service: Service, tcpserver: str = "tcpserver") -> str:
    """The run script of a service: plain sh, to be started in the service's directory by daemontools, runit or s6.

    Args:
        service: one without an obstacle.
        tcpserver: the program's name, or its path.
    """
    lines = [
        "#!/bin/sh",
        f"# {_comment(service.name)}, converted from {_comment(service.where)}.",
        "# Unlike under inetd the program's stderr goes to the log and not to the caller.",
        "exec 2>&1",
    ]
    if service.umask:
        lines.append(f"umask {service.umask}")
    # An unknown user must not leave the program running as root: without a number nothing is started.
    if service.user:
        lines.append(f"uid={_id('id -u', service.user)}")
    if service.group:
        lines.append(f"gid={_group(service.group)}")
    elif service.user:
        lines.append(f"gid=$(id -g -- {shlex.quote(service.user)}) || exit 111")
    # Only settings whose names the shell itself can set get this far.
    lines += [f"export {name}={shlex.quote(value)}" for name, value in service.environment.items()]
    if service.rules is not None:
        lines.append("tcprules rules.cdb rules.tmp <rules || exit 111")
    lines.append("exec " + " \\\n  ".join(_command(service, tcpserver)))
    return "\n".join(lines) + "\n"


def rules_file(service: Service) -> str | None:
    """The text that the run script compiles with tcprules; None if anybody may connect."""
    if service.rules is None:
        return None
    return "".join(f"{line}\n" for line in [f"# Access to {_comment(service.name)}", *service.rules])


def _command(service: Service, tcpserver: str) -> list[str]:
    """The command, an element per line of the script."""
    start = shlex.quote(tcpserver)
    if service.nice:
        start = f"nice -n {service.nice} {start}"
    flags = "-v" + ("p" if service.wants_names else "H") + ("" if service.wants_ident else "R")
    if service.nodelay:
        flags += "D"
    options = [flags, "-l 0", f"-c {service.limit}"]
    if service.per_source is not None:
        options.append(f"-C {service.per_source}")
    if service.user:
        options.append('-u "$uid"')
    if service.group or service.user:
        options.append('-g "$gid"')
    if service.rules is not None:
        options.append("-x rules.cdb")
    # Names that begin with a dash are nobody's, but must not become options.
    where = f"-- {shlex.quote(service.host)} {shlex.quote(service.port)}"
    return [f"{start} {' '.join(options)}", where, " ".join(map(shlex.quote, _program(service)))]


def _program(service: Service) -> list[str]:
    name, *arguments = service.argv
    if name in (service.server, os.path.basename(service.server)):
        return [service.server, *arguments]
    return ["argv0", service.server, name, *arguments]


def _id(command: str, user: str) -> str:
    if user.isascii() and user.isdigit():
        return user
    return f"$({command} -- {shlex.quote(user)}) || exit 111"


def _group(group: str) -> str:
    if group.isascii() and group.isdigit():
        return group
    return f'$(getent group {shlex.quote(group)} | cut -d: -f3) && [ "$gid" ] || exit 111'


def _comment(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)
