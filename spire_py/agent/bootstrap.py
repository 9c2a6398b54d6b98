"""How an agent comes by its first identity, or by the one of its last run (features O6, O12)."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta

from spire_py.agent.agent_svid import KEY_IDS, AgentSVID
from spire_py.agent.attestation import attest_first, fetch_bundle_over
from spire_py.agent.server_connection import ServerAddress, open_channel, open_insecure_channel
from spire_py.agent.starting import NoTrustBundle
from spire_py.agent.storage import AgentStorage
from spire_py.agent.trust_bundle import bundle_of, fetch_trust_bundle
from spire_py.config.agent import AgentSection
from spire_py.crypto.certificate import CertificateFacts
from spire_py.crypto.keys import public_key_der
from spire_py.errors import FailedPrecondition, InvalidArgument, SpireError
from spire_py.model.join_token import ATTESTATION_TYPE
from spire_py.plugin_api.key_manager import KeyManager, ManagedKey
from spire_py.plugin_api.node_attestor import AgentNodeAttestor
from spire_py.runtime.clock import Clock
from spire_py.spiffe.bundle import Bundle
from spire_py.telemetry.logs import LogLevel, get_logger
from spire_py.transport import Channel

log = get_logger("attestor")

USE_BOOTSTRAP = 1
USE_REBOOTSTRAP = 2
_LOUD_TRIES = 5
_CLOCK_SKEW = timedelta(seconds=1)


class JoinTokenAttestor(AgentNodeAttestor):
    """Proves this node with the join token of its configuration (feature C11)."""

    def __init__(self, token: str) -> None:
        self._token = token

    @property
    def type(self) -> str:
        return ATTESTATION_TYPE

    async def payload(self) -> bytes:
        return self._token.encode()

    async def respond(self, challenge: bytes) -> bytes:
        raise InvalidArgument(
            f"join token attestation has no challenge; got {len(challenge)} bytes"
        )


@dataclass(frozen=True, slots=True)
class FirstIdentity:
    """What the agent needs to call its server."""

    svid: AgentSVID
    bundle: Bundle
    saved: bool
    """Whether the next start will find it; not so on a full disk."""


class Bootstrap:
    """Loads the identity of the last run where it is still good, else attests the node."""

    def __init__(
        self,
        *,
        config: AgentSection,
        address: ServerAddress,
        attestor: AgentNodeAttestor,
        keys: KeyManager,
        storage: AgentStorage,
        clock: Clock,
    ) -> None:
        self._config = config
        self._address = address
        self._attestor = attestor
        self._keys = keys
        self._storage = storage
        self._clock = clock
        self._tries = 0
        self._attested: AgentSVID | None = None
        """Should a later step fail, the next try begins there: a join token is good for one."""

    async def first_identity(self) -> FirstIdentity:
        """One try.

        Raises:
            SpireError: attestation failed, or there is no bundle to begin with.
        """
        self._tries += 1
        bundle = await self._load_bundle()
        if bundle is None:
            self._tell(LogLevel.INFO, "Bundle is not found")
        else:
            self._tell(LogLevel.INFO, "Bundle loaded", trust_domain_id=str(bundle.trust_domain.id))
        keys = await self._keys.get_keys()
        svid, key = self._load_svid({name: keys[name] for name in KEY_IDS if name in keys})
        if svid is None:
            svid, bundle = await self._attest(key, bundle)
        elif bundle is None:
            raise FailedPrecondition("SVID loaded but no bundle in cache")
        else:
            log.info("SVID loaded", spiffe_id=str(svid.id))
        return FirstIdentity(svid, bundle, await self._keep(svid, bundle))

    async def _attest(
        self, key: ManagedKey | None, bundle: Bundle | None
    ) -> tuple[AgentSVID, Bundle]:
        """Attest and get the newest bundle over the same connection."""
        async with aclosing(self._attestation_channel(bundle)) as channel:
            if self._attested is None:
                self._tell(LogLevel.INFO, "SVID is not found. Starting node attestation")
                self._attested = await attest_first(channel, self._attestor, self._keys, key)
            newest = await fetch_bundle_over(channel, self._config.trust_domain)
        return self._attested, newest

    async def _load_bundle(self) -> Bundle | None:
        stored = self._storage.data.bundle
        if stored:
            return bundle_of(self._config.trust_domain, stored)
        await self._note_attempt()
        try:
            return await fetch_trust_bundle(self._config, facts=self._facts())
        except SpireError as error:
            raise NoTrustBundle(error.message) from error

    def _load_svid(self, keys: dict[str, ManagedKey]) -> tuple[AgentSVID | None, ManagedKey | None]:
        """The stored SVID if it is good, and the key whose slot is to be left alone."""
        data = self._storage.data
        if self._attested is not None:
            return None, None
        if not data.svid:
            if keys:
                self._tell(
                    LogLevel.WARNING, "Keys recovered, but no SVID found. Generating new keypair"
                )
            return None, None
        wanted = CertificateFacts(data.svid[0]).public_key_der
        key = next(
            (item for item in keys.values() if public_key_der(item.private_key) == wanted), None
        )
        if key is None:
            which = "SVID key found" if keys else "keys found"
            sentence = f"SVID recovered, but no {which}. Generating new keypair"
            self._tell(LogLevel.WARNING, sentence)
            return None, None
        svid = AgentSVID.from_chain(data.svid, key, reattestable=data.reattestable)
        if self._clock.now() + _CLOCK_SKEW >= svid.not_after:
            self._tell(
                LogLevel.WARNING,
                "SVID key recovered, but SVID is expired. Generating new keypair",
                expiry=svid.not_after.strftime("%Y-%m-%dT%H:%M:%SZ"),
            )
            return None, key
        return svid, key

    def _tell(self, level: LogLevel, sentence: str, **facts: str) -> None:
        """Log what each try begins with, as long as it is news."""
        log.log(level if self._tries <= _LOUD_TRIES else LogLevel.DEBUG, sentence, **facts)

    def _attestation_channel(self, bundle: Bundle | None) -> Channel:
        if bundle is None:
            return open_insecure_channel(self._address)
        trusted = bundle
        return open_channel(self._address, bundle=lambda: trusted)

    async def _note_attempt(self) -> None:
        data = self._storage.data
        await asyncio.to_thread(
            self._storage.store,
            bootstrap_use=data.bootstrap_use or USE_BOOTSTRAP,
            bootstrap_start_time=data.bootstrap_start_time or self._clock.now(),
            connection_attempts=data.connection_attempts + 1,
        )

    def _facts(self) -> dict[str, str]:
        """What SPIRE tells the one who gives out bundles on a Unix socket."""
        data, config = self._storage.data, self._config
        started = data.bootstrap_start_time or self._clock.now()
        return {
            "spire-attest-mode": (
                "rebootstrap" if data.bootstrap_use == USE_REBOOTSTRAP else "bootstrap"
            ),
            "spire-connection-attempts": str(data.connection_attempts),
            "spire-attest-start-time": started.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "spire-server-address": config.server_address,
            "spire-server-port": str(config.server_port),
            "spiffe-trust-domain": config.trust_domain.name,
        }

    async def _keep(self, svid: AgentSVID, bundle: Bundle) -> bool:
        """Store what the agent has now; a failure is no reason to lose it again."""
        try:
            await asyncio.to_thread(store_identity, self._storage, svid, bundle)
        except SpireError as error:
            log.warning("Could not store SVID", error=str(error))
            return False
        return True


def store_identity(storage: AgentStorage, svid: AgentSVID, bundle: Bundle) -> None:
    """Write all that the next start needs.

    Raises:
        Internal: it could not be written.
    """
    storage.store(
        svid=svid.chain,
        reattestable=svid.reattestable,
        bundle=tuple(authority.der for authority in bundle.x509_authorities),
        bootstrap_use=USE_REBOOTSTRAP,
        bootstrap_start_time=None,
        connection_attempts=0,
    )


def join_token_or(attestor: AgentNodeAttestor, token: str) -> AgentNodeAttestor:
    """The join token's attestor where there is a token, else the configured one."""
    return JoinTokenAttestor(token) if token else attestor
