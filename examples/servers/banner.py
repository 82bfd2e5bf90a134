#!/usr/bin/env python3
"""banner: show what a server says first, and where. Teaches: `client_session`, for programs under tcpclient.

tcpclient tries all addresses of a name, IPv6 first and IPv4 a moment later, and starts this program on the winner, with
the connection on descriptors 6 and 7. Standard input and output stay the terminal's.

Under the bundled tcpclient     ucspi-tcpclient mail.example.org 25 ./banner.py
Under Debian's tcpclient        tcpclient -RHl0 mail.example.org 25 ./banner.py
Under s6                        s6-tcpclient mail.example.org 25 ./banner.py
"""

import sys

import ucspi_env

LONGEST_LINE = 1000

try:
    session = ucspi_env.client_session()
except ucspi_env.UCSPIError as error:
    sys.exit(f"banner: fatal: {error}")

with session:
    line = session.reader.readline(LONGEST_LINE)
    family = f"IPv{session.remote.ip.version}" if session.remote else "a UNIX-domain socket"
    # The line is a stranger's word: it must not reach a terminal as it is.
    sys.stdout.write(f"{session.remote} over {family}: {line.decode(errors='replace').strip()!a}\n")
