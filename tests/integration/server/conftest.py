"""A server of ours in this process, with a real database, and clients for it."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import rmtree
from typing import Any, TypeVar

import pytest
from google.protobuf.message import Message

from spire_py._proto.spire.api import types_pb2
from spire_py._proto.spire.api.server import agent_pb2, entry_pb2
from spire_py.config.datastore import DatastoreConfig
from spire_py.config.server import ServerSection
from spire_py.crypto.csr import make_csr
from spire_py.crypto.keys import PrivateKey, generate_key, public_key_der
from spire_py.crypto.subject import Subject
from spire_py.crypto.x509_signer import self_signed_ca
from spire_py.plugin_api.key_manager import KeyType
from spire_py.runtime.clock import SystemClock
from spire_py.server.ca.ca import CA, JWTSigningKey, X509Authority
from spire_py.server.datastore import Datastore, open_datastore
from spire_py.server.endpoints import Endpoints
from spire_py.spiffe.bundle import Bundle, JWTAuthority
from spire_py.spiffe.bundle import X509Authority as TrustedCA
from spire_py.spiffe.id import SpiffeID, TrustDomain
from spire_py.telemetry.logs import LogLevels
from spire_py.transport import Channel, client_context

DOMAIN = TrustDomain("example.org")
T = TypeVar("T", bound=Message)

AGENT = "/spire.api.server.agent.v1.Agent/"
BUNDLE = "/spire.api.server.bundle.v1.Bundle/"
ENTRY = "/spire.api.server.entry.v1.Entry/"
SVID = "/spire.api.server.svid.v1.SVID/"


@dataclass(frozen=True)
class Identity:
    """A client's SVID and key."""

    spiffe_id: str
    chain: tuple[bytes, ...]
    key: PrivateKey


class RunningServer:
    """The endpoints of a server, and calls to them."""

    def __init__(self, endpoints: Endpoints, datastore: Datastore, ca: CA, root: bytes) -> None:
        self.endpoints = endpoints
        self.datastore = datastore
        self.ca = ca
        self.root = root
        self.socket = Path(endpoints._section.socket_path)
        self.admin = Channel.unix(self.socket)
        self._channels: list[Channel] = [self.admin]

    def port(self, identity: Identity | None = None) -> Channel:
        """A channel to the TCP port, as nobody or as someone."""
        assert self.endpoints.address is not None
        host, port = self.endpoints.address

        def context() -> Any:
            if identity is None:
                return client_context(roots=[self.root])
            return client_context(chain=identity.chain, key=identity.key, roots=[self.root])

        channel = Channel.tcp(host, port, tls=context, verify_peer=lambda chain: None)
        self._channels.append(channel)
        return channel

    async def call(
        self, method: str, request: Message, response: type[T], channel: Channel | None = None
    ) -> T:
        return await (channel or self.admin).unary(method, request, response, timeout=20)

    async def create_entry(self, parent: str, path: str, *selectors: str, **fields: Any) -> str:
        """Create an entry by the API; returns its ID."""
        entry = types_pb2.Entry(
            parent_id=pb_id(parent),
            spiffe_id=pb_id(path),
            selectors=[
                types_pb2.Selector(type=text.partition(":")[0], value=text.partition(":")[2])
                for text in selectors or ("unix:uid:0",)
            ],
            **fields,
        )
        response = await self.call(
            ENTRY + "BatchCreateEntry",
            entry_pb2.BatchCreateEntryRequest(entries=[entry]),
            entry_pb2.BatchCreateEntryResponse,
        )
        assert response.results[0].status.code == 0, response
        return response.results[0].entry.id

    async def join_token(self, alias: str = "") -> str:
        request = agent_pb2.CreateJoinTokenRequest(ttl=60)
        if alias:
            request.agent_id.CopyFrom(pb_id(alias))
        token = await self.call(AGENT + "CreateJoinToken", request, types_pb2.JoinToken)
        return token.value

    async def attest(self, token: str | None = None, channel: Channel | None = None) -> Identity:
        """Attest an agent by join token over the port."""
        key = generate_key(KeyType.EC_P256)
        request = attest_request(token or await self.join_token(), make_csr(key))
        responses = await self.attest_call([request], channel)
        svid = responses[-1].result.svid
        assert svid.cert_chain
        return Identity(
            f"spiffe://{svid.id.trust_domain}{svid.id.path}", tuple(svid.cert_chain), key
        )

    async def attest_call(
        self, requests: list[agent_pb2.AttestAgentRequest], channel: Channel | None = None
    ) -> list[agent_pb2.AttestAgentResponse]:
        async with (channel or self.port()).bidi(
            AGENT + "AttestAgent", agent_pb2.AttestAgentResponse, timeout=20
        ) as call:
            for request in requests:
                await call.send(request)
            call.done_sending()
            return [response async for response in call]

    async def identity(self, path: str, **fields: Any) -> Identity:
        """An SVID of our trust domain, signed by its CA, as a workload has one."""
        key = generate_key(KeyType.EC_P256)
        signed = await self.ca.sign_x509_svid(public_key_der(key), DOMAIN.member(path), **fields)
        return Identity(str(signed.spiffe_id), signed.chain, key)

    async def aclose(self) -> None:
        for channel in self._channels:
            await channel.aclose()
        await self.endpoints.aclose()


def pb_id(path: str, trust_domain: str = DOMAIN.name) -> types_pb2.SPIFFEID:
    return types_pb2.SPIFFEID(trust_domain=trust_domain, path=path)


def attest_request(
    token: str, csr: bytes, kind: str = "join_token"
) -> agent_pb2.AttestAgentRequest:
    return agent_pb2.AttestAgentRequest(
        params=agent_pb2.AttestAgentRequest.Params(
            data=types_pb2.AttestationData(type=kind, payload=token.encode()),
            params=agent_pb2.AgentX509SVIDParams(csr=csr),
        )
    )


@asynccontextmanager
async def running_server(
    directory: Path, *, wrap: Callable[[Datastore], Any] = lambda store: store, **settings: Any
) -> AsyncIterator[RunningServer]:
    """A server whose database is `directory/data.sqlite3`; rate limits are off unless asked for.

    `wrap` may put something between the server and its datastore.
    """
    clock = SystemClock()
    section = ServerSection.model_validate(
        {
            "trust_domain": DOMAIN,
            "data_dir": str(directory),
            "bind_address": "127.0.0.1",
            "bind_port": 0,
            "socket_path": str(directory / "s" / "api.sock"),
            "ratelimit": {"attestation": False, "signing": False},
            **settings,
        }
    )
    database = DatastoreConfig(
        database_type="sqlite3", connection_string=str(directory / "data.sqlite3")
    )
    async with open_datastore(database, clock=clock) as datastore:
        ca = CA(trust_domain=DOMAIN, clock=clock)
        root = await activate_new_ca(ca, datastore)
        endpoints = Endpoints(
            section=section,
            datastore=wrap(datastore),
            ca=ca,
            attestors={},
            levels=LogLevels(),
            clock=clock,
        )
        await endpoints.load()
        await endpoints.listen()
        server = RunningServer(endpoints, datastore, ca, root)
        try:
            yield server
        finally:
            await server.aclose()
            await ca.aclose()


async def activate_new_ca(ca: CA, datastore: Datastore) -> bytes:
    """Give the CA an authority and a JWT key, both in the bundle; returns the root."""
    now = datetime.now(UTC)
    until = now + timedelta(days=1)
    key, jwt_key = generate_key(KeyType.EC_P256), generate_key(KeyType.EC_P256)
    root = self_signed_ca(
        key, str(DOMAIN.id), Subject(country=("US",)), now - timedelta(seconds=10), until
    )
    ca.activate_x509_authority(X509Authority(certificate=root, key=key))
    ca.activate_jwt_key(JWTSigningKey("key", jwt_key, until))
    await datastore.append_bundle(
        Bundle(
            DOMAIN,
            x509_authorities=(TrustedCA(root),),
            jwt_authorities=(JWTAuthority("key", public_key_der(jwt_key), until),),
        )
    )
    return root


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory whose name is short enough for a socket in it."""
    path = Path(tempfile.mkdtemp(prefix="sp"))
    yield path
    rmtree(path, ignore_errors=True)


@pytest.fixture
async def server(short_path: Path) -> AsyncIterator[RunningServer]:
    async with running_server(short_path) as running:
        yield running


def agent_path(identity: Identity) -> str:
    return SpiffeID.parse(identity.spiffe_id).path
