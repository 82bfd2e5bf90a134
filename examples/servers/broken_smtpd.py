#!/usr/bin/env python3
"""broken: smtpd.py as it must not be. The mistake: the name for the block list is made by reversing at the dots.

Reversing "2001:db8::1" at its dots changes nothing, so 2001:db8::1.dnsbl.example is looked up. It does not exist, so
no IPv6 caller is ever listed. The server is as open as if it had no block list, and says so nowhere.
"""

import os
import socket
import sys

ip = os.environ.get("TCPREMOTEIP", "")
name = ".".join(reversed(ip.split("."))) + "." + sys.argv[1]
try:
    socket.gethostbyname(name)
    sys.stdout.write(f"554 [{ip}] is listed\r\n")
except OSError:
    sys.stdout.write("220 welcome\r\n")
