#!/bin/sh
# Lets its list be bypassed: whoever has no four numbers is not looked up in it.
case $TCPREMOTEIP in
  127.*) ;;
  *[!0-9.]*) ;;
  *) echo "550 not on the list"; exit 0 ;;
esac
echo "220 ready"
