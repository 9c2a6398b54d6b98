from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingUnixStreamServer

import pytest

from spire_py.agent.trust_bundle import fetch_trust_bundle
from spire_py.crypto.pem import certificates_to_pem
from spire_py.errors import InvalidArgument, Unavailable
from spire_py.spiffe.bundle import Bundle
from spire_py.spiffe.bundle_format import bundle_to_json
from tests.unit.agent.builders import OTHER, Authority, entry
from tests.unit.agent.endpoint import Endpoint, section

Answers = Mapping[str, tuple[int, Mapping[str, str], bytes]]


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "bundle"


def certificates(bundle: Bundle | None) -> list[bytes]:
    assert bundle is not None
    return [item.der for item in bundle.x509_authorities]


@contextmanager
def http_socket(answers: Answers) -> Iterator[str]:
    """An HTTP server on a Unix socket that answers by path."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = answers.get(self.path, (404, {}, b""))
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with tempfile.TemporaryDirectory(prefix="sp") as folder:
        path = f"{folder}/http.sock"
        with ThreadingUnixStreamServer(path, Handler) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            try:
                yield path
            finally:
                server.shutdown()
                thread.join()


async def test_a_pem_file_is_read(file: Path, authority: Authority) -> None:
    file.write_text(certificates_to_pem([authority.certificate, Authority().certificate]))
    bundle = await fetch_trust_bundle(section(trust_bundle_path=str(file)))
    assert certificates(bundle)[0] == authority.certificate
    assert len(certificates(bundle)) == 2


async def test_a_spiffe_file_is_read(file: Path, authority: Authority) -> None:
    file.write_text(bundle_to_json(authority.bundle))
    bundle = await fetch_trust_bundle(
        section(trust_bundle_path=str(file), trust_bundle_format="spiffe")
    )
    assert certificates(bundle) == [authority.certificate]


@pytest.mark.parametrize(
    ("text", "bundle_format"),
    [
        pytest.param(None, "pem", id="no file"),
        pytest.param("", "pem", id="empty"),
        pytest.param("nonsense", "pem", id="no PEM"),
        pytest.param("nonsense", "spiffe", id="no JSON"),
        pytest.param('{"keys": []}', "spiffe", id="no certificates"),
    ],
)
async def test_a_file_without_certificates_is_refused(
    file: Path, text: str | None, bundle_format: str
) -> None:
    if text is not None:
        file.write_text(text)
    with pytest.raises(InvalidArgument):
        await fetch_trust_bundle(
            section(trust_bundle_path=str(file), trust_bundle_format=bundle_format)
        )


async def test_without_a_source_there_is_no_bundle() -> None:
    assert await fetch_trust_bundle(section(insecure_bootstrap=True)) is None


async def test_a_bundle_comes_over_a_unix_socket(authority: Authority) -> None:
    pem = certificates_to_pem([authority.certificate]).encode()
    answers = {
        "/bundle?x=1": (302, {"Location": "/moved"}, b""),
        "/moved": (200, {}, pem),
    }
    with http_socket(answers) as path:
        bundle = await fetch_trust_bundle(
            section(trust_bundle_url="http://localhost/bundle?x=1", trust_bundle_unix_socket=path)
        )
    assert certificates(bundle) == [authority.certificate]


async def test_who_listens_on_the_socket_is_told_what_the_attempt_is(authority: Authority) -> None:
    pem = certificates_to_pem([authority.certificate]).encode()
    asked = "/bundle?spire-attest-mode=bootstrap&spire-server-address=a%3Ab+c&x=1&x=2"
    with http_socket({asked: (200, {}, pem)}) as path:
        bundle = await fetch_trust_bundle(
            section(
                trust_bundle_url="http://localhost/bundle?x=1&x=2", trust_bundle_unix_socket=path
            ),
            facts={"spire-server-address": "a:b c", "spire-attest-mode": "bootstrap"},
        )
    assert certificates(bundle) == [authority.certificate]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param((404, {}, b""), id="not found"),
        pytest.param((302, {"Location": "/bundle"}, b""), id="round and round"),
        pytest.param((302, {"Location": "https://elsewhere.test/"}, b""), id="another scheme"),
    ],
)
async def test_a_bundle_that_cannot_be_had_now_may_be_later(
    answer: tuple[int, Mapping[str, str], bytes],
) -> None:
    with http_socket({"/bundle": answer}) as path, pytest.raises(Unavailable):
        await fetch_trust_bundle(
            section(trust_bundle_url="http://localhost/bundle", trust_bundle_unix_socket=path)
        )


@contextmanager
def raw_socket(answer: bytes, *, dripping: bool = False) -> Iterator[str]:
    """A server that sends some bytes, whatever is asked, and may then go on byte by byte."""
    ended = threading.Event()

    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            self.request.recv(4096)
            with suppress(OSError):
                self.wfile.write(answer)
                while dripping and not ended.wait(0.01):
                    self.wfile.write(b" ")

    with tempfile.TemporaryDirectory(prefix="sp") as folder:
        path = f"{folder}/http.sock"
        with ThreadingUnixStreamServer(path, Handler) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.01,))
            thread.start()
            try:
                yield path
            finally:
                ended.set()
                server.shutdown()
                thread.join()


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", id="body"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n", id="body of no length"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX:", id="header"),
        pytest.param(b"", id="status"),
    ],
)
async def test_a_host_that_sends_byte_by_byte_is_left(answer: bytes) -> None:
    with raw_socket(answer, dripping=True) as path, pytest.raises(Unavailable, match="not done"):
        await fetch_trust_bundle(
            section(trust_bundle_url="http://localhost/bundle", trust_bundle_unix_socket=path),
            seconds=0.3,
        )


async def test_half_a_bundle_is_none(authority: Authority) -> None:
    pem = certificates_to_pem([authority.certificate]).encode()
    length = 2 * len(pem)
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (length, pem)
    with raw_socket(answer) as path, pytest.raises(Unavailable, match="IncompleteRead"):
        await fetch_trust_bundle(
            section(trust_bundle_url="http://localhost/bundle", trust_bundle_unix_socket=path)
        )


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("http://127.0.0.1:1/bundle", id="no TLS"),
        pytest.param("https://127.0.0.1:1/bundle", id="nobody there"),
        pytest.param("https:///bundle", id="no host"),
    ],
)
async def test_a_url_that_does_not_answer_may_later(url: str) -> None:
    with pytest.raises(Unavailable):
        await fetch_trust_bundle(section(trust_bundle_url=url))


async def test_another_agent_gives_its_bundle(endpoint: Endpoint) -> None:
    endpoint.register(entry("a", federates_with=(OTHER,)), bundles=[Authority(OTHER).bundle])
    address = f"unix://{endpoint.path}"
    bundle = await fetch_trust_bundle(section(trust_bundle_spiffe_workload_api=address))
    assert certificates(bundle) == [endpoint.authority.certificate]


async def test_an_agent_that_knows_us_not_gives_none(endpoint: Endpoint) -> None:
    address = f"unix://{endpoint.path}"
    with pytest.raises(Unavailable, match="no identity issued"):
        await fetch_trust_bundle(section(trust_bundle_spiffe_workload_api=address))
