"""One entry in memory, with its encodings made once (docs/decisions/0007)."""

from __future__ import annotations

from spire_py.model.entry import Entry, time_to_seconds
from spire_py.wire.entries import ALL_FIELDS, entry_to_pb
from spire_py.wire.masks import Fields

AGENT_FIELDS: Fields = frozenset(
    {
        "spiffe_id",
        "selectors",
        "federates_with",
        "admin",
        "downstream",
        "revision_number",
        "store_svid",
        "hint",
        "additional_attributes",
        "created_at",
    }
)
"""The fields that SPIRE's agent asks for when it syncs."""


def length_prefixed(message: bytes) -> bytes:
    """A message as it stands behind the tag of an embedded message field."""
    rest = len(message)
    prefix = bytearray()
    while rest > 0x7F:
        prefix.append(rest & 0x7F | 0x80)
        rest >>= 7
    prefix.append(rest)
    return bytes(prefix) + message


def known_fields(fields: Fields | None) -> Fields:
    """The same fields, as the very object whose encodings are kept where they are kept."""
    if fields is None or fields == ALL_FIELDS:
        return ALL_FIELDS
    return AGENT_FIELDS if fields == AGENT_FIELDS else fields


class CachedEntry:
    """An entry and its encodings, each made when it is first asked for.

    Only the whole entry and what agents ask for are kept: a caller that varies its mask cannot
    fill the memory.
    """

    __slots__ = ("_for_agents", "_whole", "entry")

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self._whole: bytes | None = None
        self._for_agents: bytes | None = None

    def encoded(self, fields: Fields) -> bytes:
        """The entry as `spire.api.types.Entry` with its length before it, no more than `fields`.

        Args:
            fields: as `known_fields` returned it.
        """
        if fields is AGENT_FIELDS:
            if self._for_agents is None:
                self._for_agents = self._encode(AGENT_FIELDS)
            return self._for_agents
        if fields is ALL_FIELDS:
            if self._whole is None:
                self._whole = self._encode(ALL_FIELDS)
            return self._whole
        return self._encode(fields)

    def revision(self) -> tuple[str, int, int]:
        """What an agent compares: ID, revision number, creation time in unix seconds."""
        entry = self.entry
        return entry.id, entry.revision_number, time_to_seconds(entry.created_at)

    def _encode(self, fields: Fields) -> bytes:
        return length_prefixed(entry_to_pb(self.entry, fields).SerializeToString())
