"""Where an agent's first trust comes from (features C6 to C9)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from datetime import timedelta
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from spire_py.agent.download import download
from spire_py.agent.workload_client import WorkloadClient, open_endpoint
from spire_py.crypto.pem import pem_to_certificates
from spire_py.errors import InvalidArgument, SpireError, Unavailable
from spire_py.spiffe.bundle import Bundle, X509Authority
from spire_py.spiffe.bundle_format import bundle_from_json
from spire_py.spiffe.id import TrustDomain

_MAX_BYTES = 4 << 20
_HTTP_SECONDS = 60.0
_WORKLOAD_API_TIMEOUT = timedelta(minutes=1)


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


async def fetch_trust_bundle(
    config: TrustBundleKeys,
    *,
    seconds: float = _HTTP_SECONDS,
    facts: Mapping[str, str] | None = None,
) -> Bundle | None:
    """The configured bundle, read anew; None where the first server is to be trusted.

    Args:
        config: where it is.
        seconds: that a download may take.
        facts: about this attempt, for the query of a URL that is fetched through a Unix socket:
            who listens there may find the bundle by them.

    Raises:
        InvalidArgument: it cannot be read, or holds no certificate.
        Unavailable: it could not be fetched now.
    """
    if config.trust_bundle_spiffe_workload_api:
        return await _from_workload_api(
            config.trust_bundle_spiffe_workload_api, config.trust_domain
        )
    if config.trust_bundle_url:
        unix_socket = config.trust_bundle_unix_socket
        url = _with_facts(config.trust_bundle_url, (facts or {}) if unix_socket else {})
        text = await asyncio.to_thread(partial(download, url, unix_socket, seconds=seconds))
    elif config.trust_bundle_path:
        text = await asyncio.to_thread(_read, Path(config.trust_bundle_path))
    else:
        return None
    try:
        return _parse(config, text)
    except InvalidArgument as error:
        raise InvalidArgument(f"could not parse trust bundle: {error}") from error


def _with_facts(url: str, facts: Mapping[str, str]) -> str:
    """The URL with more in its query, as Go would write it."""
    if not facts:
        return url
    parts = urlsplit(url)
    given = [
        pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] not in facts
    ]
    query = urlencode(sorted([*given, *facts.items()], key=itemgetter(0)))
    return urlunsplit(parts._replace(query=query))


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
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InvalidArgument(f"could not parse trust bundle: open {path}: {reason}") from error
    if len(content) > _MAX_BYTES:
        raise InvalidArgument(f"trust bundle is larger than {_MAX_BYTES} bytes")
    return content


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
