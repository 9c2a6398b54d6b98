"""The Kubernetes API: objects as the JSON that they are."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

from spire_py.crypto.strict_json import parse_json_object
from spire_py.errors import Internal, InvalidArgument, ResourceExhausted
from spire_py_plugins.kubernetes.access import AccessSource
from spire_py_plugins.kubernetes.errors import error_for_status
from spire_py_plugins.kubernetes.resources import Resource
from spire_py_plugins.kubernetes.session import LIMITS, Limits, Request, Session

Object: TypeAlias = dict[str, Any]

MAX_LIST_ITEMS = 20_000
_MAX_LIST_BYTES = 16 * 1024 * 1024
_MAX_PAGES = 1000
_PAGE_ITEMS = 100
_WATCH_SECONDS = 300
_WATCH_GRACE_SECONDS = 30.0


class PatchType(StrEnum):
    """What a patch is, by its content type."""

    JSON = "application/json-patch+json"
    MERGE = "application/merge-patch+json"
    STRATEGIC_MERGE = "application/strategic-merge-patch+json"
    APPLY = "application/apply-patch+yaml"


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """A change. `type` is ADDED, MODIFIED, DELETED or BOOKMARK."""

    type: str
    object: Object

    @property
    def resource_version(self) -> str:
        """Where a later watch goes on."""
        return resource_version(self.object)


class KubernetesClient:
    """Calls of one API server; each raises a `SpireError`.

    The server's own are `NotFound`, `AlreadyExists`, `PermissionDenied` (403), `Unauthenticated`
    (401), `InvalidArgument` (400, 422), `kubernetes.errors.Conflict` (409) and
    `kubernetes.errors.Gone` (410). `Unavailable`: it is away, slow or in trouble.
    `ResourceExhausted`: an answer is too long. `Internal`: one is malformed. `FailedPrecondition`:
    the access is incomplete.

    Args:
        source: the access, `InCluster` or `Kubeconfig`.
        limits: of each answer.
    """

    def __init__(self, source: AccessSource, limits: Limits = LIMITS) -> None:
        self._session = Session(source, limits)
        self._limits = limits

    async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object:
        return await self._call(Request(path=resource.path(name, namespace)))

    async def create(
        self, resource: Resource, body: Mapping[str, Any], namespace: str | None = None
    ) -> Object:
        """Make an object; for a review, the answer is in its `status`."""
        return await self._call(
            Request(
                method="POST",
                path=resource.path(None, namespace),
                body=_encode(_typed(resource, body)),
            )
        )

    async def replace(
        self, resource: Resource, name: str, body: Mapping[str, Any], namespace: str | None = None
    ) -> Object:
        """Write a whole object; with `metadata.resourceVersion`, only where that is current."""
        return await self._call(
            Request(
                method="PUT",
                path=resource.path(name, namespace),
                body=_encode(_typed(resource, body)),
            )
        )

    async def patch(
        self,
        resource: Resource,
        name: str,
        body: object,
        kind: PatchType,
        namespace: str | None = None,
    ) -> Object:
        """Change an object; with `metadata.resourceVersion`, only where that is current."""
        return await self._call(
            Request(
                method="PATCH",
                path=resource.path(name, namespace),
                body=_encode(body),
                content_type=kind.value,
            )
        )

    async def apply(
        self,
        resource: Resource,
        name: str,
        body: Mapping[str, Any],
        *,
        field_manager: str,
        namespace: str | None = None,
        force: bool = False,
    ) -> Object:
        """Server-side apply: the object is made, or gets these fields, which `field_manager` owns.

        Args:
            resource: the kind.
            name: of the object.
            body: the fields.
            field_manager: whose they are.
            namespace: of the object.
            force: take fields that others own; else they are a `Conflict`.
        """
        return await self._call(
            Request(
                method="PATCH",
                path=resource.path(name, namespace),
                query={"fieldManager": field_manager, **({"force": "true"} if force else {})},
                body=_encode(_typed(resource, body)),
                content_type=PatchType.APPLY.value,
            )
        )

    async def delete(self, resource: Resource, name: str, namespace: str | None = None) -> None:
        await self._call(Request(method="DELETE", path=resource.path(name, namespace)))

    async def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
    ) -> tuple[list[Object], str]:
        """All objects, fetched in pages, and the resource version from which to watch.

        Its bounds are 20,000 objects, 16 MB and 1,000 pages, whatever the server says of more.
        """
        found: list[Object] = []
        size = 0
        query = {"limit": str(_PAGE_ITEMS), **_selectors(label_selector, field_selector)}
        for _ in range(_MAX_PAGES):
            body = await self._session.fetch(
                Request(path=resource.path(None, namespace), query=query)
            )
            page = _decode(body, self._limits.answer_bytes)
            found += _items(page)
            size += len(body)
            if len(found) > MAX_LIST_ITEMS or size > _MAX_LIST_BYTES:
                break
            more = _metadata(page).get("continue")
            if not isinstance(more, str) or not more:
                return found, resource_version(page)
            query = {**query, "continue": more}
        raise ResourceExhausted(f"the list of {resource.plural} is too long")

    async def watch(
        self,
        resource: Resource,
        namespace: str | None = None,
        *,
        since: str,
        label_selector: str = "",
        field_selector: str = "",
        seconds: int = _WATCH_SECONDS,
    ) -> AsyncGenerator[WatchEvent, None]:
        """Changes as they come, after the resource version `since`; use it in `aclosing`.

        It ends by itself after `seconds` at the most, which is no error: watch again from the last
        event's version. `Gone` means to list again. Each object has the bound of an answer.
        """
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": since,
            "timeoutSeconds": str(seconds),
            **_selectors(label_selector, field_selector),
        }
        request = Request(path=resource.path(None, namespace), query=query)
        silence = seconds + _WATCH_GRACE_SECONDS
        most = self._limits.answer_bytes
        async with (
            self._session.stream(request, silence_seconds=silence) as pieces,
            aclosing(_lines(pieces, most)) as lines,
        ):
            async for line in lines:
                yield _event(_decode(line, most))

    async def _call(self, request: Request) -> Object:
        return _decode(await self._session.fetch(request), self._limits.answer_bytes)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._session.aclose()


def resource_version(document: Object) -> str:
    """The version of an object or a list; empty where it has none."""
    version = _metadata(document).get("resourceVersion")
    return version if isinstance(version, str) else ""


def _metadata(document: Object) -> Object:
    metadata = document.get("metadata")
    return metadata if isinstance(metadata, dict) else {}


def _items(page: Object) -> list[Object]:
    items = page.get("items") or []
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise Internal("the answer is no list of objects")
    return items


def _selectors(labels: str, fields: str) -> dict[str, str]:
    given = {"labelSelector": labels, "fieldSelector": fields}
    return {name: text for name, text in given.items() if text}


def _typed(resource: Resource, body: Mapping[str, Any]) -> Object:
    return {"apiVersion": resource.api_version, "kind": resource.kind, **body}


def _encode(body: object) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()


def _decode(body: bytes, most: int) -> Object:
    try:
        return parse_json_object(body, max_bytes=most)
    except InvalidArgument as error:
        raise Internal(f"the answer cannot be read: {error.message}") from error


def _event(document: Object) -> WatchEvent:
    kind, changed = document.get("type"), document.get("object")
    if not isinstance(kind, str) or not isinstance(changed, dict):
        raise Internal("the watch sent something that is no event")
    if kind == "ERROR":
        raise error_for_status(changed)
    return WatchEvent(kind, changed)


async def _lines(pieces: AsyncIterator[bytes], most: int) -> AsyncGenerator[bytes, None]:
    rest = b""
    async for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        if len(rest) > most:
            raise ResourceExhausted(f"an object is longer than {most} bytes")
        for line in whole:
            if line.strip():
                yield line
    if rest.strip():
        raise Internal("the watch ended in the middle of an event")
