/* A block list plug-in for IPv4 and nothing else. */
#include <stdlib.h>
#include "ipv4.h"
#include "rbl.h"

static int rbl_name(char *out, const unsigned char *ip, const char *zone)
{
    return sprintf(out, "%u.%u.%u.%u.%s", ip[3], ip[2], ip[1], ip[0], zone); /* expect: dnsbl-v4-reverse */
}

int rbl_start(void)
{
    ipv4addr ip;
    const char *text;
    char name[128];

    if ((text = session_getenv("TCPREMOTEIP")) == 0) return 0;
    if (!ipv4_scan(text, &ip)) { /* expect: skipped-check */
        warn("cannot parse the address");
        return 0;
    }
    rbl_name(name, (unsigned char *) &ip, "bl.example.net");
    return ask(name);
}

void ftp_passive(const unsigned char *ip, unsigned int port)
{
    respond("227 Entering Passive Mode (%u,%u,%u,%u,%u,%u)", ip[0], ip[1], ip[2], ip[3], port >> 8, port & 255); /* expect: v4-protocol-field */
}

int literal(const char *text, ipv4addr *ip)
{
    return ip_scanbracket(text, ip); /* expect: address-literal-brackets */
}
