"""`entry create` (features E5, E6)."""

from __future__ import annotations

import sys

from spire_py._proto.spire.api import types_pb2 as types
from spire_py._proto.spire.api.server import entry_pb2
from spire_py.cli.command import CommandFailed
from spire_py.cli.connection import Connection
from spire_py.cli.flags import Flag, Flags, Kind
from spire_py.cli.output import print_messages, quoted
from spire_py.cli.server.api import id_to_pb, selector_to_pb, server_command, ttl_seconds
from spire_py.cli.server.entry_text import entry_text
from spire_py.cli.server.input import read_input
from spire_py.errors import StatusCode
from spire_py.spiffe.reserved_path import SERVER_PATH
from spire_py.wire.registration_entries import entries_from_json

ENTRY_FLAGS = (
    Flag("entryID", "ID of the entry; a new one is made where it is left out"),
    Flag("parentID", "SPIFFE ID of the parent: an agent, or another entry's"),
    Flag("spiffeID", "SPIFFE ID that the entry gives"),
    Flag("x509SVIDTTL", "Lifetime of X.509-SVIDs in seconds; 0: the server's default", Kind.NUMBER),
    Flag("jwtSVIDTTL", "Lifetime of JWT-SVIDs in seconds; 0: the server's default", Kind.NUMBER),
    Flag("ttl", "Older spelling of x509SVIDTTL", Kind.NUMBER),
    Flag("data", "File with entries as JSON; - reads them from stdin"),
    Flag("selector", "type:value; may be given more than once", Kind.TEXTS),
    Flag("federatesWith", "Trust domain to federate with; may be given again", Kind.TEXTS),
    Flag("admin", "The identity may call the server's admin APIs", Kind.SWITCH),
    Flag("downstream", "The entry is of a downstream server", Kind.SWITCH),
    Flag("storeSVID", "The SVID goes to an SVIDStore plugin", Kind.SWITCH),
    Flag("entryExpiry", "When the entry is pruned, unix seconds; 0: never", Kind.NUMBER),
    Flag("dns", "DNS name for the SVIDs; may be given more than once", Kind.TEXTS),
    Flag("hint", "Tells identities of one workload apart"),
    Flag("disableX509SVIDPrefetch", "Agents sign only when a workload asks", Kind.SWITCH),
    Flag("jwtSVIDIncludeJTI", "JWT-SVIDs get a jti claim", Kind.SWITCH),
)


async def _create(flags: Flags, server: Connection) -> int:
    if flags.text("data"):
        entries = entries_from_json(read_input(flags.text("data")))
    else:
        _check(flags)
        entries = [entry_from_flags(flags)]
    response = await server.call(
        "/spire.api.server.entry.v1.Entry/BatchCreateEntry",
        entry_pb2.BatchCreateEntryRequest(entries=entries),
        entry_pb2.BatchCreateEntryResponse,
    )
    # The server names only entries that it made; a failed one is shown as it was asked for.
    for result, entry in zip(response.results, entries, strict=True):
        if result.status.code:
            result.entry.CopyFrom(entry)
    return print_messages(flags, lambda: _print(response), response)


def _check(flags: Flags) -> None:
    faults = (
        (not flags.texts("selector"), "at least one selector is required"),
        (
            flags.switch("node") and flags.texts("federatesWith"),
            "node entries can not federate",
        ),
        (
            not flags.text("parentID") and not flags.switch("node"),
            "a parent ID is required if the node flag is not set",
        ),
        (not flags.text("spiffeID"), "a SPIFFE ID is required"),
        (x509_ttl(flags) < 0, "a positive x509-SVID TTL is required"),
        (flags.number("jwtSVIDTTL") < 0, "a positive JWT-SVID TTL is required"),
    )
    for broken, message in faults:
        if broken:
            raise CommandFailed(message)


def x509_ttl(flags: Flags) -> int:
    """`-x509SVIDTTL`, or its older spelling `-ttl`."""
    name = "x509SVIDTTL" if flags.given("x509SVIDTTL") else "ttl"
    return flags.number(name)


def entry_from_flags(flags: Flags) -> types.Entry:
    """The entry that the flags describe, for a request."""
    spiffe_id = id_to_pb(flags.text("spiffeID"))
    if flags.switch("node"):
        parent_id = types.SPIFFEID(trust_domain=spiffe_id.trust_domain, path=SERVER_PATH)
    else:
        parent_id = id_to_pb(flags.text("parentID"))
    entry = types.Entry(
        id=flags.text("entryID"),
        parent_id=parent_id,
        spiffe_id=spiffe_id,
        selectors=[selector_to_pb(text) for text in flags.texts("selector")],
        x509_svid_ttl=ttl_seconds(x509_ttl(flags), "X509 SVID TTL"),
        jwt_svid_ttl=ttl_seconds(flags.number("jwtSVIDTTL"), "JWT SVID TTL"),
        federates_with=flags.texts("federatesWith"),
        admin=flags.switch("admin"),
        downstream=flags.switch("downstream"),
        store_svid=flags.switch("storeSVID"),
        expires_at=flags.number("entryExpiry"),
        dns_names=flags.texts("dns"),
        hint=flags.text("hint"),
    )
    if flags.switch("disableX509SVIDPrefetch") or flags.switch("jwtSVIDIncludeJTI"):
        attributes = entry.additional_attributes
        attributes.disable_x509_svid_prefetch = flags.switch("disableX509SVIDPrefetch")
        attributes.jwt_svid_include_jti = flags.switch("jwtSVIDIncludeJTI")
    return entry


def _print(response: entry_pb2.BatchCreateEntryResponse) -> int:
    failed = [result for result in response.results if result.status.code]
    for result in response.results:
        if not result.status.code:
            print(entry_text(result.entry))
    for result in failed:
        code = StatusCode(result.status.code).camel
        message = quoted(result.status.message)
        print(
            f"Failed to create the following entry (code: {code}, msg: {message}):",
            file=sys.stderr,
        )
        print(entry_text(result.entry), file=sys.stderr)
    if failed:
        raise CommandFailed("failed to create one or more entries")
    return 0


CREATE = server_command(
    "entry create",
    "Creates registration entries",
    (*ENTRY_FLAGS, Flag("node", "The entry is for matching nodes, not workloads", Kind.SWITCH)),
    _create,
)
