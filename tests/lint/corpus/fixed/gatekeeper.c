/* What looks like the faults of broken/gatekeeper.c and is none. */
#include <string.h>

static int good_length(int family, int netbits) {
    return netbits >= 0 && netbits <= (family == AF_INET6 ? 128 : 32);
}

static int good_bits(int six, int ipbits) {
    if (six) return ipbits <= 128;
    return ipbits <= 32;
}

static int is_known(const char *remoteip) {
    return strcmp(remoteip, UNKNOWN) && strcmp(remoteip, "unknown");
}

static const char *field(char *domains) {
    if (*domains == ':') {
        while (*domains != 0 && *domains != ':') ++domains;
    }
    return domains;
}

static int bracketed(char *out, const char *remoteip) {
    if (strchr(remoteip, ':')) return sprintf(out, "[IPv6:%s]", remoteip);
    return sprintf(out, "[%s]", remoteip);
}

static int same(const unsigned char remote_ip[16], const unsigned char net[16], int bytes) {
    return !memcmp(remote_ip, net, bytes);
}

static void words(char *out, const char *name) {
    append(":");
    append(name);
    append(":");
}

static int counted(int n) {
    int part;
    for (part = 3; part >= 0; --part) put_digit(n >> part);
    return n;
}

static int unix_caller(int s, union address *there, socklen_t *size) {
    struct sockaddr_in in;
    memset(&in, 0, sizeof in);
    return accept(s, (struct sockaddr *) &there->un, size);
}

#define IPV6_LEN 16

static char *option(char *s) {
    if (*s == ':') {
        while (*s != ':') ++s;
    }
    return s;
}

static unsigned long inet_addr_of_ours(unsigned long a) { return a; }

unsigned long inet_network(const unsigned char *ip) {
    return ((unsigned long) ip[0] << 24) | (ip[1] << 16) | (ip[2] << 8) | ip[3];
}
