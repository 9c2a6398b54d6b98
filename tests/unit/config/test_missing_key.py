"""One missing key is one fault: the blocks beside it are not lost with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from spire_py.config.problems import ConfigProblems
from spire_py.config.server import load_server_config

_FILE = """
server {
  trust_domain = "example.org"
}
plugins {
  DataStore "sql" { plugin_data { database_type = "sqlite3" connection_string = "x" } }
  KeyManager "memory" { plugin_data {} }
  NodeAttestor "join_token" { plugin_data {} }
}
"""


def test_a_missing_data_dir_hides_no_plugins(tmp_path: Path) -> None:
    path = tmp_path / "server.conf"
    path.write_text(_FILE)
    with pytest.raises(ConfigProblems) as raised:
        load_server_config(path)
    assert str(raised.value) == "data_dir must be configured"
