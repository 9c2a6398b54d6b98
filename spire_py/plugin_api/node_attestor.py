"""NodeAttestor: how an agent proves which node it runs on. One class for each end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from spire_py.model.selector import Selector
from spire_py.plugin_api.plugin import Plugin
from spire_py.spiffe.id import SpiffeID

Challenge: TypeAlias = Callable[[bytes], Awaitable[bytes]]
"""Sends a challenge to the agent and waits, within a bound, for its response."""


@dataclass(frozen=True, slots=True)
class NodeAttestation:
    """What the server's end found out."""

    agent_id: SpiffeID
    selectors: tuple[Selector, ...] = ()
    can_reattest: bool = False


class ServerNodeAttestor(Plugin, ABC):
    """The server's end."""

    @abstractmethod
    async def attest(self, payload: bytes, challenge: Challenge) -> NodeAttestation:
        """Check what the agent presents.

        `challenge` may be called any number of times; each call is one round trip to the agent.

        Raises:
            InvalidArgument: the payload or a response is malformed.
            PermissionDenied: the proof does not hold.
        """

    async def check_address(self, payload: bytes, client_ip: str) -> None:
        """Refuse a payload that may not come from this address; asked before `attest`.

        `client_ip` is that of the immediate peer, empty for one on a Unix socket. Most attestors
        have nothing against any address.

        Raises:
            InvalidArgument: the payload is malformed.
            PermissionDenied: it must come from another address.
        """


class AgentNodeAttestor(Plugin, ABC):
    """The agent's end. One attestation is `payload`, then `respond` for each challenge."""

    @property
    @abstractmethod
    def type(self) -> str:
        """The attestation type, such as `join_token`."""

    @abstractmethod
    async def payload(self) -> bytes:
        """What is sent first. Read anew for each attestation."""

    @abstractmethod
    async def respond(self, challenge: bytes) -> bytes:
        """Answer a challenge of the server.

        Raises:
            InvalidArgument: this attestor knows no such challenge.
        """
