"""The command lines."""

from __future__ import annotations

from tests.differential.harness import ENVIRON, Call, Row

V4, V6 = Call("127.0.0.1"), Call("::1")
SERVER = "tcpserver -1RHl0"
DECOYS = {
    "TCP6INTERFACE": "old0", "TCPREMOTEHOST": "old.example", "TCP6REMOTEHOST": "old.example", "TCPREMOTEINFO": "old",
    "TCP6REMOTEINFO": "old", "TCPLOCALHOST": "old.example", "TCP6REMOTEIP": "2001:db8::bad", "PROTO": "OLD",
}  # fmt: skip
RECORDS_ROUTE = Call(ip_options=bytes([7, 11, 4]) + bytes(8) + b"\0")
SHOW_IP_OPTIONS = "/usr/bin/python3 -c 'import socket; print(len(socket.socket(fileno=0).getsockopt(0, 4, 40)) > 0)'"
SHOW_FAMILY = "/usr/bin/python3 -c 'import socket, sys; print(socket.socket(fileno=int(sys.argv[1])).family.name)'"
SHOW_SIGNALS = r"sed -nE 's/^(SigBlk|SigIgn).*(.{7})$/\1 \2/p' /proc/self/status"  # 1 to 28: all that have names
RULES = """\
# a comment
1.2.3.4:allow,ONE="1"
1.2.3.:deny
joe@1.2.3.4:allow,JOE=/yes/
=host.example:allow,HOST=.dot.
=.example:deny
127.0.0.1:allow,RULE="here, and: here",SECOND='2'
10.1-3.5:deny
::1:deny
:allow
"""
ENDLESS = "mkfifo f; exec 3<>f"  # descriptor 3 is an input that neither says anything nor ends
COMPILE = "tcprules r.cdb r.tmp <rules"


def _usage() -> list[Row]:
    return [
        Row("tcpserver-no-operands", "tcpserver"),
        Row("tcpserver-no-port", "tcpserver 127.0.0.1"),
        Row("tcpserver-no-program", "tcpserver 127.0.0.1 0"),
        Row("tcpserver-unknown-option", "tcpserver -Z 127.0.0.1 0 true"),
        Row("tcpserver-unknown-option-inside-a-cluster", "tcpserver -vRHjq 127.0.0.1 0 true"),
        Row("tcpserver-unknown-option-of-two-bytes", "tcpserver -$(printf '\\303\\251') 127.0.0.1 0 true"),
        Row("tcpserver-option-without-its-value", "tcpserver -v -c"),
        Row("tcpserver-long-option-unknown-to-both", "tcpserver --nonsense 127.0.0.1 {busy} true"),
        Row("tcpserver-quiet-usage-says-nothing", "tcpserver -q 127.0.0.1 0"),
        Row("tcpserver-quiet-is-too-late-for-a-bad-option", "tcpserver -q -Z 127.0.0.1 0 true"),
        Row("tcpserver-quiet-then-errors", "tcpserver -qQ 127.0.0.1"),
        Row("tcpserver-dash-is-an-operand", "tcpserver -RHl0 - 0 true"),
        Row("tcpserver-double-dash-ends-options", "tcpserver -RHl0 -- -v"),
        Row("tcpclient-no-operands", "tcpclient"),
        Row("tcpclient-no-port", "tcpclient 127.0.0.1"),
        Row("tcpclient-no-program", "tcpclient 127.0.0.1 80"),
        Row("tcpclient-unknown-option", "tcpclient -P 127.0.0.1 80 true"),
        Row("tcpclient-option-without-its-value", "tcpclient -RHl"),
        Row("tcpclient-quiet-usage", "tcpclient -q 127.0.0.1"),
        Row("tcpclient-local-address-is-no-address", "tcpclient -i nonsense 127.0.0.1 80 true"),
        Row("tcpclient-local-address-empty", "tcpclient -i '' 127.0.0.1 80 true"),
        Row("tcprules-no-operands", "tcprules"),
        Row("tcprules-one-operand", "tcprules only.cdb"),
        Row("tcprulescheck-no-operand", "tcprulescheck"),
        Row("recordio-no-program", "recordio"),
        Row("fixcrio-no-program", "fixcrio"),
        Row("argv0-no-operands", "argv0"),
        Row("argv0-one-operand", "argv0 true"),
        Row("rblsmtpd-no-program", "rblsmtpd"),
        Row("rblsmtpd-unknown-option", "rblsmtpd -Z true"),
        Row("rblsmtpd-option-without-its-value", "rblsmtpd -t"),
    ]


def _start_up() -> list[Row]:
    def host(name: str, operand: str, options: str = "-RHl0") -> Row:
        # A host that can be bound would be served for ever, so the port is one that is taken.
        return Row(f"tcpserver-host-{name}", f"tcpserver {options} {operand} {{busy}} true")

    return [
        Row("tcpserver-port-name-unknown", "tcpserver -RHl0 127.0.0.1 nosuchport true"),
        Row("tcpserver-port-name-wins-over-a-missing-program", "tcpserver -RHl0 127.0.0.1 nosuchport"),
        Row("tcpserver-port-negative", "tcpserver -RHl0 127.0.0.1 -1 true"),
        Row("tcpserver-port-hexadecimal", "tcpserver -RHl0 127.0.0.1 0x50 true"),
        Row("tcpserver-port-with-a-blank", "tcpserver -RHl0 127.0.0.1 ' 80' true"),
        Row("tcpserver-port-with-a-tail", "tcpserver -RHl0 127.0.0.1 80x true"),
        Row("tcpserver-port-name-in-capitals", "tcpserver -RHl0 192.0.2.99 SMTP true"),
        Row("tcpserver-port-name-known", "tcpserver -RHl0 192.0.2.99 smtp true", needs=("/etc/services",)),
        Row("tcpserver-port-beyond-65535", "tcpserver -RHl0 192.0.2.99 65536 true"),
        Row("tcpserver-quiet-fatal", "tcpserver -qRHl0 127.0.0.1 nosuchport true"),
        host("taken", "127.0.0.1"),
        host("octets-with-zeros", "127.000.000.001"),
        host("octet-beyond-255", "127.0.0.257"),
        host("mapped-dotted", "::ffff:127.0.0.1"),
        host("mapped-hex", "::ffff:7f00:1"),
        host("mapped-capitals", "::FFFF:127.0.0.1"),
        host("in-brackets", "'[127.0.0.1]'"),
        host("short-form", "127.1"),
        host("one-number", "2130706433"),
        host("trailing-dot", "127.0.0.1."),
        host("dot", "."),
        host("with-a-tail", "127.0.0.1x"),
        host("with-a-port", "127.0.0.1:80"),
        host("not-ours-v4", "1.2.3.4"),
        host("not-ours-v6", "2001:db8::99"),
        host("v6-with-six-forced-to-v4", "::1", "-4RHl0"),
        host("link-local-without-zone", "fe80::1"),
        host("link-local-with-a-bad-zone", "fe80::1", "-RHl0 -I nosuchif"),
        host("literal-ending-in-colons", "2001:db8::"),
        host("name", "v4.example"),
        host("name-unknown", "nosuch.example"),
        host("label-too-long", "a" * 64 + ".example"),
        host("name-with-an-octet-prefix", "10.0.0.1.example"),
        host("group-too-large", "12345::1"),
        host("eight-groups-and-a-colon-in-front", ":0:0:0:0:0:0:0:1", "-4RHl0"),
        host("v4-with-a-zone", "127.0.0.1%lo"),
        host("bracket-open", "'[::1'"),
        host("brackets-around-a-name", "'[v4.example]'"),
        host("link-local-with-a-zone-beyond-32-bits", "fe80::1", "-RHl0 -I 4294967297"),
        Row("tcpserver-port-of-no-name", "tcpserver -RHl0 192.0.2.99 '' true"),
        Row("tcpserver-uid-not-allowed-to-be-minus-one", "tcpserver -RHl0 -u 4294967295 127.0.0.1 0 true"),
        Row("tcpserver-gid-not-allowed-to-be-minus-one", "tcpserver -RHl0 -g 4294967295 127.0.0.1 0 true", root=True),
    ]


def _serving() -> list[Row]:
    def environ(name: str, options: str, host: str, *calls: Call, **more: object) -> Row:
        command = f"tcpserver -1 {options} {host} 0 {ENVIRON}"
        return Row(f"tcpserver-environment-{name}", command, calls, **more)  # type: ignore[arg-type]  # Row's own fields

    def option(name: str, options: str, *calls: Call, program: str = "echo served", root: bool = False) -> Row:
        return Row(f"tcpserver-option-{name}", f"{SERVER} {options} 127.0.0.1 0 {program}", calls or (V4,), root=root)

    return [
        environ("v4", "-RHl0", "127.0.0.1", V4),
        environ("v6", "-RHl0", "::1", V6),
        environ("both-families", "-RHl0", "0", V4, V6),
        environ("both-families-by-an-empty-host", "-RHl0", "''", V4, V6),
        environ("both-families-by-colons", "-RHl0", "::0", V4, V6),
        environ("six", "-6RHl0", "0", V4, V6),
        environ("six-on-a-v4-host", "-6RHl0", "127.0.0.1", V4),
        environ("four", "-4RHl0", "0", V4),
        environ("four-then-six", "-46RHl0", "0", V4),
        environ("any-v4", "-RHl0", "0.0.0.0", V4),
        environ("mapped-host", "-RHl0", "::ffff:127.0.0.1", V4),
        environ("global-v6", "-RHl0", "2001:db8::1", Call("2001:db8::1")),
        environ("link-local", "-RHl0 -I lo", "fe80::1", Call("fe80::1%lo")),
        environ("link-local-on-any-host", "-RHl0", "0", Call("fe80::1%lo")),
        environ("link-local-by-its-zone", "-RHl0", "fe80::1%lo", Call("fe80::1%lo")),
        environ("link-local-in-brackets", "-RHl0", "'[fe80::1%lo]'", Call("fe80::1%lo")),
        environ("link-local-six", "-6RHl0 -I lo", "fe80::1", Call("fe80::1%lo")),
        environ("interface-by-number", "-RHl0 -I 1", "fe80::1", Call("fe80::1%lo")),
        environ("both-families-by-two-colons", "-RHl0", "::", V4, V6),
        environ("v6-in-brackets", "-RHl0", "'[::1]'", V6),
        environ("four-and-any-v6", "-4RHl0", "::0", V4),
        environ("any-v4-six", "-6RHl0", "0.0.0.0", V4),
        environ("local-name-with-a-blank-and-a-percent", "-RH -l 'a %b'", "127.0.0.1", V4),
        environ("with-decoys", "-RHl0", "127.0.0.1", V4, env=DECOYS),
        environ("with-decoys-v6", "-RHl0", "::1", V6, env=DECOYS),
        environ("without-a-local-name", "-RH", "192.0.2.1", Call("192.0.2.1")),
        environ("local-name-looked-up", "-RH", "127.0.0.1", V4),
        environ("local-name-looked-up-v6", "-RH", "::1", V6),
        environ("local-name-empty", "-RH -l ''", "127.0.0.1", V4),
        environ("local-name-with-colons", "-RH -l a:b", "127.0.0.1", V4),
        environ("remote-name-looked-up", "-Rl0", "127.0.0.1", Call(source="127.0.0.9")),
        environ("remote-name-looked-up-v6", "-Rl0", "::1", V6),
        environ("remote-name-absent", "-Rl0", "127.0.0.1", Call(source="127.0.0.8"), env=DECOYS),
        environ("remote-name-lies-unnoticed", "-Rl0", "127.0.0.1", Call(source="127.0.0.10")),
        environ("paranoid-and-true", "-pRl0", "127.0.0.1", Call(source="127.0.0.9")),
        environ("paranoid-and-lied-to", "-pRl0", "127.0.0.1", Call(source="127.0.0.10")),
        environ("paranoid-and-an-address-for-a-name", "-pRl0", "127.0.0.1", Call(source="127.0.0.4")),
        environ("not-paranoid-and-an-address-for-a-name", "-Rl0", "127.0.0.1", Call(source="127.0.0.4")),
        environ("paranoid-taken-back", "-pPRl0", "127.0.0.1", Call(source="127.0.0.10")),
        environ("remote-info", "-Hl0", "127.0.0.1", Call(source="127.0.0.9")),
        environ("remote-info-error-reply", "-Hl0", "127.0.0.1", Call(source="127.0.0.10")),
        environ("remote-info-strange-bytes", "-Hl0", "127.0.0.1", Call(source="127.0.0.11")),
        environ("remote-info-refused", "-Hl0", "127.0.0.1", Call(source="127.0.0.8"), env=DECOYS),
        environ("remote-info-v6-refused", "-Hl0", "::1", V6),
        environ("option-soup", "-hHrR -l 0", "127.0.0.1", Call(source="127.0.0.9")),
        environ("option-soup-reversed", "-HhRr -l0", "127.0.0.1", Call(source="127.0.0.9")),
        environ("attached-value", "-RHlname", "127.0.0.1", V4),
        environ("detached-value", "-R -H -l name", "127.0.0.1", V4),
        environ("last-value-wins", "-RH -l one -ltwo", "127.0.0.1", V4),
        Row("tcpserver-family-of-the-socket", f"{SERVER} 0 0 {SHOW_FAMILY} 0", (V4, V6)),
        Row("tcpserver-family-of-the-socket-on-a-v4-host", f"{SERVER} 127.0.0.1 0 {SHOW_FAMILY} 0", (V4,)),
        option("limit-attached", "-c5"),
        option("limit-detached", "-c 5"),
        option("limit-with-a-tail", "-c 5abc"),
        option("limit-huge", "-c 99999999999"),
        option("backlog-attached", "-b3"),
        option("backlog-no-number", "-b abc"),
        option("backlog-beyond-int", "-b 4294967295"),
        option("no-delay", "-D"),
        option("delay", "-Dd"),
        option("ip-options-kept", "-o"),
        option("ip-options-killed", "-O"),
        option("ip-options-of-the-caller", "", RECORDS_ROUTE, program=SHOW_IP_OPTIONS),
        option("ip-options-of-the-caller-kept", "-o", RECORDS_ROUTE, program=SHOW_IP_OPTIONS),
        option("uid-and-gid", "-u 65534 -g 65534", program="id -G", root=True),
        option("uid-twice", "-u 65534 -u 0", program="id -u", root=True),
        option("uid-is-a-name", "-u nobody", program="id -u", root=True),
        option("gid-is-a-name", "-g nogroup", program="id -g", root=True),
        option("uid-beyond-32-bits", "-u 4294967296", program="id -u"),
        option("interface-of-a-v4-host", "-I lo"),
        option("banner", "-B 'hello there'", V4, V4),
        option("banner-attached", "-B220-hi"),
        option("banner-empty", "-B ''"),
        option("timeout-no-number", "-t abc"),
        option("uid-and-gid-of-the-superuser", "-u 0 -g 0", program="id -u"),
        option("uid-from-the-environment-absent", "-U", program="id -u"),
        option("program-with-a-dash", "", program="echo -- -v"),
        option("standard-error-is-inherited", "", program="sh -c 'echo to the log >&2'"),
        option("descriptors", "", program="sh -c 'ls /proc/$$/fd'"),
        option("stdin-is-the-connection", "", Call(send="one\ntwo\n"), program="cat"),
        option("signals-are-default", "", program=SHOW_SIGNALS),
        Row("tcpserver-program-missing", f"{SERVER} 127.0.0.1 0 ./nosuch", (V4, V4)),
        Row("tcpserver-program-not-on-path", f"{SERVER} 127.0.0.1 0 no-such-program", (V4,)),
        Row("tcpserver-program-empty", f"{SERVER} 127.0.0.1 0 ''", (V4,)),
        Row("tcpserver-program-is-a-directory", f"{SERVER} 127.0.0.1 0 /tmp", (V4,)),
        Row(
            "tcpserver-program-without-interpreter",
            f"chmod +x p; exec {SERVER} 127.0.0.1 0 ./p",
            (V4,),
            files={"p": "echo\n"},
        ),
        Row("tcpserver-program-missing-quietly", f"{SERVER} -q 127.0.0.1 0 ./nosuch", (V4,)),
        Row("tcpserver-log-v4", "tcpserver -v1RHl0 127.0.0.1 0 true", (V4,), logged=True),
        Row("tcpserver-log-v6", "tcpserver -v1RHl0 ::1 0 true", (V6,), logged=True),
        Row("tcpserver-log-both-families", "tcpserver -v1RHl0 0 0 true", (V4, V6), logged=True),
        Row("tcpserver-log-six", "tcpserver -v16RHl0 0 0 true", (V4,), logged=True),
        Row("tcpserver-log-exit-code", "tcpserver -v1RHl0 127.0.0.1 0 sh -c 'exit 3'", (V4,), logged=True),
        Row("tcpserver-log-killed", "tcpserver -v1RHl0 127.0.0.1 0 sh -c 'kill -9 $$'", (V4,), logged=True),
        Row("tcpserver-log-exit-code-of-one-byte", "tcpserver -v1RHl0 ::1 0 sh -c 'exit 255'", (V6, V6), logged=True),
        Row("tcpserver-log-terminated", "tcpserver -v1RHl0 ::1 0 sh -c 'kill -TERM $$'", (V6,), logged=True),
        Row("tcpserver-log-local-name-empty", "tcpserver -v1RH -l '' 127.0.0.1 0 true", (V4,), logged=True),
        Row("tcpserver-log-local-name-to-be-masked", "tcpserver -v1RH -l 'a %b' 127.0.0.1 0 true", (V4,), logged=True),
        Row("tcpserver-log-limit", "tcpserver -v1RHl0 -c1 127.0.0.1 0 true", (V4, V4, V4), logged=True),
        Row("tcpserver-log-program-missing", "tcpserver -v1RHl0 127.0.0.1 0 ./nosuch", (V4,), logged=True),
        Row("tcpserver-log-names", "tcpserver -v1 127.0.0.1 0 true", (Call(source="127.0.0.9"),), logged=True),
        Row(
            "tcpserver-log-strange-info", "tcpserver -v1Hl0 127.0.0.1 0 true", (Call(source="127.0.0.11"),), logged=True
        ),
        Row("tcpserver-log-local-name-with-colons", "tcpserver -v1RHla:b 127.0.0.1 0 true", (V4,), logged=True),
        Row("tcpserver-log-local-name-of-99", f"tcpserver -v1RHl{'x' * 99} 127.0.0.1 0 true", (V4,), logged=True),
        Row("tcpserver-log-local-name-of-100", f"tcpserver -v1RHl{'x' * 100} 127.0.0.1 0 true", (V4,), logged=True),
        Row("tcpserver-log-verbose-then-quiet", "tcpserver -vQ1RHl0 127.0.0.1 0 true", (V4,)),
        Row("tcpserver-log-quiet-then-verbose", "tcpserver -qv1RHl0 127.0.0.1 0 true", (V4,), logged=True),
        Row("tcpserver-signal-term", f"{SERVER} 127.0.0.1 0 echo served", (V4,)),
        Row("tcpserver-signal-int", f"{SERVER} 127.0.0.1 0 echo served", (V4,), end="INT"),
        Row("tcpserver-signal-kill", f"{SERVER} 127.0.0.1 0 echo served", (V4,), end="KILL"),
        Row("tcpserver-signal-hup", f"{SERVER} 127.0.0.1 0 echo served", (V4,), end="HUP"),
        Row("tcpserver-signal-usr1", f"{SERVER} -v 127.0.0.1 0 echo served", (V4,), end="USR1", logged=True),
        Row("tcpserver-signal-alrm", f"{SERVER} 127.0.0.1 0 echo served", (V4,), end="ALRM"),
        Row("tcpserver-stdin-closed", f"ulimit -t 1; exec {SERVER} 127.0.0.1 0 echo served <&-", (V4,)),
        Row("tcpserver-inherited-descriptor", f"exec {SERVER} 127.0.0.1 0 sh -c 'ls /proc/$$/fd' 5</dev/null", (V4,)),
        Row("tcpserver-foreign-child", f"true & exec {SERVER} 127.0.0.1 0 echo served", (V4,)),
    ]


def _with_rules() -> list[Row]:
    def ruled(name: str, rules: str, *calls: Call, options: str = "-RHl0", host: str = "0", **more: object) -> Row:
        command = f"tcprules r.cdb r.tmp <rules; exec tcpserver -1 {options} -x r.cdb {host} 0 {ENVIRON}"
        return Row(f"tcpserver-rules-{name}", command, calls or (V4,), files={"rules": rules}, **more)  # type: ignore[arg-type]  # Row's own fields

    return [
        ruled("allow-with-variables", RULES),
        ruled("deny-v6", RULES, V6, V4),
        ruled("none-applies", "10.:deny\n"),
        ruled("deny-everything", ":deny\n", V4, V6),
        ruled("by-prefix", "127.:deny\n"),
        ruled("by-v6-prefix", "2001:db8::deny\n", Call("2001:db8::1"), V4),
        ruled("by-host", "=joe.example:allow,BY=|host|\n:deny\n", Call(source="127.0.0.9"), options="-Rl0"),
        ruled("by-host-suffix", "=.example:allow,BY=|suffix|\n:deny\n", Call(source="127.0.0.9"), options="-Rl0"),
        ruled(
            "by-any-host",
            "=:allow,BY=|any|\n:deny\n",
            Call(source="127.0.0.9"),
            Call(source="127.0.0.8"),
            options="-Rl0",
        ),
        ruled("by-info", "joe@127.0.0.9:allow,BY=|info|\n:deny\n", Call(source="127.0.0.9"), options="-Hl0"),
        ruled("by-empty-info", "@127.0.0.10:deny\n", Call(source="127.0.0.10"), options="-Hl0"),
        ruled("by-info-and-host", "joe@=joe.example:allow,BY=|both|\n:deny\n", Call(source="127.0.0.9"), options="-l0"),
        ruled("six-and-a-v4-rule", "127.0.0.1:deny\n", V4, options="-6RHl0"),
        ruled("six-and-a-mapped-rule", "::ffff:127.0.0.1:deny\n", V4, options="-6RHl0"),
        ruled("variable-replaces-the-server's", ':allow,TCPREMOTEIP="1.2.3.4",PROTO="X"\n'),
        ruled("variable-without-a-name", ':allow,="x"\n'),
        ruled("variable-set-twice", ':allow,A="1",A="2"\n'),
        ruled("path-is-for-the-program-only", ':allow,PATH="/nonexistent"\n'),
        ruled("banner-and-deny", ":deny\n", options="-RHl0 -B banner"),
        ruled("log-of-a-denial", ":deny\n", options="-vRHl0", host="127.0.0.1", logged=True),
        ruled("several-keys-longest-prefix", '127.0.0.:allow,P="3"\n127.0.:allow,P="2"\n127.:allow,P="1"\n'),
        Row("tcpserver-rules-missing", f"{SERVER} -x nosuch.cdb 127.0.0.1 0 echo served", (V4,)),
        Row("tcpserver-rules-missing-tolerated", f"{SERVER} -X -x nosuch.cdb 127.0.0.1 0 echo served", (V4,)),
        Row("tcpserver-rules-tolerant-without-a-file", f"{SERVER} -X 127.0.0.1 0 echo served", (V4,)),
        Row("tcpserver-rules-without-a-name", f"{SERVER} -x '' 127.0.0.1 0 echo served", (V4,)),
        Row("tcpserver-rules-without-a-name-tolerated", f"{SERVER} -X -x '' 127.0.0.1 0 echo served", (V4,)),
        Row("tcpserver-rules-under-a-file", f"{SERVER} -X -x file/r.cdb 127.0.0.1 0 true", (V4,), files={"file": ""}),
        Row("tcpserver-rules-empty-file", f"{SERVER} -x r.cdb 127.0.0.1 0 echo served", (V4,), files={"r.cdb": ""}),
        Row("tcpserver-rules-device", f"{SERVER} -x /dev/null 127.0.0.1 0 echo served", (V4,)),
        Row("tcpserver-rules-directory", f"mkdir d; exec {SERVER} -x d 127.0.0.1 0 echo served", (V4,)),
        Row(
            "tcpserver-rules-garbage",
            f"{SERVER} -x r.cdb 127.0.0.1 0 echo served",
            (V4,),
            files={"r.cdb": "\xff" * 3000},
        ),
        Row("tcpserver-rules-short", f"{SERVER} -x r.cdb 127.0.0.1 0 echo served", (V4,), files={"r.cdb": "x" * 100}),
        Row(
            "tcpserver-rules-zero-bytes",
            f"{SERVER} -x r.cdb 127.0.0.1 0 echo served",
            (V4,),
            files={"r.cdb": "\0" * 2048},
        ),
    ]


def _rules() -> list[Row]:
    def compiles(
        name: str, rules: str, command: str = "ulimit -t 1; tcprules r.cdb r.tmp <rules", **more: object
    ) -> Row:
        return Row(f"tcprules-{name}", command, files={"rules": rules, "r.cdb": "old\n"}, **more)  # type: ignore[arg-type]  # Row's own fields

    def checks(name: str, ip: str | None, host: str | None = None, info: str | None = None, rules: str = RULES) -> Row:
        env = {"TCPREMOTEIP": ip, "TCPREMOTEHOST": host, "TCPREMOTEINFO": info}
        return Row(f"tcprulescheck-{name}", f"{COMPILE} && tcprulescheck r.cdb", files={"rules": rules}, env=env)

    return [
        compiles("empty", ""),
        compiles("comments-only", "# one\n\n#two\n"),
        compiles("whole-language", RULES),
        compiles("last-line-without-end", "1.2.3.4:allow"),
        compiles("trailing-blanks", "1.2.3.4:allow \t \n"),
        compiles("leading-blanks-belong-to-the-address", " 1.2.3.4:allow\n"),
        compiles("ranges", "1.2.3-5.:deny\n7.0-1:allow\n007-8.:deny\n"),
        compiles("range-clamped", "1.2.250-300:deny\n"),
        compiles("range-backwards", "1.2.5-3:deny\n"),
        compiles("range-open", "1.2.-3:deny\n"),
        compiles("range-beyond-64-bits", "1.0-18446744073709551616:deny\n"),
        compiles("range-of-many-zeros", "1.00000000000000000000000002-3:deny\n"),
        compiles("range-bad", "1.2.a-3:deny\n"),
        compiles("range-twice", "1.2-3.4-5.:deny\n"),
        compiles("dash-in-a-host", "=host-name.example:deny\njoe-x@1.2.3.4:deny\n"),
        compiles("dash-in-a-bare-name", "host-name.example:deny\n"),
        compiles("v6-addresses", "::1:deny\n2001:db8::allow\n::deny\nfe80::1:allow\n"),
        compiles("v6-capitals", "2001:DB8::1:deny\n"),
        compiles("mapped-range", "::ffff:1.2.3.4-6:deny\n"),
        compiles("cidr", "10.0.0.0/8:deny\nfe80::/10:allow\n"),
        compiles("duplicates", '1.2.3.4:deny\n1.2.3.4:allow,A="1"\n'),
        compiles("odd-quotes", "a:allow,A=xyzx,B=|c|,C=''\n"),
        compiles("value-with-everything", 'a:allow,A="x,y:deny \\\\ %",B=",:"\n'),
        compiles("name-empty", 'a:allow,="x"\n'),
        compiles("name-with-blanks", 'a:allow,A B="x"\n'),
        compiles("nul-in-a-value", '1.2.3.4:allow,A="x\0D\0y"\n'),
        compiles("nul-in-a-name", '1.2.3.4:allow,A\0="x"\n'),
        compiles("nul-in-an-address", "1.2.3.4\0:deny\n"),
        compiles("nul-behind-the-verb", "1.2.3.4:deny\0\n"),
        compiles("bad-verb", "1.2.3.4:denyx\n"),
        compiles("comma-only", "1.2.3.4:deny,\n"),
        compiles("value-missing", "1.2.3.4:allow,A=\n"),
        compiles("value-unclosed", '1.2.3.4:allow,A="\n'),
        compiles("semicolon", '1.2.3.4:allow;A="a"\n'),
        compiles("blank-before-comma", '1.2.3.4:allow,A="x" ,B="y"\n'),
        compiles("blank-after-colon", "1.2.3.4: allow\n"),
        compiles("no-verb", "1.2.3.4\n"),
        compiles("misspelt-verb", "1.2.3.4:alow\n"),
        compiles("capital-verb", "1.2.3.4:Allow\n"),
        compiles("line-of-blanks", "   \n1.2.3.4:allow\n"),
        compiles("indented-comment", " # note\n"),
        compiles("carriage-returns", "1.2.3.4:allow\r\n"),
        compiles("parse-error-leaves-the-old-file", "1.2.3.4:allow\nbad:denyx\n"),
        compiles("umask", ":allow\n", "umask 077; tcprules r.cdb r.tmp <rules"),
        compiles("extra-operands", ":allow\n", "tcprules r.cdb r.tmp more <rules"),
        compiles("tmp-cannot-be-made", ":allow\n", "tcprules r.cdb nosuch/r.tmp <rules"),
        compiles("cannot-be-moved", ":allow\n", "tcprules nosuch/r.cdb r.tmp <rules"),
        compiles("stale-bytes-after-the-last-line", "1.2.3.4:deny\n1.2.3.4:"),
        compiles("onto-a-directory", ":allow\n", "mkdir d; tcprules d r.tmp <rules"),
        compiles("through-the-same-name", ":allow\n", "tcprules r.cdb r.cdb <rules"),
        compiles("input-closed", "", "tcprules r.cdb r.tmp <&-"),
        compiles("input-is-a-directory", "", "tcprules r.cdb r.tmp 2>/dev/null </; echo $?"),
        compiles("names-empty", "", "tcprules '' ''"),
        compiles("device-full", "1:allow\n", "tcprules r.cdb /dev/full <rules"),
        checks("address", "1.2.3.4"),
        checks("prefix", "1.2.3.9"),
        checks("info-and-address", "1.2.3.4", info="joe"),
        checks("info-of-another", "1.2.3.4", info="jim"),
        checks("host", "9.9.9.9", "host.example"),
        checks("host-suffix", "9.9.9.9", "other.example"),
        checks("host-below-a-prefix", "1.2.3.9", "other.example"),
        checks("host-in-capitals", "9.9.9.9", "HOST.EXAMPLE"),
        checks("default-record", "9.9.9.9"),
        checks("no-record", "9.9.9.9", rules="1.2.3.4:deny\n"),
        checks("no-address", None),
        checks("empty-address", ""),
        checks("empty-host", "9.9.9.9", "", rules="=:deny\n"),
        checks("empty-info", "9.9.9.9", info="", rules="@9.9.9.9:deny\n"),
        checks("range", "10.2.5"),
        checks("v6", "::1"),
        checks("v6-prefix", "2001:db8::1:2", rules="2001:db8::deny\n"),
        checks("v6-prefix-by-value", "2001:db8::1", rules="2001:db8:0::deny\n"),
        checks("v6-prefix-textual", "2001:db8:0:1::1", rules="2001:db8:0::deny\n"),
        checks("v6-rule-in-capitals", "fe80::1", rules="FE80::1:deny\n"),
        checks("v6-uncompressed-address", "2001:db8:0:0:0:0:0:1", rules="2001:db8::1:deny\n"),
        checks("mapped", "::ffff:1.2.3.4"),
        checks("mapped-and-a-v4-rule", "::ffff:1.2.3.4", rules="1.2.3.4:deny\n"),
        checks("variables-in-order", "7.7.7.7", rules='7.:allow,B="1",A="2",B="3"\n'),
        Row("tcprulescheck-missing", "tcprulescheck nosuch.cdb"),
        Row("tcprulescheck-empty-file", "tcprulescheck r.cdb", files={"r.cdb": ""}),
        Row("tcprulescheck-device", "tcprulescheck /dev/null"),
        Row("tcprulescheck-directory", "mkdir d; tcprulescheck d"),
        Row("tcprulescheck-garbage", "tcprulescheck r.cdb", files={"r.cdb": "\xff" * 3000}),
        Row("tcprulescheck-short", "tcprulescheck r.cdb", files={"r.cdb": "1.2.3.4:deny\n"}),
        Row("tcprulescheck-named-dashes", "tcprulescheck -- r.cdb"),
        Row("tcprulescheck-zero-bytes", "tcprulescheck r.cdb", files={"r.cdb": "\0" * 2048}),
        Row("tcprulescheck-extra-operands", f"{COMPILE}; tcprulescheck r.cdb more", files={"rules": ":deny\n"}),
    ]


def _clients() -> list[Row]:
    def connects(
        name: str, options: str, host: str, listen: str = "127.0.0.1", program: str = ENVIRON, **more: object
    ) -> Row:
        # The program reads to the end of the connection before it goes, so that no reset hides what was said.
        command = (
            f"tcpclient {options} {host} {{port}} sh -c 'cat <&6 >/dev/null; exec {program}' | tr '\\0' '\\n' | sort"
        )
        return Row(f"tcpclient-{name}", command, listen=listen, **more)  # type: ignore[arg-type]  # Row's own fields

    def fails(name: str, arguments: str, **more: object) -> Row:
        return Row(f"tcpclient-{name}", f"tcpclient {arguments} true", **more)  # type: ignore[arg-type]  # Row's own fields

    return [
        connects("environment-v4", "-RHl0", "127.0.0.1"),
        connects("environment-v6", "-RHl0", "::1", "::1"),
        connects("environment-six", "-6RHl0", "127.0.0.1"),
        connects("environment-four", "-4RHl0", "127.0.0.1"),
        connects("environment-global-v6", "-RHl0", "2001:db8::1", "2001:db8::1"),
        connects("environment-mapped-host", "-RHl0", "::ffff:127.0.0.1"),
        connects("environment-with-decoys", "-RHl0", "127.0.0.1", env=DECOYS),
        connects("environment-local-name", "-RH", "127.0.0.1"),
        connects("environment-no-local-name", "-RH -i 127.0.0.2", "127.0.0.1"),
        connects("environment-remote-name", "-Rl0", "127.0.0.1"),
        connects("environment-no-remote-name", "-Rl0", "127.0.0.8", "127.0.0.8"),
        connects("environment-remote-info", "-rHl0", "127.0.0.9", "127.0.0.9"),
        connects("environment-option-soup", "-hHrR -l 0 -T 2+3 -dD", "127.0.0.1"),
        connects("local-address", "-RHl0 -i 127.0.0.3", "127.0.0.1"),
        connects("local-address-any", "-RHl0 -i ::", "127.0.0.1"),
        connects("local-address-with-a-tail", "-RHl0 -i 127.0.0.3x", "127.0.0.1"),
        connects("name", "-RHl0", "v4.example"),
        connects("name-v6", "-RHl0", "v6.example", "::1"),
        connects("host-zero-v6", "-RHl0", "0", "::1"),
        connects("host-zero-v4-only", "-RHl0", "0", "127.0.0.1"),
        connects("host-empty", "-RHl0", "''", "::1"),
        connects("host-zero-four", "-4RHl0", "0", "127.0.0.1"),
        connects("host-localhost", "-RHl0", "localhost"),
        connects("host-v6-in-brackets", "-RHl0", "'[::1]'", "::1"),
        connects("host-two-colons", "-RHl0", "::", "::1"),
        connects("link-local-by-its-zone", "-RHl0", "fe80::1%lo", "fe80::1%lo"),
        connects("link-local-by-option", "-RHl0 -I lo", "fe80::1", "fe80::1%lo"),
        connects("local-name-empty", "-RH -l ''", "127.0.0.1", program="true"),
        connects("four-and-six", "-46vRHl0", "127.0.0.1", program="true"),
        connects("four-and-a-mapped-host", "-4vRHl0", "::ffff:127.0.0.1", program="true"),
        connects("local-port-no-number", "-RHl0 -p abc", "127.0.0.1", program="true"),
        connects("timeouts-empty", "-RHl0 -T ''", "127.0.0.1", program="true"),
        connects("ident-without-patience", "-rHl0 -t 0", "127.0.0.9", "127.0.0.9", program="true"),
        connects("family-of-the-socket", "-RHl0", "127.0.0.1", program=f"{SHOW_FAMILY} 6".replace("'", '"')),
        connects("verbose", "-vRHl0", "127.0.0.1", program="true"),
        connects("verbose-v6", "-vRHl0", "::1", "::1", program="true"),
        connects("verbose-six", "-v6RHl0", "127.0.0.1", program="true"),
        connects("timeouts-odd", "-RHl0 -T 5x3", "127.0.0.1", program="true"),
        Row("tcpclient-descriptors", "tcpclient -RHl0 127.0.0.1 {port} sh -c 'cat <&6; echo said >&7; ls /proc/$$/fd'"),
        Row("tcpclient-program-empty", "tcpclient -RHl0 127.0.0.1 {port} ''"),
        Row("tcpclient-program-is-a-directory", "tcpclient -RHl0 127.0.0.1 {port} /tmp"),
        Row("tcpclient-program-with-a-dash", "tcpclient -RHl0 -- 127.0.0.1 {port} -v"),
        Row("tcpclient-exit-code-is-the-program's", "tcpclient -RHl0 127.0.0.1 {port} sh -c 'cat <&6; exit 7'"),
        Row("tcpclient-program-missing", "tcpclient -RHl0 127.0.0.1 {port} ./nosuch"),
        Row("tcpclient-program-missing-quietly", "tcpclient -qRHl0 127.0.0.1 {port} ./nosuch"),
        Row("tcpclient-four-and-loopback-v6", "tcpclient -4vRHl0 ::1 {port} sh -c 'cat <&6'"),
        fails("refused", "-RHl0 127.0.0.1 {refused}"),
        fails("refused-v6", "-RHl0 ::1 {refused}"),
        fails("refused-twice", "-RHl0 two.example {refused}", unordered=True),
        fails("four-and-a-name-with-v6-only", "-4RHl0 v6.example {refused}"),
        fails("refused-on-host-zero", "-RHl0 0 {refused}", unordered=True),
        fails("refused-quietly", "-qRHl0 127.0.0.1 {refused}"),
        fails("refused-mapped", "-RHl0 ::ffff:127.0.0.1 {refused}"),
        fails("unreachable-v4", "-RHl0 198.51.100.1 80"),
        fails("unreachable-v6", "-RHl0 2001:db8:9::1 80"),
        fails("unreachable-v6-prints-one-zero-group", "-RHl0 2001:db8:0:1:1:1:1:1 80"),
        fails("unreachable-embedded-v4", "-RHl0 64:ff9b::1.2.3.4 80"),
        fails("four-and-v6", "-4RHl0 2001:db8::1 80"),
        fails("link-local-without-zone", "-RHl0 fe80::1 80"),
        fails("link-local-with-zone-refused", "-RHl0 -I lo fe80::1 {refused}"),
        fails("local-port-beyond-65535", "-RHl0 -p 65536 127.0.0.1 80"),
        fails("local-address-a-name", "-RHl0 -i localhost 127.0.0.1 80"),
        fails("local-address-v4-and-a-v6-host", "-RHl0 -i 127.0.0.1 ::1 {refused}"),
        fails("local-address-any-v4-and-a-v6-host", "-RHl0 -i 0.0.0.0 ::1 {refused}"),
        fails("local-address-link-local-without-zone", "-RHl0 -i fe80::1 ::1 {refused}"),
        fails("four-and-a-v6-local-address", "-4RHl0 -i ::1 127.0.0.1 {refused}"),
        fails("interface-unknown", "-RHl0 -I nosuchif fe80::1 {refused}"),
        fails("interface-unknown-and-not-needed", "-RHl0 -I nosuchif 127.0.0.1 {refused}"),
        fails("port-zero", "-RHl0 127.0.0.1 0"),
        fails("port-empty", "-RHl0 127.0.0.1 ''"),
        fails("port-beyond-65535", "-RHl0 127.0.0.1 65536"),
        fails("broadcast", "-RHl0 255.255.255.255 80"),
        fails("multicast", "-RHl0 ff02::1 80"),
        fails("port-unknown", "127.0.0.1 nosuchport"),
        fails("port-negative", "-RHl0 127.0.0.1 -1"),
        fails("name-unknown", "nosuch.example 80"),
        fails("host-in-brackets", "-RHl0 '[127.0.0.1]' {refused}"),
        fails("host-with-a-tail", "-RHl0 127.0.0.1x 80"),
        fails("host-short-form", "-RHl0 127.1 80"),
        fails("host-octet-beyond-255", "-RHl0 127.0.0.257 {refused}"),
        fails("host-octets-with-zeros", "-RHl0 127.000.000.001 {refused}"),
        fails("label-too-long", "a" * 64 + ".example 80"),
        fails("local-address-not-ours", "-RHl0 -i 1.2.3.4 127.0.0.1 80"),
        fails("local-address-of-the-other-family", "-RHl0 -i ::1 127.0.0.1 80"),
        fails("local-port-busy", "-RHl0 -i 127.0.0.1 -p {busy} 127.0.0.1 80"),
    ]


def _lines() -> list[Row]:
    def pipe(name: str, command: str, stdin: str, **more: object) -> Row:
        return Row(name, command, stdin=stdin, **more)  # type: ignore[arg-type]  # Row's own fields

    odd = "a\n\nb\r\nc\r\r\nd\re\0\xff\r"
    return [
        pipe("addcr-lines", "addcr", "a\nb\n"),
        pipe("addcr-odd-bytes", "addcr", odd),
        pipe("addcr-empty", "addcr", ""),
        pipe("addcr-arguments-ignored", "addcr -x y", "a\n"),
        pipe("addcr-output-closed", "addcr >&-; echo $?", "a\n"),
        pipe("addcr-output-full", "addcr >/dev/full; echo $?", "a\n"),
        pipe("addcr-input-closed", "addcr <&-; echo $?", ""),
        pipe("delcr-lines", "delcr", "a\r\nb\n"),
        pipe("delcr-odd-bytes", "delcr", odd),
        pipe("delcr-empty", "delcr", ""),
        pipe("delcr-two-returns", "delcr", "a\r\r\n"),
        pipe("delcr-output-full", "delcr >/dev/full; echo $?", "a\r\n"),
        pipe("addcr-then-delcr", "addcr | delcr", odd),
        pipe("fixcrio-in", "fixcrio sh -c 'od -c >&2'", "a\nb\r\nc\r\r\nd"),
        pipe("fixcrio-out", r"fixcrio printf 'a\nb\r\nc\r\r\nd'", ""),
        pipe("fixcrio-exit-code", "fixcrio sh -c 'cat >/dev/null; exit 9'", "a\n"),
        pipe("fixcrio-program-missing", "fixcrio ./nosuch", ""),
        pipe("fixcrio-program-named-dashes", "fixcrio -- true", ""),
        pipe("recordio-lines", "recordio cat", "a\nb\n"),
        pipe("recordio-partial-line", "recordio cat", "a\nb"),
        pipe("recordio-odd-bytes", "recordio cat", odd),
        pipe("recordio-long-line", "recordio sh -c 'cat >/dev/null'", "x" * 600 + "\n"),
        pipe("recordio-exit-code", "recordio sh -c 'cat >/dev/null; exit 9'", "a\n"),
        pipe("recordio-program-missing", f"{ENDLESS}; recordio ./nosuch <&3", "", unordered=True),
        pipe("recordio-program-named-dashes", f"{ENDLESS}; recordio -- true <&3", "", unordered=True),
        pipe("recordio-stderr-closed", "recordio cat 2>&- | cat", "a\n"),
        pipe("recordio-border-of-a-piece", "recordio sh -c 'cat >/dev/null'", "x" * 255 + "\n" + "y" * 257),
        pipe("recordio-nothing", "recordio sh -c 'cat >/dev/null'", ""),
        pipe("recordio-output-only", r"recordio sh -c 'cat >/dev/null; printf \"a\\nb\"'", ""),
        pipe("recordio-input-closed", "recordio sh -c 'cat; cat >/dev/null' <&-", "", unordered=True),
        pipe("fixcrio-output-closed", "fixcrio cat >&-", "a\n"),
        pipe("fixcrio-program-empty", "fixcrio ''", ""),
        pipe("fixcrio-program-not-executable", "fixcrio /etc/passwd", ""),
        pipe("addcr-input-is-a-directory", "addcr 2>/dev/null </; echo $?", ""),
        pipe("delcr-last-return-and-output-full", "delcr >/dev/full; echo $?", "a\r"),
        pipe("argv0-name", "argv0 sh other -c 'echo $0'", ""),
        pipe("argv0-name-empty", "argv0 sh '' -c 'echo \"<$0>\"'", ""),
        pipe("argv0-arguments", "argv0 cat kitten f g", "", files={"f": "one\n", "g": "two\n"}),
        pipe("argv0-in-a-message", "argv0 cat kitten nosuch", ""),
        pipe("argv0-missing", "argv0 ./nosuch x", ""),
        pipe("argv0-not-on-path", "argv0 no-such-program x", ""),
        pipe("argv0-directory", "argv0 /tmp x", ""),
        pipe("argv0-empty", "argv0 '' x", ""),
        pipe("argv0-named-dashes", "argv0 -- x", ""),
        Row("argv0-not-executable", "argv0 ./f x", files={"f": "#!/bin/sh\n"}),
        Row("argv0-without-interpreter", "chmod +x f; argv0 ./f x", files={"f": "echo\n"}),
        pipe("argv0-signals-are-default", f"argv0 {SHOW_SIGNALS}".replace("sed", "sed x", 1), ""),
        pipe("argv0-signals-ignored", f"trap '' PIPE HUP; argv0 {SHOW_SIGNALS}".replace("sed", "sed x", 1), ""),
        pipe("argv0-path-unset", "p=$(command -v argv0); unset PATH; $p printf x 'found\\n'", ""),
        pipe("argv0-path-empty", "p=$(command -v argv0); PATH=; export PATH; $p printf x", ""),
        pipe("argv0-path-denied-then-found", "PATH=$PWD:$PATH argv0 printf x 'found\\n'", "", files={"printf": ""}),
        pipe("argv0-path-denied-and-not-found", "PATH=$PWD:$PATH argv0 prog x", "", files={"prog": ""}),
        pipe("argv0-path-with-a-directory", "mkdir prog; PATH=$PWD:$PATH argv0 prog x", ""),
        pipe("argv0-path-with-a-file", "PATH=$PWD/f:$PATH argv0 printf x 'found\\n'", "", files={"f": ""}),
        pipe("argv0-path-through-a-link-to-itself", "ln -s l l; PATH=$PWD/l:$PATH argv0 printf x", ""),
        pipe("argv0-name-too-long", f"argv0 {'x' * 300} x", ""),
        Row("argv0-path-empty-element", "p=$(command -v argv0); chmod +x f; PATH=:/bin; export PATH; $p f x",
            files={"f": "#!/bin/sh\necho here\n"}),
    ]  # fmt: skip


def _mail() -> list[Row]:
    listed = {"TCPREMOTEIP": "127.0.0.2"}
    dialogue = "EHLO me\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\n\r\nnoop\r\nRSET\r\nQUIT\r\nignored\r\n"

    def rbl(name: str, options: str, stdin: str = dialogue, program: str = "echo accepted", **env: str | None) -> Row:
        return Row(f"rblsmtpd-{name}", f"rblsmtpd {options} {program}", stdin=stdin, env={**listed, **env})

    return [
        rbl("no-list", ""),
        rbl("listed", "-r rbl.example"),
        rbl("listed-for-good", "-b -r rbl.example"),
        rbl("listed-temporarily-again", "-bB -r rbl.example"),
        rbl("listed-attached-value", "-rrbl.example"),
        rbl("not-listed", "-r rbl.example", TCPREMOTEIP="127.0.0.7"),
        rbl("first-list-decides", "-r rbl.example -r two.example"),
        rbl("second-list", "-r none.example -r two.example"),
        rbl("anti-list", "-a anti.example -r rbl.example"),
        rbl("anti-list-too-late", "-r rbl.example -a anti.example"),
        rbl("address-record-alone-lists-nobody", "-r onlya.example", TCPREMOTEIP="127.0.0.9"),
        rbl("option-order", "-r rbl.example -b"),
        rbl("no-address", "-r rbl.example", TCPREMOTEIP=None),
        rbl("variable-empty-accepts", "-r rbl.example", RBLSMTPD=""),
        rbl("variable-rejects", "", RBLSMTPD="go away"),
        rbl("variable-rejects-for-good", "", RBLSMTPD="-go away"),
        rbl("variable-outranks-lists", "-b -r rbl.example", RBLSMTPD="go away"),
        rbl("variable-with-control-bytes", "", RBLSMTPD="a\tb\x7f\x01c\xff"),
        rbl("variable-too-long", "", RBLSMTPD="x" * 250),
        rbl("variable-of-one-dash", "", RBLSMTPD="-"),
        rbl("timeout-zero", "-t 0", RBLSMTPD="go away"),
        rbl("timeout-no-number", "-t abc", RBLSMTPD="go away"),
        rbl("end-of-input", "", "", RBLSMTPD="go away"),
        rbl("unterminated-line", "", "QUIT", RBLSMTPD="go away"),
        rbl("lines-without-return", "", "helo x\nquit\n", RBLSMTPD="go away"),
        rbl("capitals", "", "HeLo x\r\nQuIt\r\n", RBLSMTPD="go away"),
        rbl("program-missing", "", program="./nosuch"),
        rbl("no-program-after-options", "-r rbl.example", program=""),
        rbl("advertised-option", "-R"),
        rbl("texts-are-joined", "-r rbl.example", TCPREMOTEIP="127.0.0.5"),
        rbl("text-too-long", "-b -r rbl.example", TCPREMOTEIP="127.0.0.6"),
        rbl("text-is-empty", "-r rbl.example", TCPREMOTEIP="127.0.0.4"),
        rbl("fail-closed-without-a-failure", "-c -r rbl.example", TCPREMOTEIP="127.0.0.7"),
        rbl("message-behind-a-colon", "-r onlya.example:%IP%", TCPREMOTEIP="127.0.0.9"),
        rbl("mapped", "-r rbl.example", TCPREMOTEIP="::ffff:127.0.0.2"),
        rbl("v6", "-r two.example", TCPREMOTEIP="2001:db8::1"),
        rbl("v6-listed", "-r rbl.example", TCPREMOTEIP="2001:db8::1"),
    ]


def _wrappers() -> list[Row]:
    def against(name: str, command: str, greeting: str = "one\r\n\r\ntwo\r\n", **more: object) -> Row:
        return Row(name, command, greeting=greeting, **more)  # type: ignore[arg-type]  # Row's own fields

    page = "HTTP/1.0 200 OK\r\nServer: x\r\n\r\nfirst\r\n\r\nthird\r\n"
    return [
        against("tcpcat-reads", "tcpcat 127.0.0.1 {port}"),
        Row("tcpcat-refused", "tcpcat 127.0.0.1 {refused}"),
        Row("tcpcat-host-unknown", "tcpcat nosuch.example 17"),
        against("mconnect-sends-lines", "mconnect 127.0.0.1 {port}", stdin="helo me\nquit\n", until="quit\r\n"),
        against(
            "mconnect-io-by-hand",
            "tcpclient -RHl0 127.0.0.1 {port} mconnect-io",
            stdin="helo me\nquit\r\n",
            until="quit\r\r\n",
        ),
        Row("mconnect-io-without-descriptors", "mconnect-io 6<&- 7>&-", stdin="hello\n"),
        Row("mconnect-io-into-a-file", "mconnect-io 6</dev/null 7>heard; wc -c <heard", stdin=""),
        Row("mconnect-refused", "mconnect 127.0.0.1 {refused}"),
        Row("who-refused", "who@ 127.0.0.1"),
        Row("date-refused", "date@ 127.0.0.1"),
        Row("finger-refused", "finger@ 127.0.0.1 me"),
        Row("http-refused", "http@ 127.0.0.1 / {refused}"),
        against("http-page", "http@ 127.0.0.1 path {port}", page, until="\r\n\r\n"),
        against("http-page-by-default", "http@ 127.0.0.1 '' {port}", page, until="\r\n\r\n"),
        against("http-page-v6", "http@ ::1 path {port}", page, listen="::1", until="\r\n\r\n"),
    ]


ROWS: tuple[Row, ...] = (
    *_usage(),
    *_start_up(),
    *_serving(),
    *_with_rules(),
    *_rules(),
    *_clients(),
    *_lines(),
    *_mail(),
    *_wrappers(),
)
