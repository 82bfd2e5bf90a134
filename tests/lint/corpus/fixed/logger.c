/* Only passes the address on. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void)
{
    const char *ip = getenv("TCPREMOTEIP");
    const char *host = getenv("TCPREMOTEHOST");
    const char *proto = getenv("PROTO");

    if (!ip) ip = "unknown";
    if (!host) host = "unknown";
    if (strcmp(ip, "unknown") == 0) return 111;
    fprintf(stderr, "connection from %s (%s) by %s\n", ip, host, proto ? proto : "-");
    return 0;
}
