/* Writes wrong log text: has room for fifteen characters. */
#include <stdio.h>
#include <stdlib.h>

int main(void)
{
    char ip[16];
    const char *given = getenv("TCPREMOTEIP");
    snprintf(ip, sizeof ip, "%s", given ? given : "unknown");
    fprintf(stderr, "server: connection from %s\n", ip);
    puts("220 ready");
    return 0;
}
