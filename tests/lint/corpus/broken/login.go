package main

import (
	"fmt"
	"os"
)

func fromEnvironment(name string) string {
	value, found := os.LookupEnv(name)
	if !found {
		return ""
	}
	return value
}

func main() {
	address := fromEnvironment("TCPREMOTEIP")
	if address == "" {
		address = "127.0.0.1" // expect: sentinel-fallback
	}
	fmt.Println(address)
	if length, ip := ip.ScanBracket(os.Args[1]); length != 0 { // expect: address-literal-brackets
		fmt.Println(ip)
	}
}
