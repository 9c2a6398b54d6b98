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
            raise self._named(error) from error

    async def check_address(self, payload: bytes, client_ip: str) -> None:
        try:
            await self._plugin.check_address(payload, client_ip)
        except SpireError as error:
            raise self._named(error) from error

    def _named(self, error: SpireError) -> SpireError:
        message = f"nodeattestor({self._name}): {error.message}"
        return error_for_status(error.code, message, error.details)

    async def aclose(self) -> None:
        await self._plugin.aclose()
