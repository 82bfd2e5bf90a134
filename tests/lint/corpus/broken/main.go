package main

import (
	"fmt"
	"net"
	"os"
	"strings"
)

var limits = map[string]int{}

func listen() (net.Listener, error) {
	return net.Listen("tcp4", ":25") // expect: af-inet-socket
}

func main() {
	remote := os.Getenv("TCPREMOTEIP")
	if remote == "" {
		remote = "127.0.0.1" // expect: sentinel-fallback
	}

	octets := strings.Split(remote, ".") // expect: dot-split


	if strings.HasPrefix(remote, "192.168.") { // expect: prefix-string-match
		os.Exit(0)
	}

	limits[remote]++ // expect: noncanonical-key


	ip := net.ParseIP(remote) // expect: zone-id


	fmt.Println(remote + ":" + os.Getenv("TCPREMOTEPORT")) // expect: host-port-colon-join


	if os.Getenv("PROTO") == "TCP6" { // expect: proto-gate
		fmt.Println(ip, octets)
	}
}
