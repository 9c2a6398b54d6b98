"""`run` and `validate`: what they refuse, in one clear line; how `run` ends (E1, E2, F1, F2)."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.cli.commands import Outcome, command
from tests.integration.daemons import OURS, Process, Stack, free_port, new_stack, run, stack_folder

SERVER = """
server {{
  trust_domain = "example.org"
  data_dir = "{folder}/data"
  bind_address = "127.0.0.1"
  bind_port = {port}
  socket_path = "{folder}/server.sock"
}}
plugins {{
  DataStore "sql" {{
    plugin_data {{ database_type = "sqlite3" connection_string = "{folder}/data/db.sqlite3" }}
  }}
  KeyManager "disk" {{ plugin_data {{ keys_path = "{folder}/data/keys.json" }} }}
  NodeAttestor "join_token" {{ plugin_data {{}} }}
}}
"""
AGENT = """
agent {{
  trust_domain = "example.org"
  data_dir = "{folder}/data"
  server_address = "127.0.0.1"
  server_port = {port}
  socket_path = "{folder}/agent.sock"
  trust_bundle_path = "{folder}/bundle.pem"
}}
plugins {{
  KeyManager "memory" {{ plugin_data {{}} }}
  NodeAttestor "join_token" {{ plugin_data {{}} }}
  WorkloadAttestor "unix" {{ plugin_data {{}} }}
}}
"""
TEXTS = {"server": SERVER, "agent": AGENT}


@dataclass(frozen=True)
class Case:
    """A configuration in its own folder."""

    daemon: str
    folder: Path
    port: int

    @property
    def path(self) -> Path:
        return self.folder / f"{self.daemon}.conf"

    def write(self, old: str = "", new: str = "") -> None:
        text = TEXTS[self.daemon]
        assert old in text
        text = text.replace(old, new, 1) if old else text
        self.path.write_text(text.format(folder=self.folder, port=self.port))

    def validate(self) -> Outcome:
        return command(f"spire-{self.daemon}", "validate", "-config", str(self.path))

    def run(self, *words: str) -> Outcome:
        """Start it as a process, which must end by itself."""
        done = run(*OURS, self.daemon, "run", "-config", str(self.path), *words)
        assert "Traceback" not in done.stdout + done.stderr
        return Outcome(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def server() -> Iterator[Case]:
    with stack_folder() as folder:
        case = Case("server", folder, free_port())
        case.write()
        yield case


@pytest.fixture
def agent() -> Iterator[Case]:
    with stack_folder() as folder:
        case = Case("agent", folder, free_port())
        case.write()
        yield case


@pytest.mark.parametrize("daemon", ["server", "agent"])
def test_a_good_configuration_is_valid(daemon: str, request: pytest.FixtureRequest) -> None:
    case: Case = request.getfixturevalue(daemon)
    assert case.validate() == Outcome(0, f"SPIRE {daemon} configuration file is valid.\n", "")


def test_an_unknown_key_of_a_plugin_is_a_warning(server: Case) -> None:
    server.write("keys_path", 'nonsense = "x" keys_path')
    checked = server.validate()
    assert (checked.code, checked.out) == (0, "SPIRE server configuration file is valid.\n")
    assert re.fullmatch(r'warning: KeyManager "disk": .*"nonsense".* \(line 13\)\n', checked.err)


BAD_SERVERS = [
    pytest.param('trust_domain = "example.org"', "", "trust_domain must be configured", id="td"),
    pytest.param(
        '"example.org"',
        '"Example org!"',
        'could not parse trust_domain "Example org!": trust domain characters are limited to '
        "lowercase letters, numbers, dots, dashes, and underscores (line 3)",
        id="bad trust domain",
    ),
    pytest.param('data_dir = "{folder}/data"', "", "data_dir must be configured", id="data_dir"),
    pytest.param(
        "data_dir",
        'ca_ttl = "24 hours"\ndata_dir',
        'could not parse default CA ttl "24 hours": '
        'time: unknown unit " hours" in duration "24 hours" (line 4)',
        id="TTL",
    ),
    pytest.param(
        "data_dir",
        'log_level = "LOUD"\ndata_dir',
        'could not start logger: not a valid logrus Level: "LOUD" (line 4)',
        id="log level",
    ),
    pytest.param(
        "data_dir",
        'ca_key_type = "dsa"\ndata_dir',
        'error parsing ca_key_type: key type "dsa" is unknown; '
        "must be one of [rsa-2048, rsa-4096, ec-p256, ec-p384] (line 4)",
        id="key type",
    ),
    pytest.param(
        "bind_port",
        "bind_prt = 1\nbind_port",
        'unknown configuration detected: "bind_prt" in server; did you mean "bind_port"? (line 6)',
        id="unknown key",
    ),
]


@pytest.mark.parametrize(("old", "new", "message"), BAD_SERVERS)
def test_run_and_validate_find_the_same_fault(
    server: Case, old: str, new: str, message: str
) -> None:
    server.write(old, new)
    invalid = f"SPIRE server configuration file is invalid: {message}\n"
    assert server.validate() == Outcome(1, "", invalid)
    assert command("spire-server", "run", "-config", str(server.path)) == Outcome(
        1, "", f"{message}\n"
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        pytest.param(
            'NodeAttestor "join_token"',
            'NodeAttestor "nope"',
            'failed to load plugin "nope": no built-in plugin "nope" for type "NodeAttestor"',
            id="unknown plugin",
        ),
        pytest.param(
            'NodeAttestor "join_token"',
            'NoSuchType "join_token"',
            'unsupported plugin type "NoSuchType"',
            id="unknown type of plugin",
        ),
        pytest.param(
            'DataStore "sql"', 'Notifier "sql"', "expecting a DataStore plugin", id="no datastore"
        ),
        pytest.param(
            'database_type = "sqlite3"',
            'database_type = "oracle"',
            "datastore-sql: unsupported database_type: oracle",
            id="unknown database",
        ),
    ],
)
def test_a_plugin_that_cannot_be_had_stops_the_start(
    server: Case, old: str, new: str, message: str
) -> None:
    server.write(old, new)
    checked = server.validate()
    assert checked.code == 1
    assert checked.err.startswith(f"SPIRE server configuration file is invalid: {message}")
    started = server.run()
    assert started.code == 1
    assert message in started.err


def test_all_faults_are_told_at_once(agent: Case) -> None:
    agent.path.write_text("agent {\n  log_level = 5\n  colour = 1\n}\n")
    lines = agent.validate().err.splitlines()
    assert lines[0] == "SPIRE agent configuration file is invalid: trust_domain must be configured"
    assert len(lines) >= 5
    assert any('"colour" in agent' in line and line.endswith("(line 3)") for line in lines)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b'server {\n  data_dir = "x\n}', "line 2: ", id="open text"),
        pytest.param(b"server {", "line 1: ", id="open block"),
        pytest.param(b"server { a = " + b"[" * 100_000, "line 1: ", id="deep"),
        pytest.param(b'{"server": {"data_dir": }}', "line 1: ", id="JSON"),
        pytest.param(b"\xff\xfe\x00", "it is no text in UTF-8", id="no text"),
    ],
)
def test_a_file_that_is_no_configuration_is_named(
    server: Case, content: bytes, message: str
) -> None:
    server.path.write_bytes(content)
    reason = f'unable to decode configuration at "{server.path}": {message}'
    checked = server.validate()
    assert checked.code == 1
    assert checked.err.startswith(f"SPIRE server configuration file is invalid: {reason}")
    assert checked.err.count("\n") == 1
    started = command("spire-server", "run", "-config", str(server.path))
    assert started.err.startswith(reason)


@pytest.mark.parametrize("daemon", ["server", "agent"])
def test_a_missing_file_is_named(
    daemon: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = f"{tmp_path}/conf/{daemon}/{daemon}.conf"
    reason = f"could not find config file {path}: please use the -config flag\n"
    assert command(f"spire-{daemon}", "run") == Outcome(1, "", reason)
    invalid = f"SPIRE {daemon} configuration file is invalid: {reason}"
    assert command(f"spire-{daemon}", "validate") == Outcome(1, "", invalid)


def test_flags_win_over_the_file_and_are_checked_too(server: Case) -> None:
    server.write('trust_domain = "example.org"', "")
    path = str(server.path)
    words = ("validate", "-config", path, "-trustDomain")
    assert command("spire-server", *words, "example.org").code == 0
    assert "could not parse trust_domain" in command("spire-server", *words, "A B").err


def test_variables_are_put_in_only_where_asked(
    server: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAME", "example.org")
    server.write('"example.org"', '"${{NAME}}"')
    assert server.validate().code == 1
    path = str(server.path)
    assert command("spire-server", "validate", "-expandEnv", "-config", path).code == 0


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with new_stack() as stack:
        stack.start_server()
        yield stack


def assert_says_once(started: Outcome, message: str) -> None:
    """The reason stands alone on stderr, and in the log."""
    assert (started.code, started.err) == (1, f"Error: {message}\n")
    assert 'level=error msg="Server crashed"' in started.out


def test_a_port_in_use_is_named(server: Case, stack: Stack) -> None:
    message = f"cannot listen on 127.0.0.1:{stack.port}: Address already in use"
    assert_says_once(server.run("-serverPort", str(stack.port)), message)


def test_the_socket_of_a_live_server_is_left_to_it(server: Case, stack: Stack) -> None:
    started = server.run("-socketPath", str(stack.server_socket))
    assert_says_once(started, f"another process listens on '{stack.server_socket}'")
    assert command(
        *("spire-server", "healthcheck", "-socketPath", str(stack.server_socket))
    ) == Outcome(0, "Server is healthy.\n", "")


def test_a_data_folder_that_cannot_be_made_is_named(server: Case) -> None:
    (server.folder / "data").write_text("a file")
    message = f"unable to create data directory {server.folder}/data: File exists"
    assert_says_once(server.run(), message)


def test_a_database_that_is_none_is_told(server: Case) -> None:
    (server.folder / "data").mkdir()
    (server.folder / "data" / "db.sqlite3").write_text("no database" * 1000)
    assert_says_once(server.run(), "datastore-sql: file is not a database")


def test_a_database_that_cannot_be_made_is_named(server: Case) -> None:
    path = server.folder / "data" / ("long" * 70)
    server.write("db.sqlite3", path.name)
    assert_says_once(server.run(), f"datastore-sql: unable to create {path}: File name too long")


def test_keys_that_are_none_are_told(server: Case) -> None:
    (server.folder / "data").mkdir()
    keys = server.folder / "data" / "keys.json"
    keys.write_text("{")
    keys.chmod(0o600)
    assert_says_once(server.run(), f"unable to decode keys JSON: '{keys}' is no JSON")


def test_a_log_file_that_cannot_be_opened_is_named(server: Case) -> None:
    path = f"{server.folder}/none/server.log"
    started = server.run("-logFile", path)
    assert started.code == 1
    assert started.err == f"Error: unable to open log file {path}: No such file or directory\n"


def test_an_agent_without_its_bundle_says_which_file(agent: Case) -> None:
    process = Process([*OURS, "agent", "run", "-config", str(agent.path)])
    try:
        path = agent.folder / "bundle.pem"
        process.wait_for(f"could not parse trust bundle: open {path}: no such file or directory")
        assert process.stop() == 0
    finally:
        process.kill()


def test_an_agent_without_data_folder_is_told(agent: Case) -> None:
    (agent.folder / "data").write_text("a file")
    started = agent.run()
    assert started.code == 1
    assert started.err == f"Error: failed to open storage: {agent.folder}/data: File exists\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_run_ends_with_0_when_it_is_told_to(number: signal.Signals) -> None:
    with new_stack() as stack:
        server = stack.start_server()
        agent = stack.start_agent()
        for daemon in (agent, server):
            daemon.popen.send_signal(number)
            assert daemon.wait_for_end() == 0
            assert "Traceback" not in daemon.output
        assert "Server stopped gracefully" in server.output
