"""The two workloads of the demo: each takes its identity from the Workload API, then they talk.

`python -m spire_py.cli.demo_workload serve|call <agent socket> <port>`
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path

from spire_py._proto import workload_pb2
from spire_py._proto.grpc import health_pb2
from spire_py.cli.agent.workload import HEADER, SERVICE
from spire_py.cli.command import CommandFailed
from spire_py.cli.connection import connect
from spire_py.crypto.concatenated import split_certificates
from spire_py.crypto.keys import PrivateKey, pkcs8_to_private_key
from spire_py.spiffe.bundle import Bundle, X509Authority
from spire_py.spiffe.id import SpiffeID, TrustDomain
from spire_py.spiffe.x509_svid import verify_peer_chain
from spire_py.transport import CallContext, Channel, Server, Service, client_context, server_context

_SECONDS = 10.0
_HOST = "127.0.0.1"


@dataclass(frozen=True)
class Identity:
    """An X.509-SVID with its key, and the bundle that its peers are held against."""

    spiffe_id: SpiffeID
    chain: list[bytes]
    key: PrivateKey
    bundle: Bundle

    @property
    def bundles(self) -> dict[TrustDomain, Bundle]:
        return {self.bundle.trust_domain: self.bundle}

    @property
    def roots(self) -> list[bytes]:
        return [authority.der for authority in self.bundle.x509_authorities]

    def verify(self, chain: tuple[bytes, ...]) -> SpiffeID:
        return verify_peer_chain(chain, self.bundles)


async def fetch_identity(agent_socket: Path, hint: str) -> Identity:
    """The identity of this process that carries `hint`."""
    async with (
        connect(agent_socket, HEADER) as agent,
        agent.stream(
            f"{SERVICE}/FetchX509SVID",
            workload_pb2.X509SVIDRequest(),
            workload_pb2.X509SVIDResponse,
            timeout=_SECONDS,
        ) as responses,
    ):
        async for response in responses:
            for svid in response.svids:
                if svid.hint == hint:
                    return _identity(svid)
            break
    raise CommandFailed(f"no identity with hint {hint}")


def _identity(svid: workload_pb2.X509SVID) -> Identity:
    spiffe_id = SpiffeID.parse(svid.spiffe_id)
    authorities = tuple(X509Authority(der) for der in split_certificates(svid.bundle))
    return Identity(
        spiffe_id=spiffe_id,
        chain=split_certificates(svid.x509_svid),
        key=pkcs8_to_private_key(svid.x509_svid_key),
        bundle=Bundle(spiffe_id.trust_domain, authorities),
    )


class _Greeter:
    """Answers a health check only to a caller with an identity."""

    async def check(
        self, _request: health_pb2.HealthCheckRequest, context: CallContext
    ) -> health_pb2.HealthCheckResponse:
        known = isinstance(context.peer.identity, SpiffeID)
        status = health_pb2.HealthCheckResponse
        return status(status=status.SERVING if known else status.NOT_SERVING)


async def serve(agent_socket: Path, port: int) -> None:
    identity = await fetch_identity(agent_socket, "server")
    context = server_context(chain=identity.chain, key=identity.key, roots=identity.roots)
    server = Server([Service(health_pb2.DESCRIPTOR.services_by_name["Health"], _Greeter())])
    await server.listen_tcp(
        _HOST,
        port,
        tls=lambda: context,
        verify_peer=identity.verify,
        max_connection_age=None,
    )
    print("listening", flush=True)
    await asyncio.Event().wait()


async def call(agent_socket: Path, port: int) -> None:
    identity = await fetch_identity(agent_socket, "client")
    seen: list[SpiffeID] = []
    context = client_context(chain=identity.chain, key=identity.key, roots=identity.roots)
    channel = Channel.tcp(
        _HOST,
        port,
        tls=lambda: context,
        verify_peer=lambda chain: seen.append(identity.verify(chain)),
    )
    answer = await channel.unary(
        "/grpc.health.v1.Health/Check",
        health_pb2.HealthCheckRequest(),
        health_pb2.HealthCheckResponse,
        timeout=_SECONDS,
    )
    await channel.aclose()
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        raise CommandFailed("the server did not accept the client's identity")
    print(f"{identity.spiffe_id} called {seen[0]}: each proved who it is")


def main() -> None:
    role, agent_socket, port = sys.argv[1:]
    asyncio.run({"serve": serve, "call": call}[role](Path(agent_socket), int(port)))


if __name__ == "__main__":
    main()
