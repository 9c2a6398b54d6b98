"""NodeAttestor `join_token`, the agent's end.

The agent itself attests with a token it was given; this plugin is called only where it was given
none, and says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from spire_py.errors import InvalidArgument
from spire_py.model.join_token import ATTESTATION_TYPE
from spire_py.plugin_api.context import PluginContext
from spire_py.plugin_api.node_attestor import AgentNodeAttestor
from spire_py.plugin_api.settings import Settings


class MissingJoinToken(AgentNodeAttestor):
    """Stands where a join token should be."""

    @property
    def type(self) -> str:
        return ATTESTATION_TYPE

    async def payload(self) -> NoReturn:
        raise InvalidArgument("join token was not provided")

    async def respond(self, challenge: bytes) -> NoReturn:  # noqa: ARG002 - as all of its kind
        raise InvalidArgument("join token attestation knows no challenge")


def configure(data: Mapping[str, Any], context: PluginContext) -> MissingJoinToken:
    """The plugin; it has no settings."""
    Settings(data, context).finish()
    return MissingJoinToken()
