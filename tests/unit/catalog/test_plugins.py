from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from spire_py.catalog import (
    check_agent_plugins,
    check_server_plugins,
    load_agent_plugins,
    load_server_plugins,
)
from spire_py.config.agent import AgentConfig, read_agent_config
from spire_py.config.hcl import parse
from spire_py.config.problems import ConfigProblems
from spire_py.config.server import ServerConfig, read_server_config
from spire_py.telemetry.logs import configure_logging

from .conftest import InstallPlugins

SERVER = 'server { trust_domain = "example.org" data_dir = "/d" }\n'
STORE = 'DataStore "sql" { plugin_data { database_type = "sqlite3" connection_string = "x" } }'
AGENT = (
    'agent { trust_domain = "example.org" server_address = "s" server_port = 1 '
    "insecure_bootstrap = true }\n"
)

ENTRY_POINTS = """
[spire_py.server.key_manager]
test_keys = keys_plugin:configure
[spire_py.server.node_attestor]
test_nodes = keys_plugin:configure_node_attestor
broken = keys_plugin:nothing
wrong = keys_plugin:wrong
number = keys_plugin:NUMBER
unimportable = no_such_module_of_ours:configure
[spire_py.agent.key_manager]
test_keys = keys_plugin:configure
[spire_py.agent.node_attestor]
test_nodes = keys_plugin:configure_agent
[spire_py.agent.workload_attestor]
one = keys_plugin:configure_workload
two = keys_plugin:configure_workload
"""

CODE = """
from spire_py.errors import InvalidArgument
from spire_py.plugin_api.key_manager import KeyManager
from spire_py.plugin_api.node_attestor import AgentNodeAttestor, ServerNodeAttestor
from spire_py.plugin_api.workload_attestor import WorkloadAttestor

NUMBER = 5
CLOSED = []

class Closing:
    async def aclose(self):
        CLOSED.append(type(self).__name__)

class Keys(Closing, KeyManager):
    async def generate_key(self, key_id, key_type): ...
    async def get_keys(self): return {}

class Nodes(Closing, ServerNodeAttestor):
    async def attest(self, payload, challenge): ...

class AgentNodes(Closing, AgentNodeAttestor):
    type = "test_nodes"
    async def payload(self): return b""
    async def respond(self, challenge): return b""

class Workloads(Closing, WorkloadAttestor):
    async def attest(self, pid): return ()

def configure(data, context):
    if "path" not in data:
        raise InvalidArgument("path is required")
    if "extra" in data:
        context.warnings.append('unknown setting "extra" encountered')
    keys = Keys()
    keys.data, keys.trust_domain = data, context.trust_domain
    return keys

def configure_node_attestor(data, context): return Nodes()
def configure_agent(data, context): return AgentNodes()
def configure_workload(data, context): return Workloads()
def wrong(data, context): return object()
"""


def server(plugins: str) -> ServerConfig:
    return read_server_config(parse(f"{SERVER}plugins {{ {STORE}\n{plugins}\n}}"))


def agent(plugins: str) -> AgentConfig:
    return read_agent_config(parse(f"{AGENT}plugins {{\n{plugins}\n}}"))


KEYS = 'KeyManager "test_keys" { plugin_data { path = "p" } }'


@pytest.fixture(autouse=True)
def _installed(install: InstallPlugins) -> None:
    install("keys_plugin", ENTRY_POINTS, CODE)


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    configure_logging(stream=stream)
    yield stream
    configure_logging(stream=io.StringIO())


async def test_server_has_its_plugins_and_closes_them_in_reverse(lines: io.StringIO) -> None:
    config = server(KEYS + '\nNodeAttestor "test_nodes" {}')
    async with load_server_plugins(config) as plugins:
        module = sys.modules["keys_plugin"]
        assert type(plugins.key_manager).__name__ == "Keys"
        assert plugins.key_manager.data == {"path": "p"}  # type: ignore[attr-defined]
        assert str(plugins.key_manager.trust_domain) == "example.org"  # type: ignore[attr-defined]
        assert list(plugins.node_attestors) == ["test_nodes"]
        assert module.CLOSED == []
    assert module.CLOSED == ["Nodes", "Keys"]
    assert (
        'level=info msg="Plugin loaded" external=false plugin_name=test_keys '
        "plugin_type=KeyManager subsystem_name=catalog"
    ) in lines.getvalue()


async def test_agent_has_its_plugins_in_the_order_of_the_file() -> None:
    config = agent(
        KEYS + 'NodeAttestor "test_nodes" {}\nWorkloadAttestor "two" {}\nWorkloadAttestor "one" {}'
    )
    async with load_agent_plugins(config) as plugins:
        assert plugins.node_attestor.type == "test_nodes"
        assert list(plugins.workload_attestors) == ["two", "one"]
        assert (plugins.key_manager_name, plugins.node_attestor_name) == ("test_keys", "test_nodes")


async def test_plugins_are_closed_when_the_daemon_breaks() -> None:
    with pytest.raises(RuntimeError, match="broken"):
        async with load_server_plugins(server(KEYS)):
            raise RuntimeError("broken")
    assert sys.modules["keys_plugin"].CLOSED == ["Keys"]


def test_only_what_is_configured_is_imported(install: InstallPlugins) -> None:
    install(
        "other_plugin",
        "[spire_py.server.key_manager]\nother = other_plugin:configure\n",
        "raise AssertionError('imported')",
    )
    check_server_plugins(server(KEYS + '\nKeyManager "other" { enabled = false }'))
    assert "other_plugin" not in sys.modules


def test_check_gives_the_warnings_with_their_line() -> None:
    config = server('KeyManager "test_keys" { plugin_data { path = "p" extra = 1 } }')
    assert check_server_plugins(config) == [
        'KeyManager "test_keys": unknown setting "extra" encountered (line 3)'
    ]
    assert (
        check_agent_plugins(agent(KEYS + 'NodeAttestor "test_nodes" {} WorkloadAttestor "one" {}'))
        == []
    )


@pytest.mark.parametrize(
    ("plugin", "message"),
    [
        pytest.param(
            'NodeAttestor "aws_iid" {}',
            'failed to load plugin "aws_iid": NodeAttestor "aws_iid" is not available in this '
            "release of spire-py; available are ",
            id="a plugin of SPIRE",
        ),
        pytest.param(
            'CredentialComposer "uniqueid" {}',
            'failed to load plugin "uniqueid": CredentialComposer "uniqueid" is not available in '
            "this release of spire-py; there is none yet (line 4)",
            id="a type of SPIRE",
        ),
        pytest.param(
            'NodeAttestor "k8s_past" {}',
            'failed to load plugin "k8s_past": no built-in plugin "k8s_past" for type '
            '"NodeAttestor"; available are ',
            id="unknown",
        ),
        pytest.param(
            'NodeAttestor "tpm" { plugin_cmd = "/bin/tpm" }',
            'failed to load plugin "tpm": external plugins (plugin_cmd) are not available in this '
            "release (line 4)",
            id="external",
        ),
        pytest.param(
            'NodeAttestor "broken" {}', 'failed to load plugin "broken": ', id="no such function"
        ),
        pytest.param(
            'NodeAttestor "unimportable" {}',
            "failed to load plugin \"unimportable\": No module named 'no_such_module_of_ours'",
            id="no such module",
        ),
        pytest.param(
            'NodeAttestor "number" {}',
            'failed to load plugin "number": keys_plugin:NUMBER cannot be called',
            id="no function",
        ),
        pytest.param(
            'NodeAttestor "wrong" {}',
            'failed to bind plugin "wrong": expected a ServerNodeAttestor, got a object (line 4)',
            id="of another type",
        ),
    ],
)
def test_plugin_that_cannot_be_had_is_refused(plugin: str, message: str) -> None:
    with pytest.raises(ConfigProblems) as error:
        check_server_plugins(server(KEYS + "\n" + plugin))
    assert message in str(error.value)


def test_all_faults_are_told_at_once() -> None:
    config = server('KeyManager "test_keys" {}\nNodeAttestor "gcp_iit" {}')
    with pytest.raises(ConfigProblems) as error:
        check_server_plugins(config)
    first, second = str(error.value).splitlines()
    assert first == 'failed to configure plugin "test_keys": path is required (line 3)'
    assert "gcp_iit" in second


def test_plugin_that_two_packages_bring_is_refused(install: InstallPlugins) -> None:
    install("rival", "[spire_py.server.key_manager]\ntest_keys = rival:configure\n", "")
    with pytest.raises(ConfigProblems) as error:
        check_server_plugins(server(KEYS))
    assert "several packages bring it: keys_plugin:configure, rival:configure" in str(error.value)


def test_printed_configs_find_their_plugins() -> None:
    text = (Path(__file__).parents[2] / "data" / "configs" / "istio-server.conf").read_text()
    of_server, *of_agent = check_server_plugins(read_server_config(parse(text)))
    assert "service_account_allow_list" in of_server
    # What is odd in the agent's plugins that this server's file has is told as well.
    assert [each.partition(":")[0] for each in of_agent] == [
        'WorkloadAttestor "k8s"',
        'WorkloadAttestor "docker"',
    ]


def test_a_faulty_plugin_of_the_agent_is_no_fault_of_the_servers_file() -> None:
    faulty = 'WorkloadAttestor "k8s" { plugin_data { kubelet_secure_port = "x" nobody = 1 } }'
    (warning,) = check_server_plugins(server(KEYS + faulty))
    assert 'unknown setting "nobody"' in warning
