#!/usr/bin/awk -f
BEGIN {
    ip = ENVIRON["TCPREMOTEIP"]
    n = split(ip, octet, ".") # expect: dot-split


    if (ip ~ /^172\.16\./) print "inside" # expect: prefix-string-match


    if (ip == "127.0.0.1") exit # expect: string-equality-allowlist


    if (ip !~ /^[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+$/) exit 1 # expect: hard-fail-non-ipv4
}
