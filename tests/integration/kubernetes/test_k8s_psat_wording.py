"""What SPIRE's server says to a token and to an API server's answers, ours says too."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from spire_py._proto.spire.api import types_pb2
from spire_py._proto.spire.api.server import agent_pb2
from spire_py.crypto.csr import make_csr
from spire_py.crypto.keys import generate_key
from spire_py.errors import SpireError
from spire_py.plugin_api.key_manager import KeyType
from spire_py.transport import Channel, insecure_client_context
from tests.fakes.kubernetes import FakeKubernetes
from tests.integration.daemons import Stack, new_stack
from tests.integration.peers.conftest import Halves, programs

pytestmark = pytest.mark.peer("spire-server")

_ATTEST = "/spire.api.server.agent.v1.Agent/AttestAgent"
_CSR = make_csr(generate_key(KeyType.EC_P256))


@dataclass
class Scene:
    """A cluster of its own, and the two servers that attest for it."""

    cluster: FakeKubernetes
    pod: dict[str, Any]

    def token(self, **options: Any) -> str:
        return self.cluster.issue_token(self.pod, **options)

    def payload(self, token: str = "", **changes: Any) -> bytes:
        fields = {"cluster": "demo-cluster", "token": token or self.token(), **changes}
        return json.dumps({name: one for name, one in fields.items() if one is not None}).encode()


@pytest.fixture(scope="module")
def stacks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, Stack, Path]]:
    """Ours and SPIRE's, whose kubeconfig each test writes anew."""
    kubeconfig = tmp_path_factory.mktemp("psat") / "kubeconfig"
    options = {
        "server_keys": "ratelimit { attestation = false }",
        "server_plugins": f"""
            NodeAttestor "k8s_psat" {{ plugin_data {{ clusters = {{ "demo-cluster" = {{
                service_account_allow_list = ["spire:spire-agent"]
                kube_config_file = "{kubeconfig}"
                allowed_node_label_keys = ["zone", "empty"]
                allowed_pod_label_keys = ["app"]
            }} }} }} }}""",
    }
    kubeconfig.write_text("")
    with (
        new_stack(**programs(Halves("ours", "ours")), **options) as ours,
        new_stack(**programs(Halves("spire", "ours")), **options) as spire,
    ):
        for stack in (ours, spire):
            stack.start_server()
        yield ours, spire, kubeconfig


@pytest.fixture
def scene(stacks: tuple[Stack, Stack, Path]) -> Iterator[Scene]:
    with FakeKubernetes() as cluster:
        cluster.write_kubeconfig(stacks[2])
        cluster.add_node("node-1", labels={"zone": "a", "empty": "", "other": "b"})
        pod = cluster.add_pod("spire", "agent", node="node-1", labels={"app": "x", "y": "z"})
        yield Scene(cluster, pod)


async def _attest(stack: Stack, payload: bytes) -> tuple[str, str]:
    """The ID of the agent, or code and message of the refusal."""
    channel = Channel.tcp(
        "127.0.0.1", stack.port, tls=insecure_client_context, verify_peer=lambda _chain: None
    )
    params = agent_pb2.AttestAgentRequest.Params(
        data=types_pb2.AttestationData(type="k8s_psat", payload=payload),
        params=agent_pb2.AgentX509SVIDParams(csr=_CSR),
    )
    try:
        async with channel.bidi(_ATTEST, agent_pb2.AttestAgentResponse, timeout=20) as call:
            await call.send(agent_pb2.AttestAgentRequest(params=params))
            async for response in call:
                return "OK", response.result.svid.id.path
    except SpireError as error:
        return error.code.name, error.message
    finally:
        await channel.aclose()
    raise AssertionError("no answer")


async def both(stacks: tuple[Stack, Stack, Path], payload: bytes) -> tuple[str, str]:
    """What both say, which must be the same."""
    ours, spires = await asyncio.gather(*(_attest(stack, payload) for stack in stacks[:2]))
    assert ours == spires
    return ours


def _other_account(scene: Scene) -> bytes:
    pod = scene.cluster.add_pod("spire", "x", node="node-1", service_account="default")
    return scene.payload(scene.cluster.issue_token(pod))


def _deleted_pod(scene: Scene) -> bytes:
    payload = scene.payload()
    scene.cluster.delete_pod(scene.pod)
    return payload


def _unscheduled_pod(scene: Scene) -> bytes:
    pod = scene.cluster.add_pod("spire", "x", node="")
    return scene.payload(scene.cluster.issue_token(pod))


def _node_gone(scene: Scene) -> bytes:
    scene.cluster.delete_node("node-1")
    return scene.payload()


def _unexplained(scene: Scene) -> bytes:
    scene.cluster.api.review_errors = False
    return scene.payload("garbage")


def _denied(verb: str, plural: str) -> Callable[[Scene], bytes]:
    def prepare(scene: Scene) -> bytes:
        scene.cluster.rules.denied.add((verb, plural))
        return scene.payload()

    return prepare


def _reviewed(**status: Any) -> Callable[[Scene], bytes]:
    """The API server answers so, whatever it is asked; `extra` is the user's."""

    def prepare(scene: Scene) -> bytes:
        extra = status.pop("extra", {})
        user = {
            "username": status.pop("username", "system:serviceaccount:spire:spire-agent"),
            "extra": {f"authentication.kubernetes.io/{key}": extra[key] for key in extra},
        }
        scene.cluster.api.review_overrides = {
            "authenticated": True,
            "audiences": ["spire-server"],
            "user": user,
            **status,
        }
        return scene.payload()

    return prepare


@pytest.mark.parametrize(
    ("prepare", "code"),
    [
        pytest.param(lambda s: s.payload(cluster=None), "INVALID_ARGUMENT", id="no cluster"),
        pytest.param(lambda s: s.payload(cluster="x"), "INVALID_ARGUMENT", id="other cluster"),
        pytest.param(lambda s: b'{"cluster": "x"}', "INVALID_ARGUMENT", id="no token"),
        pytest.param(
            lambda s: s.payload(s.token(audiences=["vault"])), "INTERNAL", id="other audience"
        ),
        pytest.param(lambda s: s.payload(s.token(seconds=-10)), "INTERNAL", id="expired"),
        pytest.param(lambda s: s.payload("garbage"), "INTERNAL", id="garbage"),
        pytest.param(_unexplained, "PERMISSION_DENIED", id="not authenticated"),
        pytest.param(_deleted_pod, "INTERNAL", id="deleted pod"),
        pytest.param(_unscheduled_pod, "INTERNAL", id="pod without a node"),
        pytest.param(_node_gone, "INTERNAL", id="node gone"),
        pytest.param(_other_account, "PERMISSION_DENIED", id="other account"),
        pytest.param(_denied("create", "tokenreviews"), "INTERNAL", id="may not review"),
        pytest.param(_denied("get", "pods"), "INTERNAL", id="may not see pods"),
        pytest.param(_denied("get", "nodes"), "INTERNAL", id="may not see nodes"),
        pytest.param(_reviewed(audiences=["a", "b"]), "INTERNAL", id="audiences of others"),
        pytest.param(_reviewed(audiences=[]), "INTERNAL", id="no audiences"),
        pytest.param(_reviewed(username=""), "INTERNAL", id="no user"),
        pytest.param(_reviewed(username="admin"), "INTERNAL", id="a person"),
        pytest.param(_reviewed(username="system:serviceaccount::a"), "INTERNAL", id="no namespace"),
        pytest.param(_reviewed(username="system:serviceaccount:a:"), "INTERNAL", id="no account"),
        pytest.param(_reviewed(), "INTERNAL", id="no pod"),
        pytest.param(_reviewed(extra={"pod-name": []}), "INTERNAL", id="no pod name"),
        pytest.param(_reviewed(extra={"pod-name": ["a", "b"]}), "INTERNAL", id="two pods"),
        pytest.param(_reviewed(extra={"pod-name": ["a"]}), "INTERNAL", id="no UID"),
        pytest.param(
            _reviewed(extra={"pod-name": ["absent"], "pod-uid": ["a"]}), "INTERNAL", id="pod gone"
        ),
        pytest.param(
            _reviewed(extra={"pod-name": ["agent"], "pod-uid": ["a"]}),
            "PERMISSION_DENIED",
            id="UID mismatch",
        ),
    ],
)
async def test_a_refusal_is_spires_to_the_letter(
    stacks: tuple[Stack, Stack, Path], scene: Scene, prepare: Callable[[Scene], bytes], code: str
) -> None:
    found, message = await both(stacks, prepare(scene))
    assert found == code, message


async def test_an_attested_agent_has_the_same_id_and_selectors(
    stacks: tuple[Stack, Stack, Path], scene: Scene
) -> None:
    code, path = await both(stacks, scene.payload())
    assert code == "OK"
    words = ("agent", "show", "-output", "json", "-spiffeID", f"spiffe://example.org{path}")
    shown = [json.loads(stack.server(*words)) for stack in stacks[:2]]
    selectors = [
        sorted((each["type"], each["value"]) for each in one["selectors"]) for one in shown
    ]
    assert selectors[0] == selectors[1]
    assert len(selectors[0]) == 11
