"""Who is let in, as far as memory and the database can tell."""

from __future__ import annotations

import io
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

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
from spire_py.errors import Internal, PermissionDenied, SpireError, Unavailable
from spire_py.model.agent import Agent
from spire_py.model.entry import Entry
from spire_py.server.policy import (
    POLICY,
    Access,
    Authorizer,
    CallerKind,
    PeerSVID,
    caller_of,
    calling_agent,
)
from spire_py.spiffe.id import SpiffeID
from spire_py.telemetry.logs import configure_logging
from spire_py.wire.status import Reason, permission_denied_reason
from tests.fakes.agents import agent_id, make_agent, make_entry, member
from tests.fakes.clock import START, FakeClock

SYNC = "/spire.api.server.entry.v1.Entry/SyncAuthorizedEntries"
COUNT = "/spire.api.server.entry.v1.Entry/CountEntries"
DOWNSTREAM = "/spire.api.server.svid.v1.SVID/NewDownstreamX509CA"
BUNDLE = "/spire.api.server.bundle.v1.Bundle/GetBundle"
LATER = START + timedelta(hours=1)


@dataclass
class FakePeer:
    address: str = "10.0.0.1:1"
    unix: object | None = None
    identity: object | None = None


@dataclass
class FakeContext:
    method: str
    peer: FakePeer
    values: dict[str, object] = field(default_factory=dict)


class FakeDirectory:
    """Agents in memory, and others in a database that may be away."""

    def __init__(self) -> None:
        self.memory: dict[SpiffeID, Agent] = {}
        self.database: dict[SpiffeID, Agent] = {}
        self.entries: list[Entry] = []
        self.away = False
        self.queries = 0

    def agent(self, agent_id: SpiffeID) -> Agent | None:
        return self.memory.get(agent_id)

    async def fetch_agent(self, agent_id: SpiffeID) -> Agent | None:
        self.queries += 1
        if self.away:
            raise Unavailable("the database is away")
        return self.database.get(agent_id)

    def privileged(self, spiffe_id: SpiffeID) -> list[Entry]:
        return [entry for entry in self.entries if entry.spiffe_id == spiffe_id]


@pytest.fixture
def directory() -> FakeDirectory:
    return FakeDirectory()


@pytest.fixture
def activated() -> list[Agent]:
    return []


@pytest.fixture
def authorizer(directory: FakeDirectory, activated: list[Agent]) -> Authorizer:
    async def activate(agent: Agent) -> Agent:
        activated.append(agent)
        return agent

    return Authorizer(
        callers=directory,
        activate=activate,
        admin_ids=(member("/boss"),),
        clock=FakeClock(),
    )


def svid(serial: str = "1", spiffe_id: SpiffeID | None = None) -> PeerSVID:
    return PeerSVID(spiffe_id or agent_id("node"), serial, LATER)


async def ask(authorizer: Authorizer, method: str, identity: PeerSVID | None) -> FakeContext:
    context = FakeContext(method, FakePeer(identity=identity))
    await authorizer.authorize(context)  # type: ignore[arg-type]
    return context


async def refusal(authorizer: Authorizer, method: str, identity: PeerSVID | None) -> SpireError:
    with pytest.raises(SpireError) as refused:
        await ask(authorizer, method, identity)
    return refused.value


async def test_an_agent_in_memory_is_let_in_without_a_query(
    authorizer: Authorizer, directory: FakeDirectory
) -> None:
    directory.memory[agent_id("node")] = make_agent("node")
    context = await ask(authorizer, SYNC, svid())
    assert caller_of(context).kind == CallerKind.AGENT  # type: ignore[arg-type]
    assert calling_agent(context) == agent_id("node")  # type: ignore[arg-type]
    assert directory.queries == 0


async def test_an_agent_that_attested_elsewhere_a_moment_ago_is_read_through(
    authorizer: Authorizer, directory: FakeDirectory
) -> None:
    directory.database[agent_id("node")] = make_agent("node")
    await ask(authorizer, SYNC, svid())
    directory.memory[agent_id("node")] = make_agent("node", serial_number="old")
    await ask(authorizer, SYNC, svid())


@pytest.mark.parametrize(
    ("agent", "reason"),
    [
        pytest.param(None, Reason.AGENT_NOT_ATTESTED, id="unknown"),
        pytest.param(make_agent("node", serial_number=""), Reason.AGENT_BANNED, id="banned"),
        pytest.param(
            make_agent("node", serial_number="2"), Reason.AGENT_NOT_ACTIVE, id="other serial"
        ),
    ],
)
async def test_an_agent_is_told_why_it_is_refused(
    authorizer: Authorizer, directory: FakeDirectory, agent: Agent | None, reason: Reason
) -> None:
    if agent is not None:
        directory.memory[agent.id] = directory.database[agent.id] = agent
    error = await refusal(authorizer, SYNC, svid())
    assert error.message == f"authorization denied for method {SYNC}"
    assert permission_denied_reason(error) == reason


async def test_an_expired_svid_is_refused_before_anything_is_looked_up(
    authorizer: Authorizer, directory: FakeDirectory
) -> None:
    directory.memory[agent_id("node")] = make_agent("node")
    expired = replace(svid(), not_after=START - timedelta(seconds=1))
    error = await refusal(authorizer, SYNC, expired)
    assert permission_denied_reason(error) == Reason.AGENT_EXPIRED
    assert directory.queries == 0


async def test_a_renewed_svid_is_made_the_current_one_at_its_first_use(
    authorizer: Authorizer, directory: FakeDirectory, activated: list[Agent]
) -> None:
    agent = make_agent("node", new_serial_number="2", new_expires_at=LATER)
    directory.memory[agent.id] = agent
    await ask(authorizer, SYNC, svid("1"))
    assert activated == []
    await ask(authorizer, SYNC, svid("2"))
    assert activated == [agent]
    assert directory.queries == 0


async def test_with_the_database_away_the_last_known_state_counts(
    authorizer: Authorizer, directory: FakeDirectory
) -> None:
    directory.away = True
    directory.memory[agent_id("node")] = make_agent("node")
    await ask(authorizer, SYNC, svid())
    directory.memory[agent_id("node")] = make_agent("node", serial_number="")
    error = await refusal(authorizer, SYNC, svid())
    assert permission_denied_reason(error) == Reason.AGENT_BANNED
    directory.memory.clear()
    assert isinstance(await refusal(authorizer, SYNC, svid()), Internal)


async def test_rights_come_from_the_config_and_from_entries(
    authorizer: Authorizer, directory: FakeDirectory
) -> None:
    directory.entries = [
        make_entry("1", "/p", "/admin", admin=True),
        make_entry("2", "/p", "/down", downstream=True),
    ]
    for path, method, kind in (
        ("/boss", COUNT, CallerKind.ADMIN),
        ("/admin", COUNT, CallerKind.ADMIN),
        ("/down", DOWNSTREAM, CallerKind.DOWNSTREAM),
    ):
        context = await ask(authorizer, method, svid(spiffe_id=member(path)))
        assert caller_of(context).kind == kind  # type: ignore[arg-type]
    for path, method in (("/down", COUNT), ("/admin", DOWNSTREAM), ("/boss", SYNC)):
        assert isinstance(
            await refusal(authorizer, method, svid(spiffe_id=member(path))), PermissionDenied
        )


async def test_an_expired_svid_gives_no_rights(authorizer: Authorizer) -> None:
    expired = PeerSVID(member("/boss"), "1", START - timedelta(seconds=1))
    assert isinstance(await refusal(authorizer, COUNT, expired), PermissionDenied)


async def test_anyone_gets_the_bundle_and_nobody_what_is_not_in_the_table(
    authorizer: Authorizer,
) -> None:
    await ask(authorizer, BUNDLE, None)
    error = await refusal(authorizer, "/x.Y/Z", svid(spiffe_id=member("/boss")))
    assert error.message == "authorization denied for method /x.Y/Z"


def test_the_table_has_every_method_of_the_server_once() -> None:
    modules = (agent_pb2, bundle_pb2, changes_pb2, debug_pb2, entry_pb2, health_pb2)
    offered = {
        f"/{service.full_name}/{method.name}"
        for module in (*modules, localauthority_pb2, logger_pb2, svid_pb2, trustdomain_pb2)
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    assert set(POLICY) == offered
    assert all(access for access in POLICY.values())
    assert [method for method, access in POLICY.items() if Access.ANY in access] == [
        "/spire.api.server.agent.v1.Agent/AttestAgent",
        BUNDLE,
    ]


async def test_refusals_do_not_fill_the_disk(authorizer: Authorizer) -> None:
    stream = io.StringIO()
    configure_logging(stream=stream)
    for _ in range(3_000):
        with pytest.raises(PermissionDenied):
            await ask(authorizer, COUNT, None)
    assert stream.getvalue().count("Failed to authenticate caller") == 1_000
