"""NodeAttestor `k8s_psat`, the agent's end (feature I3)."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spire_py.crypto.strict_json import parse_json_object
from spire_py.errors import InvalidArgument
from spire_py.plugin_api.context import PluginContext
from spire_py.plugin_api.node_attestor import AgentNodeAttestor
from spire_py.plugin_api.settings import Settings
from spire_py_plugins.node_attestor.k8s_psat.payload import PLUGIN_NAME, Payload

_TOKEN_PATH = "/var/run/secrets/tokens/spire-agent"  # noqa: S105 - a path
_MAX_TOKEN_BYTES = 32 * 1024


class K8sPsatAgent(AgentNodeAttestor):
    """Presents the token that Kubernetes keeps in a file of the agent's pod.

    The file is read at each attempt, because Kubernetes replaces it before the token expires.
    """

    def __init__(self, cluster: str, token_path: Path) -> None:
        self._cluster = cluster
        self._token_path = token_path

    @property
    def type(self) -> str:
        return PLUGIN_NAME

    async def payload(self) -> bytes:
        token = await asyncio.to_thread(self._load_token)
        return Payload(self._cluster, token).encode()

    async def respond(self, challenge: bytes) -> bytes:  # noqa: ARG002
        raise InvalidArgument("k8s_psat attestation knows no challenge")

    async def check_surroundings(self) -> Sequence[str]:
        try:
            token = await asyncio.to_thread(self._load_token)
        except InvalidArgument as error:
            return [error.message]
        return self._doubts(token)

    def _doubts(self, token: str) -> list[str]:
        """What a token that is there cannot be used for; the server judges all else."""
        claims = _claims(token)
        if claims is None:
            return [f"{self._token_path} holds no token of a service account"]
        bound = claims.get("kubernetes.io")
        if not (isinstance(bound, dict) and bound.get("pod")):
            needed = "a projected volume there, with a serviceAccountToken source"
            return [f"the token in {self._token_path} is bound to no pod: the pod needs {needed}"]
        expires = claims.get("exp")
        if isinstance(expires, (int, float)) and expires < time.time():
            return [
                f"the token in {self._token_path} has expired, and the kubelet has not replaced it"
            ]
        return []

    def _load_token(self) -> str:
        path = self._token_path
        try:
            with path.open("rb") as file:
                content = file.read(_MAX_TOKEN_BYTES + 1)
        except OSError as error:
            raise self._unable((error.strerror or str(error)).lower()) from error
        if not content.strip():
            raise self._unable(f'"{path}" is empty')
        token = content.strip().decode("ascii", "replace")
        if len(content) > _MAX_TOKEN_BYTES or not (token.isascii() and token.isprintable()):
            raise self._unable(f'"{path}" holds no token')
        return token

    def _unable(self, reason: str) -> InvalidArgument:
        path = self._token_path
        return InvalidArgument(
            f"unable to load token from {path}: {reason}; the agent's pod needs a projected volume "
            f"mounted at {path.parent} with a serviceAccountToken source that has path: "
            f"{path.name} and the audience that the server expects (spire-server by default)"
        )


def _claims(token: str) -> dict[str, object] | None:
    """What a token says, whoever signed it."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        payload = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        return parse_json_object(payload, max_bytes=_MAX_TOKEN_BYTES)
    except (InvalidArgument, ValueError):
        return None


def configure(data: Mapping[str, Any], context: PluginContext) -> K8sPsatAgent:
    """The plugin: the name of its cluster, as the server's configuration has it, and the file."""
    settings = Settings(data, context)
    cluster = settings.text("cluster")
    if not cluster:
        settings.fault("missing required cluster block")
    token_path = settings.text("token_path") or _TOKEN_PATH
    settings.finish()
    return K8sPsatAgent(cluster, Path(token_path))
