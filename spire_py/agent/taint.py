"""What a tainted authority signed is replaced (feature O11)."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from datetime import timedelta
from typing import NoReturn, Protocol

from spire_py.agent.agent_svid import AgentSVID
from spire_py.agent.cached_svid import CachedSVID
from spire_py.crypto.certificate import CertificateFacts
from spire_py.runtime.clock import Clock
from spire_py.runtime.watch import Watch
from spire_py.spiffe.bundle import Bundle
from spire_py.telemetry.logs import get_logger

log = get_logger("manager")

WAVE_SIZE = 100
"""So many SVIDs are looked at, and then replaced, at a time."""

WAVE_INTERVAL = timedelta(seconds=5)


class X509SVIDs(Protocol):
    """The workloads' SVIDs."""

    def svids(self) -> Mapping[str, CachedSVID]: ...

    def rotate_now(self, entry_ids: Sequence[str]) -> None: ...


class JWTSVIDs(Protocol):
    """The workloads' tokens."""

    def drop_signed_by(self, key_ids: Container[str]) -> int: ...


class OwnSVID(Protocol):
    """The agent's."""

    @property
    def svid(self) -> AgentSVID: ...

    def rotate_now(self) -> None: ...


class TaintResponder:
    """Compares what we hold with the tainted authorities of each new bundle.

    Workloads' SVIDs are replaced in waves, so that not all agents ask for all of them at once.
    Until then they stay valid: a tainted authority is still in the bundle.
    """

    def __init__(self, *, x509: X509SVIDs, jwt: JWTSVIDs, agent: OwnSVID, clock: Clock) -> None:
        self._x509 = x509
        self._jwt = jwt
        self._agent = agent
        self._clock = clock
        self._bundle: Watch[Bundle | None] = Watch(None)
        self._known_x509: frozenset[bytes] = frozenset()
        self._known_jwt: frozenset[str] = frozenset()

    def note(self, bundle: Bundle) -> None:
        """The own trust domain's bundle is this from now on."""
        self._bundle.set(bundle)

    async def run(self) -> NoReturn:
        """Respond to each bundle until cancelled."""
        version = 0
        while True:
            version, bundle = await self._bundle.wait_beyond(version)
            if bundle is not None:
                self._respond_jwt(bundle)
                await self._respond_x509(bundle)

    def _respond_jwt(self, bundle: Bundle) -> None:
        tainted = frozenset(item.key_id for item in bundle.jwt_authorities if item.tainted)
        fresh, self._known_jwt = tainted - self._known_jwt, tainted
        if fresh:
            dropped = self._jwt.drop_signed_by(fresh)
            key_ids = ",".join(sorted(fresh))
            log.info(
                "JWT-SVIDs were removed from the JWT cache because they were issued by a tainted "
                "authority",
                jwt_authority_key_ids=key_ids,
                tainted_jwt_svids=dropped,
            )

    async def _respond_x509(self, bundle: Bundle) -> None:
        tainted = frozenset(
            CertificateFacts(item.der).subject_key_id
            for item in bundle.x509_authorities
            if item.tainted
        )
        fresh, self._known_x509 = tainted - self._known_x509, tainted
        if not fresh:
            return
        key_ids = ",".join(sorted(item.hex() for item in fresh))
        log.debug("New tainted X.509 authorities found", subject_key_ids=key_ids)
        if _is_signed_by(self._agent.svid.chain, fresh):
            log.info("Agent SVID is tainted by a root authority, forcing rotation")
            self._agent.rotate_now()
        await self._replace_in_waves(fresh)

    async def _replace_in_waves(self, authorities: frozenset[bytes]) -> None:
        waiting = list(self._x509.svids())
        while waiting:
            wave, waiting = waiting[:WAVE_SIZE], waiting[WAVE_SIZE:]
            held = self._x509.svids()
            tainted = [
                entry_id
                for entry_id in wave
                if entry_id in held and _is_signed_by(held[entry_id].chain, authorities)
            ]
            log.info("Tainted X.509 SVIDs", tainted_x509_svids=len(tainted))
            self._x509.rotate_now(tainted)
            if waiting:
                log.info("There are tainted X.509 SVIDs left to be processed", count=len(waiting))
                await self._clock.sleep(WAVE_INTERVAL)
        log.info("Finished processing all tainted entries")


def _is_signed_by(chain: Sequence[bytes], authorities: Container[bytes]) -> bool:
    """Whether a chain leads to one of these, by the authority key identifiers in it.

    That no signature is checked does no harm: the worst is an SVID replaced too early.
    """
    return any(CertificateFacts(der).authority_key_id in authorities for der in chain)
