/* Calls a TCP server as fast as it answers and says what became of each connection; benchmarks/load.py compiles and runs it.
 *
 *     load ADDRESS PORT CALLERS SECONDS PATIENCE ANSWER
 *
 * CALLERS connections are kept going for SECONDS; those that are open by then are seen to their end. One is answered if
 * the server sent exactly ANSWER (empty: anything) and then closed the connection in order. PATIENCE is how many seconds
 * one may take; one that sends more than the kernel's buffer holds, where less was expected, is not read and takes that
 * long. On standard output: a line with the microseconds from the start to the end of the last answer and the counts,
 * then the latencies of the answered ones as 32-bit microseconds in the machine's byte order. Whatever keeps *us* from
 * calling (no port, no descriptor) ends the run: nothing would be measured.
 *
 * One process is one thread; several of them are what load.py starts. It is C since the callers have the same cores as
 * the server: each microsecond here is one that the server does not get.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum outcome { ANSWERED, WRONG, EMPTY, RESET, REFUSED, TIMED_OUT, OUTCOMES };

/* A caller that was refused tries again this much later: a closed port says no a hundred thousand times a second. */
static const int64_t REFUSED_PAUSE = 10000;

#define BYTES 4096

struct caller {
    int fd; /* -1: between two connections */
    int64_t began; /* of this connection, or of the next one; 0: there is none */
    size_t got;
    int differs;
};

static struct caller *callers;
static int poller;
static int64_t until, patience;
static const char *answer;
static size_t answer_length;
/* What is expected fits into one read: it is enough to be woken once, when the server has closed the connection. */
static int short_answer;
static struct sockaddr_storage server;
static socklen_t server_length;
static unsigned long counts[OUTCOMES];
static int64_t started, last_answer;
static uint32_t *latencies;
static size_t room;
static unsigned long active;

static void die(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(111);
}

static int64_t now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000000 + time.tv_nsec / 1000;
}

static void note(int64_t latency)
{
    if (counts[ANSWERED] >= room) {
        room = room ? 2 * room : 65536;
        latencies = realloc(latencies, room * sizeof *latencies);
        if (!latencies) die("unable to remember latencies");
    }
    latencies[counts[ANSWERED]] = latency > UINT32_MAX ? UINT32_MAX : (uint32_t)latency;
}

static void call(struct caller *caller);

/* This connection is over; the next one begins, unless the time is up. */
static void end(struct caller *caller, enum outcome outcome)
{
    int64_t time = now();

    if (outcome == ANSWERED) {
        note(time - caller->began);
        last_answer = time;
    }
    ++counts[outcome];
    if (outcome == TIMED_OUT) {
        struct linger abort = {1, 0}; /* the server shall notice at once, and no port shall stay behind */

        setsockopt(caller->fd, SOL_SOCKET, SO_LINGER, &abort, sizeof abort);
    }
    close(caller->fd);
    caller->fd = -1;
    if (time >= until) {
        caller->began = 0;
        --active;
    } else if (outcome == REFUSED) {
        caller->began = time + REFUSED_PAUSE;
    } else {
        call(caller);
    }
}

/* What an error says about the server; those that are our own trouble do not return. */
static enum outcome failure(int error)
{
    switch (error) {
    case ECONNREFUSED:
        return REFUSED;
    case ECONNRESET:
    case EPIPE:
        return RESET;
    case ETIMEDOUT:
        return TIMED_OUT;
    }
    errno = error;
    die("unable to call");
    return OUTCOMES;
}

static void call(struct caller *caller)
{
    struct epoll_event event = {.events = EPOLLRDHUP | (short_answer ? 0 : EPOLLIN), .data.ptr = caller};

    caller->got = 0;
    caller->differs = 0;
    caller->began = now();
    caller->fd = socket(server.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (caller->fd < 0) die("unable to create a socket");
    if (connect(caller->fd, (struct sockaddr *)&server, server_length) < 0 && errno != EINPROGRESS) {
        /* Only a refusal comes this early, and the pause after it keeps this from nesting. */
        end(caller, failure(errno) == REFUSED ? REFUSED : (die("unable to call"), OUTCOMES));
        return;
    }
    if (epoll_ctl(poller, EPOLL_CTL_ADD, caller->fd, &event) < 0) die("unable to watch a connection");
}

static void hear(struct caller *caller, uint32_t events)
{
    char bytes[BYTES];

    for (;;) {
        ssize_t count = recv(caller->fd, bytes, sizeof bytes, 0);

        if (count < 0) {
            if (errno != EAGAIN && errno != EINTR) end(caller, failure(errno));
            return;
        }
        if (count > 0) {
            size_t end_of_part = caller->got + (size_t)count;

            if (answer_length && (end_of_part > answer_length || memcmp(bytes, answer + caller->got, (size_t)count)))
                caller->differs = 1;
            caller->got = end_of_part;
            /* The end was seen already and nothing is left before it: asking for it would only cost time. */
            if ((size_t)count == sizeof bytes || !(events & EPOLLRDHUP) || events & (EPOLLERR | EPOLLHUP)) continue;
        }
        if (!caller->got)
            end(caller, EMPTY);
        else if (caller->differs || (answer_length && caller->got != answer_length))
            end(caller, WRONG);
        else
            end(caller, ANSWERED);
        return;
    }
}

/* Callers whose time is over, and those that have waited to begin again. */
static void look_around(unsigned long number)
{
    int64_t time = now();

    for (unsigned long index = 0; index < number; ++index) {
        struct caller *caller = callers + index;

        if (caller->fd >= 0) {
            if (time - caller->began > patience) end(caller, TIMED_OUT);
        } else if (caller->began && time >= until) {
            caller->began = 0;
            --active;
        } else if (caller->began && time >= caller->began) {
            call(caller);
        }
    }
}

int main(int argc, char **argv)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)&server;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&server;
    struct epoll_event events[64];
    unsigned long number;
    int64_t looked;

    if (argc != 7) {
        fputs("usage: load ADDRESS PORT CALLERS SECONDS PATIENCE ANSWER\n", stderr);
        return 100;
    }
    if (inet_pton(AF_INET, argv[1], &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)atoi(argv[2]));
        server_length = sizeof *v4;
    } else if (inet_pton(AF_INET6, argv[1], &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons((uint16_t)atoi(argv[2]));
        server_length = sizeof *v6;
    } else {
        fprintf(stderr, "load: %s is not an IP address\n", argv[1]);
        return 100;
    }
    number = active = strtoul(argv[3], 0, 10);
    patience = (int64_t)(atof(argv[5]) * 1e6);
    answer = argv[6];
    answer_length = strlen(answer);
    short_answer = answer_length > 0 && answer_length < BYTES;
    callers = calloc(number, sizeof *callers);
    if (!callers) die("unable to remember callers");
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (poller < 0) die("unable to poll");
    looked = started = last_answer = now();
    until = started + (int64_t)(atof(argv[4]) * 1e6);
    for (unsigned long index = 0; index < number; ++index) call(callers + index);
    while (active) {
        int count = epoll_wait(poller, events, sizeof events / sizeof *events, 10);

        if (count < 0 && errno != EINTR) die("unable to poll");
        for (int index = 0; index < count; ++index) hear(events[index].data.ptr, events[index].events);
        if (now() - looked >= 10000) {
            look_around(number);
            looked = now();
        }
    }
    printf("%lld", (long long)(last_answer - started));
    for (int outcome = 0; outcome < OUTCOMES; ++outcome) printf(" %lu", counts[outcome]);
    putchar('\n');
    fwrite(latencies, sizeof *latencies, counts[ANSWERED], stdout);
    if (fflush(stdout)) die("unable to write");
    return 0;
}
