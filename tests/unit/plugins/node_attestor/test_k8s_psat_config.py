"""The settings of k8s_psat, both ends, and the agent's token file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from spire_py_plugins.kubernetes.in_cluster import Pod
from spire_py_plugins.node_attestor.k8s_psat.agent import configure
from spire_py_plugins.node_attestor.k8s_psat.config import Cluster, read_clusters

from spire_py.config.hcl import parse
from spire_py.errors import InvalidArgument
from spire_py.plugin_api.context import PluginContext
from spire_py.runtime.watch import Watch
from spire_py.spiffe.bundle import Bundle
from spire_py.spiffe.id import TrustDomain

TRUST_DOMAIN = TrustDomain("example.org")
OUTSIDE = Pod(Path("/nowhere"), {})


@pytest.fixture
def context() -> PluginContext:
    return PluginContext(TRUST_DOMAIN)


@pytest.fixture
def running() -> PluginContext:
    return PluginContext(TRUST_DOMAIN, trust_bundle=Watch(Bundle(TRUST_DOMAIN)))


@pytest.fixture
def inside(tmp_path: Path) -> Pod:
    (tmp_path / "namespace").write_text("spire-system")
    return Pod(tmp_path, {})


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(
            'clusters = { "a" = { service_account_allow_list = ["spire:agent"] } }', id="map"
        ),
        pytest.param(
            'clusters { "a" { service_account_allow_list = ["spire:agent"] } }', id="block"
        ),
        pytest.param(
            'clusters { a = { service_account_allow_list = ["spire:agent"] } }', id="mixed"
        ),
        pytest.param('clusters "a" { service_account_allow_list = ["spire:agent"] }', id="label"),
        pytest.param(
            '{"clusters": {"a": {"service_account_allow_list": ["spire:agent"]}}}', id="JSON"
        ),
        pytest.param(
            '{"clusters": [{"a": [{"service_account_allow_list": ["spire:agent"]}]}]}',
            id="JSON lists",
        ),
    ],
)
def test_clusters_may_be_written_as_map_or_block(text: str, context: PluginContext) -> None:
    assert read_clusters(parse(text), context, OUTSIDE) == [
        Cluster("a", frozenset({"spire:agent"}))
    ]
    assert context.warnings == []


def test_all_settings_are_read(context: PluginContext) -> None:
    text = """
    clusters = {
        "one" = {
            service_account_allow_list = ["spire:agent", "other:agent"]
            audience = []
            kube_config_file = "/etc/kubeconfig"
            allowed_node_label_keys = ["zone"]
            allowed_pod_label_keys = ["app", "team"]
            use_pod_uid_for_agent_id = true
        }
        "two" = { service_account_allow_list = ["spire:agent"] audience = ["x", "y"] }
    }
    """
    assert read_clusters(parse(text), context, OUTSIDE) == [
        Cluster(
            "one",
            frozenset({"spire:agent", "other:agent"}),
            audiences=(),
            kubeconfig=Path("/etc/kubeconfig"),
            node_label_keys=frozenset({"zone"}),
            pod_label_keys=frozenset({"app", "team"}),
            use_pod_uid=True,
        ),
        Cluster("two", frozenset({"spire:agent"}), audiences=("x", "y")),
    ]


def test_without_an_audience_it_is_the_servers(context: PluginContext) -> None:
    data = {"clusters": {"a": {"service_account_allow_list": ["spire:agent"]}}}
    (cluster,) = read_clusters(data, context, OUTSIDE)
    assert cluster.audiences == ("spire-server",)


def test_an_account_without_a_namespace_is_of_the_servers_own(
    running: PluginContext, inside: Pod
) -> None:
    data = {"clusters": {"a": {"service_account_allow_list": ["spire-agent"]}}}
    (cluster,) = read_clusters(data, running, inside)
    assert cluster.service_accounts == {"spire-system:spire-agent"}
    (warning,) = running.warnings
    assert warning == (
        'cluster "a": service_account_allow_list has "spire-agent" without a namespace; it is '
        'taken as "spire-system:spire-agent", in the server\'s own namespace'
    )


def test_in_another_cluster_the_servers_own_namespace_means_nothing(
    running: PluginContext, inside: Pod
) -> None:
    block = {"service_account_allow_list": ["spire-agent"], "kube_config_file": "/elsewhere"}
    with pytest.raises(InvalidArgument) as caught:
        read_clusters({"clusters": {"a": block}}, running, inside)
    assert caught.value.message == (
        'cluster "a": service_account_allow_list has "spire-agent" without a namespace, and '
        "kube_config_file may lead to another cluster than the server's own; "
        'write "<namespace>:spire-agent"'
    )


_LACK = (
    'cluster "a": service_account_allow_list has "spire-agent" without a namespace, and the '
    "server runs outside of a cluster, where it has no namespace of its own; "
    'write "<namespace>:spire-agent"'
)


def test_outside_of_a_cluster_an_account_needs_a_namespace(running: PluginContext) -> None:
    data = {"clusters": {"a": {"service_account_allow_list": ["spire-agent"]}}}
    with pytest.raises(InvalidArgument) as caught:
        read_clusters(data, running, OUTSIDE)
    assert caught.value.message == _LACK


def test_validate_warns_of_it_as_the_server_may_run_elsewhere(context: PluginContext) -> None:
    data = {"clusters": {"a": {"service_account_allow_list": ["spire-agent"]}}}
    (cluster,) = read_clusters(data, context, OUTSIDE)
    assert context.warnings == [_LACK]
    assert cluster.service_accounts == {"spire-agent"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(
            {"clusters": {"a": {}, "b": {"service_account_allow_list": []}}},
            'cluster "a" configuration must have at least one service account allowed; '
            'cluster "b" configuration must have at least one service account allowed',
            id="nobody allowed",
        ),
        pytest.param({"clusters": "a"}, "clusters must be a map of clusters", id="text"),
        pytest.param(
            {"clusters": {"a": "b"}}, 'cluster "a" must be a map of settings', id="text inside"
        ),
        pytest.param(
            {
                "clusters": {
                    "a": {
                        "service_account_allow_list": ["x:y"],
                        "use_pod_uid_for_agent_id": "maybe",
                        "audience": {},
                    }
                }
            },
            "audience must be a list of strings; use_pod_uid_for_agent_id must be true or false",
            id="wrong kinds",
        ),
    ],
)
def test_faults_are_told_together(data: Any, message: str, context: PluginContext) -> None:
    with pytest.raises(InvalidArgument) as caught:
        read_clusters(data, context, OUTSIDE)
    assert caught.value.message == message


@pytest.mark.parametrize("data", [{}, {"clusters": {}}, {"clusters": None}])
def test_no_cluster_is_a_warning(data: Any, context: PluginContext) -> None:
    assert read_clusters(data, context, OUTSIDE) == []
    assert context.warnings == ["No clusters configured, PSAT attestation is effectively disabled"]


def test_unknown_keys_are_warned_of_with_their_lines(context: PluginContext) -> None:
    text = 'cluster = 1\nclusters "a" {\n service_account_allow_list = ["x:y"]\n audiences = []\n}'
    read_clusters(parse(text), context, OUTSIDE)
    assert context.warnings == [
        'unknown setting "audiences" encountered; did you mean "audience"? (line 4)',
        'unknown setting "cluster" encountered; did you mean "clusters"? (line 1)',
    ]


def test_a_cluster_whose_name_fits_no_id_is_warned_of(context: PluginContext) -> None:
    read_clusters(
        {"clusters": {"my cluster": {"service_account_allow_list": ["x:y"]}}}, context, OUTSIDE
    )
    (warning,) = context.warnings
    assert warning.startswith('cluster "my cluster" cannot be used: ')


async def test_the_agent_sends_the_token_of_the_moment(
    tmp_path: Path, context: PluginContext
) -> None:
    path = tmp_path / "spire-agent"
    path.write_text("one\n")
    agent = configure({"cluster": "demo", "token_path": str(path)}, context)
    assert json.loads(await agent.payload()) == {"cluster": "demo", "token": "one"}
    path.write_text("two")
    assert json.loads(await agent.payload()) == {"cluster": "demo", "token": "two"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(None, "no such file or directory", id="missing"),
        pytest.param(b"", '"{path}" is empty', id="empty"),
        pytest.param(b" \n", '"{path}" is empty', id="blank"),
        pytest.param(b"\xff\xfe", '"{path}" holds no token', id="no text"),
        pytest.param(b"a\nb", '"{path}" holds no token', id="lines"),
        pytest.param(b"x" * 40_000, '"{path}" holds no token', id="long"),
    ],
)
async def test_an_agent_without_a_token_says_what_to_mount(
    tmp_path: Path, context: PluginContext, content: bytes | None, reason: str
) -> None:
    path = tmp_path / "spire-agent"
    if content is not None:
        path.write_bytes(content)
    agent = configure({"cluster": "demo", "token_path": str(path)}, context)
    with pytest.raises(InvalidArgument) as caught:
        await agent.payload()
    assert caught.value.message == (
        f"unable to load token from {path}: {reason.format(path=path)}; the agent's pod needs a "
        f"projected volume mounted at {tmp_path} with a serviceAccountToken source that has path: "
        "spire-agent and the audience that the server expects (spire-server by default)"
    )


def test_the_agent_needs_to_know_its_cluster(context: PluginContext) -> None:
    with pytest.raises(InvalidArgument, match="missing required cluster block"):
        configure({}, context)


async def test_the_token_is_where_the_charts_mount_it(context: PluginContext) -> None:
    agent = configure({"cluster": "demo"}, context)
    with pytest.raises(InvalidArgument, match="from /var/run/secrets/tokens/spire-agent: no such"):
        await agent.payload()
