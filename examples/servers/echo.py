#!/usr/bin/env python3
"""echo: send every line back. Teaches: `ucspi_env.serve` gives a function the caller and two binary streams.

Under the bundled tcpserver     ucspi-tcpserver ::0 7777 ./echo.py
Under Debian's tcpserver        tcpserver -RHl0 ::0 7777 ./echo.py
Under s6                        s6-tcpserver :: 7777 ./echo.py
Under systemd (Accept=yes)      ExecStart=/usr/local/bin/echo.py with StandardInput=socket
Under inetd                     7777 stream tcp6 nowait nobody /usr/local/bin/echo.py echo.py
Then talk to it                 nc ::1 7777
"""

import ucspi_env

LONGEST_LINE = 8192  # a caller may send gigabytes without a newline


def echo(session: ucspi_env.Session) -> None:
    while line := session.reader.readline(LONGEST_LINE):
        session.writer.write(line)
        session.writer.flush()


if __name__ == "__main__":
    ucspi_env.serve(echo)
