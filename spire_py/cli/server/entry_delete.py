"""`entry delete` (feature E8)."""

from __future__ import annotations

import sys

from spire_py._proto.spire.api.server import entry_pb2
from spire_py.cli.command import CommandFailed
from spire_py.cli.connection import Connection
from spire_py.cli.flags import Flag, Flags
from spire_py.cli.output import print_messages, quoted
from spire_py.cli.server.api import server_command
from spire_py.cli.server.input import read_json
from spire_py.errors import StatusCode


async def _delete(flags: Flags, server: Connection) -> int:
    response = await server.call(
        "/spire.api.server.entry.v1.Entry/BatchDeleteEntry",
        entry_pb2.BatchDeleteEntryRequest(ids=_ids(flags)),
        entry_pb2.BatchDeleteEntryResponse,
    )
    return print_messages(flags, lambda: _print(response), response)


def _ids(flags: Flags) -> list[str]:
    if not flags.text("file"):
        if not flags.text("entryID"):
            raise CommandFailed("an entry ID is required")
        return [flags.text("entryID")]
    document = read_json(flags.text("file"))
    # Go writes an empty list as null.
    if document in (None, {}, {"ids": None}):
        return []
    ids = document.get("ids") if isinstance(document, dict) else None
    if not isinstance(ids, list) or not all(isinstance(entry_id, str) for entry_id in ids):
        raise CommandFailed('the file must hold an object such as {"ids": ["..."]}')
    return ids


def _print(response: entry_pb2.BatchDeleteEntryResponse) -> int:
    failed = [result for result in response.results if result.status.code]
    deleted = [result for result in response.results if not result.status.code]
    for result in deleted:
        print(f"Deleted entry with ID: {result.id}")
    if deleted:
        print("\n")
    for result in failed:
        code = StatusCode(result.status.code).camel
        print(
            f"Failed to delete entry with ID {result.id} "
            f"(code: {code}, msg: {quoted(result.status.message)})",
            file=sys.stderr,
        )
    if not failed:
        print(f"Deleted {len(deleted)} entries successfully", end="")
        return 0
    print("\n")
    if deleted:
        summary = (
            f"Deleted {len(deleted)} entries successfully, "
            f"but failed to delete {len(failed)} entries"
        )
    else:
        summary = f"Failed to delete {len(failed)} entries"
    print(summary, end="", flush=True)
    raise CommandFailed("failed to delete one or more entries")


DELETE = server_command(
    "entry delete",
    "Deletes registration entries",
    (
        Flag("entryID", "ID of the entry to delete"),
        Flag("file", 'File with {"ids": [...]} as JSON; - reads it from stdin'),
    ),
    _delete,
)
