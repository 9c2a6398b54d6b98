"""Every RPC of the agent's sockets with nonsense: refused with words, and workloads go on."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spire_py._proto import workload_pb2
from spire_py._proto.envoy import secret_pb2
from spire_py._proto.grpc import health_pb2
from spire_py._proto.grpc.reflection import v1_pb2, v1alpha_pb2
from spire_py._proto.spire.agent import debug_pb2
from spire_py._proto.spire.api.agent import delegatedidentity_pb2, logger_pb2
from spire_py._proto.spire_py import explain_pb2
from spire_py.errors import StatusCode
from spire_py.transport import Channel
from tests.integration.daemons import Process, Stack, new_stack
from tests.integration.faults.faults import assert_no_bug
from tests.integration.faults.nonsense import Raw, make_call, messages

_PUBLIC = (workload_pb2, secret_pb2, health_pb2, v1_pb2, v1alpha_pb2, explain_pb2)
_ADMIN = (debug_pb2, logger_pb2, delegatedidentity_pb2)


def methods(*modules: object) -> list[MethodDescriptor]:
    return [
        method
        for module in modules
        for service in module.DESCRIPTOR.services_by_name.values()  # type: ignore[attr-defined]
        for method in service.methods
    ]


CALLS = [("api.sock", method) for method in methods(*_PUBLIC)] + [
    ("admin.sock", method) for method in methods(*_ADMIN)
]

ANSWERS = frozenset(
    {
        StatusCode.OK,
        StatusCode.INVALID_ARGUMENT,
        StatusCode.PERMISSION_DENIED,
        StatusCode.NOT_FOUND,
        StatusCode.UNIMPLEMENTED,
    }
)
"""`Unavailable` is none of them: a client would try its nonsense again for ever."""


@dataclass
class World:
    """An agent with one workload, and channels to it."""

    stack: Stack
    agent: Process
    runner: asyncio.Runner
    channels: dict[str, Channel] = field(default_factory=dict)

    def channel(self, name: str) -> Channel:
        if name not in self.channels:
            folder = "agent" if name == "api.sock" else "admin"
            self.channels[name] = Channel.unix(self.stack.folder / folder / name)
        return self.channels[name]

    async def aclose(self) -> None:
        for channel in self.channels.values():
            await channel.aclose()


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with new_stack(log_level="INFO") as stack, asyncio.Runner() as runner:
        stack.agent_keys = f'admin_socket_path = "{stack.folder}/admin/admin.sock"'
        stack.start_server()
        stack.create_entry("workload")
        agent = stack.start_agent()
        stack.wait_for_svids(1)
        made = World(stack, agent, runner)
        yield made
        runner.run(made.aclose())
        stack.wait_for_svids(1)
        assert agent.stop() == 0
        assert_no_bug(*stack.processes)


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize(
    ("socket", "method"), CALLS, ids=lambda each: getattr(each, "full_name", each)
)
def test_nonsense_is_refused_and_workloads_go_on(
    world: World, socket: str, method: MethodDescriptor, header: bool
) -> None:
    metadata = [("workload.spiffe.io", "true")] if header else []
    known = ("spiffe://example.org/workload", "workload")
    most = 3 if method.client_streaming else 1

    @settings(
        max_examples=15 if method.server_streaming else 50,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(st.lists(messages(method.input_type, known), min_size=1, max_size=most))
    def check(requests: list[Message]) -> None:
        outcome = world.runner.run(
            make_call(world.channel(socket), method, requests, metadata=metadata)
        )
        assert outcome.code in ANSWERS, outcome
        assert outcome.code is StatusCode.OK or outcome.text

    check()
    assert world.agent.popen.poll() is None
    assert_no_bug(world.agent)


@pytest.mark.parametrize(
    ("socket", "method"), CALLS, ids=lambda each: getattr(each, "full_name", each)
)
def test_bytes_that_are_no_message_are_refused(
    world: World, socket: str, method: MethodDescriptor
) -> None:
    metadata = [("workload.spiffe.io", "true")]
    for data in (b"\xff", b"\x0a\xff", b"\x0a\x05abc", b"\x0b" * 2000):
        outcome = world.runner.run(
            make_call(world.channel(socket), method, [Raw(data)], metadata=metadata)
        )
        refusals = ANSWERS - {StatusCode.OK}
        assert outcome.code in refusals or "grpc: error unmarshalling request" in outcome.text
    assert_no_bug(world.agent)
