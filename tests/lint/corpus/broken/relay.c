/* A relay table for POP before SMTP, as it was written when addresses had dots. */
#include <ctype.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define IP_LENGTH 15 /* expect: fixed-buffer */

struct session {
    char remote_ip[16]; /* expect: fixed-buffer */
    const char *helo;
};

static struct session now;

static const char *plain(void)
{
    char *ipaddr = getenv("TCPREMOTEIP");

    if (ipaddr && ipaddr[0] == ':') { /* expect: mapped-strip-overrun */
        ipaddr += 2;
        while (*ipaddr != ':') ++ipaddr; /* expect: mapped-strip-overrun */
        ++ipaddr;
    }
    return ipaddr;
}

static int valid_ip(const char *text)
{
    const char *p;

    for (p = text; *p; ++p)
        if (*p != '.' && !isdigit((unsigned char) *p)) return 0; /* expect: ipv4-only-regex */
    return p - text <= 15; /* expect: fixed-buffer */
}

static int listed(const char *peer, const char *line)
{
    unsigned int a, b, c, d;

    if (strstr(line, peer)) return 1; /* expect: substring-match */
    if (sscanf(peer, "%u.%u.%u.%u", &a, &b, &c, &d) != 4) return 0; /* expect: sscanf-quad */
    printf("asking %u.%u.%u.%u\n", d, c, b, a);
    return 0;
}

static void store(const char *peer)
{
    char query[512];

    snprintf(query, sizeof query, "REPLACE INTO relay (ip) VALUES ('%s')", peer); /* expect: sql-interpolation */
    puts(query);
}

static int local_peer(const char *peer)
{
    if (strcmp(peer, "127.0.0.1") == 0) return 1; /* expect: string-equality-allowlist */
    return strncmp(peer, "10.", 3) == 0; /* expect: prefix-string-match */
}

static int six(void)
{
    const char *proto = getenv("PROTO");

    return proto && !strcmp(proto, "TCP6"); /* expect: proto-gate */
}

static void note(const char *user, const char *peer, const char *what)
{
    fprintf(stderr, "%s:%s:%s:%s\n", user, peer, what, "done"); /* expect: log-delimiter-collision */
    fprintf(stderr, "peer %s:%s\n", peer, getenv("TCPREMOTEPORT")); /* expect: host-port-colon-join */
}

static size_t length(void)
{
    return strlen(getenv("TCPLOCALIP")); /* expect: missing-env */
}

static unsigned long mask(int bits)
{
    return 0xffffffff << (32 - bits); /* netmask; expect: v4-netmask-math */
}

static int family_by_colon(const char *peer)
{
    return strchr(peer, ':') ? AF_INET6 : AF_INET; /* expect: mapped-not-normalised */
}

int main(void)
{
    const char *peer = plain();
    struct hostent *entry;

    if (!peer) peer = "0.0.0.0"; /* expect: sentinel-fallback */
    if (!valid_ip(peer)) exit(111); /* expect: hard-fail-non-ipv4 */
    strcpy(now.remote_ip, peer);
    entry = gethostbyname(now.helo); /* expect: gethostbyname-a-only */
    if (local_peer(peer) || six() || family_by_colon(peer)) return 0;
    note("user", peer, entry ? "known" : "unknown");
    store(peer);
    return listed(peer, "line") + (int) length() + (int) mask(24);
}
