"""Units of systemd, told over a real bus, for agents as processes: ours and SPIRE's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fakes.systemd import FakeSystemd, systemd_bus
from tests.integration.daemons import OUR_AGENT, Stack, new_stack

pytestmark = pytest.mark.peer("dbus-daemon")
PLUGINS = """
NodeAttestor "join_token" { plugin_data {} }
WorkloadAttestor "systemd" {}
"""
FOUND = ("-selector", "systemd:id:web.service", "-selector", "systemd:fragment_path:/etc/web")
NONE = ("-selector", "systemd:id:web.service", "-selector", "systemd:fragment_path:/etc/other")
BARE = ("-selector", "systemd:id:user.slice", "-selector", "systemd:fragment_path:")


@pytest.fixture(params=["ours", pytest.param("spire", marks=pytest.mark.peer("spire-agent"))])
def agent_program(
    request: pytest.FixtureRequest, require_peer: Callable[[str], Path]
) -> tuple[str, ...]:
    return OUR_AGENT if request.param == "ours" else (str(require_peer("spire-agent")),)


@pytest.fixture
def stack(agent_program: tuple[str, ...]) -> Iterator[Stack]:
    with new_stack(agent_program=agent_program, agent_attestor=PLUGINS) as stack:
        stack.start_server()
        yield stack


@pytest.fixture
def systemd(
    stack: Stack, require_peer: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[FakeSystemd]:
    with systemd_bus(require_peer("dbus-daemon"), stack.folder) as (bus, systemd):
        monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.address)
        yield systemd


def test_a_workload_gets_the_identity_of_its_unit(stack: Stack, systemd: FakeSystemd) -> None:
    for name, words in {"web": FOUND, "other": NONE, "bare": BARE}.items():
        stack.create_entry(name, *words)
    agent = stack.start_agent()

    systemd.other_pids = ("web.service", "/etc/web")
    stack.wait_for_svids(1)
    fetched = stack.try_agent("api", "fetch")
    assert "spiffe://example.org/web" in fetched.stdout
    assert "spiffe://example.org/other" not in fetched.stdout

    systemd.other_pids = ("user.slice", "")
    assert "spiffe://example.org/bare" in stack.try_agent("api", "fetch").stdout

    # The attestor fails; the selectors of `unix` are too few for any entry.
    systemd.other_pids = None
    assert "no identity issued" in stack.try_agent("api", "fetch").stderr
    assert "failed to get unit by pid" in agent.output
    assert "does not belong to any loaded unit." in agent.output


def test_an_agent_without_a_bus_tells_what_its_other_attestors_know(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={stack.folder}/none")
    stack.create_entry("plain")
    agent = stack.start_agent()
    stack.wait_for_svids(1)
    assert "failed to open dbus connection" in agent.output
    assert "no such file or directory" in agent.output.lower()
