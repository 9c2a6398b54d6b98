"""A server's file as tests write it."""

from __future__ import annotations

from typing import Any

import pytest

from spire_py.config.hcl import parse
from spire_py.config.problems import ConfigProblems
from spire_py.config.server import (
    ServerConfig,
    read_server_config,
)

PLUGINS = """
plugins {
  DataStore "sql" { plugin_data { database_type = "sqlite3" connection_string = "x.db" } }
  KeyManager "memory" { plugin_data {} }
}
"""


def read(server: str = "", rest: str = "", plugins: str = PLUGINS, **options: Any) -> ServerConfig:
    """A server whose required keys are given on line 1, and `server` from line 2 on."""
    text = f'server {{ trust_domain = "example.org" data_dir = "/data"\n{server}\n}}\n'
    return read_server_config(parse(text + rest + plugins), **options)


def problems(server: str = "", rest: str = "", plugins: str = PLUGINS) -> list[str]:
    with pytest.raises(ConfigProblems) as error:
        read(server, rest, plugins)
    return [str(problem) for problem in error.value.problems]


def warnings(server: str = "", rest: str = "") -> list[str]:
    return [str(warning) for warning in read(server, rest).warnings]
