"""x509pop with an SVID of another agent: real gRPC on a Unix socket."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from spire_py_plugins.node_attestor.x509pop import agent as agent_end
from spire_py_plugins.node_attestor.x509pop import server as server_end

from spire_py._proto import workload_pb2
from spire_py.crypto.keys import private_key_to_pkcs8
from spire_py.errors import InvalidArgument, PermissionDenied, Unavailable
from spire_py.plugin_api.context import PluginContext
from spire_py.plugin_api.node_attestor import AgentNodeAttestor
from spire_py.runtime.watch import Watch
from spire_py.spiffe.bundle import Bundle, X509Authority
from spire_py.spiffe.id import TrustDomain
from spire_py.transport import CallContext, Server, Service
from tests.contracts.node_attestor import attest
from tests.fakes.pki import issue

TRUST_DOMAIN = TrustDomain("example.org")
ROOT = issue(name="root", is_ca=True)
INTERMEDIATE = issue(ROOT, name="intermediate", is_ca=True)
NODE = issue(INTERMEDIATE, uris=["spiffe://example.org/spire-exchange/node"])
OTHER = issue(ROOT, uris=["spiffe://example.org/other"])

Update = workload_pb2.X509SVIDResponse


def update(chain: bytes = NODE.der + INTERMEDIATE.der, key: bytes | None = None) -> Update:
    return Update(
        svids=[
            workload_pb2.X509SVID(
                spiffe_id="spiffe://example.org/spire-exchange/node",
                x509_svid=chain,
                x509_svid_key=private_key_to_pkcs8(NODE.key) if key is None else key,
            ),
            workload_pb2.X509SVID(x509_svid=OTHER.der, x509_svid_key=b"not looked at"),
        ]
    )


class WorkloadServicer:
    """Sends the updates it was made with."""

    def __init__(self, *updates: Update) -> None:
        self.updates = updates

    async def fetch_x509svid(
        self, request: workload_pb2.X509SVIDRequest, context: CallContext
    ) -> AsyncIterator[Update]:
        if context.metadata.get_all("workload.spiffe.io") != ["true"]:
            raise InvalidArgument("security header missing from request")
        if not self.updates:
            raise PermissionDenied("no identity issued")
        for each in self.updates:
            yield each


@pytest.fixture
def socket() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="sp"))
    yield directory / "api.sock"
    shutil.rmtree(directory)


@asynccontextmanager
async def serving(socket: Path, *updates: Update) -> AsyncIterator[None]:
    descriptor = workload_pb2.DESCRIPTOR.services_by_name["SpiffeWorkloadAPI"]
    server = Server([Service(descriptor, WorkloadServicer(*updates))])
    await server.listen_unix(socket, mode=0o777, directory_mode=0o755)
    try:
        yield
    finally:
        await server.aclose()


@pytest.fixture
def context() -> PluginContext:
    bundle = Bundle(TRUST_DOMAIN, x509_authorities=(X509Authority(ROOT.der),))
    return PluginContext(TRUST_DOMAIN, trust_bundle=Watch(bundle))


@pytest.fixture
def agent(socket: Path, context: PluginContext) -> AgentNodeAttestor:
    return agent_end.configure({"spiffe_endpoint_socket": f"unix://{socket}"}, context)


async def test_an_svid_of_another_agent_is_exchanged(
    socket: Path, context: PluginContext, agent: AgentNodeAttestor
) -> None:
    server = server_end.configure({"mode": "spiffe"}, context)
    async with serving(socket, Update(), update()):
        result = await attest(server, agent)
    assert str(result.agent_id) == "spiffe://example.org/spire/agent/x509pop/node"


@pytest.mark.parametrize(
    ("updates", "message"),
    [
        pytest.param([], "no identity issued", id="refused"),
        pytest.param([Update()], "there is no SVID", id="no SVID"),
        pytest.param([update(chain=b"x")], "malformed certificate", id="no certificate"),
        pytest.param([update(key=b"x")], "private key is malformed", id="no key"),
    ],
)
async def test_an_svid_that_cannot_be_had_is_told_of(
    socket: Path, agent: AgentNodeAttestor, updates: list[Update], message: str
) -> None:
    async with serving(socket, *updates):
        with pytest.raises(Unavailable, match=f"unable to fetch SVID from workload API: {message}"):
            await agent.payload()


async def test_a_missing_workload_api_is_told_of(agent: AgentNodeAttestor) -> None:
    with pytest.raises(Unavailable, match="unable to fetch SVID from workload API: "):
        await agent.payload()


@pytest.mark.parametrize("address", ["/run/api.sock", "tcp://127.0.0.1:80", "unix://api.sock"])
def test_only_a_unix_socket_is_taken(context: PluginContext, address: str) -> None:
    with pytest.raises(InvalidArgument, match="must be unix:// and an absolute path"):
        agent_end.configure({"spiffe_endpoint_socket": address}, context)
