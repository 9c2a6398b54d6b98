"""The two questions that we ask Docker and Podman, over a real Unix socket and real HTTP."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from types import TracebackType
from typing import Any, Self


class FakeEngine:
    """Answers from a thread of its own.

    Attributes:
        containers: by ID.
        images: by name.
        broken: IDs of containers that it has trouble with.
        refusals: status and body of the next answers.
        asked: the paths of the requests.
    """

    def __init__(self, socket: Path) -> None:
        self.containers: dict[str, Any] = {}
        self.images: dict[str, Any] = {}
        self.broken: set[str] = set()
        self.refusals: list[tuple[int, bytes]] = []
        self.asked: list[str] = []
        socket.parent.mkdir(parents=True, exist_ok=True)
        self._server = _Server(self, socket)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, path: str) -> tuple[int, bytes]:
        self.asked.append(path)
        if self.refusals:
            return self.refusals.pop(0)
        if any(each in path for each in self.broken):
            return 500, b'{"message":"trouble"}'
        for kind, known in (("containers", self.containers), ("images", self.images)):
            for name, document in known.items():
                if path.endswith(f"/{kind}/{name}/json"):
                    return 200, json.dumps(document).encode()
        return 404, b'{"message":"No such container"}'


class _Server(ThreadingUnixStreamServer):
    daemon_threads = False
    block_on_close = True

    def __init__(self, engine: FakeEngine, socket: Path) -> None:
        super().__init__(str(socket), _Handler)
        self.engine = engine

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has heard enough goes away."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 20.0
    server: _Server

    def do_GET(self) -> None:
        status, body = self.server.engine.answer(self.path)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Nowhere."""
