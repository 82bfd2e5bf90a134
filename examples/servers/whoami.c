/* whoami in C, by hand. Teaches: sockaddr_storage, getaddrinfo and getnameinfo are all that both families take.
 *
 *     cc -o whoami whoami.c
 *
 * Under the bundled tcpserver     ucspi-tcpserver ::0 7777 ./whoami
 * Under Debian's tcpserver        tcpserver -RHl0 ::0 7777 ./whoami
 * Under s6                        s6-tcpserver :: 7777 ./whoami
 * Under systemd (Accept=yes)      ExecStart=/usr/local/bin/whoami with StandardInput=socket
 * Under inetd                     7777 stream tcp6 nowait nobody /usr/local/bin/whoami whoami
 */
#define _DEFAULT_SOURCE
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static const char *const NAMES[][2] = {
    {"TCPREMOTEIP", "TCPREMOTEPORT"}, {"TCP6REMOTEIP", "TCP6REMOTEPORT"}, {"SSLREMOTEIP", "SSLREMOTEPORT"}};

/* Text to address. A zone that is not an interface here would be an error, so it is left out: it is in no variable of
 * tcpserver's either. The family is the text's own, whatever PROTO says. */
static int read_address(const char *text, const char *port, struct sockaddr_storage *address)
{
    char copy[INET6_ADDRSTRLEN + IF_NAMESIZE]; /* INET_ADDRSTRLEN, or 16, would cut IPv6 in half */
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM}, *found;
    if (strlen(text) >= sizeof copy)
        return 0;
    strcpy(copy, text);
    copy[strcspn(copy, "%")] = 0;
    if (getaddrinfo(copy, port, &hints, &found) != 0)
        return 0;
    memcpy(address, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return 1;
}

/* ::ffff:192.0.2.1 is 192.0.2.1, in every spelling: the bytes are looked at, never the text. */
static void unmap(struct sockaddr_storage *address)
{
    struct sockaddr_in6 six;
    struct sockaddr_in four = {.sin_family = AF_INET};
    memcpy(&six, address, sizeof six);
    if (address->ss_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&six.sin6_addr))
        return;
    four.sin_port = six.sin6_port;
    memcpy(&four.sin_addr, &six.sin6_addr.s6_addr[12], sizeof four.sin_addr);
    memcpy(address, &four, sizeof four);
}

int main(void)
{
    struct sockaddr_storage caller;
    socklen_t length = sizeof caller;
    char host[NI_MAXHOST], port[NI_MAXSERV];
    int known = 0;
    for (size_t i = 0; !known && i < sizeof NAMES / sizeof *NAMES; i++) {
        const char *ip = getenv(NAMES[i][0]);
        known = ip && *ip && read_address(ip, getenv(NAMES[i][1]), &caller);
    }
    if (!known && getpeername(0, (struct sockaddr *)&caller, &length) != 0) {
        fprintf(stderr, "whoami: fatal: nobody says who is calling\n");
        return 111;
    }
    unmap(&caller);
    length = caller.ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    if (getnameinfo((struct sockaddr *)&caller, length, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        fprintf(stderr, "whoami: fatal: the caller has no IP address\n");
        return 111;
    }
    printf("you are %s port %s\r\nwhich is %s\r\n", host, port, caller.ss_family == AF_INET ? "IPv4" : "IPv6");
    return 0;
}
