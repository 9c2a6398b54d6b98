"""Finds the entries that match a workload."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from spire_py.agent.authorized_entry import AuthorizedEntry
from spire_py.model.selector import Selector


class EntryIndex:
    """The entries this agent is entitled to, found by the selectors of a workload.

    An entry matches when each of its selectors is among the workload's (feature N3). It is filed
    under one selector only: the one that the fewest entries have. A lookup reads one short list
    for each selector of the workload, however many entries there are.
    """

    def __init__(self) -> None:
        self._entries: dict[str, AuthorizedEntry] = {}
        self._filed_under: dict[str, Selector] = {}
        self._files: dict[Selector, dict[str, AuthorizedEntry]] = {}
        self._use: Counter[Selector] = Counter()

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[AuthorizedEntry]:
        return iter(self._entries.values())

    def get(self, entry_id: str) -> AuthorizedEntry | None:
        return self._entries.get(entry_id)

    def replace(self, entries: Mapping[str, AuthorizedEntry]) -> bool:
        """Take `entries` as the whole state, and tell whether anything changed.

        Those that are the same objects as before cost next to nothing.
        """
        gone = [entry_id for entry_id in self._entries if entry_id not in entries]
        changed = [
            entry for entry_id, entry in entries.items() if self._entries.get(entry_id) is not entry
        ]
        for entry_id in gone:
            self._remove(entry_id)
        for entry in changed:
            self._remove(entry.id)
            self._use.update(entry.selectors)
        # Filed only once all are counted: the first of many would take a common selector for rare.
        for entry in changed:
            self._file(entry)
        return bool(gone or changed)

    def match(self, selectors: frozenset[Selector]) -> tuple[AuthorizedEntry, ...]:
        """The entries for a workload with these selectors, sorted by entry ID."""
        found = [
            entry
            for selector in selectors
            if (file := self._files.get(selector))
            for entry in file.values()
            if entry.selectors <= selectors
        ]
        found.sort(key=_entry_id)
        return tuple(found)

    def _file(self, entry: AuthorizedEntry) -> None:
        rarest = min(entry.selectors, key=self._use.__getitem__)
        self._entries[entry.id] = entry
        self._filed_under[entry.id] = rarest
        self._files.setdefault(rarest, {})[entry.id] = entry

    def _remove(self, entry_id: str) -> None:
        entry = self._entries.pop(entry_id, None)
        if entry is None:
            return
        selector = self._filed_under.pop(entry_id)
        file = self._files[selector]
        del file[entry_id]
        if not file:
            del self._files[selector]
        for used in entry.selectors:
            self._use[used] -= 1
            if not self._use[used]:
                del self._use[used]


def _entry_id(entry: AuthorizedEntry) -> str:
    return entry.id
