"""The benchmarks' own callers: how many connections a second they can make, to a server that only takes and closes.

What is measured of a server is true as long as it is well below this.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import results
from benchmarks.load import NoCompilerError, compiled, load
from benchmarks.rounds import options
from benchmarks.servers import Server

SINK = """
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

int main(void)
{
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof here;
    int listener = socket(AF_INET, SOCK_STREAM, 0);

    if (bind(listener, (struct sockaddr *)&here, length) || listen(listener, 512)) return 111;
    getsockname(listener, (struct sockaddr *)&here, &length);
    printf("%d\\n", ntohs(here.sin_port));
    fflush(stdout);
    for (;;) close(accept(listener, 0, 0));
}
"""
GOAL = 25_000.0


def main() -> int:
    """Run it."""
    how = options(__doc__)
    try:
        with Server([compiled(SINK)]) as server:
            tallies = [load(server.port, callers=how.callers, seconds=how.seconds) for _ in range(how.rounds)]
    except NoCompilerError as error:
        print(error, file=sys.stderr)
        return 1
    # It sends nothing, so an empty answer is what it should be here; anything else is not.
    rate = statistics.median(tally.empty / how.seconds for tally in tallies)
    others = sum(tally.failed + tally.answered - tally.empty for tally in tallies)
    print(f"{rate:.0f} connections/s to a server that closes at once; {others} ended in another way")
    goal = results.goal("the benchmarks' own callers", "a sink", "connections/s", ">=", GOAL, None if others else rate)
    results.save("9-load", goals=[goal])
    return 0


if __name__ == "__main__":
    sys.exit(main())
