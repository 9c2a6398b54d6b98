"""Objects that are to stay as a plugin has made them."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from spire_py.errors import Unavailable
from spire_py.plugin_api.bundle_sink import BundleTarget
from spire_py_plugins.kubernetes.client import KubernetesClient, Object
from spire_py_plugins.kubernetes.permissions import Rule, missing_rules
from spire_py_plugins.kubernetes.resources import CONFIG_MAPS, Resource


class KubernetesTarget(BundleTarget):
    """A target in a cluster."""

    @property
    @abstractmethod
    def rules(self) -> Sequence[Rule]:
        """What it may not do without, and that without which changes are noticed late."""


async def missing_rules_of(
    clusters: Iterable[tuple[str, KubernetesClient, Sequence[KubernetesTarget]]],
) -> list[str]:
    """What `missing_rules` finds for the targets of each cluster, whose names stand first."""
    named = list(clusters)
    found = await asyncio.gather(
        *(
            missing_rules(client, [rule for target in targets for rule in target.rules])
            for _, client, targets in named
        )
    )
    return [
        f"{name}: {sentence}"
        for (name, _, _), sentences in zip(named, found, strict=True)
        for sentence in sentences
    ]


@dataclass(frozen=True, slots=True)
class ConfigMapKey:
    """One key of a ConfigMap."""

    namespace: str
    name: str
    key: str

    def read(self, config_map: Object) -> str | None:
        """The key's content; None where there is none."""
        content = section(config_map, "data").get(self.key)
        return content if isinstance(content, str) else None


async def wait_until_config_map_other_than(
    client: KubernetesClient, namespace: str, name: str, data: Mapping[str, str]
) -> None:
    """Return once one of these keys of a ConfigMap has another content, or is gone."""
    await wait_until_wrong(
        client,
        CONFIG_MAPS,
        namespace,
        field_selector=f"metadata.name={name}",
        is_right=lambda found: section(found, "data").items() >= data.items(),
        may_go=False,
    )


async def wait_until_wrong(
    client: KubernetesClient,
    resource: Resource,
    namespace: str | None = None,
    *,
    label_selector: str = "",
    field_selector: str = "",
    is_right: Callable[[Object], bool],
    may_go: bool,
) -> None:
    """Watch objects, those that are there first, until one is wrong.

    Args:
        client: of the cluster.
        resource: what to watch.
        namespace: where.
        label_selector: which.
        field_selector: which.
        is_right: asked of each object, as it is and after each change.
        may_go: whether it is all right that one is deleted.

    Raises:
        SpireError: they cannot be watched, or the watch has ended.
    """
    # Without a version, a watch begins with all objects as they are: no edit is missed between what
    # was written last and now, only a deletion, and no version can be too old.
    watch = client.watch(
        resource, namespace, since="", label_selector=label_selector, field_selector=field_selector
    )
    async with aclosing(watch) as events:
        async for event in events:
            if event.type == "BOOKMARK":
                continue
            gone = event.type == "DELETED"
            if (not may_go) if gone else not is_right(event.object):
                return
    raise Unavailable(f"the watch of {resource.plural} has ended")


def section(document: Object, name: str) -> Object:
    """A part of an object; empty where it is missing or malformed."""
    part = document.get(name)
    return part if isinstance(part, dict) else {}


def object_name(document: Object) -> str:
    """The name in an object's metadata; empty where it has none."""
    name = section(document, "metadata").get("name")
    return name if isinstance(name, str) else ""
