"""Node attestors that are plugins, as the server calls them."""

from __future__ import annotations

from spire_py.errors import SpireError, error_for_status
from spire_py.plugin_api.node_attestor import Challenge, NodeAttestation, ServerNodeAttestor


class PluginAttestor(ServerNodeAttestor):
    """A plugin's attestor whose errors begin with the plugin's name, as SPIRE's do on the wire.

    Args:
        name: as in the configuration, such as `x509pop`.
        plugin: the attestor itself.
    """

    def __init__(self, name: str, plugin: ServerNodeAttestor) -> None:
        self._name = name
        self._plugin = plugin

    async def attest(self, payload: bytes, challenge: Challenge) -> NodeAttestation:
        of_the_call: list[SpireError] = []

        async def ask(data: bytes) -> bytes:
            try:
                return await challenge(data)
            except SpireError as error:
                of_the_call.append(error)
                raise

        try:
            return await self._plugin.attest(payload, ask)
        except SpireError as error:
            if error in of_the_call:
                raise
            raise error_for_status(
                error.code, f"nodeattestor({self._name}): {error.message}", error.details
            ) from error

    async def aclose(self) -> None:
        await self._plugin.aclose()
