#!/usr/bin/env python3
"""Parses with the library; ``ip.split(".")`` in a docstring is no code."""

import ipaddress
import os
import socket

text = os.environ["TCPREMOTEIP"]
ip = ipaddress.ip_address(text)
ip = getattr(ip, "ipv4_mapped", None) or ip
host = os.environ.get("TCPREMOTEHOST", "unknown")
inside = ip in ipaddress.ip_network("10.0.0.0/8") or ip.is_loopback
labels = host.split(".")
version = "1.2.3".split(".")
listener = socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
print(f"from {text}, {inside}, {labels}, {version}")
os.environ["TCPREMOTEIP"] = "192.0.2.1"
listener.close()
