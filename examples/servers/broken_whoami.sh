#!/bin/sh
# broken: whoami.sh as it must not be. The mistake: the last number is cut off at a dot, and a network grows from it.
#
# There is no dot in IPv6: the "network" is the whole address, and its ".0/24" makes no sense to anybody.
ip=$TCPREMOTEIP
printf 'you are %s\r\nin %s.0/24\r\n' "$ip" "${ip%.*}"
