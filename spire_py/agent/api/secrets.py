"""Identities and bundles as Envoy's secrets (features H8 to H10)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message

from spire_py._proto.envoy import core_pb2, discovery_pb2, tls_pb2
from spire_py.agent.cached_svid import CachedSVID
from spire_py.agent.workload_update import EncodedBundle, WorkloadUpdate
from spire_py.crypto.pem import certificates_to_pem, private_key_to_pem
from spire_py.errors import Internal, InvalidArgument

_VALIDATOR = "envoy.tls.cert_validator.spiffe"
_MAX_KEPT_ENCODINGS = 64


@dataclass(frozen=True, slots=True)
class SecretNames:
    """The names that Envoy asks for beside SPIFFE IDs (feature C19)."""

    svid: str = "default"
    bundle: str = "ROOTCA"
    all_bundles: str = "ALL"


@dataclass(frozen=True, slots=True)
class SecretSelection:
    """Which secrets, in which form; all of them where `names` is empty.

    With `spiffe_validator` a bundle configures Envoy's SPIFFE validator, else it is a plain list
    of CA certificates.
    """

    names: frozenset[str]
    spiffe_validator: bool


class SecretsEncoder:
    """Makes the resources of a discovery response, once for each update and selection."""

    def __init__(self, names: SecretNames) -> None:
        self._names = names

    def encode(self, update: WorkloadUpdate, selection: SecretSelection) -> tuple[bytes, int]:
        """A `DiscoveryResponse` with nothing but its resources, and how many these are.

        Raises:
            InvalidArgument: something was asked for that this workload may not have.
            Internal: `ALL` was asked for, of an Envoy that cannot take it.
        """
        key = (self, selection)
        known = update.encodings.get(key)
        if known is not None:
            return known
        secrets = list(self._select(update, selection))
        response = discovery_pb2.DiscoveryResponse(resources=[_pack(secret) for secret in secrets])
        encoded = (response.SerializeToString(deterministic=True), len(secrets))
        if len(update.encodings) < _MAX_KEPT_ENCODINGS:
            update.encodings[key] = encoded
        return encoded

    def _select(
        self, update: WorkloadUpdate, selection: SecretSelection
    ) -> Iterator[tls_pb2.Secret]:
        everything = not selection.names
        left = set(selection.names)

        def take(name: str) -> bool:
            """Whether this name was asked for; it is then dealt with."""
            if name in left:
                left.remove(name)
                return True
            return False

        yield from self._own_bundle(update, selection, left)
        for bundle in update.federated:
            name = str(bundle.trust_domain.id)
            if everything or take(name):
                yield _validation_context(name, (bundle,), selection.spiffe_validator)
        for position, identity in enumerate(update.identities):
            name = str(identity.entry.spiffe_id)
            # An answer holds the first identity by its ID or as the default, never twice.
            if everything or name in left:
                left.discard(name)
                yield _tls_certificate(name, identity)
            elif position == 0 and take(self._names.svid):
                yield _tls_certificate(self._names.svid, identity)
        if left:
            raise InvalidArgument(
                f"workload is not authorized for the requested identities {_go_list(left)}"
            )

    def _own_bundle(
        self, update: WorkloadUpdate, selection: SecretSelection, left: set[str]
    ) -> Iterator[tls_pb2.Secret]:
        """The own bundle under the first of its three names that was asked for."""
        own = update.bundle
        own_id = str(own.trust_domain.id)
        if not selection.names or own_id in left:
            left.discard(own_id)
            yield _validation_context(own_id, (own,), selection.spiffe_validator)
        elif self._names.bundle in left:
            left.remove(self._names.bundle)
            yield _validation_context(self._names.bundle, (own,), selection.spiffe_validator)
        elif self._names.all_bundles in left:
            left.remove(self._names.all_bundles)
            if not selection.spiffe_validator:
                raise Internal('unable to use "SPIFFE validator" on Envoy below 1.17')
            bundles = sorted((own, *update.federated), key=lambda item: item.trust_domain)
            yield _validation_context(self._names.all_bundles, bundles, spiffe_validator=True)


def _tls_certificate(name: str, svid: CachedSVID) -> tls_pb2.Secret:
    return tls_pb2.Secret(
        name=name,
        tls_certificate=tls_pb2.TlsCertificate(
            certificate_chain=_inline(certificates_to_pem(svid.chain).encode()),
            private_key=_inline(private_key_to_pem(svid.key).encode()),
        ),
    )


def _validation_context(
    name: str, bundles: Iterable[EncodedBundle], spiffe_validator: bool
) -> tls_pb2.Secret:
    context = tls_pb2.CertificateValidationContext
    if not spiffe_validator:
        pem = b"".join(bundle.pem for bundle in bundles)
        return tls_pb2.Secret(name=name, validation_context=context(trusted_ca=_inline(pem)))
    config = tls_pb2.SPIFFECertValidatorConfig(
        trust_domains=[
            tls_pb2.SPIFFECertValidatorConfig.TrustDomain(
                name=bundle.trust_domain.name, trust_bundle=_inline(bundle.pem)
            )
            for bundle in bundles
        ]
    )
    validator = core_pb2.TypedExtensionConfig(name=_VALIDATOR, typed_config=_pack(config))
    return tls_pb2.Secret(name=name, validation_context=context(custom_validator_config=validator))


def _inline(data: bytes) -> core_pb2.DataSource:
    return core_pb2.DataSource(inline_bytes=data)


def _pack(message: Message) -> Any:
    packed = Any()
    packed.Pack(message, deterministic=True)
    return packed


def _go_list(names: Collection[str]) -> str:
    """The names as Go prints a list of quoted strings, sorted."""
    quoted = (name.replace("\\", "\\\\").replace('"', '\\"') for name in sorted(names))
    return "[" + " ".join(f'"{name}"' for name in quoted) + "]"
