"""The agent as Istio's pilot-agent and its Envoy ask it (wire facts of Istio 1.32)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path

import grpc
import grpc.aio
import pytest
from google.protobuf.struct_pb2 import Struct

from spire_py._proto.envoy import core_pb2, discovery_pb2, tls_pb2
from tests.integration.daemons import Stack
from tests.peers.process import run

Find = Callable[[str], Path]
Request = discovery_pb2.DiscoveryRequest
Response = discovery_pb2.DiscoveryResponse

TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
STREAM = "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets"
REFUSAL = 'workload is not authorized for the requested identities ["default"]'

SETTINGS = 4
HEAD_BYTES = 9


@pytest.mark.peer("workload")
async def test_a_dial_with_a_limit_of_a_second_succeeds(require_peer: Find, endpoint: str) -> None:
    code, lines = await run(require_peer("workload"), "dial", "-socket", endpoint, "-timeout", "1s")
    assert (code, lines[-1]["event"]) == (0, "dialed"), lines


def test_settings_come_before_the_client_has_said_anything(agent_socket: Path) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(agent_socket))
        head = connection.recv(HEAD_BYTES, socket.MSG_WAITALL)
    stream_id = int.from_bytes(head[5:])
    assert (head[3], stream_id) == (SETTINGS, 0)


class Proxy:
    """One stream for one secret, with the node in its first message only."""

    def __init__(self, channel: grpc.aio.Channel, name: str, node: core_pb2.Node) -> None:
        self._name = name
        self._node: core_pb2.Node | None = node
        self._call = channel.stream_stream(
            STREAM,
            request_serializer=Request.SerializeToString,
            response_deserializer=Response.FromString,
        )(timeout=60)
        self._last = Response()

    async def ask(self) -> None:
        """Send the first request, or acknowledge the last answer."""
        await self._call.write(
            Request(
                type_url=TYPE,
                resource_names=[self._name],
                node=self._node,
                version_info=self._last.version_info,
                response_nonce=self._last.nonce,
            )
        )
        self._node = None

    async def secret(self) -> tls_pb2.Secret:
        """The next answer, acknowledged."""
        self._last = await self._call.read()
        await self.ask()
        [resource] = self._last.resources
        secret = tls_pb2.Secret.FromString(resource.value)
        assert secret.name == self._name
        return secret

    async def refusal(self) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self._call.read()
        return caught.value.code(), caught.value.details() or ""


def node(**metadata: bool) -> core_pb2.Node:
    struct = Struct()
    struct.update(metadata)
    return core_pb2.Node(id="sidecar~10.0.0.1~pod.ns~ns.svc.cluster.local", metadata=struct)


async def first_answer(channel: grpc.aio.Channel, name: str, about: core_pb2.Node) -> Proxy:
    proxy = Proxy(channel, name, about)
    await proxy.ask()
    return proxy


async def test_root_ca_is_answered_while_the_identity_is_refused_and_comes_later(
    our_stack: Stack,
) -> None:
    await asyncio.to_thread(our_stack.start_server)
    await asyncio.to_thread(our_stack.start_agent)
    async with grpc.aio.insecure_channel(f"unix:{our_stack.agent_socket}") as channel:
        plain = node(disable_spiffe_cert_validation=True)
        bundle = await first_answer(channel, "ROOTCA", plain)
        authorities = (await bundle.secret()).validation_context.trusted_ca.inline_bytes
        assert authorities.decode() == our_stack.server("bundle", "show")
        identity = await first_answer(channel, "default", node())
        assert await identity.refusal() == (grpc.StatusCode.INVALID_ARGUMENT, REFUSAL)

        entry = await asyncio.to_thread(our_stack.create_entry, "one")
        await asyncio.to_thread(our_stack.wait_for_svids, 1)
        # What the node said in the first message holds for the stream.
        again = (await bundle.secret()).validation_context
        assert again.trusted_ca.inline_bytes == authorities
        identity = await first_answer(channel, "default", node())
        chain = (await identity.secret()).tls_certificate.certificate_chain.inline_bytes
        assert chain.startswith(b"-----BEGIN CERTIFICATE-----")

        await asyncio.to_thread(our_stack.server, "entry", "delete", "-entryID", entry)
        assert await identity.refusal() == (grpc.StatusCode.INVALID_ARGUMENT, REFUSAL)
        assert (await bundle.secret()).validation_context == again


@pytest.mark.peer("workload")
async def test_a_sidecar_that_comes_before_the_agent_serves_stays_with_it(
    our_stack: Stack, require_peer: Find
) -> None:
    """It looks for the socket once; without one it would take Istio's own authority for good."""
    server = await asyncio.to_thread(our_stack.start_server)
    await asyncio.to_thread(our_stack.create_entry, "one")
    token, bundle = our_stack.join_token(), our_stack.server("bundle", "show")
    await asyncio.to_thread(server.stop)
    agent = our_stack.launch_agent(token=token, bundle=bundle)
    await asyncio.to_thread(agent.wait_for, "Agent waits for what it needs to start")
    endpoint = f"unix://{our_stack.agent_socket}"
    code, lines = await run(require_peer("workload"), "dial", "-socket", endpoint, "-timeout", "1s")
    assert (code, lines[-1]["event"]) == (0, "dialed"), lines
    async with grpc.aio.insecure_channel(f"unix:{our_stack.agent_socket}") as channel:
        identity = await first_answer(channel, "default", node())
        authorities = await first_answer(channel, "ROOTCA", node())
        await asyncio.to_thread(our_stack.start_server)
        assert (await authorities.secret()).validation_context.ByteSize()
        assert (await identity.secret()).tls_certificate.ByteSize()


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(core_pb2.BuildVersion(), id="a build without a version"),
        pytest.param(core_pb2.BuildVersion(version=core_pb2.SemanticVersion()), id="version 0.0"),
    ],
)
async def test_an_empty_build_version_hurts_nobody(
    our_stack: Stack, build: core_pb2.BuildVersion
) -> None:
    # SPIRE 1.15's agent ends with a panic where the version is missing.
    await asyncio.to_thread(our_stack.start_server)
    agent = await asyncio.to_thread(our_stack.start_agent)
    async with grpc.aio.insecure_channel(f"unix:{our_stack.agent_socket}") as channel:
        about = core_pb2.Node(id="envoy", user_agent_name="envoy", user_agent_build_version=build)
        bundle = await first_answer(channel, "ROOTCA", about)
        context = (await bundle.secret()).validation_context
        # What names no version is taken for new; 0.0 is older than 1.18.
        assert context.HasField("custom_validator_config") == (not build.HasField("version"))
        await (await first_answer(channel, "ROOTCA", node())).secret()
    assert agent.popen.poll() is None
