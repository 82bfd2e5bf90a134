#!/usr/bin/env python3
"""A small server with every habit of the dotted years."""

import ipaddress
import os
import re
import socket
import struct
import sys

ALLOWED = ["127.0.0.1", "10.0.0.1"]
counts = {}
ip = os.environ.get("TCPREMOTEIP", "127.0.0.1")  # expect: sentinel-fallback
host = os.environ.get("TCPREMOTEHOST")


def listed(address):
    name = ".".join(reversed(address.split("."))) + ".bl.example.net"  # expect: dnsbl-v4-reverse
    return socket.gethostbyname(name)  # expect: gethostbyname-a-only


def group(address):
    return address.split(".")[:3]  # expect: dot-split


def number(address):
    return struct.unpack("!I", socket.inet_aton(address))[0]  # expect: int32-storage


def allowed(address):
    if address in ALLOWED:  # expect: string-equality-allowlist
        return True
    return address.startswith("192.168.")  # expect: prefix-string-match


def check(address):
    if not re.match(r"^\d+\.\d+\.\d+\.\d+$", address):  # expect: skipped-check
        return
    listed(address)


def in_net(address):
    return ipaddress.ip_address(address) in ipaddress.ip_network("10.0.0.0/8")  # expect: mapped-not-normalised


def store(cursor, address):
    cursor.execute("INSERT INTO seen VALUES ('%s')" % address)  # expect: sql-interpolation
    with open(os.path.join("/var/lib/seen", address), "w"):  # expect: noncanonical-key
        counts[address] = 1  # expect: noncanonical-key


def strict(address):
    try:
        socket.inet_aton(address)  # expect: hard-fail-non-ipv4
    except OSError:
        sys.exit(111)


def family():
    return os.environ.get("PROTO") == "TCP6"  # expect: proto-gate


print("from " + os.getenv("TCPREMOTEIP"))  # expect: missing-env
print("from %s:%s" % (ip, os.environ["TCPREMOTEPORT"]))  # expect: host-port-colon-join
os.system(f"finger {host}")  # expect: shell-unquoted
if not host:  # expect: remotehost-trust
    sys.exit("554 no name")
strict(ip)
if allowed(ip) or in_net(ip) or family():
    group(ip)
check(ip)
store(None, number(ip))
store(None, ip)
