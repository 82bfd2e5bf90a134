/* Which branch a compiler switch leaves to IPv6: the other one is only for systems without it. */
#ifndef NO_IPV6
static int look(const char *name) { return getaddrinfo(name, 0, 0, 0); }
#else
static int look(const char *host) {
    getenv("TCPREMOTEIP");
    return gethostbyname(host) != 0;
}
#endif

#ifdef WITHOUT_INET6
static int number(const char *remoteip, struct in_addr *out) { return inet_aton(remoteip, out); }
#endif

#if !defined(HAVE_IPV6)
static int other(const char *remoteip, struct in_addr *out) { return inet_aton(remoteip, out); }
#endif

#ifdef HAVE_GETADDRINFO
static int four(const char *text) { return getaddrinfo(text, 0, 0, 0); }
#else
static int four(const char *text) {
    int a, b, c, d;
    return sscanf(text, "%d.%d.%d.%d", &a, &b, &c, &d) == 4;
}
#endif
