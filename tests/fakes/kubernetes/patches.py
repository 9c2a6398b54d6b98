"""The four kinds of patch."""

from __future__ import annotations

import copy
from typing import Any

from tests.fakes.kubernetes.errors import bad_request, invalid

JSON_PATCH = "application/json-patch+json"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"

_MERGE_KEYS = {
    "conditions": "type",
    "containers": "name",
    "env": "name",
    "ownerReferences": "uid",
    "volumes": "name",
    "webhooks": "name",
}

Path = tuple[str, ...]


def apply_patch(target: dict[str, Any], patch: Any, content_type: str) -> dict[str, Any]:
    """A new object; server-side apply is `store.Store.apply`."""
    if content_type == JSON_PATCH:
        result = copy.deepcopy(target)
        for operation in _a(list, patch):
            result = _operate(result, _a(dict, operation))
        return result
    if content_type == MERGE:
        merged: dict[str, Any] = merge_patch(target, _a(dict, patch))
        return merged
    return _strategic_map(target, _a(dict, patch))


def _a(kind: type, value: Any) -> Any:
    if not isinstance(value, kind):
        raise bad_request(f"the patch is malformed: expected a {kind.__name__}")
    return value


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = copy.deepcopy(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


def strategic_merge_patch(target: Any, patch: Any, key: str = "") -> Any:
    """Maps merge; lists that have a merge key merge by it, other lists are replaced."""
    if isinstance(patch, dict):
        return _strategic_map(target if isinstance(target, dict) else {}, patch)
    if isinstance(patch, list) and isinstance(target, list) and key in _MERGE_KEYS:
        return _strategic_list(target, patch, _MERGE_KEYS[key])
    return copy.deepcopy(patch)


def _strategic_map(target: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    directive = patch.get("$patch")
    result = {} if directive == "replace" else copy.deepcopy(target)
    for key, value in patch.items():
        if key.startswith("$"):
            continue
        if value is None:
            result.pop(key, None)
        else:
            result[key] = strategic_merge_patch(result.get(key), value, key)
    return result


def _strategic_list(target: list[Any], patch: list[Any], merge_key: str) -> list[Any]:
    result = copy.deepcopy(target)
    for item in patch:
        if not isinstance(item, dict) or merge_key not in item:
            raise invalid(f"map: {item} does not contain declared merge key: {merge_key}")
        places = [at for at, one in enumerate(result) if one.get(merge_key) == item[merge_key]]
        if item.get("$patch") == "delete":
            result = [one for at, one in enumerate(result) if at not in places]
        elif places:
            result[places[0]] = _strategic_map(result[places[0]], item)
        else:
            result.append(_strategic_map({}, item))
    return result


def _operate(target: dict[str, Any], operation: dict[str, Any]) -> dict[str, Any]:
    """One operation of RFC 6902; `copy` and `move` are left out."""
    kind, path = operation.get("op"), str(operation.get("path"))
    parts = [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:]]
    holder: Any = target
    try:
        for part in parts[:-1]:
            holder = holder[int(part)] if isinstance(holder, list) else holder[part]
        last: Any = parts[-1]
        if isinstance(holder, list):
            last = len(holder) if last == "-" else int(last)
        if kind == "add" and isinstance(holder, list):
            holder.insert(last, operation["value"])
        elif kind == "add":
            holder[last] = operation["value"]
        elif kind == "remove":
            del holder[last]
        elif kind == "replace":
            if isinstance(holder, dict) and last not in holder:
                raise KeyError(last)
            holder[last] = operation["value"]
        elif kind == "test":
            if holder[last] != operation["value"]:
                raise invalid(f"testing path {path} failed")
        else:
            raise bad_request(f"unknown operation {kind}")
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise invalid(f"{kind} operation does not apply: doc is missing path: {path}") from error
    return target


def leaves(document: dict[str, Any], above: Path = ()) -> dict[Path, Any]:
    """The values of an object by path; a list is one value."""
    found: dict[Path, Any] = {}
    for key, value in document.items():
        if isinstance(value, dict) and value:
            found.update(leaves(value, (*above, key)))
        else:
            found[(*above, key)] = value
    return found


def remove_leaf(document: dict[str, Any], path: Path) -> None:
    """With the objects around it that are empty then."""
    key, *rest = path
    inner = document.get(key)
    if not rest:
        document.pop(key, None)
    elif isinstance(inner, dict):
        remove_leaf(inner, tuple(rest))
        if not inner:
            del document[key]


def set_leaf(document: dict[str, Any], path: Path, value: Any) -> None:
    for key in path[:-1]:
        inner = document.get(key)
        if not isinstance(inner, dict):
            inner = document[key] = {}
        document = inner
    document[path[-1]] = copy.deepcopy(value)
