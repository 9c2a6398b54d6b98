"""A banned agent that is quicker than the news of its ban."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from spire_py._proto.spire.api import types_pb2
from spire_py._proto.spire.api.server import agent_pb2, entry_pb2
from spire_py.crypto.csr import make_csr
from spire_py.errors import PermissionDenied
from spire_py.spiffe.id import SpiffeID
from spire_py.wire.status import Reason, permission_denied_reason
from tests.integration.server.conftest import (
    AGENT,
    ENTRY,
    Identity,
    RunningServer,
    agent_path,
    pb_id,
    running_server,
)

Two = tuple[RunningServer, RunningServer]


@pytest.fixture
async def two(short_path: Path) -> AsyncIterator[Two]:
    """Two servers with one database, which is not polled: what one does the other never hears."""
    async with (
        running_server(short_path, socket_path=str(short_path / "a.sock")) as one,
        running_server(short_path, socket_path=str(short_path / "b.sock")) as other,
    ):
        await one.endpoints.bundles.refresh()
        yield one, other


async def renew(server: RunningServer, agent: Identity) -> Identity:
    csr = make_csr(agent.key)
    renewed = await server.call(
        AGENT + "RenewAgent",
        agent_pb2.RenewAgentRequest(params=agent_pb2.AgentX509SVIDParams(csr=csr)),
        agent_pb2.RenewAgentResponse,
        server.port(agent),
    )
    return Identity(agent.spiffe_id, tuple(renewed.svid.cert_chain), agent.key)


async def ban(server: RunningServer, agent: Identity) -> None:
    request = agent_pb2.BanAgentRequest(id=pb_id(agent_path(agent)))
    await server.call(AGENT + "BanAgent", request, types_pb2.Status)


async def sync(server: RunningServer, agent: Identity) -> None:
    await server.call(
        ENTRY + "GetAuthorizedEntries",
        entry_pb2.GetAuthorizedEntriesRequest(),
        entry_pb2.GetAuthorizedEntriesResponse,
        server.port(agent),
    )


async def is_banned(server: RunningServer, agent: Identity) -> bool:
    stored = await server.datastore.get_agent(SpiffeID.parse(agent.spiffe_id))
    assert stored is not None
    return stored.banned


async def test_a_renewed_svid_kept_in_reserve_does_not_lift_a_ban(two: Two) -> None:
    one, other = two
    agent = await one.attest()
    await sync(other, agent)
    in_reserve = await renew(other, agent)
    await ban(one, agent)
    with pytest.raises(PermissionDenied) as refused:
        await sync(other, in_reserve)
    assert permission_denied_reason(refused.value) == Reason.AGENT_BANNED
    assert await is_banned(one, agent)
    with pytest.raises(PermissionDenied):
        await sync(other, agent)


async def test_a_renewal_does_not_lift_a_ban(two: Two) -> None:
    one, other = two
    agent = await one.attest()
    await sync(other, agent)
    await ban(one, agent)
    with pytest.raises(PermissionDenied) as refused:
        await renew(other, agent)
    assert permission_denied_reason(refused.value) == Reason.AGENT_BANNED
    assert await is_banned(one, agent)
    with pytest.raises(PermissionDenied):
        await sync(other, agent)


async def test_the_first_use_of_a_renewed_svid_does_not_undo_a_later_renewal(two: Two) -> None:
    one, other = two
    agent = await one.attest()
    await sync(other, agent)
    earlier = await renew(other, agent)
    later = await renew(one, agent)
    with pytest.raises(PermissionDenied) as refused:
        await sync(other, earlier)
    assert permission_denied_reason(refused.value) == Reason.AGENT_NOT_ACTIVE
    await sync(one, later)


async def test_a_deleted_agent_is_not_brought_back_by_a_renewed_svid(two: Two) -> None:
    one, other = two
    agent = await one.attest()
    await sync(other, agent)
    in_reserve = await renew(other, agent)
    request = agent_pb2.DeleteAgentRequest(id=pb_id(agent_path(agent)))
    await one.call(AGENT + "DeleteAgent", request, types_pb2.Status)
    with pytest.raises(PermissionDenied) as refused:
        await sync(other, in_reserve)
    assert permission_denied_reason(refused.value) == Reason.AGENT_NOT_ATTESTED
