"""Every copy of the bundle is kept right, each by itself."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from spire_py.errors import PermissionDenied, Unavailable
from spire_py.plugin_api.bundle_sink import BundleSink, BundleTarget, LoadBundle
from spire_py.runtime.watch import Watch
from spire_py.server.bundle_publishing import BundlePublishing
from spire_py.spiffe.bundle import Bundle, X509Authority
from spire_py.spiffe.id import TrustDomain
from spire_py.telemetry.logs import configure_logging
from tests.fakes.clock import FakeClock

AUTHORITIES = (X509Authority(b"a certificate"),)
OURS, THEIRS = TrustDomain("example.org"), TrustDomain("other.org")


class Place(BundleTarget):
    """A copy in memory; `error` is what the next calls fail with."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.copy: Bundle | None = None
        self.error: Exception | None = None
        self.watch_error: Exception | None = None
        self.calls = 0
        self.touched = asyncio.Event()

    @property
    def name(self) -> str:
        return self._name

    async def publish(self, load: LoadBundle) -> bool:
        self.calls += 1
        if self.error:
            raise self.error
        before, self.copy = self.copy, await load()
        return self.copy != before

    async def wait_for_change(self) -> None:
        if self.watch_error:
            raise self.watch_error
        await self.touched.wait()
        self.touched.clear()


class Sink(BundleSink):
    def __init__(self, *targets: Place) -> None:
        self._targets = targets

    @property
    def targets(self) -> Sequence[BundleTarget]:
        return self._targets


class Store:
    """What the database has, which servers see a little later."""

    def __init__(self) -> None:
        self.bundle: Bundle | None = Bundle(OURS, AUTHORITIES, sequence_number=1)
        self.seen: Watch[Mapping[TrustDomain, Bundle]] = Watch({})
        self.show()

    async def get_bundle(self, trust_domain: TrustDomain) -> Bundle | None:
        assert trust_domain == OURS
        return self.bundle

    def show(self, **others: Bundle) -> None:
        bundles = {bundle.trust_domain: bundle for bundle in others.values()}
        self.seen.set({**bundles, **({OURS: self.bundle} if self.bundle else {})})

    def write(self, sequence_number: int) -> None:
        self.bundle = Bundle(OURS, AUTHORITIES, sequence_number=sequence_number)
        self.show()


@pytest.fixture
def output() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    configure_logging("DEBUG", stream=stream)
    yield stream
    configure_logging(stream=io.StringIO())


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store() -> Store:
    return Store()


@asynccontextmanager
async def publishing(
    store: Store,
    clock: FakeClock,
    notifiers: Mapping[str, BundleSink] | None = None,
    publishers: Mapping[str, BundleSink] | None = None,
) -> AsyncIterator[None]:
    component = BundlePublishing(
        trust_domain=OURS,
        notifiers=notifiers or {},
        publishers=publishers or {},
        bundles=store.seen,
        store=store,
        clock=clock,
    )
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(component.run())
        await clock.advance(timedelta())
        yield
        running.cancel()


async def test_a_change_of_the_bundle_is_published_at_once(
    store: Store, clock: FakeClock, output: io.StringIO
) -> None:
    one, two = Place("one"), Place("two")
    async with publishing(store, clock, {"a": Sink(one)}, {"b": Sink(two)}):
        assert one.copy == two.copy == store.bundle
        store.write(2)
        await clock.advance(timedelta())
        assert one.copy == two.copy == store.bundle
        calls = one.calls
        store.show(theirs=Bundle(THEIRS))
        await clock.advance(timedelta())
        assert one.calls == calls
    lines = output.getvalue()
    assert 'msg="Notifier handled event"' in lines
    assert "notifier=a" in lines
    assert 'event="bundle updated"' in lines
    assert 'msg="Bundle published"' in lines
    assert "BundlePublisher=b" in lines


async def test_what_others_did_to_a_copy_is_put_right_within_two_seconds(
    store: Store, clock: FakeClock, output: io.StringIO
) -> None:
    place = Place("one")
    async with publishing(store, clock, {"a": Sink(place)}):
        for round_ in range(3):
            place.copy = None
            place.touched.set()
            await clock.advance(timedelta(seconds=2))
            assert place.copy == store.bundle
            assert place.calls == 2 * round_ + 2
            # A quiet minute, in which all was well.
            await clock.advance(timedelta(seconds=75))
    assert output.getvalue().count("published_bundle_was_changed") == 3


async def test_who_changes_a_copy_again_and_again_does_not_keep_the_server_busy(
    store: Store, clock: FakeClock, output: io.StringIO
) -> None:
    class Restless(Place):
        async def wait_for_change(self) -> None:
            return

    place = Restless("one")
    async with publishing(store, clock, {"a": Sink(place)}):
        for _ in range(3600):
            await clock.advance(timedelta(seconds=1))
        assert 60 <= place.calls <= 100
        store.write(2)
        await clock.advance(timedelta())
        assert place.copy == store.bundle


async def test_a_watch_that_works_again_is_told(
    store: Store, clock: FakeClock, output: io.StringIO
) -> None:
    place = Place("one")
    place.watch_error = Unavailable("the watch has ended")
    async with publishing(store, clock, {"a": Sink(place)}):
        await clock.advance(timedelta(seconds=75))
        place.watch_error = None
        await clock.advance(timedelta(seconds=150))
    assert "published_bundle_is_watched_again" in output.getvalue()


async def test_a_copy_is_looked_at_every_minute_or_so_where_nobody_can_watch(
    store: Store, clock: FakeClock, output: io.StringIO
) -> None:
    place = Place("one")
    place.watch_error = PermissionDenied("no watch for you")
    async with publishing(store, clock, {"a": Sink(place)}):
        place.copy = None
        await clock.advance(timedelta(seconds=40))
        assert place.copy is None
        await clock.advance(timedelta(seconds=40))
        assert place.copy == store.bundle
        await clock.advance(timedelta(minutes=10))
        assert 8 <= place.calls <= 16
    assert "Changes of the published bundle are noticed late" in output.getvalue()
    assert "published_bundle_was_changed" not in output.getvalue()


async def test_a_failing_place_is_tried_again_more_and_more_rarely_and_delays_no_other(
    store: Store, clock: FakeClock, output: io.StringIO
) -> None:
    bad, good = Place("bad"), Place("good")
    bad.error = Unavailable("the cluster is away")
    async with publishing(store, clock, publishers={"a": Sink(bad, good)}):
        assert good.copy == store.bundle
        await clock.advance(timedelta(seconds=3))
        assert bad.calls >= 2
        await clock.advance(timedelta(hours=1))
        assert 50 <= bad.calls <= 100
        store.write(2)
        await clock.advance(timedelta())
        assert good.copy == store.bundle
        bad.error = None
        await clock.advance(timedelta(seconds=90))
        assert bad.copy == store.bundle
    lines = output.getvalue()
    assert lines.count('level=error msg="Failed to publish bundle"') == 3
    assert "target=bad" in lines
    assert "bundle_published_again" in lines


async def test_a_place_that_never_answers_is_given_up(
    store: Store, clock: FakeClock, output: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hanging(Place):
        async def publish(self, load: LoadBundle) -> bool:
            self.calls += 1
            await asyncio.Event().wait()
            return False

    monkeypatch.setattr("spire_py.server.bundle_publishing._MOST_SECONDS", 0.01)
    place = Hanging("one")
    async with publishing(store, clock, {"a": Sink(place)}):
        for _ in range(2):
            await clock.sleepers(1)
            await clock.advance(timedelta(seconds=2))
    assert place.calls >= 2
    assert 'msg="Notifier failed to handle event"' in output.getvalue()
    assert "not done within" in output.getvalue()


async def test_without_a_bundle_nothing_is_published(
    store: Store, clock: FakeClock, output: io.StringIO
) -> None:
    store.bundle = None
    store.show()
    place = Place("one")
    async with publishing(store, clock, {"a": Sink(place)}):
        assert place.copy is None
        assert "trust domain bundle is missing" in output.getvalue()
        store.bundle = Bundle(OURS)
        store.show()
        await clock.advance(timedelta())
        assert place.copy is None
        assert "trust domain bundle has no X.509 authorities" in output.getvalue()
        store.write(1)
        await clock.advance(timedelta())
        assert place.copy == store.bundle


async def test_a_plugin_with_a_fault_takes_nobody_along(
    store: Store, clock: FakeClock, output: io.StringIO
) -> None:
    faulty, unwatched, good = Place("faulty"), Place("unwatched"), Place("good")
    faulty.error, unwatched.watch_error = ZeroDivisionError(), ZeroDivisionError()
    async with publishing(store, clock, {"a": Sink(faulty), "b": Sink(unwatched, good)}):
        assert good.copy == unwatched.copy == store.bundle
        faulty.error = None
        await clock.advance(timedelta(minutes=2))
        assert faulty.copy == store.bundle
    assert "the plugin has a fault: ZeroDivisionError" in output.getvalue()
