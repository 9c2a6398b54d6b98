"""What daemons live through: signals that operators send, a health port that is taken."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest

from tests.integration.daemons import Process, Stack, new_stack


def healthy(stack: Stack) -> None:
    assert stack.try_server("server", "healthcheck").returncode == 0
    assert stack.try_agent("agent", "healthcheck").returncode == 0


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
def test_signals_for_logs_and_metrics_end_no_daemon(number: signal.Signals) -> None:
    with new_stack() as stack:
        for daemon in (stack.start_server(), stack.start_agent()):
            daemon.popen.send_signal(number)
        healthy(stack)


def test_daemons_do_without_a_health_listener_where_its_port_is_taken() -> None:
    with new_stack() as stack, socket.create_server(("127.0.0.1", 0)) as taken:
        block = (
            'health_checks { listener_enabled = true bind_address = "127.0.0.1" '
            f"bind_port = {taken.getsockname()[1]} }}"
        )
        for start, program, name in (
            (stack.start_server, stack.server_program, "server"),
            (stack.start_agent, stack.agent_program, "agent"),
        ):
            first = start()
            assert first.stop() == 0
            config = stack.folder / f"{name}.conf"
            config.write_text(config.read_text() + block)
            again = Process([*program, "run", "-config", str(config)])
            stack.processes.append(again)
            again.wait_for("Error serving health checks")
            again.wait_for("Starting Server APIs" if name == "server" else "Starting agent APIs")
        healthy(stack)


def test_what_daemons_make_is_not_open_to_others() -> None:
    with new_stack() as stack:
        for daemon in (stack.start_server(), stack.start_agent()):
            assert "\nUmask:\t0027\n" in Path(f"/proc/{daemon.popen.pid}/status").read_text()
