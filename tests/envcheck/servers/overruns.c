/* Overruns: goes for the last dot to cut the host off, and writes where there is none. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(void)
{
    char network[64];
    const char *ip = getenv("TCPREMOTEIP");
    if (!ip) return 111;
    strncpy(network, ip, sizeof network - 1);
    network[sizeof network - 1] = 0;
    *strrchr(network, '.') = 0;
    puts(access(network, F_OK) ? "220 ready" : "220 welcome back");
    return 0;
}
