"""A node shows by its pod's token where it is, and a workload on it gets its SVID.

Server and agent are processes, ours or SPIRE's; the API server is the tests' own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.kubernetes import FakeKubernetes, Fault
from tests.integration.daemons import TRUST_DOMAIN, Stack, new_stack
from tests.integration.peers.conftest import QUICK_AGENT, QUICK_SERVER, STACKS, Halves, programs

NODE_UID = "5dbb7b21-65fe-11e9-b1b0-0800277ac80f"
AGENT_ID = f"spiffe://{TRUST_DOMAIN}/spire/agent/k8s_psat/demo-cluster/{NODE_UID}"


class Site:
    """A cluster with one node and one agent's pod, and the stack that attests there."""

    def __init__(self, cluster: FakeKubernetes, stack: Stack) -> None:
        self.cluster = cluster
        self.stack = stack
        cluster.add_node("node-1", uid=NODE_UID, labels={"zone": "a"})
        self.pod = cluster.add_pod("spire", "spire-agent-x", node="node-1", labels={"app": "agent"})

    def write_token(self, **options: Any) -> None:
        path = self.stack.folder / "token"
        path.write_text(self.cluster.issue_token(self.pod, **options))

    def agents(self) -> Any:
        return json.loads(self.stack.server("agent", "list", "-output", "json"))["agents"]


@contextmanager
def new_site(folder: Path, halves: Halves) -> Iterator[Site]:
    with FakeKubernetes() as cluster:
        kubeconfig = cluster.write_kubeconfig(folder / "kubeconfig")
        server_plugin = f"""
            NodeAttestor "k8s_psat" {{ plugin_data {{ clusters = {{ "demo-cluster" = {{
                service_account_allow_list = ["spire:spire-agent"]
                kube_config_file = "{kubeconfig}"
                allowed_node_label_keys = ["zone"]
                allowed_pod_label_keys = ["app"]
            }} }} }} }}"""
        with new_stack(
            **programs(halves),
            server_plugins=server_plugin,
            server_keys=QUICK_SERVER,
            agent_keys=QUICK_AGENT,
        ) as stack:
            stack.agent_attestor = f"""
                NodeAttestor "k8s_psat" {{ plugin_data {{
                    cluster = "demo-cluster"
                    token_path = "{stack.folder}/token"
                }} }}"""
            yield Site(cluster, stack)


@pytest.mark.parametrize("halves", STACKS)
def test_a_workload_on_an_attested_node_gets_its_svid(tmp_path: Path, halves: Halves) -> None:
    with new_site(tmp_path, halves) as site:
        stack = site.stack
        stack.start_server()
        stack.server(
            *("entry", "create", "-node", "-spiffeID", f"spiffe://{TRUST_DOMAIN}/node"),
            *("-selector", "k8s_psat:cluster:demo-cluster"),
            *("-selector", "k8s_psat:agent_node_label:zone:a"),
            *("-selector", "k8s_psat:agent_pod_label:app:agent"),
        )
        stack.create_entry("workload")
        site.write_token()
        stack.start_agent()
        stack.wait_for_svids(1)
        (agent,) = site.agents()
        assert agent["id"] == {"trust_domain": TRUST_DOMAIN, "path": AGENT_ID.partition(".org")[2]}
        assert agent["can_reattest"] is True
        selectors = {each["value"] for each in agent["selectors"]}
        assert {
            "agent_ns:spire",
            "agent_sa:spire-agent",
            "agent_node_ip:172.16.10.1",
            f"agent_pod_uid:{site.pod['metadata']['uid']}",
        } <= selectors


OURS = Halves("ours", "ours")


def test_an_agent_that_lost_its_data_attests_again(tmp_path: Path) -> None:
    with new_site(tmp_path, OURS) as site:
        site.stack.start_server()
        site.write_token()
        site.stack.start_agent().stop()
        for path in (site.stack.folder / "agent-data").iterdir():
            path.unlink()
        site.stack.start_agent()
        assert len(site.agents()) == 1


def test_a_token_for_another_audience_is_refused_and_a_missing_rule_told(tmp_path: Path) -> None:
    with new_site(tmp_path, OURS) as site:
        site.cluster.rules.denied.add(("get", "nodes"))
        server = site.stack.start_server()
        server.wait_for('resources: [\\"nodes\\"], verbs: [\\"get\\"]')
        site.write_token(audiences=["vault"])
        agent = site.stack.launch_agent()
        agent.wait_for("is invalid for the target audiences")
        assert site.agents() == []


def test_an_agent_says_which_volume_its_pod_lacks(tmp_path: Path) -> None:
    with new_site(tmp_path, OURS) as site:
        site.stack.start_server()
        agent = site.stack.launch_agent()
        agent.wait_for("the agent's pod needs a projected volume mounted at")


def test_a_hanging_api_server_stops_neither_the_start_nor_other_attestations(
    tmp_path: Path,
) -> None:
    with new_site(tmp_path, OURS) as site:
        site.cluster.faults.add(Fault.HANG)
        site.stack.start_server()
        site.stack.agent_attestor = 'NodeAttestor "join_token" { plugin_data {} }'
        site.stack.start_agent()
        assert len(site.agents()) == 1
