"""The first bundle by HTTPS: web PKI and the name of the host decide (feature C7)."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from spire_py.agent.trust_bundle import fetch_trust_bundle
from spire_py.crypto.pem import certificates_to_pem
from spire_py.errors import Unavailable
from tests.unit.agent.builders import Authority
from tests.unit.agent.endpoint import section

BUNDLE = certificates_to_pem([Authority().certificate])


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response_only(200)
        self.send_header("Content-Length", str(len(BUNDLE)))
        self.end_headers()
        self.wfile.write(BUNDLE.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


class Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A client that refuses the certificate is what some tests want."""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for `localhost` that is its own authority, with its key behind it."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("web") / "server.pem"
    pem = signed.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(pem)
    return path


@pytest.fixture(scope="module")
def port(certificate: Path) -> Iterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with Server(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


async def test_a_host_that_web_pki_vouches_for_gives_the_bundle(
    monkeypatch: pytest.MonkeyPatch, certificate: Path, port: int
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    bundle = await fetch_trust_bundle(section(trust_bundle_url=f"https://localhost:{port}/bundle"))
    assert bundle is not None
    assert certificates_to_pem(item.der for item in bundle.x509_authorities) == BUNDLE


async def test_a_connection_that_is_cut_gives_none(
    monkeypatch: pytest.MonkeyPatch, certificate: Path
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        cut = threading.Thread(target=_answer_and_cut, args=(listener, context))
        cut.start()
        port = listener.getsockname()[1]
        with pytest.raises(Unavailable, match="EOF occurred in violation of protocol"):
            await fetch_trust_bundle(section(trust_bundle_url=f"https://localhost:{port}/bundle"))
        cut.join()


def _answer_and_cut(listener: socket.socket, context: ssl.SSLContext) -> None:
    """A whole certificate, and no word that this is all."""
    connection, _ = listener.accept()
    connection.settimeout(20.0)
    with context.wrap_socket(connection, server_side=True) as tls:
        tls.recv(4096)
        tls.sendall(f"HTTP/1.1 200 OK\r\n\r\n{BUNDLE}".encode())


async def test_a_host_of_another_name_gives_none(
    monkeypatch: pytest.MonkeyPatch, certificate: Path, port: int
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with pytest.raises(Unavailable, match="certificate verify failed"):
        await fetch_trust_bundle(section(trust_bundle_url=f"https://127.0.0.1:{port}/bundle"))


async def test_a_host_that_nobody_vouches_for_gives_none(port: int) -> None:
    with pytest.raises(Unavailable, match="certificate verify failed"):
        await fetch_trust_bundle(section(trust_bundle_url=f"https://localhost:{port}/bundle"))
