"""What every service of the agent's socket does first: find out who calls."""

from __future__ import annotations

import os
from typing import Protocol

from spire_py.agent.rate_limits import RateLimits
from spire_py.errors import Internal, InvalidArgument, SpireError, Unavailable
from spire_py.model.selector import Selector
from spire_py.telemetry.logs import get_logger
from spire_py.transport import CallContext
from spire_py.transport.peer import UnixPeer

log = get_logger("endpoints")

SECURITY_HEADER = "workload.spiffe.io"
_WORKLOAD_API = "/SpiffeWorkloadAPI/"
_SHORT_NAMES = {
    "SpiffeWorkloadAPI": "WorkloadAPI",
    "envoy.service.secret.v3.SecretDiscoveryService": "SDS.v3",
}


class CallerAttestor(Protocol):
    """Who tells the selectors of a caller."""

    async def attest(self, peer: UnixPeer) -> frozenset[Selector]: ...


async def require_security_header(context: CallContext) -> None:
    """Refuse Workload API calls that a browser could have been tricked into (feature H17).

    Raises:
        InvalidArgument: the header is missing, repeated, or not `true`.
    """
    if context.method.startswith(_WORKLOAD_API) and context.metadata.get_all(SECURITY_HEADER) != [
        "true"
    ]:
        raise InvalidArgument("security header missing from request")


def is_agent_itself(context: CallContext) -> bool:
    """Whether the caller is this very process, such as its own health check."""
    return context.peer.unix is not None and context.peer.unix.pid == os.getpid()


def call_facts(context: CallContext) -> dict[str, object]:
    """What log lines tell of a call, by SPIRE's names."""
    service, _, method = context.method[1:].partition("/")
    facts: dict[str, object] = {"method": method, "service": _SHORT_NAMES.get(service, service)}
    if context.peer.unix is not None:
        facts["pid"] = context.peer.unix.pid
    return facts


class Callers:
    """Finds out who calls, and whether that one may call so often.

    Args:
        limits: None for none.
    """

    def __init__(self, *, attestor: CallerAttestor, limits: RateLimits | None = None) -> None:
        self._attestor = attestor
        self._limits = limits

    async def identify(self, context: CallContext) -> frozenset[Selector]:
        """The selectors of the caller. How attestation failed is for the log, not for the caller.

        Raises:
            Unavailable: nothing is known of it, or it calls too often.
        """
        peer = context.peer.unix
        if peer is None:
            raise Internal("peer tracker watcher missing from context")
        try:
            selectors = await self._attestor.attest(peer)
        except SpireError as error:
            log.error("Workload attestation failed", error=str(error), **call_facts(context))
            raise Unavailable("workload attestation failed") from error
        if self._limits is not None and not is_agent_itself(context):
            self._limits.spend(context.method, selectors)
        return selectors
