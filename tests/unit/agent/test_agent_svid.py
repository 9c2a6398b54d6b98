from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import pytest

from spire_py.agent.agent_svid import AgentSVID, IssuedSVID, SVIDKeeper, next_key
from spire_py.agent.denial import AgentBanned, AttestationLost, Reaction, reaction_to
from spire_py.agent.rotation import RotationStrategy
from spire_py.crypto.csr import parse_csr
from spire_py.crypto.keys import generate_key, public_key_der
from spire_py.errors import Internal, PermissionDenied, SpireError, Unavailable
from spire_py.plugin_api.key_manager import KeyManager, KeyType, ManagedKey
from spire_py.runtime.watch import Watch
from spire_py.wire.status import Reason, permission_denied
from tests.fakes.clock import FakeClock
from tests.unit.agent.builders import Authority

AGENT = "spiffe://example.org/spire/agent/join_token/x"


class FakeKeys(KeyManager):
    """Keys in memory."""

    def __init__(self) -> None:
        self.keys: dict[str, ManagedKey] = {}

    async def generate_key(self, key_id: str, key_type: KeyType) -> ManagedKey:
        self.keys[key_id] = ManagedKey(key_id, generate_key(key_type))
        return self.keys[key_id]

    async def get_keys(self) -> dict[str, ManagedKey]:
        return dict(self.keys)


class World:
    """A keeper, and the server and disk it depends on."""

    def __init__(self, first: AgentSVID, keys: FakeKeys, authority: Authority, clock: FakeClock):
        self.clock = clock
        self.authority = authority
        self.keys = keys
        self.first = first
        self.error: SpireError | None = None
        self.renewals = 0
        self.attestations = 0
        self.stored: list[AgentSVID] = []
        self.deleted = False
        self.disk_is_full = False
        self.steps: list[str] = []
        self.svid = Watch(first)
        self.keeper = SVIDKeeper(
            svid=self.svid,
            issuer=self,
            keys=keys,
            store=self,
            clock=clock,
            strategy=RotationStrategy(),
            on_change=lambda: self.steps.append("reconnected"),
        )

    async def renew(self, csr: bytes) -> tuple[bytes, ...]:
        self.renewals += 1
        return self._sign(csr)

    async def attest(self, csr: bytes) -> IssuedSVID:
        self.attestations += 1
        await asyncio.sleep(0)
        return IssuedSVID(self._sign(csr), reattestable=True)

    async def store_svid(self, svid: AgentSVID) -> None:
        if self.disk_is_full:
            raise Internal("failed to write data file: no space left on device")
        self.steps.append("stored")
        self.stored.append(svid)

    async def delete_svid(self) -> None:
        self.deleted = True

    def _sign(self, csr: bytes) -> tuple[bytes, ...]:
        if self.error is not None:
            raise self.error
        request = parse_csr(csr)
        assert request.uris == ()
        self.authority.now = self.clock.now()
        return self.authority.chain(request.public_key_der, AGENT)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        task: asyncio.Task[None] = asyncio.create_task(self.keeper.run())
        await self.clock.sleepers(1)
        try:
            yield task
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError, SpireError):
                await task


async def make_world(*, reattestable: bool = False) -> World:
    clock, authority, keys = FakeClock(), Authority(), FakeKeys()
    key = await next_key(keys, None)
    chain = authority.chain(public_key_der(key.private_key), AGENT)
    first = AgentSVID.from_chain(chain, key, reattestable=reattestable)
    return World(first, keys, authority, clock)


class TestRotation:
    async def test_the_svid_is_renewed_at_half_of_its_life(self) -> None:
        world = await make_world()
        async with world.running():
            await world.clock.advance(timedelta(minutes=25))
            assert world.renewals == 0
            await world.clock.advance(timedelta(minutes=10))
        assert (world.renewals, world.attestations) == (1, 0)
        assert world.keeper.svid is not world.first
        assert world.keeper.svid.id == world.first.id

    async def test_the_new_one_is_stored_before_it_is_used(self) -> None:
        world = await make_world()
        async with world.running():
            await world.clock.advance(timedelta(minutes=35))
        assert world.steps == ["stored", "reconnected"]

    async def test_one_that_cannot_be_stored_is_not_used_while_there_is_time(self) -> None:
        world = await make_world()
        world.disk_is_full = True
        async with world.running():
            await world.clock.advance(timedelta(minutes=35))
            assert world.keeper.svid is world.first
            world.disk_is_full = False
            await world.clock.advance(timedelta(minutes=3))
            assert world.stored == [world.keeper.svid]
        assert world.keeper.svid is not world.first

    @pytest.mark.parametrize("reattestable", [False, True])
    async def test_one_that_cannot_be_stored_in_time_is_used_and_stored_later(
        self, reattestable: bool
    ) -> None:
        world = await make_world(reattestable=reattestable)
        world.disk_is_full = True
        async with world.running():
            await world.clock.advance(timedelta(minutes=50))
            second = world.keeper.svid
            assert second is not world.first
            assert world.stored == []
            world.disk_is_full = False
            await world.clock.advance(timedelta(minutes=3))
        assert world.stored[0] is second

    async def test_keys_take_turns(self) -> None:
        world = await make_world()
        seen = [world.first.key.key_id]
        async with world.running():
            for _ in range(3):
                await world.clock.advance(timedelta(minutes=35))
                seen.append(world.keeper.svid.key.key_id)
        assert seen == ["agent-svid-A", "agent-svid-B", "agent-svid-A", "agent-svid-B"]

    async def test_an_agent_that_can_attest_again_does_so_instead(self) -> None:
        world = await make_world(reattestable=True)
        async with world.running():
            await world.clock.advance(timedelta(minutes=35))
        assert (world.renewals, world.attestations) == (0, 1)

    async def test_a_distrusted_svid_is_replaced_at_once(self) -> None:
        world = await make_world()
        async with world.running():
            world.keeper.rotate_now()
            await world.clock.advance(timedelta(seconds=6))
            await world.clock.advance(timedelta(minutes=1))
        assert world.renewals == 1

    async def test_a_failed_renewal_is_tried_again(self) -> None:
        world = await make_world()
        world.error = Unavailable("away")
        async with world.running():
            await world.clock.advance(timedelta(minutes=40))
            assert world.keeper.svid is world.first
            world.error = None
            await world.clock.advance(timedelta(minutes=5))
        assert world.keeper.svid is not world.first
        assert not world.deleted


class TestExpiry:
    async def test_an_agent_that_cannot_attest_again_ends(self) -> None:
        world = await make_world()
        world.error = Unavailable("away")
        async with world.running() as task:
            await world.clock.advance(timedelta(hours=1, minutes=3))
            with pytest.raises(AttestationLost, match="current SVID has already expired"):
                await asyncio.wait_for(task, 20)
        assert world.deleted

    async def test_one_that_can_goes_on_trying(self) -> None:
        world = await make_world(reattestable=True)
        world.error = Unavailable("away")
        async with world.running():
            await world.clock.advance(timedelta(hours=5))
            world.error = None
            await world.clock.advance(timedelta(minutes=5))
        assert world.keeper.svid is not world.first


class TestRefusals:
    @pytest.mark.parametrize(
        ("reason", "reaction"),
        [
            pytest.param(Reason.AGENT_EXPIRED, Reaction.REATTEST, id="expired"),
            pytest.param(Reason.AGENT_NOT_ATTESTED, Reaction.REATTEST, id="not attested"),
            pytest.param(Reason.AGENT_NOT_ACTIVE, Reaction.REATTEST, id="not active"),
            pytest.param(Reason.AGENT_MUST_REATTEST, Reaction.REATTEST, id="must reattest"),
            pytest.param(Reason.AGENT_BANNED, Reaction.SHUT_DOWN, id="banned"),
            pytest.param(Reason.UNKNOWN, Reaction.TRY_AGAIN, id="unknown"),
        ],
    )
    def test_the_reason_decides(self, reason: Reason, reaction: Reaction) -> None:
        assert reaction_to(permission_denied(reason, "no")) is reaction

    @pytest.mark.parametrize(
        "error",
        [
            pytest.param(PermissionDenied("no"), id="no details"),
            pytest.param(PermissionDenied("no", details=(b"\xff\xff",)), id="broken details"),
            pytest.param(Unavailable("no"), id="unavailable"),
            pytest.param(
                Unavailable("no", details=permission_denied(Reason.AGENT_BANNED, "").details),
                id="details of another code",
            ),
        ],
    )
    async def test_other_errors_cost_nothing(self, error: SpireError) -> None:
        world = await make_world()
        await world.keeper.heal(error)
        assert world.keeper.svid is world.first
        assert not world.deleted

    async def test_a_ban_deletes_the_svid_and_ends_the_agent(self) -> None:
        world = await make_world(reattestable=True)
        with pytest.raises(AgentBanned):
            await world.keeper.heal(permission_denied(Reason.AGENT_BANNED, "banned"))
        assert world.deleted
        assert world.attestations == 0

    async def test_an_agent_that_can_attests_again(self) -> None:
        world = await make_world(reattestable=True)
        await world.keeper.heal(permission_denied(Reason.AGENT_NOT_ATTESTED, "gone"))
        assert world.attestations == 1
        assert world.keeper.svid is not world.first
        assert not world.deleted

    async def test_one_that_cannot_deletes_its_svid_and_ends(self) -> None:
        world = await make_world()
        with pytest.raises(AttestationLost):
            await world.keeper.heal(permission_denied(Reason.AGENT_NOT_ATTESTED, "gone"))
        assert world.deleted
        assert world.attestations == 0

    async def test_attestation_that_is_refused_ends_the_agent(self) -> None:
        world = await make_world(reattestable=True)
        world.error = Internal("no")
        with pytest.raises(AttestationLost):
            await world.keeper.heal(permission_denied(Reason.AGENT_EXPIRED, "expired"))
        assert world.deleted

    async def test_an_outage_during_it_does_not(self) -> None:
        world = await make_world(reattestable=True)
        world.error = Unavailable("away")
        await world.keeper.heal(permission_denied(Reason.AGENT_EXPIRED, "expired"))
        assert not world.deleted

    async def test_many_refusals_at_once_bring_one_attestation(self) -> None:
        world = await make_world(reattestable=True)
        refusal = permission_denied(Reason.AGENT_EXPIRED, "expired")
        async with asyncio.TaskGroup() as tasks:
            for _ in range(5):
                tasks.create_task(world.keeper.heal(refusal))
        assert world.attestations == 1


def test_the_key_is_not_shown() -> None:
    world = asyncio.run(make_world())
    assert "key=" not in repr(world.first)
