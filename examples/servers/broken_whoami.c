/* broken: whoami.c as it must not be. The mistake: a buffer is sized for a dotted quad.
 *
 * "255.255.255.255" and its end are 16 bytes; IPv6 text takes up to 45, and a zone more. strncpy does not even end the
 * text where it cuts, so the next field is printed along with it, and what is left may be another valid address.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void)
{
    struct {
        char ip[16];
        char greeting[8];
    } caller = {"", "hello"};
    const char *text = getenv("TCPREMOTEIP");
    strncpy(caller.ip, text ? text : "", sizeof caller.ip);
    caller.ip[15] = 0;
    printf("you are %s\r\n%s\r\n", caller.ip, caller.greeting);
    return 0;
}
