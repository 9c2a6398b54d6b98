"""Objects with resource versions, who owns their fields, and the history that watches read."""

from __future__ import annotations

import copy
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tests.fakes.kubernetes.errors import Refusal, bad_request, conflict, invalid, not_found
from tests.fakes.kubernetes.kinds import Kind
from tests.fakes.kubernetes.patches import APPLY, Path, apply_patch, leaves, remove_leaf, set_leaf
from tests.fakes.kubernetes.selectors import Matches

Document = dict[str, Any]
_KEPT = ("name", "namespace", "uid", "creationTimestamp")
_UNOWNED = {("apiVersion",), ("kind",), *(("metadata", key) for key in (*_KEPT, "resourceVersion"))}


@dataclass(frozen=True)
class Key:
    kind: Kind
    namespace: str
    name: str


@dataclass(frozen=True)
class Change:
    """An object before and after; None where it was not there."""

    version: int
    key: Key
    before: Document | None
    after: Document | None

    def seen_through(self, matches: Matches) -> tuple[str, Document] | None:
        """The event for a watch of the objects that match."""
        was = self.before is not None and matches(self.before)
        if self.after is not None and matches(self.after):
            return ("MODIFIED" if was else "ADDED"), self.after
        if was and self.before is not None:
            gone = copy.deepcopy(self.after or self.before)
            gone["metadata"]["resourceVersion"] = str(self.version)
            return "DELETED", gone
        return None


class Store:
    """All objects. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._condition = threading.Condition(threading.RLock())
        self._version = 100
        self._oldest = 100
        self._objects: dict[Key, Document] = {}
        self._owners: dict[Key, dict[str, set[Path]]] = {}
        self._history: list[Change] = []

    @property
    def version(self) -> int:
        return self._version

    def get(self, key: Key) -> Document:
        with self._condition:
            if key not in self._objects:
                raise not_found(key.kind.resource, key.name)
            return copy.deepcopy(self._objects[key])

    def has(self, key: Key) -> bool:
        with self._condition:
            return key in self._objects

    def list(self, kind: Kind, namespace: str, matches: Matches) -> tuple[list[Document], int]:
        with self._condition:
            found = [
                copy.deepcopy(document)
                for key, document in sorted(
                    self._objects.items(), key=lambda item: (item[0].namespace, item[0].name)
                )
                if key.kind == kind and namespace in ("", key.namespace) and matches(document)
            ]
            return found, self._version

    def create(self, kind: Kind, namespace: str, body: Document, manager: str) -> Document:
        with self._condition:
            metadata = body.get("metadata") or {}
            name = metadata.get("name") or ""
            if not name and metadata.get("generateName"):
                name = metadata["generateName"] + uuid.uuid4().hex[:5]
            if not name:
                raise invalid("name or generateName is required")
            key = Key(kind, namespace, name)
            if key in self._objects:
                raise Refusal(409, "AlreadyExists", f'{kind.resource} "{name}" already exists')
            return self._write(key, copy.deepcopy(body), manager)

    def replace(self, key: Key, body: Document, manager: str) -> Document:
        with self._condition:
            self._check_version(key, self.get(key), body)
            return self._write(key, copy.deepcopy(body), manager)

    def patch(self, key: Key, patch: Any, content_type: str, manager: str) -> Document:
        with self._condition:
            before = self.get(key)
            after = apply_patch(before, patch, content_type)
            self._check_version(key, before, after)
            return self._write(key, after, manager)

    def apply(self, key: Key, body: Document, manager: str, force: bool) -> tuple[Document, bool]:
        """Server-side apply; also whether the object is new."""
        with self._condition:
            if not manager:
                raise bad_request("PatchOptions.meta.k8s.io is invalid: fieldManager is required")
            if "managedFields" in (body.get("metadata") or {}):
                raise bad_request("metadata.managedFields must be nil")
            is_new = key not in self._objects
            before: Document = {} if is_new else self.get(key)
            if (body.get("metadata") or {}).get("resourceVersion"):
                self._check_version(key, before, body)
            wanted = {path: one for path, one in leaves(body).items() if path not in _UNOWNED}
            owners = {name: set(paths) for name, paths in self._owners.get(key, {}).items()}
            self._check_owners(key, before, wanted, owners, manager, force)
            after = copy.deepcopy(before)
            for path in owners.get(manager, set()) - set(wanted):
                if not any(path in paths for name, paths in owners.items() if name != manager):
                    remove_leaf(after, path)
            for path, value in wanted.items():
                set_leaf(after, path, value)
            owners[manager] = set(wanted)
            return self._write(key, after, APPLY, owners), is_new

    def _check_owners(
        self,
        key: Key,
        before: Document,
        wanted: dict[Path, Any],
        owners: dict[str, set[Path]],
        manager: str,
        force: bool,
    ) -> None:
        present = leaves(before)
        for name, paths in owners.items():
            clash = {
                path
                for path in paths & set(wanted)
                if name != manager and present.get(path) != wanted[path]
            }
            if clash and not force:
                path = min(clash)
                raise Refusal(
                    409,
                    "Conflict",
                    f'Apply failed with 1 conflict: conflict with "{name}": .{".".join(path)}',
                )
            paths.difference_update(clash)

    def _check_version(self, key: Key, before: Document, after: Document) -> None:
        wanted = (after.get("metadata") or {}).get("resourceVersion")
        current = (before.get("metadata") or {}).get("resourceVersion")
        if wanted and wanted != current:
            raise conflict(key.kind.resource, key.name)

    def _write(
        self,
        key: Key,
        body: Document,
        manager: str,
        owners: dict[str, set[Path]] | None = None,
    ) -> Document:
        before = self._objects.get(key)
        metadata = dict(body.get("metadata") or {})
        metadata.update(_identity(key, before, metadata))
        body = {**body, "apiVersion": key.kind.api_version, "kind": key.kind.kind}
        body["metadata"] = metadata
        if before is not None:
            metadata["resourceVersion"] = before["metadata"]["resourceVersion"]
            if body == before:
                self._owners[key] = owners or self._owners.get(key, {})
                return copy.deepcopy(before)
        self._owners[key] = owners or self._owned(key, before, body, manager)
        self._record(key, before, body)
        return copy.deepcopy(body)

    def _owned(
        self, key: Key, before: Document | None, after: Document, manager: str
    ) -> dict[str, set[Path]]:
        old, new = leaves(before or {}), leaves(after)
        changed = {path for path, one in new.items() if old.get(path) != one} - _UNOWNED
        owners = {
            name: {path for path in paths if path in new} - changed
            for name, paths in self._owners.get(key, {}).items()
        }
        owners[manager] = owners.get(manager, set()) | changed
        return owners

    def delete(self, key: Key) -> Document:
        with self._condition:
            before = self.get(key)
            self._owners.pop(key, None)
            self._record(key, before, None)
            return before

    def _record(self, key: Key, before: Document | None, after: Document | None) -> None:
        with self._condition:
            self._version += 1
            if after is None:
                del self._objects[key]
            else:
                after["metadata"]["resourceVersion"] = str(self._version)
                self._objects[key] = copy.deepcopy(after)
            self._history.append(Change(self._version, key, before, copy.deepcopy(after)))
            self._condition.notify_all()

    def forget_history(self) -> None:
        """Compaction: a watch from before now is told 410 Gone."""
        with self._condition:
            self._version += 1
            self._oldest = self._version
            self._history.clear()
            self._condition.notify_all()

    def wake(self) -> None:
        """Let those who wait look again."""
        with self._condition:
            self._condition.notify_all()

    def changes(self, kind: Kind, namespace: str, since: int) -> Iterator[Change | None]:
        """Changes after a version, for ever; None after each wait of a moment without one."""
        while True:
            with self._condition:
                if since < self._oldest:
                    raise Refusal(
                        410, "Expired", f"too old resource version: {since} ({self._oldest})"
                    )
                found = [change for change in self._history if change.version > since]
                if not found:
                    self._condition.wait(0.1)
            if not found:
                yield None
                continue
            for change in found:
                since = change.version
                if change.key.kind == kind and namespace in ("", change.key.namespace):
                    yield change


def _identity(key: Key, before: Document | None, given: Document) -> Document:
    if before is not None:
        return {name: before["metadata"][name] for name in _KEPT if name in before["metadata"]}
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    identity = {
        "name": key.name,
        "uid": given.get("uid") or str(uuid.uuid4()),
        "creationTimestamp": now,
    }
    return {**identity, **({"namespace": key.namespace} if key.namespace else {})}
