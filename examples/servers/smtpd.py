#!/usr/bin/env python3
"""smtpd: take mail into a Maildir, but not from listed addresses. Teaches: `dnsbl_name` and `address_literal`.

Under the bundled tcpserver     ucspi-tcpserver ::0 25 ./smtpd.py /var/mail/in dnsbl.example.org
Under Debian's tcpserver        tcpserver -RHl0 ::0 25 ./smtpd.py /var/mail/in dnsbl.example.org
Under s6                        s6-tcpserver :: 25 ./smtpd.py /var/mail/in dnsbl.example.org
Under systemd (Accept=yes)      ExecStart=/usr/local/bin/smtpd.py /var/mail/in with StandardInput=socket
Under inetd                     25 stream tcp6 nowait mail /usr/local/bin/smtpd.py smtpd.py /var/mail/in
Then talk to it                 swaks --server ::1 --to you@example.org
"""

import mailbox
import socket
import sys
from contextlib import suppress

import ucspi_env

HOST, LONGEST_LINE, LARGEST_MESSAGE = socket.gethostname(), 1002, 10_000_000


def is_listed(peer: ucspi_env.Endpoint, zone: str) -> bool:
    """Ask a list about the caller: by four octets for IPv4, by 32 nibbles for IPv6."""
    with suppress(socket.gaierror):  # not listed; a list that does not answer lets callers in, too
        return bool(socket.getaddrinfo(peer.dnsbl_name(zone), None))
    return False


def read_message(session: ucspi_env.Session) -> bytes | None:
    """The message up to the lone dot; None if it is too large or the caller hung up."""
    message = bytearray(b"\r\n")
    while not message.endswith(b"\r\n.\r\n"):  # and never at "\n.\n", where two servers may disagree
        if not (line := session.reader.readline(LONGEST_LINE)) or len(message) > LARGEST_MESSAGE:
            return None
        message += line
    return bytes(message[:-3].replace(b"\r\n.", b"\r\n")[2:])


def say(session: ucspi_env.Session, text: str) -> None:
    session.writer.write(f"{text}\r\n".encode("ascii", "replace"))
    session.writer.flush()


def smtpd(session: ucspi_env.Session) -> None:
    peer = session.remote or sys.exit("smtpd: fatal: this is for callers with an IP address")
    name, recipients = "", list[str]()
    if zone := next((zone for zone in sys.argv[2:] if is_listed(peer, zone)), None):
        return say(session, f"554 5.7.1 {peer.address_literal} is listed by {zone}")
    say(session, f"220 {HOST} ESMTP")
    while line := session.reader.readline(LONGEST_LINE):
        verb, _, rest = " ".join(line.decode("latin-1").split()).partition(" ")
        match verb.upper():
            case "QUIT":
                return say(session, f"221 {HOST}")
            case "EHLO" | "HELO":
                name, recipients = rest, []
                say(session, f"250 {HOST} greets {peer.address_literal}")
            case "MAIL" | "RSET" | "NOOP" as command:
                recipients = recipients if command == "NOOP" else []
                say(session, "250 2.0.0 ok")
            case "RCPT" if rest.upper().startswith("TO:"):
                recipients.append(rest[3:].strip())
                say(session, "250 2.1.5 ok")
            case "DATA" if recipients:
                say(session, "354 end with a dot")
                if (message := read_message(session)) is None:
                    return say(session, "552 5.3.4 too large")
                head = f"Received: from {name} ({peer.address_literal}) by {HOST} for {recipients[0]}\r\n"
                recipients = []
                mailbox.Maildir(sys.argv[1]).add(head.encode("latin-1", "replace") + message)
                say(session, "250 2.0.0 taken")
            case _:
                say(session, "502 5.5.1 what?")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: smtpd.py maildir [list ...]")
    ucspi_env.serve(smtpd)
