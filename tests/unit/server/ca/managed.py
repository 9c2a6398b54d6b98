"""What a CA manager has made of a world."""

from __future__ import annotations

from datetime import timedelta

from spire_py.crypto.keys import generate_key, public_key_der
from spire_py.model.ca_journal import CAJournal
from spire_py.spiffe.id import SpiffeID
from spire_py.spiffe.jwt_svid import validate_jwt_svid
from spire_py.spiffe.x509_svid import verify_chain
from tests.unit.server.ca.conftest import TRUST_DOMAIN, Server, World

WORKLOAD = SpiffeID(TRUST_DOMAIN, "/workload")
PUBLIC_KEY = public_key_der(generate_key("ec-p256"))
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


async def signs_validly(world: World, server: Server) -> None:
    """What the server signs now is accepted by whoever has the bundle now."""
    bundles = {TRUST_DOMAIN: await world.bundle()}
    now = world.clock.now()
    svid = await server.ca.sign_x509_svid(PUBLIC_KEY, WORKLOAD)
    assert verify_chain(svid.chain, bundles, now) == WORKLOAD
    token = (await server.ca.sign_jwt_svid(WORKLOAD, ["them"])).token
    assert validate_jwt_svid(token, "them", bundles, now).spiffe_id == WORKLOAD


def x509_authority(server: Server) -> str:
    authority = server.ca.x509_authority
    assert authority is not None
    return authority.authority_id


def jwt_key(server: Server) -> str:
    key = server.ca.jwt_key
    assert key is not None
    return key.key_id


async def journal(world: World) -> CAJournal:
    [found] = await world.store.list_ca_journals()
    return found


def statuses(found: CAJournal) -> list[tuple[str, str]]:
    return [(record.slot_id, record.status.name) for record in found.x509_cas]


async def tick(world: World, duration: timedelta) -> None:
    """Let time pass, and the manager's rounds that are due come to their end."""
    end = world.clock.now() + duration
    while world.clock.now() < end:
        await world.clock.advance(min(timedelta(minutes=30), end - world.clock.now()))
        await world.clock.sleepers(3)
