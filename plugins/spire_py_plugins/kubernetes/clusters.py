"""The setting `clusters`: a map of settings by the clusters' names."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from spire_py.config.tree import merge
from spire_py.errors import InvalidArgument
from spire_py.plugin_api.settings import Settings

T = TypeVar("T")


def read_each_cluster(
    settings: Settings, data: Mapping[str, Any], read: Callable[[str, Mapping[str, Any]], T]
) -> list[T]:
    """Each cluster that `read` makes of a name and its settings, which are a map or a block.

    Args:
        settings: get the faults: of `clusters`, and those that `read` raises as `InvalidArgument`.
        data: what `settings` are about.
        read: makes one.
    """
    settings.has("clusters")
    try:
        blocks = merge(data.get("clusters") or [])
    except InvalidArgument:
        settings.fault("clusters must be a map of clusters")
        return []
    clusters: list[T] = []
    for name, block in blocks.items():
        try:
            clusters.append(read(name, _table(name, block)))
        except InvalidArgument as error:
            settings.fault(error.message)
    return clusters


def _table(name: str, block: object) -> Mapping[str, Any]:
    try:
        return merge(block or [])
    except InvalidArgument as error:
        shown = json.dumps(name, ensure_ascii=False)
        raise InvalidArgument(f"cluster {shown} must be a map of settings") from error
