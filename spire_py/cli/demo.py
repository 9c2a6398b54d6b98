"""`spire-py demo`: a server, an agent and two workloads on this machine, in seconds."""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from spire_py.cli.command import Command, CommandFailed
from spire_py.cli.flags import Flag, Flags, Kind
from spire_py.runtime.files import write_private

_TRUST_DOMAIN = "example.org"
_START_SECONDS = 30.0
_PROGRAM = (sys.executable, "-m", "spire_py.cli.main")
_SERVER_CONFIG = """
server {{
  trust_domain = "{trust_domain}"
  data_dir = "{folder}/server"
  bind_address = "127.0.0.1"
  bind_port = {port}
  socket_path = "{folder}/server.sock"
}}
plugins {{
  DataStore "sql" {{
    plugin_data {{ database_type = "sqlite3" connection_string = "{folder}/server/db.sqlite3" }}
  }}
  KeyManager "memory" {{ plugin_data {{}} }}
  NodeAttestor "join_token" {{ plugin_data {{}} }}
}}
"""
_AGENT_CONFIG = """
agent {{
  trust_domain = "{trust_domain}"
  data_dir = "{folder}/agent"
  server_address = "127.0.0.1"
  server_port = {port}
  socket_path = "{folder}/agent.sock"
  trust_bundle_path = "{folder}/bundle.pem"
  join_token_file = "{folder}/join_token"
}}
plugins {{
  KeyManager "memory" {{ plugin_data {{}} }}
  NodeAttestor "join_token" {{ plugin_data {{}} }}
  WorkloadAttestor "unix" {{ plugin_data {{}} }}
}}
"""


def _demo(flags: Flags) -> int:
    start = time.monotonic()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    # Both daemons must end with the demo, however it ends.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = Path(tempfile.mkdtemp(prefix="spire-py-demo-"))
    try:
        with _daemons(folder) as demo:
            demo.register_workloads()
            demo.show_identities()
            demo.show_mutual_tls()
        print(f"\nDone in {time.monotonic() - start:.1f} s.")
        _say_how_to_go_on(folder, kept=flags.switch("keep"))
    finally:
        if not flags.switch("keep"):
            shutil.rmtree(folder, ignore_errors=True)
    return 0


class _Demo:
    """A running server and agent in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server = ("-socketPath", f"{folder}/server.sock")
        self._agent = ("-socketPath", f"{folder}/agent.sock")

    def register_workloads(self) -> None:
        """Give this user two identities, told apart by their hints."""
        parent = _agent_id(_call("agent", "list", *self._server))
        for role in ("client", "server"):
            spiffe_id = f"spiffe://{_TRUST_DOMAIN}/demo/{role}"
            _call(
                *("entry", "create", *self._server, "-parentID", parent, "-spiffeID", spiffe_id),
                *("-selector", f"unix:uid:{os.getuid()}", "-hint", role),
            )
            print(f"  entry      unix:uid:{os.getuid()} is now also {spiffe_id}")

    def show_identities(self) -> None:
        fetched = self._wait_for_identities()
        for spiffe_id in re.findall(r"SPIFFE ID:\t\t(\S+)", fetched):
            print(f"  X.509-SVID {spiffe_id}: chain checked against the bundle")
        tokens = _call("api", "fetch", "jwt", *self._agent, "-audience", "demo")
        token = re.findall(r"token\(\S+\):\n\t(\S+)", tokens)[0]
        answer = _call("api", "validate", "jwt", *self._agent, "-audience", "demo", "-svid", token)
        print(f"  JWT-SVID   {answer.splitlines()[1].partition(': ')[2]}: signature checked")

    def _wait_for_identities(self) -> str:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                fetched = _call("api", "fetch", "x509", *self._agent)
            except CommandFailed:
                fetched = ""
            if fetched.count("SPIFFE ID:") == 2:
                return fetched
            if time.monotonic() > deadline:
                raise CommandFailed("the agent did not hand out both identities in time")
            time.sleep(0.1)

    def show_mutual_tls(self) -> None:
        port = _free_port()
        module = (sys.executable, "-m", "spire_py.cli.demo_workload")
        serve = [*module, "serve", str(self._folder / "agent.sock"), str(port)]
        with subprocess.Popen(serve, stdout=subprocess.PIPE, text=True) as server:
            try:
                _expect_line(server, "listening")
                call = [*module, "call", str(self._folder / "agent.sock"), str(port)]
                answer = _output_of(call)
            finally:
                server.terminate()
        print(f"  mTLS       {answer.strip()}")


@contextmanager
def _daemons(folder: Path) -> Iterator[_Demo]:
    """Start server and agent; both end with the block."""
    values = {"trust_domain": _TRUST_DOMAIN, "folder": folder, "port": _free_port()}
    for name, template in (("server", _SERVER_CONFIG), ("agent", _AGENT_CONFIG)):
        (folder / f"{name}.conf").write_text(template.format(**values))
    server = ("-socketPath", f"{folder}/server.sock")
    with _daemon(folder, "server"):
        print(f"  server     trust domain {_TRUST_DOMAIN}, port {values['port']}")
        (folder / "bundle.pem").write_text(_call("bundle", "show", *server))
        token = _call("token", "generate", *server).splitlines()[0].removeprefix("Token: ")
        write_private(folder / "join_token", token.encode())
        with _daemon(folder, "agent"):
            print("  agent      attested with a join token, serves the Workload API")
            yield _Demo(folder)


@contextmanager
def _daemon(folder: Path, name: str) -> Iterator[None]:
    command = [*_PROGRAM, name, "run", "-config", f"{folder}/{name}.conf"]
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        _wait_until_healthy(process, folder, name)
        yield
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_healthy(process: subprocess.Popen[bytes], folder: Path, name: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        if (folder / f"{name}.sock").exists():
            try:
                _call(name, "healthcheck", "-socketPath", f"{folder}/{name}.sock")
            except CommandFailed:
                pass
            else:
                return
        time.sleep(0.05)
    log = (folder / f"{name}.log").read_text(errors="replace")
    raise CommandFailed(f"the {name} did not start; its log says:\n{log[-4000:]}")


def _call(*words: str) -> str:
    return _output_of([*_PROGRAM, *words])


def _output_of(command: Sequence[str]) -> str:
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if result.returncode:
        raise CommandFailed(f"{' '.join(command[3:5])} failed: {result.stderr.strip()}")
    return result.stdout


def _expect_line(process: subprocess.Popen[str], line: str) -> None:
    first = process.stdout.readline().strip() if process.stdout else ""
    if first != line:
        raise CommandFailed("the demo's workload did not start")


def _agent_id(listing: str) -> str:
    found = re.search(r"SPIFFE ID +: (\S+)", listing)
    if not found:
        raise CommandFailed("the server knows no agent")
    return found.group(1)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def _say_how_to_go_on(folder: Path, *, kept: bool) -> None:
    if kept:
        print(f"Configurations and logs are kept in {folder}.")
    print(
        "How to go on: README.md shows the same by hand; `spire-server -h` and `spire-agent -h`\n"
        "list the commands; any SPIFFE client finds the agent by SPIFFE_ENDPOINT_SOCKET."
    )


DEMO = Command(
    "demo",
    "Shows a server, an agent and two workloads on this machine",
    (Flag("keep", "Keep the folder with configurations and logs", Kind.SWITCH),),
    _demo,
)
