"""The entries an agent is entitled to, and their ready-made encodings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from spire_py._proto.spire.api.server import entry_pb2
from spire_py.model.entry import Entry
from spire_py.server.entry_cache.cached_entry import AGENT_FIELDS, CachedEntry, known_fields
from spire_py.wire.entries import ALL_FIELDS
from spire_py.wire.masks import Fields

PAGE_SIZE = 500
"""Most entries, or revisions, in one message of a sync, as SPIRE's server sends."""


class AuthorizedEntries:
    """A snapshot, sorted by entry ID. It never changes; the index makes a new one instead.

    `parents` are the paths that were looked below: a change of what hangs below any of them
    makes the snapshot out of date. `valid_until` is when the first of the entries expires.
    """

    __slots__ = ("_encoded", "_position_of", "_revisions", "entries", "parents", "valid_until")

    def __init__(self, entries: Iterable[CachedEntry], parents: frozenset[str]) -> None:
        self.entries = sorted(entries, key=lambda item: item.entry.id)
        self.parents = parents
        expiries = [e.entry.expires_at for e in self.entries if e.entry.expires_at is not None]
        self.valid_until: datetime | None = min(expiries, default=None)
        self._position_of: dict[str, int] | None = None
        self._revisions: list[bytes] | None = None
        self._encoded: dict[Fields, list[bytes]] = {}

    def __len__(self) -> int:
        return len(self.entries)

    def entry(self, entry_id: str) -> Entry | None:
        position = self._positions().get(entry_id)
        return None if position is None else self.entries[position].entry

    def joined(self, fields: Fields | None, tag: bytes) -> bytes:
        """All entries, each as an embedded message field with this tag."""
        return _join(self._encodings(known_fields(fields)), tag)

    def joined_pages(self, ids: Iterable[str], fields: Fields | None, tag: bytes) -> list[bytes]:
        """As `joined`, those of these IDs alone, a page each; one empty page where there are none.

        They are in the order of their IDs, and each is given once.
        """
        positions = self._positions()
        found = sorted({positions[entry_id] for entry_id in ids if entry_id in positions})
        known = known_fields(fields)
        if known is AGENT_FIELDS:
            all_encodings = self._encodings(known)
            encodings = [all_encodings[position] for position in found]
        else:
            encodings = [self.entries[position].encoded(known) for position in found]
        pages = range(0, len(found), PAGE_SIZE)
        return [_join(encodings[start : start + PAGE_SIZE], tag) for start in pages] or [b""]

    def revision_pages(self) -> list[bytes]:
        """All revisions as encoded `SyncAuthorizedEntriesResponse`s; `more` is set but in the last.

        Made once, because an agent whose entries did not change asks for nothing else.
        """
        if self._revisions is None:
            pages = range(0, len(self.entries), PAGE_SIZE)
            self._revisions = [
                _revision_page(
                    self.entries[start : start + PAGE_SIZE],
                    more=start + PAGE_SIZE < len(self.entries),
                )
                for start in pages
            ]
        return self._revisions

    def _positions(self) -> dict[str, int]:
        if self._position_of is None:
            self._position_of = {item.entry.id: at for at, item in enumerate(self.entries)}
        return self._position_of

    def _encodings(self, known: Fields) -> list[bytes]:
        encodings = self._encoded.get(known)
        if encodings is None:
            encodings = [entry.encoded(known) for entry in self.entries]
            if known is ALL_FIELDS or known is AGENT_FIELDS:
                self._encoded[known] = encodings
        return encodings


def _join(encodings: Sequence[bytes], tag: bytes) -> bytes:
    return tag + tag.join(encodings) if encodings else b""


def _revision_page(entries: Sequence[CachedEntry], *, more: bool) -> bytes:
    response = entry_pb2.SyncAuthorizedEntriesResponse(more=more)
    for entry in entries:
        entry_id, revision_number, created_at = entry.revision()
        response.entry_revisions.add(
            id=entry_id, revision_number=revision_number, created_at=created_at
        )
    return response.SerializeToString()
