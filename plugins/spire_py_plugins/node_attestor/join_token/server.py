"""NodeAttestor `join_token` in the server's configuration.

The block is allowed and does nothing: the server attests join tokens whether it stands there or
not, because it alone can take a token out of the datastore.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from spire_py.errors import Unimplemented
from spire_py.plugin_api.context import PluginContext
from spire_py.plugin_api.node_attestor import Challenge, ServerNodeAttestor
from spire_py.plugin_api.settings import Settings


class BuiltInJoinToken(ServerNodeAttestor):
    """Refuses, should anybody call it."""

    async def attest(self, payload: bytes, challenge: Challenge) -> NoReturn:  # noqa: ARG002 - as all of its kind
        raise Unimplemented("join token attestation is currently implemented within the server")


def configure(data: Mapping[str, Any], context: PluginContext) -> BuiltInJoinToken:
    """The plugin; it has no settings."""
    Settings(data, context).finish()
    return BuiltInJoinToken()
