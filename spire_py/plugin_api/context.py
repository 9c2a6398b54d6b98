"""How a plugin is made, whatever its type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from spire_py.runtime.watch import Watch
from spire_py.spiffe.bundle import Bundle
from spire_py.spiffe.id import TrustDomain


@dataclass(frozen=True, slots=True)
class PluginContext:
    """What a plugin is told of the daemon it runs in.

    `warn` notes are collected in `warnings`, one sentence each, such as for a key nobody knows:
    `run` logs them, `validate` prints them.
    """

    trust_domain: TrustDomain
    warnings: list[str] = field(default_factory=list)
    trust_bundle: Watch[Bundle] | None = None
    """The trust domain's own bundle as the server sees it. None in an agent and in `validate`; to
    be read when a plugin is used, not when it is made (feature K27)."""


@runtime_checkable
class PluginFactory(Protocol):
    """What an entry point of the group `spire_py.<plugin type>` names: the plugin's `configure`.

    Builds a plugin from its `plugin_data`, or raises `InvalidArgument` that names the key at fault.
    It opens nothing and makes no call, because `validate` runs it too.
    """

    def __call__(self, data: Mapping[str, Any], context: PluginContext) -> object: ...
