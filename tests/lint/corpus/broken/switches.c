/* Only what is built without IPv6 is left out; the branch with it is judged. */
#ifndef DISABLE_IPV6
static int number(struct in_addr *out) {
    const char *remoteip = getenv("TCPREMOTEIP");
    return remoteip ? inet_aton(remoteip, out) : 0; /* expect: inet-aton-family */
}
#endif
