#!/usr/bin/env python3
"""greylist: ask strangers to come back later, then run the SMTP server. Teaches: `key` is what to store a caller by.

A customer has a whole IPv6 /64: a mail server there that returns from another address is the same one, and a spammer
who takes a new address for each attempt is, too. For IPv4 the /24 is usual: large senders return from a neighbour.

Under the bundled tcpserver     ucspi-tcpserver ::0 25 ./greylist.py /var/lib/grey.db ./smtpd.py /var/mail/in
Under Debian's tcpserver        tcpserver -RHl0 ::0 25 ./greylist.py /var/lib/grey.db ./smtpd.py /var/mail/in
Under s6                        s6-tcpserver :: 25 ./greylist.py /var/lib/grey.db ./smtpd.py /var/mail/in
Under systemd (Accept=yes)      ExecStart=/usr/local/bin/greylist.py /var/lib/grey.db smtpd.py /var/mail/in
Under inetd                     25 stream tcp6 nowait mail /usr/local/bin/greylist.py greylist.py grey.db smtpd.py in
Then talk to it                 swaks --server ::1 --to you@example.org
"""

import os
import sqlite3
import sys
import time
from contextlib import closing

import ucspi_env

WAIT = int(os.environ.get("GREYLIST_WAIT", "300"))  # seconds; 36 days without a call and a caller is a stranger again
FORGET = 36 * 86400


def first_seen(database: str, key: str, now: int) -> int:
    """When this network called for the first time; now, if it is new."""
    # Many processes at once use the file: SQLite locks it, and waits up to the timeout for its turn.
    with closing(sqlite3.connect(database, timeout=20)) as table, table:
        table.execute("CREATE TABLE IF NOT EXISTS seen (key TEXT PRIMARY KEY, first INTEGER, last INTEGER)")
        table.execute("DELETE FROM seen WHERE last < ?", (now - FORGET,))
        table.execute(
            "INSERT INTO seen VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET last = excluded.last", (key, now, now)
        )
        first: int = table.execute("SELECT first FROM seen WHERE key = ?", (key,)).fetchone()[0]
    return first


def main() -> None:
    if len(sys.argv) < 3:
        sys.exit("usage: greylist.py database program [arguments]")
    now = int(time.time())
    try:
        peer = ucspi_env.remote(strict=True)
        waited = now - first_seen(sys.argv[1], peer.key(v4=24, v6=64), now)
    except (ucspi_env.UCSPIError, sqlite3.Error) as error:
        sys.stdout.write("421 4.3.0 out of order, come back later\r\n")
        sys.exit(f"greylist: fatal: {error}")
    if waited < WAIT:
        sys.stderr.write(f"greylist: later peer={peer} network={peer.network(24, 64)}\n")
        sys.stdout.write(f"421 4.7.1 I do not know you yet, come back in {WAIT - waited} seconds\r\n")
        return
    # The program takes over: this process, its descriptors and its environment.
    os.execvp(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
