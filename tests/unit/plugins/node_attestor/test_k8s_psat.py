from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from spire_py_plugins.kubernetes.in_cluster import Pod
from spire_py_plugins.node_attestor.k8s_psat import agent as agent_end
from spire_py_plugins.node_attestor.k8s_psat.server import K8sPsatServer, configure_in

from spire_py.errors import Internal, InvalidArgument, PermissionDenied, SpireError
from spire_py.plugin_api.context import PluginContext
from spire_py.plugin_api.node_attestor import (
    AgentNodeAttestor,
    NodeAttestation,
    ServerNodeAttestor,
)
from spire_py.spiffe.id import TrustDomain
from tests.contracts.node_attestor import NodeAttestorContract, no_challenge
from tests.fakes.kubernetes import FakeKubernetes, Fault

TRUST_DOMAIN = TrustDomain("example.org")
NODE_UID = "5dbb7b21-65fe-11e9-b1b0-0800277ac80f"
POD_UID = "79261129-6b60-11e9-9054-0800277ac80f"
POD_NAME = "spire-agent-v5wgr"

Server = K8sPsatServer
MakeServer = Callable[..., Server]


@pytest.fixture
def cluster() -> Iterator[FakeKubernetes]:
    with FakeKubernetes() as running:
        running.add_node("node-1", uid=NODE_UID, labels={"zone": "a", "secret": "x", "empty": ""})
        yield running


@pytest.fixture
def pod(cluster: FakeKubernetes) -> dict[str, Any]:
    return cluster.add_pod(
        "spire", POD_NAME, node="node-1", uid=POD_UID, labels={"app": "agent", "team": "red"}
    )


@pytest.fixture
async def make_server(cluster: FakeKubernetes, tmp_path: Path) -> AsyncIterator[MakeServer]:
    made: list[Server] = []

    def make(name: str = "demo-cluster", **settings: Any) -> Server:
        cluster.write_kubeconfig(tmp_path / "kubeconfig")
        settings.setdefault("service_account_allow_list", ["spire:spire-agent"])
        settings.setdefault("kube_config_file", str(tmp_path / "kubeconfig"))
        server = configure_in(
            Pod(tmp_path / "nowhere", {}),
            {"clusters": {name: settings}},
            PluginContext(TRUST_DOMAIN),
        )
        made.append(server)
        return server

    yield make
    for server in made:
        await server.aclose()


def payload(token: str, cluster: str = "demo-cluster") -> bytes:
    return json.dumps({"cluster": cluster, "token": token}).encode()


async def attest(
    server: ServerNodeAttestor, token: str, cluster: str = "demo-cluster"
) -> NodeAttestation:
    return await server.attest(payload(token, cluster), no_challenge)


class TestContract(NodeAttestorContract):
    @pytest.fixture
    def server(self, make_server: MakeServer) -> Server:
        return make_server()

    @pytest.fixture
    def agent(
        self, cluster: FakeKubernetes, pod: dict[str, Any], tmp_path: Path
    ) -> AgentNodeAttestor:
        token = tmp_path / "token"
        token.write_text(cluster.issue_token(pod))
        return agent_end.configure(
            {"cluster": "demo-cluster", "token_path": str(token)}, PluginContext(TRUST_DOMAIN)
        )


async def test_an_agent_gets_its_nodes_id_and_selectors(
    cluster: FakeKubernetes, pod: dict[str, Any], make_server: MakeServer
) -> None:
    result = await attest(make_server(), cluster.issue_token(pod))
    assert str(result.agent_id) == (
        f"spiffe://example.org/spire/agent/k8s_psat/demo-cluster/{NODE_UID}"
    )
    assert result.can_reattest
    assert [str(selector) for selector in result.selectors] == [
        "k8s_psat:cluster:demo-cluster",
        "k8s_psat:agent_ns:spire",
        "k8s_psat:agent_sa:spire-agent",
        f"k8s_psat:agent_pod_name:{POD_NAME}",
        f"k8s_psat:agent_pod_uid:{POD_UID}",
        "k8s_psat:agent_node_ip:172.16.10.1",
        "k8s_psat:agent_node_name:node-1",
        f"k8s_psat:agent_node_uid:{NODE_UID}",
    ]
    assert cluster.requests == [
        "POST /apis/authentication.k8s.io/v1/tokenreviews",
        f"GET /api/v1/namespaces/spire/pods/{POD_NAME}",
        "GET /api/v1/nodes/node-1",
    ]


async def test_labels_become_selectors_only_where_their_keys_are_allowed(
    cluster: FakeKubernetes, pod: dict[str, Any], make_server: MakeServer
) -> None:
    server = make_server(
        allowed_node_label_keys=["zone", "empty", "absent"], allowed_pod_label_keys=["team"]
    )
    result = await attest(server, cluster.issue_token(pod))
    assert [each.value for each in result.selectors if "label" in each.value] == [
        "agent_node_label:empty:",
        "agent_node_label:zone:a",
        "agent_pod_label:team:red",
    ]


async def test_the_agents_id_may_be_made_of_its_pod(
    cluster: FakeKubernetes, pod: dict[str, Any], make_server: MakeServer
) -> None:
    result = await attest(make_server(use_pod_uid_for_agent_id=True), cluster.issue_token(pod))
    assert result.agent_id.path == f"/spire/agent/k8s_psat/demo-cluster/pod/{POD_UID}"


@pytest.mark.parametrize(
    ("audience", "token_audience"),
    [
        pytest.param(["other"], "other", id="configured"),
        pytest.param(["one", "other"], "other", id="one of several"),
        pytest.param([], "https://kubernetes.default.svc", id="the API server's own"),
    ],
)
async def test_the_audience_is_as_configured(
    cluster: FakeKubernetes,
    pod: dict[str, Any],
    make_server: MakeServer,
    audience: list[str],
    token_audience: str,
) -> None:
    server = make_server(audience=audience)
    await attest(server, cluster.issue_token(pod, audiences=[token_audience]))
    with pytest.raises(Internal, match="is invalid for the target audiences"):
        await attest(server, cluster.issue_token(pod))


_UNABLE = 'unable to validate token with TokenReview API for cluster "demo-cluster": '
_REVIEW = f"{_UNABLE}token review API response contains an error: [invalid bearer token, "


async def test_a_token_for_another_audience_is_refused(
    cluster: FakeKubernetes, pod: dict[str, Any], make_server: MakeServer
) -> None:
    with pytest.raises(Internal) as caught:
        await attest(make_server(), cluster.issue_token(pod, audiences=["vault"]))
    assert caught.value.message == (
        f'{_REVIEW}token audiences ["vault"] is invalid for the target audiences ["spire-server"]]'
    )


async def test_a_token_of_a_deleted_pod_is_refused(
    cluster: FakeKubernetes, pod: dict[str, Any], make_server: MakeServer
) -> None:
    token = cluster.issue_token(pod)
    cluster.delete_pod(pod)
    with pytest.raises(Internal) as caught:
        await attest(make_server(), token)
    assert caught.value.message == f"{_REVIEW}service account token has been invalidated]"


async def test_an_expired_token_is_refused(
    cluster: FakeKubernetes, pod: dict[str, Any], make_server: MakeServer
) -> None:
    with pytest.raises(Internal, match="service account token has expired"):
        await attest(make_server(), cluster.issue_token(pod, seconds=-10))


@pytest.mark.parametrize("explained", [True, False])
async def test_a_token_of_another_cluster_is_refused(
    cluster: FakeKubernetes, pod: dict[str, Any], make_server: MakeServer, explained: bool
) -> None:
    cluster.api.review_errors = explained
    with FakeKubernetes() as other:
        token = other.issue_token(pod)
    with pytest.raises(SpireError) as caught:
        await attest(make_server(), token)
    if explained:
        assert isinstance(caught.value, Internal)
        assert caught.value.message == (
            f"{_UNABLE}token review API response contains an error: invalid bearer token"
        )
    else:
        assert isinstance(caught.value, PermissionDenied)
        assert caught.value.message == (
            'token not authenticated according to TokenReview API for cluster "demo-cluster"'
        )


async def test_a_cluster_that_is_not_configured_is_refused(
    cluster: FakeKubernetes, pod: dict[str, Any], make_server: MakeServer
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await attest(make_server(), cluster.issue_token(pod), 'a"b')
    assert caught.value.message == r'not configured for cluster "a\"b"'
    assert cluster.requests == []


async def test_the_log_is_not_for_strangers_to_fill(
    cluster: FakeKubernetes, pod: dict[str, Any], make_server: MakeServer
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await attest(make_server(), cluster.issue_token(pod), "x" * 50_000)
    assert len(caught.value.message) < 300


@pytest.mark.parametrize(
    ("namespace", "account"),
    [
        pytest.param("other", "spire-agent", id="namespace"),
        pytest.param("spire", "default", id="account"),
    ],
)
async def test_another_service_account_is_refused(
    cluster: FakeKubernetes, make_server: MakeServer, namespace: str, account: str
) -> None:
    pod = cluster.add_pod(namespace, "x", node="node-1", service_account=account)
    with pytest.raises(PermissionDenied) as caught:
        await attest(make_server(), cluster.issue_token(pod))
    assert caught.value.message == (
        f'"{namespace}:{account}" is not an allowed service account for cluster "demo-cluster"'
    )


def _status(**changes: Any) -> dict[str, Any]:
    """What a review of a good token says, with changes."""
    extra = {
        "authentication.kubernetes.io/pod-name": [POD_NAME],
        "authentication.kubernetes.io/pod-uid": [POD_UID],
    }
    user = {"username": "system:serviceaccount:spire:spire-agent", "extra": extra}
    status = {"authenticated": True, "user": user, "audiences": ["spire-server"]}
    return {**status, **changes}


def _user(username: str = "system:serviceaccount:spire:spire-agent", **extra: Any) -> Any:
    names = {f"authentication.kubernetes.io/{key.replace('_', '-')}": extra[key] for key in extra}
    return {"username": username, "extra": names}


_USERNAME = 'failed to parse username from token review status for cluster "demo-cluster": '
_NAME = 'failed to get pod name from token review status for cluster "demo-cluster": '
_UID = 'failed to get pod UID from token review status for cluster "demo-cluster": '


@pytest.mark.parametrize(
    ("status", "message"),
    [
        pytest.param(
            _status(audiences=["other"]),
            f"{_UNABLE}token review API did not validate audience: "
            'wanted one of ["spire-server"] but got ["other"]',
            id="other audience",
        ),
        pytest.param(
            _status(audiences=None),
            f"{_UNABLE}token review API did not validate audience: "
            'wanted one of ["spire-server"] but got []',
            id="server that knows no audiences",
        ),
        pytest.param(_status(user=None), f"{_USERNAME}empty username", id="no user"),
        pytest.param(
            _status(user=_user("admin")),
            f"{_USERNAME}unexpected username format: admin",
            id="a person",
        ),
        pytest.param(
            _status(user=_user("a:b:spire:spire-agent")),
            f"{_USERNAME}unexpected username format: a:b:spire:spire-agent",
            id="a user whose name looks alike",
        ),
        pytest.param(
            _status(user=_user("system:serviceaccount::x")),
            f"{_USERNAME}missing namespace",
            id="no namespace",
        ),
        pytest.param(
            _status(user=_user("system:serviceaccount:spire:")),
            f"{_USERNAME}missing service account name",
            id="no name",
        ),
        pytest.param(_status(user=_user()), f"{_NAME}missing pod name", id="not bound to a pod"),
        pytest.param(
            _status(user=_user(pod_name=["a", "b"])),
            f"{_NAME}expected 1 name but got: 2",
            id="two pods",
        ),
        pytest.param(
            _status(user=_user(pod_name=[""])), f"{_NAME}pod name is empty", id="empty pod name"
        ),
        pytest.param(
            _status(user=_user(pod_name=["x"])), f"{_UID}missing pod UID", id="no pod UID"
        ),
        pytest.param(
            _status(user=_user(pod_name=["x"], pod_uid=["a", "b"])),
            f"{_UID}expected 1 UID but got: 2",
            id="two pod UIDs",
        ),
        pytest.param(
            _status(user=_user(pod_name=["x"], pod_uid=[""])),
            f"{_UID}pod UID is empty",
            id="empty pod UID",
        ),
    ],
)
async def test_a_review_that_does_not_tell_enough_is_refused(
    cluster: FakeKubernetes, pod: dict[str, Any], make_server: MakeServer, status: Any, message: str
) -> None:
    cluster.api.review_overrides = status
    with pytest.raises(Internal) as caught:
        await attest(make_server(), cluster.issue_token(pod))
    assert caught.value.message == message


@pytest.mark.parametrize(
    "status",
    [
        pytest.param({"error": "x" * 1_000_000}, id="error"),
        pytest.param(_status(audiences=["x" * 1_000_000]), id="audiences"),
        pytest.param(_status(user=_user("x" * 1_000_000)), id="user"),
    ],
)
async def test_an_api_servers_words_are_cut(
    cluster: FakeKubernetes, make_server: MakeServer, status: Any
) -> None:
    cluster.api.review_overrides = status
    with pytest.raises(Internal) as caught:
        await attest(make_server(), "token")
    assert len(caught.value.message) <= 2001


async def test_authenticated_must_be_true(
    cluster: FakeKubernetes, pod: dict[str, Any], make_server: MakeServer
) -> None:
    cluster.api.review_overrides = _status(authenticated="true")
    with pytest.raises(PermissionDenied, match="token not authenticated"):
        await attest(make_server(), "token")


async def test_a_pod_that_has_taken_the_others_name_is_refused(
    cluster: FakeKubernetes, make_server: MakeServer
) -> None:
    cluster.api.review_overrides = _status()
    cluster.add_pod("spire", POD_NAME, node="node-1", uid="another")
    with pytest.raises(PermissionDenied) as caught:
        await attest(make_server(), "token")
    assert caught.value.message == (
        f'pod UID mismatch for pod "{POD_NAME}" in cluster "demo-cluster": '
        f'token bound to pod UID "{POD_UID}"'
    )


async def test_a_pod_that_is_gone_is_refused(
    cluster: FakeKubernetes, make_server: MakeServer
) -> None:
    cluster.api.review_overrides = _status()
    with pytest.raises(Internal) as caught:
        await attest(make_server(), "token")
    assert caught.value.message == (
        'failed to get pod from k8s API server for cluster "demo-cluster": '
        f'unable to query pods API: pods "{POD_NAME}" not found'
    )


_NODE = 'failed to get node from k8s API server for cluster "demo-cluster": '


async def test_a_node_that_is_gone_is_refused(
    cluster: FakeKubernetes, pod: dict[str, Any], make_server: MakeServer
) -> None:
    cluster.delete_node("node-1")
    with pytest.raises(Internal) as caught:
        await attest(make_server(), cluster.issue_token(pod))
    assert caught.value.message == f'{_NODE}unable to query nodes API: nodes "node-1" not found'


async def test_a_pod_without_a_node_is_refused(
    cluster: FakeKubernetes, make_server: MakeServer
) -> None:
    pod = cluster.add_pod("spire", "pending", node="")
    with pytest.raises(Internal) as caught:
        await attest(make_server(), cluster.issue_token(pod))
    assert caught.value.message == f"{_NODE}empty node name"


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        pytest.param(b"", "missing attestation payload", id="nothing"),
        pytest.param(b"{", "failed to unmarshal data payload: JSON is malformed", id="no JSON"),
        pytest.param(
            b'{"cluster": 1, "token": "x"}',
            "failed to unmarshal data payload: cluster must be a text",
            id="number",
        ),
        pytest.param(b'{"token": "x"}', "missing cluster in attestation data", id="no cluster"),
        pytest.param(
            b'{"cluster": "demo-cluster"}', "missing token in attestation data", id="no token"
        ),
        pytest.param(
            b'{"cluster": null, "token": "x"}', "missing cluster in attestation data", id="null"
        ),
    ],
)
async def test_a_payload_that_lacks_something_is_refused(
    cluster: FakeKubernetes, make_server: MakeServer, sent: bytes, message: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await make_server().attest(sent, no_challenge)
    assert caught.value.message == message
    assert cluster.requests == []


@pytest.mark.parametrize(
    ("fault", "where", "message"),
    [
        pytest.param(
            Fault.FORBIDDEN,
            "tokenreviews",
            f"{_UNABLE}unable to query token review API: ",
            id="403",
        ),
        pytest.param(Fault.UNAUTHORIZED, "pods", "failed to get pod from k8s API server", id="401"),
        pytest.param(Fault.CUT, "nodes", f"{_NODE}unable to query nodes API: no answer", id="cut"),
        pytest.param(Fault.HALF_JSON, "nodes", "the answer cannot be read", id="half JSON"),
        pytest.param(Fault.HUGE, "pods", "the answer is longer than", id="100 MB"),
        pytest.param(Fault.UNAVAILABLE, "tokenreviews", _UNABLE, id="503"),
    ],
)
async def test_an_api_server_in_trouble_refuses_now_and_not_later(
    cluster: FakeKubernetes,
    pod: dict[str, Any],
    make_server: MakeServer,
    fault: Fault,
    where: str,
    message: str,
) -> None:
    cluster.faults.add(fault, where, times=1)
    server, token = make_server(), cluster.issue_token(pod)
    with pytest.raises(Internal) as caught:
        await attest(server, token)
    assert message in caught.value.message
    assert token not in caught.value.message
    await attest(server, token)


async def test_each_cluster_has_its_own_api_server(
    cluster: FakeKubernetes, pod: dict[str, Any], tmp_path: Path
) -> None:
    with FakeKubernetes() as other:
        other.add_node("node-2")
        other_pod = other.add_pod("spire", "there", node="node-2")
        clusters = {
            name: {
                "service_account_allow_list": ["spire:spire-agent"],
                "kube_config_file": str(one.write_kubeconfig(tmp_path / name)),
            }
            for name, one in (("here", cluster), ("there", other))
        }
        async with _server({"clusters": clusters}) as server:
            here = await attest(server, cluster.issue_token(pod), "here")
            there = await attest(server, other.issue_token(other_pod), "there")
            assert (here.agent_id.path.split("/")[4], there.agent_id.path.split("/")[4]) == (
                "here",
                "there",
            )
            with pytest.raises(Internal, match="invalid bearer token"):
                await attest(server, cluster.issue_token(pod), "there")


@asynccontextmanager
async def _server(
    data: Any, pod: Pod | None = None, context: PluginContext | None = None
) -> AsyncIterator[Server]:
    server = configure_in(
        pod or Pod(Path("/nowhere"), {}), data, context or PluginContext(TRUST_DOMAIN)
    )
    try:
        yield server
    finally:
        await server.aclose()


async def test_in_a_cluster_the_pods_own_access_is_used_and_read_anew(
    cluster: FakeKubernetes, pod: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "serviceaccount"
    own = Pod(folder, cluster.write_service_account(folder))
    data = {"clusters": {"demo-cluster": {"service_account_allow_list": ["spire:spire-agent"]}}}
    async with _server(data, own) as server:
        await attest(server, cluster.issue_token(pod))
        (folder / "token").write_text(cluster.client_token(seconds=-10))
        with pytest.raises(Internal, match="Unauthorized"):
            await attest(server, cluster.issue_token(pod))
        (folder / "token").write_text(cluster.client_token() + "\n")
        await attest(server, cluster.issue_token(pod))


async def test_outside_of_a_cluster_a_kubeconfig_is_asked_for(tmp_path: Path) -> None:
    data = {"clusters": {"demo-cluster": {"service_account_allow_list": ["spire:spire-agent"]}}}
    async with _server(data) as server:
        with pytest.raises(Internal) as caught:
            await attest(server, "token")
        assert caught.value.message == (
            f"{_UNABLE}unable to get clientset: unable to create client config: unable to load "
            "in-cluster configuration, KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT must be "
            "defined"
        )


async def test_missing_rules_are_told_at_the_start(
    cluster: FakeKubernetes, make_server: MakeServer
) -> None:
    server = make_server()
    assert await server.check_surroundings() == []
    cluster.rules.denied |= {("create", "tokenreviews"), ("get", "nodes"), ("get", "pods")}
    lacks = 'cluster "demo-cluster": the service account or user lacks the RBAC rule apiGroups: '
    assert await server.check_surroundings() == [
        f'{lacks}["authentication.k8s.io"], resources: ["tokenreviews"], verbs: ["create"]',
        f'{lacks}[""], resources: ["pods"], verbs: ["get"] in namespace spire',
        f'{lacks}[""], resources: ["nodes"], verbs: ["get"]',
    ]


async def test_an_api_server_that_is_away_is_told_at_the_start(
    cluster: FakeKubernetes, make_server: MakeServer
) -> None:
    server = make_server()
    cluster.close()
    (told,) = await server.check_surroundings()
    assert told.startswith(
        'cluster "demo-cluster": the Kubernetes API server cannot be used: no answer from https://'
    )
