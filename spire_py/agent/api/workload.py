"""The SPIFFE Workload API (features H1 to H6; spec checks 81 to 106)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AbstractContextManager
from typing import NoReturn, Protocol

from google.protobuf.struct_pb2 import Struct

from spire_py._proto import workload_pb2
from spire_py.agent.api.caller import (
    Callers,
    call_facts,
    is_agent_itself,
)
from spire_py.agent.authorized_entry import AuthorizedEntry
from spire_py.agent.jwt_cache import JWTSVID
from spire_py.agent.workload_cache import WorkloadGroup
from spire_py.agent.workload_update import WorkloadUpdate, without_repeated_hints
from spire_py.errors import InvalidArgument, PermissionDenied, Unimplemented
from spire_py.model.selector import Selector
from spire_py.runtime.clock import Clock
from spire_py.spiffe.id import InvalidSpiffeID, SpiffeID, TrustDomain
from spire_py.spiffe.jwt_svid import InvalidJWTSVID, VerifiedClaims, validate_jwt_svid
from spire_py.telemetry.logs import get_logger
from spire_py.transport import CallContext

log = get_logger("endpoints")

MAX_AUDIENCES = 1000
_STANDARD_CLAIMS = frozenset({"sub", "exp", "aud"})


class Workloads(Protocol):
    """What the Workload API needs to know of workloads."""

    def subscribe(
        self, selectors: frozenset[Selector]
    ) -> AbstractContextManager[WorkloadGroup]: ...

    def current(self, selectors: frozenset[Selector]) -> WorkloadUpdate: ...

    def match(self, selectors: frozenset[Selector]) -> tuple[AuthorizedEntry, ...]: ...


class JWTSVIDs(Protocol):
    """Where JWT-SVIDs come from."""

    async def get(self, entry: AuthorizedEntry, audience: Sequence[str]) -> JWTSVID: ...


class WorkloadServicer:
    """Serves the workloads of this host; what they get depends on their selectors only.

    Args:
        allow_unauthenticated_verifiers: give bundles to callers without identity (feature C17).
        allowed_foreign_claims: kept in claims of foreign tokens, beside `sub`, `exp` and `aud`.
        log_selectors: beginnings of selectors that may be logged when a caller has no identity.
    """

    def __init__(
        self,
        *,
        workloads: Workloads,
        callers: Callers,
        jwt_svids: JWTSVIDs,
        trust_domain: TrustDomain,
        clock: Clock,
        allow_unauthenticated_verifiers: bool = False,
        allowed_foreign_claims: Collection[str] = (),
        log_selectors: Collection[str] = (),
    ) -> None:
        self._workloads = workloads
        self._callers = callers
        self._jwt_svids = jwt_svids
        self._trust_domain = trust_domain
        self._clock = clock
        self._allow_unauthenticated_verifiers = allow_unauthenticated_verifiers
        self._foreign_claims = _STANDARD_CLAIMS.union(allowed_foreign_claims)
        self._log_selectors = tuple(log_selectors)

    def fetch_x509svid(
        self, _request: workload_pb2.X509SVIDRequest, context: CallContext
    ) -> AsyncIterator[bytes]:
        """The caller's identities, at once and after each change."""
        return self._stream(context, _x509_svids, verifier_is_enough=False)

    def fetch_x509_bundles(
        self, _request: workload_pb2.X509BundlesRequest, context: CallContext
    ) -> AsyncIterator[bytes]:
        """The X.509 bundles the caller may trust, at once and after each change."""
        return self._stream(context, _x509_bundles, verifier_is_enough=True)

    def fetch_jwt_bundles(
        self, _request: workload_pb2.JWTBundlesRequest, context: CallContext
    ) -> AsyncIterator[bytes]:
        """The JWT keys the caller may trust, at once and after each change."""
        return self._stream(context, _jwt_bundles, verifier_is_enough=True)

    async def fetch_jwtsvid(
        self, request: workload_pb2.JWTSVIDRequest, context: CallContext
    ) -> workload_pb2.JWTSVIDResponse:
        """A token for each identity of the caller, or for the one it names.

        Raises:
            InvalidArgument: there is no audience, or the ID is malformed.
            PermissionDenied: the caller has no identity, or not this one.
            Unavailable: a token could not be had.
        """
        _check_audiences(request.audience, context)
        wanted = _requested_id(request.spiffe_id, context)
        selectors = await self._callers.identify(context)
        entries = [
            identity.entry
            for identity in without_repeated_hints(
                _Candidate(entry) for entry in self._workloads.match(selectors)
            )
            if wanted is None or identity.entry.spiffe_id == wanted
        ]
        if not entries:
            self._refuse(context, selectors)
        response = workload_pb2.JWTSVIDResponse()
        for entry in entries:
            svid = await self._jwt_svids.get(entry, request.audience)
            response.svids.add(spiffe_id=str(entry.spiffe_id), svid=svid.token, hint=entry.hint)
        return response

    async def validate_jwtsvid(
        self, request: workload_pb2.ValidateJWTSVIDRequest, context: CallContext
    ) -> workload_pb2.ValidateJWTSVIDResponse:
        """Check a token for the caller, with the bundles the caller may trust.

        Raises:
            InvalidArgument: the token is not valid for this audience; the message says why.
        """
        if not request.audience:
            log.error("Missing required audience parameter", **call_facts(context))
            raise InvalidArgument("audience must be specified")
        if not request.svid:
            log.error("Missing required svid parameter", **call_facts(context))
            raise InvalidArgument("svid must be specified")
        selectors = await self._callers.identify(context)
        bundles = self._workloads.current(selectors).bundles
        try:
            claims = validate_jwt_svid(request.svid, request.audience, bundles, self._clock.now())
        except InvalidJWTSVID as error:
            log.warning(
                "Failed to validate JWT",
                audience=request.audience,
                error=str(error),
                **call_facts(context),
            )
            raise
        return workload_pb2.ValidateJWTSVIDResponse(
            spiffe_id=str(claims.spiffe_id), claims=self._shown_claims(claims)
        )

    def fetch_witsvid(
        self, _request: workload_pb2.WITSVIDRequest, _context: CallContext
    ) -> AsyncIterator[bytes]:
        """Not offered yet, as in SPIRE (spec check 106)."""
        raise Unimplemented("fetching WIT-SVIDs is not implemented")

    def fetch_wit_bundles(
        self, _request: workload_pb2.WITBundlesRequest, _context: CallContext
    ) -> AsyncIterator[bytes]:
        """Not offered yet, as in SPIRE (spec check 106)."""
        raise Unimplemented("fetching WIT bundles is not implemented")

    async def _stream(
        self,
        context: CallContext,
        encoded: Callable[[WorkloadUpdate], bytes],
        *,
        verifier_is_enough: bool,
    ) -> AsyncIterator[bytes]:
        """The latest update in one of its forms whenever that form changes.

        Raises:
            PermissionDenied: the caller has no identity, or all of them were withdrawn.
        """
        selectors = await self._callers.identify(context)
        may_verify = verifier_is_enough and self._allow_unauthenticated_verifiers
        version, last = -1, None
        with self._workloads.subscribe(selectors) as group:
            while True:
                version, update = await group.next_update(version)
                if not update.identities and not may_verify:
                    self._refuse(context, selectors)
                message = encoded(update)
                if message != last:
                    last = message
                    yield message

    def _refuse(self, context: CallContext, selectors: frozenset[Selector]) -> NoReturn:
        if not is_agent_itself(context):
            shown = sorted(str(item) for item in selectors if self._may_log(str(item)))
            fields = {"selectors": ",".join(shown)} if shown else {}
            log.error("No identity issued", registered=False, **call_facts(context), **fields)
        raise PermissionDenied("no identity issued")

    def _may_log(self, selector: str) -> bool:
        return any(
            selector == name or selector.startswith(f"{name}:") for name in self._log_selectors
        )

    def _shown_claims(self, claims: VerifiedClaims) -> Struct:
        shown = dict(claims.claims)
        if not claims.spiffe_id.is_member_of(self._trust_domain):
            shown = {name: shown[name] for name in shown if name in self._foreign_claims}
        if isinstance(shown.get("aud"), str):
            # RFC 7519 allows both forms; workloads were always given the list.
            shown["aud"] = [shown["aud"]]
        message = Struct()
        message.update(shown)
        return message


class _Candidate:
    """An entry that may become a token."""

    __slots__ = ("entry",)

    def __init__(self, entry: AuthorizedEntry) -> None:
        self.entry = entry


def _x509_svids(update: WorkloadUpdate) -> bytes:
    return update.x509_svid_response


def _x509_bundles(update: WorkloadUpdate) -> bytes:
    return update.x509_bundles_response


def _jwt_bundles(update: WorkloadUpdate) -> bytes:
    return update.jwt_bundles_response


def _check_audiences(audience: Sequence[str], context: CallContext) -> None:
    if not any(audience):
        log.error("Missing required audience parameter", **call_facts(context))
        raise InvalidArgument("audience must be specified")
    if len(audience) > MAX_AUDIENCES:
        raise InvalidArgument(f"more than {MAX_AUDIENCES} audiences")


def _requested_id(text: str, context: CallContext) -> SpiffeID | None:
    if not text:
        return None
    try:
        return SpiffeID.parse(text)
    except InvalidSpiffeID as error:
        log.error(
            "Invalid requested SPIFFE ID", spiffe_id=text, error=str(error), **call_facts(context)
        )
        raise InvalidArgument(f"invalid requested SPIFFE ID: {error.message}") from error
