from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from spire_py.crypto.certificate import CertificateFacts
from spire_py.crypto.subject import CASubject
from spire_py.errors import Unavailable
from spire_py.model.ca_journal import AuthorityStatus
from spire_py.plugin_api.key_manager import KeyType
from spire_py.server.ca.ca import SVIDDefaults
from spire_py.server.ca.manager import CASettings
from spire_py.spiffe.bundle import Bundle, X509Authority
from spire_py.spiffe.jwt_svid import validate_jwt_svid
from spire_py.spiffe.x509_svid import verify_chain
from tests.fakes.clock import FakeClock
from tests.fakes.pki import issue
from tests.unit.server.ca.conftest import TRUST_DOMAIN, World
from tests.unit.server.ca.managed import (
    DAY,
    HOUR,
    PUBLIC_KEY,
    WORKLOAD,
    journal,
    jwt_key,
    signs_validly,
    statuses,
    tick,
    x509_authority,
)


async def test_a_first_start_makes_an_authority_of_each_kind(world: World) -> None:
    server = await world.start()
    await signs_validly(world, server)
    bundle = await world.bundle()
    assert len(bundle.x509_authorities) == len(bundle.jwt_authorities) == 1
    assert sorted(await world.key_manager().get_keys()) == ["JWT-Signer-A", "x509-CA-A"]
    found = await journal(world)
    assert statuses(found) == [("A", "ACTIVE")]
    assert found.active_x509_authority_id == x509_authority(server)
    assert [key.authority_id for key in found.jwt_keys] == [jwt_key(server)]


async def test_the_ca_certificate_is_as_configured(world: World) -> None:
    settings = CASettings(
        ca_ttl=timedelta(hours=48),
        ca_key_type=KeyType.EC_P384,
        jwt_key_type=KeyType.RSA_2048,
        ca_subject=CASubject(country=("DE",), common_name="test"),
    )
    await world.start(settings=settings)
    bundle = await world.bundle()
    facts = CertificateFacts(bundle.x509_authorities[0].der)
    now = world.clock.now()
    assert facts.uris == ("spiffe://example.org",)
    assert (facts.not_before, facts.not_after) == (now - timedelta(seconds=10), now + 48 * HOUR)
    assert facts.subject.country == ("DE",)
    assert facts.subject.serial_number == str(facts.serial_number)
    assert bundle.jwt_authorities[0].expires_at == now + 48 * HOUR
    keys = await world.key_manager().get_keys()
    assert keys["x509-CA-A"].private_key.key_size == 384
    assert keys["JWT-Signer-A"].private_key.key_size == 2048


async def test_key_ids_are_of_32_letters_and_digits(world: World) -> None:
    key_id = jwt_key(await world.start())
    assert len(key_id) == 32
    assert key_id.isascii()
    assert key_id.isalnum()


async def test_without_jwt_svids_there_are_no_jwt_keys(world: World) -> None:
    server = await world.start(settings=CASettings(disable_jwt_svids=True))
    assert sorted(await world.key_manager().get_keys()) == ["x509-CA-A"]
    assert (await world.bundle()).jwt_authorities == ()
    with pytest.raises(Unavailable, match="JWT key is not available for signing"):
        await server.ca.sign_jwt_svid(WORKLOAD, ["them"])


async def test_the_next_authority_is_published_long_before_it_signs(world: World) -> None:
    server = await world.start()
    first = x509_authority(server)

    await world.clock.advance(12 * HOUR - timedelta(seconds=1))
    await server.manager.rotate()
    assert len((await world.bundle()).x509_authorities) == 1

    await world.clock.advance(timedelta(seconds=1))
    await server.manager.rotate()
    bundle = await world.bundle()
    assert len(bundle.x509_authorities) == len(bundle.jwt_authorities) == 2
    assert statuses(await journal(world)) == [("A", "ACTIVE"), ("B", "PREPARED")]
    assert x509_authority(server) == first

    await world.clock.advance(8 * HOUR - timedelta(seconds=1))
    await server.manager.rotate()
    assert x509_authority(server) == first

    await world.clock.advance(timedelta(seconds=1))
    await server.manager.rotate()
    assert x509_authority(server) != first
    assert statuses(await journal(world)) == [("A", "OLD"), ("B", "ACTIVE")]
    assert (await journal(world)).active_x509_authority_id == x509_authority(server)
    assert await world.bundle() == bundle
    await signs_validly(world, server)


@pytest.mark.parametrize(
    ("ttl", "prepared_after", "activated_after"),
    [
        pytest.param(timedelta(minutes=6), timedelta(minutes=3), timedelta(minutes=5), id="short"),
        pytest.param(60 * DAY, 30 * DAY, 53 * DAY, id="two months"),
        pytest.param(365 * DAY, 335 * DAY, 358 * DAY, id="a year"),
    ],
)
async def test_thresholds_are_shares_of_the_lifetime_up_to_a_limit(
    world: World, ttl: timedelta, prepared_after: timedelta, activated_after: timedelta
) -> None:
    server = await world.start(settings=CASettings(ca_ttl=ttl))
    started = world.clock.now()
    second = timedelta(seconds=1)
    seen: list[int] = []
    for moment in (
        prepared_after - second,
        prepared_after,
        activated_after - second,
        activated_after,
    ):
        await world.clock.advance(started + moment - world.clock.now())
        await server.manager.rotate()
        found = await journal(world)
        seen.append(sum(1 for each in found.x509_cas if each.status is AuthorityStatus.PREPARED))
    assert seen == [0, 1, 1, 0]


async def test_weeks_of_rotation_never_leave_anyone_without_trust(world: World) -> None:
    server = await world.start()
    authorities, keys = [x509_authority(server)], [jwt_key(server)]
    old: list[tuple[datetime, tuple[bytes, ...]]] = []
    for hour in range(21 * 24):
        await world.clock.advance(HOUR)
        await server.manager.rotate()
        if hour % 6 == 5:
            await server.manager.prune_bundle()
        await signs_validly(world, server)
        svid = await server.ca.sign_x509_svid(PUBLIC_KEY, WORKLOAD, ttl=4 * HOUR)
        # An SVID of full length is never cut short: the CA in turn lives long enough.
        assert svid.expires_at == world.clock.now() + 4 * HOUR
        old.append((svid.expires_at, svid.chain))
        now = world.clock.now()
        old = [(end, chain) for end, chain in old if now < end]
        bundle = await world.bundle()
        for _, chain in old:
            verify_chain(chain, {TRUST_DOMAIN: bundle}, now)
        if x509_authority(server) not in authorities:
            authorities.append(x509_authority(server))
        if jwt_key(server) not in keys:
            keys.append(jwt_key(server))
        assert len(bundle.x509_authorities) <= 5
        assert len(bundle.jwt_authorities) <= 5
    assert len(authorities) == len(keys) == 42
    found = await journal(world)
    assert len(found.x509_cas) == len(found.jwt_keys) == 10
    assert sorted(await world.key_manager().get_keys()) == [
        "JWT-Signer-A",
        "JWT-Signer-B",
        "x509-CA-A",
        "x509-CA-B",
    ]


async def test_the_running_manager_rotates_and_prunes_by_itself(world: World) -> None:
    server = await world.start()
    first = x509_authority(server)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(server.manager.run())
        await world.clock.sleepers(3)
        world.clock.jump(13 * HOUR)
        await tick(world, timedelta(seconds=10))
        assert len((await world.bundle()).x509_authorities) == 2
        world.clock.jump(8 * HOUR)
        await tick(world, timedelta(seconds=10))
        assert x509_authority(server) != first
        world.clock.jump(3 * DAY)
        await tick(world, timedelta(seconds=10))
        await tick(world, 8 * HOUR)
        running.cancel()
    ids = {
        CertificateFacts(each.der).authority_id for each in (await world.bundle()).x509_authorities
    }
    assert first not in ids
    await signs_validly(world, server)


async def test_a_restart_goes_on_with_the_same_authorities(world: World) -> None:
    first = await world.start()
    await world.clock.advance(13 * HOUR)
    await first.manager.rotate()
    bundle, keys = await world.bundle(), dict(await world.key_manager().get_keys())

    second = await world.start()
    assert (x509_authority(second), jwt_key(second)) == (x509_authority(first), jwt_key(first))
    assert await world.bundle() == bundle
    assert sorted(await world.key_manager().get_keys()) == sorted(keys)

    await world.clock.advance(8 * HOUR)
    third = await world.start()
    assert x509_authority(third) != x509_authority(first)
    assert await world.bundle() == bundle
    await signs_validly(world, third)


async def test_a_restart_after_a_long_stop_begins_anew(world: World) -> None:
    first = await world.start()
    await world.clock.advance(30 * DAY)
    second = await world.start()
    assert x509_authority(second) != x509_authority(first)
    await signs_validly(world, second)
    assert statuses(await journal(world)) == [("A", "OLD"), ("B", "ACTIVE")]


async def test_lost_keys_are_replaced(world: World) -> None:
    first = await world.start()
    world.lose_keys()
    second = await world.start()
    assert x509_authority(second) != x509_authority(first)
    await signs_validly(world, second)


@pytest.mark.parametrize("slot", ["A", "B"])
async def test_an_authority_whose_key_was_replaced_does_not_sign(world: World, slot: str) -> None:
    first = await world.start()
    await world.clock.advance(13 * HOUR)
    await first.manager.rotate()
    keys = world.key_manager()
    for key_id in (f"x509-CA-{slot}", f"JWT-Signer-{slot}"):
        await keys.generate_key(key_id, KeyType.EC_P256)
    second = await world.start()
    await signs_validly(world, second)
    await world.clock.advance(8 * HOUR)
    await second.manager.rotate()
    await signs_validly(world, second)


async def test_of_two_journals_the_one_written_last_counts(world: World) -> None:
    server = await world.start()
    stale = await journal(world)
    for hours in (13, 8):
        await world.clock.advance(hours * HOUR)
        await server.manager.rotate()
    await world.store.set_ca_journal(replace(stale, row=None))
    restarted = await world.start()
    assert x509_authority(restarted) == x509_authority(server)


async def test_servers_on_one_database_trust_each_other(world: World) -> None:
    servers = [await world.start(name) for name in ("first", "second", "third")]
    for _ in range(60):
        await world.clock.advance(HOUR)
        for server in servers:
            await server.manager.rotate()
            await signs_validly(world, server)
    assert len({x509_authority(server) for server in servers}) == 3
    assert len(await world.store.list_ca_journals()) == 3
    restarted = await world.start("second")
    assert x509_authority(restarted) == x509_authority(servers[1])


async def test_the_bundle_watch_shows_what_other_servers_add(world: World) -> None:
    first = await world.start("first")
    await world.start("second")
    await first.manager.rotate()
    assert len(first.ca.trust_bundle.value.x509_authorities) == 2


async def test_a_ca_removed_from_the_bundle_is_replaced_at_once(world: World) -> None:
    server = await world.start()
    first = x509_authority(server)
    foreign = X509Authority(issue(name="foreign", is_ca=True).der)
    await world.store.set_bundle(Bundle(TRUST_DOMAIN, x509_authorities=(foreign,)))
    await server.manager.rotate()
    assert x509_authority(server) != first
    await signs_validly(world, server)


async def test_svids_of_a_removed_authority_are_not_to_be_shown(world: World) -> None:
    server = await world.start()
    first = x509_authority(server)
    assert server.ca.trusts(first)
    await world.clock.advance(20 * HOUR)
    await server.manager.rotate()
    assert x509_authority(server) != first
    assert server.ca.trusts(first)
    bundle = await world.bundle()
    tainted = [replace(each, tainted=True) for each in bundle.x509_authorities]
    await world.store.set_bundle(bundle.with_changes(x509_authorities=tuple(tainted)))
    await server.manager.rotate()
    assert not server.ca.trusts(first)
    assert server.ca.trusts(x509_authority(server))


async def test_a_lost_bundle_is_made_anew(world: World) -> None:
    server = await world.start()
    await world.store.delete_bundle(TRUST_DOMAIN)
    await server.manager.rotate()
    await signs_validly(world, server)


async def test_a_pruned_journal_is_written_anew(world: World) -> None:
    server = await world.start()
    await world.store.prune_ca_journals(world.clock.now() + 30 * DAY)
    await world.clock.advance(12 * HOUR)
    await server.manager.rotate()
    assert statuses(await journal(world)) == [("A", "ACTIVE"), ("B", "PREPARED")]


async def test_journals_of_servers_long_gone_are_pruned(world: World) -> None:
    await world.start("gone")
    await world.clock.advance(10 * DAY)
    server = await world.start("first")
    await server.manager.prune_journals()
    assert len(await world.store.list_ca_journals()) == 2
    await world.clock.advance(6 * DAY)
    await server.manager.rotate()
    await server.manager.prune_journals()
    assert (await journal(world)).active_x509_authority_id == x509_authority(server)


async def test_expired_authorities_stay_a_day_longer(world: World) -> None:
    server = await world.start()
    for _ in range(48):
        await world.clock.advance(HOUR)
        await server.manager.rotate()
    before = len((await world.bundle()).x509_authorities)
    await server.manager.prune_bundle()
    assert len((await world.bundle()).x509_authorities) == before - 1
    assert server.ca.trust_bundle.value == await world.bundle()
    await signs_validly(world, server)


async def test_the_issuer_of_tokens_is_the_configured_one(world: World, clock: FakeClock) -> None:
    server = await world.start(defaults=SVIDDefaults(jwt_issuer="https://oidc.example.org"))
    token = (await server.ca.sign_jwt_svid(WORKLOAD, ["them"])).token
    bundles = {TRUST_DOMAIN: await world.bundle()}
    claims = validate_jwt_svid(token, "them", bundles, clock.now()).claims
    assert claims["iss"] == "https://oidc.example.org"
