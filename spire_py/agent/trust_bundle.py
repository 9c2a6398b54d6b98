"""Where an agent's first trust comes from (features C6 to C9)."""

from __future__ import annotations

import asyncio
import http.client
import socket
import ssl
from collections.abc import Sequence
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path
from typing import Protocol
from urllib.parse import urljoin, urlsplit

from spire_py.agent.workload_client import WorkloadClient, open_endpoint
from spire_py.crypto.pem import pem_to_certificates
from spire_py.errors import InvalidArgument, SpireError, Unavailable
from spire_py.spiffe.bundle import Bundle, X509Authority
from spire_py.spiffe.bundle_format import bundle_from_json
from spire_py.spiffe.id import TrustDomain

_MAX_BYTES = 4 << 20
_MAX_REDIRECTS = 10
_HTTP_TIMEOUT_SECONDS = 30.0
_WORKLOAD_API_TIMEOUT = timedelta(minutes=1)
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class TrustBundleKeys(Protocol):
    """The keys of the configuration that tell where the trust bundle is."""

    @property
    def trust_domain(self) -> TrustDomain: ...
    @property
    def trust_bundle_path(self) -> str: ...
    @property
    def trust_bundle_format(self) -> str: ...
    @property
    def trust_bundle_url(self) -> str: ...
    @property
    def trust_bundle_unix_socket(self) -> str: ...
    @property
    def trust_bundle_spiffe_workload_api(self) -> str: ...


async def fetch_trust_bundle(config: TrustBundleKeys) -> Bundle | None:
    """The configured bundle, read anew; None where the first server is to be trusted.

    Raises:
        InvalidArgument: it cannot be read, or holds no certificate.
        Unavailable: it could not be fetched now.
    """
    if config.trust_bundle_spiffe_workload_api:
        return await _from_workload_api(
            config.trust_bundle_spiffe_workload_api, config.trust_domain
        )
    if config.trust_bundle_url:
        text = await asyncio.to_thread(
            _download, config.trust_bundle_url, config.trust_bundle_unix_socket
        )
    elif config.trust_bundle_path:
        text = await asyncio.to_thread(_read, Path(config.trust_bundle_path))
    else:
        return None
    try:
        return _parse(config, text)
    except InvalidArgument as error:
        raise InvalidArgument(f"could not parse trust bundle: {error}") from error


def _parse(config: TrustBundleKeys, text: bytes) -> Bundle:
    if config.trust_bundle_format == "spiffe":
        bundle = bundle_from_json(config.trust_domain, text)
        return bundle_of(config.trust_domain, [item.der for item in bundle.x509_authorities])
    return bundle_of(config.trust_domain, pem_to_certificates(text))


def bundle_of(trust_domain: TrustDomain, certificates: Sequence[bytes]) -> Bundle:
    """A bundle of CA certificates alone, as it is known before the first call to the server.

    Raises:
        InvalidArgument: there is none.
    """
    if not certificates:
        raise InvalidArgument("no certificates found in trust bundle")
    return Bundle(trust_domain, tuple(X509Authority(der) for der in certificates))


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_BYTES)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InvalidArgument(f"could not parse trust bundle: open {path}: {reason}") from error


async def _from_workload_api(address: str, trust_domain: TrustDomain) -> Bundle:
    channel = open_endpoint(address)
    try:
        async with aclosing(WorkloadClient(channel)) as client:
            bundles = await client.fetch_x509_bundles(timeout=_WORKLOAD_API_TIMEOUT)
    except SpireError as error:
        # Also its refusal may heal, when the other agent's server gets an entry for us.
        message = f"unable to fetch trust bundle from SPIFFE Workload API {address}: {error}"
        raise Unavailable(message) from error
    bundle = bundles.get(trust_domain)
    if bundle is None:
        raise Unavailable(
            f"SPIFFE Workload API {address} did not provide a trust bundle for trust domain "
            f'"{trust_domain}"'
        )
    return bundle_of(trust_domain, [item.der for item in bundle.x509_authorities])


def _download(url: str, unix_socket: str) -> bytes:
    """GET `url`, by web PKI, or over a Unix socket in plain HTTP."""
    try:
        for _ in range(_MAX_REDIRECTS):
            status, location, body = _get(url, unix_socket)
            if status not in _REDIRECTS or not location:
                break
            url = urljoin(url, location)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Unavailable(f"unable to fetch trust bundle URL {url}: {error}") from error
    if status != http.client.OK:
        raise Unavailable(f"error downloading trust bundle: {status}")
    if len(body) > _MAX_BYTES:
        raise InvalidArgument(f"trust bundle is larger than {_MAX_BYTES} bytes")
    return body


def _get(url: str, unix_socket: str) -> tuple[int, str, bytes]:
    parts = urlsplit(url)
    if not parts.hostname or parts.scheme != ("http" if unix_socket else "https"):
        raise ValueError(f"refusing to go to {url}")
    connection: http.client.HTTPConnection
    if unix_socket:
        connection = _UnixConnection(parts.hostname, unix_socket)
    else:
        connection = http.client.HTTPSConnection(
            parts.hostname,
            parts.port,
            timeout=_HTTP_TIMEOUT_SECONDS,
            context=ssl.create_default_context(),
        )
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", target)
        response = connection.getresponse()
        return response.status, response.getheader("Location", ""), response.read(_MAX_BYTES + 1)
    finally:
        connection.close()


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, host: str, path: str) -> None:
        super().__init__(host, timeout=_HTTP_TIMEOUT_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
