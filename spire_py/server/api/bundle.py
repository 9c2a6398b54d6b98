"""The Bundle API: our own bundle for everyone, federated ones for agents and operators."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any, Protocol, TypeAlias, TypeVar

from google.protobuf.message import Message

from spire_py._proto.spire.api import types_pb2
from spire_py._proto.spire.api.server import bundle_pb2
from spire_py.errors import (
    AlreadyExists,
    InvalidArgument,
    NotFound,
    SpireError,
    StatusCode,
    Unimplemented,
)
from spire_py.server.api.call_log import failed
from spire_py.server.api.filters import page_from_pb
from spire_py.server.datastore.filters import DeleteMode, Page
from spire_py.server.rate_limits import RateLimits
from spire_py.spiffe.bundle import Bundle, JWTAuthority, X509Authority
from spire_py.spiffe.id import TrustDomain
from spire_py.telemetry.logs import get_logger
from spire_py.transport import CallContext
from spire_py.wire.bundles import (
    bundle_from_pb,
    bundle_to_pb,
    jwt_authorities_from_pb,
    x509_authorities_from_pb,
)
from spire_py.wire.masks import apply_mask, mask_fields, output_mask
from spire_py.wire.status import ok, prefixed, prefixing

log = get_logger("api")

_BatchRequest: TypeAlias = (
    bundle_pb2.BatchCreateFederatedBundleRequest
    | bundle_pb2.BatchSetFederatedBundleRequest
    | bundle_pb2.BatchUpdateFederatedBundleRequest
)
_BatchResponseT = TypeVar(
    "_BatchResponseT",
    bundle_pb2.BatchCreateFederatedBundleResponse,
    bundle_pb2.BatchSetFederatedBundleResponse,
    bundle_pb2.BatchUpdateFederatedBundleResponse,
)


class BundleStore(Protocol):
    """What the Bundle API needs of the datastore."""

    async def create_bundle(self, bundle: Bundle) -> Bundle: ...
    async def set_bundle(self, bundle: Bundle) -> Bundle: ...
    async def update_bundle(self, bundle: Bundle, mask: frozenset[str] | None) -> Bundle: ...
    async def append_bundle(self, bundle: Bundle) -> Bundle: ...
    async def delete_bundle(self, trust_domain: TrustDomain, mode: DeleteMode) -> Any: ...
    async def list_bundles(self, page: Page | None) -> tuple[list[Bundle], str]: ...
    async def count_bundles(self) -> int: ...


class BundleMemory(Protocol):
    """What the Bundle API needs of the bundles in memory."""

    def get(self, trust_domain: TrustDomain) -> Bundle | None: ...
    def put(self, bundle: Bundle) -> None: ...
    async def removed(self, trust_domain: TrustDomain) -> None: ...


class BundleServicer:
    """`spire.api.server.bundle.v1.Bundle`."""

    def __init__(
        self,
        *,
        trust_domain: TrustDomain,
        store: BundleStore,
        memory: BundleMemory,
        limits: RateLimits,
    ) -> None:
        self._trust_domain = trust_domain
        self._store = store
        self._memory = memory
        self._limits = limits

    # --- reading ---

    async def get_bundle(
        self, request: bundle_pb2.GetBundleRequest, _context: CallContext
    ) -> types_pb2.Bundle:
        return self._known(self._trust_domain, output_mask(request))

    async def get_federated_bundle(
        self, request: bundle_pb2.GetFederatedBundleRequest, _context: CallContext
    ) -> types_pb2.Bundle:
        trust_domain = self._foreign(request.trust_domain, "getting a")
        return self._known(trust_domain, output_mask(request))

    def _known(self, trust_domain: TrustDomain, mask: Message | None) -> types_pb2.Bundle:
        bundle = self._memory.get(trust_domain)
        if bundle is None:
            raise NotFound("bundle not found")
        return _masked(bundle, mask)

    async def count_bundles(
        self, _request: bundle_pb2.CountBundlesRequest, _context: CallContext
    ) -> bundle_pb2.CountBundlesResponse:
        with prefixing("failed to count bundles", StatusCode.INTERNAL):
            return bundle_pb2.CountBundlesResponse(count=await self._store.count_bundles())

    async def list_federated_bundles(
        self, request: bundle_pb2.ListFederatedBundlesRequest, _context: CallContext
    ) -> bundle_pb2.ListFederatedBundlesResponse:
        with prefixing("failed to list bundles", StatusCode.INTERNAL):
            bundles, token = await self._store.list_bundles(page_from_pb(request))
        foreign = [each for each in bundles if each.trust_domain != self._trust_domain]
        return bundle_pb2.ListFederatedBundlesResponse(
            bundles=[_masked(each, output_mask(request)) for each in foreign],
            next_page_token=token,
        )

    # --- our own ---

    async def append_bundle(
        self, request: bundle_pb2.AppendBundleRequest, _context: CallContext
    ) -> types_pb2.Bundle:
        if not request.jwt_authorities and not request.x509_authorities:
            raise InvalidArgument("no authorities to append")
        addition = Bundle(
            self._trust_domain,
            x509_authorities=_x509_authorities(request),
            jwt_authorities=_jwt_authorities(request),
        )
        with prefixing("failed to append bundle", StatusCode.INTERNAL):
            bundle = await self._store.append_bundle(addition)
        self._memory.put(bundle)
        return _masked(bundle, output_mask(request))

    # --- of downstream servers ---

    async def publish_jwt_authority(
        self, request: bundle_pb2.PublishJWTAuthorityRequest, context: CallContext
    ) -> bundle_pb2.PublishJWTAuthorityResponse:
        """Take the JWT key of a server below this one into the bundle (feature G7)."""
        await self._limits.wait(context)
        if not request.HasField("jwt_authority"):
            raise InvalidArgument("missing JWT authority")
        with prefixing("invalid JWT authority"):
            (key,) = jwt_authorities_from_pb([request.jwt_authority])
        addition = Bundle(self._trust_domain, jwt_authorities=(replace(key, tainted=False),))
        with prefixing("failed to publish JWT key", StatusCode.INTERNAL):
            bundle = await self._store.append_bundle(addition)
        self._memory.put(bundle)
        return bundle_pb2.PublishJWTAuthorityResponse(
            jwt_authorities=bundle_to_pb(bundle).jwt_authorities
        )

    async def publish_wit_authority(
        self, _request: bundle_pb2.PublishWITAuthorityRequest, _context: CallContext
    ) -> bundle_pb2.PublishWITAuthorityResponse:
        raise Unimplemented("WIT-SVID functionality is not yet implemented")

    # --- federated ones ---

    async def batch_create_federated_bundle(
        self, request: bundle_pb2.BatchCreateFederatedBundleRequest, context: CallContext
    ) -> bundle_pb2.BatchCreateFederatedBundleResponse:
        response = bundle_pb2.BatchCreateFederatedBundleResponse()
        return await _each(request, response, self._create, context)

    async def _create(self, message: types_pb2.Bundle) -> Bundle:
        bundle = self._converted(message, "creating a")
        try:
            stored = await self._store.create_bundle(bundle)
        except AlreadyExists as error:
            raise AlreadyExists("bundle already exists") from error
        except SpireError as error:
            raise prefixed("unable to create bundle", error, StatusCode.INTERNAL) from error
        self._memory.put(stored)
        log.debug("Federated bundle created", trust_domain_id=stored.trust_domain.name)
        return stored

    async def batch_set_federated_bundle(
        self, request: bundle_pb2.BatchSetFederatedBundleRequest, context: CallContext
    ) -> bundle_pb2.BatchSetFederatedBundleResponse:
        response = bundle_pb2.BatchSetFederatedBundleResponse()
        return await _each(request, response, self._set, context)

    async def _set(self, message: types_pb2.Bundle) -> Bundle:
        bundle = self._converted(message, "setting a")
        with prefixing("failed to set bundle", StatusCode.INTERNAL):
            stored = await self._store.set_bundle(bundle)
        self._memory.put(stored)
        log.info("Bundle set successfully", trust_domain_id=stored.trust_domain.name)
        return stored

    async def batch_update_federated_bundle(
        self, request: bundle_pb2.BatchUpdateFederatedBundleRequest, context: CallContext
    ) -> bundle_pb2.BatchUpdateFederatedBundleResponse:
        response = bundle_pb2.BatchUpdateFederatedBundleResponse()
        mask = mask_fields(request, "input_mask")
        return await _each(request, response, partial(self._update, mask=mask), context)

    async def _update(self, message: types_pb2.Bundle, mask: frozenset[str] | None) -> Bundle:
        bundle = self._converted(message, "updating a")
        try:
            stored = await self._store.update_bundle(bundle, mask)
        except NotFound as error:
            raise NotFound("bundle not found") from error
        except SpireError as error:
            raise prefixed("failed to update bundle", error, StatusCode.INTERNAL) from error
        self._memory.put(stored)
        log.debug("Federated bundle updated", trust_domain_id=stored.trust_domain.name)
        return stored

    async def batch_delete_federated_bundle(
        self, request: bundle_pb2.BatchDeleteFederatedBundleRequest, context: CallContext
    ) -> bundle_pb2.BatchDeleteFederatedBundleResponse:
        try:
            mode = DeleteMode(request.mode)
        except ValueError as error:
            raise InvalidArgument(
                f'failed to parse deletion mode: unhandled delete mode "{request.mode}"'
            ) from error
        response = bundle_pb2.BatchDeleteFederatedBundleResponse()
        for name in request.trust_domains:
            result = response.results.add(trust_domain=name)
            try:
                await self._delete(name, mode)
            except SpireError as error:
                result.status.CopyFrom(failed(context, error, trust_domain_id=name))
            else:
                result.status.CopyFrom(ok())
        return response

    async def _delete(self, name: str, mode: DeleteMode) -> None:
        trust_domain = _parsed(name)
        if trust_domain == self._trust_domain:
            raise InvalidArgument("removing the bundle for the server trust domain is not allowed")
        try:
            await self._store.delete_bundle(trust_domain, mode)
        except NotFound as error:
            raise NotFound("bundle not found") from error
        except SpireError as error:
            raise prefixed("failed to delete federated bundle", error) from error
        await self._memory.removed(trust_domain)

    # --- conversions ---

    def _foreign(self, name: str, doing: str) -> TrustDomain:
        trust_domain = _parsed(name)
        if trust_domain == self._trust_domain:
            raise InvalidArgument(
                f"{doing} federated bundle for the server's own trust domain is not allowed"
            )
        return trust_domain

    def _converted(self, message: types_pb2.Bundle, doing: str) -> Bundle:
        self._foreign(message.trust_domain, doing)
        with prefixing("failed to convert bundle"):
            return bundle_from_pb(message)


async def _each(
    request: _BatchRequest,
    response: _BatchResponseT,
    change: Callable[[types_pb2.Bundle], Awaitable[Bundle]],
    context: CallContext,
) -> _BatchResponseT:
    """Change one bundle after the other; each succeeds or fails by itself."""
    for message in request.bundle:
        result = response.results.add()
        try:
            bundle = await change(message)
        except SpireError as error:
            result.status.CopyFrom(failed(context, error, trust_domain_id=message.trust_domain))
        else:
            result.status.CopyFrom(ok())
            result.bundle.CopyFrom(_masked(bundle, output_mask(request)))
    return response


def _parsed(name: str) -> TrustDomain:
    with prefixing("trust domain argument is not valid"):
        return TrustDomain.parse(name)


def _masked(bundle: Bundle, mask: Message | None) -> types_pb2.Bundle:
    return apply_mask(bundle_to_pb(bundle), mask)


def _x509_authorities(request: bundle_pb2.AppendBundleRequest) -> tuple[X509Authority, ...]:
    with prefixing("failed to convert X.509 authority"):
        return tuple(
            replace(authority, tainted=False)
            for authority in x509_authorities_from_pb(request.x509_authorities)
        )


def _jwt_authorities(request: bundle_pb2.AppendBundleRequest) -> tuple[JWTAuthority, ...]:
    with prefixing("failed to convert JWT authority"):
        return tuple(
            replace(key, tainted=False) for key in jwt_authorities_from_pb(request.jwt_authorities)
        )
