from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from spire_py.crypto.certificate import CertificateFacts
from spire_py.crypto.keys import generate_key, public_key_der
from spire_py.crypto.subject import CASubject
from spire_py.errors import SpireError, Unavailable
from spire_py.model.ca_journal import AuthorityStatus, CAJournal
from spire_py.plugin_api.key_manager import KeyType
from spire_py.server.ca.ca import SVIDDefaults
from spire_py.server.ca.manager import CASettings
from spire_py.spiffe.bundle import Bundle, X509Authority
from spire_py.spiffe.id import SpiffeID
from spire_py.spiffe.jwt_svid import validate_jwt_svid
from spire_py.spiffe.x509_svid import verify_chain
from tests.fakes.clock import FakeClock
from tests.fakes.pki import issue
from tests.unit.server.ca.conftest import TRUST_DOMAIN, Killed, Server, World

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


async def tick(world: World, duration: timedelta) -> None:
    """Let time pass, and the manager's rounds that are due come to their end."""
    end = world.clock.now() + duration
    while world.clock.now() < end:
        await world.clock.advance(min(timedelta(minutes=30), end - world.clock.now()))
        await world.clock.sleepers(3)


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


class TestWhileTheDatabaseIsAway:
    async def test_a_start_fails(self, world: World) -> None:
        world.faults.database_away = True
        with pytest.raises(Unavailable):
            await world.start()

    async def test_signing_goes_on(self, world: World) -> None:
        server = await world.start()
        world.faults.database_away = True
        for _ in range(23):
            await world.clock.advance(HOUR)
            await server.manager.rotate()
            await server.manager.prune_bundle()
            await server.manager.prune_journals()
        world.faults.database_away = False
        await signs_validly(world, server)

    async def test_no_keys_are_made_that_could_not_be_published(self, world: World) -> None:
        server = await world.start()
        world.faults.database_away = True
        await world.clock.advance(13 * HOUR)
        await server.manager.rotate()
        assert sorted(await world.key_manager().get_keys()) == ["JWT-Signer-A", "x509-CA-A"]

    async def test_what_is_prepared_takes_over(self, world: World) -> None:
        server = await world.start()
        first = x509_authority(server)
        await world.clock.advance(13 * HOUR)
        await server.manager.rotate()
        world.faults.database_away = True
        await world.clock.advance(8 * HOUR)
        await server.manager.rotate()
        assert x509_authority(server) != first
        await signs_validly(world, server)

        # The journal still tells of the first: its key must not be overwritten before it does not.
        await world.clock.advance(12 * HOUR)
        await server.manager.rotate()
        world.faults.database_away = False
        restarted = await world.start()
        assert x509_authority(restarted) == x509_authority(server)

    async def test_the_journal_is_stored_once_it_is_back(self, world: World) -> None:
        server = await world.start()
        await world.clock.advance(13 * HOUR)
        await server.manager.rotate()
        world.faults.database_away = True
        await world.clock.advance(8 * HOUR)
        await server.manager.rotate()
        world.faults.database_away = False
        await server.manager.rotate()
        assert (await journal(world)).active_x509_authority_id == x509_authority(server)

    async def test_an_expired_authority_signs_nothing(self, world: World) -> None:
        server = await world.start()
        world.faults.database_away = True
        await world.clock.advance(25 * HOUR)
        await server.manager.rotate()
        with pytest.raises(Unavailable, match="X509 CA is not available for signing"):
            await server.ca.sign_x509_svid(PUBLIC_KEY, WORKLOAD)
        with pytest.raises(Unavailable, match="JWT key is not available for signing"):
            await server.ca.sign_jwt_svid(WORKLOAD, ["them"])
        world.faults.database_away = False
        await server.manager.rotate()
        await signs_validly(world, server)


async def test_no_key_is_overwritten_while_the_stored_journal_needs_it(world: World) -> None:
    server = await world.start()
    await world.clock.advance(13 * HOUR)
    await server.manager.rotate()
    world.faults.journal_full = True
    await world.clock.advance(8 * HOUR)
    await server.manager.rotate()
    second = x509_authority(server)
    # The next one is due. Its key would go where the first one's is, by which the journal is found.
    await world.clock.advance(5 * HOUR)
    await server.manager.rotate()
    assert len((await world.bundle()).x509_authorities) == 2
    world.faults.journal_full = False
    restarted = await world.start()
    assert x509_authority(restarted) == second
    await restarted.manager.rotate()
    assert len((await world.bundle()).x509_authorities) == 3


async def test_a_key_manager_that_is_away_stops_no_signing(world: World) -> None:
    server = await world.start()
    world.faults.keys_away = True
    await world.clock.advance(20 * HOUR)
    await server.manager.rotate()
    await signs_validly(world, server)
    world.faults.keys_away = False
    await server.manager.rotate()
    await signs_validly(world, server)
    assert statuses(await journal(world)) == [("A", "OLD"), ("B", "ACTIVE")]


async def test_a_start_without_the_key_manager_goes_on_with_what_is_there(world: World) -> None:
    first = await world.start()
    await world.clock.advance(13 * HOUR)
    world.faults.keys_away = True
    second = await world.start()
    assert x509_authority(second) == x509_authority(first)
    await signs_validly(world, second)


async def test_a_first_start_without_the_key_manager_fails(world: World) -> None:
    world.faults.keys_away = True
    with pytest.raises(SpireError, match="the key manager is away"):
        await world.start()


@pytest.mark.parametrize(
    "jump",
    [
        pytest.param(timedelta(hours=13), id="half a day ahead"),
        pytest.param(timedelta(hours=21), id="past activation"),
        pytest.param(timedelta(days=100), id="months ahead"),
        pytest.param(timedelta(seconds=-5), id="a little back"),
        pytest.param(timedelta(hours=-2), id="hours back"),
        pytest.param(timedelta(days=-100), id="months back"),
    ],
)
async def test_one_round_heals_a_jump_of_the_clock(world: World, jump: timedelta) -> None:
    server = await world.start()
    await world.clock.advance(13 * HOUR)
    await server.manager.rotate()
    for each in (jump, -jump):
        world.clock.jump(each)
        await server.manager.rotate()
        await signs_validly(world, server)
    restarted = await world.start()
    await signs_validly(world, restarted)


async def test_small_steps_back_cost_no_new_authority(world: World) -> None:
    server = await world.start()
    bundle = await world.bundle()
    world.clock.jump(timedelta(seconds=-9))
    await server.manager.rotate()
    assert await world.bundle() == bundle


async def steps_of(world: World, action: Callable[[], Awaitable[object]]) -> list[str]:
    world.faults.steps.clear()
    await action()
    return list(world.faults.steps)


async def test_the_steps_that_the_kill_points_lie_between(world: World) -> None:
    prepare = ["generate_key", "append_bundle"]
    assert await steps_of(world, world.start) == [
        *prepare,
        "set_ca_journal",
        *prepare,
        "set_ca_journal",
        "set_ca_journal",
    ]
    server = await world.start()
    await world.clock.advance(13 * HOUR)
    assert await steps_of(world, server.manager.rotate) == [*prepare, "set_ca_journal"] * 2
    await world.clock.advance(8 * HOUR)
    assert await steps_of(world, server.manager.rotate) == ["set_ca_journal"] * 2


@pytest.mark.parametrize("kill_at", range(7))
async def test_a_first_start_killed_anywhere_is_taken_up(world: World, kill_at: int) -> None:
    world.faults.steps_left = kill_at
    with pytest.raises(Killed):
        await world.start()
    world.faults.steps_left = None
    server = await world.start()
    await signs_validly(world, server)
    await goes_on(world, server)


@pytest.mark.parametrize("kill_at", range(6))
async def test_a_preparation_killed_anywhere_is_taken_up(world: World, kill_at: int) -> None:
    server = await world.start()
    first = x509_authority(server)
    await world.clock.advance(13 * HOUR)
    await killed(world, server, kill_at)
    server = await world.start()
    assert x509_authority(server) == first
    assert len([each for each in statuses(await journal(world)) if each[1] == "PREPARED"]) == 1
    await signs_validly(world, server)
    await goes_on(world, server)


@pytest.mark.parametrize("kill_at", range(2))
async def test_an_activation_killed_anywhere_is_taken_up(world: World, kill_at: int) -> None:
    server = await world.start()
    await world.clock.advance(13 * HOUR)
    await server.manager.rotate()
    bundle = await world.bundle()
    await world.clock.advance(8 * HOUR)
    await killed(world, server, kill_at)
    server = await world.start()
    assert statuses(await journal(world)) == [("A", "OLD"), ("B", "ACTIVE")]
    assert await world.bundle() == bundle
    await signs_validly(world, server)
    await goes_on(world, server)


@pytest.mark.parametrize("kill_at", range(8))
async def test_a_late_rotation_killed_anywhere_is_taken_up(world: World, kill_at: int) -> None:
    server = await world.start()
    await world.clock.advance(22 * HOUR)
    await killed(world, server, kill_at)
    server = await world.start()
    await signs_validly(world, server)
    await goes_on(world, server)


async def killed(world: World, server: Server, kill_at: int) -> None:
    world.faults.steps_left = kill_at
    with pytest.raises(Killed):
        await server.manager.rotate()
    world.faults.steps_left = None


async def goes_on(world: World, server: Server) -> None:
    """Two days later all is as it should be."""
    for _ in range(12):
        await world.clock.advance(4 * HOUR)
        await server.manager.rotate()
        await signs_validly(world, server)
    restarted = await world.start()
    assert x509_authority(restarted) == x509_authority(server)
    assert jwt_key(restarted) == jwt_key(server)


async def test_the_issuer_of_tokens_is_the_configured_one(world: World, clock: FakeClock) -> None:
    server = await world.start(defaults=SVIDDefaults(jwt_issuer="https://oidc.example.org"))
    token = (await server.ca.sign_jwt_svid(WORKLOAD, ["them"])).token
    bundles = {TRUST_DOMAIN: await world.bundle()}
    claims = validate_jwt_svid(token, "them", bundles, clock.now()).claims
    assert claims["iss"] == "https://oidc.example.org"
