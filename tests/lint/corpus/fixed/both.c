/* Treats both families; must stay silent. */
#include <arpa/inet.h>
#include <ctype.h>
#include <net/if.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* A comment about inet_aton(TCPREMOTEIP) and strtok(remoteip, ".") is no code. */
#if 0
static int old(const char *remoteip) { return inet_aton(remoteip, 0); }
#endif

struct peer {
    unsigned char ip[16];
    int version;
};

static int parse(const char *text, struct peer *peer)
{
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST}, *found;

    if (getaddrinfo(text, 0, &hints, &found)) return -1;
    switch (found->ai_family) {
    case AF_INET6:
        memcpy(peer->ip, &((struct sockaddr_in6 *) found->ai_addr)->sin6_addr, 16);
        peer->version = IN6_IS_ADDR_V4MAPPED((struct in6_addr *) peer->ip) ? 4 : 6;
        break;
    case AF_INET:
        memset(peer->ip, 0, 10);
        memset(peer->ip + 10, 0xff, 2);
        memcpy(peer->ip + 12, &((struct sockaddr_in *) found->ai_addr)->sin_addr, 4);
        peer->version = 4;
        break;
    }
    freeaddrinfo(found);
    return 0;
}

static int same(const struct peer *a, const struct peer *b) { return !memcmp(a->ip, b->ip, 16); }

static int from_socket(char *text, size_t size)
{
    struct sockaddr_storage sa;
    socklen_t length = sizeof sa;

    if (getpeername(0, (struct sockaddr *) &sa, &length) == -1) return -1;
    return getnameinfo((struct sockaddr *) &sa, length, text, size, 0, 0, NI_NUMERICHOST);
}

static void version(const char *release)
{
    int major, minor, patch;

    if (sscanf(release, "%d.%d.%d", &major, &minor, &patch) == 3) printf("%d\n", major);
}

int main(void)
{
    char text[INET6_ADDRSTRLEN + IF_NAMESIZE + 1];
    const char *remoteip = getenv("TCPREMOTEIP");
    const char *port = getenv("TCPREMOTEPORT");
    struct peer one, other;

    if (!remoteip || !*remoteip) {
        if (from_socket(text, sizeof text)) return 111;
        remoteip = text;
    }
    if (parse(remoteip, &one) || parse("::1", &other)) return 111;
    version("1.2.3");
    fprintf(stderr, "ip=%s port=%s\n", remoteip, port ? port : "?");
    return same(&one, &other);
}
