"""Asks the API server what this process may do, so that a missing RBAC rule can be named."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from spire_py.errors import SpireError
from spire_py_plugins.kubernetes.client import KubernetesClient
from spire_py_plugins.kubernetes.resources import SELF_ACCESS_REVIEWS, Resource


@dataclass(frozen=True, slots=True)
class Rule:
    """A right that is needed; in all namespaces, and for all names, where none is given."""

    verb: str
    resource: Resource
    namespace: str = ""
    name: str = ""

    def __str__(self) -> str:
        where = f" in namespace {self.namespace}" if self.namespace else ""
        names = f'resourceNames: ["{self.name}"], ' if self.name else ""
        return (
            f'apiGroups: ["{self.resource.group}"], resources: ["{self.resource.plural}"], '
            f'{names}verbs: ["{self.verb}"]{where}'
        )


async def missing_rules(client: KubernetesClient, rules: Iterable[Rule]) -> list[str]:
    """One sentence for each rule that is missing, or one that says why nothing can be asked.

    An answer that makes no sense leaves the rule in doubt: no sentence.
    """
    missing: list[str] = []
    for rule in rules:
        try:
            allowed = await _is_allowed(client, rule)
        except SpireError as error:
            return [*missing, f"the Kubernetes API server cannot be used: {error.message}"]
        if not allowed:
            missing.append(f"the service account or user lacks the RBAC rule {rule}")
    return missing


async def _is_allowed(client: KubernetesClient, rule: Rule) -> bool:
    attributes = {
        "group": rule.resource.group,
        "resource": rule.resource.plural,
        "verb": rule.verb,
        **({"namespace": rule.namespace} if rule.namespace else {}),
        **({"name": rule.name} if rule.name else {}),
    }
    review = await client.create(SELF_ACCESS_REVIEWS, {"spec": {"resourceAttributes": attributes}})
    status = review.get("status")
    return not isinstance(status, dict) or status.get("allowed") is True
