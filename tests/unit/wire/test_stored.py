from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from spire_py._proto.spire.common_pb2 import Bundle as StoredBundle
from spire_py._proto.spire.journal_pb2 import Entries, JWTKeyEntry
from spire_py.errors import Internal
from spire_py.model.ca_journal import AuthorityStatus, CAJournal, JWTKeyRecord, X509CARecord
from spire_py.spiffe.bundle import Bundle, JWTAuthority, X509Authority
from spire_py.spiffe.id import TrustDomain
from spire_py.wire.stored import (
    attributes_from_stored,
    attributes_to_stored,
    bundle_from_stored,
    bundle_to_stored,
    journal_from_stored,
    journal_to_stored,
)

TIME = datetime(2026, 6, 1, tzinfo=UTC)
BUNDLE = Bundle(
    TrustDomain("example.org"),
    (X509Authority(b"\x30\x01a", True),),
    (JWTAuthority("a", b"public", TIME, True),),
    (JWTAuthority("w", b"public"),),
    timedelta(minutes=5),
    7,
)
UNKNOWN_FIELD = b"\xfa\x3e\x03new"
"""Field 1007, which no release has, with the bytes `new`."""


def test_bundle_comes_back_as_it_was() -> None:
    assert bundle_from_stored(bundle_to_stored(BUNDLE)) == BUNDLE


def test_bundle_has_spires_fields() -> None:
    stored = StoredBundle.FromString(bundle_to_stored(BUNDLE))
    assert stored.trust_domain_id == "spiffe://example.org"
    assert stored.root_cas[0].tainted_key
    assert stored.jwt_signing_keys[0].not_after == int(TIME.timestamp())
    assert (stored.refresh_hint, stored.sequence_number) == (300, 7)


def test_what_a_newer_spire_stored_is_kept() -> None:
    former = bundle_to_stored(Bundle(BUNDLE.trust_domain, sequence_number=1)) + UNKNOWN_FIELD
    changed = bundle_to_stored(BUNDLE, former)
    assert bundle_from_stored(changed) == BUNDLE
    assert UNKNOWN_FIELD in changed


def test_certificates_stored_as_one_are_read_one_by_one() -> None:
    stored = StoredBundle(trust_domain_id="spiffe://t")
    stored.root_cas.add(der_bytes=b"\x30\x01a\x30\x01b")
    assert bundle_from_stored(stored.SerializeToString()).x509_authorities == (
        X509Authority(b"\x30\x01a"),
        X509Authority(b"\x30\x01b"),
    )


@pytest.mark.parametrize(
    "data", [b"\xff", b"", StoredBundle(trust_domain_id="T").SerializeToString()]
)
def test_what_is_no_bundle_is_refused(data: bytes) -> None:
    with pytest.raises(Internal, match="failed to unmarshal bundle"):
        bundle_from_stored(data)


@pytest.mark.parametrize(("prefetch", "jti"), [(True, False), (False, True), (True, True)])
def test_attributes_come_back_as_they_were(prefetch: bool, jti: bool) -> None:
    data = attributes_to_stored(disable_x509_svid_prefetch=prefetch, jwt_svid_include_jti=jti)
    assert attributes_from_stored(data) == (prefetch, jti)


def test_what_are_no_attributes_is_refused() -> None:
    with pytest.raises(Internal, match="could not parse cache hint flags"):
        attributes_from_stored(b"\xff")


def test_journal_comes_back_as_it_was() -> None:
    key = JWTKeyRecord("A", TIME, TIME, "kid", b"public", "kid", AuthorityStatus.ACTIVE)
    ca = X509CARecord(
        "B", TIME, TIME, b"der", "aa", AuthorityStatus.PREPARED, (b"one", b"two"), "bb"
    )
    journal = CAJournal(x509_cas=(ca, ca), jwt_keys=(key,), wit_keys=(key,))
    assert journal_from_stored(journal_to_stored(journal)) == journal


def test_status_that_nobody_knows_is_unknown() -> None:
    data = Entries(jwtKeys=[JWTKeyEntry(status=9)]).SerializeToString()  # type: ignore[arg-type]
    assert journal_from_stored(data).jwt_keys[0].status is AuthorityStatus.UNKNOWN


def test_what_is_no_journal_is_refused() -> None:
    with pytest.raises(Internal, match="unable to unmarshal entries from CA journal record"):
        journal_from_stored(b"\xff")
