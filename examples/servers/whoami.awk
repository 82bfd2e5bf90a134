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

# ::ffff:192.0.2.1 and ::ffff:c000:201 are both 192.0.2.1.
function unmapped(ip,    rest, colon, high, low) {
    # Both spellings are read below.  envcheck: ignore[U107]
    if (tolower(substr(ip, 1, 7)) != "::ffff:")
        return ip
    rest = substr(ip, 8)
    if (index(rest, "."))
        return rest
    colon = index(rest, ":")
    if (!colon)
        return ip
    high = hex(substr(rest, 1, colon - 1))
    low = hex(substr(rest, colon + 1))
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
