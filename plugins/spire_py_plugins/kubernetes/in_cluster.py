"""The access that Kubernetes gives to each pod: a service account's token and CA in a folder."""

from __future__ import annotations

import asyncio
import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from spire_py.errors import FailedPrecondition
from spire_py_plugins.kubernetes.access import Access, Endpoint, bearer, read_file, read_token

_HOST = "KUBERNETES_SERVICE_HOST"
_PORT = "KUBERNETES_SERVICE_PORT"


@dataclass(frozen=True, slots=True)
class Pod:
    """What Kubernetes puts into each of its pods.

    Attributes:
        folder: of the service account: `token`, `ca.crt` and `namespace`.
        environ: of the process.
    """

    folder: Path = Path("/var/run/secrets/kubernetes.io/serviceaccount")
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)

    @property
    def namespace(self) -> str | None:
        """The pod's own; None outside a cluster, or where no service account is mounted."""
        try:
            text = (self.folder / "namespace").read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            return None
        return text or None


class InCluster:
    """Access to the API server of the cluster that this process runs in."""

    def __init__(self, pod: Pod) -> None:
        self._pod = pod

    async def load(self) -> Access:
        return await asyncio.to_thread(self._load)

    def forget(self) -> bool:
        """Nothing is kept: the files are read each time."""
        return False

    def _load(self) -> Access:
        host, port = (self._pod.environ.get(name, "") for name in (_HOST, _PORT))
        if not host or not port:
            raise FailedPrecondition(
                f"unable to load in-cluster configuration, {_HOST} and {_PORT} must be defined"
            )
        folder = self._pod.folder
        endpoint = Endpoint(
            server=f"https://{_bracketed(host)}:{port}",
            authorities=read_file(folder / "ca.crt", "CA file"),
        )
        return Access(endpoint, bearer(read_token(folder / "token")))


def _bracketed(host: str) -> str:
    try:
        return f"[{host}]" if ipaddress.ip_address(host).version == 6 else host
    except ValueError:
        return host
