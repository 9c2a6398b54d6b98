"""How often one address may attest, sign, publish and report (features A22, P4 to P6).

A call waits until its tokens are there. It is refused when it asks for more than a bucket holds,
or when its caller would no longer be there at the end of the wait. Calls over the admin socket
are not limited. Limits and wording are SPIRE's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from spire_py.errors import ResourceExhausted
from spire_py.runtime.clock import Clock
from spire_py.transport import Peer, peer_key

ATTEST_PER_SECOND = 1
SIGN_PER_SECOND = 500
PUSH_KEY_PER_SECOND = 500
POST_STATUS_PER_SECOND = 10

_GENERATION_SECONDS = 60.0
_MAX_ADDRESSES = 50_000
_LONGEST_WAIT_SECONDS = 300.0


class LimitedCall(Protocol):
    """What the limits need of a call."""

    @property
    def method(self) -> str: ...
    @property
    def peer(self) -> Peer: ...
    def time_remaining(self) -> float | None: ...


class TokenBucket:
    """Holds at most `rate` tokens, as many as it gains in a second."""

    __slots__ = ("_as_of", "_rate", "_tokens")

    def __init__(self, rate: int, now: float) -> None:
        self._rate = rate
        self._tokens = float(rate)
        self._as_of = now

    def take(self, count: int, now: float, longest_wait: float) -> float | None:
        """Take tokens, in advance if need be.

        Args:
            count: how many; no more than the bucket holds.
            now: seconds of a monotonic clock.
            longest_wait: in seconds.

        Returns:
            For how many seconds the caller must wait; None, and nothing taken, if too long.
        """
        gained = max(0.0, now - self._as_of) * self._rate
        tokens = min(float(self._rate), self._tokens + gained) - count
        wait = max(0.0, -tokens / self._rate)
        if wait > longest_wait:
            return None
        self._tokens = tokens
        self._as_of = now
        return wait

    def give_back(self, count: int) -> None:
        """Return the tokens of a caller that left while it waited."""
        self._tokens = min(float(self._rate), self._tokens + count)


class AddressLimiter:
    """One bucket for each peer: an IPv4 address, or an IPv6 network (`transport.peer_key`).

    Buckets unused for one to two minutes are dropped, sooner when there are very many.
    """

    def __init__(self, rate: int, clock: Clock) -> None:
        self.rate = rate
        self._clock = clock
        self._current: dict[str | bytes, TokenBucket] = {}
        self._previous: dict[str | bytes, TokenBucket] = {}
        self._begun = clock.monotonic()

    async def wait(self, peer: str | bytes, count: int, time_remaining: float | None) -> None:
        """Wait for `count` tokens of this peer.

        Raises:
            ResourceExhausted: they can never be had, or not in time.
        """
        if count > self.rate:
            raise ResourceExhausted(f"rate ({count}) exceeds burst size ({self.rate})")
        bucket = self._bucket(peer)
        longest = _LONGEST_WAIT_SECONDS if time_remaining is None else time_remaining
        wait = bucket.take(count, self._clock.monotonic(), longest)
        if wait is None:
            raise ResourceExhausted(f"rate: Wait(n={count}) would exceed context deadline")
        if wait:
            try:
                await self._clock.sleep(timedelta(seconds=wait))
            except BaseException:
                bucket.give_back(count)
                raise

    def _bucket(self, peer: str | bytes) -> TokenBucket:
        bucket = self._current.get(peer)
        if bucket is not None:
            return bucket
        now = self._clock.monotonic()
        if now - self._begun >= _GENERATION_SECONDS or len(self._current) >= _MAX_ADDRESSES:
            self._previous, self._current = self._current, {}
            self._begun = now
        bucket = self._previous.pop(peer, None) or TokenBucket(self.rate, now)
        self._current[peer] = bucket
        return bucket


@dataclass(frozen=True, slots=True)
class _Limit:
    limiter: AddressLimiter | None
    what: str


class RateLimits:
    """The limits of all methods; a method without one is not limited.

    Args:
        attestation: whether attestation is limited.
        signing: whether signing is.
        clock: what waits are measured by.
    """

    def __init__(self, *, attestation: bool, signing: bool, clock: Clock) -> None:
        def sign_limiter() -> AddressLimiter | None:
            return AddressLimiter(SIGN_PER_SECOND, clock) if signing else None

        attest = AddressLimiter(ATTEST_PER_SECOND, clock) if attestation else None
        csr = sign_limiter()
        push_key = AddressLimiter(PUSH_KEY_PER_SECOND, clock)
        post_status = AddressLimiter(POST_STATUS_PER_SECOND, clock)
        agent, svid, bundle = (
            f"/spire.api.server.{name}/"
            for name in ("agent.v1.Agent", "svid.v1.SVID", "bundle.v1.Bundle")
        )
        signing_words = "certificate signing rate limiting"
        self._limits: Mapping[str, _Limit] = {
            agent + "AttestAgent": _Limit(attest, "attest agent rate limiting"),
            agent + "RenewAgent": _Limit(csr, "renew agent rate limiting"),
            agent + "PostStatus": _Limit(post_status, "post status rate limiting"),
            svid + "BatchNewX509SVID": _Limit(csr, signing_words),
            svid + "NewDownstreamX509CA": _Limit(csr, "downstream CA signing rate limit"),
            svid + "BatchNewWITSVID": _Limit(sign_limiter(), signing_words),
            svid + "NewJWTSVID": _Limit(sign_limiter(), "JWT signing request rate limiting"),
            bundle + "PublishJWTAuthority": _Limit(push_key, "key publishing rate limiting"),
            bundle + "PublishWITAuthority": _Limit(push_key, "key publishing rate limiting"),
        }

    async def wait(self, call: LimitedCall, count: int = 1) -> None:
        """Wait until this call may do `count` of what it does.

        Raises:
            ResourceExhausted: it may not, or not in time; in SPIRE's words.
        """
        limit = self._limits.get(call.method)
        if limit is None or limit.limiter is None or call.peer.unix is not None:
            return
        try:
            await limit.limiter.wait(peer_key(call.peer.host), count, call.time_remaining())
        except ResourceExhausted as error:
            raise ResourceExhausted(
                f"rejecting request due to {limit.what}: {error.message}"
            ) from error
