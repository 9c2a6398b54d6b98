"""A client of the Workload API, as a workload is one (spec checks 84 to 86, 94, 95, 98, 105)."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from spire_py._proto import workload_pb2
from spire_py.agent.api.caller import SECURITY_HEADER
from spire_py.crypto.concatenated import split_certificates
from spire_py.errors import (
    Canceled,
    FailedPrecondition,
    InvalidArgument,
    SpireError,
    Unavailable,
    Unimplemented,
)
from spire_py.runtime.backoff import Backoff
from spire_py.runtime.clock import Clock, SystemClock
from spire_py.spiffe.bundle import Bundle, X509Authority
from spire_py.spiffe.id import TrustDomain
from spire_py.spiffe.x509_svid import X509SVID, parse_x509_svid
from spire_py.telemetry.logs import get_logger
from spire_py.transport import Channel

log = get_logger("workload_client")

ENVIRONMENT = "SPIFFE_ENDPOINT_SOCKET"
_METADATA = ((SECURITY_HEADER, "true"),)
_FINAL = (InvalidArgument, Unimplemented, Canceled)
_FIRST_RETRY = timedelta(seconds=1)
_LAST_RETRY = timedelta(seconds=30)


class InvalidAddress(InvalidArgument):
    """A text names no Workload Endpoint."""


def open_endpoint(address: str = "", environment: Mapping[str, str] = os.environ) -> Channel:
    """A channel to a Workload Endpoint.

    Args:
        address: `unix:///path` or `tcp://1.2.3.4:8000`; where empty, what `SPIFFE_ENDPOINT_SOCKET`
            says (SPIFFE Workload Endpoint, section 4).
        environment: where to look that up.

    Raises:
        FailedPrecondition: there is no address at all.
        InvalidAddress: it is malformed.
    """
    address = address or environment.get(ENVIRONMENT, "")
    if not address:
        raise FailedPrecondition("workload endpoint socket address is not configured")
    try:
        url = urlsplit(address)
        port = url.port
    except ValueError as error:
        raise InvalidAddress("workload endpoint socket is not a valid URI") from error
    if url.scheme == "unix":
        if url.netloc or url.query or url.fragment or not url.path.startswith("/"):
            raise InvalidAddress(
                "workload endpoint unix socket URI must be an absolute path and nothing else"
            )
        return Channel.unix(Path(url.path))
    if url.scheme != "tcp":
        raise InvalidAddress('workload endpoint socket URI must have a "tcp" or "unix" scheme')
    if url.path or url.query or url.fragment or url.username or port is None:
        raise InvalidAddress("workload endpoint tcp socket URI must be an IP and a port")
    with suppress(ValueError):
        host = str(ipaddress.ip_address(url.hostname or ""))
        return Channel.tcp(host, port, tls=None, verify_peer=None)
    raise InvalidAddress("workload endpoint tcp socket URI host component must be an IP:port")


@dataclass(frozen=True, slots=True)
class X509Context:
    """All that a workload was told last; what is not in it must not be used any more.

    The first of `svids` is the default identity. `bundles` hold the own trust domain's, too.
    """

    svids: tuple[X509SVID, ...]
    bundles: Mapping[TrustDomain, Bundle]


class WorkloadClient:
    """Asks a Workload Endpoint. The channel is its own, closed by `aclose`."""

    def __init__(self, channel: Channel, *, clock: Clock | None = None) -> None:
        self._channel = channel
        self._clock = clock or SystemClock()

    async def aclose(self) -> None:
        """Close the connection."""
        await self._channel.aclose()

    async def fetch_x509_bundles(self, *, timeout: timedelta) -> Mapping[TrustDomain, Bundle]:
        """The bundles of the moment.

        Raises:
            SpireError: the call failed, or the answer is malformed.
        """
        async with self._channel.server_stream(
            "/SpiffeWorkloadAPI/FetchX509Bundles",
            workload_pb2.X509BundlesRequest(),
            workload_pb2.X509BundlesResponse,
            timeout=timeout.total_seconds(),
            metadata=_METADATA,
        ) as messages:
            async for message in messages:
                return _bundles(message.bundles)
        raise Unavailable("the stream ended without a message")

    async def watch_x509(self) -> AsyncIterator[X509Context]:
        """The identities and bundles at once and after each change, for ever.

        A stream that ended is opened again: at once if it had brought anything, else after a
        growing wait.

        Raises:
            InvalidArgument: the server says that the call can never succeed; so do the next two.
            Unimplemented: likewise.
            Canceled: likewise.
        """
        backoff = Backoff(initial=_FIRST_RETRY, maximum=_LAST_RETRY)
        while True:
            heard = False
            try:
                async with self._channel.server_stream(
                    "/SpiffeWorkloadAPI/FetchX509SVID",
                    workload_pb2.X509SVIDRequest(),
                    workload_pb2.X509SVIDResponse,
                    metadata=_METADATA,
                ) as messages:
                    async for message in messages:
                        context = _x509_context(message)
                        heard = True
                        backoff.reset()
                        yield context
            except _FINAL:
                raise
            except SpireError as error:
                log.warning("workload_stream_ended", error=str(error))
            if not heard:
                await self._clock.sleep(backoff.next())


def _x509_context(message: workload_pb2.X509SVIDResponse) -> X509Context:
    """Read an answer.

    Raises:
        Unavailable: it is malformed; the next one may not be.
    """
    svids: list[X509SVID] = []
    hints: set[str] = set()
    own: dict[str, bytes] = {}
    try:
        for item in message.svids:
            if item.hint and item.hint in hints:
                continue
            hints.add(item.hint)
            svid = parse_x509_svid(
                split_certificates(item.x509_svid), item.x509_svid_key, hint=item.hint
            )
            svids.append(svid)
            own[str(svid.spiffe_id.trust_domain.id)] = item.bundle
        if not svids:
            raise InvalidArgument("no SVIDs in response")
        return X509Context(tuple(svids), _bundles({**message.federated_bundles, **own}))
    except InvalidArgument as error:
        raise Unavailable(f"malformed answer of the Workload API: {error.message}") from error


def _bundles(encoded: Mapping[str, bytes]) -> dict[TrustDomain, Bundle]:
    """Bundles by trust domain, from concatenated certificates by trust domain ID."""
    found = {}
    for name, certificates in encoded.items():
        domain = TrustDomain.parse(name)
        authorities = tuple(X509Authority(der) for der in split_certificates(certificates))
        found[domain] = Bundle(domain, authorities)
    return found
