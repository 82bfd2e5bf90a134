"""The wording of system errors that scripts around ucspi-tcp know; it is DJB's, not strerror(3)'s.

Source: ucspi-tcp 0.88, error_str.c, as observed on Debian's package.
"""

from __future__ import annotations

import errno

_TEXTS = {
    "EINTR": "interrupted system call",
    "ENOMEM": "out of memory",
    "ENOENT": "file does not exist",
    "ETXTBSY": "text busy",
    "EIO": "input/output error",
    "EEXIST": "file already exists",
    "ETIMEDOUT": "timed out",
    "EINPROGRESS": "operation in progress",
    "EAGAIN": "temporary failure",
    "EPIPE": "broken pipe",
    "EPERM": "permission denied",
    "EACCES": "access denied",
    "ENXIO": "device not configured",
    "EPROTO": "protocol error",
    "EISDIR": "is a directory",
    "ESRCH": "no such process",
    "E2BIG": "argument list too long",
    "ENOEXEC": "exec format error",
    "EBADF": "file descriptor not open",
    "ECHILD": "no child processes",
    "EDEADLK": "operation would cause deadlock",
    "EFAULT": "bad address",
    "ENOTBLK": "not a block device",
    "EBUSY": "device busy",
    "EXDEV": "cross-device link",
    "ENODEV": "device does not support operation",
    "ENOTDIR": "not a directory",
    "EINVAL": "invalid argument",
    "ENFILE": "system cannot open more files",
    "EMFILE": "process cannot open more files",
    "ENOTTY": "not a tty",
    "EFBIG": "file too big",
    "ENOSPC": "out of disk space",
    "ESPIPE": "unseekable descriptor",
    "EROFS": "read-only file system",
    "EMLINK": "too many links",
    "EDOM": "input out of range",
    "ERANGE": "output out of range",
    "EALREADY": "operation already in progress",
    "ENOTSOCK": "not a socket",
    "EDESTADDRREQ": "destination address required",
    "EMSGSIZE": "message too long",
    "EPROTOTYPE": "incorrect protocol type",
    "ENOPROTOOPT": "protocol not available",
    "EPROTONOSUPPORT": "protocol not supported",
    "ESOCKTNOSUPPORT": "socket type not supported",
    "EOPNOTSUPP": "operation not supported",
    "EPFNOSUPPORT": "protocol family not supported",
    "EAFNOSUPPORT": "address family not supported",
    "EADDRINUSE": "address already used",
    "EADDRNOTAVAIL": "address not available",
    "ENETDOWN": "network down",
    "ENETUNREACH": "network unreachable",
    "ENETRESET": "network reset",
    "ECONNABORTED": "connection aborted",
    "ECONNRESET": "connection reset",
    "ENOBUFS": "out of buffer space",
    "EISCONN": "already connected",
    "ENOTCONN": "not connected",
    "ESHUTDOWN": "socket shut down",
    "ETOOMANYREFS": "too many references",
    "ECONNREFUSED": "connection refused",
    "ELOOP": "symbolic link loop",
    "ENAMETOOLONG": "file name too long",
    "EHOSTDOWN": "host down",
    "EHOSTUNREACH": "host unreachable",
    "ENOTEMPTY": "directory not empty",
    "EUSERS": "too many users",
    "EDQUOT": "disk quota exceeded",
    "ESTALE": "stale NFS file handle",
    "ENOLCK": "no locks available",
    "ENOSYS": "system call not available",
}


def error_text(error: OSError | int | None) -> str:
    """DJB's words for an error number (or the error number that an OSError carries)."""
    number = error.errno if isinstance(error, OSError) else error
    if not number:
        return "no error"
    return _TEXTS.get(errno.errorcode.get(number, ""), "unknown error")
