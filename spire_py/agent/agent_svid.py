"""The agent's own identity: its SVID, renewed in time, and attested anew when need be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NoReturn, Protocol, Self

from spire_py.agent.denial import AgentBanned, AttestationLost, Reaction, reaction_to
from spire_py.agent.rotation import RotationStrategy
from spire_py.crypto.certificate import CertificateFacts
from spire_py.crypto.csr import make_csr
from spire_py.errors import Internal, SpireError, Unavailable
from spire_py.plugin_api.key_manager import KeyManager, KeyType, ManagedKey
from spire_py.runtime.backoff import Backoff
from spire_py.runtime.clock import Clock
from spire_py.runtime.watch import Watch
from spire_py.spiffe.id import SpiffeID
from spire_py.spiffe.x509_svid import check_leaf
from spire_py.telemetry.logs import get_logger

log = get_logger("manager")

KEY_IDS = ("agent-svid-A", "agent-svid-B")
_CHECK_INTERVAL = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class AgentSVID:
    """The SVID of this agent with its key. `chain` is DER, leaf first."""

    id: SpiffeID
    chain: tuple[bytes, ...]
    key: ManagedKey = field(repr=False)
    reattestable: bool
    not_before: datetime
    not_after: datetime

    @classmethod
    def from_chain(cls, chain: Sequence[bytes], key: ManagedKey, *, reattestable: bool) -> Self:
        """Read a chain as a server gave it.

        Raises:
            InvalidArgument: the leaf is no SVID.
        """
        if not chain:
            raise Internal("empty SVID cert chain")
        leaf = CertificateFacts(chain[0])
        return cls(
            id=check_leaf(chain[0]),
            chain=tuple(chain),
            key=key,
            reattestable=reattestable,
            not_before=leaf.not_before,
            not_after=leaf.not_after,
        )


async def next_key(keys: KeyManager, current: ManagedKey | None) -> ManagedKey:
    """A new key in the slot that the current one does not occupy (feature K7)."""
    key_id = KEY_IDS[1] if current and current.key_id == KEY_IDS[0] else KEY_IDS[0]
    return await keys.generate_key(key_id, KeyType.EC_P256)


@dataclass(frozen=True, slots=True)
class IssuedSVID:
    """What a server answers to an attestation."""

    chain: tuple[bytes, ...]
    reattestable: bool


class SVIDIssuer(Protocol):
    """Where the agent's next SVID comes from."""

    async def renew(self, csr: bytes) -> tuple[bytes, ...]:
        """A new SVID for the bearer of the current one."""
        ...

    async def attest(self, csr: bytes) -> IssuedSVID:
        """A new SVID for whoever proves to be this node."""
        ...


class SVIDStore(Protocol):
    """What outlives the agent."""

    async def store_svid(self, svid: AgentSVID) -> None: ...

    async def delete_svid(self) -> None: ...


class SVIDKeeper:
    """Keeps the agent's SVID valid.

    Renewal and attestation exclude each other. An agent that may attest again does so in place of
    a renewal, as SPIRE's does. One that may not, and whose SVID has expired, ends: no server would
    ever answer it again. One that may goes on serving its workloads and trying.

    Args:
        on_change: called once a new SVID is in `svid`, to leave the connections made with the old.
        saved: whether what is in `svid` is in `store`, too. What is not is tried again.
    """

    def __init__(
        self,
        *,
        svid: Watch[AgentSVID],
        issuer: SVIDIssuer,
        keys: KeyManager,
        store: SVIDStore,
        clock: Clock,
        strategy: RotationStrategy,
        on_change: Callable[[], None],
        saved: bool = True,
    ) -> None:
        self._saved = svid.value if saved else None
        self._svid = svid
        self._issuer = issuer
        self._keys = keys
        self._store = store
        self._clock = clock
        self._strategy = strategy
        self._on_change = on_change
        self._turn = asyncio.Lock()
        self._distrusted = False

    @property
    def svid(self) -> AgentSVID:
        return self._svid.value

    def rotate_now(self) -> None:
        """Replace the SVID at the next check, such as when its authority is tainted."""
        self._distrusted = True

    async def run(self) -> NoReturn:
        """Rotate in time until cancelled.

        Raises:
            AgentBanned: the server banned this agent.
            AttestationLost: the SVID is gone and cannot be had again.
        """
        backoff = Backoff(initial=_CHECK_INTERVAL, maximum=24 * _CHECK_INTERVAL)
        current, rotate_at = None, self._clock.now()
        while True:
            if current is not self.svid:
                current = self.svid
                rotate_at = self._strategy.rotate_at(current.not_before, current.not_after)
            await self._save_at_last()
            try:
                if self._distrusted or self._clock.now() >= rotate_at:
                    await self._rotate(current)
                backoff.reset()
            except SpireError as error:
                await self._handle(current, error)
            await self._clock.sleep(backoff.next())

    async def heal(self, error: SpireError) -> None:
        """React to a call that the server refused (features O4, O5); other errors pass by.

        Raises:
            AgentBanned: the server banned this agent.
            AttestationLost: it knows this agent no longer, which could or may not attest again.
        """
        reaction = reaction_to(error)
        if reaction is Reaction.SHUT_DOWN:
            log.warning("Agent is banned: removing SVID and shutting down", error=str(error))
            await self._store.delete_svid()
            raise AgentBanned(error.message, details=error.details) from error
        if reaction is Reaction.REATTEST:
            await self._reattest_after(error)

    async def _handle(self, current: AgentSVID, error: SpireError) -> None:
        what = "reattest agent" if current.reattestable else "rotate agent SVID"
        sentence = f"Could not {what}"
        log.error(sentence, error=str(error))
        await self.heal(error)
        expired = self._clock.now() > current.not_after and current is self.svid
        if expired and not current.reattestable:
            await self._store.delete_svid()
            message = f"current SVID has already expired and {what} failed: {error.message}"
            raise AttestationLost(message) from error

    async def _reattest_after(self, error: SpireError) -> None:
        refused = self.svid
        log.warning("Agent needs to re-attest; will attempt to re-attest", error=str(error))
        try:
            if not refused.reattestable:
                raise AttestationLost("attestation method is not re-attestable")
            async with self._turn:
                if self.svid is refused:
                    await self._attest(refused)
        except Unavailable:
            # The next refused call comes back here: an outage is no reason to give up.
            return
        except SpireError as failure:
            log.error(
                "Agent failed re-attestation; removing SVID and shutting down", error=str(failure)
            )
            await self._store.delete_svid()
            raise AttestationLost(error.message, details=error.details) from failure

    async def _rotate(self, current: AgentSVID) -> None:
        async with self._turn:
            if self.svid is not current:
                return
            if current.reattestable:
                await self._attest(current)
            else:
                await self._renew(current)

    async def _attest(self, current: AgentSVID) -> None:
        log.debug("Reattesting node")
        key = await next_key(self._keys, current.key)
        issued = await self._issuer.attest(make_csr(key.private_key))
        svid = AgentSVID.from_chain(issued.chain, key, reattestable=issued.reattestable)
        # The server has forgotten the former one already.
        await self._save(svid)
        self._adopt(svid)
        log.info("Successfully reattested node", spiffe_id=str(self.svid.id))

    async def _renew(self, current: AgentSVID) -> None:
        log.debug("Rotating agent SVID")
        key = await next_key(self._keys, current.key)
        chain = await self._issuer.renew(make_csr(key.private_key))
        svid = AgentSVID.from_chain(chain, key, reattestable=False)
        # Stored before its first use: that use makes the server refuse the former one for good,
        # and an agent that ends then must find the new one. A full disk is given some time.
        last_quarter = current.not_after - (current.not_after - current.not_before) / 4
        await self._save(svid, insist=self._clock.now() < last_quarter)
        self._adopt(svid)
        log.info("Successfully rotated agent SVID", spiffe_id=str(self.svid.id))

    async def _save(self, svid: AgentSVID, *, insist: bool = False) -> None:
        try:
            await self._store.store_svid(svid)
        except SpireError as error:
            if insist:
                raise
            log.warning("Could not store SVID", error=str(error))
        else:
            self._saved = svid

    async def _save_at_last(self) -> None:
        """Store what could not be stored when it came."""
        if self._saved is self.svid:
            return
        async with self._turn:
            await self._save(self.svid)
        if self._saved is self.svid:
            log.info("SVID stored")

    def _adopt(self, svid: AgentSVID) -> None:
        self._distrusted = False
        self._svid.set(svid)
        self._on_change()
