"""The configurations that guides print, in the forms in which people have them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from spire_py.config.hcl import parse

CONFIGS = Path(__file__).parents[2] / "data" / "configs"


def hcl(name: str) -> str:
    """The file as printed."""
    return (CONFIGS / f"{name}.conf").read_text()


def as_json(name: str) -> str:
    """The same as JSON, with blocks as objects."""
    return json.dumps(parse(hcl(name)), indent=2)


def as_chart_json(name: str) -> str:
    """The same as JSON, with each block as a list of one-key objects, as Helm charts write it."""
    return json.dumps(_split(parse(hcl(name))), indent=2)


def _split(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}
    return value


def _listed(item: Any) -> Any:
    if isinstance(item, dict):
        return [{key: _listed(inner)} for key, inner in item.items()] or [{}]
    if isinstance(item, list) and item and all(isinstance(part, dict) for part in item):
        return [_split(part) for part in item]
    return item
