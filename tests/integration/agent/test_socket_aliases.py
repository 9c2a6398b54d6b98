"""Workloads that look for the agent under another name (feature U12)."""

from __future__ import annotations

import shutil

from tests.integration.daemons import OURS, new_stack, run

ALIASES = 'experimental { socket_aliases = ["socket", "api.sock", "spire-agent.sock"] }'


def test_workloads_come_in_by_each_name_before_and_after_a_restart() -> None:
    with new_stack(agent_keys=ALIASES) as stack:
        folder = stack.agent_socket.parent
        names = ("socket", "api.sock", "spire-agent.sock")

        def ask_by_each_name() -> None:
            for name in names:
                fetched = run(*OURS, "api", "fetch", "x509", "-socketPath", str(folder / name))
                assert "spiffe://example.org/web" in fetched.stdout, fetched.stderr

        stack.start_server()
        stack.create_entry("web")
        agent = stack.start_agent()
        stack.wait_for_svids(1)
        ask_by_each_name()

        agent.stop()
        # A successor must find them: whoever ends last would else take them away.
        assert str((folder / "socket").readlink()) == "api.sock"
        assert not (folder / "api.sock").exists()
        successor = stack.start_agent()
        stack.wait_for_svids(1)
        ask_by_each_name()

        # As after a crash, and with a link that leads nowhere.
        successor.kill()
        (folder / "socket").unlink()
        (folder / "socket").symlink_to("gone.sock")
        stack.start_agent()
        stack.wait_for_svids(1)
        ask_by_each_name()


def test_what_is_in_the_way_ends_the_start_with_a_line_that_names_it() -> None:
    with new_stack(agent_keys=ALIASES) as stack:
        stack.start_server()
        in_the_way = stack.agent_socket.parent / "socket"
        in_the_way.mkdir(parents=True)
        agent = stack.launch_agent()
        assert agent.wait_for_end() == 1
        assert f"cannot make the socket alias '{in_the_way}': a directory of this name" in (
            agent.output
        )
        shutil.rmtree(in_the_way)
        stack.start_agent()
