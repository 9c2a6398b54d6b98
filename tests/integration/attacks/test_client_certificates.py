"""Certificates that must not open the server's port, and sessions that must not live on."""

from __future__ import annotations

import asyncio
import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from spire_py._proto.spire.api import types_pb2
from spire_py._proto.spire.api.server import agent_pb2, bundle_pb2, entry_pb2, svid_pb2
from spire_py.crypto.csr import make_csr
from spire_py.errors import PermissionDenied, SpireError, StatusCode, Unavailable
from spire_py.spiffe.bundle import Bundle, X509Authority
from spire_py.spiffe.id import SpiffeID, TrustDomain
from spire_py.transport import client_context
from tests.fakes.pki import Issued, issue
from tests.integration.server.conftest import (
    AGENT,
    BUNDLE,
    DOMAIN,
    ENTRY,
    SVID,
    Identity,
    RunningServer,
    agent_path,
    pb_id,
    running_server,
)

EVIL = TrustDomain("evil.test")
BOSS = SpiffeID.parse("spiffe://evil.test/boss")
ID = "spiffe://example.org/spire/agent/join_token/x"
NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)


def trust(server: RunningServer, domain: TrustDomain) -> Issued:
    """One more authority of a trust domain, whose key is known here."""
    mine = issue(name=f"CA of {domain}", is_ca=True)
    known = server.endpoints.bundles.get(domain)
    authorities = (*(known.x509_authorities if known else ()), X509Authority(mine.der))
    server.endpoints.bundles.put(Bundle(domain, x509_authorities=authorities))
    return mine


async def bundle_for(server: RunningServer, *chain: Issued) -> types_pb2.Bundle:
    """What anyone may call; only the handshake can refuse it."""
    identity = Identity("", tuple(each.der for each in chain), chain[0].key)
    channel = server.port(identity)
    return await server.call(
        BUNDLE + "GetBundle", bundle_pb2.GetBundleRequest(), types_pb2.Bundle, channel
    )


async def sync(server: RunningServer, identity: Identity) -> None:
    await server.call(
        ENTRY + "GetAuthorizedEntries",
        entry_pb2.GetAuthorizedEntriesRequest(),
        entry_pb2.GetAuthorizedEntriesResponse,
        server.port(identity),
    )


async def test_a_good_certificate_opens_the_port(server: RunningServer) -> None:
    authority = trust(server, DOMAIN)
    assert (await bundle_for(server, issue(authority, uris=[ID]))).x509_authorities


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param({"uris": [ID, "spiffe://example.org/b"]}, id="two SPIFFE IDs"),
        pytest.param({"uris": [ID, "https://example.org"]}, id="a second URI"),
        pytest.param({"uris": []}, id="no URI"),
        pytest.param({"uris": ["spiffe://example.org"]}, id="the trust domain itself"),
        pytest.param({"uris": ["spiffe://evil.test/boss"]}, id="an ID of another domain"),
        pytest.param({"uris": ["https://example.org/spire/agent/a/b"]}, id="no SPIFFE ID"),
        pytest.param({"uris": ["spiffe://example.org/a/../b"]}, id="dots in the path"),
        pytest.param({"uris": ["spiffe://example.org:443/a"]}, id="a port in the domain"),
        pytest.param({"uris": ["spiffe://example.org/a%2fb"]}, id="an escape in the path"),
        pytest.param({"uris": ["spiffe://example.org/a?b"]}, id="a query"),
        pytest.param({"uris": [ID], "is_ca": True}, id="an authority as leaf"),
        pytest.param({"uris": [ID], "not_after": NOW - timedelta(seconds=5)}, id="expired"),
        pytest.param({"uris": [ID], "not_before": NOW + HOUR / 2}, id="not yet valid"),
    ],
)
async def test_a_faulty_certificate_of_our_own_authority_is_refused(
    server: RunningServer, faults: dict[str, object]
) -> None:
    authority = trust(server, DOMAIN)
    with pytest.raises(Unavailable):
        await bundle_for(server, issue(authority, **faults))  # type: ignore[arg-type]


async def test_the_authority_itself_is_nobody(server: RunningServer) -> None:
    with pytest.raises(Unavailable):
        await bundle_for(server, trust(server, DOMAIN))


async def test_what_a_leaf_signed_is_refused(server: RunningServer) -> None:
    authority = trust(server, DOMAIN)
    workload = issue(authority, name="workload", uris=["spiffe://example.org/workload"])
    with pytest.raises(Unavailable):
        await bundle_for(server, issue(workload, uris=[ID]), workload)


async def test_a_foreign_authority_signs_no_id_of_ours(short_path: Path) -> None:
    """Not even with the serial number of an agent that we know, nor through a chain."""
    async with running_server(short_path, admin_ids=(BOSS,)) as server:
        authority = trust(server, EVIL)
        agent = await server.attest()
        known = await server.datastore.get_agent(SpiffeID.parse(agent.spiffe_id))
        assert known is not None
        for uri in (agent.spiffe_id, "spiffe://example.org/boss"):
            fake = issue(authority, uris=[uri], serial_number=int(known.serial_number))
            with pytest.raises(Unavailable):
                await bundle_for(server, fake)
        between = issue(authority, name="between", is_ca=True, uris=["spiffe://example.org"])
        with pytest.raises(Unavailable):
            await bundle_for(server, issue(between, uris=[agent.spiffe_id]), between)


async def test_a_foreign_workload_is_not_let_in_and_its_admin_is(short_path: Path) -> None:
    async with running_server(short_path, admin_ids=(BOSS,)) as server:
        authority = trust(server, EVIL)
        with pytest.raises(Unavailable):
            await bundle_for(server, issue(authority, uris=["spiffe://evil.test/somebody"]))
        assert (await bundle_for(server, issue(authority, uris=[str(BOSS)]))).x509_authorities


async def test_a_foreign_admin_without_a_bundle_is_nobody(short_path: Path) -> None:
    async with running_server(short_path, admin_ids=(BOSS,)) as server:
        authority = issue(name="CA", is_ca=True)
        with pytest.raises(Unavailable):
            await bundle_for(server, issue(authority, uris=[str(BOSS)]), authority)


async def test_when_a_foreign_bundle_goes_its_admin_goes(short_path: Path) -> None:
    async with running_server(short_path, admin_ids=(BOSS,)) as server:
        authority = trust(server, EVIL)
        admin = issue(authority, uris=[str(BOSS)])
        assert (await bundle_for(server, admin)).x509_authorities
        await server.endpoints.bundles.removed(EVIL)
        with pytest.raises(Unavailable):
            await bundle_for(server, admin)


async def test_an_entry_of_ours_gives_a_foreigner_no_rights(short_path: Path) -> None:
    """An ID counts with its trust domain: `/boss` of another one is not our `/boss`."""
    async with running_server(short_path, admin_ids=(BOSS,)) as server:
        await server.create_entry("/parent", "/somebody", admin=True)
        authority = trust(server, EVIL)
        with pytest.raises(Unavailable):
            await bundle_for(server, issue(authority, uris=["spiffe://evil.test/somebody"]))


async def test_an_agent_that_attested_again_comes_no_more_with_its_former_svid(
    server: RunningServer,
) -> None:
    agent = await server.attest()
    await sync(server, agent)
    renewed = await server.call(
        AGENT + "RenewAgent",
        agent_pb2.RenewAgentRequest(params=agent_pb2.AgentX509SVIDParams(csr=make_csr(agent.key))),
        agent_pb2.RenewAgentResponse,
        server.port(agent),
    )
    newer = Identity(agent.spiffe_id, tuple(renewed.svid.cert_chain), agent.key)
    await sync(server, newer)
    with pytest.raises(PermissionDenied):
        await sync(server, agent)


async def test_an_open_connection_of_a_deleted_agent_is_of_no_use(server: RunningServer) -> None:
    agent = await server.attest()
    channel = server.port(agent)
    request = svid_pb2.NewJWTSVIDRequest(entry_id="x", audience=["a"])
    with pytest.raises(SpireError) as before:
        await server.call(SVID + "NewJWTSVID", request, svid_pb2.NewJWTSVIDResponse, channel)
    assert before.value.code == StatusCode.NOT_FOUND
    await server.call(
        AGENT + "DeleteAgent",
        agent_pb2.DeleteAgentRequest(id=pb_id(agent_path(agent))),
        types_pb2.Status,
    )
    with pytest.raises(PermissionDenied):
        await server.call(SVID + "NewJWTSVID", request, svid_pb2.NewJWTSVIDResponse, channel)


def shake_hands(
    server: RunningServer, context: ssl.SSLContext, session: ssl.SSLSession | None = None
) -> ssl.SSLSocket:
    assert server.endpoints.address is not None
    sock = socket.create_connection(server.endpoints.address, timeout=20)
    tls = context.wrap_socket(sock, session=session, do_handshake_on_connect=False)
    tls.do_handshake()
    return tls


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_no_session_is_resumed(server: RunningServer, version: ssl.TLSVersion) -> None:
    """A resumed session would carry an identity past a change of bundles."""
    agent = await server.attest()
    context = client_context(chain=agent.chain, key=agent.key, roots=[server.root])
    context.minimum_version = context.maximum_version = version

    def twice() -> bool:
        with shake_hands(server, context) as first:
            session = first.session
        try:
            with shake_hands(server, context, session) as second:
                # Where TLS 1.2 resumes it, no chain is verified: the server says not a byte.
                return bool(second.session_reused and second.recv(1))
        except OSError:
            return False

    assert not await asyncio.to_thread(twice)


async def test_without_http2_nobody_is_served(server: RunningServer) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=server.root)
    context.set_alpn_protocols(["http/1.1"])

    def ask() -> bytes:
        try:
            with shake_hands(server, context) as tls:
                tls.sendall(b"GET / HTTP/1.1\r\n\r\n")
                return tls.recv(1000)
        except OSError:
            return b""

    assert await asyncio.to_thread(ask) == b""
