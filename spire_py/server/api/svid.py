"""The SVID API: signing for agents by entry, and for operators by ID."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

from spire_py._proto.spire.api.server import svid_pb2
from spire_py.crypto.csr import (
    CertificateRequest,
    InvalidCSRSignature,
    MalformedCSR,
    parse_csr,
)
from spire_py.crypto.subject import Subject
from spire_py.errors import (
    InvalidArgument,
    NotFound,
    SpireError,
    StatusCode,
    Unimplemented,
)
from spire_py.server.api.call_log import failed
from spire_py.server.api.dns_names import check_wildcard_overlap
from spire_py.server.api.svids import jwt_svid_to_pb, x509_svid_to_pb
from spire_py.server.ca.ca import (
    SignedJWTSVID,
    SignedX509CA,
    SignedX509SVID,
    X509SVIDParams,
)
from spire_py.server.entry_cache.authorized import AuthorizedEntries
from spire_py.server.policy import calling_agent
from spire_py.server.rate_limits import RateLimits
from spire_py.spiffe.bundle import Bundle
from spire_py.spiffe.id import SpiffeID, TrustDomain
from spire_py.spiffe.reserved_path import check_workload_id
from spire_py.telemetry.logs import get_logger
from spire_py.transport import CallContext
from spire_py.wire.dns_names import check_dns_name
from spire_py.wire.spiffe_ids import workload_id_from_pb
from spire_py.wire.status import ok, prefixed, prefixing

_INLINE_BATCH = 4
"""So many CSRs at most are read without a thread, whose hand-over costs about as much."""

log = get_logger("api")


class Signer(Protocol):
    """What the SVID API needs of the CA."""

    async def sign_x509_svid(
        self,
        public_key_der: bytes,
        spiffe_id: SpiffeID,
        dns_names: Sequence[str] = (),
        ttl: timedelta = timedelta(),
        subject: Subject | None = None,
    ) -> SignedX509SVID: ...
    async def sign_x509_svids(
        self, params: Sequence[X509SVIDParams]
    ) -> list[SignedX509SVID | SpireError]: ...
    async def sign_jwt_svid(
        self,
        spiffe_id: SpiffeID,
        audience: Sequence[str],
        ttl: timedelta = timedelta(),
        *,
        include_jti: bool = False,
    ) -> SignedJWTSVID: ...
    async def sign_downstream_x509_ca(
        self, public_key_der: bytes, ttl: timedelta = timedelta()
    ) -> SignedX509CA: ...


class EntryMemory(Protocol):
    """What the SVID API needs of the cache."""

    def authorized(self, agent_id: SpiffeID) -> AuthorizedEntries: ...


class BundleMemory(Protocol):
    """What the SVID API needs of the bundles in memory."""

    def get(self, trust_domain: TrustDomain) -> Bundle | None: ...


class SVIDServicer:
    """`spire.api.server.svid.v1.SVID`."""

    def __init__(
        self,
        *,
        trust_domain: TrustDomain,
        memory: EntryMemory,
        bundles: BundleMemory,
        signer: Signer,
        limits: RateLimits,
        jwt_enabled: bool = True,
    ) -> None:
        self._trust_domain = trust_domain
        self._memory = memory
        self._bundles = bundles
        self._signer = signer
        self._limits = limits
        self._jwt_enabled = jwt_enabled

    # --- for operators ---

    async def mint_x509svid(
        self, request: svid_pb2.MintX509SVIDRequest, _context: CallContext
    ) -> svid_pb2.MintX509SVIDResponse:
        if not request.csr:
            raise InvalidArgument("missing CSR")
        csr = _mintable_csr(request.csr)
        spiffe_id = self._requested_id(csr)
        dns_names = _requested_dns_names(csr)
        with prefixing("failed to sign X509-SVID", StatusCode.INTERNAL):
            svid = await self._signer.sign_x509_svid(
                csr.public_key_der,
                spiffe_id,
                dns_names,
                timedelta(seconds=request.ttl),
                csr.subject,
            )
        _log_signed(svid)
        return svid_pb2.MintX509SVIDResponse(svid=x509_svid_to_pb(svid))

    def _requested_id(self, csr: CertificateRequest) -> SpiffeID:
        if not csr.uris:
            raise InvalidArgument("CSR URI SAN is required")
        if len(csr.uris) > 1:
            raise InvalidArgument("only one URI SAN is expected")
        with prefixing("CSR URI SAN is invalid"):
            return check_workload_id(SpiffeID.parse(csr.uris[0]), self._trust_domain)

    async def mint_jwtsvid(
        self, request: svid_pb2.MintJWTSVIDRequest, _context: CallContext
    ) -> svid_pb2.MintJWTSVIDResponse:
        self._check_jwt_enabled()
        with prefixing("invalid SPIFFE ID"):
            message = request.id if request.HasField("id") else None
            spiffe_id = workload_id_from_pb(message, self._trust_domain)
        ttl = timedelta(seconds=request.ttl)
        svid = await self._sign_jwt(spiffe_id, request.audience, ttl, include_jti=False)
        return svid_pb2.MintJWTSVIDResponse(svid=jwt_svid_to_pb(svid))

    async def mint_witsvid(
        self, _request: svid_pb2.MintWITSVIDRequest, _context: CallContext
    ) -> svid_pb2.MintWITSVIDResponse:
        raise Unimplemented("WIT functionality is disabled")

    # --- for agents ---

    async def batch_new_x509svid(
        self, request: svid_pb2.BatchNewX509SVIDRequest, context: CallContext
    ) -> svid_pb2.BatchNewX509SVIDResponse:
        if not request.params:
            raise InvalidArgument("missing parameters")
        await self._limits.wait(context, len(request.params))
        entries = self._memory.authorized(calling_agent(context))
        if len(request.params) <= _INLINE_BATCH:
            wanted = [_read_params(each, entries) for each in request.params]
        else:
            wanted = await asyncio.to_thread(
                lambda: [_read_params(each, entries) for each in request.params]
            )
        response = svid_pb2.BatchNewX509SVIDResponse()
        results = await self._sign_all(wanted)
        for params, result in zip(request.params, results, strict=True):
            item = response.results.add()
            if isinstance(result, SpireError):
                item.status.CopyFrom(failed(context, result, entry_id=params.entry_id))
            else:
                item.status.CopyFrom(ok())
                item.svid.CopyFrom(x509_svid_to_pb(result))
        return response

    async def _sign_all(
        self, wanted: Sequence[X509SVIDParams | SpireError]
    ) -> list[SignedX509SVID | SpireError]:
        good = [each for each in wanted if isinstance(each, X509SVIDParams)]
        signed: Sequence[SignedX509SVID | SpireError]
        try:
            signed = await self._signer.sign_x509_svids(good) if good else ()
        except SpireError as error:
            signed = [error] * len(good)
        results = iter(signed)
        return [
            each if isinstance(each, SpireError) else _signed_or_why_not(next(results))
            for each in wanted
        ]

    async def new_jwtsvid(
        self, request: svid_pb2.NewJWTSVIDRequest, context: CallContext
    ) -> svid_pb2.NewJWTSVIDResponse:
        await self._limits.wait(context)
        self._check_jwt_enabled()
        entry = self._memory.authorized(calling_agent(context)).entry(request.entry_id)
        if entry is None:
            raise NotFound("entry not found or not authorized")
        with prefixing("invalid SPIFFE ID"):
            spiffe_id = check_workload_id(entry.spiffe_id, self._trust_domain)
        svid = await self._sign_jwt(
            spiffe_id,
            request.audience,
            entry.jwt_svid_ttl,
            include_jti=entry.jwt_svid_include_jti,
        )
        return svid_pb2.NewJWTSVIDResponse(svid=jwt_svid_to_pb(svid))

    async def batch_new_witsvid(
        self, _request: svid_pb2.BatchNewWITSVIDRequest, _context: CallContext
    ) -> svid_pb2.BatchNewWITSVIDResponse:
        raise Unimplemented("WIT functionality is disabled")

    # --- for downstream servers ---

    async def new_downstream_x509ca(
        self, request: svid_pb2.NewDownstreamX509CARequest, context: CallContext
    ) -> svid_pb2.NewDownstreamX509CAResponse:
        """Sign the CA of a server below this one (feature G12)."""
        await self._limits.wait(context)
        csr = parse_csr(request.csr)
        ttl = timedelta(seconds=request.preferred_ttl)
        with prefixing("failed to sign downstream X.509 CA", StatusCode.INTERNAL):
            ca = await self._signer.sign_downstream_x509_ca(csr.public_key_der, ttl)
        bundle = self._bundles.get(self._trust_domain)
        if bundle is None:
            raise NotFound("bundle not found")
        log.debug(
            "Signed X509 CA SVID", spiffe_id=str(self._trust_domain.id), expiration=ca.expires_at
        )
        return svid_pb2.NewDownstreamX509CAResponse(
            ca_cert_chain=ca.chain,
            x509_authorities=[authority.der for authority in bundle.x509_authorities],
        )

    def _check_jwt_enabled(self) -> None:
        if not self._jwt_enabled:
            raise Unimplemented("JWT functionality is disabled")

    async def _sign_jwt(
        self, spiffe_id: SpiffeID, audience: Sequence[str], ttl: timedelta, *, include_jti: bool
    ) -> SignedJWTSVID:
        if not audience:
            raise InvalidArgument("at least one audience is required")
        with prefixing("failed to sign JWT-SVID", StatusCode.INTERNAL):
            svid = await self._signer.sign_jwt_svid(
                spiffe_id, audience, ttl, include_jti=include_jti
            )
        log.debug(
            "Server CA successfully signed JWT SVID",
            spiffe_id=str(spiffe_id),
            expiration=svid.expires_at,
        )
        return svid


def _read_params(
    params: svid_pb2.NewX509SVIDParams, entries: AuthorizedEntries
) -> X509SVIDParams | SpireError:
    """What an agent wants signed, or why it is not; errors are for the item alone."""
    if not params.entry_id:
        return InvalidArgument("missing entry ID")
    if not params.csr:
        return InvalidArgument("missing CSR")
    entry = entries.entry(params.entry_id)
    if entry is None:
        return NotFound("entry not found or not authorized")
    try:
        csr = parse_csr(params.csr)
    except InvalidArgument as error:
        return error
    return X509SVIDParams(
        spiffe_id=entry.spiffe_id,
        public_key=csr.public_key_der,
        dns_names=entry.dns_names,
        ttl=entry.x509_svid_ttl,
    )


def _signed_or_why_not(result: SignedX509SVID | SpireError) -> SignedX509SVID | SpireError:
    if isinstance(result, SpireError):
        return prefixed("failed to sign X509-SVID", result, StatusCode.INTERNAL)
    _log_signed(result)
    return result


def _mintable_csr(der: bytes) -> CertificateRequest:
    try:
        return parse_csr(der)
    except MalformedCSR as error:
        raise InvalidArgument(f"malformed CSR: {error.reason}") from error
    except InvalidCSRSignature as error:
        raise InvalidArgument(f"failed to verify CSR signature: {error.reason}") from error


def _requested_dns_names(csr: CertificateRequest) -> tuple[str, ...]:
    with prefixing("CSR DNS name is invalid"):
        names = tuple(check_dns_name(name) for name in csr.dns_names)
    with prefixing("CSR DNS name contains a wildcard that covers another non-wildcard name"):
        check_wildcard_overlap(names)
    return names


def _log_signed(svid: SignedX509SVID) -> None:
    log.debug(
        "Signed X509 SVID",
        spiffe_id=str(svid.spiffe_id),
        serial_num=str(svid.serial_number),
        expiration=svid.expires_at,
    )
