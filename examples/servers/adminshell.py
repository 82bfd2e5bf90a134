#!/usr/bin/env python3
"""adminshell: a few commands for those who may. Teaches: an access list that means the same in both families.

Under the bundled tcpserver     ucspi-tcpserver ::0 7777 ./adminshell.py 127.0.0.0/8 ::1
Under Debian's tcpserver        tcpserver -RHl0 ::0 7777 ./adminshell.py 127.0.0.0/8 ::1
Under s6                        s6-tcpserver :: 7777 ./adminshell.py 127.0.0.0/8 ::1
Under systemd (Accept=yes)      ExecStart=/usr/local/bin/adminshell.py 10.0.0.0/8 with StandardInput=socket
Under inetd                     7777 stream tcp6 nowait nobody /usr/local/bin/adminshell.py adminshell.py 10.0.0.0/8
Then talk to it                 nc ::1 7777
"""

import subprocess
import sys

import ucspi_env

# What callers type chooses one of these; it never becomes part of a command.
COMMANDS = {"uptime": ["uptime"], "disks": ["df", "-h"], "memory": ["free", "-m"]}
LONGEST_LINE = 100


def admin(session: ucspi_env.Session) -> None:
    # Before the list is asked, serve(strict=True) has made sure that the address is true: ::ffff:10.0.0.1 is 10.0.0.1
    # by now, and "no address" was an end with exit 111, never a free pass.
    if session.remote is None or session.remote not in ALLOWED:
        sys.stderr.write(f"adminshell: denied peer={session.remote}\n")
        session.writer.write(b"sorry, not you\r\n")
        return
    session.writer.write(f"hello {session.remote.ip}: {', '.join(COMMANDS)} or quit\r\n".encode())
    session.writer.flush()
    while line := session.reader.readline(LONGEST_LINE):
        word = line.decode("ascii", "replace").strip()
        if word == "quit":
            return
        sys.stderr.write(f"adminshell: peer={session.remote} command={word!a}\n")
        if word in COMMANDS:
            output = subprocess.run(COMMANDS[word], stdin=subprocess.DEVNULL, capture_output=True, check=False).stdout
        else:
            output = b"no such command\n"
        session.writer.write(output.replace(b"\n", b"\r\n"))
        session.writer.flush()


if __name__ == "__main__":
    try:
        ALLOWED = ucspi_env.Networks.parse(sys.argv[1:])
    except ValueError as error:
        sys.exit(f"adminshell: fatal: {error}")
    ucspi_env.serve(admin, strict=True)
