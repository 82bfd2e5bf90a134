/* Sets the variables from the socket when no super-server did. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct sockaddr_in peer, here;
    socklen_t size = sizeof peer;
    const char *proto = getenv("PROTO");

    (void) argc;
    if (proto && !strcmp(proto, "TCP")) execvp(argv[1], argv + 1); /* expect: proto-gate */

    if (getpeername(0, (struct sockaddr *) &peer, &size) == -1) return 111; /* expect: af-inet-socket */
    setenv("TCPREMOTEIP", inet_ntoa(peer.sin_addr), 1); /* expect: wrong-variable-family */


    size = sizeof here;
    if (getsockname(0, (struct sockaddr *) &here, &size) == -1) return 111; /* expect: af-inet-socket */
    execvp(argv[1], argv + 1);
    return 111;
}
