"""Every RPC of the server with nonsense: refused with words, and nothing is changed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spire_py._proto.grpc import health_pb2
from spire_py._proto.spire.api.server import (
    agent_pb2,
    bundle_pb2,
    debug_pb2,
    entry_pb2,
    localauthority_pb2,
    logger_pb2,
    svid_pb2,
    trustdomain_pb2,
)
from spire_py._proto.spire_py import changes_pb2
from spire_py.errors import StatusCode
from spire_py.transport import Channel
from tests.integration.daemons import Stack, new_stack
from tests.integration.faults.clients import admin, attest, create_token, port, roots_of
from tests.integration.faults.faults import assert_no_bug, content
from tests.integration.faults.nonsense import Outcome, Raw, make_call, messages

_MODULES = (
    *(agent_pb2, bundle_pb2, entry_pb2, svid_pb2, debug_pb2, logger_pb2, trustdomain_pb2),
    *(localauthority_pb2, health_pb2, changes_pb2),
)
METHODS = [
    method
    for module in _MODULES
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]

REFUSALS = frozenset(
    {
        StatusCode.OK,
        StatusCode.INVALID_ARGUMENT,
        StatusCode.NOT_FOUND,
        StatusCode.ALREADY_EXISTS,
        StatusCode.PERMISSION_DENIED,
        StatusCode.FAILED_PRECONDITION,
        StatusCode.RESOURCE_EXHAUSTED,
        StatusCode.UNIMPLEMENTED,
    }
)
"""What a request may be answered with that nothing is wrong with but itself."""

LEGITIMATE_INTERNAL = (
    "failed to receive challenge from agent",
    "failed to create join token ID",
    ": could not parse token",
    ": cannot list by empty selectors set",
    "UNIQUE constraint failed: join_tokens.token",
)
"""SPIRE answers these faults of a caller as its own."""


@dataclass
class World:
    """A server, and who calls it."""

    stack: Stack
    runner: asyncio.Runner
    channels: dict[str, Channel] = field(default_factory=dict)
    resources: AsyncExitStack = field(default_factory=AsyncExitStack)
    known: tuple[str, ...] = ()

    async def open(self) -> None:
        enter = self.resources.enter_async_context
        roots = await roots_of(self.stack)
        self.channels["operator"] = await enter(admin(self.stack))
        self.channels["nobody"] = await enter(port(self.stack, roots=roots))
        async with port(self.stack, roots=roots) as channel:
            identity = await attest(channel, await create_token(self.stack))
        self.channels["agent"] = await enter(port(self.stack, identity, roots=roots))
        entry = self.stack.create_entry("workload")
        self.known = (entry, identity.path)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with (
        new_stack(log_level="INFO", server_keys="ratelimit { attestation = false }") as stack,
        asyncio.Runner() as runner,
    ):
        process = stack.start_server()
        made = World(stack, runner)
        runner.run(made.open())
        yield made
        runner.run(made.resources.aclose())
        assert process.stop() == 0
        assert_no_bug(process)


@pytest.mark.parametrize("caller", ["operator", "agent", "nobody"])
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.full_name)
def test_nonsense_is_refused_and_changes_nothing(
    world: World, method: MethodDescriptor, caller: str
) -> None:
    requests = st.lists(
        messages(method.input_type, world.known),
        min_size=1,
        max_size=3 if method.client_streaming else 1,
    )

    @settings(
        max_examples=50,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(requests)
    def check(given_requests: list[Message]) -> None:
        before = content(world.stack)
        outcome = world.runner.run(make_call(world.channels[caller], method, given_requests))
        assert_refusal_or_answer(outcome)
        if outcome.changed_nothing:
            assert content(world.stack) == before

    check()
    assert_no_bug(*world.stack.processes)


def assert_refusal_or_answer(outcome: Outcome) -> None:
    codes = [(outcome.code, outcome.text)]
    results = [item for answer in outcome.answers for item in getattr(answer, "results", ())]
    codes += [(StatusCode(item.status.code), item.status.message) for item in results]
    for code, text in codes:
        known = code is StatusCode.INTERNAL and any(each in text for each in LEGITIMATE_INTERNAL)
        assert code in REFUSALS or known, (code, text)
        assert code is StatusCode.OK or text


@pytest.mark.parametrize("caller", ["operator", "agent"])
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.full_name)
def test_bytes_that_are_no_message_are_refused(
    world: World, method: MethodDescriptor, caller: str
) -> None:
    before = content(world.stack)
    for data in (b"\xff", b"\x0a\xff", b"\x0a\x05abc", b"\x0b" * 2000):
        outcome = world.runner.run(make_call(world.channels[caller], method, [Raw(data)]))
        refusals = REFUSALS - {StatusCode.OK}
        assert outcome.code in refusals or "grpc: error unmarshalling request" in outcome.text
    assert content(world.stack) == before
    assert_no_bug(*world.stack.processes)
