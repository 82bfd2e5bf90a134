#!/usr/bin/env python3
"""finger: tell about people (RFC 1288), from a directory with a file for each. Teaches: how to log who asked.

Under the bundled tcpserver     ucspi-tcpserver -v ::0 79 ./finger.py /var/lib/finger
Under Debian's tcpserver        tcpserver -RHl0 ::0 79 ./finger.py /var/lib/finger
Under s6                        s6-tcpserver :: 79 ./finger.py /var/lib/finger
Under systemd (Accept=yes)      ExecStart=/usr/local/bin/finger.py /var/lib/finger with StandardInput=socket
Under inetd                     79 stream tcp6 nowait nobody /usr/local/bin/finger.py finger.py /var/lib/finger
Then ask it                     echo alice | nc ::1 79
"""

import sys
from pathlib import Path

import ucspi_env

LONGEST_QUERY = 512


def finger(session: ucspi_env.Session) -> None:
    directory = Path(sys.argv[1])
    query = session.reader.readline(LONGEST_QUERY).decode("ascii", "replace").strip()
    # key=value, and the port behind brackets: "::1:79" could be cut anywhere. The query is a stranger's word, so it
    # is logged escaped, and last.
    sys.stderr.write(f"finger: peer={session.remote} query={query!a}\n")
    if not query:
        people = sorted(path.name for path in directory.iterdir() if path.is_file())
        answer = "\r\n".join(people).encode()
    elif query.isalnum() and (directory / query).is_file():
        answer = (directory / query).read_bytes().replace(b"\n", b"\r\n")
    else:
        answer = b"no such person"
    session.writer.write(answer.rstrip() + b"\r\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: finger.py directory")
    ucspi_env.serve(finger)
