from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from spire_py.config.hcl import parse
from spire_py.config.plugins import (
    PluginConfig,
    check_agent_plugins,
    check_server_plugins,
    read_plugins,
)
from spire_py.config.problems import ConfigWarning, Problem


def read(text: str) -> tuple[tuple[PluginConfig, ...], list[str], list[str]]:
    problems: list[Problem] = []
    warnings: list[ConfigWarning] = []
    plugins = read_plugins(parse(text).get("plugins"), problems, warnings)
    return plugins, [str(one) for one in problems], [str(one) for one in warnings]


EXTERNAL = {
    "plugin_cmd": "/bin/tpm",
    "plugin_checksum": "ab12",
    "plugin_args": ("-x",),
    "enabled": False,
}


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(
            'plugins {\nKeyManager "disk" { plugin_data { keys_path = "k" } }\n'
            'NodeAttestor "tpm" { plugin_cmd = "/bin/tpm" plugin_checksum = "ab12" '
            'plugin_args = ["-x"] enabled = false plugin_data = {} } }',
            id="labels",
        ),
        pytest.param(
            'plugins {\nKeyManager { disk { plugin_data = { keys_path = "k" } } }\n'
            'NodeAttestor { "tpm" { plugin_cmd = "/bin/tpm" plugin_checksum = "ab12" '
            'plugin_args = ["-x"] enabled = false } } }',
            id="nested blocks",
        ),
        pytest.param(
            '{"plugins": {\n"KeyManager": {"disk": {"plugin_data": {"keys_path": "k"}}},\n'
            '"NodeAttestor": {"tpm": {"plugin_cmd": "/bin/tpm", "plugin_checksum": "ab12",'
            '"plugin_args": ["-x"], "enabled": false}}}}',
            id="JSON objects",
        ),
        pytest.param(
            '{"plugins": [{\n"KeyManager": [{"disk": [{"plugin_data": [{"keys_path": "k"}]}]}]},\n'
            '{"NodeAttestor": [{"tpm": {"plugin_cmd": "/bin/tpm", "plugin_checksum": "ab12",'
            '"plugin_args": ["-x"], "enabled": false}}]}]}',
            id="JSON lists",
        ),
    ],
)
def test_every_form_of_block_is_read(text: str) -> None:
    (disk, tpm), problems, warnings = read(text)
    assert (disk.type, disk.name, disk.data, disk.line) == (
        "KeyManager",
        "disk",
        {"keys_path": "k"},
        2,
    )
    assert disk.enabled
    assert not disk.is_external
    assert (tpm.type, tpm.name, tpm.data, tpm.line) == ("NodeAttestor", "tpm", {}, 3)
    assert {key: getattr(tpm, key) for key in EXTERNAL} == EXTERNAL
    assert tpm.is_external
    assert problems == []
    assert warnings == []


def test_data_is_not_shown() -> None:
    (plugin,), _, _ = read('plugins { KeyManager "x" { plugin_data { secret = "hunter2" } } }')
    assert "hunter2" not in f"{plugin!r} {plugin}"


def test_data_may_lie_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "data").write_text('keys_path = "k"')
    (plugin,), problems, _ = read(
        f'plugins {{ KeyManager "disk" {{ plugin_data_file = "{tmp_path}/data" }} }}'
    )
    assert (plugin.data, problems) == ({"keys_path": "k"}, [])


def test_data_in_a_file_is_utf_8_whatever_the_locale(tmp_path: Path) -> None:
    (tmp_path / "data").write_text('keys_path = "schlüssel"', encoding="utf-8")
    text = f'plugins {{ KeyManager "disk" {{ plugin_data_file = "{tmp_path}/data" }} }}'
    program = (
        "import sys; from tests.unit.config.test_plugins import read; "
        "print(ascii(read(sys.argv[1])[0][0].data))"
    )
    done = subprocess.run(
        (sys.executable, "-X", "utf8=0", "-c", program, text),
        env={**os.environ, "LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0"},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == "{'keys_path': 'schl\\xfcssel'}\n"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param(
            'plugins {\nA "x" {}\nA "x" {}\n}',
            'plugin "A"/"x" declared more than once (line 3)',
            id="twice",
        ),
        pytest.param("plugins { A = 1 }", "plugins.A: expected a block", id="type is a number"),
        pytest.param(
            'plugins { A "x" { plugin_data = 1 } }',
            'A "x": plugin_data: expected a block (line 1)',
            id="data is a number",
        ),
        pytest.param(
            'plugins { A "x" { enabled = "yes" } }',
            'A "x": enabled: expected true or false (line 1)',
            id="enabled is a text",
        ),
        pytest.param(
            'plugins { A "x" {\nplugin_args = [1] } }',
            'A "x": plugin_args: expected a list of texts (line 2)',
            id="args are numbers",
        ),
        pytest.param(
            'plugins { A "x" { plugin_data {} plugin_data_file = "f" } }',
            'failed to create plugin config for "A"/"x": '
            "only one of [plugin_data, plugin_data_file] can be used (line 1)",
            id="data twice",
        ),
        pytest.param(
            'plugins { A "x" { plugin_data_file = "/nonexistent" } }',
            'A "x": plugin_data_file: No such file or directory (line 1)',
            id="no file",
        ),
    ],
)
def test_fault_is_told_with_its_line(text: str, problem: str) -> None:
    _, problems, _ = read(text)
    assert problem in problems


def test_unknown_key_of_a_block_is_a_warning() -> None:
    _, problems, warnings = read('plugins {\nA "x" {\n plugindata {}\n}\n}')
    assert problems == []
    assert warnings == [
        (
            'unknown configuration detected: "plugindata" in A "x"; known are plugin_cmd, '
            "plugin_args, plugin_checksum, plugin_data, plugin_data_file, enabled (line 3)"
        )
    ]


SQL = PluginConfig("DataStore", "sql")
MEMORY = PluginConfig("KeyManager", "memory")


@pytest.mark.parametrize(
    ("plugins", "problems"),
    [
        pytest.param((SQL, MEMORY), [], id="just enough"),
        pytest.param((MEMORY,), ["expecting a DataStore plugin"], id="no datastore"),
        pytest.param(
            (SQL, SQL, MEMORY), ["only one DataStore plugin is allowed"], id="two datastores"
        ),
        pytest.param(
            (PluginConfig("DataStore", "etcd"), MEMORY),
            [
                (
                    "pluggability for the DataStore is deprecated; "
                    'only the built-in "sql" plugin is supported'
                )
            ],
            id="other datastore",
        ),
        pytest.param(
            (SQL,),
            ['plugin type "KeyManager" constraint not satisfied: expected exactly 1 but got 0'],
            id="no key manager",
        ),
        pytest.param(
            (SQL, MEMORY, PluginConfig("KeyManager", "disk")),
            ['plugin type "KeyManager" constraint not satisfied: expected exactly 1 but got 2'],
            id="two key managers",
        ),
        pytest.param(
            (SQL, MEMORY, PluginConfig("KeyManager", "disk", enabled=False)), [], id="disabled"
        ),
        pytest.param(
            (SQL, MEMORY, *(PluginConfig("UpstreamAuthority", name) for name in ("disk", "vault"))),
            [
                (
                    'plugin type "UpstreamAuthority" constraint not satisfied: '
                    "expected at most 1 but got 2"
                )
            ],
            id="two upstream authorities",
        ),
        pytest.param(
            (SQL, MEMORY, PluginConfig("NodeResolver", "x", line=7)),
            [
                (
                    'unsupported plugin type "NodeResolver"; known are BundlePublisher, '
                    "CredentialComposer, "
                    "KeyManager, NodeAttestor, Notifier, UpstreamAuthority (line 7)"
                )
            ],
            id="unknown type",
        ),
        pytest.param(
            (SQL, MEMORY, PluginConfig("NodeAttestor", "join_token", plugin_cmd="x")),
            ["the built-in join_token node attestor cannot be overridden by an external plugin"],
            id="external join token",
        ),
    ],
)
def test_what_a_server_needs(plugins: tuple[PluginConfig, ...], problems: list[str]) -> None:
    assert [str(problem) for problem in check_server_plugins(plugins)] == problems


def test_what_an_agent_needs() -> None:
    assert [str(problem) for problem in check_agent_plugins(())] == [
        'plugin type "KeyManager" constraint not satisfied: expected exactly 1 but got 0',
        'plugin type "NodeAttestor" constraint not satisfied: expected exactly 1 but got 0',
        'plugin type "WorkloadAttestor" constraint not satisfied: expected at least 1 but got 0',
    ]
