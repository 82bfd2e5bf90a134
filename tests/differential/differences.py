"""Where we do something else than ucspi-tcp-ipv6, and why. docs/differences.md is made of this.

A1 to A40 are the sharp edges of the C programs, as they were measured; D1 and on are ours. Each is ``better`` or
``kept``, and is shown by rows of the table or by tests elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Difference:
    """One of them.

    Attributes:
        code: ``A13``; never reused.
        title: what it is about.
        theirs: what C does.
        ours: what we do.
        rows: names of rows, or beginnings of names that end in ``*``, in which it can be seen.
        tests: ``directory/test_file.py::test_name`` under tests/ that show it.
        kept: we do as C does, on purpose; ``ours`` says why.
    """

    code: str
    title: str
    theirs: str
    ours: str
    rows: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()
    kept: bool = False


DIFFERENCES = (
    Difference(
        "A1",
        "accept(2) that fails",
        "Retries at once and silently: out of descriptors, the server takes a whole processor.",
        "A warning, a pause of 100 ms in which the listening socket is not watched, and recovery.",
        tests=("differential/test_edges.py::test_a_server_without_descriptors_says_so_waits_and_recovers",),
    ),
    Difference(
        "A2",
        "a rule without a verb",
        "tcprules never ends on a line without `:allow` or `:deny`.",
        "The parse error that C means, exit 100; a second line names the line's number and what is missing.",
        rows=(
            "tcprules-blank-after-colon",
            "tcprules-no-verb",
            "tcprules-misspelt-verb",
            "tcprules-capital-verb",
            "tcprules-line-of-blanks",
            "tcprules-indented-comment",
        ),
    ),
    Difference(
        "A3",
        "several addresses",
        "tcpclient reads its list of addresses at the wrong stride and also calls addresses made of two halves, "
        "which are public IPv6 addresses of strangers.",
        "Each address once, and no others.",
        rows=("tcpclient-refused-twice",),
    ),
    Difference(
        "A4",
        "predictable DNS queries",
        "tcpserver and rblsmtpd never seed their generator: every process asks with the same IDs from the same ports.",
        "Query IDs from the kernel's generator, a fresh port for each query.",
        tests=("dns/test_resolve.py::test_ids_and_ports_are_not_the_same_twice",),
    ),
    Difference(
        "A5",
        "a closed stdin or stdout",
        "The listening socket lands on descriptor 0 or 1 and is closed with it; the server spins and serves nobody.",
        "Closed standard descriptors are filled at start.",
        rows=("tcpserver-stdin-closed",),
    ),
    Difference(
        "A6",
        "a uid or gid that is not a number",
        "Counts as 0, which means: stay root. So do numbers beyond 32 bits, and `-U` without `$UID`.",
        "Names are looked up; what is unknown, out of range or missing is fatal.",
        rows=(
            "tcpserver-option-uid-is-a-name",
            "tcpserver-option-gid-is-a-name",
            "tcpserver-option-uid-beyond-32-bits",
            "tcpserver-option-uid-from-the-environment-absent",
        ),
    ),
    Difference(
        "A7",
        "supplementary groups",
        "`-u` without `-g` keeps root's group and all supplementary ones.",
        "Giving up the user gives up its groups as well.",
        tests=("differential/test_edges.py::test_giving_up_root_gives_up_its_groups",),
    ),
    Difference(
        "A8",
        "rules that are no file of rules",
        "A directory crashes the process; an empty file and a device are an `invalid argument`.",
        "An empty or truncated file is a `protocol error`, like every other file that is no cdb. A directory is "
        "read as a rules directory; one that is none of these is named in a warning. The connection is dropped, "
        "as in C.",
        rows=(
            "tcpserver-rules-directory",
            "tcpserver-rules-empty-file",
            "tcprulescheck-empty-file",
            "tcprulescheck-directory",
        ),
    ),
    Difference(
        "A9",
        "addresses that end in `::`",
        "Refused as host, though C prints them itself.",
        "Accepted, `::` included.",
        rows=(
            "tcpserver-host-literal-ending-in-colons",
            "tcpserver-environment-both-families-by-two-colons",
        ),
    ),
    Difference(
        "A10",
        "addresses in brackets",
        "Unknown since the IPv6 patch.",
        "Accepted, for both families.",
        rows=(
            "tcpserver-host-in-brackets",
            "tcpclient-host-in-brackets",
            "tcpserver-environment-v6-in-brackets",
        ),
    ),
    Difference(
        "A11",
        "names that begin like an IPv4 address",
        "`10.0.0.1.example` fails without a query, with whatever error happened last.",
        "They are names, and looked up.",
        rows=(
            "tcpserver-host-name-with-an-octet-prefix",
            "tcpserver-host-with-a-tail",
            "tcpserver-host-with-a-port",
            "tcpclient-host-with-a-tail",
            "tcpserver-host-v4-with-a-zone",
        ),
    ),
    Difference(
        "A12",
        "DNS trouble",
        "Time-outs and refusals end after 22 to 118 seconds in `no IP address`, as if the name did not exist.",
        "Trouble is `temporarily unable to figure out IP address`, within a bounded time.",
        tests=(
            "dns/test_resolve.py::test_trouble_has_its_reason_and_is_not_no",
            "dns/test_resolve.py::test_a_family_whose_answers_are_lost_costs_a_moment",
        ),
    ),
    Difference(
        "A13",
        "numbers that wrap",
        "Octets, groups of IPv6 and ports are taken modulo their size: `127.0.0.257` is 127.0.0.1, port 65536 is "
        "0. What follows a literal after `-i` is ignored.",
        "Out of range is no address and no port.",
        rows=(
            "tcpserver-host-octet-beyond-255",
            "tcpserver-host-group-too-large",
            "tcpserver-port-beyond-65535",
            "tcpserver-host-eight-groups-and-a-colon-in-front",
            "tcpclient-host-octet-beyond-255",
            "tcpclient-host-short-form",
            "tcpclient-local-address-with-a-tail",
            "tcpclient-port-beyond-65535",
            "tcpclient-local-port-beyond-65535",
            "tcprules-range-beyond-64-bits",
            "tcpserver-host-link-local-with-a-zone-beyond-32-bits",
        ),
    ),
    Difference(
        "A14",
        "log lines that can be misread or forged",
        "IPv6 addresses and names with colons stand bare between colons: `0:::1:25 :::1::4711`.",
        "IPv6 addresses are in brackets, a colon inside a name is `?`. A caller has no say in where a field ends.",
        rows=(
            "tcpserver-log-v6",
            "tcpserver-log-both-families",
            "tcpserver-log-local-name-with-colons",
            "tcpserver-log-six",
            "tcpserver-log-exit-code-of-one-byte",
            "tcpserver-log-terminated",
        ),
    ),
    Difference(
        "A15",
        "IPv4 callers in the log",
        "The `ok` and `deny` lines show `::ffff:127.0.0.1` where the `pid` line shows 127.0.0.1.",
        "All lines show the plain address, as the unpatched tcpserver did. The `TCP6*` twins of an IPv4 caller "
        "stay mapped and `PROTO` stays `TCP`, as the patch has them.",
        rows=(
            "tcpserver-log-v4",
            "tcpserver-log-exit-code",
            "tcpserver-log-killed",
            "tcpserver-log-limit",
            "tcpserver-log-names",
            "tcpserver-log-local-name-of-*",
            "tcpserver-log-quiet-then-verbose",
            "tcpserver-log-local-name-empty",
            "tcpserver-log-local-name-to-be-masked",
        ),
    ),
    Difference(
        "A16",
        "`-6` and IPv4 rules",
        "`-6` looks IPv4 callers up as `::ffff:a.b.c.d`, so that no IPv4 rule applies any more, `deny` included.",
        "IPv4 callers meet IPv4 rules, with and without `-6`; mapped rules still apply too.",
        rows=("tcpserver-rules-six-and-a-v4-rule", "tcprulescheck-mapped", "tcprulescheck-mapped-and-a-v4-rule"),
    ),
    Difference(
        "A17",
        "IP options",
        "On Linux `-O` sets another option and kills nothing.",
        "`-O`, the default, removes the caller's IP options; `-o` leaves them.",
        rows=("tcpserver-option-ip-options-of-the-caller",),
    ),
    Difference(
        "A18",
        "an interface out of nowhere",
        "`TCP6INTERFACE=[unknown]` for IPv4 callers under `-6`.",
        "Set for link-local callers only.",
        rows=(
            "tcpserver-environment-six-on-a-v4-host",
            "tcpserver-environment-four-then-six",
            "tcpserver-environment-any-v4-six",
        ),
    ),
    Difference(
        "A19",
        "an environment that leaks",
        "Inherited `TCP6INTERFACE` passes through tcpserver, every inherited `TCP6*` through tcpclient, beside fresh "
        "`TCP*` ones.",
        "Every variable of the family is set or removed.",
        rows=(
            "tcpserver-environment-with-decoys",
            "tcpserver-environment-with-decoys-v6",
            "tcpserver-environment-remote-name-absent",
            "tcpserver-environment-remote-info-refused",
            "tcpclient-environment-with-decoys",
        ),
    ),
    Difference(
        "A20",
        "no name",
        "tcpclient sets host names to the empty string, tcpserver removes them.",
        "Both remove them.",
        rows=("tcpclient-environment-no-local-name", "tcpclient-environment-no-remote-name"),
    ),
    Difference(
        "A21",
        "`tcpclient 0`",
        "Only ::1; and `-4 ::1` quietly calls 127.0.0.1.",
        "Both loopbacks, so that a server on either is reached; `-4 ::1` fails.",
        rows=("tcpclient-host-zero-v4-only", "tcpclient-refused-on-host-zero", "tcpclient-four-and-loopback-v6"),
    ),
    Difference(
        "A22",
        "`-4` and IPv6 addresses",
        "Still asks for AAAA records and tries them, which fails.",
        "`-4` asks for A records; a name that has none has no address.",
        rows=("tcpclient-four-and-a-name-with-v6-only",),
    ),
    Difference(
        "A23",
        "the order of addresses",
        "Shuffled: another one at each start of tcpclient, always the same in tcpserver.",
        "tcpclient follows RFC 8305, IPv6 first and the families in turn; `--serial` is DJB's way.",
        tests=("dns/test_resolve.py::test_addresses_are_of_both_families_ipv6_first",),
    ),
    Difference(
        "A24",
        "an IPv6 resolver",
        "A server that listens on an IPv4 address cannot use it.",
        "The resolver's family has nothing to do with the server's.",
        tests=("dns/test_resolve.py::test_an_ipv6_name_server_is_asked",),
    ),
    Difference(
        "A25",
        "IPv6 rules by spelling",
        "Prefixes match text: `2001:db8:0:` does not match 2001:db8::1. Capitals and uncompressed addresses "
        "never match.",
        "Addresses and prefixes match by value and are compiled in the spelling that C matches. tcprules warns "
        "of what a C tcpserver would see differently; networks, `2001:db8::/32:deny`, work for both families.",
        rows=(
            "tcprulescheck-v6-prefix-by-value",
            "tcprulescheck-v6-prefix-textual",
            "tcprulescheck-v6-rule-in-capitals",
            "tcprulescheck-v6-uncompressed-address",
            "tcprules-v6-capitals",
            "tcprules-cidr",
        ),
    ),
    Difference(
        "A26",
        "how IPv6 addresses are written",
        "A single group of zeros is shortened to `::`, embedded IPv4 is hexadecimal; inet_ntop(3) does neither.",
        "The same texts, since scripts and rule files compare them; RFC 5952 is what the library's `str()` gives.",
        rows=("tcpclient-unreachable-v6-prints-one-zero-group", "tcpclient-unreachable-embedded-v4"),
        kept=True,
    ),
    Difference(
        "A27",
        "look-ups that hold a slot",
        "A slow DNS or ident server of one caller uses up the limit that others need.",
        "Look-ups come before the limit and delay nobody else. Callers from one address who wait at the same time are "
        "one question to DNS, so a flood from there is no flood of questions.",
        tests=("tcpserver/test_limits.py::test_look_ups_do_not_take_slots_but_are_bounded",),
    ),
    Difference(
        "A28",
        "signals",
        "HUP, like USR1, ends the server; TERM leaves the connections alone.",
        "HUP re-reads what can be read anew, USR1 says who is connected, TERM is as in C unless `--drain` is given.",
        rows=("tcpserver-signal-hup", "tcpserver-signal-usr1"),
    ),
    Difference(
        "A29",
        "children of somebody else",
        "A child that was there before tcpserver counts as a connection that ended.",
        "Only the programs that it started are counted and logged.",
        tests=("differential/test_edges.py::test_a_child_that_was_there_before_is_no_connection",),
    ),
    Difference(
        "A30",
        "inherited descriptors",
        "Every program gets all descriptors that tcpserver was started with.",
        "Programs get 0, 1 and 2.",
        rows=("tcpserver-inherited-descriptor",),
    ),
    Difference(
        "A31",
        "an address in the place of a name",
        "With `-p` a PTR record that holds the caller's own address in digits passes the check.",
        "A name must be a name that leads back to the caller.",
        rows=("tcpserver-environment-paranoid-and-an-address-for-a-name",),
    ),
    Difference(
        "A32",
        "ident answers",
        "Any bytes, up to 257, go into `TCPREMOTEINFO`; an error reply is an empty answer, which rules for "
        "`@address` match.",
        "An error is not an answer; nor is a line with bytes that no user name has, nor one about other ports than the "
        "question's (RFC 1413, section 5).",
        rows=(
            "tcpserver-environment-remote-info-error-reply",
            "tcpserver-environment-remote-info-strange-bytes",
            "tcpserver-rules-by-empty-info",
            "tcpserver-log-strange-info",
        ),
    ),
    Difference(
        "A33",
        "banner and rules",
        "The banner is sent before anybody looks at the rules.",
        "Denied callers get nothing.",
        rows=("tcpserver-rules-banner-and-deny",),
    ),
    Difference(
        "A34",
        "link-local addresses",
        "Without an interface: `invalid argument`. An unknown one after `-I` is ignored, `%eth0` is not "
        "understood, and tcpclient tells its program nothing.",
        "`fe80::1%eth0` works, an unknown interface is named, tcpclient says what is missing and sets `TCP6INTERFACE`.",
        rows=(
            "tcpserver-host-link-local-with-a-bad-zone",
            "tcpclient-link-local-without-zone",
            "tcpserver-environment-link-local-by-its-zone",
            "tcpserver-environment-link-local-in-brackets",
            "tcpserver-environment-interface-by-number",
            "tcpclient-link-local-by-its-zone",
            "tcpclient-link-local-by-option",
            "tcpclient-interface-unknown",
            "tcpclient-local-address-link-local-without-zone",
        ),
    ),
    Difference(
        "A35",
        "tcprules and the bytes after the line",
        "An unfinished last line is read together with what the buffer held before; a carriage return is in the "
        "message but cannot be seen.",
        "A line ends where it ends, and the second line of the message names the carriage return.",
        rows=("tcprules-stale-bytes-after-the-last-line", "tcprules-carriage-returns"),
    ),
    Difference(
        "A36",
        "programs that close their input early",
        "recordio and fixcrio give up on the first write error and lose what the program still says.",
        "Each direction ends by itself.",
        tests=("lines/test_line_programs.py::test_output_is_not_lost_when_the_program_closes_its_input",),
    ),
    Difference(
        "A37",
        "half-closed connections",
        "mconnect never tells the server that its input has ended, so that both wait.",
        "mconnect closes its writing side.",
        tests=("lines/test_line_programs.py::test_mconnect_io_half_closes_at_the_end_of_its_input",),
    ),
    Difference(
        "A38",
        "small clients",
        "http@ deletes empty lines from the page; who@, date@, finger@ and http@ succeed when they failed; echo(1) "
        "interprets what is sent.",
        "The page comes byte for byte, a failure is exit 111, what is sent is what was asked for.",
        rows=(
            "who-refused",
            "date-refused",
            "finger-refused",
            "http-refused",
            "http-page",
            "http-page-by-default",
            "http-page-v6",
        ),
    ),
    Difference(
        "A39",
        "rblsmtpd and IPv6",
        "IPv6 callers are looked up under names that no list has; the usage line advertises `-R`, which is "
        "refused; `-b` and `-c` count only for lists named after them.",
        "RFC 5782 for both families; options count wherever they stand.",
        rows=(
            "rblsmtpd-v6-listed",
            "rblsmtpd-advertised-option",
            "rblsmtpd-option-order",
            "rblsmtpd-mapped",
        ),
    ),
    Difference(
        "A40",
        "names of variables in rules",
        "Any bytes are a name, an empty one too. A NUL in a value ends it, and what follows is an instruction.",
        "A name is what a program can use, and a value what it can have; anything else is a parse error.",
        rows=(
            "tcprules-name-empty",
            "tcprules-name-with-blanks",
            "tcprules-nul-in-*",
            "tcpserver-rules-variable-without-a-name",
        ),
    ),
    Difference(
        "D1",
        "connections that never got a program",
        "A process is forked first, so that a denied or dropped connection has a number in the log and an `end`.",
        "Nothing is started for them: their lines carry pid 0, and no `end` follows.",
        rows=("tcpserver-log-program-missing", "tcpserver-rules-log-of-a-denial"),
    ),
    Difference(
        "D2",
        "words as options",
        "`--anything` ends the options, like `--`.",
        "There are long options (`--proxy`), so an unknown one is an error.",
        rows=("tcpserver-long-option-unknown-to-both",),
    ),
    Difference(
        "D3",
        "messages that say more",
        "One line.",
        "The same line, where there is more to know a second one: the line number and the mistake in a file of "
        "rules, the damage of a database. An unknown option's letter is shown whole.",
        rows=(
            "tcprules-range-bad",
            "tcprules-dash-in-a-bare-name",
            "tcprules-bad-verb",
            "tcprules-nul-behind-the-verb",
            "tcprules-comma-only",
            "tcprules-value-missing",
            "tcprules-value-unclosed",
            "tcprules-semicolon",
            "tcprules-blank-before-comma",
            "tcprules-parse-error-leaves-the-old-file",
            "tcprulescheck-garbage",
            "tcprulescheck-short",
            "tcpserver-unknown-option-of-two-bytes",
        ),
    ),
    Difference(
        "D4",
        "signals 32 and 33",
        "Programs start with no signal ignored.",
        "glibc's posix_spawn(3), which starts programs without a copy of the server, leaves the two signals that glibc "
        "keeps for itself ignored. A program that uses them, as threads do, installs its own handlers.",
        tests=("differential/test_edges.py::test_no_signal_with_a_name_is_ignored_in_programs",),
    ),
    Difference(
        "D5",
        "tcpclient's variables",
        "`TCP*` only.",
        "The `TCP6*` twins as well, as tcpserver has them.",
        rows=(
            "tcpclient-environment-*",
            "tcpclient-local-address",
            "tcpclient-local-address-any",
            "tcpclient-name",
            "tcpclient-name-v6",
            "tcpclient-host-*",
        ),
    ),
    Difference(
        "D6",
        "rblsmtpd without a caller",
        "Without `$TCPREMOTEIP` the lists are asked for their own names.",
        "They are not asked, and a warning says why.",
        rows=("rblsmtpd-no-address",),
    ),
    Difference(
        "D7",
        "a program without a name",
        "`argv0 prog ''` gives prog an empty argv[0].",
        "Python cannot do that; argv0 says so, and exits 111.",
        rows=("argv0-name-empty",),
    ),
    Difference(
        "D8",
        "a log that nobody reads",
        "With `-v` and a full pipe on stderr the server stands still.",
        "Serves on; lines that cannot be written are counted, and the count is the first line that can be.",
        tests=(
            "faults/test_log_readers.py::test_a_log_that_is_not_read_stalls_nobody_and_says_what_is_missing",
            "faults/test_documents.py::test_cs_tcpserver_stands_still_when_nobody_reads_its_log",
        ),
    ),
    Difference(
        "D9",
        "the family of IPv4 connections",
        "A server on both families has one IPv6 socket, tcpclient none but IPv6 ones: programs find an IPv4 caller at "
        "`::ffff:127.0.0.1` when they ask the socket themselves.",
        "Two listening sockets on one port, and an IPv4 socket for each IPv4 connection, so that the socket says what "
        "the variables say. Where a kernel has one of the families only, that one is served.",
        rows=("tcpserver-family-of-the-socket", "tcpclient-family-of-the-socket"),
    ),
    Difference(
        "D10",
        "names of hosts",
        "Operands are asked of DNS alone: /etc/hosts is not read, and `localhost` is a name like any other.",
        "With `$DNSCACHEIP` set they are asked of DNS there too, but `localhost` is this machine (RFC 6761). Without "
        "it the system's resolver is asked, which reads /etc/hosts. Reverse look-ups are asked of DNS alone, as in C.",
        rows=("tcpclient-host-localhost",),
        tests=("tcpclient/test_names.py::test_without_an_own_name_server_the_system_is_asked_so_localhost_works",),
    ),
    Difference(
        "D11",
        "rblsmtpd's lists",
        "The argument of `-r` is the list's name, colons and all; the lists are asked one after the other.",
        "`-r list:message` rejects by the list's A records and with this message, in which `%IP%` is the caller. All "
        "lists are asked at once; the first that decides is still the first in their order.",
        rows=("rblsmtpd-message-behind-a-colon",),
        tests=("rblsmtpd/test_rblsmtpd.py::test_all_lists_are_asked_at_once_and_the_order_still_decides",),
    ),
    Difference(
        "D12",
        "a directory as standard input",
        "A read error, 111.",
        "Python does not start with a directory for its standard input: it says so, and exits 1.",
        rows=("addcr-input-is-a-directory", "tcprules-input-is-a-directory"),
    ),
    Difference(
        "D13",
        "SIGPIPE and SIGXFSZ ignored by whoever started it",
        "argv0, recordio, fixcrio and rblsmtpd start programs that ignore them as well, and addcr and delcr do.",
        "Both are as by default, for them and for their programs: Python ignores both when it starts, and so can no "
        "longer tell whether somebody did before. Other signals stay ignored.",
        rows=("argv0-signals-ignored",),
    ),
    Difference(
        "D14",
        "a rule that sets TCPREMOTEIP",
        "Nothing tells the program that the address is a rule's: stale variables look the same.",
        "`UCSPI_RULE_PEER` has the caller's true address and port then, so that `remote(strict=True)` can tell. An "
        "inherited one is removed.",
        rows=("tcpserver-rules-variable-replaces-the-server's",),
        tests=("tcpserver/test_rules.py::test_a_rule_that_replaces_the_address_leaves_a_mark",),
    ),
)
