#!/bin/sh
# echo $TCPREMOTEIP | cut -d. -f1 would be wrong
: "${TCPREMOTEIP:?must be run by tcpserver}"
ip=$TCPREMOTEIP
case $ip in ::ffff:*.*.*.*) ip=${ip#::ffff:} ;; esac
case $ip in
    *:*) where="[$ip]:$TCPREMOTEPORT" ;;
    *) where=$ip ;;
esac
echo "from $where" >&2
echo 'literal $TCPREMOTEIP'
if [ "$TCPREMOTEIP" = unknown ]; then exit 111; fi
if [[ $TCPREMOTEIP ]]; then :; fi
version=$(printf %s 1.2.3 | cut -d. -f1)
export TCPREMOTEIP=192.0.2.1
env TCPREMOTEIP=192.0.2.1 TCPREMOTEHOST=test.example ./check "$version"
exec "$@"
