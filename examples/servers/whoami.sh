#!/bin/sh
# whoami in POSIX shell, by hand. Teaches: quote everything, parse nothing, and un-map both spellings of IPv4-mapped.
#
# Under the bundled tcpserver     ucspi-tcpserver ::0 7777 ./whoami.sh
# Under Debian's tcpserver        tcpserver -RHl0 ::0 7777 ./whoami.sh
# Under s6                        s6-tcpserver :: 7777 ./whoami.sh
# Under systemd and inetd         a shell cannot ask the kernel who calls; begin the script with
#                                 eval "$(ucspi-envcheck shell || echo exit 111)" and use $UCSPI_REMOTE_IP: that works everywhere

# The names that super-servers use, the most common first. An empty variable counts as none.
ip=${TCPREMOTEIP:-${TCP6REMOTEIP:-${SSLREMOTEIP:-}}}
port=${TCPREMOTEPORT:-${TCP6REMOTEPORT:-${SSLREMOTEPORT:-unknown}}}
if [ -z "$ip" ]; then
    echo "whoami: fatal: nobody says who is calling" >&2
    exit 111
fi

ip=${ip%%\%*}               # a zone belongs to the machine, not to the address
case $ip in
*[!0-9a-fA-F:.]*)           # within $(( )) some shells would run it as code
    echo "whoami: fatal: that is no address" >&2
    exit 111 ;;
esac
rest=${ip#::[fF][fF][fF][fF]:}
case $rest in
"$ip" | *:*.* | *:*:*) ;;   # not mapped; ::ffff:1:2:3 only begins alike
*.*) ip=$rest ;;            # what most dual-stack servers make of an IPv4 caller
?*:?*)                      # what s6 makes of one: the same four bytes in hex
    high=$((0x${rest%:*})) low=$((0x${rest#*:}))
    ip=$((high >> 8)).$((high & 255)).$((low >> 8)).$((low & 255)) ;;
esac

# The family is in the address: PROTO says TCP for IPv6 under s6, and SSL, or nothing, elsewhere.
case $ip in
*:*) family=IPv6 ;;         # IPv4-mapped is gone by now: envcheck: ignore[U107]
*) family=IPv4 ;;
esac
printf 'you are %s port %s\r\nwhich is %s\r\n' "$ip" "$port" "$family"
