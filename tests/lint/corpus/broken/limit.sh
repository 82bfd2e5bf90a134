#!/bin/sh
# Limits connections and logs them.
dir=/var/lib/limit
ip=${TCPREMOTEIP:-127.0.0.1} # expect: sentinel-fallback

/usr/local/bin/audit $TCPREMOTEIP "$TCPREMOTEPORT" # expect: shell-unquoted
case $ip in
    192.168.*) exec "$@" ;; # expect: prefix-string-match
esac
case $TCPREMOTEIP in
    *:*) exec "$@" ;; # expect: mapped-not-normalised
esac
if [ "$TCPREMOTEIP" = "10.0.0.1" ]; then # expect: string-equality-allowlist
    exec "$@"
fi

reversed=$(echo "$ip" | awk -F. '{ print $4 "." $3 "." $2 "." $1 }') # expect: dnsbl-v4-reverse
dig +short "$reversed.bl.example.net"

net=${ip%.*} # expect: dot-split
port=${TCPREMOTEADDR%%:*} # expect: first-colon-split
grep -q "$ip" "$dir/deny" && exit 1 # expect: substring-match
touch "$dir/$ip" # expect: noncanonical-key
[ "$PROTO" = TCP6 ] && exit 0 # expect: proto-gate
echo "connect from $TCPREMOTEIP:$TCPREMOTEPORT" >&2 # expect: host-port-colon-join
eval "check $TCPREMOTEINFO" # expect: shell-unquoted
curl "http://$TCPREMOTEIP/" # expect: address-literal-brackets
echo "$net $port"
exec "$@"
