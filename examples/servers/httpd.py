#!/usr/bin/env python3
"""httpd: serve the files of a directory over HTTP/1.1. Teaches: an IPv6 address needs brackets in a URL.

Under the bundled tcpserver     ucspi-tcpserver ::0 8080 ./httpd.py /var/www/html
Under Debian's tcpserver        tcpserver -RHl0 ::0 8080 ./httpd.py /var/www/html
Under s6                        s6-tcpserver :: 8080 ./httpd.py /var/www/html
Under systemd (Accept=yes)      ExecStart=/usr/local/bin/httpd.py /var/www/html with StandardInput=socket
Under inetd                     8080 stream tcp6 nowait nobody /usr/local/bin/httpd.py httpd.py /var/www/html
Then ask it                     curl http://[::1]:8080/
"""

import mimetypes
import sys
from pathlib import Path
from urllib.parse import unquote

import ucspi_env

LONGEST_LINE, MOST_HEADERS = 8192, 100


def respond(session: ucspi_env.Session, status: str, body: bytes, kind: str, head_only: bool, *extra: str) -> None:
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(body)}", *extra, "", ""]
    session.writer.write("\r\n".join(lines).encode("latin-1") + (b"" if head_only else body))
    session.writer.flush()


def one_request(session: ucspi_env.Session, root: Path) -> bool:
    """Answer one request; False if the connection is to end."""
    words = session.reader.readline(LONGEST_LINE).decode("latin-1").split()
    headers = {}
    for _ in range(MOST_HEADERS):
        line = session.reader.readline(LONGEST_LINE).decode("latin-1").rstrip("\r\n")
        if not line:
            break
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    if not words:
        return False
    sys.stderr.write(f"httpd: peer={session.remote} request={' '.join(words)!a}\n")
    if len(words) != 3 or not words[2].startswith("HTTP/1.") or "transfer-encoding" in headers:
        respond(session, "400 Bad Request", b"bad request\n", "text/plain", False, "Connection: close")
        return False
    method, target, version = words
    again = version == "HTTP/1.1" and headers.get("connection", "").lower() != "close"
    again = again and "content-length" not in headers  # nobody here reads a body
    more = () if again else ("Connection: close",)
    if method not in ("GET", "HEAD"):
        respond(session, "405 Method Not Allowed", b"only GET\n", "text/plain", False, "Allow: GET, HEAD", *more)
        return again
    path = (root / unquote(target.partition("?")[0]).lstrip("/")).resolve()
    if path.is_dir() and not target.partition("?")[0].endswith("/"):
        # A name from the Host header would do as well; the called address always works. str(endpoint) has brackets.
        where = headers.get("host") or str(session.local)
        respond(session, "301 Moved Permanently", b"", "text/plain", False, f"Location: http://{where}{target}/", *more)
    elif path.is_relative_to(root) and (file := path / "index.html" if path.is_dir() else path).is_file():
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        respond(session, "200 OK", file.read_bytes(), kind, method == "HEAD", *more)
    else:
        respond(session, "404 Not Found", b"not found\n", "text/plain", method == "HEAD", *more)
    return again


def httpd(session: ucspi_env.Session) -> None:
    root = Path(sys.argv[1]).resolve()
    while one_request(session, root):
        pass


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: httpd.py directory")
    ucspi_env.serve(httpd)
