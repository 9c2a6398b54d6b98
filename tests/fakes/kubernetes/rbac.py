"""Who may do what."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

_PAGES = Path(__file__).parents[3] / "docs" / "plugins"
_ROLES = {"Role": "RoleBinding", "ClusterRole": "ClusterRoleBinding"}


@dataclass(frozen=True)
class Action:
    """What a caller is about to do. `name` is empty where it is not known, as for a new object."""

    verb: str
    group: str
    plural: str
    namespace: str = ""
    name: str = ""


@dataclass
class Rules:
    """All is allowed but what is denied, as `("get", "nodes")`, until something is granted."""

    denied: set[tuple[str, str]] = field(default_factory=set)
    _granted: list[_Grant] | None = None

    def grant(self, documents: list[dict[str, Any]]) -> None:
        """From now on only what roles allow that are bound in these documents, or in earlier ones;
        a role without a binding there is everybody's."""
        self._granted = [*(self._granted or []), *_grants(documents)]

    def allows(self, user: str, action: Action) -> bool:
        if (action.verb, action.plural) in self.denied:
            return False
        return self._granted is None or any(each.allows(user, action) for each in self._granted)


@dataclass(frozen=True)
class _Grant:
    """A rule of a role. No namespace means all, no users mean everybody."""

    rule: Mapping[str, Any]
    namespace: str
    users: frozenset[str]

    def allows(self, user: str, action: Action) -> bool:
        if self.users and user not in self.users:
            return False
        if self.namespace and action.namespace != self.namespace:
            return False
        names = self.rule.get("resourceNames")
        return (
            _has(self.rule["apiGroups"], action.group)
            and _has(self.rule["resources"], action.plural)
            and _has(self.rule["verbs"], action.verb)
            and (not names or action.name in names)
        )


def _has(words: Iterable[str], word: str) -> bool:
    return "*" in words or word in words


def _grants(documents: list[dict[str, Any]]) -> Iterable[_Grant]:
    for role in documents:
        if role["kind"] not in _ROLES:
            continue
        namespace = role["metadata"].get("namespace", "")
        assert bool(namespace) == (role["kind"] == "Role"), "a Role has a namespace"
        users = frozenset(
            f"system:serviceaccount:{subject['namespace']}:{subject['name']}"
            for binding in documents
            if binding["kind"] == _ROLES[role["kind"]]
            and binding["metadata"].get("namespace", "") == namespace
            and binding["roleRef"]["name"] == role["metadata"]["name"]
            for subject in binding["subjects"]
        )
        for rule in role["rules"]:
            yield _Grant(rule, namespace, users)


def printed_rights(page: str) -> list[dict[str, Any]]:
    """The roles and bindings on a plugin's page for users, as for `Rules.grant`."""
    blocks = re.findall(r"```yaml\n(.*?)```", (_PAGES / f"{page}.md").read_text(), re.DOTALL)
    documents = [each for block in blocks for each in yaml.safe_load_all(block)]
    return [each for each in documents if "rbac" in each.get("apiVersion", "")]
