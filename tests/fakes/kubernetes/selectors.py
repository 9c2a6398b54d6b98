"""Label and field selectors of a list or a watch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.fakes.kubernetes.errors import bad_request

Matches = Callable[[dict[str, Any]], bool]


def matcher(labels: str, fields: str) -> Matches:
    """Whether an object is meant: `a=b`, `a==b`, `a!=b`, `a` and `!a`, joined by commas."""
    checks = [_label(term) for term in labels.split(",") if term]
    checks += [_field(term) for term in fields.split(",") if term]
    return lambda document: all(check(document) for check in checks)


def _label(term: str) -> Matches:
    name, operator, wanted = _split(term)

    def matches(document: dict[str, Any]) -> bool:
        labels = document["metadata"].get("labels") or {}
        if not operator:
            absent = name.startswith("!")
            return (name.removeprefix("!") in labels) is not absent
        return bool((labels.get(name) == wanted) is (operator == "="))

    return matches


def _field(term: str) -> Matches:
    name, operator, wanted = _split(term)
    if name not in {"metadata.name", "metadata.namespace", "spec.nodeName", "status.phase"}:
        raise bad_request(f"field label not supported: {name}")

    def matches(document: dict[str, Any]) -> bool:
        value: Any = document
        for part in name.split("."):
            value = value.get(part) or {}
        return bool(((value or "") == wanted) is (operator == "="))

    return matches


def _split(term: str) -> tuple[str, str, str]:
    for operator, meaning in (("!=", "!="), ("==", "="), ("=", "=")):
        if operator in term:
            name, _, value = term.partition(operator)
            return name.strip(), meaning, value.strip()
    return term.strip(), "", ""
