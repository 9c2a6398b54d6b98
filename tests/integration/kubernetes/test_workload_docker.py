"""Workloads in containers of real engines get their SVIDs, from our agent and from SPIRE's."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from tests.fakes.kubelet import FakeKubelet, pod
from tests.integration.daemons import OUR_AGENT, Stack, new_stack
from tests.integration.kubernetes.engines import (
    IMAGE,
    IMAGE_ENV,
    IMAGE_LABEL,
    Engine,
    docker_engine,
    podman_engine,
)
from tests.peers.plugin import peer_for_module

AGENTS = [
    pytest.param("ours", id="our-agent"),
    pytest.param("spire-agent", id="spires-agent", marks=pytest.mark.peer("spire-agent")),
]
ENGINES = [
    pytest.param("dockerd", id="docker", marks=pytest.mark.peer("dockerd")),
    pytest.param("podman", id="podman", marks=pytest.mark.peer("podman")),
]
pytestmark = [
    pytest.mark.peer("workload"),
    pytest.mark.parametrize("agent", AGENTS),
    pytest.mark.parametrize("program", ENGINES),
]


def start_engine(program: str) -> AbstractContextManager[Engine]:
    path = peer_for_module(program)
    return docker_engine(path) if program == "dockerd" else podman_engine(path)


@contextmanager
def node(agent: str, engine: Engine, kubelet: FakeKubelet) -> Iterator[Stack]:
    """A server and an agent; the agent is started by the test, when its entries are there."""
    program = OUR_AGENT if agent == "ours" else (str(peer_for_module(agent)),)
    with new_stack(agent_program=program) as stack:
        stack.agent_attestor += f"""
            WorkloadAttestor "docker" {{ plugin_data {{
              docker_socket_path = "unix://{engine.socket}"
              podman_socket_path = "unix://{engine.socket}"
            }} }}
            WorkloadAttestor "k8s" {{ plugin_data {{
              kubelet_read_only_port = {kubelet.port}
              max_poll_attempts = 2
              poll_retry_interval = "100ms"
            }} }}
        """
        stack.start_server()
        yield stack


def create(engine: Engine, stack: Stack, *, below: str, namespace: str) -> str:
    """A container that asks the agent for its SVIDs."""
    binds = [
        f"{stack.agent_socket.parent}:/agent:ro",
        f"{peer_for_module('workload').resolve()}:/bin/workload:ro",
    ]
    return engine.create(
        {"CgroupnsMode": namespace, "Binds": binds},
        below=below,
        Cmd=["/bin/workload", "fetch", "-socket", "unix:///agent/api.sock"],
        Labels={"app": "web"},
        Env=["MODE=a=b"],
        Tty=True,
    )


def run(engine: Engine, container: str) -> set[str]:
    """The names that its process gets."""
    engine.run(container)
    lines = [json.loads(line) for line in engine.output(container).splitlines()]
    assert [line["event"] for line in lines] == ["x509"], lines
    return {each["id"].removeprefix("spiffe://example.org/") for each in lines[0]["svids"]}


def test_a_container_gets_the_svids_of_its_selectors(program: str, agent: str) -> None:
    uid = str(uuid.uuid4())
    with (
        start_engine(program) as engine,
        FakeKubelet() as kubelet,
        node(agent, engine, kubelet) as stack,
    ):
        image = IMAGE if program == "dockerd" else f"docker.io/library/{IMAGE}"
        of_a_container = {
            "label": "docker:label:app:web",
            "env": "docker:env:MODE=a=b",
            "label-of-image": f"docker:label:{IMAGE_LABEL}",
            "env-of-image": f"docker:env:{IMAGE_ENV}",
            "image": f"docker:image_id:{image}",
            "digest": f"docker:image_config_digest:{engine.image_digest()}",
        }
        others = {"other": "docker:label:app:other", "pod": f"k8s:pod-uid:{uid}"}
        for name, selector in {**of_a_container, **others}.items():
            stack.create_entry(name, "-selector", selector)
        stack.create_entry("user")
        stack.start_agent()
        stack.wait_for_svids(1)

        of_a_node = {"user", *of_a_container}
        pod_cgroup = f"/kubepods/besteffort/pod{uid}"
        for namespace in ("host", "private"):
            container = create(engine, stack, below="/engine", namespace=namespace)
            assert run(engine, container) == of_a_node
            container = create(engine, stack, below=pod_cgroup, namespace=namespace)
            kubelet.pods = [pod(uid, container)]
            assert run(engine, container) == {*of_a_node, "pod"}
