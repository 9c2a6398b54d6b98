"""What a running agent makes of changes: rotations, admins, a new server, bans."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from spire_py._proto import workload_pb2
from spire_py._proto.spire.agent import debug_pb2
from spire_py._proto.spire.api import types_pb2
from spire_py._proto.spire.api.agent import logger_pb2
from spire_py.agent.denial import AgentBanned, AttestationLost
from spire_py.agent.rebootstrap import Rebootstrapping
from spire_py.agent.storage import AgentStorage
from spire_py.crypto.pem import certificates_to_pem
from spire_py.errors import (
    FailedPrecondition,
    InvalidArgument,
    PermissionDenied,
    Unavailable,
    Unimplemented,
)
from spire_py.spiffe.id import TrustDomain
from tests.fakes.spire_server import FakeSpireServer
from tests.integration.agent.world import AT_REST, HEADER, ME, TOKEN, World
from tests.unit.agent.builders import OTHER, Authority


class TestLife:
    async def test_a_new_entry_reaches_its_workload(self, world: World) -> None:
        async with world.agent():
            with pytest.raises(PermissionDenied):
                await world.ids()
            world.server.add_entry("a", ME)
            await world.pass_time(timedelta(seconds=10))
            assert await world.ids() == ["spiffe://example.org/a"]

    async def test_federated_bundles_reach_workloads(self, world: World) -> None:
        other = Authority(OTHER)
        world.server.federated[OTHER.name] = other.bundle
        world.server.add_entry("a", ME, federates_with=[OTHER.name, "gone.test"])
        async with world.agent():
            response = await world.fetch(
                "FetchX509Bundles",
                workload_pb2.X509BundlesRequest(),
                workload_pb2.X509BundlesResponse,
            )
        assert dict(response.bundles) == {
            "spiffe://example.org": world.server.certificate,
            "spiffe://other.test": other.certificate,
        }

    async def test_workloads_notice_no_outage(self, world: World) -> None:
        world.server.add_entry("a", ME)
        async with world.agent():
            assert await world.ids() == ["spiffe://example.org/a"]
            await world.server.stop()
            await world.pass_time(timedelta(minutes=10), timedelta(minutes=1))
            assert await world.ids() == ["spiffe://example.org/a"]
            with pytest.raises(Unavailable, match="could not fetch JWT-SVID"):
                await world.call(
                    "FetchJWTSVID",
                    workload_pb2.JWTSVIDRequest(audience=["x"]),
                    workload_pb2.JWTSVIDResponse,
                )
            world.server.add_entry("b", ME)
            await world.server.start()
            await world.pass_time(timedelta(minutes=10), timedelta(minutes=1))
            assert await world.ids() == ["spiffe://example.org/a", "spiffe://example.org/b"]

    async def test_the_agents_svid_is_renewed_and_the_old_one_left(self, world: World) -> None:
        world.server.add_entry("a", ME)
        async with world.agent():
            before = dict(world.server.serials)
            stored = world.stored["svid"]
            # The first of an hour is renewed after 27 to 33 minutes. The second, which begins in
            # the past as OpenSSL's clock stands still, may have its turn after 39.
            await world.pass_time(timedelta(minutes=36), timedelta(seconds=30))
            assert world.server.count("RenewAgent") == 1
            assert world.server.serials != before
            assert world.stored["svid"] != stored
            assert await world.ids() == ["spiffe://example.org/a"]
        async with world.agent():
            assert await world.ids() == ["spiffe://example.org/a"]
        assert world.server.count("AttestAgent") == 1

    async def test_workload_svids_are_rotated_on_live_streams(self, world: World) -> None:
        world.server.add_entry("a", ME)
        async with (
            world.agent(),
            world.workload() as channel,
            channel.server_stream(
                "/SpiffeWorkloadAPI/FetchX509SVID",
                workload_pb2.X509SVIDRequest(),
                workload_pb2.X509SVIDResponse,
                timeout=60,
                metadata=HEADER,
            ) as messages,
        ):
            first = await anext(messages)
            await world.pass_time(timedelta(minutes=40), timedelta(minutes=1))
            second = await anext(messages)
        assert first.svids[0].spiffe_id == second.svids[0].spiffe_id
        assert first.svids[0].x509_svid != second.svids[0].x509_svid
        assert first.svids[0].x509_svid_key != second.svids[0].x509_svid_key

    async def test_a_new_bundle_is_kept_for_the_next_start(self, world: World) -> None:
        async with world.agent():
            added = Authority().bundle.x509_authorities
            world.server.bundle = world.server.bundle.with_changes(
                x509_authorities=(*world.server.bundle.x509_authorities, *added)
            )
            await world.pass_time(timedelta(seconds=10))
        assert len(AgentStorage.open(world.folder / "data").data.bundle) == 2

    async def test_svids_of_a_tainted_authority_are_replaced(self, world: World) -> None:
        world.server.add_entry("a", ME)
        async with (
            world.agent(),
            world.workload() as channel,
            channel.server_stream(
                "/SpiffeWorkloadAPI/FetchX509SVID",
                workload_pb2.X509SVIDRequest(),
                workload_pb2.X509SVIDResponse,
                timeout=60,
                metadata=HEADER,
            ) as messages,
        ):
            first = await anext(messages)
            world.server.taint()
            await world.pass_time(timedelta(seconds=20))
            second = await anext(messages)
            assert first.svids[0].x509_svid != second.svids[0].x509_svid
            assert world.server.count("RenewAgent") == 1

    async def test_a_foreign_bundle_is_not_taken_for_the_own(self, world: World) -> None:
        world.server.add_entry("a", ME)
        async with world.agent():
            assert await world.ids() == ["spiffe://example.org/a"]
            world.server.bundle = world.server.bundle.with_changes(
                trust_domain=TrustDomain("evil.test")
            )
            await world.pass_time(timedelta(seconds=10))
            assert await world.ids() == ["spiffe://example.org/a"]


class TestAdmin:
    async def test_the_admin_socket_tells_of_the_agent(self, world: World) -> None:
        world.server.add_entry("a", ME)
        async with world.agent():
            await world.ids()
            await world.clock.advance(timedelta(seconds=3))
            assert world.admin.stat().st_mode & 0o777 == 0o770
            info = await world.administer(
                "spire.agent.debug.v1.Debug/GetInfo",
                debug_pb2.GetInfoRequest(),
                debug_pb2.GetInfoResponse,
            )
        [svid, root] = info.svid_chain
        assert svid.id.path == f"/spire/agent/join_token/{TOKEN}"
        assert svid.subject == "O=SPIRE,C=US"
        assert (root.id.trust_domain, root.id.path) == ("example.org", "")
        assert root.subject.startswith("SERIALNUMBER=")
        assert (info.svids_count, info.cached_x509_svids_count) == (1, 1)
        assert info.uptime == 3
        assert info.last_sync_success

    async def test_the_log_level_can_be_changed(self, world: World) -> None:
        service = "spire.api.agent.logger.v1.Logger"
        levels = types_pb2.LogLevel
        async with world.agent():
            changed = await world.administer(
                f"{service}/SetLogLevel",
                logger_pb2.SetLogLevelRequest(new_level=levels.DEBUG),
                types_pb2.Logger,
            )
            assert (changed.current_level, changed.launch_level) == (levels.DEBUG, levels.INFO)
            for level in (levels.UNSPECIFIED, 99):
                with pytest.raises(InvalidArgument):
                    await world.administer(
                        f"{service}/SetLogLevel",
                        logger_pb2.SetLogLevelRequest(new_level=level),  # type: ignore[arg-type]
                        types_pb2.Logger,
                    )
            await world.administer(
                f"{service}/ResetLogLevel", logger_pb2.ResetLogLevelRequest(), types_pb2.Logger
            )
            state = await world.administer(
                f"{service}/GetLogger", logger_pb2.GetLoggerRequest(), types_pb2.Logger
            )
            assert state.current_level == levels.INFO

    async def test_workloads_find_nothing_of_it_on_their_socket(self, world: World) -> None:
        async with world.agent(), world.workload() as channel:
            with pytest.raises(Unimplemented):
                await channel.unary(
                    "/spire.agent.debug.v1.Debug/GetInfo",
                    debug_pb2.GetInfoRequest(),
                    debug_pb2.GetInfoResponse,
                    timeout=20,
                )


class TestRebootstrap:
    """The server lost its keys and came back with new ones."""

    async def replace_server(self, world: World) -> None:
        await world.server.stop()
        former, world.server = world.server, FakeSpireServer(now=world.clock.now)
        world.server.port = former.port
        world.server.tokens = former.tokens
        world.server.reattestable = True
        world.write_bundle(certificates_to_pem([world.server.certificate]))
        await world.server.start()

    async def test_the_agent_begins_anew_after_the_delay(self, world: World) -> None:
        world.bootstrap += '\nrebootstrap_mode = "always"\nrebootstrap_delay = "10m"'
        world.server.reattestable = True
        async with world.agent() as agent:
            await self.replace_server(world)
            await world.pass_time(timedelta(minutes=9), timedelta(minutes=1))
            assert not agent.done()
            await world.clock.advance(timedelta(minutes=6))
            with pytest.raises(Rebootstrapping):
                await asyncio.wait_for(agent, 20)
        assert (world.stored["svid"], world.stored["bundle"]) == (None, None)
        async with world.agent():
            assert world.server.count("AttestAgent") == 1

    async def test_it_goes_on_trying_where_that_is_not_wanted(self, world: World) -> None:
        world.server.reattestable = True
        world.server.add_entry("a", ME)
        async with world.agent() as agent:
            assert await world.ids() == ["spiffe://example.org/a"]
            await self.replace_server(world)
            await world.pass_time(timedelta(minutes=25), timedelta(minutes=1))
            assert not agent.done()
            assert await world.ids() == ["spiffe://example.org/a"]
        assert world.server.calls == []

    async def test_an_outage_is_no_reason(self, world: World) -> None:
        world.bootstrap += '\nrebootstrap_mode = "always"\nrebootstrap_delay = "10m"'
        world.server.reattestable = True
        async with world.agent() as agent:
            await world.server.stop()
            await world.pass_time(timedelta(minutes=25), timedelta(minutes=1))
            assert not agent.done()
        assert world.stored["svid"]

    async def test_an_agent_that_starts_into_it_takes_the_new_bundle(self, world: World) -> None:
        world.bootstrap += '\nrebootstrap_mode = "always"\nrebootstrap_delay = "1s"'
        world.server.reattestable = True
        async with world.agent():
            pass
        (world.folder / "data" / "keys.json").unlink()
        await self.replace_server(world)
        task = world.start()
        for _ in range(2):
            await world.clock.sleepers(1)
            await world.clock.advance(timedelta(seconds=12))
        await world.clock.sleepers(AT_REST)
        assert world.server.count("AttestAgent") == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def test_an_agent_that_could_not_attest_again_does_not_start(self, world: World) -> None:
        world.bootstrap += '\nrebootstrap_mode = "always"'
        with pytest.raises(FailedPrecondition, match="requested rebootstrap support"):
            await asyncio.wait_for(world.start(), 20)

    async def test_or_starts_without(self, world: World) -> None:
        world.bootstrap += '\nrebootstrap_mode = "auto"\nrebootstrap_delay = "1m"'
        async with world.agent() as agent:
            await self.replace_server(world)
            await world.pass_time(timedelta(minutes=20), timedelta(minutes=1))
            assert not agent.done()


class TestStanding:
    async def test_a_banned_agent_ends_and_forgets_its_svid(self, world: World) -> None:
        async with world.agent() as agent:
            world.server.banned.update(world.server.serials)
            await world.clock.advance(timedelta(seconds=10))
            with pytest.raises(AgentBanned):
                await asyncio.wait_for(agent, 20)
        assert world.stored["svid"] is None
        assert world.stored["bundle"]
        assert not world.socket.exists()

    async def test_an_evicted_agent_that_cannot_attest_again_ends(self, world: World) -> None:
        async with world.agent() as agent:
            world.server.forget_agents()
            await world.clock.advance(timedelta(seconds=10))
            with pytest.raises(AttestationLost):
                await asyncio.wait_for(agent, 20)
        assert world.stored["svid"] is None

    async def test_an_evicted_agent_that_can_does_so_and_goes_on(self, world: World) -> None:
        world.server.reattestable = True
        world.server.add_entry("a", ME)
        async with world.agent():
            world.server.forget_agents()
            await world.pass_time(timedelta(seconds=20))
            assert world.server.count("AttestAgent") == 2
            world.server.add_entry("b", ME)
            await world.pass_time(timedelta(seconds=20))
            assert await world.ids() == ["spiffe://example.org/a", "spiffe://example.org/b"]

    async def test_a_restarted_agent_that_was_evicted_attests_again(self, world: World) -> None:
        world.server.reattestable = True
        async with world.agent():
            pass
        world.server.forget_agents()
        async with world.agent():
            assert world.server.count("AttestAgent") == 2
