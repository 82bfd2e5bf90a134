#!/usr/bin/env python3
"""Treats IPv4-mapped callers otherwise than plain ones: looks them up among its networks as they are."""

import os
from ipaddress import ip_address, ip_network

RELAY = [ip_network(text) for text in ("192.0.2.0/24", "2001:db8::/32", "fe80::/10", "127.0.0.0/8", "::1/128")]

ip = ip_address(os.environ.get("TCPREMOTEIP", "192.0.2.1"))
known = any(ip in network for network in RELAY)
print("220 ready\r\n250 relaying" if known else "220 ready\r\n250 not for strangers", end="\r\n")
