"""The files of `entry create -data` and `entry update -data` (feature E6).

They are JSON with the field names of `spire.common.RegistrationEntry`. As in SPIRE, case does not
count in names, and a name that nobody knows is passed over.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from spire_py._proto.spire.api import types_pb2
from spire_py.errors import InvalidArgument
from spire_py.spiffe.id import SpiffeID, TrustDomain
from spire_py.wire.spiffe_ids import id_to_pb
from spire_py.wire.status import prefixing

_INT32 = 2**31 - 1
_INT64 = 2**63 - 1

T = TypeVar("T")


def entries_from_json(text: str | bytes) -> list[types_pb2.Entry]:
    """The entries in a file, as the API takes them.

    Raises:
        InvalidArgument: it is no JSON, a value has the wrong type, or an ID is not valid.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"malformed JSON: {error}") from error
    entries = _Fields(document, "the file").objects("entries")
    return [_entry(fields) for fields in entries]


def _entry(fields: _Fields) -> types_pb2.Entry:
    entry = types_pb2.Entry(
        id=fields.text("entry_id"),
        spiffe_id=id_to_pb(_parsed("invalid SPIFFE ID", SpiffeID.parse, fields.text("spiffe_id"))),
        parent_id=id_to_pb(_parsed("invalid parent ID", SpiffeID.parse, fields.text("parent_id"))),
        selectors=[
            types_pb2.Selector(type=each.text("type"), value=each.text("value"))
            for each in fields.objects("selectors")
        ],
        x509_svid_ttl=fields.integer("x509_svid_ttl", _INT32),
        jwt_svid_ttl=fields.integer("jwt_svid_ttl", _INT32),
        federates_with=[
            _parsed("invalid federated trust domain", TrustDomain.parse, name).name
            for name in fields.texts("federates_with")
        ],
        admin=fields.flag("admin"),
        downstream=fields.flag("downstream"),
        expires_at=fields.integer("entryExpiry", _INT64),
        dns_names=fields.texts("dns_names"),
        revision_number=fields.integer("revision_number", _INT64),
        store_svid=fields.flag("store_svid"),
        hint=fields.text("hint"),
        created_at=fields.integer("created_at", _INT64),
    )
    attributes = fields.object("additional_attributes")
    if attributes is not None:
        entry.additional_attributes.disable_x509_svid_prefetch = attributes.flag(
            "disable_x509_svid_prefetch"
        )
        entry.additional_attributes.jwt_svid_include_jti = attributes.flag("jwt_svid_include_jti")
    return entry


def _parsed(what: str, parse: Callable[[str], T], text: str) -> T:
    with prefixing(what):
        return parse(text)


class _Fields:
    """A JSON object, read as Go reads one: names in any case, null as if absent."""

    def __init__(self, value: Any, where: str) -> None:
        if not isinstance(value, Mapping):
            raise InvalidArgument(f"{where} must be an object")
        self._values = {name.lower(): each for name, each in value.items() if each is not None}

    def text(self, name: str) -> str:
        return self._get(name, str, "a string", "")

    def flag(self, name: str) -> bool:
        return self._get(name, bool, "true or false", False)

    def integer(self, name: str, limit: int) -> int:
        value = self._get(name, int, "an integer", 0)
        if isinstance(value, bool) or not -limit - 1 <= value <= limit:
            raise InvalidArgument(f"{name} must be an integer of {limit.bit_length() + 1} bits")
        return value

    def texts(self, name: str) -> list[str]:
        values = self._get(name, list, "a list", [])
        if not all(isinstance(each, str) for each in values):
            raise InvalidArgument(f"{name} must be a list of strings")
        return values

    def object(self, name: str) -> _Fields | None:
        value = self._values.get(name.lower())
        return None if value is None else _Fields(value, name)

    def objects(self, name: str) -> list[_Fields]:
        return [_Fields(each, f"each of {name}") for each in self._get(name, list, "a list", [])]

    def _get(self, name: str, kind: type[T], what: str, default: T) -> T:
        value = self._values.get(name.lower(), default)
        if not isinstance(value, kind):
            raise InvalidArgument(f"{name} must be {what}")
        return value
