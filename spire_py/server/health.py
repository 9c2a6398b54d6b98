"""How the server is: for its own health service and for the health listener (features B9, G17)."""

from __future__ import annotations

from typing import Protocol

from spire_py.errors import SpireError
from spire_py.spiffe.bundle import Bundle
from spire_py.spiffe.id import TrustDomain
from spire_py.telemetry.health import HealthState


class Bundles(Protocol):
    """What the checks ask of the bundles in memory."""

    def get(self, trust_domain: TrustDomain) -> Bundle | None: ...


class HealthyCA(Protocol):
    """What the checks ask of the CA."""

    async def check_health(self) -> None: ...


class HealthyStore(Protocol):
    """What the checks ask of the datastore."""

    async def count_bundles(self) -> int: ...


class ServerHealthChecks:
    """The checks of a server, with the details that SPIRE shows.

    A server whose database is away goes on signing from memory, so it stays live and ready; the
    details tell. SPIRE calls itself neither, and Kubernetes then restarts it or sends agents away.
    """

    def __init__(
        self, *, trust_domain: TrustDomain, bundles: Bundles, ca: HealthyCA, store: HealthyStore
    ) -> None:
        self._trust_domain = trust_domain
        self._bundles = bundles
        self._ca = ca
        self._store = store

    async def unhealthy_reason(self) -> str:
        """Why the server cannot serve; empty when it can."""
        return "" if self._bundles.get(self._trust_domain) else "bundle is missing"

    async def server(self) -> HealthState:
        """Whether agents can get what they need first."""
        reason = await self.unhealthy_reason()
        return _state(good=not reason, name="get_bundle_err", reason=reason)

    async def ca(self) -> HealthState:
        """Whether signing works (feature L19)."""
        try:
            await self._ca.check_health()
        except SpireError as error:
            return _state(good=False, name="sign_x509_svid_err", reason=error.message)
        return _state(good=True)

    async def datastore(self) -> HealthState:
        """Whether the database answers."""
        try:
            await self._store.count_bundles()
        except SpireError as error:
            return _state(good=True, name="list_bundle_err", reason=error.message)
        return _state(good=True)


def _state(*, good: bool, name: str = "", reason: str = "") -> HealthState:
    details = {name: reason} if reason else {}
    return HealthState(live=good, ready=good, live_details=details, ready_details=details)
