"""`token generate` (feature E4)."""

from __future__ import annotations

from spire_py._proto.spire.api import types_pb2 as types
from spire_py._proto.spire.api.server import agent_pb2
from spire_py.cli.connection import Connection
from spire_py.cli.flags import Flag, Flags, Kind
from spire_py.cli.output import print_messages
from spire_py.cli.server.api import id_to_pb, server_command, ttl_seconds


async def _generate(flags: Flags, server: Connection) -> int:
    agent_id = id_to_pb(flags.text("spiffeID")) if flags.text("spiffeID") else None
    token = await server.call(
        "/spire.api.server.agent.v1.Agent/CreateJoinToken",
        agent_pb2.CreateJoinTokenRequest(
            ttl=ttl_seconds(flags.number("ttl"), "TTL"), agent_id=agent_id
        ),
        types.JoinToken,
    )

    def pretty() -> int:
        print(f"Token: {token.value}")
        if agent_id is None:
            print("Warning: Missing SPIFFE ID.")
        return 0

    return print_messages(flags, pretty, token)


GENERATE = server_command(
    "token generate",
    "Generates a join token",
    (
        Flag("ttl", "How long the token is good for, in seconds", Kind.NUMBER, default="600"),
        Flag("spiffeID", "A further SPIFFE ID for the agent that uses the token"),
    ),
    _generate,
)
