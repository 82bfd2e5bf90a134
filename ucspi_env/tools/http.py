"""http@: fetch a page by HTTP/1.0.

Interface: ``http@ [ host [ path [ port ] ] ]``; host ``0`` is this machine, the path is empty and the port 80. The path
    is sent behind
a slash, as typed. Prints the body of the reply, byte for byte.

Exit codes: 0 if the whole body came; 100 if the server refuses (its status is 4xx) or an argument cannot be sent; 111
if the server cannot be reached, is in trouble (5xx), or its reply breaks off. A body that came with an error status is
printed all the same.

Notes: C's removes every empty line and every CR at a line end of the body as well, and never fails. The writing side
    stays open:
many web servers take its closing as the loss of their client and drop the request.
"""

from __future__ import annotations

import os

from ucspi_env.tools._clients import argument, show
from ucspi_env.tools._lines import HEADER_LIMIT, HttpBody
from ucspi_env.tools._program import EXIT_TROUBLE, EXIT_USAGE, Stop, fatal, write_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

PROGRAM = "http@"


def request(host: str, path: str, port: str) -> bytes:
    """The request, its lines ended by LF.

    Args:
        host: as given to tcpclient. In the Host field an IPv6 address is bracketed and loses its zone, which means
            nothing to anybody else (RFC 6874, RFC 9110 section 7.2).
        path: without the leading slash.
        port: a number or the name of a service, as typed.

    Raises:
        Stop: an argument contains a line break, which would make it header fields; exit 100.
    """
    for what, value in (("host", host), ("path", path), ("port", port)):
        if "\n" in value or "\r" in value:
            raise Stop(EXIT_USAGE, f"{PROGRAM}: fatal: line break in {what} {value!r}; write it as %0A or %0D")
    if ":" in host:
        host = f"[{host.strip('[]').partition('%')[0]}]"
    return os.fsencode(f"GET /{path} HTTP/1.0\nHost: {host}:{port}\n\n")


def verdict(body: HttpBody, host: str) -> int:
    """The exit code for a reply that came to its end, and a line on stderr if it is a failure.

    Raises:
        Stop: the reply is not a whole one; exit 111.
    """
    if body.header_too_long:
        raise fatal(PROGRAM, f"unable to read the reply of {host}: no empty line in its first {HEADER_LIMIT} bytes")
    if not body.header_ended:
        raise fatal(PROGRAM, f"unable to read the reply of {host}: it ends before the empty line behind its header")
    if body.length is not None and body.received < body.length:
        raise fatal(
            PROGRAM, f"unable to read the reply of {host}: it ends after {body.received} of {body.length} bytes"
        )
    if body.status < 400:
        return 0
    write_line(f"{PROGRAM}: {host} says {body.status} {body.reason}".rstrip())
    return EXIT_USAGE if body.status < 500 else EXIT_TROUBLE


def main(arguments: Sequence[str]) -> int:
    """Fetch and print; the exit code."""
    host, path, port = argument(arguments, 0, "0"), argument(arguments, 1, ""), argument(arguments, 2, "80")
    body = HttpBody()
    status = show(PROGRAM, host, port, body, say=request(host, path, port))
    return status or verdict(body, host)


def run() -> NoReturn:
    """Be the program."""
    from ucspi_env.tools._program import start

    start(main)


if __name__ == "__main__":
    run()
