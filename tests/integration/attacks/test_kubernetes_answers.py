"""API servers and kubelets, or who stands in their place, that break HTTP or TLS.

Whatever they send, it is one of our errors, which other attestors, other clusters and the daemon
itself survive, and in which no secret stands.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from spire_py_plugins.kubernetes.access import Access, Endpoint
from spire_py_plugins.kubernetes.client import KubernetesClient
from spire_py_plugins.kubernetes.resources import PODS
from spire_py_plugins.kubernetes.session import Limits
from spire_py_plugins.workload_attestor.k8s.kubelet import Kubelet, KubeletLimits
from spire_py_plugins.workload_attestor.k8s.settings import KubeletSettings

from spire_py.errors import ResourceExhausted, SpireError, Unavailable
from tests.fakes.broken_https import BrokenServer, bytes_below_tls, reset
from tests.fakes.clock import FakeClock
from tests.fakes.kubernetes.certificates import ClusterCA

TOKEN = "a-secret-of-ours"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
FALSE_RECORD = b"\x17\x03\x03\x00\x20" + b"A" * 32


@dataclass(frozen=True)
class Sending:
    """An answer as it stands on the wire, and what may follow below TLS."""

    data: bytes
    below: bytes = b""
    resets: bool = False

    def __call__(self, connection: ssl.SSLSocket) -> None:
        if self.data:
            connection.sendall(self.data)
        if self.below:
            bytes_below_tls(connection, self.below)
        if self.resets:
            reset(connection)


def body(content: bytes) -> Sending:
    return Sending(HEAD + b"Content-Length: %d\r\n\r\n" % len(content) + content)


BROKEN = [
    pytest.param(Sending(b"", FALSE_RECORD), id="a false TLS record instead of an answer"),
    pytest.param(
        Sending(HEAD + b"Content-Length: 100\r\n\r\n{", FALSE_RECORD),
        id="a false TLS record in the middle",
    ),
    pytest.param(Sending(b"", b"HTTP/1.1 200 OK\r\n\r\n{}"), id="plain HTTP after the handshake"),
    pytest.param(
        Sending(b"", b"\x15\x03\x03\x00\x02\x02\x28"), id="an alert that is not encrypted"
    ),
    pytest.param(Sending(b"", resets=True), id="reset"),
    pytest.param(Sending(HEAD + b"Content-Length: 9\r\n\r\n{", resets=True), id="reset amid"),
    pytest.param(Sending(HEAD + b"Content-Length: 100\r\n\r\n{}"), id="less than was told"),
    pytest.param(Sending(HEAD + b"Content-Length: -2\r\n\r\n{}"), id="a length below zero"),
    pytest.param(
        Sending(HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}"), id="two lengths"
    ),
    pytest.param(
        Sending(HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n"), id="no chunk at all"
    ),
    pytest.param(
        Sending(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"F" * 20 + b"\r\n{}"),
        id="an immense chunk",
    ),
    pytest.param(
        Sending(HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"),
        id="compressed in transfer",
    ),
    pytest.param(Sending(HEAD + b"X: y\r\n" * 100_000), id="headers without end"),
    pytest.param(Sending(b"HTTP/1.1 100 Continue\r\n\r\n" * 3000), id="continue without end"),
    pytest.param(Sending(b"HTTP/1.1 101 X\r\nUpgrade: x\r\n\r\n"), id="another protocol"),
    pytest.param(Sending(b"HTTP/1.1 999 X\r\nContent-Length: 0\r\n\r\n"), id="an unknown status"),
    pytest.param(
        Sending(b"HTTP/1.1 302 X\r\nLocation: \xff://\xff:9\r\nContent-Length: 0\r\n\r\n"),
        id="a redirection to nowhere",
    ),
    pytest.param(Sending(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), id="HTTP/2"),
    pytest.param(Sending(bytes(range(256)) * 8), id="noise"),
    pytest.param(body(b'{"items":' + b"[" * 100_000), id="deep nesting"),
    pytest.param(body(b'{"items":[' + b"9" * 100_000 + b"]}"), id="a long number"),
    pytest.param(body(b'{"items":"\xff"}'), id="no UTF-8"),
]


@pytest.fixture(scope="module")
def ca() -> ClusterCA:
    return ClusterCA()


class Source:
    """Access to one server, with a token."""

    def __init__(self, access: Access) -> None:
        self._access = access

    async def load(self) -> Access:
        return self._access

    def forget(self) -> bool:
        return False


Asking = Callable[[BrokenServer, ClusterCA, Path], Any]


async def get(server: BrokenServer, ca: ClusterCA, folder: Path) -> None:
    async with aclosing(_client(server, ca)) as client:
        await client.get(PODS, "name", "space")


async def watch(server: BrokenServer, ca: ClusterCA, folder: Path) -> None:
    async with (
        aclosing(_client(server, ca)) as client,
        aclosing(client.watch(PODS, "space", since="")) as events,
    ):
        async for _ in events:
            pass


def _client(server: BrokenServer, ca: ClusterCA) -> KubernetesClient:
    endpoint = Endpoint(server.url, authorities=ca.pem)
    return KubernetesClient(Source(Access(endpoint, f"Bearer {TOKEN}")), Limits(answer_seconds=5.0))


async def kubelet(server: BrokenServer, ca: ClusterCA, folder: Path) -> None:
    (folder / "ca.crt").write_text(ca.pem)
    (folder / "token").write_text(TOKEN)
    settings = KubeletSettings(
        port=server.port, authorities=folder / "ca.crt", token=folder / "token"
    )
    limits = KubeletLimits(seconds=5.0)
    async with aclosing(Kubelet(settings, clock=FakeClock(), limits=limits)) as asked:
        await asked.fetch_pods()


ASKING = [get, watch, kubelet]


@pytest.mark.parametrize("ask", ASKING)
@pytest.mark.parametrize("answer", BROKEN)
async def test_whatever_is_sent_is_an_error_of_ours(
    ca: ClusterCA, tmp_path: Path, answer: Sending, ask: Asking
) -> None:
    with BrokenServer(ca, answer) as server, pytest.raises(SpireError) as caught:
        await ask(server, ca, tmp_path)
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 1000
    assert TOKEN not in caught.value.message


@pytest.mark.parametrize("ask", ASKING)
async def test_a_certificate_that_is_demanded_late_is_an_error_of_ours(
    ca: ClusterCA, tmp_path: Path, ask: Asking
) -> None:
    with (
        BrokenServer(ca, Sending(b""), demand_certificate=True) as server,
        pytest.raises(Unavailable),
    ):
        await ask(server, ca, tmp_path)


class PagesWithoutEnd:
    """Each page says that there is one more."""

    def __init__(self, items: bytes) -> None:
        self._page = body(b'{"metadata":{"continue":"more"},"items":[%b]}' % items)
        self.sent = 0

    def __call__(self, connection: ssl.SSLSocket) -> None:
        self._send(connection)
        while connection.recv(64 * 1024):
            self._send(connection)

    def _send(self, connection: ssl.SSLSocket) -> None:
        self.sent += 1
        self._page(connection)


@pytest.mark.parametrize(
    ("items", "most"),
    [
        pytest.param(b"", 1000, id="empty ones"),
        pytest.param(b",".join([b"{}"] * 1000), 21, id="many objects"),
        pytest.param(b'{"a":"' + b"x" * 4_000_000 + b'"}', 5, id="long ones"),
    ],
)
async def test_a_list_without_end_is_given_up(ca: ClusterCA, items: bytes, most: int) -> None:
    pages = PagesWithoutEnd(items)
    with BrokenServer(ca, pages) as server:
        async with aclosing(_client(server, ca)) as client:
            with pytest.raises(ResourceExhausted, match="the list of pods is too long"):
                await client.list(PODS)
    assert pages.sent == most


def event_without_end(connection: ssl.SSLSocket) -> None:
    connection.sendall(HEAD + b'Connection: close\r\n\r\n{"type":"ADDED","object":{"a":"')
    for _ in range(64):
        connection.sendall(b"x" * 1_000_000)


async def test_an_event_without_end_is_given_up(ca: ClusterCA, tmp_path: Path) -> None:
    with (
        BrokenServer(ca, event_without_end) as server,
        pytest.raises(ResourceExhausted, match="an object is longer than 4194304 bytes"),
    ):
        await watch(server, ca, tmp_path)
