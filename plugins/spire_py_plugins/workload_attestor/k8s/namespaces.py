"""Labels of namespaces, from the API server (feature J8)."""

from __future__ import annotations

from collections.abc import Mapping

from spire_py.errors import Internal, PermissionDenied
from spire_py_plugins.kubernetes.client import KubernetesClient
from spire_py_plugins.kubernetes.permissions import Rule, missing_rules
from spire_py_plugins.kubernetes.resources import NAMESPACES


class ApiServerNamespaces:
    """Asks the API server each time: labels may be taken away."""

    def __init__(self, client: KubernetesClient) -> None:
        self._client = client

    async def fetch(self, namespace: str) -> Mapping[str, str]:
        """The labels of a namespace.

        Raises:
            SpireError: as `KubernetesClient` raises it; where we may not ask, it says what to do.
        """
        try:
            document = await self._client.get(NAMESPACES, namespace)
        except PermissionDenied as error:
            raise PermissionDenied(
                f"{error.message} (the agent's ClusterRole needs the verb get on namespaces)"
            ) from error
        metadata = document.get("metadata")
        labels = metadata.get("labels") or {} if isinstance(metadata, dict) else None
        if not isinstance(labels, dict):
            raise Internal("the answer is no namespace")
        return {name: value for name, value in labels.items() if isinstance(value, str)}

    async def missing_rules(self) -> list[str]:
        """One sentence for what keeps us from asking; none where nothing does."""
        return await missing_rules(self._client, [Rule("get", NAMESPACES)])

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()
