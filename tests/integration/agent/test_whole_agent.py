"""The agent as a whole against a server over TLS, with time in the test's hand."""

from __future__ import annotations

import asyncio
import socket
from datetime import timedelta
from pathlib import Path

import pytest

from spire_py._proto import workload_pb2
from spire_py.crypto.pem import certificates_to_pem
from spire_py.errors import (
    Internal,
    PermissionDenied,
    SpireError,
)
from spire_py.spiffe.bundle_format import bundle_to_json
from tests.integration.agent.world import AT_REST, ME, World
from tests.unit.agent.builders import OTHER, Authority


class TestStart:
    async def test_a_new_agent_attests_and_serves(self, world: World) -> None:
        world.server.add_entry("a", ME)
        world.server.add_entry("b", ME)
        world.server.add_entry("c", "unix:uid:4000000000")
        async with world.agent():
            assert await world.ids() == ["spiffe://example.org/a", "spiffe://example.org/b"]
            tokens = await world.call(
                "FetchJWTSVID",
                workload_pb2.JWTSVIDRequest(audience=["x"]),
                workload_pb2.JWTSVIDResponse,
            )
            validated = await world.call(
                "ValidateJWTSVID",
                workload_pb2.ValidateJWTSVIDRequest(audience="x", svid=tokens.svids[1].svid),
                workload_pb2.ValidateJWTSVIDResponse,
            )
        assert validated.spiffe_id == "spiffe://example.org/b"
        assert world.server.calls[:2] == ["AttestAgent", "GetBundle"]
        assert world.server.versions
        assert world.stored["reattestable"] is False
        assert world.stored["bootstrap_use"] == 2

    @pytest.mark.spec(90)
    async def test_the_socket_is_of_this_host_and_open_to_all_its_users(self, world: World) -> None:
        async with world.agent():
            assert world.socket.is_socket()
            assert world.socket.stat().st_mode & 0o777 == 0o777
            assert world.socket.parent.stat().st_mode & 0o777 == 0o755
        assert not world.socket.exists()

    async def test_without_any_api_there_is_no_socket(
        self, world: World, capsys: pytest.CaptureFixture[str]
    ) -> None:
        world.bootstrap += "\ndisable_workload_api = true\ndisable_sds_api = true"
        async with world.agent():
            assert not world.socket.exists()
            assert world.admin.exists()
        assert "Skipping agent APIs because public endpoint is disabled" in capsys.readouterr().out

    async def test_a_second_agent_does_not_take_the_socket(self, world: World) -> None:
        world.server.reattestable = True
        async with world.agent():
            with pytest.raises(SpireError):
                await asyncio.wait_for(world.start(), 20)
            assert world.socket.exists()

    async def test_a_restarted_agent_uses_its_svid_again(self, world: World) -> None:
        world.server.add_entry("a", ME)
        async with world.agent():
            await world.ids()
        async with world.agent():
            assert await world.ids() == ["spiffe://example.org/a"]
        assert world.server.count("AttestAgent") == 1

    async def test_a_restarted_agent_trusts_its_stored_bundle(self, world: World) -> None:
        async with world.agent():
            pass
        world.write_bundle(certificates_to_pem([Authority(OTHER).certificate]))
        async with world.agent():
            pass

    @pytest.mark.parametrize("lost", ["keys.json", "agent-data.json"])
    async def test_an_agent_that_lost_half_of_its_identity_attests_anew(
        self, world: World, lost: str
    ) -> None:
        world.server.reattestable = True
        async with world.agent():
            pass
        (world.folder / "data" / lost).unlink()
        async with world.agent():
            pass
        assert world.server.count("AttestAgent") == 2

    async def test_an_expired_svid_is_not_used(self, world: World) -> None:
        world.server.reattestable = True
        async with world.agent():
            pass
        world.clock.jump(timedelta(hours=2))
        async with world.agent():
            pass
        assert world.server.count("AttestAgent") > 1

    async def test_a_server_without_sync_is_asked_in_the_old_way(self, world: World) -> None:
        world.server.offers_sync = False
        world.server.add_entry("a", ME)
        async with world.agent():
            assert await world.ids() == ["spiffe://example.org/a"]
            await world.pass_time(timedelta(seconds=20))
        assert world.server.count("SyncAuthorizedEntries") == 1
        assert world.server.count("GetAuthorizedEntries") > 1

    async def test_health_is_told_over_http(self, world: World) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        world.more = (
            "health_checks { listener_enabled = true "
            f'bind_address = "127.0.0.1" bind_port = "{port}" }}'
        )
        async with world.agent():
            await world.clock.advance(timedelta(seconds=2))
            await world.clock.sleepers(AT_REST + 1)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answer = await asyncio.wait_for(reader.read(), 20)
            writer.close()
            await writer.wait_closed()
        assert answer.startswith(b"HTTP/1.1 200")


class TestBootstrap:
    async def test_a_spiffe_bundle_will_do(self, world: World) -> None:
        world.bootstrap += '\ntrust_bundle_format = "spiffe"'
        world.write_bundle(bundle_to_json(world.server.bundle))
        async with world.agent():
            assert world.server.serials

    async def test_a_server_of_another_authority_never_sees_the_token(self, world: World) -> None:
        world.write_bundle(certificates_to_pem([Authority().certificate]))
        task = world.start()
        await world.clock.sleepers(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert world.server.presented_tokens == []

    @pytest.mark.parametrize("insecure", [False, True])
    async def test_a_server_of_another_id_never_sees_the_token(
        self, folder: Path, insecure: bool
    ) -> None:
        world = World(folder)
        world.server.server_path = "/workload"
        if insecure:
            world.bootstrap = "insecure_bootstrap = true"
        await world.server.start()
        task = world.start()
        await world.clock.sleepers(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await world.server.stop()
        assert world.server.presented_tokens == []

    async def test_an_insecure_agent_trusts_the_first_server(self, world: World) -> None:
        world.bootstrap = "insecure_bootstrap = true"
        world.server.add_entry("a", ME)
        async with world.agent():
            assert await world.ids() == ["spiffe://example.org/a"]

    async def test_attestation_is_tried_again(self, world: World) -> None:
        await world.server.stop()
        task = world.start()
        for _ in range(3):
            await world.clock.sleepers(1)
            await world.clock.advance(timedelta(seconds=13))
        await world.clock.sleepers(1)
        await world.server.start()
        await world.clock.advance(timedelta(seconds=20))
        await world.clock.sleepers(AT_REST)
        assert world.server.serials
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def test_attestation_is_given_up_after_a_minute(self, world: World) -> None:
        world.server.attest_error = Internal("failed to attest: the API server is away")
        task = world.start()
        for _ in range(6):
            if not task.done():
                await world.clock.sleepers(1)
                await world.clock.advance(timedelta(seconds=30))
                await asyncio.wait((task,), timeout=0.2)
        with pytest.raises(Internal):
            await asyncio.wait_for(task, 20)

    async def test_a_refusal_ends_the_agent_at_once(self, world: World) -> None:
        world.server.attest_error = PermissionDenied("failed to attest: agent is banned")
        with pytest.raises(PermissionDenied, match="agent is banned"):
            await asyncio.wait_for(world.start(), 20)
        assert world.server.count("AttestAgent") == 1
