"""NodeAttestor `x509pop`, the server's end (features I5, I7, I16)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import rsa

from spire_py.crypto.certificate import CertificateFacts, InvalidCertificate
from spire_py.crypto.certificate_path import verify_path
from spire_py.crypto.pem import MAX_PEM_BYTES, pem_to_certificates
from spire_py.errors import Internal, InvalidArgument, PermissionDenied
from spire_py.model.selector import Selector
from spire_py.plugin_api.context import PluginContext
from spire_py.plugin_api.node_attestor import Challenge, NodeAttestation, ServerNodeAttestor
from spire_py.plugin_api.settings import Settings
from spire_py.runtime.clock import Clock, SystemClock
from spire_py.runtime.watch import Watch
from spire_py.spiffe.bundle import Bundle
from spire_py.spiffe.id import InvalidSpiffeID, SpiffeID, TrustDomain
from spire_py.spiffe.reserved_path import agent_id
from spire_py_plugins.node_attestor.agent_path_template import AgentPathTemplate, InvalidTemplate
from spire_py_plugins.node_attestor.x509pop.certificate import (
    PLUGIN_NAME,
    TEMPLATE_FIELDS,
    san_selectors,
    selector_values,
    template_data,
)
from spire_py_plugins.node_attestor.x509pop.messages import read_payload
from spire_py_plugins.node_attestor.x509pop.proof import Proof, proof_for

_PATH_TEMPLATES = {
    "external_pki": "/{{ .PluginName }}/{{ .Fingerprint }}",
    "spiffe": "/{{ .PluginName }}/{{ .SVIDPathTrimmed }}",
}


@dataclass(frozen=True, slots=True)
class Config:
    """How nodes are attested.

    `anchors` (DER) are the CAs in mode external_pki. In mode spiffe they are None, and the trust
    domain's own bundle takes their place. `svid_prefix` ends in a slash. With `verify_client_ip`
    the certificate must name the address that the call comes from.
    """

    trust_domain: TrustDomain
    anchors: tuple[bytes, ...] | None
    path_template: AgentPathTemplate
    svid_prefix: str = "/spire-exchange/"
    max_intermediates: int = 4
    max_rsa_key_size: int = 8192
    verify_client_ip: bool = False


class X509PopServer(ServerNodeAttestor):
    """Checks a node's certificate, then makes the node prove that it holds the key.

    Args:
        config: what the operator set.
        trust_bundle: the trust domain's own bundle; mode spiffe needs it.
        clock: tells when certificates must be valid; the machine's own where None.
    """

    def __init__(
        self,
        config: Config,
        trust_bundle: Watch[Bundle] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._config = config
        self._trust_bundle = trust_bundle
        self._clock = clock or SystemClock()

    async def check_address(self, payload: bytes, client_ip: str) -> None:
        if not self._config.verify_client_ip:
            return
        if not client_ip:
            raise Internal("client IP not available for verification")
        leaf, intermediates = self._read(payload)
        # Only a trusted certificate may say anything, so that nobody learns which address fits.
        self._verify(leaf, intermediates)
        if ip_address(client_ip) not in leaf.ip_addresses:
            raise PermissionDenied(f"client IP {client_ip} does not match any certificate IP SAN")

    async def attest(self, payload: bytes, challenge: Challenge) -> NodeAttestation:
        leaf, intermediates = self._read(payload)
        path = self._verify(leaf, intermediates)
        proof = _proof(leaf)
        _check(proof, await challenge(proof.challenge))
        return self._attestation(leaf, path)

    def _read(self, payload: bytes) -> tuple[CertificateFacts, tuple[bytes, ...]]:
        try:
            certificates = read_payload(payload)
        except InvalidArgument as error:
            raise InvalidArgument(f"failed to unmarshal data: {error.message}") from error
        if not certificates:
            raise InvalidArgument("no certificate to attest")
        if len(certificates) - 1 > self._config.max_intermediates:
            raise InvalidArgument("too many intermediate certificates")
        leaf = self._parse(certificates[0], "leaf certificate")
        for number, der in enumerate(certificates[1:]):
            self._parse(der, f"intermediate certificate {number}")
        return leaf, tuple(certificates[1:])

    def _parse(self, der: bytes, name: str) -> CertificateFacts:
        try:
            facts = CertificateFacts(der)
            key = facts.certificate.public_key()
        except (InvalidCertificate, ValueError, UnsupportedAlgorithm) as error:
            raise InvalidArgument(f"unable to parse {name}: {error}") from error
        if isinstance(key, rsa.RSAPublicKey) and key.key_size > self._config.max_rsa_key_size:
            raise InvalidArgument(f"{name} key size too large")
        return facts

    def _verify(
        self, leaf: CertificateFacts, intermediates: tuple[bytes, ...]
    ) -> tuple[bytes, ...]:
        try:
            return verify_path(
                leaf.der,
                intermediates,
                anchors=self._anchors(),
                now=self._clock.now(),
                max_intermediates=self._config.max_intermediates,
            )
        except InvalidCertificate as error:
            raise PermissionDenied(f"certificate verification failed: {error.message}") from error

    def _anchors(self) -> tuple[bytes, ...]:
        if self._config.anchors is not None:
            return self._config.anchors
        if self._trust_bundle is None:
            raise Internal("failed to get trust bundle: this server gives none to plugins")
        return tuple(authority.der for authority in self._trust_bundle.value.x509_authorities)

    def _attestation(self, leaf: CertificateFacts, path: tuple[bytes, ...]) -> NodeAttestation:
        trust_domain = self._config.trust_domain
        svid_path = self._svid_path(leaf) if self._config.anchors is None else ""
        san = san_selectors(leaf.uris, trust_domain.name)
        data = template_data(leaf, trust_domain=trust_domain.name, svid_path=svid_path, san=san)
        try:
            node = agent_id(trust_domain, self._config.path_template.execute(data))
        except (InvalidTemplate, InvalidSpiffeID) as error:
            raise Internal(f"failed to make spiffe id: {error.message}") from error
        values = selector_values(leaf, path[1:], san)
        selectors = tuple(Selector(PLUGIN_NAME, value) for value in values)
        return NodeAttestation(node, selectors, can_reattest=True)

    def _svid_path(self, leaf: CertificateFacts) -> str:
        """The path of the SVID that is exchanged, without the prefix."""
        svid_id = _svid_id(leaf)
        if svid_id is None or not svid_id.is_member_of(self._config.trust_domain):
            raise PermissionDenied("valid SVID x509 cert not found")
        if not svid_id.path.startswith(self._config.svid_prefix):
            raise PermissionDenied("x509 cert doesnt match SVID prefix")
        return svid_id.path.removeprefix(self._config.svid_prefix)


def configure(data: Mapping[str, Any], context: PluginContext) -> X509PopServer:
    """The plugin. Reads the CA bundles, so that a missing one stops the start."""
    settings = Settings(data, context)
    mode = settings.text("mode") or "external_pki"
    if mode not in _PATH_TEMPLATES:
        settings.fault("mode can only be either spiffe or external_pki")
        mode = "external_pki"
    anchors = _read_anchors(settings, mode)
    template = _read_template(settings, mode)
    prefix = settings.text("spiffe_prefix", "/spire-exchange/")
    verify_client_ip = settings.flag("verify_client_ip")
    max_intermediates = _positive(settings, "max_intermediates", 4)
    max_rsa_key_size = _positive(settings, "max_rsa_key_size", 8192)
    settings.finish()
    config = Config(
        trust_domain=context.trust_domain,
        anchors=anchors,
        path_template=template,
        svid_prefix=prefix if prefix.endswith("/") else f"{prefix}/",
        max_intermediates=max_intermediates,
        max_rsa_key_size=max_rsa_key_size,
        verify_client_ip=verify_client_ip,
    )
    return X509PopServer(config, context.trust_bundle)


def _read_anchors(settings: Settings, mode: str) -> tuple[bytes, ...] | None:
    single = settings.text("ca_bundle_path")
    several = settings.texts("ca_bundle_paths")
    if mode == "spiffe":
        if single or several:
            settings.fault("you can not use ca_bundle_path or ca_bundle_paths in spiffe mode")
        return None
    if single and several:
        settings.fault("only one of ca_bundle_path or ca_bundle_paths can be configured, not both")
    paths = (single,) if single else several
    if not paths:
        settings.fault("one of ca_bundle_path or ca_bundle_paths must be configured")
    return tuple(anchor for path in paths for anchor in _read_bundle(settings, path))


def _read_bundle(settings: Settings, path: str) -> list[bytes]:
    try:
        with Path(path).open("rb") as file:
            return pem_to_certificates(file.read(MAX_PEM_BYTES + 1))
    except OSError as error:
        settings.fault(f'unable to load trust bundle "{path}": {error.strerror}')
    except InvalidArgument as error:
        settings.fault(f'unable to load trust bundle "{path}": {error.message}')
    return []


def _read_template(settings: Settings, mode: str) -> AgentPathTemplate:
    text = settings.text("agent_path_template")
    try:
        return AgentPathTemplate(text or _PATH_TEMPLATES[mode], TEMPLATE_FIELDS)
    except InvalidTemplate as error:
        settings.fault(f'failed to parse agent svid template: "{text}": {error.message}')
        return AgentPathTemplate(_PATH_TEMPLATES[mode], TEMPLATE_FIELDS)


def _positive(settings: Settings, key: str, default: int) -> int:
    value = settings.integer(key, default)
    if value <= 0:
        settings.fault(f"{key} must be greater than 0")
    return value


def _proof(leaf: CertificateFacts) -> Proof:
    usage = leaf.key_usage
    try:
        if usage is None or not usage.digital_signature:
            raise InvalidArgument("certificate not intended for digital signature use")
        return proof_for(leaf.public_key)
    except InvalidArgument as error:
        raise Internal(f"unable to generate challenge: {error.message}") from error


def _check(proof: Proof, response: bytes) -> None:
    try:
        proof.check(response)
    except InvalidArgument as error:
        raise InvalidArgument(f"unable to unmarshal challenge response: {error.message}") from error
    except PermissionDenied as error:
        raise PermissionDenied(
            f"challenge response verification failed: {error.message}"
        ) from error


def _svid_id(leaf: CertificateFacts) -> SpiffeID | None:
    """The first SPIFFE ID among the URI SANs; others may stand beside it, for `san` selectors."""
    for uri in leaf.uris:
        if uri.partition(":")[0].lower() == "spiffe":
            try:
                return SpiffeID.parse(uri)
            except InvalidSpiffeID:
                return None
    return None
