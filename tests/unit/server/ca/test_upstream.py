"""The CAs of a server below an authority in files, and below one that misbehaves."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from spire_py_plugins.upstream_authority.disk import Config, DiskAuthority

from spire_py.crypto.certificate import CertificateFacts
from spire_py.crypto.csr import parse_csr
from spire_py.crypto.keys import load_public_key
from spire_py.crypto.subject import CASubject
from spire_py.errors import Internal, InvalidArgument, SpireError, Unavailable
from spire_py.model.ca_journal import AuthorityStatus
from spire_py.plugin_api.upstream_authority import MintedX509CA, UpstreamAuthority
from spire_py.server.ca.manager import CASettings
from spire_py.spiffe.bundle import JWTAuthority
from spire_py.spiffe.x509_svid import verify_chain
from spire_py.telemetry.logs import configure_logging
from tests.fakes.clock import START, FakeClock
from tests.fakes.pki import Issued, issue
from tests.fakes.upstream_ca import DAY, UpstreamFiles
from tests.unit.server.ca.conftest import TRUST_DOMAIN, World
from tests.unit.server.ca.managed import (
    HOUR,
    PUBLIC_KEY,
    WORKLOAD,
    journal,
    jwt_key,
    signs_validly,
    statuses,
    x509_authority,
)


@pytest.fixture
def files(tmp_path: Path, clock: FakeClock) -> UpstreamFiles:
    """An intermediate below a root."""
    files = UpstreamFiles(tmp_path, clock)
    root = files.ca("root", days=1000)
    files.write(files.ca("lower", root), bundle=(root,))
    return files


@pytest.fixture
def disk(files: UpstreamFiles) -> DiskAuthority:
    config = Config(TRUST_DOMAIN, files.certificates, files.key, files.bundle)
    return DiskAuthority(config, files.clock)


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What is logged."""
    stream = io.StringIO()
    configure_logging("DEBUG", stream=stream)
    yield stream
    configure_logging()


async def roots(world: World) -> list[str]:
    """The common names in the bundle."""
    certificates = [CertificateFacts(each.der) for each in (await world.bundle()).x509_authorities]
    return [each.subject.common_name for each in certificates]


async def test_svids_lead_to_the_upstream_root(world: World, disk: DiskAuthority) -> None:
    settings = CASettings(ca_subject=CASubject(country=("DE",), common_name="mine"))
    server = await world.start(upstream=disk, settings=settings)
    await signs_validly(world, server)
    assert await roots(world) == ["root"]
    _, ca, lower = (await server.ca.sign_x509_svid(PUBLIC_KEY, WORKLOAD)).chain
    facts = CertificateFacts(ca)
    assert facts.subject.common_name == "mine"
    assert facts.subject.serial_number.isdigit()
    assert CertificateFacts(lower).subject.common_name == "lower"
    for signed in (
        await server.ca.sign_server_svid(PUBLIC_KEY),
        await server.ca.sign_agent_svid(PUBLIC_KEY, WORKLOAD),
        await server.ca.sign_downstream_x509_ca(PUBLIC_KEY),
    ):
        assert signed.chain[1:] == (ca, lower)


async def test_the_journal_is_as_spires(world: World, disk: DiskAuthority) -> None:
    server = await world.start(upstream=disk)
    [record] = (await journal(world)).x509_cas
    chain = (await server.ca.sign_x509_svid(PUBLIC_KEY, WORKLOAD)).chain
    lower = CertificateFacts(chain[2])
    assert record.certificate == chain[1]
    assert record.upstream_chain == chain[1:]
    assert record.authority_id == CertificateFacts(chain[1]).authority_id
    assert record.upstream_authority_id == lower.authority_id
    assert record.status is AuthorityStatus.ACTIVE


async def test_the_next_ca_is_signed_in_time(world: World, disk: DiskAuthority) -> None:
    server = await world.start(upstream=disk)
    first = x509_authority(server)
    old = (await server.ca.sign_x509_svid(PUBLIC_KEY, WORKLOAD, ttl=DAY)).chain
    bundle = await world.bundle()

    await world.clock.advance(12 * HOUR)
    await server.manager.rotate()
    assert statuses(await journal(world)) == [("A", "ACTIVE"), ("B", "PREPARED")]
    await world.clock.advance(8 * HOUR)
    await server.manager.rotate()
    assert statuses(await journal(world)) == [("A", "OLD"), ("B", "ACTIVE")]
    assert x509_authority(server) != first
    await signs_validly(world, server)
    now = world.clock.now()
    assert verify_chain(old, {TRUST_DOMAIN: await world.bundle()}, now) == WORKLOAD
    assert (await world.bundle()).x509_authorities == bundle.x509_authorities


async def test_a_restart_needs_no_new_ca(
    world: World, disk: DiskAuthority, files: UpstreamFiles
) -> None:
    first = await world.start(upstream=disk)
    await world.clock.advance(13 * HOUR)
    await first.manager.rotate()
    files.key.unlink()
    second = await world.start(upstream=disk)
    assert (x509_authority(second), jwt_key(second)) == (x509_authority(first), jwt_key(first))
    await world.clock.advance(8 * HOUR)
    await second.manager.rotate()
    assert x509_authority(second) != x509_authority(first)
    await signs_validly(world, second)


async def test_the_former_ca_signs_while_there_is_no_next(
    world: World, files: UpstreamFiles, log: io.StringIO
) -> None:
    def disk() -> DiskAuthority:
        config = Config(TRUST_DOMAIN, files.certificates, files.key, files.bundle)
        return DiskAuthority(config, files.clock)

    first = x509_authority(await world.start(upstream=disk()))
    key = files.key.read_bytes()
    files.key.unlink()
    server = await world.start(upstream=disk())
    await world.clock.advance(21 * HOUR)
    await server.manager.rotate()
    assert x509_authority(server) == first
    await signs_validly(world, server)
    assert 'msg="Unable to rotate X509 CA"' in log.getvalue()
    assert "upstreamauthority(disk): unable to load upstream CA key: open " in log.getvalue()

    files.key.write_bytes(key)
    await server.manager.rotate()
    assert x509_authority(server) != first
    await signs_validly(world, server)


async def test_without_any_ca_there_is_no_start(world: World, files: UpstreamFiles) -> None:
    files.bundle.unlink()
    config = Config(TRUST_DOMAIN, files.certificates, files.key, files.bundle)
    with pytest.raises(InvalidArgument, match="unable to load upstream CA bundle: open "):
        await world.start(upstream=DiskAuthority(config, files.clock))


async def test_a_ca_whose_root_is_gone_from_the_bundle_is_replaced(
    world: World, disk: DiskAuthority, files: UpstreamFiles
) -> None:
    server = await world.start(upstream=disk)
    first = x509_authority(server)
    bundle = await world.bundle()
    other = files.ca("other")
    files.write(files.ca("lower", other), bundle=(other,))
    await world.store.set_bundle(bundle.with_changes(x509_authorities=()))
    await server.manager.rotate()
    assert x509_authority(server) != first
    assert await roots(world) == ["other"]
    await signs_validly(world, server)


async def test_weeks_below_an_authority_that_is_replaced_in_time(
    world: World, disk: DiskAuthority, files: UpstreamFiles
) -> None:
    old_root = files.ca("old root", days=10)
    files.write(files.ca("old", old_root, days=10), bundle=(old_root,))
    server = await world.start(upstream=disk)
    held: list[tuple[datetime, tuple[bytes, ...]]] = []
    for hour in range(14 * 24):
        if hour == 8 * 24:
            root = files.ca("new root", days=20)
            files.write(files.ca("new", root, days=20), bundle=(root,))
        await world.clock.advance(HOUR)
        await server.manager.rotate()
        await server.manager.prune_bundle()
        await signs_validly(world, server)
        svid = await server.ca.sign_x509_svid(PUBLIC_KEY, WORKLOAD, ttl=4 * HOUR)
        assert svid.expires_at == world.clock.now() + 4 * HOUR
        held.append((svid.expires_at, svid.chain))
        now, bundles = world.clock.now(), {TRUST_DOMAIN: await world.bundle()}
        held = [(end, chain) for end, chain in held if now < end]
        for _, chain in held:
            verify_chain(chain, bundles, now)
    assert await roots(world) == ["new root"]


async def test_nothing_is_signed_below_an_authority_that_has_ended(
    world: World, disk: DiskAuthority, files: UpstreamFiles, log: io.StringIO
) -> None:
    root = files.ca("root", days=1000)
    files.write(files.ca("short", root, days=0.5), bundle=(root,))
    server = await world.start(upstream=disk)
    assert "x509_ca_shorter_than_ca_ttl" in log.getvalue()
    end = world.clock.now() + DAY / 2
    for _ in range(24):
        await signs_validly(world, server)
        svid = await server.ca.sign_x509_svid(PUBLIC_KEY, WORKLOAD, ttl=DAY)
        assert svid.expires_at <= end
        await world.clock.advance(HOUR / 2)
        await server.manager.rotate()
    with pytest.raises(Unavailable, match="X509 CA is not available for signing"):
        await server.ca.sign_x509_svid(PUBLIC_KEY, WORKLOAD)
    assert "unable to sign CSR: upstream CA has expired" in log.getvalue()

    files.write(files.ca("next", root), bundle=(root,))
    await server.manager.rotate()
    await signs_validly(world, server)


async def test_servers_below_one_authority_share_its_root(
    world: World, disk: DiskAuthority
) -> None:
    one = await world.start("one", upstream=disk)
    two = await world.start("two", upstream=disk)
    assert x509_authority(one) != x509_authority(two)
    assert await roots(world) == ["root"]
    await signs_validly(world, one)
    await signs_validly(world, two)
    assert len(await world.store.list_ca_journals()) == 2


async def test_an_authority_above_can_be_had_and_given_up(
    world: World, disk: DiskAuthority
) -> None:
    alone = await world.start()
    first = x509_authority(alone)
    below = await world.start(upstream=disk)
    assert x509_authority(below) == first
    await world.clock.advance(21 * HOUR)
    await below.manager.rotate()
    await signs_validly(world, below)
    assert "root" in await roots(world)
    second = x509_authority(below)
    assert second != first

    again = await world.start()
    assert x509_authority(again) == second
    await world.clock.advance(21 * HOUR)
    await again.manager.rotate()
    await signs_validly(world, again)
    assert len((await again.ca.sign_x509_svid(PUBLIC_KEY, WORKLOAD)).chain) == 1


async def test_jwt_keys_stay_here_and_that_is_told_once(
    world: World, disk: DiskAuthority, log: io.StringIO
) -> None:
    server = await world.start(upstream=disk)
    await world.clock.advance(13 * HOUR)
    await server.manager.rotate()
    assert len((await world.bundle()).jwt_authorities) == 2
    assert log.getvalue().count("UpstreamAuthority plugin does not support JWT-SVIDs.") == 1


async def test_a_root_that_comes_later_is_stored(
    world: World, disk: DiskAuthority, files: UpstreamFiles, log: io.StringIO
) -> None:
    server = await world.start(upstream=disk)
    running = asyncio.ensure_future(server.manager.run())
    files.bundle.write_text(files.bundle.read_text() + files.ca("later").pem)
    world.faults.database_away = True
    await world.clock.sleepers(4)
    await world.clock.advance(timedelta(seconds=10))
    await world.clock.sleepers(4)
    assert "Failed to store X.509 roots received by the upstream authority plugin." in (
        log.getvalue()
    )
    world.faults.database_away = False
    await world.clock.advance(timedelta(seconds=10))
    await world.clock.sleepers(4)
    assert await roots(world) == ["root", "later"]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


class Plugin(UpstreamAuthority):
    """Answers as a test tells it."""

    def __init__(self, clock: FakeClock, **faults: Any) -> None:
        self._now = clock.now()
        self._faults = faults
        self.root = self._issue(None, name="root")
        self.other_root = self._issue(None, name="root")
        self.chain: tuple[bytes, ...] | None = None
        self.roots: tuple[bytes, ...] = (self.root.der,)
        self.jwt_keys: tuple[JWTAuthority, ...] | SpireError = ()

    async def mint_x509_ca(self, csr: bytes, preferred_ttl: timedelta) -> MintedX509CA:
        request = parse_csr(csr)
        changes = {
            "uris": request.uris,
            "public_key": load_public_key(request.public_key_der),
            "not_after": self._now + preferred_ttl,
            **self._faults,
        }
        minted = self._issue(self.root, name="minted", **changes)
        return MintedX509CA((minted.der,) if self.chain is None else self.chain, self.roots)

    async def publish_jwt_key(self, key: JWTAuthority) -> tuple[JWTAuthority, ...]:
        if isinstance(self.jwt_keys, SpireError):
            raise self.jwt_keys
        return (*self.jwt_keys, key)

    def _issue(self, issuer: Issued | None, **changes: Any) -> Issued:
        wanted = {
            "is_ca": True,
            "key_encipherment": False,
            "not_before": self._now - DAY,
            "not_after": self._now + 30 * DAY,
        }
        return issue(issuer, **{**wanted, **changes})


INVALID = "X509 CA minted by upstream authority is invalid: "
INVALID_CA = f"{INVALID}invalid upstream-signed X509 CA: invalid X509 CA: "
NO_CHAIN = f"{INVALID}X509 CA produced an invalid X509-SVID chain: could not verify leaf"


@pytest.mark.spec(24, 25, 26)
@pytest.mark.parametrize(
    ("faults", "sentence"),
    [
        pytest.param({"is_ca": False}, f"{INVALID_CA}cA constraint is not set", id="no CA"),
        pytest.param(
            {"key_usage": False}, f"{INVALID_CA}keyCertSign key usage must be set", id="no usage"
        ),
        pytest.param(
            {"key_encipherment": True},
            f"{INVALID_CA}only keyCertSign, cRLSign, or digitalSignature key usage can be set",
            id="usage of a leaf",
        ),
        pytest.param(
            {"uris": ["spiffe://other.org"]},
            f'{INVALID_CA}expected URI SAN "spiffe://example.org" but got ',
            id="another trust domain",
        ),
        pytest.param(
            {"uris": ["spiffe://example.org/path"]}, f"{INVALID_CA}expected URI SAN", id="a path"
        ),
        pytest.param(
            {"uris": ["spiffe://example.org", "https://example.org"]},
            f"{INVALID_CA}expected URI SAN",
            id="two names",
        ),
        pytest.param(
            {"not_before": START + HOUR},
            f"{INVALID_CA}not yet valid until 2026-01-01T01:00:00Z",
            id="not begun",
        ),
        pytest.param(
            {"not_after": START - HOUR},
            f"{INVALID_CA}already expired as of 2025-12-31T23:00:00Z",
            id="ended",
        ),
        pytest.param(
            {"public_key": None},
            f"{INVALID}failed to sign validation certificate: private key does not fit",
            id="another key",
        ),
    ],
)
async def test_a_ca_that_cannot_sign_svids_is_refused(
    world: World, faults: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InvalidArgument) as error:
        await world.start(upstream=Plugin(world.clock, **faults))
    assert error.value.message.startswith(sentence)
    assert await world.store.get_bundle(TRUST_DOMAIN) is None


async def test_a_ca_need_not_have_an_id(world: World) -> None:
    await signs_validly(world, await world.start(upstream=Plugin(world.clock, uris=())))


async def test_a_ca_that_leads_to_no_root_is_refused(world: World) -> None:
    plugin = Plugin(world.clock)
    plugin.roots = (plugin.other_root.der,)
    with pytest.raises(InvalidArgument, match=NO_CHAIN):
        await world.start(upstream=plugin)
    assert await world.store.get_bundle(TRUST_DOMAIN) is None


async def test_a_root_that_allows_no_ca_below_its_own_is_refused(
    world: World, files: UpstreamFiles, disk: DiskAuthority
) -> None:
    root = files.ca("root", path_length=0)
    files.write(root, bundle=(root,))
    with pytest.raises(InvalidArgument, match=NO_CHAIN):
        await world.start(upstream=disk)


@pytest.mark.parametrize(
    ("lacking", "sentence"),
    [
        ("chain", "upstreamauthority(disk): plugin response missing X.509 CA chain"),
        ("roots", "upstreamauthority(disk): plugin response missing upstream X.509 roots"),
    ],
)
async def test_an_answer_that_lacks_something_is_refused(
    world: World, lacking: str, sentence: str
) -> None:
    plugin = Plugin(world.clock)
    setattr(plugin, lacking, ())
    with pytest.raises(Internal) as error:
        await world.start(upstream=plugin)
    assert error.value.message == sentence


async def test_an_answer_that_is_nonsense_is_refused(world: World) -> None:
    plugin = Plugin(world.clock)
    plugin.chain = (b"nonsense",)
    with pytest.raises(InvalidArgument, match=f"{INVALID}certificate is malformed"):
        await world.start(upstream=plugin)


async def test_an_authority_of_another_trust_domain_is_warned_of(
    world: World, files: UpstreamFiles, disk: DiskAuthority, log: io.StringIO
) -> None:
    root = files.ca("root", uris=["spiffe://other.org"])
    files.write(root, bundle=(root,))
    await signs_validly(world, await world.start(upstream=disk))
    assert "upstream_authority_of_another_trust_domain" in log.getvalue()
    assert 'spiffe_id="spiffe://other.org"' in log.getvalue()


async def test_jwt_keys_that_are_trusted_upstream_are_stored(world: World) -> None:
    plugin = Plugin(world.clock)
    plugin.jwt_keys = (JWTAuthority("other", PUBLIC_KEY),)
    server = await world.start(upstream=plugin)
    await signs_validly(world, server)
    keys = [key.key_id for key in (await world.bundle()).jwt_authorities]
    assert keys == ["other", jwt_key(server)]


async def test_a_jwt_key_that_cannot_be_published_is_not_used(
    world: World, log: io.StringIO
) -> None:
    plugin = Plugin(world.clock)
    server = await world.start(upstream=plugin)
    first = jwt_key(server)
    plugin.jwt_keys = Unavailable("gone")
    await world.clock.advance(21 * HOUR)
    await server.manager.rotate()
    assert jwt_key(server) == first
    assert 'msg="Unable to rotate JWT key" error="upstreamauthority(disk): gone"' in log.getvalue()


class Faulty(Plugin):
    """A plugin with bugs, once `broken`."""

    broken = False
    asked = 0

    async def mint_x509_ca(self, csr: bytes, preferred_ttl: timedelta) -> MintedX509CA:
        if self.broken:
            raise KeyError("secret")
        return await super().mint_x509_ca(csr, preferred_ttl)

    async def publish_jwt_key(self, key: JWTAuthority) -> tuple[JWTAuthority, ...]:
        return cast(Any, None) if self.broken else await super().publish_jwt_key(key)

    async def next_roots(self) -> tuple[bytes, ...]:
        self.asked += 1
        return cast(Any, None) if self.broken else self.roots


async def test_a_plugins_bugs_leave_the_server_its_ca(world: World, log: io.StringIO) -> None:
    plugin = Faulty(world.clock)
    server = await world.start(upstream=plugin)
    plugin.broken = True
    running = asyncio.create_task(server.manager.run())
    await world.clock.sleepers(4)
    for _ in range(3):
        await world.clock.advance(7 * HOUR)
        await server.manager.rotate()
    assert not running.done()
    await signs_validly(world, server)
    assert 'error="upstreamauthority(disk): KeyError"' in log.getvalue()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    with pytest.raises(Internal, match="KeyError"):
        await world.start("second", upstream=plugin)


async def test_roots_that_come_again_and_again_are_taken_with_pauses(world: World) -> None:
    plugin = Faulty(world.clock)
    server = await world.start(upstream=plugin)
    running = asyncio.create_task(server.manager.run())
    await world.clock.sleepers(4)
    await world.clock.advance(timedelta(seconds=9))
    assert plugin.asked == 1
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.mark.parametrize("nonsense", [None, (None,), ("text",), (b"nonsense",)])
async def test_roots_that_are_nonsense_are_not_stored(
    world: World, nonsense: Any, log: io.StringIO
) -> None:
    plugin = Faulty(world.clock)
    server = await world.start(upstream=plugin)
    plugin.roots = nonsense
    running = asyncio.create_task(server.manager.run())
    await world.clock.sleepers(4)
    assert "Failed to store X.509 roots" in log.getvalue()
    assert not running.done()
    assert await roots(world) == ["root"]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
