"""How often one address may do what."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from spire_py.errors import ResourceExhausted
from spire_py.server.rate_limits import RateLimits
from spire_py.transport import Peer, UnixPeer
from tests.fakes.clock import FakeClock

AGENT = "/spire.api.server.agent.v1.Agent/"
SVID = "/spire.api.server.svid.v1.SVID/"


PEER = Peer("10.0.0.1:4711")


@dataclass(frozen=True)
class FakeCall:
    method: str
    peer: Peer = PEER
    remaining: float | None = None

    def time_remaining(self) -> float | None:
        return self.remaining


@pytest.fixture
def limits(clock: FakeClock) -> RateLimits:
    return RateLimits(attestation=True, signing=True, clock=clock)


async def test_a_second_attestation_of_one_address_waits_a_second(
    limits: RateLimits, clock: FakeClock
) -> None:
    await limits.wait(FakeCall(AGENT + "AttestAgent"))
    second = asyncio.create_task(limits.wait(FakeCall(AGENT + "AttestAgent")))
    await clock.advance(timedelta(seconds=0.9))
    assert not second.done()
    await clock.advance(timedelta(seconds=0.2))
    await second


async def test_addresses_of_one_ipv6_network_share_their_tokens(
    limits: RateLimits, clock: FakeClock
) -> None:
    await limits.wait(FakeCall(AGENT + "AttestAgent", Peer("[2001:db8::1]:1")))
    second = asyncio.create_task(
        limits.wait(FakeCall(AGENT + "AttestAgent", Peer("[2001:db8::2]:1")))
    )
    await clock.advance(timedelta(seconds=0.5))
    assert not second.done()
    await clock.advance(timedelta(seconds=0.6))
    await second


async def test_another_address_does_not_wait(limits: RateLimits) -> None:
    await limits.wait(FakeCall(AGENT + "AttestAgent"))
    await limits.wait(FakeCall(AGENT + "AttestAgent", Peer("10.0.0.2:1")))
    await limits.wait(FakeCall(AGENT + "AttestAgent", Peer("[::1]:1")))


async def test_callers_on_the_socket_are_not_limited(limits: RateLimits) -> None:
    for _ in range(5):
        await limits.wait(FakeCall(AGENT + "AttestAgent", Peer("@", unix=UnixPeer(1, 0, 0, None))))


@pytest.mark.parametrize(
    ("method", "what"),
    [
        pytest.param("BatchNewX509SVID", "certificate signing rate limiting", id="x509"),
        pytest.param("NewJWTSVID", "JWT signing request rate limiting", id="jwt"),
    ],
)
async def test_a_batch_larger_than_the_bucket_is_refused(
    limits: RateLimits, method: str, what: str
) -> None:
    with pytest.raises(ResourceExhausted) as refused:
        await limits.wait(FakeCall(SVID + method), 501)
    assert refused.value.message == (
        f"rejecting request due to {what}: rate (501) exceeds burst size (500)"
    )


async def test_who_would_be_gone_before_its_turn_is_refused_at_once_and_costs_nothing(
    limits: RateLimits, clock: FakeClock
) -> None:
    await limits.wait(FakeCall(AGENT + "AttestAgent"))
    with pytest.raises(ResourceExhausted) as refused:
        await limits.wait(FakeCall(AGENT + "AttestAgent", remaining=0.5))
    assert refused.value.message == (
        "rejecting request due to attest agent rate limiting: "
        "rate: Wait(n=1) would exceed context deadline"
    )
    await clock.advance(timedelta(seconds=1))
    await limits.wait(FakeCall(AGENT + "AttestAgent", remaining=0.1))


async def test_ten_reports_a_second_are_let_through(limits: RateLimits, clock: FakeClock) -> None:
    report = FakeCall(AGENT + "PostStatus")
    for _ in range(10):
        await limits.wait(report)
    eleventh = asyncio.create_task(limits.wait(report))
    await clock.advance(timedelta(seconds=0.09))
    assert not eleventh.done()
    await clock.advance(timedelta(seconds=0.02))
    await eleventh


async def test_five_hundred_keys_a_second_may_be_published(limits: RateLimits) -> None:
    for kind in ("JWT", "WIT"):
        publish = FakeCall(f"/spire.api.server.bundle.v1.Bundle/Publish{kind}Authority")
        for _ in range(250):
            await limits.wait(publish)
    with pytest.raises(ResourceExhausted, match="key publishing rate limiting"):
        await limits.wait(replace(publish, remaining=0.0))


async def test_renewing_and_signing_share_their_tokens_and_jwts_have_their_own(
    limits: RateLimits,
) -> None:
    await limits.wait(FakeCall(SVID + "BatchNewX509SVID"), 500)
    with pytest.raises(ResourceExhausted):
        await limits.wait(FakeCall(AGENT + "RenewAgent", remaining=0.0))
    await limits.wait(FakeCall(SVID + "NewJWTSVID", remaining=0.0))


async def test_a_caller_that_leaves_while_it_waits_gives_its_tokens_back(
    limits: RateLimits, clock: FakeClock
) -> None:
    await limits.wait(FakeCall(AGENT + "AttestAgent"))
    waiting = asyncio.create_task(limits.wait(FakeCall(AGENT + "AttestAgent")))
    await clock.sleepers()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await clock.advance(timedelta(seconds=1))
    await limits.wait(FakeCall(AGENT + "AttestAgent", remaining=0.0))


async def test_switched_off_limits_let_everything_through(clock: FakeClock) -> None:
    limits = RateLimits(attestation=False, signing=False, clock=clock)
    for _ in range(3):
        await limits.wait(FakeCall(AGENT + "AttestAgent"))
        await limits.wait(FakeCall(SVID + "BatchNewX509SVID"), 100_000)


async def test_methods_without_a_limit_do_not_wait(limits: RateLimits) -> None:
    for _ in range(3):
        await limits.wait(FakeCall("/spire.api.server.bundle.v1.Bundle/GetBundle"), 1_000_000)
