#!/usr/bin/env python3
"""whoami: tell callers who they are. Teaches: `ucspi_env.remote()` is all a server needs to know about IPv6.

Under the bundled tcpserver     ucspi-tcpserver -v ::0 7777 ./whoami.py
Under Debian's tcpserver        tcpserver -RHl0 ::0 7777 ./whoami.py
Under s6                        s6-tcpserver :: 7777 ./whoami.py
Under systemd (Accept=yes)      ExecStart=/usr/local/bin/whoami.py with StandardInput=socket
Under inetd                     7777 stream tcp6 nowait nobody /usr/local/bin/whoami.py whoami.py
Then ask it                     nc ::1 7777
"""

import sys

import ucspi_env

try:
    connection = ucspi_env.connection()
except ucspi_env.UCSPIError as error:
    sys.exit(f"whoami: fatal: {error}")

peer = connection.remote or connection.unix
sys.stdout.write(f"you are {peer}\r\nyou called {connection.local or 'an address that nobody told me'}\r\n")
