"""The Entry API: administration of entries, and the sync by which agents learn theirs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from typing import Protocol

from spire_py._proto.spire.api import types_pb2
from spire_py._proto.spire.api.server import entry_pb2
from spire_py.errors import InvalidArgument, NotFound, SpireError, StatusCode
from spire_py.model.entry import Entry
from spire_py.server.api.call_log import failed
from spire_py.server.api.filters import entry_filter_from_pb, page_from_pb
from spire_py.server.datastore import CreateResult, EntryFilter, Page
from spire_py.server.entry_cache.authorized import PAGE_SIZE, AuthorizedEntries
from spire_py.server.policy import calling_agent
from spire_py.spiffe.id import SpiffeID, TrustDomain
from spire_py.telemetry.logs import get_logger
from spire_py.transport import CallContext
from spire_py.wire.entries import entry_from_pb, entry_to_pb
from spire_py.wire.masks import Fields, apply_mask, fields_of, mask_fields, output_mask
from spire_py.wire.status import ok, prefixed, prefixing

_GET_ENTRIES_TAG = b"\x0a"  # GetAuthorizedEntriesResponse.entries = 1
_SYNC_ENTRIES_TAG = b"\x12"  # SyncAuthorizedEntriesResponse.entries = 2
_SYNC_MORE = b"\x18\x01"  # SyncAuthorizedEntriesResponse.more = 3, true
_SYNC_IDLE_SECONDS = 300

log = get_logger("api")


class EntryStore(Protocol):
    """What the Entry API needs of the datastore."""

    async def create_entries(self, entries: Sequence[Entry]) -> list[CreateResult]: ...
    async def update_entry(self, entry: Entry, mask: frozenset[str] | None) -> Entry: ...
    async def delete_entry(self, entry_id: str) -> Entry: ...
    async def get_entry(self, entry_id: str) -> Entry | None: ...
    async def list_entries(
        self, wanted: EntryFilter, page: Page | None
    ) -> tuple[list[Entry], str]: ...
    async def count_entries(self, wanted: EntryFilter) -> int: ...


class EntryMemory(Protocol):
    """What the Entry API needs of the cache."""

    async def settle(self, agent_id: SpiffeID) -> None: ...
    def authorized(self, agent_id: SpiffeID) -> AuthorizedEntries: ...
    def put_entry(self, entry: Entry) -> None: ...
    def remove_entry(self, entry_id: str) -> None: ...


class EntryServicer:
    """`spire.api.server.entry.v1.Entry`."""

    def __init__(
        self, *, trust_domain: TrustDomain, store: EntryStore, memory: EntryMemory
    ) -> None:
        self._trust_domain = trust_domain
        self._store = store
        self._memory = memory

    async def count_entries(
        self, request: entry_pb2.CountEntriesRequest, _context: CallContext
    ) -> entry_pb2.CountEntriesResponse:
        wanted = entry_filter_from_pb(request.filter, self._trust_domain)
        with prefixing("failed to count entries", StatusCode.INTERNAL):
            count = await self._store.count_entries(wanted)
        return entry_pb2.CountEntriesResponse(count=count)

    async def list_entries(
        self, request: entry_pb2.ListEntriesRequest, _context: CallContext
    ) -> entry_pb2.ListEntriesResponse:
        wanted = entry_filter_from_pb(request.filter, self._trust_domain)
        with prefixing("failed to list entries", StatusCode.INTERNAL):
            entries, token = await self._store.list_entries(wanted, page_from_pb(request))
        mask = output_mask(request)
        response = entry_pb2.ListEntriesResponse(next_page_token=token)
        for entry in entries:
            response.entries.append(apply_mask(entry_to_pb(entry), mask))
        return response

    async def get_entry(
        self, request: entry_pb2.GetEntryRequest, _context: CallContext
    ) -> types_pb2.Entry:
        if not request.id:
            raise InvalidArgument("missing ID")
        with prefixing("failed to fetch entry", StatusCode.INTERNAL):
            entry = await self._store.get_entry(request.id)
        if entry is None:
            raise NotFound("entry not found")
        return apply_mask(entry_to_pb(entry), output_mask(request))

    async def batch_create_entry(
        self, request: entry_pb2.BatchCreateEntryRequest, context: CallContext
    ) -> entry_pb2.BatchCreateEntryResponse:
        response = entry_pb2.BatchCreateEntryResponse()
        mask = output_mask(request)
        for outcome in await self._create_all(request.entries):
            result = response.results.add()
            if isinstance(outcome, SpireError):
                result.status.CopyFrom(failed(context, outcome))
                continue
            entry, existed = outcome
            result.status.CopyFrom(_similar_exists() if existed else ok())
            result.entry.CopyFrom(apply_mask(entry_to_pb(entry), mask))
        return response

    async def _create_all(self, messages: Iterable[types_pb2.Entry]) -> list[CreateResult]:
        """Create those that are acceptable, all in one transaction; the others are errors."""
        wanted = [self._converted_or_why_not(message) for message in messages]
        good = [each for each in wanted if isinstance(each, Entry)]
        try:
            created = await self._store.create_entries(good) if good else []
        except SpireError as error:
            created = [error] * len(good)
        results = iter(created)
        return [
            each if isinstance(each, SpireError) else self._take_in(next(results))
            for each in wanted
        ]

    def _converted_or_why_not(self, message: types_pb2.Entry) -> Entry | SpireError:
        try:
            return self._converted(message, None)
        except SpireError as error:
            return error

    def _take_in(self, created: CreateResult) -> CreateResult:
        if isinstance(created, SpireError):
            return prefixed("failed to create entry", created)
        entry, existed = created
        self._memory.put_entry(entry)
        if not existed:
            log.debug("entry_created", entry_id=entry.id, spiffe_id=str(entry.spiffe_id))
        return created

    async def batch_update_entry(
        self, request: entry_pb2.BatchUpdateEntryRequest, context: CallContext
    ) -> entry_pb2.BatchUpdateEntryResponse:
        response = entry_pb2.BatchUpdateEntryResponse()
        mask = request.input_mask if request.HasField("input_mask") else None
        for message in request.entries:
            result = response.results.add()
            try:
                entry = await self._update(message, mask)
            except SpireError as error:
                result.status.CopyFrom(failed(context, error, entry_id=message.id))
                continue
            result.status.CopyFrom(ok())
            result.entry.CopyFrom(apply_mask(entry_to_pb(entry), output_mask(request)))
        return response

    async def _update(self, message: types_pb2.Entry, mask: types_pb2.EntryMask | None) -> Entry:
        entry = self._converted(message, mask)
        fields = None if mask is None else fields_of(mask)
        with prefixing("failed to update entry"):
            stored = await self._store.update_entry(entry, fields)
        self._memory.put_entry(stored)
        log.debug("entry_updated", entry_id=stored.id, revision_number=stored.revision_number)
        return stored

    async def batch_delete_entry(
        self, request: entry_pb2.BatchDeleteEntryRequest, context: CallContext
    ) -> entry_pb2.BatchDeleteEntryResponse:
        response = entry_pb2.BatchDeleteEntryResponse()
        for entry_id in request.ids:
            result = response.results.add(id=entry_id)
            try:
                await self._delete(entry_id)
            except SpireError as error:
                result.status.CopyFrom(failed(context, error, entry_id=entry_id))
            else:
                result.status.CopyFrom(ok())
        return response

    async def _delete(self, entry_id: str) -> None:
        if not entry_id:
            raise InvalidArgument("missing entry ID")
        try:
            await self._store.delete_entry(entry_id)
        except NotFound as error:
            self._memory.remove_entry(entry_id)
            raise NotFound("entry not found") from error
        except SpireError as error:
            raise prefixed("failed to delete entry", error, StatusCode.INTERNAL) from error
        self._memory.remove_entry(entry_id)
        log.debug("entry_deleted", entry_id=entry_id)

    async def get_authorized_entries(
        self, request: entry_pb2.GetAuthorizedEntriesRequest, context: CallContext
    ) -> bytes:
        entries = await self._authorized(context)
        return entries.joined(mask_fields(request, "output_mask"), _GET_ENTRIES_TAG)

    async def sync_authorized_entries(
        self, requests: AsyncIterator[entry_pb2.SyncAuthorizedEntriesRequest], context: CallContext
    ) -> AsyncGenerator[bytes, None]:
        """Few entries are sent at once; of many the revisions, then those asked for (5.2)."""
        entries = await self._authorized(context)
        first = await _next_request(requests)
        if first is None:
            return
        fields = _checked_sync_fields(first)
        if len(entries) <= PAGE_SIZE:
            yield entries.joined(fields, _SYNC_ENTRIES_TAG)
            return
        for page in entries.revision_pages():
            yield page
        while (request := await _next_request(requests)) is not None:
            *pages, last = entries.joined_pages(request.ids, fields, _SYNC_ENTRIES_TAG)
            for page in pages:
                yield page + _SYNC_MORE
            yield last

    async def _authorized(self, context: CallContext) -> AuthorizedEntries:
        agent_id = calling_agent(context)
        await self._memory.settle(agent_id)
        return self._memory.authorized(agent_id)

    def _converted(self, message: types_pb2.Entry, mask: types_pb2.EntryMask | None) -> Entry:
        with prefixing("failed to convert entry"):
            return entry_from_pb(message, self._trust_domain, mask)


def _similar_exists() -> types_pb2.Status:
    return types_pb2.Status(code=StatusCode.ALREADY_EXISTS, message="similar entry already exists")


async def _next_request(
    requests: AsyncIterator[entry_pb2.SyncAuthorizedEntriesRequest],
) -> entry_pb2.SyncAuthorizedEntriesRequest | None:
    """The next request; None at the end, or when the agent says nothing for minutes."""
    try:
        async with asyncio.timeout(_SYNC_IDLE_SECONDS):
            return await anext(requests, None)
    except TimeoutError:
        return None


def _checked_sync_fields(request: entry_pb2.SyncAuthorizedEntriesRequest) -> Fields | None:
    if request.ids:
        raise InvalidArgument("specifying IDs on initial request is not supported")
    fields = mask_fields(request, "output_mask")
    if fields is not None and "revision_number" not in fields:
        raise InvalidArgument("revision number cannot be masked")
    return fields
