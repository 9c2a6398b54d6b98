"""The conversation by which an agent learns its entries (feature O13)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Protocol

from spire_py._proto.spire.api import types_pb2
from spire_py._proto.spire.api.server import entry_pb2
from spire_py.agent.authorized_entry import (
    ENTRY_MASK,
    AuthorizedEntry,
    authorized_entry_from_pb,
)
from spire_py.errors import Internal, InvalidArgument
from spire_py.telemetry.logs import get_logger
from spire_py.transport import Channel

log = get_logger("manager")

MAX_ENTRIES = 1_000_000
"""No node runs this many workloads: a server that says so is not believed."""

_SYNC = "/spire.api.server.entry.v1.Entry/SyncAuthorizedEntries"
_TIMEOUT_SECONDS = 30.0

Request = entry_pb2.SyncAuthorizedEntriesRequest
Response = entry_pb2.SyncAuthorizedEntriesResponse


class SyncCall(Protocol):
    """The open conversation."""

    async def send(self, message: Request, /) -> None: ...

    def __aiter__(self) -> AsyncIterator[Response]: ...


async def sync_entries(
    channel: Channel, known: Mapping[str, AuthorizedEntry]
) -> dict[str, AuthorizedEntry]:
    """All entries of this agent; those that did not change are the objects of `known`.

    Raises:
        Internal: the server broke the protocol.
        SpireError: the call failed.
    """
    async with channel.bidi(_SYNC, Response, timeout=_TIMEOUT_SECONDS) as call:
        entries = await converse(call, known)
        call.done_sending()
        return entries


async def converse(
    call: SyncCall, known: Mapping[str, AuthorizedEntry]
) -> dict[str, AuthorizedEntry]:
    """Speak the client's part of one sync.

    A server answers with all entries where they are few, else with pages of revisions; then the
    entries that are missing or outdated are asked for, a page at a time.
    """
    await call.send(Request(output_mask=ENTRY_MASK))
    responses = aiter(call)
    first = await _next(responses)
    if not first.entry_revisions:
        return read_entries(first.entries, known)
    entries, wanted = await _read_revisions(first, responses, known)
    page_size = len(first.entry_revisions)
    wanted.sort()
    for start in range(0, len(wanted), page_size):
        await call.send(Request(ids=wanted[start : start + page_size]))
        more = True
        while more:
            response = await _next(responses)
            if response.entry_revisions:
                raise Internal("unexpected entry revisions in response while requesting entries")
            entries.update(read_entries(response.entries, known))
            more = response.more
            _check_count(len(entries))
    return entries


async def _read_revisions(
    response: Response, responses: AsyncIterator[Response], known: Mapping[str, AuthorizedEntry]
) -> tuple[dict[str, AuthorizedEntry], list[str]]:
    """The entries we have already, and the IDs of those we must ask for."""
    entries: dict[str, AuthorizedEntry] = {}
    wanted: list[str] = []
    while True:
        for revision in response.entry_revisions:
            if not revision.id or revision.revision_number < 0:
                _warn("Received malformed entry revision from SPIRE server", revision.id)
                continue
            entry = known.get(revision.id)
            if entry is not None and entry.is_current(
                revision.revision_number, revision.created_at
            ):
                entries[revision.id] = entry
            else:
                wanted.append(revision.id)
        _check_count(len(entries) + len(wanted))
        if not response.more:
            return entries, wanted
        response = await _next(responses)
        if response.entries:
            raise Internal("unexpected entry in response receiving entry revisions")


def read_entries(
    messages: Iterable[types_pb2.Entry], known: Mapping[str, AuthorizedEntry]
) -> dict[str, AuthorizedEntry]:
    """The entries by ID; malformed ones are left out with a warning (feature O13)."""
    entries: dict[str, AuthorizedEntry] = {}
    for message in messages:
        entry = known.get(message.id)
        if entry is None or not entry.says_the_same(message):
            try:
                entry = authorized_entry_from_pb(message)
            except InvalidArgument as error:
                _warn("Received malformed entry from SPIRE server", message.id, str(error))
                continue
        entries[entry.id] = entry
    return entries


def _warn(sentence: str, entry_id: str, error: str = "") -> None:
    text = f"{sentence}; are the server and agent versions compatible?"
    log.warning(text, entry_id=entry_id, error=error)


def _check_count(count: int) -> None:
    if count > MAX_ENTRIES:
        raise Internal(f"server sent more than {MAX_ENTRIES} entries")


async def _next(responses: AsyncIterator[Response]) -> Response:
    try:
        return await anext(responses)
    except StopAsyncIteration:
        raise Internal("failed to receive entry revision page from server: EOF") from None
