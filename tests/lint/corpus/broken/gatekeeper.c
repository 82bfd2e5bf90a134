/* How programs that run under a super-server treat the address that another file hands them. */
#include <string.h>

static int listed(const char *remoteip) {
    int at = strlen(remoteip);
    while (at-- > 0) {
        if (remoteip[at] == ':') return 0; /* expect: skipped-check */
    }
    return 1;
}


static char text[80];

static const char *describe(void) {
    char *word = getenv("TCPREMOTEHOST");
    if (word) strncpy(text, word, 60);
    word = getenv("TCPLOCALIP");
    if (word) strncat(text, word, 15); /* expect: fixed-buffer */
    return text;
}


static char *bare(char *remoteip) {
    if (*remoteip == ':') { /* expect: mapped-not-normalised */
        remoteip++;
        while (*remoteip != ':' && *remoteip) remoteip++;
        if (*remoteip) remoteip++;
    }
    return remoteip;
}


static void keep(char *out, char *remoteip, struct in6_addr *peer) {
    if (IN6_IS_ADDR_V4MAPPED(peer)) memcpy(out, remoteip + 7, strlen(remoteip + 7)); /* expect: mapped-not-normalised */
}


static void record(const char *user, const char *remoteip, const char *word) {
    append(user);
    append(":");
    append(remoteip); /* expect: log-delimiter-collision */
    append(":");
    append(word);
}


static int known(char *line, const char *remoteip) {
    char *first = strtok(line, ":"); /* expect: first-colon-split */


    return first && !strcmp(first, remoteip); /* expect: string-equality-allowlist */
}


static void permit(FILE *rules, const char *remoteip) {
    fprintf(rules, "%s:allow,RELAYCLIENT=\"\"\n", remoteip); /* expect: log-delimiter-collision */
}


static int good_length(int netbits) {
    unsigned int ip = 0;
    return netbits >= 0 && netbits <= 32 && !ip; /* expect: v4-netmask-math */
}


static int same_group(struct in_addr ip, struct in_addr other) {
    return (ip.s_addr & htonl(0xffffff00)) == other.s_addr; /* expect: v4-netmask-math */
}


static void question(struct address *ip, char *zone) {
    int part;
    for (part = 3; part >= 0; --part) {
        add_number(zone, ip->d[part]); /* expect: dnsbl-v4-reverse */
        add(zone, ".");
    }
}


static int nameless(void) {
    char *name = getenv("TCPREMOTEHOST");
    if (!name) name = "unknown";
    if (!strcmp(name, "unknown")) { /* expect: remotehost-trust */
        out("553 no name\r\n");
        return 1;
    }
    return 0;
}


static int service(void) {
    char *word = getenv("PROTO");
    if (!strcmp(word, "TCP")) { /* expect: proto-gate */
        word = getenv("TCPLOCALPORT");
        return word ? atoi(word) : 25;
    }


    if (!strcmp(word, "SSL")) return 465; /* expect: proto-gate */
    return 25;
}
