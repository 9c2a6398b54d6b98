"""Commands that call the server's API over its admin socket."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from spire_py._proto.spire.api import types_pb2 as types
from spire_py.cli.command import Command, CommandFailed
from spire_py.cli.connection import Connection, connect
from spire_py.cli.flags import Flag, Flags
from spire_py.cli.output import OUTPUT_FLAG
from spire_py.cli.sockets import SERVER_SOCKET
from spire_py.spiffe.id import SpiffeID
from spire_py.wire import spiffe_ids

MATCHES = {
    "exact": "MATCH_EXACT",
    "any": "MATCH_ANY",
    "superset": "MATCH_SUPERSET",
    "subset": "MATCH_SUBSET",
}
"""What the `-match…On` flags say, as the enums of selectors and trust domains call it."""
MAX_INT32 = 2**31 - 1


def server_command(
    name: str,
    synopsis: str,
    flags: Sequence[Flag],
    run: Callable[[Flags, Connection], Awaitable[int]],
) -> Command:
    """A command that needs a connection to the server; it takes the flags all of them take."""

    async def connected(given: Flags) -> int:
        async with connect(SERVER_SOCKET.resolve(given)) as server:
            return await run(given, server)

    return Command(name, synopsis, (*SERVER_SOCKET.flags(), OUTPUT_FLAG, *flags), connected)


def id_to_pb(text: str) -> types.SPIFFEID:
    """A SPIFFE ID of the command line, for a request.

    Raises:
        InvalidSpiffeID: it is none.
    """
    return spiffe_ids.id_to_pb(SpiffeID.parse(text))


def id_to_text(message: types.SPIFFEID) -> str:
    return f"spiffe://{message.trust_domain}{message.path}"


def selector_to_pb(text: str) -> types.Selector:
    """A selector of the command line; the server judges its parts.

    Raises:
        CommandFailed: there is no colon in it.
    """
    kind, colon, value = text.partition(":")
    if not colon:
        raise CommandFailed(f'selector "{text}" must be formatted as type:value')
    return types.Selector(type=kind, value=value)


def ttl_seconds(value: int, name: str) -> int:
    """A TTL that fits the wire.

    Raises:
        CommandFailed: it does not; `name` is how SPIRE calls it.
    """
    if not -MAX_INT32 - 1 <= value <= MAX_INT32:
        raise CommandFailed(f"invalid value for {name}: overflow converting int({value}) to int32")
    return value
