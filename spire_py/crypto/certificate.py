"""What is to be known of an X.509 certificate, parsed once."""

from __future__ import annotations

from datetime import datetime
from ipaddress import IPv4Address, IPv6Address
from typing import TypeVar

from cryptography import x509
from cryptography.x509.oid import NameOID

from spire_py.crypto.der import check_signature_bits, subject_and_issuer
from spire_py.crypto.keys import PublicKey, check_public_key, public_key_der, subject_key_id
from spire_py.crypto.parse_errors import PARSE_ERRORS, reason
from spire_py.crypto.subject import Subject
from spire_py.errors import InvalidArgument

MAX_CERTIFICATE_BYTES = 64 * 1024
"""The longest certificate read, as DER."""

_FAULTS: tuple[type[Exception], ...] = (InvalidArgument, *PARSE_ERRORS)
_GO_NAMES = {NameOID.SERIAL_NUMBER: "SERIALNUMBER"}
_ExtensionT = TypeVar("_ExtensionT", bound=x509.ExtensionType)


class InvalidCertificate(InvalidArgument):
    """Bytes are no X.509 certificate that we can use."""


def load_certificate(der: bytes) -> x509.Certificate:
    """Parse one certificate, extensions and all; nothing may follow it.

    Raises:
        InvalidCertificate: it is malformed or too long.
    """
    if len(der) > MAX_CERTIFICATE_BYTES:
        raise InvalidCertificate("certificate is too long")
    try:
        certificate = x509.load_der_x509_certificate(der)
        _ = certificate.extensions
        _ = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        serial_number = certificate.serial_number
        check_signature_bits(der)
    except _FAULTS as error:
        raise InvalidCertificate(f"certificate is malformed: {reason(error)}") from error
    if serial_number <= 0:
        raise InvalidCertificate("certificate is malformed: serial number is not positive")
    return certificate


class CertificateFacts:
    """The facts of one certificate. It is well formed; nothing is verified.

    Raises:
        InvalidCertificate: at construction, it is malformed.
    """

    __slots__ = ("_certificate", "der")

    def __init__(self, der: bytes) -> None:
        self.der = der
        self._certificate = load_certificate(der)

    @property
    def certificate(self) -> x509.Certificate:
        return self._certificate

    @property
    def serial_number(self) -> int:
        return self._certificate.serial_number

    @property
    def not_before(self) -> datetime:
        return self._certificate.not_valid_before_utc

    @property
    def not_after(self) -> datetime:
        return self._certificate.not_valid_after_utc

    @property
    def subject(self) -> Subject:
        """The subject.

        Raises:
            InvalidCertificate: it is malformed.
        """
        try:
            return Subject.from_name(self._certificate.subject)
        except PARSE_ERRORS as error:
            raise InvalidCertificate(f"subject is malformed: {reason(error)}") from error

    @property
    def subject_text(self) -> str:
        """The subject as Go prints it: by RFC 4514, and what that does not name by Go's names."""
        return self._certificate.subject.rfc4514_string(_GO_NAMES)

    @property
    def subject_der(self) -> bytes:
        return subject_and_issuer(self.der)[0]

    @property
    def issuer_der(self) -> bytes:
        return subject_and_issuer(self.der)[1]

    @property
    def public_key(self) -> PublicKey:
        """The key.

        Raises:
            InvalidArgument: it is of a kind or size we do not use.
        """
        try:
            return check_public_key(self._certificate.public_key())
        except PARSE_ERRORS as error:
            raise InvalidCertificate("public key of certificate is malformed") from error

    @property
    def public_key_der(self) -> bytes:
        return public_key_der(self.public_key)

    @property
    def subject_key_id(self) -> bytes:
        """The subject key identifier, computed as SPIRE does where the certificate has none."""
        found = self._extension(x509.SubjectKeyIdentifier)
        return found.digest if found else subject_key_id(self.public_key_der)

    @property
    def authority_id(self) -> str:
        """The ID SPIRE gives to an X.509 authority: the hex of its subject key identifier."""
        return self.subject_key_id.hex()

    @property
    def authority_key_id(self) -> bytes | None:
        found = self._extension(x509.AuthorityKeyIdentifier)
        return found.key_identifier if found else None

    @property
    def uris(self) -> tuple[str, ...]:
        found = self._extension(x509.SubjectAlternativeName)
        if found is None:
            return ()
        return tuple(found.get_values_for_type(x509.UniformResourceIdentifier))

    @property
    def dns_names(self) -> tuple[str, ...]:
        found = self._extension(x509.SubjectAlternativeName)
        return tuple(found.get_values_for_type(x509.DNSName)) if found else ()

    @property
    def ip_addresses(self) -> tuple[IPv4Address | IPv6Address, ...]:
        found = self._extension(x509.SubjectAlternativeName)
        names = found.get_values_for_type(x509.IPAddress) if found else []
        return tuple(name for name in names if isinstance(name, IPv4Address | IPv6Address))

    @property
    def is_ca(self) -> bool:
        found = self._extension(x509.BasicConstraints)
        return found is not None and found.ca

    @property
    def key_usage(self) -> x509.KeyUsage | None:
        return self._extension(x509.KeyUsage)

    def _extension(self, kind: type[_ExtensionT]) -> _ExtensionT | None:
        try:
            return self._certificate.extensions.get_extension_for_class(kind).value
        except x509.ExtensionNotFound:
            return None
