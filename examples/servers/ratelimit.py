#!/usr/bin/env python3
"""ratelimit: so many connections a minute from one network, then run a program. Teaches: what to count callers by.

Counting single IPv6 addresses limits nobody: whoever has a /64 has 2^64 of them.

Under the bundled tcpserver     ucspi-tcpserver ::0 7777 ./ratelimit.py /run/rates 30 ./echo.py
Under Debian's tcpserver        tcpserver -RHl0 ::0 7777 ./ratelimit.py /run/rates 30 ./echo.py
Under s6                        s6-tcpserver :: 7777 ./ratelimit.py /run/rates 30 ./echo.py
Under systemd (Accept=yes)      ExecStart=/usr/local/bin/ratelimit.py /run/rates 30 /usr/local/bin/echo.py
Under inetd                     7777 stream tcp6 nowait nobody /usr/local/bin/ratelimit.py ratelimit.py rates 30 echo.py
Then talk to it                 nc ::1 7777
"""

import fcntl
import os
import sys
import time
from pathlib import Path

import ucspi_env

WINDOW = 60.0  # seconds


def allowed(directory: Path, key: str, most: int) -> bool:
    """Note this call, and say whether it is one of the first ``most`` within the window."""
    with (directory / key).open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # until it is closed: others of this network wait for their turn
        file.seek(0)
        now = time.time()
        calls = [text for text in file.read().split() if now - WINDOW < float(text) <= now]
        if len(calls) >= most:
            return False
        file.truncate(0)
        file.write("\n".join([*calls, str(now)]))
    return True


def main() -> None:
    if len(sys.argv) < 4 or not sys.argv[2].isdigit():
        sys.exit("usage: ratelimit.py directory calls-a-minute program [arguments]")
    try:
        peer = ucspi_env.remote(strict=True)
        # Hex digits without dots, colons or a zone: a safe file name, and one spelling for one network.
        go_on = allowed(Path(sys.argv[1]), peer.key(v4=32, v6=64), int(sys.argv[2]))
    except (ucspi_env.UCSPIError, OSError) as error:
        sys.exit(f"ratelimit: fatal: {error}")
    if not go_on:
        sys.stderr.write(f"ratelimit: too many peer={peer} network={peer.network()}\n")
        sys.stdout.write("sorry, too many connections from your network\r\n")
        return
    os.execvp(sys.argv[3], sys.argv[3:])


if __name__ == "__main__":
    main()
