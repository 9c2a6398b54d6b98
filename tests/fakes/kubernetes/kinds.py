"""The kinds that the double knows, by their place in the API."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    group: str
    plural: str
    kind: str
    namespaced: bool
    version: str = "v1"

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """As it stands in messages."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


PODS = Kind("", "pods", "Pod", True)
NODES = Kind("", "nodes", "Node", False)
NAMESPACES = Kind("", "namespaces", "Namespace", False)
CONFIG_MAPS = Kind("", "configmaps", "ConfigMap", True)
TOKEN_REVIEWS = Kind("authentication.k8s.io", "tokenreviews", "TokenReview", False)
ACCESS_REVIEWS = Kind(
    "authorization.k8s.io", "selfsubjectaccessreviews", "SelfSubjectAccessReview", False
)

ALL = (
    PODS,
    NODES,
    NAMESPACES,
    CONFIG_MAPS,
    TOKEN_REVIEWS,
    ACCESS_REVIEWS,
    Kind("", "secrets", "Secret", True),
    Kind("", "services", "Service", True),
    Kind("", "events", "Event", True),
    Kind("coordination.k8s.io", "leases", "Lease", True),
    Kind("apps", "daemonsets", "DaemonSet", True),
    Kind("admissionregistration.k8s.io", "validatingwebhookconfigurations",
         "ValidatingWebhookConfiguration", False),
    Kind("admissionregistration.k8s.io", "mutatingwebhookconfigurations",
         "MutatingWebhookConfiguration", False),
    Kind("apiregistration.k8s.io", "apiservices", "APIService", False),
)  # fmt: skip


def find(group: str, version: str, plural: str) -> Kind | None:
    for kind in ALL:
        if (kind.group, kind.version, kind.plural) == (group, version, plural):
            return kind
    return None
