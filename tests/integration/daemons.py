"""Servers and agents as processes, ours or SPIRE's, for tests through the outermost doors."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from shutil import rmtree
from typing import Any

TRUST_DOMAIN = "example.org"
START_SECONDS = 30.0
OUR_SERVER = (sys.executable, "-m", "spire_py.cli.main", "server")
OUR_AGENT = (sys.executable, "-m", "spire_py.cli.main", "agent")
OURS = (sys.executable, "-m", "spire_py.cli.main")


class Process:
    """A running program whose output is kept and can be waited for."""

    def __init__(
        self, command: Sequence[str], *, environment: dict[str, str] | None = None
    ) -> None:
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        self.popen = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.popen.stdout is not None
        with self.popen.stdout as output:
            for line in output:
                with self._changed:
                    self.lines.append(line.rstrip("\n"))
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, text: str, *, count: int = 1, seconds: float = START_SECONDS) -> None:
        """Until `count` lines hold `text`; fails with the output when it ends or takes too long."""

        def found() -> bool:
            return sum(text in line for line in self.lines) >= count

        with self._changed:
            self._changed.wait_for(lambda: found() or self._ended, seconds)
            assert found(), f"no {text!r} in:\n{self.output}"

    def wait_for_end(self, seconds: float = START_SECONDS) -> int:
        code = self.popen.wait(seconds)
        self._reader.join(seconds)
        return code

    def stop(self, seconds: float = 20.0) -> int:
        """SIGTERM, and wait; the exit code comes back."""
        self.popen.terminate()
        try:
            return self.wait_for_end(seconds)
        finally:
            self.kill()

    def kill(self) -> None:
        if self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait()
        self._reader.join(START_SECONDS)


@dataclass
class Stack:
    """One folder with the configurations and data of a server and an agent.

    `server_program` and `agent_program` are what stands before `run` and the other commands.
    """

    folder: Path
    server_program: tuple[str, ...] = OUR_SERVER
    agent_program: tuple[str, ...] = OUR_AGENT
    server_keys: str = ""
    agent_keys: str = ""
    server_plugins: str = ""
    agent_attestor: str = 'NodeAttestor "join_token" { plugin_data {} }'
    server_more: str = ""
    agent_more: str = ""
    """What stands beside the blocks of a file."""
    log_level: str = "DEBUG"
    port: int = 0
    processes: list[Process] = field(default_factory=list)

    @property
    def server_socket(self) -> Path:
        return self.folder / "server.sock"

    @property
    def agent_socket(self) -> Path:
        return self.folder / "agent" / "api.sock"

    def start_server(self) -> Process:
        process = self.launch_server()
        process.wait_for("Starting Server APIs", count=2)
        return process

    def launch_server(self) -> Process:
        """As `start_server`, without waiting for it."""
        self.port = self.port or free_port()
        (self.folder / "server-data").mkdir(exist_ok=True)
        (self.folder / "server.conf").write_text(
            f"""
            server {{
              trust_domain = "{TRUST_DOMAIN}"
              data_dir = "{self.folder}/server-data"
              bind_address = "127.0.0.1"
              bind_port = {self.port}
              socket_path = "{self.server_socket}"
              log_level = "{self.log_level}"
              {self.server_keys}
            }}
            plugins {{
              DataStore "sql" {{ plugin_data {{
                database_type = "sqlite3"
                connection_string = "{self.folder}/server-data/datastore.sqlite3"
              }} }}
              KeyManager "disk" {{
                plugin_data {{ keys_path = "{self.folder}/server-data/keys.json" }}
              }}
              NodeAttestor "join_token" {{ plugin_data {{}} }}
              {self.server_plugins}
            }}
            {self.server_more}
            """
        )
        return self._start(*self.server_program, "run", "-config", f"{self.folder}/server.conf")

    def start_agent(self, *, token: str = "") -> Process:
        """Start the agent; with a fresh token where none is given and it has no SVID yet."""
        process = self.launch_agent(token=token)
        process.wait_for("Starting agent APIs")
        return process

    def launch_agent(self, *, token: str = "", bundle: str = "") -> Process:
        """As `start_agent`, without waiting for it; `bundle` is PEM, else the server is asked."""
        data = self.folder / "agent-data"
        needs_token = "join_token" in self.agent_attestor
        if needs_token and not token and not (data / "agent-data.json").exists():
            token = self.join_token()
        data.mkdir(exist_ok=True)
        (self.folder / "bundle.pem").write_text(bundle or self.server("bundle", "show"))
        (self.folder / "agent.conf").write_text(
            f"""
            agent {{
              trust_domain = "{TRUST_DOMAIN}"
              data_dir = "{data}"
              server_address = "127.0.0.1"
              server_port = {self.port}
              socket_path = "{self.agent_socket}"
              trust_bundle_path = "{self.folder}/bundle.pem"
              log_level = "{self.log_level}"
              {self.agent_keys}
            }}
            plugins {{
              KeyManager "disk" {{ plugin_data {{ directory = "{data}" }} }}
              {self.agent_attestor}
              WorkloadAttestor "unix" {{ plugin_data {{}} }}
            }}
            {self.agent_more}
            """
        )
        words = ("-joinToken", token) if token else ()
        config = f"{self.folder}/agent.conf"
        return self._start(*self.agent_program, "run", "-config", config, *words)

    def _start(self, *command: str) -> Process:
        process = Process(command)
        self.processes.append(process)
        return process

    def join_token(self) -> str:
        words = ("-spiffeID", f"spiffe://{TRUST_DOMAIN}/node")
        output = self.server("token", "generate", *words, "-output", "json")
        value: str = json.loads(output)["value"]
        return value

    def create_entry(self, name: str, *words: str) -> str:
        """An entry for the caller's uid, below the agent that used `join_token`; gives its ID."""
        output = self.server(
            *("entry", "create", "-output", "json"),
            *("-parentID", f"spiffe://{TRUST_DOMAIN}/node"),
            *("-spiffeID", f"spiffe://{TRUST_DOMAIN}/{name}"),
            *("-selector", f"unix:uid:{os.getuid()}", *words),
        )
        entry_id: str = json.loads(output)["results"][0]["entry"]["id"]
        return entry_id

    def server(self, *words: str) -> str:
        """Run one of our server commands on the admin socket; its output comes back."""
        result = self.try_server(*words)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def try_server(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return run(*OURS, *words, "-socketPath", str(self.server_socket), stdin=stdin)

    def try_agent(self, *words: str) -> subprocess.CompletedProcess[str]:
        return run(*OURS, *words, "-socketPath", str(self.agent_socket))

    def wait_for_svids(self, count: int) -> None:
        """Until this user's processes get `count` X.509-SVIDs."""
        watch = self._start(*OURS, "api", "watch", "-socketPath", str(self.agent_socket))
        watch.wait_for(f"Received {count} svid{'' if count == 1 else 's'} after")
        watch.kill()

    def close(self) -> None:
        for process in reversed(self.processes):
            process.kill()


def run(*command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, input=stdin, check=False
    )


def health_listener(port: int) -> str:
    """The block that goes into a daemon's configuration, beside its others."""
    settings = f'listener_enabled = true bind_address = "127.0.0.1" bind_port = "{port}"'
    return f"health_checks {{ {settings} }}"


def health(port: int, path: str) -> tuple[int, dict[str, Any]]:
    """What the health listener answers: status and body."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


@contextmanager
def stack_folder() -> Iterator[Path]:
    """A folder with a path short enough for Unix sockets."""
    folder = Path(tempfile.mkdtemp(prefix="sp"))
    try:
        yield folder
    finally:
        rmtree(folder, ignore_errors=True)


@contextmanager
def new_stack(**options: object) -> Iterator[Stack]:
    with stack_folder() as folder:
        stack = Stack(folder, **options)  # type: ignore[arg-type]
        try:
            yield stack
        finally:
            stack.close()
