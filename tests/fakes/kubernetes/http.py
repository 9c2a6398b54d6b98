"""HTTP/1.1 over TLS, a thread for each connection."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

from tests.fakes.kubernetes import protobuf
from tests.fakes.kubernetes.api import API, Target
from tests.fakes.kubernetes.errors import Refusal, bad_request
from tests.fakes.kubernetes.faults import Fault, Faults
from tests.fakes.kubernetes.tokens import InvalidToken, Tokens

_HANDSHAKE_SECONDS = 5.0
_HUGE_BYTES = 100 * 1024 * 1024
_CHUNK = b" " * 64 * 1024


class Server(ThreadingHTTPServer):
    """Listens on loopback."""

    daemon_threads = True

    def __init__(self, context: ssl.SSLContext, api: API, tokens: Tokens, faults: Faults) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.context = context
        self.api = api
        self.tokens = tokens
        self.faults = faults
        self.requests: list[str] = []
        """Method and path of each, in order."""
        self.connections = 0
        """How many passed the TLS handshake."""
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()

    def finish_request(self, request: Any, client_address: Any) -> None:
        try:
            request.settimeout(_HANDSHAKE_SECONDS)
            secured = self.context.wrap_socket(request, server_side=True)
            secured.settimeout(None)
        except OSError:
            request.close()
            return
        with self._lock:
            self._open.add(secured)
            self.connections += 1
        try:
            super().finish_request(cast("socket.socket", secured), client_address)
        finally:
            with self._lock:
                self._open.discard(secured)
            secured.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves, or a fault that is meant."""

    def drop_connections(self) -> None:
        with self._lock:
            for secured in self._open:
                with contextlib.suppress(OSError):  # the client was faster
                    # Not by `shutdown` of the TLS socket, which is another thread's.
                    socket.socket.shutdown(secured, socket.SHUT_RDWR)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except OSError:
            self.close_connection = True

    def _handle(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        request = f"{self.command} {self.path}"
        self.server.requests.append(request)
        fault = self.server.faults.take(request)
        if fault is not None and self._fail(fault):
            return
        try:
            target = Target.parse(self.path)
            user = self._user(target)
            if target.query.get("watch") in {"true", "1"}:
                self._watch(user, target)
                return
            self._send(*self._answer(user, target, body))
        except Refusal as refusal:
            self._send(refusal.code, refusal.document())

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle

    def _answer(self, user: str, target: Target, body: bytes) -> tuple[int, dict[str, Any]]:
        content_type = (self.headers.get("Content-Type") or "").partition(";")[0]
        document: Any
        try:
            if content_type == protobuf.CONTENT_TYPE:
                document = protobuf.read_token_review(body)
            else:
                document = json.loads(body) if body else None
        except ValueError as error:
            raise bad_request("the body is no JSON") from error
        return self.server.api.answer(user, self.command, target, document, content_type)

    def _user(self, target: Target) -> str:
        kind, _, token = (self.headers.get("Authorization") or "").partition(" ")
        if kind == "Bearer":
            try:
                return str(self.server.tokens.user(token, [])[0]["username"])
            except InvalidToken as error:
                raise Refusal(401, "Unauthorized", "Unauthorized") from error
        certificate: Any = cast("ssl.SSLSocket", self.connection).getpeercert() or {}
        for ((key, value),) in certificate.get("subject", ()):
            if key == "commonName":
                return str(value)
        raise Refusal(
            403,
            "Forbidden",
            f'{target.kind.resource} is forbidden: User "system:anonymous" cannot access '
            f'resource "{target.kind.plural}" in API group "{target.kind.group}"',
        )

    def _send(self, code: int, document: object) -> None:
        self._send_bytes(code, json.dumps(document).encode())

    def _send_bytes(self, code: int, body: bytes, **headers: str) -> None:
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def _watch(self, user: str, target: Target) -> None:
        events = self.server.api.watch(user, target)
        first = next(events)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        end = time.monotonic() + float(target.query.get("timeoutSeconds") or 1800)
        event = first
        while not self.server.api.closing.is_set() and time.monotonic() < end:
            if event is not None:
                self._chunk(json.dumps(event).encode() + b"\n")
                if event["type"] == "ERROR":
                    break
            event = next(events)
        self._chunk(b"")

    def _chunk(self, content: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))

    def _fail(self, fault: Fault) -> bool:
        """Whether the fault is the whole answer."""
        self.close_connection = True
        if isinstance(fault.value, int) and fault.value >= 400:
            raise_status = Refusal(fault.value, fault.name.title(), f"fault {fault.name}")
            self._send(fault.value, raise_status.document())
        elif fault is Fault.HANG:
            self._linger()
        elif fault in (Fault.STALL, Fault.CUT):
            self._start(1000)
            self.wfile.write(b'{"kind": "Pod", "metadata": {')
            if fault is Fault.STALL:
                self._linger()
        elif fault is Fault.HALF_JSON:
            self._send_bytes(200, b'{"kind": "Pod", "metadata": {')
        elif fault is Fault.NO_JSON:
            self._send_bytes(200, b"<html>welcome</html>")
        elif fault is Fault.LIST:
            self._send_bytes(200, b"[1, 2]")
        elif fault is Fault.HUGE:
            self._start(_HUGE_BYTES)
            for _ in range(_HUGE_BYTES // len(_CHUNK)):
                self.wfile.write(_CHUNK)
        elif fault is Fault.ZIPPED:
            self._send_bytes(200, gzip.compress(b"{}"), Content_Encoding="gzip")
        elif fault is Fault.REDIRECT:
            self._send_bytes(307, b"", Location="https://127.0.0.1:1/elsewhere")
        return True

    def _start(self, length: int) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def _linger(self) -> None:
        """Until the client leaves or the server closes."""
        self.wfile.flush()
        self.rfile.read(1)
