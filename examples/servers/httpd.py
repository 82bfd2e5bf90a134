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
from contextlib import suppress
from http.client import HTTPException, parse_headers
from pathlib import Path
from urllib.parse import unquote

import ucspi_env


def respond(session: ucspi_env.Session, status: str, body: bytes, kind: str, head_only: bool, *extra: str) -> None:
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(body)}", *extra, "", ""]
    session.writer.write("\r\n".join(lines).encode("latin-1") + (b"" if head_only else body))
    session.writer.flush()


def load(root: Path, name: str) -> bytes | bool:
    """The file of that name below the root. True: it is a directory; False: none, or a link leads elsewhere."""
    with suppress(OSError, ValueError):  # not there, too long, not permitted; a NUL
        path = (root / unquote(name).lstrip("/")).resolve(strict=True)
        if path.is_relative_to(root):
            return path.is_dir() or (path.is_file() and path.read_bytes())
    return False


def one_request(session: ucspi_env.Session, root: Path) -> bool:
    """Answer one request; False if the connection is to end."""
    words = session.reader.readline(8192).decode("latin-1").split()
    try:
        headers = parse_headers(session.reader)
    except HTTPException:  # too many, or too long
        return False
    if not words:
        return False
    sys.stderr.write(f"httpd: peer={session.remote} request={' '.join(words)!a}\n")
    if len(words) != 3 or not words[2].startswith("HTTP/1.") or "transfer-encoding" in headers:
        respond(session, "400 Bad Request", b"bad request\n", "text/plain", False, "Connection: close")
        return False
    method, target, version = words
    again = version == "HTTP/1.1" and (headers["connection"] or "").lower() != "close"
    again = again and "content-length" not in headers  # nobody here reads a body
    more = () if again else ("Connection: close",)
    if method not in ("GET", "HEAD"):
        respond(session, "405 Method Not Allowed", b"only GET\n", "text/plain", False, "Allow: GET, HEAD", *more)
        return again
    name, mark, query = target.partition("?")
    name = f"{name}index.html" if name.endswith("/") else name
    found = load(root, name)
    if found is True:
        # A name from the Host header would do as well; the called address always works. str(endpoint) has brackets.
        where = f"Location: http://{headers['host'] or session.local}{name}/{mark}{query}"
        respond(session, "301 Moved Permanently", b"", "text/plain", False, where, *more)
    elif found is False:
        respond(session, "404 Not Found", b"not found\n", "text/plain", method == "HEAD", *more)
    else:
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        respond(session, "200 OK", found, kind, method == "HEAD", *more)
    return again


def httpd(session: ucspi_env.Session) -> None:
    while one_request(session, Path(sys.argv[1]).resolve()):
        pass


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: httpd.py directory")
    ucspi_env.serve(httpd)
