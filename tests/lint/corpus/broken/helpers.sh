#!/bin/sh
three() {
    echo "$1" | cut -d. -f1-3 # expect: dot-split
}

inside() {
    case "$2" in
        10.*) return 0 ;; # expect: prefix-string-match
    esac
    return 1
}

say() {
    echo "$1: $2"
}

for peer in "$TCPREMOTEIP" "$SSLREMOTEIP"; do
    [ -n "$peer" ] && break
done
group=$(three "$peer")
if inside verbose "$peer"; then
    say local "$group"
fi
plain=${TCPREMOTEIP#::ffff:} # expect: mapped-not-normalised


if [ -f "/var/seen/$plain" ]; then # expect: noncanonical-key
    exit 0
fi
