"""Callers of a server process: nobody, an agent, an operator."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from google.protobuf.message import Message

from spire_py._proto.spire.api import types_pb2
from spire_py._proto.spire.api.server import agent_pb2, bundle_pb2
from spire_py.crypto.csr import make_csr
from spire_py.crypto.keys import generate_key
from spire_py.plugin_api.key_manager import KeyType, PrivateKey
from spire_py.transport import Channel, client_context
from tests.integration.daemons import Stack

AGENT = "/spire.api.server.agent.v1.Agent/"
BUNDLE = "/spire.api.server.bundle.v1.Bundle/"
ENTRY = "/spire.api.server.entry.v1.Entry/"
SVID = "/spire.api.server.svid.v1.SVID/"

T = TypeVar("T", bound=Message)


@dataclass(frozen=True)
class Identity:
    """An SVID with its key."""

    chain: tuple[bytes, ...]
    key: PrivateKey
    path: str


@asynccontextmanager
async def admin(stack: Stack) -> AsyncIterator[Channel]:
    channel = Channel.unix(stack.server_socket)
    try:
        yield channel
    finally:
        await channel.aclose()


async def roots_of(stack: Stack) -> list[bytes]:
    async with admin(stack) as channel:
        bundle = await channel.unary(
            BUNDLE + "GetBundle", bundle_pb2.GetBundleRequest(), types_pb2.Bundle, timeout=20
        )
    return [authority.asn1 for authority in bundle.x509_authorities]


@asynccontextmanager
async def port(
    stack: Stack, identity: Identity | None = None, *, roots: Sequence[bytes] = ()
) -> AsyncIterator[Channel]:
    """A channel to the TCP port, as nobody or as someone."""
    trusted = list(roots) or await roots_of(stack)

    def context() -> ssl.SSLContext:
        if identity is None:
            return client_context(roots=trusted)
        return client_context(chain=identity.chain, key=identity.key, roots=trusted)

    channel = Channel.tcp("127.0.0.1", stack.port, tls=context, verify_peer=lambda chain: None)
    try:
        yield channel
    finally:
        await channel.aclose()


async def create_token(stack: Stack) -> str:
    async with admin(stack) as channel:
        token = await channel.unary(
            AGENT + "CreateJoinToken",
            agent_pb2.CreateJoinTokenRequest(ttl=60),
            types_pb2.JoinToken,
            timeout=20,
        )
    return token.value


async def attest(channel: Channel, token: str) -> Identity:
    """Attest as an agent with a join token; raises what the server answers."""
    key = generate_key(KeyType.EC_P256)
    request = agent_pb2.AttestAgentRequest(
        params=agent_pb2.AttestAgentRequest.Params(
            data=types_pb2.AttestationData(type="join_token", payload=token.encode()),
            params=agent_pb2.AgentX509SVIDParams(csr=make_csr(key)),
        )
    )
    async with channel.bidi(
        AGENT + "AttestAgent", agent_pb2.AttestAgentResponse, timeout=60
    ) as call:
        await call.send(request)
        call.done_sending()
        responses = [response async for response in call]
    svid = responses[-1].result.svid
    return Identity(tuple(svid.cert_chain), key, svid.id.path)


async def renew(channel: Channel) -> Identity:
    """A new SVID for the agent that the channel is of."""
    key = generate_key(KeyType.EC_P256)
    response = await channel.unary(
        AGENT + "RenewAgent",
        agent_pb2.RenewAgentRequest(params=agent_pb2.AgentX509SVIDParams(csr=make_csr(key))),
        agent_pb2.RenewAgentResponse,
        timeout=20,
    )
    return Identity(tuple(response.svid.cert_chain), key, response.svid.id.path)


async def race(*channels: Channel, token: str) -> list[Identity | BaseException]:
    """All attest with the same token at once."""
    return await asyncio.gather(
        *(attest(channel, token) for channel in channels), return_exceptions=True
    )
