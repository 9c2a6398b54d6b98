"""One user who opens all the connections there may be."""

from __future__ import annotations

import shutil
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.integration.daemons import OUR_AGENT, OUR_SERVER, OURS, Process, Stack, new_stack

FILES = 400
PRLIMIT = shutil.which("prlimit") or "prlimit"
FEW_FILES = (PRLIMIT, f"--nofile={FILES}:{FILES}")


def open_files(process: Process) -> int:
    return len(list(Path(f"/proc/{process.popen.pid}/fd").iterdir()))


def hold(attack: ExitStack, address: Path | int, count: int) -> None:
    """Open connections and say nothing; those that are closed again are held at our end only."""
    for _ in range(count):
        family = socket.AF_INET if isinstance(address, int) else socket.AF_UNIX
        sock = attack.enter_context(socket.socket(family, socket.SOCK_STREAM))
        sock.settimeout(20)
        sock.connect(("127.0.0.1", address) if isinstance(address, int) else str(address))


def watch(stack: Stack) -> Process:
    """Somebody who has been there before the attack."""
    words = (*OURS, "api", "watch", "-socketPath", str(stack.agent_socket))
    process = Process(words)
    stack.processes.append(process)
    process.wait_for("Received 1 svid after")
    return process


@pytest.mark.parametrize("daemon", ["agent", "server"])
def test_a_daemon_keeps_descriptors_for_its_own_work(daemon: str) -> None:
    programs = (
        {"agent_program": (*FEW_FILES, *OUR_AGENT)}
        if daemon == "agent"
        else {"server_program": (*FEW_FILES, *OUR_SERVER)}
    )
    with new_stack(**programs) as stack, ExitStack() as attack:
        server = stack.start_server()
        agent = stack.start_agent()
        stack.create_entry("first")
        workload = watch(stack)
        process, address = (
            (agent, stack.agent_socket) if daemon == "agent" else (server, stack.port)
        )
        hold(attack, address, FILES)
        process.wait_for("connections_refused")
        assert open_files(process) < FILES * 3 // 4
        stack.create_entry("second")
        workload.wait_for("Received 2 svids after")
        assert "accept_paused" not in process.output
