"""NodeAttestor `x509pop`, the agent's end (feature I6)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spire_py.crypto.keys import PrivateKey
from spire_py.errors import FailedPrecondition, InvalidArgument
from spire_py.plugin_api.context import PluginContext
from spire_py.plugin_api.node_attestor import AgentNodeAttestor
from spire_py.plugin_api.settings import Settings
from spire_py_plugins.node_attestor.x509pop.certificate import PLUGIN_NAME
from spire_py_plugins.node_attestor.x509pop.identity import FileIdentity, IdentitySource
from spire_py_plugins.node_attestor.x509pop.messages import write_payload
from spire_py_plugins.node_attestor.x509pop.proof import respond

_UNIX = "unix://"


class X509PopAgent(AgentNodeAttestor):
    """Presents a certificate, and signs the server's challenge with its key."""

    def __init__(self, source: IdentitySource) -> None:
        self._source = source
        self._key: PrivateKey | None = None

    @property
    def type(self) -> str:
        return PLUGIN_NAME

    async def payload(self) -> bytes:
        identity = await self._source.fetch()
        self._key = identity.key
        return write_payload(identity.certificates)

    async def respond(self, challenge: bytes) -> bytes:
        if self._key is None:
            raise FailedPrecondition("a challenge came before the payload was made")
        try:
            return await asyncio.to_thread(respond, self._key, challenge)
        except InvalidArgument as error:
            raise InvalidArgument(
                f"failed to calculate challenge response: {error.message}"
            ) from error


def configure(data: Mapping[str, Any], context: PluginContext) -> X509PopAgent:
    """The plugin: the identity lies in files, or another agent's Workload API gives it."""
    settings = Settings(data, context)
    socket = settings.text("spiffe_endpoint_socket")
    certificate = settings.text("certificate_path")
    private_key = settings.text("private_key_path")
    intermediates = settings.text("intermediates_path").strip()
    if socket:
        if not socket.startswith(f"{_UNIX}/"):
            settings.fault(f"spiffe_endpoint_socket must be {_UNIX} and an absolute path")
    else:
        if not private_key:
            settings.fault("private_key_path is required")
        if not certificate:
            settings.fault("certificate_path is required")
    settings.finish()
    if socket:
        # Only those who use it need gRPC here.
        from spire_py_plugins.node_attestor.x509pop.workload_api import WorkloadAPIIdentity

        return X509PopAgent(WorkloadAPIIdentity(Path(socket.removeprefix(_UNIX))))
    return X509PopAgent(
        FileIdentity(
            Path(certificate), Path(private_key), Path(intermediates) if intermediates else None
        )
    )
