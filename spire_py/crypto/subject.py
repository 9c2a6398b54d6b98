"""Subjects of certificates, encoded as Go encodes them (SPIRE's certificates are made by Go)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Self, TypeAlias

from cryptography import x509
from cryptography.x509.oid import NameOID

from spire_py.crypto import der

_PRINTABLE = re.compile(r"[A-Za-z0-9 '()+,./:=?-]*")
_COUNTRY = "2.5.4.6"
_ORGANIZATION = "2.5.4.10"
_ORGANIZATIONAL_UNIT = "2.5.4.11"
_LOCALITY = "2.5.4.7"
_PROVINCE = "2.5.4.8"
_STREET_ADDRESS = "2.5.4.9"
_POSTAL_CODE = "2.5.4.17"
_COMMON_NAME = "2.5.4.3"
_SERIAL_NUMBER = "2.5.4.5"


@dataclass(frozen=True, slots=True)
class Subject:
    """The parts of a distinguished name that SPIRE keeps; `bytes(subject)` is its DER."""

    country: tuple[str, ...] = ()
    organization: tuple[str, ...] = ()
    organizational_unit: tuple[str, ...] = ()
    locality: tuple[str, ...] = ()
    province: tuple[str, ...] = ()
    street_address: tuple[str, ...] = ()
    postal_code: tuple[str, ...] = ()
    common_name: str = ""
    serial_number: str = ""

    @classmethod
    def from_name(cls, name: x509.Name) -> Self:
        """Read a parsed name. Attributes that have no field here are dropped, as SPIRE does."""

        def texts(oid: x509.ObjectIdentifier) -> tuple[str, ...]:
            found = (attribute.value for attribute in name.get_attributes_for_oid(oid))
            return tuple(text for text in found if isinstance(text, str))

        return cls(
            country=texts(NameOID.COUNTRY_NAME),
            organization=texts(NameOID.ORGANIZATION_NAME),
            organizational_unit=texts(NameOID.ORGANIZATIONAL_UNIT_NAME),
            locality=texts(NameOID.LOCALITY_NAME),
            province=texts(NameOID.STATE_OR_PROVINCE_NAME),
            street_address=texts(NameOID.STREET_ADDRESS),
            postal_code=texts(NameOID.POSTAL_CODE),
            common_name="".join(texts(NameOID.COMMON_NAME)[-1:]),
            serial_number="".join(texts(NameOID.SERIAL_NUMBER)[-1:]),
        )

    def __bool__(self) -> bool:
        return self != Subject()

    def __bytes__(self) -> bytes:
        return _encode(self)

    def attributes(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """The attributes that are there: OID and values, in the order they are encoded."""
        fields = (
            (_COUNTRY, self.country),
            (_ORGANIZATION, self.organization),
            (_ORGANIZATIONAL_UNIT, self.organizational_unit),
            (_LOCALITY, self.locality),
            (_PROVINCE, self.province),
            (_STREET_ADDRESS, self.street_address),
            (_POSTAL_CODE, self.postal_code),
            (_COMMON_NAME, (self.common_name,) if self.common_name else ()),
            (_SERIAL_NUMBER, (self.serial_number,) if self.serial_number else ()),
        )
        return ((oid, values) for oid, values in fields if values)


CASubject: TypeAlias = Subject
"""The subject of a CA certificate; where it has no `serial_number`, the signer fills it in."""

SVID_SUBJECT = Subject(country=("US",), organization=("SPIRE",))
"""What SPIRE gives to SVIDs: `C=US, O=SPIRE`."""

DEFAULT_CA_SUBJECT = Subject(country=("US",), organization=("SPIFFE",))
"""What SPIRE gives to its CA where the config sets no `ca_subject`."""

EMPTY_SUBJECT = der.sequence()


@lru_cache(maxsize=4096)
def _encode(subject: Subject) -> bytes:
    return der.sequence(*(_rdn(oid, values) for oid, values in subject.attributes()))


def _rdn(oid: str, values: tuple[str, ...]) -> bytes:
    """One RDN, which holds all values of an attribute; a SET's members are sorted in DER."""
    members = (der.sequence(der.object_identifier(oid), _string(value)) for value in values)
    return der.tlv(der.SET, *sorted(members))


def _string(value: str) -> bytes:
    if _PRINTABLE.fullmatch(value):
        return der.tlv(der.PRINTABLE_STRING, value.encode("ascii"))
    return der.tlv(der.UTF8_STRING, value.encode("utf-8"))


@lru_cache(maxsize=4096)
def svid_subject(common_name: str = "") -> bytes:
    """DER of `C=US, O=SPIRE`, with `CN=` the first DNS name of the SVID where it has one."""
    return bytes(
        Subject(
            country=SVID_SUBJECT.country,
            organization=SVID_SUBJECT.organization,
            common_name=common_name,
        )
    )
