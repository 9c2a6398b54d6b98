"""`entry show` and `entry count` (features E9, E10)."""

from __future__ import annotations

from typing import TypeVar

from google.protobuf.wrappers_pb2 import BoolValue, StringValue

from spire_py._proto.spire.api import types_pb2 as types
from spire_py._proto.spire.api.server import entry_pb2
from spire_py.cli.command import CommandFailed
from spire_py.cli.connection import Connection
from spire_py.cli.flags import Flag, Flags, Kind
from spire_py.cli.output import count_of, print_messages
from spire_py.cli.server.api import (
    MATCHES,
    id_to_pb,
    selector_to_pb,
    server_command,
)
from spire_py.cli.server.entry_text import entry_text
from spire_py.spiffe.id import InvalidSpiffeID

_PAGE_SIZE = 1000
_SERVICE = "/spire.api.server.entry.v1.Entry"
_FILTER_FLAGS = (
    Flag("parentID", "Only entries with this parent ID"),
    Flag("spiffeID", "Only entries that give this SPIFFE ID"),
    Flag("downstream", "Only entries of downstream servers", Kind.SWITCH),
    Flag("selector", "Only entries with these selectors; may be given again", Kind.TEXTS),
    Flag("federatesWith", "Only entries federated so; may be given again", Kind.TEXTS),
    Flag("matchFederatesWithOn", "exact, any, superset or subset", default="superset"),
    Flag("matchSelectorsOn", "exact, any, superset or subset", default="superset"),
    Flag("hint", "Only entries with this hint"),
)
FilterT = TypeVar(
    "FilterT", entry_pb2.ListEntriesRequest.Filter, entry_pb2.CountEntriesRequest.Filter
)


async def _show(flags: Flags, server: Connection) -> int:
    if flags.text("entryID"):
        entries = [await _fetch_by_id(flags, server)]
    else:
        entries = await _fetch_all(flags, server)
    for entry in entries:
        entry.selectors.sort(key=_type_and_value)
    entries.sort(key=_order)
    response = entry_pb2.ListEntriesResponse(entries=entries)
    return print_messages(flags, lambda: _print(response), response)


async def _fetch_by_id(flags: Flags, server: Connection) -> types.Entry:
    entry_id = flags.text("entryID")
    if flags.text("parentID") or flags.text("spiffeID") or flags.texts("selector"):
        raise CommandFailed("the -entryID flag can't be combined with others")
    try:
        return await server.call(
            f"{_SERVICE}/GetEntry", entry_pb2.GetEntryRequest(id=entry_id), types.Entry
        )
    except CommandFailed as error:
        raise CommandFailed(f"error fetching entry ID {entry_id}: {error}") from error


async def _fetch_all(flags: Flags, server: Connection) -> list[types.Entry]:
    entries: list[types.Entry] = []
    request = entry_pb2.ListEntriesRequest(
        filter=_filter(flags, entry_pb2.ListEntriesRequest.Filter()), page_size=_PAGE_SIZE
    )
    while True:
        try:
            page = await server.call(
                f"{_SERVICE}/ListEntries", request, entry_pb2.ListEntriesResponse
            )
        except CommandFailed as error:
            raise CommandFailed(f"error fetching entries: {error}") from error
        entries.extend(page.entries)
        request.page_token = page.next_page_token
        if not page.next_page_token:
            return entries


def _filter(flags: Flags, into: FilterT) -> FilterT:
    for flag, field, name in (
        ("parentID", into.by_parent_id, "parent ID"),
        ("spiffeID", into.by_spiffe_id, "SPIFFE ID"),
    ):
        if text := flags.text(flag):
            try:
                field.CopyFrom(id_to_pb(text))
            except InvalidSpiffeID as error:
                raise CommandFailed(f'error parsing {name} "{text}": {error}') from error
    if selectors := flags.texts("selector"):
        wanted = types.SelectorMatch(match=_match(flags.text("matchSelectorsOn")))
        wanted.selectors.extend(_selector(text) for text in selectors)
        into.by_selectors.CopyFrom(wanted)
    if trust_domains := flags.texts("federatesWith"):
        match = _match(flags.text("matchFederatesWithOn"))
        into.by_federates_with.CopyFrom(
            types.FederatesWithMatch(match=match, trust_domains=trust_domains)
        )
    if hint := flags.text("hint"):
        into.by_hint.CopyFrom(StringValue(value=hint))
    into.by_downstream.CopyFrom(BoolValue(value=flags.switch("downstream")))
    return into


def _match(name: str) -> str:
    if name not in MATCHES:
        raise CommandFailed(f'match behavior "{name}" unknown')
    return MATCHES[name]


def _selector(text: str) -> types.Selector:
    try:
        return selector_to_pb(text)
    except CommandFailed as error:
        raise CommandFailed(f"error parsing selectors: {error}") from error


def _order(entry: types.Entry) -> tuple[object, ...]:
    return (
        *(entry.spiffe_id.trust_domain, entry.spiffe_id.path),
        *(entry.parent_id.trust_domain, entry.parent_id.path),
        *(entry.x509_svid_ttl, entry.jwt_svid_ttl),
        len(entry.selectors),
        [_type_and_value(selector) for selector in entry.selectors],
        entry.id,
    )


def _type_and_value(selector: types.Selector) -> tuple[str, str]:
    return selector.type, selector.value


def _print(response: entry_pb2.ListEntriesResponse) -> int:
    print(f"Found {count_of(len(response.entries), 'entry', 'entries')}")
    for entry in response.entries:
        print(entry_text(entry))
    return 0


async def _count(flags: Flags, server: Connection) -> int:
    response = await server.call(
        f"{_SERVICE}/CountEntries",
        entry_pb2.CountEntriesRequest(
            filter=_filter(flags, entry_pb2.CountEntriesRequest.Filter())
        ),
        entry_pb2.CountEntriesResponse,
    )

    def pretty() -> int:
        print(count_of(response.count, "registration entry", "registration entries"))
        return 0

    return print_messages(flags, pretty, response)


SHOW = server_command(
    "entry show",
    "Displays configured registration entries",
    (Flag("entryID", "Only the entry with this ID"), *_FILTER_FLAGS),
    _show,
)
COUNT = server_command("entry count", "Counts registration entries", _FILTER_FLAGS, _count)
