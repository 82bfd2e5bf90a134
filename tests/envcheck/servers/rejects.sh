#!/bin/sh
# Rejects: takes what is not four numbers for a mistake of its super-server.
case $TCPREMOTEIP in
  *[!0-9.]*) echo "421 could not parse \$TCPREMOTEIP"; exit 100 ;;
esac
echo "220 ready"
