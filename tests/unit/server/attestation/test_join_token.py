from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from spire_py_plugins.node_attestor.join_token import agent as agent_end
from spire_py_plugins.node_attestor.join_token import server as server_end

from spire_py.errors import Internal, InvalidArgument, Unavailable, Unimplemented
from spire_py.model.join_token import JoinToken
from spire_py.plugin_api.context import PluginContext
from spire_py.plugin_api.node_attestor import (
    AgentNodeAttestor,
    NodeAttestation,
    ServerNodeAttestor,
)
from spire_py.server.attestation.join_token import JoinTokenAttestor
from spire_py.server.datastore.store import Datastore
from spire_py.spiffe.id import TrustDomain
from tests.contracts.node_attestor import NodeAttestorContract, no_challenge
from tests.fakes.clock import FakeClock

TRUST_DOMAIN = TrustDomain("example.org")
TOKEN = "6a3b2b8e-6d0f-4d8f-a5d0-2f3b5d8d3a11"
MINUTE = timedelta(minutes=1)
GONE = "^failed to attest: join token does not exist or has already been used$"


@pytest.fixture
async def store(datastore: Datastore, clock: FakeClock) -> Datastore:
    await datastore.create_join_token(JoinToken(TOKEN, clock.now() + 10 * MINUTE))
    return datastore


@pytest.fixture
def server(store: Datastore, clock: FakeClock) -> ServerNodeAttestor:
    return JoinTokenAttestor(tokens=store, trust_domain=TRUST_DOMAIN, clock=clock)


class GivenToken(AgentNodeAttestor):
    """An agent's end that was given a token."""

    @property
    def type(self) -> str:
        return "join_token"

    async def payload(self) -> bytes:
        return TOKEN.encode()

    async def respond(self, challenge: bytes) -> bytes:
        raise InvalidArgument("no challenge is known")


class TestJoinToken(NodeAttestorContract):
    @pytest.fixture
    def agent(self) -> AgentNodeAttestor:
        return GivenToken()


async def test_a_token_attests_once(server: ServerNodeAttestor) -> None:
    result = await server.attest(TOKEN.encode(), no_challenge)
    assert str(result.agent_id) == f"spiffe://example.org/spire/agent/join_token/{TOKEN}"
    assert result.selectors == ()
    assert not result.can_reattest
    with pytest.raises(InvalidArgument, match=GONE):
        await server.attest(TOKEN.encode(), no_challenge)


async def test_of_many_at_once_one_wins(server: ServerNodeAttestor) -> None:
    results = await asyncio.gather(
        *(server.attest(TOKEN.encode(), no_challenge) for _ in range(10)), return_exceptions=True
    )
    assert len([each for each in results if isinstance(each, NodeAttestation)]) == 1
    assert len([each for each in results if isinstance(each, InvalidArgument)]) == 9


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b"other", id="unknown"),
        pytest.param(TOKEN.upper().encode(), id="other case"),
        pytest.param(TOKEN.encode() + b" ", id="blank behind"),
        pytest.param(b"%", id="pattern"),
        pytest.param(b"\xff", id="no UTF-8"),
        pytest.param(b"a\x00b", id="null byte"),
        pytest.param(b"a" * 5_000_000, id="large"),
    ],
)
async def test_an_unknown_token_does_not_exist(server: ServerNodeAttestor, payload: bytes) -> None:
    with pytest.raises(InvalidArgument, match=GONE):
        await server.attest(payload, no_challenge)
    await server.attest(TOKEN.encode(), no_challenge)


async def test_a_token_is_good_until_it_expires(
    server: ServerNodeAttestor, clock: FakeClock
) -> None:
    await clock.advance(10 * MINUTE)
    await server.attest(TOKEN.encode(), no_challenge)


async def test_an_old_token_is_refused_and_gone(
    server: ServerNodeAttestor, clock: FakeClock
) -> None:
    await clock.advance(10 * MINUTE + timedelta(seconds=1))
    with pytest.raises(InvalidArgument, match=r"^join token expired$"):
        await server.attest(TOKEN.encode(), no_challenge)
    with pytest.raises(InvalidArgument, match=GONE):
        await server.attest(TOKEN.encode(), no_challenge)


@pytest.mark.parametrize("value", ["a b", "../server", "a/../../server", "a/b", "ä", ".."])
async def test_a_token_that_is_no_path_names_no_agent(
    server: ServerNodeAttestor, store: Datastore, clock: FakeClock, value: str
) -> None:
    await store.create_join_token(JoinToken(value, clock.now() + MINUTE))
    with pytest.raises(Internal, match="failed to create join token ID") as refused:
        await server.attest(value.encode(), no_challenge)
    assert value not in str(refused.value)


async def test_a_database_that_is_away_is_told_of(clock: FakeClock) -> None:
    class Away:
        async def take_join_token(self, value: str) -> JoinToken | None:
            raise Unavailable("the database is away")

    server = JoinTokenAttestor(tokens=Away(), trust_domain=TRUST_DOMAIN, clock=clock)
    with pytest.raises(Internal, match=r"^failed to fetch join token: the database is away$"):
        await server.attest(TOKEN.encode(), no_challenge)


async def test_an_agent_without_a_token_says_so() -> None:
    agent = agent_end.configure({}, PluginContext(TRUST_DOMAIN))
    assert agent.type == "join_token"
    with pytest.raises(InvalidArgument, match="join token was not provided"):
        await agent.payload()
    with pytest.raises(InvalidArgument):
        await agent.respond(b"")


async def test_the_block_of_the_server_does_nothing() -> None:
    context = PluginContext(TRUST_DOMAIN)
    server = server_end.configure({"ttl": 1}, context)
    assert context.warnings == ['unknown setting "ttl" encountered']
    with pytest.raises(Unimplemented):
        await server.attest(TOKEN.encode(), no_challenge)
