"""Who may call what, on the port and on the admin socket."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from spire_py._proto.spire.api import types_pb2
from spire_py._proto.spire.api.server import entry_pb2
from spire_py.crypto.keys import generate_key, public_key_der
from spire_py.errors import PermissionDenied, SpireError, StatusCode
from spire_py.plugin_api.key_manager import KeyType
from spire_py.server.policy import POLICY, Access
from spire_py.spiffe.id import SpiffeID
from spire_py.transport import Channel
from spire_py.wire.status import Reason, permission_denied_reason

from .conftest import AGENT, BUNDLE, ENTRY, SVID, Identity, RunningServer, running_server

DENIED = StatusCode.PERMISSION_DENIED


async def refusal(server: RunningServer, method: str, identity: Identity | None) -> SpireError:
    """What a caller on the port gets for an empty request; every method has one."""
    with pytest.raises(SpireError) as refused:
        await call_with_nothing(server, method, server.port(identity))
    return refused.value


async def call_with_nothing(server: RunningServer, method: str, channel: Channel) -> None:
    if method.endswith(("SyncAuthorizedEntries", "AttestAgent")):
        async with channel.bidi(method, types_pb2.Status, timeout=20) as call:
            call.done_sending()
            await anext(call)
    else:
        await server.call(method, entry_pb2.GetEntryRequest(), types_pb2.Status, channel)


SHARED = [method for method in POLICY if method.startswith((AGENT, BUNDLE, ENTRY, SVID))]


@pytest.mark.parametrize("method", [m for m in SHARED if Access.ANY not in POLICY[m]])
async def test_without_a_certificate_only_what_anyone_may_call_is_allowed(
    server: RunningServer, method: str
) -> None:
    error = await refusal(server, method, None)
    assert (error.code, error.message) == (DENIED, f"authorization denied for method {method}")


@pytest.mark.parametrize("method", [m for m in SHARED if Access.ANY not in POLICY[m]])
async def test_a_plain_workload_may_call_no_more(server: RunningServer, method: str) -> None:
    error = await refusal(server, method, await server.identity("/workload"))
    assert (error.code, error.message) == (DENIED, f"authorization denied for method {method}")
    if Access.AGENT in POLICY[method]:
        assert permission_denied_reason(error) == Reason.AGENT_NOT_ATTESTED
    else:
        assert error.details == ()


@pytest.mark.parametrize(
    "method",
    [m for m in SHARED if not POLICY[m] & (Access.ANY | Access.AGENT)],
)
async def test_an_agent_may_not_do_what_operators_may(server: RunningServer, method: str) -> None:
    error = await refusal(server, method, await server.attest())
    assert (error.code, error.message) == (DENIED, f"authorization denied for method {method}")


@pytest.mark.parametrize("method", [m for m in SHARED if POLICY[m] == Access.AGENT])
async def test_a_local_caller_is_no_agent(server: RunningServer, method: str) -> None:
    with pytest.raises(PermissionDenied, match=f"authorization denied for method {method}"):
        await call_with_nothing(server, method, server.admin)


@pytest.mark.parametrize(
    "method",
    [
        "/spire.api.server.debug.v1.Debug/GetInfo",
        "/spire.api.server.logger.v1.Logger/GetLogger",
        "/grpc.health.v1.Health/Check",
    ],
)
async def test_what_is_local_is_not_offered_on_the_port(server: RunningServer, method: str) -> None:
    with pytest.raises(SpireError) as refused:
        await server.call(
            method,
            entry_pb2.GetEntryRequest(),
            types_pb2.Status,
            server.port(await server.attest()),
        )
    assert refused.value.code == StatusCode.UNIMPLEMENTED


async def test_an_admin_entry_gives_admin_rights_and_its_end_takes_them(
    server: RunningServer,
) -> None:
    admin = await server.identity("/admin")
    channel = server.port(admin)
    count = entry_pb2.CountEntriesRequest()
    with pytest.raises(PermissionDenied):
        await server.call(ENTRY + "CountEntries", count, entry_pb2.CountEntriesResponse, channel)
    entry_id = await server.create_entry("/parent", "/admin", admin=True)
    await server.call(ENTRY + "CountEntries", count, entry_pb2.CountEntriesResponse, channel)
    await server.call(
        ENTRY + "BatchDeleteEntry",
        entry_pb2.BatchDeleteEntryRequest(ids=[entry_id]),
        entry_pb2.BatchDeleteEntryResponse,
    )
    with pytest.raises(PermissionDenied):
        await server.call(ENTRY + "CountEntries", count, entry_pb2.CountEntriesResponse, channel)


async def test_an_admin_of_the_config_may_do_what_admins_may(short_path: Path) -> None:
    admin_id = SpiffeID.parse("spiffe://example.org/boss")
    async with running_server(short_path, admin_ids=(admin_id,)) as server:
        channel = server.port(await server.identity("/boss"))
        count = entry_pb2.CountEntriesRequest()
        await server.call(ENTRY + "CountEntries", count, entry_pb2.CountEntriesResponse, channel)


async def test_an_expired_agent_is_told_so(server: RunningServer) -> None:
    # A connection outlives the SVID it was made with: each call looks at the time again.
    agent = await server.attest()
    key = generate_key(KeyType.EC_P256)
    signed = await server.ca.sign_x509_svid(
        public_key_der(key), SpiffeID.parse(agent.spiffe_id), ttl=timedelta(seconds=1)
    )
    await server.datastore.update_agent(
        SpiffeID.parse(agent.spiffe_id),
        serial_number=str(signed.serial_number),
        expires_at=signed.expires_at,
    )
    channel = server.port(Identity(agent.spiffe_id, signed.chain, key))
    request = entry_pb2.GetAuthorizedEntriesRequest()

    async def call_until_refused() -> None:
        while True:
            await server.call(ENTRY + "GetAuthorizedEntries", request, types_pb2.Status, channel)

    with pytest.raises(PermissionDenied) as refused:
        await call_until_refused()
    assert permission_denied_reason(refused.value) == Reason.AGENT_EXPIRED
