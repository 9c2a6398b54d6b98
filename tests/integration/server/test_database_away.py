"""What goes on while the database is away: all that needs no write."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from spire_py._proto.spire.api import types_pb2
from spire_py._proto.spire.api.server import agent_pb2, bundle_pb2, entry_pb2, svid_pb2
from spire_py.crypto.csr import make_csr
from spire_py.crypto.keys import generate_key
from spire_py.errors import Internal, SpireError, Unavailable
from spire_py.plugin_api.key_manager import KeyType
from spire_py.server.datastore import Datastore

from .conftest import (
    AGENT,
    BUNDLE,
    ENTRY,
    SVID,
    Identity,
    RunningServer,
    agent_path,
    running_server,
)


class Line:
    """The line between a server and its database, which can be cut."""

    def __init__(self) -> None:
        self.cut = False

    def to(self, store: Datastore) -> Any:
        return _Remote(self, store)


class _Remote:
    def __init__(self, line: Line, store: Datastore) -> None:
        self._line = line
        self._store = store

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        async def call(*args: Any, **fields: Any) -> Any:
            if self._line.cut:
                raise Unavailable("datastore-sql: the database is away")
            return await method(*args, **fields)

        return call


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
async def server(short_path: Path, line: Line) -> AsyncIterator[RunningServer]:
    async with running_server(short_path, wrap=line.to) as running:
        yield running


async def sign(server: RunningServer, agent: Identity, entry_id: str) -> int:
    csr = make_csr(generate_key(KeyType.EC_P256))
    response = await server.call(
        SVID + "BatchNewX509SVID",
        svid_pb2.BatchNewX509SVIDRequest(
            params=[svid_pb2.NewX509SVIDParams(entry_id=entry_id, csr=csr)]
        ),
        svid_pb2.BatchNewX509SVIDResponse,
        server.port(agent),
    )
    return response.results[0].status.code


async def authorized(server: RunningServer, agent: Identity) -> int:
    response = await server.call(
        ENTRY + "GetAuthorizedEntries",
        entry_pb2.GetAuthorizedEntriesRequest(),
        entry_pb2.GetAuthorizedEntriesResponse,
        server.port(agent),
    )
    return len(response.entries)


async def test_agents_sync_and_sign_on(server: RunningServer, line: Line) -> None:
    agent = await server.attest()
    entry_id = await server.create_entry(agent_path(agent), "/workload")
    line.cut = True
    assert await authorized(server, agent) == 1
    assert await sign(server, agent, entry_id) == 0
    bundle = await server.call(
        BUNDLE + "GetBundle", bundle_pb2.GetBundleRequest(), types_pb2.Bundle
    )
    assert bundle.x509_authorities


async def test_what_needs_a_write_fails_and_works_again_afterwards(
    server: RunningServer, line: Line
) -> None:
    token = await server.join_token()
    line.cut = True
    with pytest.raises(SpireError) as refused:
        await server.attest(token)
    assert isinstance(refused.value, Internal)
    with pytest.raises(SpireError):
        await server.join_token()
    line.cut = False
    await server.attest(token)


async def test_a_renewed_svid_is_let_in_before_it_can_be_made_the_current_one(
    server: RunningServer, line: Line
) -> None:
    old = await server.attest()
    key = generate_key(KeyType.EC_P256)
    response = await server.call(
        AGENT + "RenewAgent",
        agent_pb2.RenewAgentRequest(params=agent_pb2.AgentX509SVIDParams(csr=make_csr(key))),
        agent_pb2.RenewAgentResponse,
        server.port(old),
    )
    new = Identity(old.spiffe_id, tuple(response.svid.cert_chain), key)
    line.cut = True
    assert await authorized(server, new) == 0
    assert await authorized(server, old) == 0
    line.cut = False
    await authorized(server, new)
    with pytest.raises(SpireError):
        await authorized(server, old)


async def test_an_agent_nobody_knows_is_not_let_in(server: RunningServer, line: Line) -> None:
    stranger = await server.identity("/spire/agent/join_token/stranger")
    line.cut = True
    with pytest.raises(Internal, match="unable to look up agent information"):
        await authorized(server, stranger)
