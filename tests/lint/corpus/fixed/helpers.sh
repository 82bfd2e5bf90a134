#!/bin/sh
say() {
    echo "$1: $2" | cut -d. -f1
}

note() {
    logger "$1"
}

for word in one two; do
    say "$word" three
done
note "$TCPREMOTEIP"
