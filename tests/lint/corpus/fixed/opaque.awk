#!/usr/bin/awk -f
# split(ENVIRON["TCPREMOTEIP"], a, ".") would be wrong
BEGIN { print "from", ENVIRON["TCPREMOTEIP"]; n = split("1.2.3", part, "."); print n }
