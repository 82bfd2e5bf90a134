#!/usr/bin/awk -f
# whoami in awk, by hand. Teaches: an address is not fields between dots; take it as it is, and look for a colon.
#
# Under the bundled tcpserver     ucspi-tcpserver ::0 7777 ./whoami.awk
# Under Debian's tcpserver        tcpserver -RHl0 ::0 7777 ./whoami.awk
# Under s6                        s6-tcpserver :: 7777 ./whoami.awk
# Under systemd and inetd         awk cannot ask the kernel who calls; run it behind ucspi-envcheck shim --ipv6 pass --

function hex(text,    value, i) {
    value = 0
    for (i = 1; i <= length(text); i++)
        value = value * 16 + index("0123456789abcdef", tolower(substr(text, i, 1))) - 1
    return value
}

# ::ffff:192.0.2.1 and ::ffff:c000:201 are both 192.0.2.1; ::ffff:1:2:3 only begins alike.
function unmapped(ip,    rest, group, groups, high, low) {
    rest = substr(ip, 8)
    groups = split(rest, group, ":")
    # Both spellings are read below.  envcheck: ignore[U107]
    if (tolower(substr(ip, 1, 7)) != "::ffff:" || groups > 2)
        return ip
    if (groups == 1)
        return index(rest, ".") ? rest : ip
    if (rest ~ /[^0-9A-Fa-f:]/)
        return ip
    high = hex(group[1])
    low = hex(group[2])
    return int(high / 256) "." high % 256 "." int(low / 256) "." low % 256
}

function first(a, b, c) {
    return a != "" ? a : b != "" ? b : c
}

BEGIN {
    ip = first(ENVIRON["TCPREMOTEIP"], ENVIRON["TCP6REMOTEIP"], ENVIRON["SSLREMOTEIP"])
    port = first(ENVIRON["TCPREMOTEPORT"], ENVIRON["TCP6REMOTEPORT"], ENVIRON["SSLREMOTEPORT"])
    if (ip == "") {
        print "whoami: fatal: nobody says who is calling" > "/dev/stderr"
        exit 111
    }
    sub(/%.*/, "", ip)  # a zone belongs to the machine, not to the address
    ip = unmapped(ip)
    printf "you are %s port %s\r\nwhich is %s\r\n", ip, first(port, "unknown"), index(ip, ":") ? "IPv6" : "IPv4"
}
