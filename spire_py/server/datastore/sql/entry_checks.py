"""What an entry must be like to be stored; the wording is that of SPIRE's datastore.

The API has checked the rest when it converted the entry (`wire/entries.py`). The API layer puts
`failed to create entry: ` or `failed to update entry: ` before these sentences.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from spire_py.errors import InvalidArgument
from spire_py.model.entry import Entry
from spire_py.model.selector import Selector
from spire_py.spiffe.id import MAX_ID_BYTES

_ENTRY_ID = re.compile(r"[-._0-9A-Za-z]*")
_MAX_ENTRY_ID = 255
_MAX_TTL_SECONDS = 2**31 - 1


def check_new(entry: Entry) -> None:
    """Check an entry that is to be created.

    Raises:
        InvalidArgument: it is not acceptable.
    """
    if not entry.selectors:
        raise _invalid("missing selector list")
    if entry.store_svid:
        if entry.disable_x509_svid_prefetch:
            raise _refusal("specifying cache behaviour is incompatible with storable SVIDs")
        check_selector_types(entry.selectors)
    if len(entry.id.encode()) > _MAX_ENTRY_ID:
        raise _invalid("entry ID too long")
    if not _ENTRY_ID.fullmatch(entry.id):
        raise _invalid("entry ID contains invalid characters")
    _check_ids_and_ttls(entry)


def check_changed(entry: Entry) -> None:
    """Check what an entry becomes by an update.

    Raises:
        InvalidArgument: it is not acceptable.
    """
    if not entry.selectors:
        raise _invalid("missing selector list")
    if entry.store_svid:
        check_selector_types(entry.selectors)
    _check_ids_and_ttls(entry)


def check_selector_types(selectors: Iterable[Selector]) -> None:
    """A stored SVID goes to one place, so its entry has selectors of one type only."""
    if len({selector.type for selector in selectors}) > 1:
        raise _invalid("selector types must be the same when store SVID is enabled")


def _check_ids_and_ttls(entry: Entry) -> None:
    for name, spiffe_id in (("SPIFFE ID", entry.spiffe_id), ("parent ID", entry.parent_id)):
        if len(str(spiffe_id)) > MAX_ID_BYTES:
            raise _invalid(f"{name} is longer than {MAX_ID_BYTES} bytes")
    check_ttls(entry)


def check_ttls(entry: Entry) -> None:
    """Check what an entry says of lifetimes.

    Raises:
        InvalidArgument: it is not acceptable.
    """
    for name, ttl in (("X509SvidTtl", entry.x509_svid_ttl), ("JwtSvidTtl", entry.jwt_svid_ttl)):
        if not 0 <= ttl.total_seconds() <= _MAX_TTL_SECONDS:
            raise _invalid(f"{name} is not set")


def _invalid(what: str) -> InvalidArgument:
    return _refusal(f"invalid registration entry: {what}")


def _refusal(sentence: str) -> InvalidArgument:
    return InvalidArgument(f"datastore-validation: {sentence}")
