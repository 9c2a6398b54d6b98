"""SPIRE's server or agent stops, ours goes on with what it left, and back again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.daemons import OUR_AGENT, OUR_SERVER, TRUST_DOMAIN, Stack, new_stack
from tests.integration.peers.conftest import ONE, QUICK_AGENT, QUICK_SERVER
from tests.peers.find import peer_binary
from tests.peers.process import PeerProcess, running

pytestmark = [
    pytest.mark.peer("spire-server"),
    pytest.mark.peer("spire-agent"),
    pytest.mark.peer("workload"),
]

Find = Callable[[str], Path]


@pytest.fixture
def stack() -> Iterator[Stack]:
    """SPIRE's server and agent with one entry."""
    with new_stack(
        server_program=(str(peer_binary("spire-server")),),
        agent_program=(str(peer_binary("spire-agent")),),
        server_keys=QUICK_SERVER,
        agent_keys=QUICK_AGENT,
    ) as stack:
        yield stack


async def until(watching: PeerProcess, ids: list[str]) -> list[str]:
    """Wait until the workload has just these identities; their serial numbers."""
    while True:
        svids = (await watching.event("x509", timeout=60))["svids"]
        if [svid["id"] for svid in svids] == ids:
            return [svid["serial"] for svid in svids]


def follow(find: Find, stack: Stack) -> tuple[Path, str, str, str, str, str]:
    socket = f"unix://{stack.agent_socket}"
    return find("workload"), "watch", "-socket", socket, "-timeout", "110s"


def listed(stack: Stack, what: str) -> object:
    return json.loads(stack.server(what, "list", "-output", "json"))


async def test_a_workload_keeps_its_stream_while_servers_change(
    require_peer: Find, stack: Stack
) -> None:
    first = await asyncio.to_thread(stack.start_server)
    await asyncio.to_thread(stack.start_agent)
    await asyncio.to_thread(stack.create_entry, "one", "-entryID", "1-one")
    async with running(*follow(require_peer, stack)) as watching:
        await until(watching, [ONE])
        before = listed(stack, "entry"), listed(stack, "agent"), stack.server("bundle", "show")
        spire = stack.server_program
        await asyncio.to_thread(first.stop)
        stack.server_program = OUR_SERVER
        ours = await asyncio.to_thread(stack.start_server)
        assert (
            listed(stack, "entry"),
            listed(stack, "agent"),
            stack.server("bundle", "show"),
        ) == before
        await asyncio.to_thread(stack.create_entry, "two", "-entryID", "2-two")
        two = f"spiffe://{TRUST_DOMAIN}/two"
        await until(watching, [ONE, two])

        await asyncio.to_thread(ours.stop)
        stack.server_program = spire
        await asyncio.to_thread(stack.start_server)
        await asyncio.to_thread(stack.create_entry, "three", "-entryID", "3-three")
        await until(watching, [ONE, two, f"spiffe://{TRUST_DOMAIN}/three"])
        assert stack.server("bundle", "show") == before[2]


async def test_agents_change_without_a_new_attestation(require_peer: Find, stack: Stack) -> None:
    await asyncio.to_thread(stack.start_server)
    spire = stack.agent_program
    agent = await asyncio.to_thread(stack.start_agent)
    await asyncio.to_thread(stack.create_entry, "one", "-entryID", "1-one")
    before = serials(stack)
    for program in (OUR_AGENT, spire, OUR_AGENT):
        await asyncio.to_thread(agent.stop)
        stack.agent_program = program
        agent = await asyncio.to_thread(stack.start_agent)
        async with running(*follow(require_peer, stack)) as watching:
            await until(watching, [ONE])
        assert serials(stack) == before


def serials(stack: Stack) -> dict[str, str]:
    """Each agent's serial number: it changes when the agent attests or renews."""
    answer = json.loads(stack.server("agent", "list", "-output", "json"))
    return {agent["id"]["path"]: agent["x509svid_serial_number"] for agent in answer["agents"]}
