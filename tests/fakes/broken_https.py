"""A TLS server that answers with whatever a test wants to see go wrong, TLS itself included."""

from __future__ import annotations

import os
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from tests.fakes.kubernetes.certificates import ClusterCA

Answer = Callable[[ssl.SSLSocket], None]

_SECONDS = 20.0


class BrokenServer:
    """Reads what may be a request, lets `answer` send what it likes, and hangs up.

    Args:
        ca: issues its certificate.
        answer: gets each connection.
        demand_certificate: whether a client without a certificate is refused, as TLS 1.3 does it:
            once the client thinks that all is well.
    """

    def __init__(self, ca: ClusterCA, answer: Answer, *, demand_certificate: bool = False) -> None:
        self._context = ca.server_context(ca.server(["127.0.0.1"]))
        if demand_certificate:
            self._context.verify_mode = ssl.CERT_REQUIRED
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.settimeout(_SECONDS)
            # A client may have heard enough at any moment.
            with connection, suppress(OSError):
                tls = self._context.wrap_socket(connection, server_side=True)
                with tls:
                    tls.recv(64 * 1024)
                    self._answer(tls)


def bytes_below_tls(connection: ssl.SSLSocket, data: bytes) -> None:
    """Send something that TLS did not make."""
    with socket.socket(fileno=os.dup(connection.fileno())) as raw:
        raw.sendall(data)


def reset(connection: ssl.SSLSocket) -> None:
    """Have the connection end with a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
