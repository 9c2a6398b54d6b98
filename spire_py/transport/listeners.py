"""Listening sockets: where they lie, and who is let in."""

from __future__ import annotations

import errno
import os
import resource
import socket
import stat
from pathlib import Path

from spire_py.errors import FailedPrecondition, InvalidArgument

_BACKLOG = 1024
_MAX_UNIX_PATH_BYTES = 107


def bind_unix(path: Path, *, mode: int, directory_mode: int) -> socket.socket:
    """Listen at `path`; the directories above it are made where they are missing.

    The socket gets its mode before anyone can connect. What a dead process left behind is
    replaced.

    Raises:
        FailedPrecondition: something lives at the path, or it cannot be used.
        InvalidArgument: the path is too long for a socket.
    """
    if len(os.fsencode(path)) > _MAX_UNIX_PATH_BYTES:
        raise InvalidArgument(f"socket path {str(path)!r} is longer than {_MAX_UNIX_PATH_BYTES}")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _make_directory(path.parent, directory_mode)
        _remove_stale(path)
        sock.bind(str(path))
        _set_mode(path, mode)
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise FailedPrecondition(f"cannot listen on {str(path)!r}: {error.strerror}") from error
    except FailedPrecondition:
        sock.close()
        raise
    return sock


def _make_directory(directory: Path, mode: int) -> None:
    if directory.is_dir():
        return
    directory.mkdir(parents=True, exist_ok=True, mode=mode)
    directory.chmod(mode)  # the process's umask must not narrow it


def _set_mode(path: Path, mode: int) -> None:
    """Not by path: in a directory of somebody else's a link could have taken the socket's place."""
    descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            raise FailedPrecondition(f"{str(path)!r} was replaced while it was made")
        os.chmod(f"/proc/self/fd/{descriptor}", mode)  # noqa: PTH101 - a descriptor, not a path
    finally:
        os.close(descriptor)


def _remove_stale(path: Path) -> None:
    if not path.is_socket():
        if path.exists() or path.is_symlink():
            raise FailedPrecondition(f"{str(path)!r} is there and is no socket")
        return
    if someone_listens(path):
        raise FailedPrecondition(f"another process listens on {str(path)!r}")
    path.unlink(missing_ok=True)


def someone_listens(path: Path) -> bool:
    """Whether a process takes connections at a Unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        return probe.connect_ex(str(path)) in (0, errno.EAGAIN, errno.EINPROGRESS)


def bind_tcp(host: str, port: int) -> socket.socket:
    """Listen on an address; port 0 takes a free one.

    Raises:
        FailedPrecondition: the address cannot be used.
    """
    try:
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        # "" listens on both families through one IPv6 socket, where the machine has IPv6.
        found.sort(key=lambda info: info[0] != (socket.AF_INET6 if not host else socket.AF_INET))
        last: OSError | None = None
        for family, _, _, _, address in found:
            try:
                return _listen(family, address, dual=not host)
            except OSError as error:
                last = error
        raise last or OSError("no address")
    except OSError as error:
        reason = error.strerror or str(error)
        raise FailedPrecondition(f"cannot listen on {host}:{port}: {reason}") from error


def _listen(
    family: int,
    address: tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes],
    dual: bool,
) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if dual else 1)
        sock.bind(address)
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def raise_open_files_limit() -> int:
    """Take as many file descriptors as the system allows; how many that are.

    Each connection needs one or two.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError):  # a container may forbid it; the soft limit stands
            return soft
    return hard
