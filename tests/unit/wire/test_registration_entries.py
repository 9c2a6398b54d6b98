from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spire_py._proto.spire.api.types_pb2 import SPIFFEID, Entry, Selector
from spire_py.errors import InvalidArgument
from spire_py.wire.registration_entries import entries_from_json

IDS = {"spiffe_id": "spiffe://example.org/w", "parent_id": "spiffe://example.org/p"}
PLAIN = Entry(
    spiffe_id=SPIFFEID(trust_domain="example.org", path="/w"),
    parent_id=SPIFFEID(trust_domain="example.org", path="/p"),
)


def read(**fields: object) -> list[Entry]:
    return entries_from_json(json.dumps({"entries": [IDS | fields]}))


def test_every_field_is_read() -> None:
    made = read(
        entry_id="id",
        selectors=[{"type": "unix", "value": "uid:1"}],
        x509_svid_ttl=60,
        jwt_svid_ttl=30,
        federates_with=["spiffe://other.org", "third.org"],
        admin=True,
        downstream=True,
        entryExpiry=1_800_000_000,
        dns_names=["a.org"],
        store_svid=True,
        hint="hint",
        additional_attributes={"disable_x509_svid_prefetch": True, "jwt_svid_include_jti": True},
    )
    expected = Entry(
        id="id",
        selectors=[Selector(type="unix", value="uid:1")],
        x509_svid_ttl=60,
        jwt_svid_ttl=30,
        federates_with=["other.org", "third.org"],
        admin=True,
        downstream=True,
        expires_at=1_800_000_000,
        dns_names=["a.org"],
        store_svid=True,
        hint="hint",
    )
    expected.additional_attributes.disable_x509_svid_prefetch = True
    expected.additional_attributes.jwt_svid_include_jti = True
    expected.MergeFrom(PLAIN)
    assert made == [expected]


def test_names_are_read_as_go_reads_them() -> None:
    upper = {name.upper(): value for name, value in IDS.items()}
    text = json.dumps({"Entries": [upper | {"EntryExpiry": 5, "new_field": 1, "hint": None}]})
    assert entries_from_json(text) == [Entry(expires_at=5, **_ids())]


def _ids() -> dict[str, SPIFFEID]:
    return {"spiffe_id": PLAIN.spiffe_id, "parent_id": PLAIN.parent_id}


@pytest.mark.parametrize("text", ["{}", '{"entries": null}', '{"entries": []}'])
def test_file_may_have_no_entries(text: str) -> None:
    assert entries_from_json(text) == []


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"spiffe_id": "x"}, "invalid SPIFFE ID: scheme is missing or invalid"),
        ({"parent_id": ""}, "invalid parent ID: cannot be empty"),
        ({"federates_with": ["A"]}, "invalid federated trust domain: trust domain characters"),
        ({"federates_with": "a"}, "federates_with must be a list"),
        ({"dns_names": [1]}, "dns_names must be a list of strings"),
        ({"hint": 5}, "hint must be a string"),
        ({"admin": "true"}, "admin must be true or false"),
        ({"admin": 1}, "admin must be true or false"),
        ({"x509_svid_ttl": "60"}, "x509_svid_ttl must be an integer"),
        ({"x509_svid_ttl": True}, "x509_svid_ttl must be an integer of 32 bits"),
        ({"x509_svid_ttl": 2**31}, "x509_svid_ttl must be an integer of 32 bits"),
        ({"entryExpiry": 2**63}, "entryExpiry must be an integer of 64 bits"),
        ({"entryExpiry": 1.5}, "entryExpiry must be an integer"),
        ({"selectors": ["unix:uid:1"]}, "each of selectors must be an object"),
        ({"additional_attributes": []}, "additional_attributes must be an object"),
    ],
)
def test_what_has_the_wrong_type_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        read(**fields)
    assert refusal.value.message.startswith(message)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "5", '{"entries": {}}', '{"entries": [[]]}', "[" * 100_000, b"\xff"]
)
def test_what_is_no_such_file_is_refused(text: str | bytes) -> None:
    with pytest.raises(InvalidArgument):
        entries_from_json(text)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(["entries", "selectors", "spiffe_id", "type", "hint"]), inner
        )
    ),
)


@given(_JSON)
def test_any_json_is_read_or_refused(document: object) -> None:
    with suppress(InvalidArgument):
        entries_from_json(json.dumps({"entries": [document]}))
