"""TLS at both ends (feature G22)."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import BytesValue

from spire_py.errors import PermissionDenied, Unavailable
from spire_py.transport import (
    Channel,
    Limits,
    Server,
    Service,
    client_context,
    insecure_client_context,
    server_context,
)

from .certificates import Authority, Identity
from .echo import ECHO, UNARY, Echo, refused, text

SERVER_ID = "spiffe://example.org/spire/server"
AGENT_ID = "spiffe://example.org/spire/agent/x509pop/a"

VerifyPeer = Callable[[tuple[bytes, ...]], object]


def leaf_and_anchor(chain: tuple[bytes, ...]) -> object:
    return chain


def context_for(identity: Identity, *authorities: Authority) -> ssl.SSLContext:
    roots = [authority.root for authority in authorities]
    return server_context(chain=[identity.certificate], key=identity.key, roots=roots)


@asynccontextmanager
async def serving_tls(
    tls: Callable[[], ssl.SSLContext], verify_peer: VerifyPeer | None = leaf_and_anchor, **more: Any
) -> AsyncIterator[tuple[Echo, int]]:
    echo = Echo()
    server = Server([Service(ECHO, echo)], **more)
    _, port = await server.listen_tcp(
        "127.0.0.1", 0, tls=tls, verify_peer=verify_peer, max_connection_age=None
    )
    try:
        yield echo, port
    finally:
        from datetime import timedelta

        await server.aclose(timedelta())


async def call(port: int, context: ssl.SSLContext, verify_peer: VerifyPeer | None = None) -> bytes:
    channel = Channel.tcp("127.0.0.1", port, tls=lambda: context, verify_peer=verify_peer)
    try:
        answer = await channel.unary(UNARY, text("x"), BytesValue, timeout=30)
    finally:
        await channel.aclose()
    return answer.value


async def test_a_client_without_a_certificate_is_served_and_has_no_identity(
    authority: Authority,
) -> None:
    context = context_for(authority.issue(SERVER_ID), authority)
    async with serving_tls(lambda: context) as (echo, port):
        assert await call(port, client_context(roots=[authority.root])) == b"x"
    peer = echo.contexts[0].peer
    assert (peer.tls, peer.identity, peer.unix) == (True, None, None)
    assert peer.address.startswith("127.0.0.1:")


async def test_a_clients_chain_is_given_with_its_anchor(authority: Authority) -> None:
    context = context_for(authority.issue(SERVER_ID), authority)
    agent = authority.issue(AGENT_ID)
    client = client_context(chain=[agent.certificate], key=agent.key, roots=[authority.root])
    async with serving_tls(lambda: context) as (echo, port):
        assert await call(port, client) == b"x"
    assert echo.contexts[0].peer.identity == (agent.certificate, authority.root)


async def test_a_client_that_verify_peer_refuses_gets_no_call_through(
    authority: Authority, foreign_authority: Authority
) -> None:
    # OpenSSL is content with any root; whose root it is, is for `verify_peer` to say.
    def verify(chain: tuple[bytes, ...]) -> object:
        if chain[-1] != authority.root:
            raise PermissionDenied("foreign anchor")
        return chain

    context = context_for(authority.issue(SERVER_ID), authority, foreign_authority)
    forged = foreign_authority.issue(AGENT_ID)
    client = client_context(chain=[forged.certificate], key=forged.key, roots=[authority.root])
    async with serving_tls(lambda: context, verify) as (echo, port):
        assert isinstance(await refused(call(port, client)), Unavailable)
        assert not echo.contexts


async def test_a_client_of_an_unknown_authority_fails_the_handshake(
    authority: Authority, foreign_authority: Authority
) -> None:
    context = context_for(authority.issue(SERVER_ID), authority)
    stranger = foreign_authority.issue(AGENT_ID)
    client = client_context(chain=[stranger.certificate], key=stranger.key, roots=[authority.root])
    async with serving_tls(lambda: context) as (echo, port):
        assert isinstance(await refused(call(port, client)), Unavailable)
        assert not echo.contexts


async def test_the_client_refuses_a_server_of_an_unknown_authority(
    authority: Authority, foreign_authority: Authority
) -> None:
    context = context_for(authority.issue(SERVER_ID), authority)
    async with serving_tls(lambda: context) as (_, port):
        error = await refused(call(port, client_context(roots=[foreign_authority.root])))
    assert isinstance(error, Unavailable)
    assert "authentication handshake failed" in error.message


async def test_the_client_asks_verify_peer_about_the_server(authority: Authority) -> None:
    identity = authority.issue(SERVER_ID)
    seen: list[tuple[bytes, ...]] = []

    def refuse(chain: tuple[bytes, ...]) -> object:
        seen.append(chain)
        raise PermissionDenied("not the server I know")

    context = context_for(identity, authority)
    async with serving_tls(lambda: context) as (_, port):
        client = client_context(roots=[authority.root])
        error = await refused(call(port, client, refuse))
        assert "not the server I know" in error.message
        assert await call(port, client, seen.append) == b"x"
    assert seen == [(identity.certificate, authority.root)] * 2


async def test_an_insecure_client_sees_the_chain_of_any_server(authority: Authority) -> None:
    identity = authority.issue(SERVER_ID)
    seen: list[tuple[bytes, ...]] = []
    context = context_for(identity, authority)
    async with serving_tls(lambda: context) as (_, port):
        assert await call(port, insecure_client_context(), seen.append) == b"x"
    assert seen[0][0] == identity.certificate


async def test_new_connections_get_the_new_context(
    authority: Authority, foreign_authority: Authority
) -> None:
    contexts = [context_for(authority.issue(SERVER_ID), authority)]
    async with serving_tls(lambda: contexts[-1]) as (_, port):
        kept = Channel.tcp(
            "127.0.0.1",
            port,
            tls=lambda: client_context(roots=[authority.root]),
            verify_peer=None,
        )
        await kept.unary(UNARY, text("x"), BytesValue, timeout=30)
        contexts.append(context_for(foreign_authority.issue(SERVER_ID), foreign_authority))
        # The old connection goes on; a new one meets the new certificate.
        await kept.unary(UNARY, text("x"), BytesValue, timeout=30)
        assert await call(port, client_context(roots=[foreign_authority.root])) == b"x"
        old = client_context(roots=[authority.root])
        assert isinstance(await refused(call(port, old)), Unavailable)
        await kept.aclose()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"maximum_version": ssl.TLSVersion.TLSv1_1}, id="TLS 1.1"),
        pytest.param({"alpn": ["http/1.1"]}, id="no HTTP/2"),
        pytest.param(
            {"ciphers": "AES128-SHA", "maximum_version": ssl.TLSVersion.TLSv1_2}, id="CBC"
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:.*TLSv1_1 is deprecated:DeprecationWarning")
async def test_a_client_below_the_bar_is_refused(
    authority: Authority, change: dict[str, Any]
) -> None:
    client = insecure_client_context()
    client.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    client.set_ciphers(change.get("ciphers", "DEFAULT:@SECLEVEL=0"))
    client.set_alpn_protocols(change.get("alpn", ["h2"]))
    if "maximum_version" in change:
        client.maximum_version = change["maximum_version"]
    context = context_for(authority.issue(SERVER_ID), authority)
    async with serving_tls(lambda: context) as (echo, port):
        assert isinstance(await refused(call(port, client)), Unavailable)
        assert not echo.contexts


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_both_versions_of_tls_carry_client_certificates(
    authority: Authority, version: ssl.TLSVersion
) -> None:
    agent = authority.issue(AGENT_ID)
    client = client_context(chain=[agent.certificate], key=agent.key, roots=[authority.root])
    client.maximum_version = client.minimum_version = version
    context = context_for(authority.issue(SERVER_ID), authority)
    async with serving_tls(lambda: context) as (echo, port):
        for _ in range(2):
            assert await call(port, client) == b"x"
    assert echo.contexts[1].peer.identity == (agent.certificate, authority.root)


async def test_large_bodies_pass(authority: Authority) -> None:
    context = context_for(authority.issue(SERVER_ID), authority)
    async with serving_tls(lambda: context) as (_, port):
        client = client_context(roots=[authority.root])
        channel = Channel.tcp("127.0.0.1", port, tls=lambda: client, verify_peer=None)
        body = bytes(index % 253 for index in range(3_000_000))
        answers = await asyncio.gather(
            *(channel.unary(UNARY, text(body), BytesValue, timeout=60) for _ in range(4))
        )
        await channel.aclose()
    assert all(answer.value == body for answer in answers)


async def test_a_client_that_does_not_shake_hands_is_dropped(authority: Authority) -> None:
    context = context_for(authority.issue(SERVER_ID), authority)
    limits = Limits(handshake_timeout=0.1)
    async with serving_tls(lambda: context, limits=limits) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await asyncio.wait_for(reader.read(), 20) == b""
        writer.close()


async def test_a_foreign_client_with_and_without_a_certificate(authority: Authority) -> None:
    identity = authority.issue(SERVER_ID, dns="server.test")
    context = context_for(identity, authority)
    agent = authority.issue(AGENT_ID)
    options = [("grpc.ssl_target_name_override", "server.test")]
    async with serving_tls(lambda: context) as (echo, port):
        for certificate in (None, agent):
            credentials = grpc.ssl_channel_credentials(
                authority.root_pem,
                certificate.key_pem if certificate else None,
                certificate.chain_pem if certificate else None,
            )
            async with grpc.aio.secure_channel(
                f"127.0.0.1:{port}", credentials, options=options
            ) as channel:
                answer = await channel.unary_unary(UNARY)(text("x").SerializeToString(), timeout=30)
                assert BytesValue.FromString(answer).value == b"x"
    identities = [context.peer.identity for context in echo.contexts]
    assert identities == [None, (agent.certificate, authority.root)]


async def test_a_foreign_server_with_client_certificates(authority: Authority) -> None:
    identity = authority.issue(SERVER_ID)
    agent = authority.issue(AGENT_ID)

    async def unary(request: bytes, _context: grpc.aio.ServicerContext) -> bytes:
        return request

    server = grpc.aio.server()
    handler = {"Unary": grpc.unary_unary_rpc_method_handler(unary)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", handler),))
    port = server.add_secure_port(
        "127.0.0.1:0",
        grpc.ssl_server_credentials(
            [(identity.key_pem, identity.chain_pem)], authority.root_pem, True
        ),
    )
    await server.start()
    client = client_context(chain=[agent.certificate], key=agent.key, roots=[authority.root])
    assert await call(port, client) == b"x"
    # Without its certificate the client is not let in.
    assert isinstance(
        await refused(call(port, client_context(roots=[authority.root]))), Unavailable
    )
    await server.stop(None)
