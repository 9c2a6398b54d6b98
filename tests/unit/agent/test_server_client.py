from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from spire_py._proto.spire.api import types_pb2
from spire_py._proto.spire.api.server import agent_pb2, bundle_pb2, svid_pb2
from spire_py.agent.server_client import ServerClient
from spire_py.errors import Internal, InvalidArgument, PermissionDenied, Unavailable
from spire_py.transport import CallContext, Channel, Service
from spire_py.wire.bundles import bundle_to_pb
from spire_py.wire.status import Reason, permission_denied
from tests.unit.agent.builders import EXAMPLE, OTHER, THIRD, Authority
from tests.unit.agent.sockets import served

NOW = 1_700_000_000


class FakeServer:
    """Answers what the test puts into its fields."""

    def __init__(self) -> None:
        self.bundle = bundle_to_pb(Authority().bundle)
        self.federated = bundle_to_pb(Authority(OTHER).bundle)
        self.signed = svid_pb2.BatchNewX509SVIDResponse()
        self.token = svid_pb2.NewJWTSVIDResponse()
        self.refusal: PermissionDenied | None = None
        self.asked = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def get_bundle(self, _request: Any, _context: CallContext) -> types_pb2.Bundle:
        return self.bundle

    async def get_federated_bundle(self, _request: Any, _context: CallContext) -> types_pb2.Bundle:
        return self.federated

    async def batch_new_x509svid(
        self, _request: Any, _context: CallContext
    ) -> svid_pb2.BatchNewX509SVIDResponse:
        return self.signed

    async def new_jwtsvid(self, _request: Any, _context: CallContext) -> Any:
        return self.token

    async def post_status(
        self, _request: Any, _context: CallContext
    ) -> agent_pb2.PostStatusResponse:
        self.asked.set()
        await self.go_on.wait()
        if self.refusal is not None:
            raise self.refusal
        return agent_pb2.PostStatusResponse()

    @property
    def services(self) -> list[Service]:
        return [
            Service(agent_pb2.DESCRIPTOR.services_by_name["Agent"], self),
            Service(bundle_pb2.DESCRIPTOR.services_by_name["Bundle"], self),
            Service(svid_pb2.DESCRIPTOR.services_by_name["SVID"], self),
        ]


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@asynccontextmanager
async def client_of(server: FakeServer) -> AsyncIterator[ServerClient]:
    async with served(server.services) as path:
        client = ServerClient(open_channel=lambda: Channel.unix(path), trust_domain=EXAMPLE)
        try:
            yield client
        finally:
            await client.aclose()


@pytest.fixture
async def client(server: FakeServer) -> AsyncIterator[ServerClient]:
    async with client_of(server) as made:
        yield made


class TestBundles:
    async def test_an_unchanged_bundle_is_the_same_object(
        self, server: FakeServer, client: ServerClient
    ) -> None:
        assert await client.fetch_bundle() is await client.fetch_bundle()
        first = await client.fetch_federated_bundle(OTHER)
        assert await client.fetch_federated_bundle(OTHER) is first
        server.bundle.sequence_number = 7
        assert (await client.fetch_bundle()).sequence_number == 7

    async def test_marks_of_taint_are_heeded(
        self, server: FakeServer, client: ServerClient
    ) -> None:
        server.bundle.x509_authorities[0].tainted = True
        server.bundle.jwt_authorities[0].tainted = True
        bundle = await client.fetch_bundle()
        assert (bundle.x509_authorities[0].tainted, bundle.jwt_authorities[0].tainted) == (
            True,
            True,
        )

    async def test_the_bundle_of_another_domain_is_refused(
        self, server: FakeServer, client: ServerClient
    ) -> None:
        server.bundle.trust_domain = "evil.test"
        with pytest.raises(InvalidArgument):
            await client.fetch_bundle()
        with pytest.raises(InvalidArgument):
            await client.fetch_federated_bundle(THIRD)


class TestSVIDs:
    async def test_entries_that_are_refused_are_left_out(
        self, server: FakeServer, client: ServerClient
    ) -> None:
        refused = server.signed.results.add()
        refused.status.code = 5
        server.signed.results.add().svid.cert_chain.extend([b"leaf", b"ca"])
        chains = await client.new_x509svids({"a": b"csr", "b": b"csr"})
        assert chains == {"b": (b"leaf", b"ca")}

    async def test_another_number_of_answers_is_an_error(self, client: ServerClient) -> None:
        with pytest.raises(Internal, match="another number"):
            await client.new_x509svids({"a": b"csr"})

    async def test_a_token_comes_with_its_times(
        self, server: FakeServer, client: ServerClient
    ) -> None:
        server.token.svid.CopyFrom(
            types_pb2.JWTSVID(token="a.b.c", issued_at=NOW, expires_at=NOW + 300)
        )
        svid = await client.new_jwtsvid("a", ["x"], timeout=timedelta(seconds=20))
        assert svid.token == "a.b.c"
        assert svid.expires_at - svid.issued_at == timedelta(minutes=5)

    @pytest.mark.parametrize(
        ("svid", "complaint"),
        [
            pytest.param(None, "missing SVID", id="none"),
            pytest.param(types_pb2.JWTSVID(expires_at=NOW), "missing issued at", id="issued"),
            pytest.param(types_pb2.JWTSVID(issued_at=NOW), "missing expires at", id="expires"),
            pytest.param(
                types_pb2.JWTSVID(issued_at=NOW, expires_at=NOW - 1),
                "issued after it has expired",
                id="order",
            ),
        ],
    )
    async def test_a_token_without_sense_is_an_error(
        self,
        server: FakeServer,
        client: ServerClient,
        svid: types_pb2.JWTSVID | None,
        complaint: str,
    ) -> None:
        if svid is not None:
            server.token.svid.CopyFrom(svid)
        with pytest.raises(Internal, match=complaint):
            await client.new_jwtsvid("a", ["x"], timeout=timedelta(seconds=20))


class TestReconnect:
    async def test_calls_under_way_end_on_the_old_connection(
        self, server: FakeServer, client: ServerClient
    ) -> None:
        server.go_on.clear()
        call = asyncio.create_task(client.post_status("1.0"))
        await asyncio.wait_for(server.asked.wait(), 20)
        client.reconnect()
        server.go_on.set()
        await asyncio.wait_for(call, 20)
        await client.post_status("1.0")

    async def test_a_refusal_of_the_svid_just_left_is_no_loss(
        self, server: FakeServer, client: ServerClient
    ) -> None:
        server.go_on.clear()
        server.refusal = permission_denied(Reason.AGENT_NOT_ACTIVE, "not active")
        call = asyncio.create_task(client.post_status("1.0"))
        await asyncio.wait_for(server.asked.wait(), 20)
        client.reconnect()
        server.go_on.set()
        with pytest.raises(Unavailable, match="replaced during the call"):
            await asyncio.wait_for(call, 20)

    async def test_a_ban_counts_on_any_connection(
        self, server: FakeServer, client: ServerClient
    ) -> None:
        server.go_on.clear()
        server.refusal = permission_denied(Reason.AGENT_BANNED, "banned")
        call = asyncio.create_task(client.post_status("1.0"))
        await asyncio.wait_for(server.asked.wait(), 20)
        client.reconnect()
        server.go_on.set()
        with pytest.raises(PermissionDenied):
            await asyncio.wait_for(call, 20)
