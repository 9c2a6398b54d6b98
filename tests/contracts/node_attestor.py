"""What every node attestor promises, of its two ends together."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spire_py.errors import SpireError
from spire_py.plugin_api.node_attestor import (
    AgentNodeAttestor,
    NodeAttestation,
    ServerNodeAttestor,
)

_FUZZ = settings(
    # A contract runs in many classes, and the ends under test keep nothing between examples.
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.differing_executors,
    ],
    max_examples=150,
    deadline=None,
)


async def attest(server: ServerNodeAttestor, agent: AgentNodeAttestor) -> NodeAttestation:
    """One attestation, as server and agent do it between them."""
    return await server.attest(await agent.payload(), agent.respond)


async def no_challenge(_challenge: bytes) -> bytes:
    raise AssertionError("no challenge was due")


class NodeAttestorContract:
    """A subclass gives the fixtures `server` and `agent`, two ends that trust each other."""

    async def test_the_agent_attests(
        self, server: ServerNodeAttestor, agent: AgentNodeAttestor
    ) -> None:
        result = await attest(server, agent)
        assert result.agent_id.path.startswith(f"/spire/agent/{agent.type}/")
        assert {selector.type for selector in result.selectors} <= {agent.type}

    async def test_an_agent_that_may_reattest_gets_the_same_id(
        self, server: ServerNodeAttestor, agent: AgentNodeAttestor
    ) -> None:
        first = await attest(server, agent)
        if first.can_reattest:
            assert await attest(server, agent) == first

    @pytest.mark.parametrize(
        "payload",
        [
            pytest.param(b"", id="empty"),
            pytest.param(b"{}", id="empty object"),
            pytest.param(b"[]", id="list"),
            pytest.param(b"null", id="null"),
            pytest.param(b"\xff", id="no UTF-8"),
            pytest.param(b"[" * 100_000, id="deeply nested"),
            pytest.param(b"\x00" * 5_000_000, id="large"),
        ],
    )
    async def test_a_malformed_payload_is_refused(
        self, server: ServerNodeAttestor, payload: bytes
    ) -> None:
        with pytest.raises(SpireError):
            await server.attest(payload, no_challenge)

    @_FUZZ
    @given(payload=st.binary(max_size=200))
    async def test_no_random_payload_attests(
        self, server: ServerNodeAttestor, payload: bytes
    ) -> None:
        with pytest.raises(SpireError):
            await server.attest(payload, no_challenge)

    @_FUZZ
    @given(data=st.data())
    async def test_no_changed_payload_breaks_the_server(
        self, server: ServerNodeAttestor, agent: AgentNodeAttestor, data: st.DataObject
    ) -> None:
        payload = bytearray(await agent.payload())
        position = data.draw(st.integers(0, len(payload) - 1))
        payload[position] ^= data.draw(st.integers(1, 255))
        with contextlib.suppress(SpireError):
            await server.attest(bytes(payload), agent.respond)

    @_FUZZ
    @given(challenge=st.binary(max_size=200))
    async def test_no_random_challenge_breaks_the_agent(
        self, agent: AgentNodeAttestor, challenge: bytes
    ) -> None:
        await agent.payload()
        with pytest.raises(SpireError):
            await agent.respond(challenge)
