"""What commands make of answers that no good server or agent gives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from spire_py._proto import workload_pb2
from spire_py._proto.grpc import health_pb2
from spire_py.cli.agent.api_jwt import FETCH as FETCH_JWT
from spire_py.cli.agent.api_x509 import FETCH, WATCH
from spire_py.cli.agent.healthcheck import HEALTHCHECK as AGENT_HEALTHCHECK
from spire_py.cli.command import Command, CommandFailed
from spire_py.cli.flags import parse
from spire_py.cli.server.healthcheck import HEALTHCHECK as SERVER_HEALTHCHECK
from spire_py.errors import InvalidArgument
from spire_py.transport import CallContext, Server, Service
from tests.integration.daemons import stack_folder

NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Unhealthy:
    async def check(self, _request: object, _context: CallContext) -> Any:
        return health_pb2.HealthCheckResponse(status=NOT_SERVING)


class OddAgent:
    """A Workload API that answers each stream with `x509`, and for ever nothing after that."""

    def __init__(self, *x509: workload_pb2.X509SVIDResponse, ends: bool = False) -> None:
        self._x509 = x509
        self._ends = ends

    async def fetch_x509svid(self, _request: object, _context: CallContext) -> AsyncIterator[Any]:
        for response in self._x509:
            yield response
        if not self._ends:
            await asyncio.Event().wait()

    async def fetch_jwt_bundles(self, _request: object, _context: CallContext) -> Any:
        raise InvalidArgument("never asked")
        yield


class RefusingAgent:
    async def fetch_x509svid(self, _request: object, _context: CallContext) -> AsyncIterator[Any]:
        raise InvalidArgument("not like this")
        yield


@pytest.fixture
async def folder() -> AsyncIterator[Path]:
    with stack_folder() as folder:
        yield folder


async def failure(command: Command, servicer: object, folder: Path, *words: str) -> str:
    """What a command that must fail prints when this answers."""
    health = isinstance(servicer, Unhealthy)
    services = (health_pb2 if health else workload_pb2).DESCRIPTOR.services_by_name
    service = services["Health" if health else "SpiffeWorkloadAPI"]
    server = Server([Service(service, servicer)])
    socket = folder / "api.sock"
    await server.listen_unix(socket, mode=0o600, directory_mode=0o700)
    try:
        flags, _ = parse(command.flags, ["-socketPath", str(socket), *words])
        outcome = command.run(flags)
        assert not isinstance(outcome, int)
        with pytest.raises(CommandFailed) as caught:
            await outcome
    finally:
        await server.aclose()
    return f"{caught.value.prefix}{caught.value}"


async def test_a_sick_server_is_told_from_a_dead_one(folder: Path) -> None:
    assert await failure(SERVER_HEALTHCHECK, Unhealthy(), folder) == (
        'Error: server is unhealthy: server returned status "NOT_SERVING"'
    )


async def test_a_sick_agent_is_told_from_a_dead_one(folder: Path) -> None:
    assert await failure(AGENT_HEALTHCHECK, Unhealthy(), folder) == (
        'Agent is unhealthy: agent returned status "NOT_SERVING"'
    )


async def test_an_agent_that_never_answers_is_given_up(folder: Path) -> None:
    message = await failure(FETCH, OddAgent(), folder, "-timeout", "50ms")
    assert message == "rpc error: code = DeadlineExceeded desc = context deadline exceeded"


async def test_an_answer_without_an_identity_is_refused(folder: Path) -> None:
    empty = workload_pb2.X509SVIDResponse()
    assert await failure(FETCH, OddAgent(empty), folder) == "workload response contains no svids"


async def test_an_identity_that_is_malformed_is_named(folder: Path) -> None:
    svid = workload_pb2.X509SVID(spiffe_id="spiffe://example.org/w", x509_svid=b"x", bundle=b"y")
    message = await failure(FETCH, OddAgent(workload_pb2.X509SVIDResponse(svids=[svid])), folder)
    assert message.startswith('failed to parse svid entry 0 for spiffe id "spiffe://example.org/w"')


async def test_a_stream_that_ends_at_once_is_told(folder: Path) -> None:
    message = await failure(FETCH, OddAgent(ends=True), folder)
    assert message == "the agent ended the stream without an answer"


async def test_a_refusal_is_passed_on(folder: Path) -> None:
    message = await failure(FETCH_JWT, OddAgent(), folder, "-audience", "a")
    assert message == "rpc error: code = InvalidArgument desc = never asked"


async def test_watch_ends_where_no_later_try_can_do_better(folder: Path) -> None:
    message = await failure(WATCH, RefusingAgent(), folder)
    assert message == "rpc error: code = InvalidArgument desc = not like this"
