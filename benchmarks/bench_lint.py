"""How many megabytes of C source one core judges in a second: ``python -m benchmarks.bench_lint [FILE]...``.

Without files the source is made here: functions that fetch, pass on, compare and store a peer's address, between
functions that have nothing to do with it, as in a real server. The target is 0.5 MB/s.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from ucspi_env.envcheck.lint import lint_text

TARGET = 0.5
SIZE = 1_000_000
ROUNDS = 3

_SPEAKING = """
static int check_{n}(const char *peer, const char *rule)
{{
    char text[16];
    unsigned int a, b;

    if (!strcmp(peer, "127.0.0.1")) return 1; /* the machine itself */
    if (strchr(peer, '.') && sscanf(rule, "%u.%u", &a, &b) == 2) strncpy(text, peer, sizeof text);
    return listed(text, rule);
}}

int session_{n}(struct session *s)
{{
    const char *remoteip = getenv("TCPREMOTEIP");

    if (!remoteip) remoteip = "unknown";
    s->remote_ip = remoteip;
    return check_{n}(s->remote_ip, s->rule);
}}
"""
_SILENT = """
static unsigned long parse_{n}(struct buffer *in, const char *word, int flags)
{{
    unsigned long value = 0; /* of the word, in octets */
    int i;

    for (i = 0; word[i] && i < in->length; ++i) {{
        if (flags & FLAG_{n}) value = value * 10 + (word[i] - '0');
        else if (word[i] == ' ') return put_string(in, "501 syntax error\\r\\n", value);
    }}
    return value;
}}
"""


def made(size: int) -> str:
    """Return about ``size`` characters of C."""
    parts = ["#include <stdlib.h>\n"]
    length = number = 0
    while length < size:
        part = (_SPEAKING if number % 8 == 0 else _SILENT).format(n=number)
        parts.append(part)
        length += len(part)
        number += 1
    return "".join(parts)


def main(paths: list[str]) -> int:
    """Print the speed; return 1 when it is below the target."""
    texts = [Path(path).read_text(encoding="utf-8", errors="replace") for path in paths] or [made(SIZE)]
    size = sum(map(len, texts)) / 1e6
    best = float("inf")
    findings = 0
    for _ in range(ROUNDS):
        start = time.process_time()
        findings = sum(len(lint_text("bench.c", text, "c")) for text in texts)
        best = min(best, time.process_time() - start)
    speed = size / best
    print(
        f"lint: {size:.2f} MB of C in {best:.2f} s of one core: {speed:.2f} MB/s (target {TARGET}), {findings} findings"
    )
    return 0 if speed >= TARGET else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
