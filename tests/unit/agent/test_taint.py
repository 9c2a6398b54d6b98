from __future__ import annotations

from collections.abc import Container
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import timedelta

from spire_py.agent.agent_svid import AgentSVID, next_key
from spire_py.agent.taint import TaintResponder
from spire_py.agent.workload_cache import WorkloadCache
from spire_py.crypto.keys import public_key_der
from spire_py.spiffe.bundle import Bundle
from tests.fakes.clock import FakeClock
from tests.fakes.tasks import running
from tests.unit.agent.builders import Authority, by_domain, by_id, entry
from tests.unit.agent.test_agent_svid import AGENT, FakeKeys


class FakeTokens:
    """Notes which keys' tokens are to be forgotten."""

    def __init__(self) -> None:
        self.dropped: list[set[str]] = []

    def drop_signed_by(self, key_ids: Container[str]) -> int:
        assert isinstance(key_ids, frozenset)
        self.dropped.append(set(key_ids))
        return 0


class FakeAgent:
    """Notes whether the agent's SVID is to be replaced."""

    def __init__(self, svid: AgentSVID) -> None:
        self.svid = svid
        self.rotations = 0

    def rotate_now(self) -> None:
        self.rotations += 1


class World:
    """Two authorities of one trust domain: SVIDs are signed by both, one will be tainted."""

    def __init__(self, agent_svid: AgentSVID, first: Authority) -> None:
        self.clock = FakeClock()
        self.first, self.second = first, Authority()
        self.cache = WorkloadCache(bundle=first.bundle, max_svids=1000)
        self.tokens = FakeTokens()
        self.agent = FakeAgent(agent_svid)
        self.responder = TaintResponder(
            x509=self.cache, jwt=self.tokens, agent=self.agent, clock=self.clock
        )

    def hold(self, first: int, second: int) -> None:
        """Hold so many SVIDs of each authority."""
        entries = [entry(f"entry-{number:04}") for number in range(first + second)]
        self.cache.replace(by_id(*entries), by_domain(self.first.bundle))
        one = {item.id: self.first.svid(item) for item in entries[:first]}
        self.cache.store_svids(one | {item.id: self.second.svid(item) for item in entries[first:]})

    def bundle(self, *, x509: bool = False, jwt: bool = False) -> Bundle:
        """Of both authorities; the first one's certificate or key is tainted."""
        one, two = self.first.bundle, self.second.bundle
        return one.with_changes(
            x509_authorities=(
                replace(one.x509_authorities[0], tainted=x509),
                *two.x509_authorities,
            ),
            jwt_authorities=(replace(one.jwt_authorities[0], tainted=jwt), *two.jwt_authorities),
        )

    @property
    def due(self) -> list[str]:
        return [item.id for item in self.cache.due(self.clock.now())]

    def running(self) -> AbstractAsyncContextManager[None]:
        return running(self.responder.run())


async def make_world() -> World:
    first = Authority()
    key = await next_key(FakeKeys(), None)
    chain = first.chain(public_key_der(key.private_key), AGENT)
    return World(AgentSVID.from_chain(chain, key, reattestable=False), first)


async def test_what_a_tainted_authority_signed_is_replaced() -> None:
    world = await make_world()
    world.hold(2, 3)
    async with world.running():
        world.responder.note(world.bundle(x509=True))
        await world.clock.advance(timedelta(seconds=1))
    assert world.due == ["entry-0000", "entry-0001"]
    assert world.agent.rotations == 1
    assert world.tokens.dropped == []


async def test_replacement_comes_in_waves() -> None:
    world = await make_world()
    world.hold(250, 0)
    async with world.running():
        world.responder.note(world.bundle(x509=True))
        await world.clock.advance(timedelta(seconds=1))
        assert len(world.due) == 100
        await world.clock.advance(timedelta(seconds=5))
        assert len(world.due) == 200
        await world.clock.advance(timedelta(seconds=5))
        assert len(world.due) == 250


async def test_tokens_of_a_tainted_key_are_forgotten() -> None:
    world = await make_world()
    async with world.running():
        world.responder.note(world.bundle(jwt=True))
        await world.clock.advance(timedelta(seconds=1))
    assert world.tokens.dropped == [{world.first.key_id}]
    assert world.agent.rotations == 0


async def test_a_taint_is_responded_to_once() -> None:
    world = await make_world()
    async with world.running():
        for _ in range(3):
            world.responder.note(world.bundle(x509=True, jwt=True))
            await world.clock.advance(timedelta(seconds=1))
    assert world.agent.rotations == 1
    assert len(world.tokens.dropped) == 1


async def test_a_bundle_without_taints_changes_nothing() -> None:
    world = await make_world()
    world.hold(2, 0)
    async with world.running():
        world.responder.note(world.bundle())
        await world.clock.advance(timedelta(seconds=1))
    assert world.due == []
    assert world.agent.rotations == 0
