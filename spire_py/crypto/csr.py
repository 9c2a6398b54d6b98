"""Certificate signing requests (PKCS#10, RFC 2986)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography import x509

from spire_py.crypto import der
from spire_py.crypto.keys import PrivateKey, check_public_key, public_key_der
from spire_py.crypto.parse_errors import PARSE_ERRORS, reason
from spire_py.crypto.signature import signature_scheme, signed
from spire_py.crypto.subject import EMPTY_SUBJECT, Subject
from spire_py.crypto.subject_alt_name import subject_alt_name
from spire_py.errors import InvalidArgument

MAX_CSR_BYTES = 32 * 1024
"""The longest request read, as DER."""

_EXTENSION_REQUEST = "1.2.840.113549.1.9.14"


class MalformedCSR(InvalidArgument):
    """Bytes are no CSR. `reason` is what follows SPIRE's `malformed CSR: `."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"malformed CSR: {reason}")
        self.reason = reason


class InvalidCSRSignature(InvalidArgument):
    """A CSR is not signed by the key it holds. `reason` follows `invalid CSR signature: `."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"invalid CSR signature: {reason}")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class CertificateRequest:
    """A CSR whose signature is good: the sender holds the key. All else in it is a mere wish.

    `uris` are the URI SANs as they stand, valid SPIFFE IDs or not.
    """

    public_key_der: bytes
    uris: tuple[str, ...]
    dns_names: tuple[str, ...]
    name: x509.Name = field(repr=False)
    """The subject, of which agents' requests need nothing: it is read when it is asked for."""

    @property
    def subject_der(self) -> bytes:
        return self.name.public_bytes()

    @property
    def subject(self) -> Subject:
        return Subject.from_name(self.name)


def make_csr(
    key: PrivateKey,
    *,
    uri: str | None = None,
    dns: Sequence[str] = (),
    subject: bytes = EMPTY_SUBJECT,
) -> bytes:
    """A CSR as DER, signed by `key`.

    Args:
        key: the key the certificate shall be for.
        uri: the SPIFFE ID asked for.
        dns: DNS names asked for.
        subject: DER of the subject.

    Raises:
        InvalidArgument: a name is not ASCII.
    """
    extensions = b""
    if uri is not None or dns:
        names = subject_alt_name(dns, uri, critical=False)
        extensions = der.sequence(
            der.object_identifier(_EXTENSION_REQUEST), der.tlv(der.SET, der.sequence(names))
        )
    attributes = der.tlv(0xA0, extensions)
    info = der.sequence(der.integer(0), subject, public_key_der(key), attributes)
    return signed(signature_scheme(key), info)


def parse_csr(request: bytes) -> CertificateRequest:
    """Read a CSR and check its signature.

    Raises:
        MalformedCSR: it is no CSR, is longer than `MAX_CSR_BYTES`, or has a key we do not use.
        InvalidCSRSignature: its signature does not verify.
    """
    if len(request) > MAX_CSR_BYTES:
        raise MalformedCSR("too long")
    try:
        return _parse(request)
    except PARSE_ERRORS as error:
        raise MalformedCSR(reason(error)) from error


def _parse(request: bytes) -> CertificateRequest:
    csr = x509.load_der_x509_csr(request)
    try:
        der.check_signature_bits(request)
        key = check_public_key(csr.public_key())
    except InvalidArgument as error:
        raise MalformedCSR(error.message) from error
    uris, dns_names = _names(csr)
    parsed = CertificateRequest(
        public_key_der=public_key_der(key), uris=uris, dns_names=dns_names, name=csr.subject
    )
    _check_signature(csr)
    return parsed


def _names(csr: x509.CertificateSigningRequest) -> tuple[tuple[str, ...], tuple[str, ...]]:
    try:
        names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return (), ()
    return (
        tuple(names.get_values_for_type(x509.UniformResourceIdentifier)),
        tuple(names.get_values_for_type(x509.DNSName)),
    )


def _check_signature(csr: x509.CertificateSigningRequest) -> None:
    try:
        valid = csr.is_signature_valid
    except PARSE_ERRORS as error:
        raise InvalidCSRSignature("algorithm is not supported") from error
    if not valid:
        raise InvalidCSRSignature("verification failure")
