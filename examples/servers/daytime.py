#!/usr/bin/env python3
"""daytime: say what time it is (RFC 867), to known networks. Teaches: `Networks`, and `strict` for access control.

Under the bundled tcpserver     ucspi-tcpserver ::0 7777 ./daytime.py 127.0.0.0/8 ::1
Under Debian's tcpserver        tcpserver -RHl0 ::0 7777 ./daytime.py 127.0.0.0/8 ::1
Under s6                        s6-tcpserver :: 7777 ./daytime.py 127.0.0.0/8 ::1
Under systemd (Accept=yes)      ExecStart=/usr/local/bin/daytime.py 10.0.0.0/8 with StandardInput=socket
Under inetd                     7777 stream tcp6 nowait nobody /usr/local/bin/daytime.py daytime.py 10.0.0.0/8
Then ask it                     nc 127.0.0.1 7777
"""

import sys
from datetime import UTC, datetime

import ucspi_env

try:
    known = ucspi_env.Networks.parse(sys.argv[1:])
    # strict: an address that only variables claim is no ground to let anybody in. An IPv4 caller on a dual-stack
    # socket is 10.x here, not ::ffff:10.x, so the list means what it says.
    peer = ucspi_env.remote(strict=True)
except (ucspi_env.UCSPIError, ValueError) as error:
    sys.exit(f"daytime: fatal: {error}")

if peer not in known:
    sys.exit(f"daytime: denied {peer}")
sys.stdout.write(f"{datetime.now(UTC):%a %d %b %Y %H:%M:%S UTC}\r\n")
