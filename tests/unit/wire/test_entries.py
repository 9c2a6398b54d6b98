from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from spire_py._proto.spire.api.types_pb2 import SPIFFEID, EntryMask, Selector
from spire_py._proto.spire.api.types_pb2 import Entry as EntryMessage
from spire_py.errors import InvalidArgument
from spire_py.model.entry import Entry
from spire_py.model.selector import Selector as ModelSelector
from spire_py.spiffe.id import TrustDomain
from spire_py.wire.entries import (
    ALL_FIELDS,
    entry_from_pb,
    entry_to_pb,
)
from spire_py.wire.masks import apply_mask, fields_of

TD = TrustDomain("example.org")
OTHER = TrustDomain("other.org")
ENTRY = Entry(
    id="id",
    spiffe_id=TD.member("/workload"),
    parent_id=TD.member("/spire/agent/x"),
    selectors=(ModelSelector("a", "1"), ModelSelector("b", "2:3")),
    x509_svid_ttl=timedelta(hours=1),
    jwt_svid_ttl=timedelta(minutes=5),
    federates_with=(OTHER,),
    admin=True,
    downstream=True,
    store_svid=True,
    expires_at=datetime(2026, 6, 1, tzinfo=UTC),
    dns_names=("z.org", "a.org"),
    hint="hint",
    disable_x509_svid_prefetch=True,
    jwt_svid_include_jti=True,
    revision_number=7,
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
)
PLAIN = Entry(TD.member("/w"), TD.member("/p"), (ModelSelector("a", "1"),))


def message(**changes: object) -> EntryMessage:
    made = entry_to_pb(ENTRY)
    made.MergeFrom(EntryMessage(**changes))  # type: ignore[arg-type]
    return made


@pytest.mark.parametrize("entry", [ENTRY, PLAIN])
def test_given_entry_is_read_without_what_the_datastore_sets(entry: Entry) -> None:
    assert entry_from_pb(entry_to_pb(entry), TD) == replace(
        entry, revision_number=0, created_at=None
    )


def test_what_the_datastore_sets_is_told() -> None:
    made = entry_to_pb(ENTRY)
    assert (made.revision_number, made.created_at) == (7, 1767225600)


def test_plain_entry_has_no_additional_attributes() -> None:
    assert not entry_to_pb(PLAIN).HasField("additional_attributes")
    assert entry_to_pb(ENTRY).HasField("additional_attributes")


@given(st.sets(st.sampled_from(sorted(ALL_FIELDS))))
def test_encoded_entry_has_what_the_mask_names_and_the_id(fields: set[str]) -> None:
    mask = EntryMask(**dict.fromkeys(fields, True))
    expected = entry_to_pb(ENTRY)
    apply_mask(expected, mask)
    assert entry_to_pb(ENTRY, fields_of(mask)) == expected
    assert expected.id == "id"
    assert {field.name for field, _ in expected.ListFields()} == fields | {"id"}


def test_entry_without_a_mask_is_encoded_whole() -> None:
    assert {field.name for field, _ in entry_to_pb(ENTRY).ListFields()} == ALL_FIELDS | {"id"}


def test_sets_are_sorted_and_hold_nothing_twice() -> None:
    given_entry = message(
        selectors=[Selector(type="a", value="0"), Selector(type="b", value="2:3")],
        federates_with=["spiffe://other.org", "another.org"],
        dns_names=["z.org", "b.org"],
    )
    read = entry_from_pb(given_entry, TD)
    assert [str(each) for each in read.selectors] == ["a:0", "a:1", "b:2:3"]
    assert [each.name for each in read.federates_with] == ["another.org", "other.org"]
    assert read.dns_names == ("z.org", "a.org", "b.org")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        pytest.param(
            {"spiffe_id": SPIFFEID(path="/spire/x")},
            'invalid spiffe ID: "spiffe://example.org/spire/x" is not a workload in trust domain '
            '"example.org"; path is in the reserved namespace',
            id="reserved",
        ),
        pytest.param(
            {"spiffe_id": SPIFFEID(path="x")},
            "invalid spiffe ID: path must have a leading slash",
            id="path",
        ),
        pytest.param(
            {"parent_id": SPIFFEID(trust_domain="other.org")},
            'invalid parent ID: "spiffe://other.org/spire/agent/x" is not a member of trust domain '
            '"example.org"',
            id="foreign parent",
        ),
        pytest.param(
            {"selectors": [Selector(value="x")]}, "missing selector type", id="selector type"
        ),
        pytest.param(
            {"selectors": [Selector(type="x")]}, "missing selector value", id="selector value"
        ),
        pytest.param(
            {"selectors": [Selector(type="a:b", value="x")]},
            "selector type contains ':'",
            id="colon",
        ),
        pytest.param(
            {"federates_with": ["Bad"]},
            "invalid federated trust domain: trust domain characters are limited to lowercase "
            "letters, numbers, dots, dashes, and underscores",
            id="trust domain",
        ),
        pytest.param(
            {"dns_names": ["a.*"]}, "invalid DNS name: wildcard must be first label", id="DNS name"
        ),
        pytest.param(
            {"hint": "x" * 1025},
            "hint is too long, max length is 1024 characters",
            id="long hint",
        ),
        pytest.param(
            {"hint": "é" * 513},
            "hint is too long, max length is 1024 characters",
            id="hint of too many bytes",
        ),
        pytest.param(
            {"expires_at": 2**62}, "invalid expiration time: out of range", id="far expiry"
        ),
        pytest.param(
            {"expires_at": -1}, "invalid expiration time: out of range", id="negative expiry"
        ),
    ],
)
def test_what_is_not_acceptable_is_refused(changes: dict[str, object], text: str) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        entry_from_pb(message(**changes), TD)
    assert refusal.value.message == text


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("spiffe_id", "invalid spiffe ID: request must specify SPIFFE ID"),
        ("parent_id", "invalid parent ID: request must specify SPIFFE ID"),
        ("selectors", "selector list is empty"),
    ],
)
def test_what_must_be_there_is_asked_for(field: str, text: str) -> None:
    given_entry = message()
    given_entry.ClearField(field)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument) as refusal:
        entry_from_pb(given_entry, TD)
    assert refusal.value.message == text


def test_fields_outside_the_mask_are_not_looked_at() -> None:
    given_entry = message(dns_names=["*.*"], federates_with=["Bad"], hint="new")
    given_entry.ClearField("spiffe_id")
    given_entry.parent_id.path = "bad"
    read = entry_from_pb(given_entry, TD, EntryMask(hint=True, admin=True))
    assert read == Entry(TD.id, TD.id, id="id", hint="new", admin=True)
    assert given_entry.dns_names[-1] == "*.*"


@pytest.mark.spec(99)
def test_hint_may_have_1024_bytes() -> None:
    assert entry_from_pb(message(hint="é" * 512), TD).hint == "é" * 512


@given(st.binary(max_size=300))
def test_any_message_is_read_or_refused(data: bytes) -> None:
    with suppress(DecodeError, InvalidArgument):
        entry_from_pb(EntryMessage.FromString(data), TD)
