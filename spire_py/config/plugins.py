"""Plugin blocks (features B10 to B13)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spire_py.config.files import read_text
from spire_py.config.hcl import parse
from spire_py.config.problems import ConfigWarning, Problem
from spire_py.config.tree import Table, Value, is_block, merge
from spire_py.errors import InvalidArgument

SERVER_TYPES: Mapping[str, tuple[int, int]] = {
    "BundlePublisher": (0, 0),
    "CredentialComposer": (0, 0),
    "KeyManager": (1, 1),
    "NodeAttestor": (0, 0),
    "Notifier": (0, 0),
    "UpstreamAuthority": (0, 1),
}
"""The server's plugin types, with how many there must and may be; 0 for no limit."""

AGENT_TYPES: Mapping[str, tuple[int, int]] = {
    "KeyManager": (1, 1),
    "NodeAttestor": (1, 1),
    "SVIDStore": (0, 0),
    "WorkloadAttestor": (1, 0),
}

_KEYS: Mapping[str, type | None] = {
    "plugin_cmd": str,
    "plugin_args": list,
    "plugin_checksum": str,
    "plugin_data": None,
    "plugin_data_file": str,
    "enabled": bool,
}


@dataclass(frozen=True, slots=True)
class PluginConfig:
    """One plugin block. `data` may hold secrets and is not shown."""

    type: str
    name: str
    data: Mapping[str, Any] = field(default_factory=Table, repr=False)
    line: int | None = None
    enabled: bool = True
    plugin_cmd: str = ""
    plugin_checksum: str = ""
    plugin_args: tuple[str, ...] = ()
    plugin_data_file: str = ""

    @property
    def is_external(self) -> bool:
        """Whether the plugin is a program of its own (feature B11)."""
        return bool(self.plugin_cmd)

    def __str__(self) -> str:
        return f'{self.type} "{self.name}"'


def read_plugins(
    value: Value, problems: list[Problem], warnings: list[ConfigWarning]
) -> tuple[PluginConfig, ...]:
    """All plugin blocks, in the order of the file within each type.

    Takes `Type "name" { … }`, nested blocks, and JSON's objects or lists of them.
    """
    configs: list[PluginConfig] = []
    for plugin_type, names, line in _entries(value, "plugins", problems):
        for name, body, name_line in _entries(names, f"plugins.{plugin_type}", problems):
            if any(known.type == plugin_type and known.name == name for known in configs):
                problems.append(
                    Problem(f'plugin "{plugin_type}"/"{name}" declared more than once', name_line)
                )
                continue
            config = _plugin(plugin_type, name, body, name_line or line, problems)
            if config is None:
                continue
            configs.append(config)
            warnings.extend(_unknown_keys(config, body))
    return tuple(configs)


def _entries(
    value: Value, where: str, problems: list[Problem]
) -> Iterator[tuple[str, Value, int | None]]:
    """The keys of a block that may be a list of blocks; a key may come twice."""
    if value == [] or value is None:
        return
    if not is_block(value):
        problems.append(Problem(f"{where}: expected a block"))
        return
    gathered: dict[str, list[tuple[Value, int | None]]] = {}
    for part in value if isinstance(value, list) else [value]:
        for key, item in part.items():
            line = part.lines.get(key) if isinstance(part, Table) else None
            gathered.setdefault(key, []).append((item, line))
    for key, items in gathered.items():
        for item, line in items:
            yield key, item, line


def _plugin(
    plugin_type: str, name: str, body: Value, line: int | None, problems: list[Problem]
) -> PluginConfig | None:
    title = f'{plugin_type} "{name}"'
    try:
        table = merge(body)
    except InvalidArgument as error:
        problems.append(Problem(f"{title}: {error}", line))
        return None
    before = len(problems)
    if table.get("plugin_data") is not None and table.get("plugin_data_file") is not None:
        problems.append(
            Problem(
                f'failed to create plugin config for "{plugin_type}"/"{name}": '
                "only one of [plugin_data, plugin_data_file] can be used",
                line,
            )
        )
    for key, kind in _KEYS.items():
        if key in table and kind and not _is(table[key], kind):
            wanted = {bool: "true or false", str: "a text", list: "a list of texts"}[kind]
            problems.append(
                Problem(f"{title}: {key}: expected {wanted}", table.lines.get(key, line))
            )
    config = PluginConfig(
        type=plugin_type,
        name=name,
        data=_data(table, title, line, problems),
        line=line,
        enabled=table.get("enabled") is not False,
        plugin_cmd=table.get("plugin_cmd", ""),
        plugin_checksum=table.get("plugin_checksum", ""),
        plugin_args=tuple(table["plugin_args"]) if _is(table.get("plugin_args"), list) else (),
        plugin_data_file=table.get("plugin_data_file", ""),
    )
    return config if len(problems) == before else None


def _is(value: Value, kind: type) -> bool:
    items_fit = not isinstance(value, list) or all(isinstance(item, str) for item in value)
    return isinstance(value, kind) and items_fit


def _unknown_keys(config: PluginConfig, body: Value) -> Iterator[ConfigWarning]:
    """SPIRE overlooks unknown keys of a plugin block; so do we, but say so."""
    table = merge(body)
    for key in table:
        if key not in _KEYS:
            yield ConfigWarning(
                f'unknown configuration detected: "{key}" in {config}; '
                f"known are {', '.join(_KEYS)}",
                table.lines.get(key, config.line),
            )


def _data(table: Table, title: str, line: int | None, problems: list[Problem]) -> Table:
    """The plugin's data, from the block or from the file that it names (feature B12)."""
    file = table.get("plugin_data_file")
    try:
        if isinstance(file, str) and file:
            return parse(read_text(Path(file)))
        data = merge(table.get("plugin_data") or [])
        if data.line is None:
            data.line = line
        return data
    except OSError as error:
        problems.append(Problem(f"{title}: plugin_data_file: {error.strerror}", line))
    except (InvalidArgument, UnicodeDecodeError) as error:
        key = "plugin_data_file" if file else "plugin_data"
        problems.append(Problem(f"{title}: {key}: {error}", line))
    return Table(line)


def drop_agent_plugins(
    plugins: tuple[PluginConfig, ...], warnings: list[ConfigWarning]
) -> tuple[PluginConfig, ...]:
    """The server's plugins; an agent's in the server's file are left out with a warning.

    Guides print them there. SPIRE refuses the type.
    """
    kept = []
    for plugin in plugins:
        if plugin.type in AGENT_TYPES and plugin.type not in SERVER_TYPES:
            warnings.append(
                ConfigWarning(
                    f"{plugin} is ignored: it is a plugin of the agent and belongs into the "
                    "agent's file",
                    plugin.line,
                )
            )
        else:
            kept.append(plugin)
    return tuple(kept)


def check_server_plugins(plugins: tuple[PluginConfig, ...]) -> Iterator[Problem]:
    """Feature B13 for the server, in SPIRE's words."""
    stores = [plugin for plugin in plugins if plugin.type == "DataStore"]
    if not stores:
        yield Problem("expecting a DataStore plugin")
    elif len(stores) > 1:
        yield Problem("only one DataStore plugin is allowed", stores[1].line)
    elif stores[0].name != "sql" or stores[0].is_external:
        yield Problem(
            "pluggability for the DataStore is deprecated; "
            'only the built-in "sql" plugin is supported',
            stores[0].line,
        )
    yield from _check_types(
        tuple(plugin for plugin in plugins if plugin.type != "DataStore"), SERVER_TYPES
    )


def check_agent_plugins(plugins: tuple[PluginConfig, ...]) -> Iterator[Problem]:
    """Feature B13 for the agent, in SPIRE's words."""
    yield from _check_types(plugins, AGENT_TYPES)


def _check_types(
    plugins: tuple[PluginConfig, ...], types: Mapping[str, tuple[int, int]]
) -> Iterator[Problem]:
    for plugin in plugins:
        if plugin.type not in types:
            yield Problem(
                f'unsupported plugin type "{plugin.type}"; known are {", ".join(types)}',
                plugin.line,
            )
        elif plugin.type == "NodeAttestor" and plugin.name == "join_token" and plugin.is_external:
            yield Problem(
                "the built-in join_token node attestor cannot be overridden by an external plugin",
                plugin.line,
            )
    counts = Counter(plugin.type for plugin in plugins if plugin.enabled)
    for plugin_type, (least, most) in types.items():
        fault = _count_fault(counts[plugin_type], least, most)
        if fault:
            yield Problem(f'plugin type "{plugin_type}" constraint not satisfied: {fault}')


def _count_fault(count: int, least: int, most: int) -> str:
    if most and least == most and count != least:
        return f"expected exactly {least} but got {count}"
    if count < least:
        return f"expected at least {least} but got {count}"
    if most and count > most:
        return f"expected at most {most} but got {count}"
    return ""
