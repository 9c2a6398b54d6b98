"""A kubelet's `/pods`, over real TLS and real HTTP, that can also be as bad as kubelets get."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from tests.fakes.kubernetes.certificates import ClusterCA

WAIT_SECONDS = 20.0


class FakeKubelet:
    """Answers from a thread of its own. What it does can be changed between requests.

    Attributes:
        pods: those of the node, as `pod` makes them.
        token: the bearer token that it takes; None for anybody.
        user: the client certificate's common name that it takes; None for anybody.
        refusal: status and text of every answer; None for none.
        body: pieces that are sent instead of the pods; None for the pods.
        headers: more of them.
        keeps_connections: as real ones do; then its clients must be gone before it ends.
        may_answer: an answer waits until this is set.
        asked: the authorization of each request.
    """

    def __init__(
        self, ca: ClusterCA | None = None, *, names: Sequence[str] = ("127.0.0.1",)
    ) -> None:
        self.pods: list[dict[str, Any]] = []
        self.token: str | None = None
        self.user: str | None = None
        self.refusal: tuple[int, str] | None = None
        self.body: Iterable[bytes] | None = None
        self.headers: dict[str, str] = {}
        self.keeps_connections = False
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.asked: list[str] = []
        self.was_asked = threading.Semaphore(0)
        context = ca.server_context(ca.server(names)) if ca else None
        self._server = _Server(self, context)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def port(self) -> int:
        return self._server.server_port

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.may_answer.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, handler: _Handler) -> None:
        authorization = handler.headers.get("Authorization", "")
        self.asked.append(authorization)
        self.was_asked.release()
        self.may_answer.wait(WAIT_SECONDS)
        if handler.path != "/pods":
            handler.refuse(404, "404 page not found")
        elif self.refusal:
            handler.refuse(*self.refusal)
        elif not self._may_read(handler, authorization):
            handler.refuse(401, "Unauthorized")
        else:
            handler.send_pieces(self.headers, self.body or self._pod_list())

    def _may_read(self, handler: _Handler, authorization: str) -> bool:
        if self.token is not None and authorization != f"Bearer {self.token}":
            return False
        return self.user is None or handler.user() == self.user

    def _pod_list(self) -> Iterable[bytes]:
        document = {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": self.pods}
        text = json.dumps(document).encode() + b"\n"
        return (text[start : start + 10_000] for start in range(0, len(text), 10_000))


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True

    def __init__(self, kubelet: FakeKubelet, context: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.kubelet = kubelet
        self.context = context

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away, or does not trust us, is what tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = WAIT_SECONDS
    server: _Server

    def setup(self) -> None:
        if self.server.context:
            self.request.settimeout(self.timeout)
            self.request = self.server.context.wrap_socket(self.request, server_side=True)
        super().setup()

    def finish(self) -> None:
        try:
            super().finish()
        finally:
            # What was wrapped is another socket than the one that the server closes.
            self.request.close()

    def do_GET(self) -> None:
        self.server.kubelet.answer(self)
        # The kubelet keeps connections; here, one that is open would keep the test from ending.
        self.close_connection = not self.server.kubelet.keeps_connections

    def user(self) -> str:
        """The common name of the client's certificate."""
        certificate = self.request.getpeercert() or {}
        names = {name: value for part in certificate.get("subject", ()) for name, value in part}
        return names.get("commonName", "")

    def refuse(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def send_pieces(self, headers: dict[str, str], pieces: Iterable[bytes]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        if not self.server.kubelet.keeps_connections:
            self.send_header("Connection", "close")
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        for piece in pieces:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *args: Any) -> None:
        """Nowhere."""


def pod(
    uid: str,
    *container_ids: str,
    name: str = "web",
    namespace: str = "shop",
    init_container_ids: Sequence[str] = (),
    phase: str = "Running",
    **metadata: Any,
) -> dict[str, Any]:
    """A pod as the kubelet tells of it, with containers that run in containerd."""
    return {
        "metadata": {"name": name, "namespace": namespace, "uid": uid, **metadata},
        "spec": {"nodeName": "node-1", "serviceAccountName": "seller"},
        "status": {
            "phase": phase,
            "containerStatuses": _statuses("app", container_ids),
            "initContainerStatuses": _statuses("init", init_container_ids),
        },
    }


def _statuses(name: str, container_ids: Iterable[str]) -> list[dict[str, Any]]:
    return [
        {
            "name": f"{name}-{index}",
            "image": f"registry.example.org/{name}:v{index}",
            "imageID": f"registry.example.org/{name}@sha256:{index:064x}",
            **({"containerID": f"containerd://{container_id}"} if container_id else {}),
        }
        for index, container_id in enumerate(container_ids)
    ]
