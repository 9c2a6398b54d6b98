"""Finds plugins by their entry points, and makes the configured ones (feature B10)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import cast

from spire_py.config.plugins import PluginConfig
from spire_py.config.problems import ConfigProblems, ConfigWarning, Problem
from spire_py.errors import InvalidArgument, NotFound, SpireError
from spire_py.plugin_api.context import PluginContext, PluginFactory
from spire_py.plugin_api.plugin import Plugin
from spire_py.runtime.watch import Watch
from spire_py.spiffe.bundle import Bundle
from spire_py.spiffe.id import TrustDomain

_LINE = re.compile(r"\(line \d+\)")


@dataclass(frozen=True, slots=True)
class Made:
    """A plugin and the block that asked for it; it is of the class that its type demands."""

    config: PluginConfig
    plugin: Plugin


class Finder:
    """Makes the plugins of one daemon.

    Args:
        daemon: `server` or `agent`; the entry points are in `spire_py.<daemon>.<type>`.
        types: the class that a plugin of each type must be; other types are not available.
        known: SPIRE's plugins by type.
    """

    def __init__(
        self, daemon: str, types: Mapping[str, type], known: Mapping[str, frozenset[str]]
    ) -> None:
        self._daemon = daemon
        self._types = types
        self._known = known

    def make(
        self,
        configs: Iterable[PluginConfig],
        trust_domain: TrustDomain,
        trust_bundle: Watch[Bundle] | None = None,
    ) -> tuple[list[Made], list[ConfigWarning]]:
        """All enabled plugins, configured, in the order of the file; and what to warn of.

        Nothing is opened. Only these plugins' modules are imported.

        Args:
            configs: the blocks of the file.
            trust_domain: the daemon's own.
            trust_bundle: for the plugins of a server that runs.

        Raises:
            ConfigProblems: some cannot be had or configured; all of them are told.
        """
        made: list[Made] = []
        problems: list[Problem] = []
        warnings: list[ConfigWarning] = []
        for config in configs:
            if not config.enabled:
                continue
            context = PluginContext(trust_domain, trust_bundle=trust_bundle)
            try:
                made.append(Made(config, self._make(config, context)))
            except SpireError as error:
                problems.append(_problem(str(error), config))
            warnings.extend(
                ConfigWarning(f"{config}: {note}", None if _LINE.search(note) else config.line)
                for note in context.warnings
            )
        if problems:
            raise ConfigProblems(problems, warnings)
        return made, warnings

    def _make(self, config: PluginConfig, context: PluginContext) -> Plugin:
        factory = self._factory(config)
        try:
            plugin = factory(config.data, context)
        except SpireError as error:
            raise InvalidArgument(f'failed to configure plugin "{config.name}": {error}') from error
        wanted = self._types[config.type]
        if not isinstance(plugin, wanted):
            raise InvalidArgument(
                f'failed to bind plugin "{config.name}": expected a {wanted.__name__}, '
                f"got a {type(plugin).__name__}"
            )
        return cast("Plugin", plugin)

    def _factory(self, config: PluginConfig) -> PluginFactory:
        failed = f'failed to load plugin "{config.name}": '
        if config.is_external:
            raise NotFound(
                f"{failed}external plugins (plugin_cmd) are not available in this release"
            )
        found = self._entry_points(config.type)
        if config.name not in found:
            raise NotFound(failed + self._missing(config, sorted(found)))
        points = found[config.name]
        if len(points) > 1:
            origins = ", ".join(sorted(point.value for point in points))
            raise InvalidArgument(f"{failed}several packages bring it: {origins}")
        try:
            factory = points[0].load()
        except (ImportError, AttributeError) as error:
            raise InvalidArgument(f"{failed}{error}") from error
        if not isinstance(factory, PluginFactory):
            raise InvalidArgument(f"{failed}{points[0].value} cannot be called")
        return factory

    def _entry_points(self, plugin_type: str) -> dict[str, list[EntryPoint]]:
        if plugin_type not in self._types:
            return {}
        found: dict[str, dict[str, EntryPoint]] = {}
        group = f"spire_py.{self._daemon}.{_snake_case(plugin_type)}"
        for point in entry_points(group=group):
            # One package may be seen twice, as with an editable install.
            found.setdefault(point.name, {})[point.value] = point
        return {name: list(points.values()) for name, points in found.items()}

    def _missing(self, config: PluginConfig, available: list[str]) -> str:
        there_are = f"available are {', '.join(available)}" if available else "there is none yet"
        if config.name in self._known.get(config.type, frozenset()):
            return f"{config} is not available in this release of spire-py; {there_are}"
        return (
            f'no built-in plugin "{config.name}" for type "{config.type}"; {there_are}, '
            "and no installed package brings it"
        )


def _problem(message: str, config: PluginConfig) -> Problem:
    return Problem(message, None if _LINE.search(message) else config.line)


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
