"""What SPIRE's database holds as messages: bundles, the CA journal, an entry's extra attributes.

Reading is liberal: a stored value was checked when it was written, by us or by SPIRE. What a newer
SPIRE added and we do not know is kept by `bundle_to_stored` when it is given the former bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.message import DecodeError

from spire_py._proto.spire import common_pb2, journal_pb2
from spire_py.crypto.concatenated import split_certificates
from spire_py.errors import Internal, InvalidArgument
from spire_py.model.ca_journal import AuthorityStatus, CAJournal, JWTKeyRecord, X509CARecord
from spire_py.model.entry import seconds_to_time, time_to_seconds
from spire_py.spiffe.bundle import Bundle, JWTAuthority, X509Authority
from spire_py.spiffe.id import TrustDomain


def bundle_to_stored(bundle: Bundle, former: bytes = b"") -> bytes:
    """The bytes of `bundles.data`; fields of the `former` bytes that we do not know stay."""
    message = common_pb2.Bundle.FromString(former)
    for field in message.DESCRIPTOR.fields:
        message.ClearField(field.name)
    message.MergeFrom(
        common_pb2.Bundle(
            trust_domain_id=str(bundle.trust_domain.id),
            root_cas=[
                common_pb2.Certificate(der_bytes=each.der, tainted_key=each.tainted)
                for each in bundle.x509_authorities
            ],
            jwt_signing_keys=_keys_to_pb(bundle.jwt_authorities),
            wit_signing_keys=_keys_to_pb(bundle.wit_authorities),
            refresh_hint=int(bundle.refresh_hint.total_seconds()),
            sequence_number=bundle.sequence_number,
        )
    )
    return message.SerializeToString()


def bundle_from_stored(data: bytes) -> Bundle:
    """The bundle in `bundles.data`.

    Raises:
        Internal: the bytes are no bundle.
    """
    try:
        message = common_pb2.Bundle.FromString(data)
        trust_domain = TrustDomain.parse(message.trust_domain_id)
        x509_authorities = tuple(
            X509Authority(der, each.tainted_key)
            for each in message.root_cas
            for der in split_certificates(each.der_bytes)
        )
    except (DecodeError, InvalidArgument) as error:
        raise Internal(f"failed to unmarshal bundle: {error}") from error
    return Bundle(
        trust_domain=trust_domain,
        x509_authorities=x509_authorities,
        jwt_authorities=_keys_from_pb(message.jwt_signing_keys),
        wit_authorities=_keys_from_pb(message.wit_signing_keys),
        refresh_hint=timedelta(seconds=message.refresh_hint),
        sequence_number=message.sequence_number,
    )


def attributes_to_stored(*, disable_x509_svid_prefetch: bool, jwt_svid_include_jti: bool) -> bytes:
    """The bytes of `registered_entries.additional_attributes`."""
    return common_pb2.RegistrationEntry.AdditionalAttributes(
        disable_x509_svid_prefetch=disable_x509_svid_prefetch,
        jwt_svid_include_jti=jwt_svid_include_jti,
    ).SerializeToString()


def attributes_from_stored(data: bytes) -> tuple[bool, bool]:
    """`disable_x509_svid_prefetch` and `jwt_svid_include_jti` of an entry.

    Raises:
        Internal: the bytes are no such message.
    """
    try:
        message = common_pb2.RegistrationEntry.AdditionalAttributes.FromString(data)
    except DecodeError as error:
        raise Internal(f"could not parse cache hint flags: {error}") from error
    return message.disable_x509_svid_prefetch, message.jwt_svid_include_jti


def journal_to_stored(journal: CAJournal) -> bytes:
    """The bytes of `ca_journals.data`."""
    return journal_pb2.Entries(
        x509CAs=[_x509_ca_to_pb(record) for record in journal.x509_cas],
        jwtKeys=[journal_pb2.JWTKeyEntry(**_key_fields(record)) for record in journal.jwt_keys],
        witKeys=[journal_pb2.WITKeyEntry(**_key_fields(record)) for record in journal.wit_keys],
    ).SerializeToString()


def journal_from_stored(data: bytes) -> CAJournal:
    """The records in `ca_journals.data`; the row's own columns are left empty.

    Raises:
        Internal: the bytes are no journal.
    """
    try:
        message = journal_pb2.Entries.FromString(data)
    except DecodeError as error:
        raise Internal(f"unable to unmarshal entries from CA journal record: {error}") from error
    return CAJournal(
        x509_cas=tuple(_x509_ca_from_pb(each) for each in message.x509CAs),
        jwt_keys=tuple(_key_from_pb(each) for each in message.jwtKeys),
        wit_keys=tuple(_key_from_pb(each) for each in message.witKeys),
    )


def _keys_to_pb(authorities: Iterable[JWTAuthority]) -> list[common_pb2.PublicKey]:
    return [
        common_pb2.PublicKey(
            pkix_bytes=each.public_key,
            kid=each.key_id,
            not_after=time_to_seconds(each.expires_at),
            tainted_key=each.tainted,
        )
        for each in authorities
    ]


def _keys_from_pb(messages: Iterable[common_pb2.PublicKey]) -> tuple[JWTAuthority, ...]:
    return tuple(
        JWTAuthority(
            key_id=each.kid,
            public_key=each.pkix_bytes,
            expires_at=seconds_to_time(each.not_after),
            tainted=each.tainted_key,
        )
        for each in messages
    )


def _x509_ca_to_pb(record: X509CARecord) -> journal_pb2.X509CAEntry:
    return journal_pb2.X509CAEntry(
        slot_id=record.slot_id,
        issued_at=time_to_seconds(record.issued_at),
        not_after=time_to_seconds(record.not_after),
        certificate=record.certificate,
        upstream_chain=record.upstream_chain,
        status=journal_pb2.Status.Name(record.status),
        authority_id=record.authority_id,
        upstream_authority_id=record.upstream_authority_id,
    )


def _x509_ca_from_pb(message: journal_pb2.X509CAEntry) -> X509CARecord:
    return X509CARecord(
        slot_id=message.slot_id,
        issued_at=_time(message.issued_at),
        not_after=_time(message.not_after),
        certificate=message.certificate,
        authority_id=message.authority_id,
        status=_status(message.status),
        upstream_chain=tuple(message.upstream_chain),
        upstream_authority_id=message.upstream_authority_id,
    )


def _key_fields(record: JWTKeyRecord) -> dict[str, Any]:
    return {
        "slot_id": record.slot_id,
        "issued_at": time_to_seconds(record.issued_at),
        "not_after": time_to_seconds(record.not_after),
        "kid": record.key_id,
        "public_key": record.public_key,
        "status": int(record.status),
        "authority_id": record.authority_id,
    }


def _key_from_pb(message: journal_pb2.JWTKeyEntry | journal_pb2.WITKeyEntry) -> JWTKeyRecord:
    return JWTKeyRecord(
        slot_id=message.slot_id,
        issued_at=_time(message.issued_at),
        not_after=_time(message.not_after),
        key_id=message.kid,
        public_key=message.public_key,
        authority_id=message.authority_id,
        status=_status(message.status),
    )


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _status(number: int) -> AuthorityStatus:
    """The status; a number that we do not know counts as unknown."""
    try:
        return AuthorityStatus(number)
    except ValueError:
        return AuthorityStatus.UNKNOWN
