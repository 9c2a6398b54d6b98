"""Several servers over one database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from spire_py._proto.spire.api import types_pb2
from spire_py._proto.spire.api.server import agent_pb2, entry_pb2
from spire_py.errors import PermissionDenied
from spire_py.transport import Channel
from spire_py.wire.status import Reason, permission_denied_reason

from .conftest import AGENT, ENTRY, RunningServer, agent_path, pb_id, running_server

Two = tuple[RunningServer, RunningServer]


@pytest.fixture
async def two(short_path: Path) -> AsyncIterator[Two]:
    """Two servers with one database; each has a CA of its own, and both are in the bundle."""
    async with (
        running_server(short_path, socket_path=str(short_path / "a.sock")) as one,
        running_server(short_path, socket_path=str(short_path / "b.sock")) as other,
    ):
        await one.endpoints.bundles.refresh()
        yield one, other


async def authorized(server: RunningServer, channel: Channel) -> set[str]:
    response = await server.call(
        ENTRY + "GetAuthorizedEntries",
        entry_pb2.GetAuthorizedEntriesRequest(),
        entry_pb2.GetAuthorizedEntriesResponse,
        channel,
    )
    return {entry.spiffe_id.path for entry in response.entries}


async def test_the_first_sync_is_complete_at_a_server_the_agent_did_not_attest_at(
    two: Two,
) -> None:
    one, other = two
    token = await one.join_token(alias="/nodes")
    await one.create_entry("/nodes", "/workload")
    agent = await one.attest(token)
    assert await authorized(other, other.port(agent)) == {"/nodes", "/workload"}


async def test_a_ban_at_one_server_holds_at_the_other_after_its_next_poll(two: Two) -> None:
    one, other = two
    agent = await one.attest()
    channel = other.port(agent)
    await authorized(other, channel)
    await one.call(
        AGENT + "BanAgent",
        agent_pb2.BanAgentRequest(id=pb_id(agent_path(agent))),
        types_pb2.Status,
    )
    await other.endpoints.entries.refresh()
    with pytest.raises(PermissionDenied) as refused:
        await authorized(other, channel)
    assert permission_denied_reason(refused.value) == Reason.AGENT_BANNED


async def test_an_entry_made_at_one_server_is_given_out_by_the_other_after_its_next_poll(
    two: Two,
) -> None:
    one, other = two
    agent = await one.attest()
    channel = other.port(agent)
    assert await authorized(other, channel) == set()
    await one.create_entry(agent_path(agent), "/workload")
    await other.endpoints.entries.refresh()
    assert await authorized(other, channel) == {"/workload"}
