from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from spire_py._proto import workload_pb2
from spire_py.agent.workload_client import (
    InvalidAddress,
    WorkloadClient,
    X509Context,
    open_endpoint,
)
from spire_py.errors import (
    FailedPrecondition,
    InvalidArgument,
    PermissionDenied,
    SpireError,
    Unavailable,
    Unimplemented,
)
from spire_py.transport import CallContext, Channel, Server, Service
from tests.fakes.clock import FakeClock
from tests.unit.agent.builders import EXAMPLE, OTHER, Authority, entry
from tests.unit.agent.endpoint import Endpoint


class TestAddress:
    @pytest.mark.spec(84)
    async def test_the_environment_counts_where_nothing_is_said(self, endpoint: Endpoint) -> None:
        endpoint.register(entry("a"))
        environment = {"SPIFFE_ENDPOINT_SOCKET": f"unix://{endpoint.path}"}
        client = WorkloadClient(open_endpoint(environment=environment))
        assert EXAMPLE in await client.fetch_x509_bundles(timeout=timedelta(seconds=20))
        await client.aclose()

    @pytest.mark.spec(84)
    async def test_what_is_said_wins(self, endpoint: Endpoint) -> None:
        endpoint.register(entry("a"))
        environment = {"SPIFFE_ENDPOINT_SOCKET": "unix:///no/such/socket"}
        client = WorkloadClient(open_endpoint(f"unix:{endpoint.path}", environment))
        assert EXAMPLE in await client.fetch_x509_bundles(timeout=timedelta(seconds=20))
        await client.aclose()

    @pytest.mark.spec(84)
    def test_without_an_address_there_is_no_endpoint(self) -> None:
        with pytest.raises(FailedPrecondition, match="not configured"):
            open_endpoint(environment={})

    @pytest.mark.spec(85)
    @pytest.mark.parametrize(
        "address",
        [
            "unix:///run/spire/api.sock",
            "unix:/run/spire/api.sock",
            "tcp://127.0.0.1:8000",
            "tcp://[::1]:8000",
        ],
    )
    def test_good_addresses(self, address: str) -> None:
        open_endpoint(address, {})

    @pytest.mark.spec(85)
    @pytest.mark.parametrize(
        "address",
        [
            pytest.param("/run/api.sock", id="no scheme"),
            pytest.param("http://127.0.0.1:8000", id="another scheme"),
            pytest.param("unix:relative.sock", id="relative path"),
            pytest.param("unix://", id="no path"),
            pytest.param("unix://host/run/api.sock", id="authority"),
            pytest.param("unix:///run/api.sock?x=1", id="query"),
            pytest.param("unix:///run/api.sock#x", id="fragment"),
            pytest.param("tcp://127.0.0.1", id="no port"),
            pytest.param("tcp://localhost:8000", id="host name"),
            pytest.param("tcp://127.0.0.1:8000/path", id="path"),
            pytest.param("tcp://127.0.0.1:8000?x=1", id="tcp query"),
            pytest.param("tcp://user@127.0.0.1:8000", id="user"),
            pytest.param("tcp://127.0.0.1:99999", id="no such port"),
            pytest.param("tcp://:8000", id="no host"),
        ],
    )
    def test_bad_addresses(self, address: str) -> None:
        with pytest.raises(InvalidAddress):
            open_endpoint(address, {})


Answer = Callable[[int], AsyncIterator[workload_pb2.X509SVIDResponse]]


class FakeWorkloadAPI:
    """Answers the n-th stream as the test says."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.streams = 0

    async def fetch_x509svid(
        self, _request: workload_pb2.X509SVIDRequest, _context: CallContext
    ) -> AsyncIterator[workload_pb2.X509SVIDResponse]:
        self.streams += 1
        async for response in self.answer(self.streams):
            yield response


@asynccontextmanager
async def watching(
    answer: Answer,
) -> AsyncIterator[tuple[FakeWorkloadAPI, AsyncIterator[X509Context], FakeClock]]:
    api, clock = FakeWorkloadAPI(answer), FakeClock()
    service = workload_pb2.DESCRIPTOR.services_by_name["SpiffeWorkloadAPI"]
    server = Server([Service(service, api)])
    with tempfile.TemporaryDirectory(prefix="sp") as folder:
        path = Path(folder) / "api.sock"
        await server.listen_unix(path, mode=0o777, directory_mode=0o755)
        client = WorkloadClient(Channel.unix(path), clock=clock)
        watch = client.watch_x509()
        try:
            yield api, watch, clock
        finally:
            await watch.aclose()  # type: ignore[attr-defined]
            await client.aclose()
            await server.aclose(timedelta())


def response(authority: Authority, *names: str, hint: str = "") -> workload_pb2.X509SVIDResponse:
    message = workload_pb2.X509SVIDResponse()
    for name in names:
        item = entry(name)
        svid = authority.svid(item)
        message.svids.add(
            spiffe_id=str(item.spiffe_id),
            x509_svid=b"".join(svid.chain),
            x509_svid_key=svid.key,
            bundle=authority.certificate,
            hint=hint,
        )
    return message


def paths(context: X509Context) -> list[str]:
    return [svid.spiffe_id.path for svid in context.svids]


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


async def following(watch: AsyncIterator[X509Context]) -> X509Context:
    return await asyncio.wait_for(anext(watch), 20)


@pytest.mark.spec(105)
async def test_the_order_of_identities_is_kept(authority: Authority) -> None:
    async def answer(_stream: int) -> AsyncIterator[workload_pb2.X509SVIDResponse]:
        yield response(authority, "b", "a")

    async with watching(answer) as (_, watch, _clock):
        assert paths(await following(watch)) == ["/b", "/a"]


@pytest.mark.spec(98)
async def test_of_identities_with_one_hint_the_first_is_taken(authority: Authority) -> None:
    async def answer(_stream: int) -> AsyncIterator[workload_pb2.X509SVIDResponse]:
        yield response(authority, "b", "a", hint="internal")

    async with watching(answer) as (_, watch, _clock):
        assert paths(await following(watch)) == ["/b"]


@pytest.mark.spec(94)
async def test_what_a_new_message_lacks_is_gone(authority: Authority) -> None:
    other = Authority(OTHER)

    async def answer(_stream: int) -> AsyncIterator[workload_pb2.X509SVIDResponse]:
        first = response(authority, "a", "b")
        first.federated_bundles["spiffe://other.test"] = other.certificate
        yield first
        yield response(authority, "b")

    async with watching(answer) as (_, watch, _clock):
        first = await following(watch)
        assert (paths(first), list(first.bundles)) == (["/a", "/b"], [OTHER, EXAMPLE])
        second = await following(watch)
        assert (paths(second), list(second.bundles)) == (["/b"], [EXAMPLE])


@pytest.mark.spec(95)
@pytest.mark.parametrize("error", [None, Unavailable("bye"), PermissionDenied("withdrawn")])
async def test_a_stream_that_ends_is_opened_again_at_once(
    authority: Authority, error: SpireError | None
) -> None:
    async def answer(stream: int) -> AsyncIterator[workload_pb2.X509SVIDResponse]:
        yield response(authority, f"stream-{stream}")
        if error is not None:
            raise error

    async with watching(answer) as (_, watch, _clock):
        assert paths(await following(watch)) == ["/stream-1"]
        assert paths(await following(watch)) == ["/stream-2"]


@pytest.mark.spec(86)
@pytest.mark.parametrize("error", [Unavailable("starting"), PermissionDenied("no identity issued")])
async def test_what_may_heal_is_tried_again_with_growing_waits(
    authority: Authority, error: SpireError
) -> None:
    async def answer(stream: int) -> AsyncIterator[workload_pb2.X509SVIDResponse]:
        if stream < 4:
            raise error
        yield response(authority, "a")

    async with watching(answer) as (api, watch, clock):
        first = asyncio.ensure_future(following(watch))
        for stream, wait in enumerate((1.2, 1.8, 2.6), start=1):
            await clock.sleepers(1)
            assert api.streams == stream
            await clock.advance(timedelta(seconds=wait))
        assert paths(await first) == ["/a"]


@pytest.mark.spec(86, 106)
@pytest.mark.parametrize("error", [InvalidArgument("no"), Unimplemented("no")])
async def test_what_cannot_heal_is_not_tried_again(error: SpireError) -> None:
    async def answer(_stream: int) -> AsyncIterator[workload_pb2.X509SVIDResponse]:
        raise error
        yield

    async with watching(answer) as (api, watch, _clock):
        with pytest.raises(type(error)):
            await following(watch)
        assert api.streams == 1


async def test_a_malformed_message_is_no_identity(authority: Authority) -> None:
    async def answer(stream: int) -> AsyncIterator[workload_pb2.X509SVIDResponse]:
        bad = response(authority, "a")
        if stream == 1:
            bad.svids[0].x509_svid_key = response(authority, "b").svids[0].x509_svid_key
        yield bad

    async with watching(answer) as (api, watch, clock):
        first = asyncio.ensure_future(following(watch))
        await clock.sleepers(1)
        await clock.advance(timedelta(seconds=2))
        assert paths(await first) == ["/a"]
        assert api.streams == 2
