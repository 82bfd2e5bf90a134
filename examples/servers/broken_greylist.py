#!/usr/bin/env python3
"""broken: greylist.py as it must not be. The mistake: addresses are stored as 32-bit numbers.

inet_aton reads IPv4 and nothing else: OSError for everybody else, before the SMTP server is even started. Catching it
and going on would be worse: then no IPv6 caller is ever asked to come back.
"""

import os
import socket
import sqlite3
import struct
import sys

(number,) = struct.unpack("!I", socket.inet_aton(os.environ.get("TCPREMOTEIP", "")))
table = sqlite3.connect(sys.argv[1], timeout=20)
table.execute("CREATE TABLE IF NOT EXISTS seen (ip INTEGER PRIMARY KEY)")
known = table.execute("SELECT 1 FROM seen WHERE ip = ?", (number,)).fetchone()
with table:
    table.execute("INSERT OR IGNORE INTO seen VALUES (?)", (number,))
table.close()
sys.stdout.write("220 welcome back\r\n" if known else "421 come back later\r\n")
