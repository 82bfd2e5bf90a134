#!/usr/bin/awk -f
# broken: whoami.awk as it must not be. The mistake: the address is split at its dots, and a number is made of the parts.
#
# Every IPv6 caller is number 2001 shifted left, or 0.
BEGIN {
    split(ENVIRON["TCPREMOTEIP"], part, ".")
    number = ((part[1] * 256 + part[2]) * 256 + part[3]) * 256 + part[4]
    printf "you are caller number %d of %s.%s.%s.0/24\r\n", number % 256, part[1], part[2], part[3]
}
