"""Signs certificates with a CA.

An SVID is put together from DER that is made once for a CA and the few values that vary. This
takes less than half the time of a general certificate builder, and signing SVIDs is what a server
does most.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from spire_py.crypto import der
from spire_py.crypto.certificate import CertificateFacts
from spire_py.crypto.keys import PrivateKey, public_key_der, subject_key_id
from spire_py.crypto.signature import SignatureScheme, signature_scheme, signed
from spire_py.crypto.subject import EMPTY_SUBJECT, CASubject, svid_subject
from spire_py.crypto.subject_alt_name import subject_alt_name
from spire_py.errors import FailedPrecondition, InvalidArgument

_VERSION_3 = der.tlv(0xA0, der.integer(2))

# KeyUsage bits: digitalSignature, keyEncipherment, keyAgreement; keyCertSign, cRLSign.
_SVID_KEY_USAGE = der.extension("2.5.29.15", b"\x03\x02\x03\xa8", critical=True)
_CA_KEY_USAGE = der.extension("2.5.29.15", b"\x03\x02\x01\x06", critical=True)
_SVID_EXTENDED_KEY_USAGE = der.extension(
    "2.5.29.37",
    der.sequence(
        der.object_identifier("1.3.6.1.5.5.7.3.1"), der.object_identifier("1.3.6.1.5.5.7.3.2")
    ),
)
_SVID_BASIC_CONSTRAINTS = der.extension("2.5.29.19", der.sequence(), critical=True)
_CA_BASIC_CONSTRAINTS = der.extension("2.5.29.19", der.sequence(der.TRUE), critical=True)
_SVID_FIXED = _SVID_KEY_USAGE + _SVID_EXTENDED_KEY_USAGE + _SVID_BASIC_CONSTRAINTS
_CA_FIXED = _CA_KEY_USAGE + _CA_BASIC_CONSTRAINTS

_SUBJECT_KEY_ID = "2.5.29.14"
_AUTHORITY_KEY_ID = "2.5.29.35"


@dataclass(frozen=True, slots=True)
class SignedCertificate:
    """A certificate just made."""

    der: bytes
    serial_number: int
    not_after: datetime


def new_serial_number() -> int:
    """A random serial number, 1 to 2^128 - 1."""
    return secrets.randbelow(2**128 - 1) + 1


class X509Signer:
    """Signs with one CA certificate and its key.

    Calls block for the time of one signature, and may come from many threads at once.

    Args:
        ca_certificate: DER of the issuing CA.
        key: its private key.

    Raises:
        InvalidArgument: the certificate is malformed, is no CA, or has another key.
    """

    def __init__(self, ca_certificate: bytes, key: PrivateKey) -> None:
        ca = CertificateFacts(ca_certificate)
        if not ca.is_ca:
            raise InvalidArgument("certificate of the signer is no CA certificate")
        if ca.public_key_der != public_key_der(key):
            raise InvalidArgument("private key does not fit the CA certificate")
        self._scheme = signature_scheme(key)
        self._issuer = ca.subject_der
        self._authority_key_id = _authority_key_id(ca.subject_key_id)
        self._not_after = ca.not_after

    def sign_svid(
        self,
        public_key: bytes,
        spiffe_id: str,
        dns_names: Sequence[str] = (),
        *,
        not_before: datetime,
        not_after: datetime,
        subject: bytes | None = None,
        extra_extensions: Sequence[bytes] = (),
    ) -> SignedCertificate:
        """Sign an X509-SVID; its lifetime ends with the CA's at the latest.

        Args:
            public_key: DER of the SubjectPublicKeyInfo, already checked, such as by `parse_csr`.
            spiffe_id: a valid SPIFFE ID with a path.
            dns_names: become DNS SANs before the URI.
            not_before: whole seconds count.
            not_after: whole seconds count.
            subject: DER; `C=US, O=SPIRE` and the first DNS name as CN where it is None.
            extra_extensions: DER of further extensions, of OIDs that stand not in every SVID.

        Raises:
            InvalidArgument: a name is not ASCII, the key is malformed or the lifetime is empty.
            FailedPrecondition: the CA expires before the lifetime begins.
        """
        if subject is None:
            subject = svid_subject(dns_names[0] if dns_names else "")
        return self._sign(
            _Request(public_key, spiffe_id, tuple(dns_names), not_before, not_after, subject),
            _SVID_FIXED,
            extra_extensions,
        )

    def sign_ca(
        self,
        public_key: bytes,
        trust_domain_id: str,
        *,
        subject: CASubject,
        not_before: datetime,
        not_after: datetime,
        extra_extensions: Sequence[bytes] = (),
    ) -> SignedCertificate:
        """Sign an intermediate CA, such as a downstream server's.

        `subject` gets the serial number of the certificate where it has none of its own.
        It raises what `sign_svid` raises.
        """
        serial_number = new_serial_number()
        return self._sign(
            _Request(
                public_key,
                trust_domain_id,
                (),
                not_before,
                not_after,
                ca_subject(subject, serial_number),
            ),
            _CA_FIXED,
            extra_extensions,
            serial_number=serial_number,
        )

    def _sign(
        self,
        request: _Request,
        fixed_extensions: bytes,
        extra_extensions: Sequence[bytes],
        serial_number: int | None = None,
    ) -> SignedCertificate:
        if request.not_before >= self._not_after:
            raise FailedPrecondition("X509 CA has expired")
        if request.not_after > self._not_after:
            request = replace(request, not_after=self._not_after)
        return _certificate(
            request,
            scheme=self._scheme,
            issuer=self._issuer,
            serial_number=serial_number or new_serial_number(),
            fixed_extensions=fixed_extensions,
            authority_key_id=self._authority_key_id,
            extra_extensions=extra_extensions,
        )


def self_signed_ca(
    key: PrivateKey,
    trust_domain_id: str,
    subject: CASubject,
    not_before: datetime,
    not_after: datetime,
) -> bytes:
    """A self-signed CA certificate as DER.

    `subject` gets the serial number of the certificate where it has none of its own.
    `trust_domain_id` is its SPIFFE ID, such as `spiffe://example.org`.

    Raises:
        InvalidArgument: the lifetime is empty.
    """
    serial_number = new_serial_number()
    name = ca_subject(subject, serial_number)
    return _certificate(
        _Request(public_key_der(key), trust_domain_id, (), not_before, not_after, name),
        scheme=signature_scheme(key),
        issuer=name,
        serial_number=serial_number,
        fixed_extensions=_CA_FIXED,
        authority_key_id=b"",
    ).der


def ca_subject(subject: CASubject, serial_number: int) -> bytes:
    """DER of a CA's subject, which gets this serial number where it has none of its own."""
    if not subject.serial_number:
        subject = replace(subject, serial_number=str(serial_number))
    return bytes(subject)


@dataclass(frozen=True, slots=True)
class _Request:
    public_key: bytes
    uri: str
    dns_names: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    subject: bytes


def _certificate(
    request: _Request,
    *,
    scheme: SignatureScheme,
    issuer: bytes,
    serial_number: int,
    fixed_extensions: bytes,
    authority_key_id: bytes,
    extra_extensions: Sequence[bytes] = (),
) -> SignedCertificate:
    """The certificate of RFC 5280 section 4.1, signed."""
    not_before, not_after = int(request.not_before.timestamp()), int(request.not_after.timestamp())
    if not_after <= not_before:
        raise InvalidArgument("certificate would end before it begins")
    extensions = der.sequence(
        fixed_extensions,
        der.extension(
            _SUBJECT_KEY_ID, der.tlv(der.OCTET_STRING, subject_key_id(request.public_key))
        ),
        authority_key_id,
        subject_alt_name(request.dns_names, request.uri, critical=request.subject == EMPTY_SUBJECT),
        *extra_extensions,
    )
    content = der.sequence(
        _VERSION_3,
        der.integer(serial_number),
        scheme.algorithm,
        issuer,
        der.sequence(der.time(not_before), der.time(not_after)),
        request.subject,
        request.public_key,
        der.tlv(0xA3, extensions),
    )
    return SignedCertificate(
        signed(scheme, content),
        serial_number,
        request.not_after.replace(microsecond=0),
    )


def _authority_key_id(key_id: bytes) -> bytes:
    return der.extension(_AUTHORITY_KEY_ID, der.sequence(der.tlv(0x80, key_id)))
