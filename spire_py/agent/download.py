"""Downloads one document over HTTP, with a bound on all that it may cost."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urljoin, urlsplit

from spire_py.errors import InvalidArgument, Unavailable

_MAX_BYTES = 4 << 20
_MAX_REDIRECTS = 10
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


def download(url: str, unix_socket: str, *, seconds: float) -> bytes:
    """GET `url`, by web PKI, or over a Unix socket in plain HTTP.

    Args:
        url: of the document; redirections are followed, but leave neither TLS nor the socket.
        unix_socket: where to connect instead; empty for none.
        seconds: that it may take from end to end.

    Raises:
        Unavailable: it cannot be had whole now.
        InvalidArgument: it is longer than 4 MB.
    """
    try:
        with _deadline(seconds) as deadline:
            for _ in range(_MAX_REDIRECTS):
                status, location, body = _get(url, unix_socket, deadline)
                if status not in _REDIRECTS or not location:
                    break
                url = urljoin(url, location)
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = f"not done within {seconds:g} s" if deadline.over else str(error)
        raise Unavailable(f"unable to fetch trust bundle URL {url}: {reason}") from error
    if status != http.client.OK:
        raise Unavailable(f"error downloading trust bundle: {status}")
    if len(body) > _MAX_BYTES:
        raise InvalidArgument(f"trust bundle is larger than {_MAX_BYTES} bytes")
    return body


class _Deadline:
    """Hangs up when the time is over: whoever sends byte by byte never exceeds a time for each.

    Args:
        seconds: the time, also of each wait by itself.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.over = False
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None

    def watch(self, connected: socket.socket) -> None:
        """Hang up this one when the time is over, instead of the last one.

        Raises:
            TimeoutError: it is over.
        """
        with self._lock:
            self._socket = connected
        self.check()

    def check(self) -> None:
        """What came before the end may be half of something.

        Raises:
            TimeoutError: the time is over.
        """
        if self.over:
            raise TimeoutError

    def end(self) -> None:
        with self._lock:
            self.over = True
            if self._socket is not None:
                with suppress(OSError):
                    # Not TLS's own, which would tell the peer and change what the reader uses.
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


@contextmanager
def _deadline(seconds: float) -> Iterator[_Deadline]:
    deadline = _Deadline(seconds)
    timer = threading.Timer(seconds, deadline.end)
    timer.daemon = True
    timer.start()
    try:
        yield deadline
    finally:
        timer.cancel()


def _get(url: str, unix_socket: str, deadline: _Deadline) -> tuple[int, str, bytes]:
    parts = urlsplit(url)
    if not parts.hostname or parts.scheme != ("http" if unix_socket else "https"):
        raise ValueError(f"refusing to go to {url}")
    connection: http.client.HTTPConnection
    if unix_socket:
        connection = _UnixConnection(parts.hostname, unix_socket, deadline)
    else:
        connection = _TLSConnection(parts.hostname, parts.port, deadline)
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", target)
        response = connection.getresponse()
        body = response.read(_MAX_BYTES + 1)
        deadline.check()
        if response.length and len(body) <= _MAX_BYTES:
            raise http.client.IncompleteRead(body, response.length)
        return response.status, response.getheader("Location", ""), body
    finally:
        connection.close()


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, host: str, path: str, deadline: _Deadline) -> None:
        super().__init__(host, timeout=deadline.seconds)
        self._path = path
        self._deadline = deadline

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
        self._deadline.watch(self.sock)


class _TLSConnection(http.client.HTTPSConnection):
    """HTTP over TLS, whose handshake is under the deadline too."""

    def __init__(self, host: str, port: int | None, deadline: _Deadline) -> None:
        super().__init__(host, port, timeout=deadline.seconds)
        self._deadline = deadline

    def connect(self) -> None:
        plain = socket.create_connection((self.host, self.port), self.timeout)
        tls = ssl.create_default_context().wrap_socket(
            plain,
            server_hostname=self.host,
            do_handshake_on_connect=False,
            # A connection that is cut must not pass for a document's end.
            suppress_ragged_eofs=False,
        )
        self.sock = tls
        self._deadline.watch(tls)
        tls.do_handshake()
