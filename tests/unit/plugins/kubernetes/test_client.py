"""The client and the API server of the tests, against each other."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from pathlib import Path

import pytest
from spire_py_plugins.kubernetes.client import KubernetesClient, PatchType, WatchEvent
from spire_py_plugins.kubernetes.errors import Conflict, Gone, error_for_answer
from spire_py_plugins.kubernetes.kubeconfig import Kubeconfig
from spire_py_plugins.kubernetes.resources import CONFIG_MAPS, MUTATING_WEBHOOKS, NODES, PODS
from spire_py_plugins.kubernetes.session import Limits

from spire_py.errors import (
    AlreadyExists,
    Internal,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    SpireError,
    Unauthenticated,
    Unavailable,
)
from tests.fakes.kubernetes import FakeKubernetes, Fault

MANAGER = "spire-bundlepublisher-k8s_configmap"


async def test_an_object_is_read(client: KubernetesClient, cluster: FakeKubernetes) -> None:
    cluster.add_node("node-1", uid="uid-1")
    node = await client.get(NODES, "node-1")
    assert node["metadata"]["uid"] == "uid-1"


async def test_requests_share_a_connection(
    client: KubernetesClient, cluster: FakeKubernetes
) -> None:
    cluster.add_node("node-1")
    for _ in range(5):
        await client.get(NODES, "node-1")
    assert cluster.connections == 1


async def test_a_connection_that_was_dropped_is_made_anew(
    client: KubernetesClient, cluster: FakeKubernetes
) -> None:
    cluster.add_node("node-1")
    await client.get(NODES, "node-1")
    cluster.drop_connections()
    assert (await client.get(NODES, "node-1"))["kind"] == "Node"


async def test_what_is_not_there_is_not_found(client: KubernetesClient) -> None:
    with pytest.raises(NotFound, match='pods "gone" not found'):
        await client.get(PODS, "gone", "spire")


async def test_a_missing_rule_is_named(client: KubernetesClient, cluster: FakeKubernetes) -> None:
    cluster.rules.denied.add(("get", "nodes"))
    with pytest.raises(PermissionDenied, match='cannot get resource "nodes" in API group ""'):
        await client.get(NODES, "node-1")


@pytest.mark.parametrize(
    ("name", "namespace"),
    [
        pytest.param("", "spire", id="empty name"),
        pytest.param("a", "", id="empty namespace"),
        pytest.param("../nodes/x", "spire", id="path"),
        pytest.param("..", "spire", id="dots"),
        pytest.param("%2e%2e", "spire", id="escaped"),
    ],
)
async def test_a_name_never_leads_elsewhere(
    client: KubernetesClient, cluster: FakeKubernetes, name: str, namespace: str
) -> None:
    with pytest.raises(InvalidArgument):
        await client.get(PODS, name, namespace)
    assert cluster.requests == []


async def test_a_query_in_a_name_is_escaped(
    client: KubernetesClient, cluster: FakeKubernetes
) -> None:
    with pytest.raises(NotFound):
        await client.get(NODES, "a?watch=true#b")
    assert cluster.requests == ["GET /api/v1/nodes/a%3Fwatch%3Dtrue%23b"]


@pytest.mark.parametrize(
    ("fault", "kind", "message"),
    [
        pytest.param(Fault.HANG, Unavailable, "within 0.3 s", id="hangs"),
        pytest.param(Fault.STALL, Unavailable, "within 0.3 s", id="stalls"),
        pytest.param(Fault.DROP, Unavailable, "no answer from https://127", id="drops"),
        pytest.param(Fault.CUT, Unavailable, "no answer from https://127", id="cut"),
        pytest.param(Fault.HALF_JSON, Internal, "JSON is malformed", id="half JSON"),
        pytest.param(Fault.NO_JSON, Internal, "JSON is malformed", id="HTML"),
        pytest.param(Fault.LIST, Internal, "JSON is not an object", id="list"),
        pytest.param(Fault.HUGE, ResourceExhausted, "longer than 100000 bytes", id="100 MB"),
        pytest.param(Fault.ZIPPED, Unavailable, "encoded as 'gzip'", id="zipped"),
        pytest.param(Fault.REDIRECT, Internal, "status 307", id="redirect"),
        pytest.param(Fault.UNAUTHORIZED, Unauthenticated, "UNAUTHORIZED", id="401"),
        pytest.param(Fault.FORBIDDEN, PermissionDenied, "FORBIDDEN", id="403"),
        pytest.param(Fault.NOT_FOUND, NotFound, "NOT_FOUND", id="404"),
        pytest.param(Fault.TOO_MANY, Unavailable, "TOO_MANY", id="429"),
        pytest.param(Fault.INTERNAL, Unavailable, "INTERNAL", id="500"),
        pytest.param(Fault.UNAVAILABLE, Unavailable, "UNAVAILABLE", id="503"),
    ],
)
async def test_an_api_server_in_trouble_is_an_error_and_then_forgotten(
    cluster: FakeKubernetes, tmp_path: Path, fault: Fault, kind: type[SpireError], message: str
) -> None:
    cluster.add_node("node-1")
    cluster.faults.add(fault, "nodes", times=1)
    client = KubernetesClient(
        Kubeconfig(cluster.write_kubeconfig(tmp_path / "kubeconfig")),
        Limits(answer_seconds=0.3, answer_bytes=100_000),
    )
    async with aclosing(client):
        with pytest.raises(kind, match=message):
            await client.get(NODES, "node-1")
    other = KubernetesClient(Kubeconfig(tmp_path / "kubeconfig"))
    async with aclosing(other):
        assert (await other.get(NODES, "node-1"))["kind"] == "Node"


def test_a_servers_words_are_one_line_of_bounded_length() -> None:
    body = json.dumps({"message": "first\nsecond\u2028" + "x" * 10_000}).encode()
    error = error_for_answer(500, body)
    assert error.message == "first second " + "x" * 487 + "…"


async def test_no_proxy_stands_between_a_host_and_itself(
    client: KubernetesClient, cluster: FakeKubernetes, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.add_node("node-1")
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    await client.get(NODES, "node-1")


async def test_a_server_of_another_ca_is_not_trusted(
    cluster: FakeKubernetes, tmp_path: Path
) -> None:
    with FakeKubernetes() as other:
        path = cluster.write_kubeconfig(tmp_path / "kubeconfig", cluster={"server": other.url})
        client = KubernetesClient(Kubeconfig(path))
        async with aclosing(client):
            with pytest.raises(Unavailable, match="its certificate is not trusted"):
                await client.get(NODES, "node-1")
        assert other.requests == []


async def test_a_server_of_another_name_is_not_trusted(tmp_path: Path) -> None:
    with FakeKubernetes(names=["elsewhere"]) as cluster:
        client = KubernetesClient(Kubeconfig(cluster.write_kubeconfig(tmp_path / "kubeconfig")))
        async with aclosing(client):
            with pytest.raises(Unavailable, match="its certificate is not trusted: IP address"):
                await client.get(NODES, "node-1")


async def test_a_server_that_is_away_is_said_to_be(
    cluster: FakeKubernetes, client: KubernetesClient
) -> None:
    cluster.close()
    with pytest.raises(Unavailable, match="no answer from https://127"):
        await client.get(NODES, "node-1")


async def test_a_list_comes_in_pages(client: KubernetesClient, cluster: FakeKubernetes) -> None:
    for number in range(101):
        cluster.add_config_map("spire", f"map-{number:03}", {})
    cluster.add_config_map("other", "map", {})
    found, version = await client.list(CONFIG_MAPS, "spire")
    assert len(found) == 101
    assert version == str(cluster.store.version)
    assert len(cluster.requests) == 2


async def test_a_list_is_selected(client: KubernetesClient, cluster: FakeKubernetes) -> None:
    cluster.add_namespace("a", labels={"team": "red"})
    cluster.add_pod("spire", "here", node="node-1", labels={"app": "agent"})
    cluster.add_pod("spire", "there", node="node-2", labels={"app": "agent"})
    found, _ = await client.list(
        PODS, label_selector="app=agent", field_selector="spec.nodeName=node-1"
    )
    assert [pod["metadata"]["name"] for pod in found] == ["here"]


async def test_an_object_is_made_once(client: KubernetesClient, cluster: FakeKubernetes) -> None:
    body = {"metadata": {"name": "bundle"}, "data": {"key": "one"}}
    made = await client.create(CONFIG_MAPS, body, "spire")
    assert made["metadata"]["resourceVersion"]
    with pytest.raises(AlreadyExists, match='configmaps "bundle" already exists'):
        await client.create(CONFIG_MAPS, body, "spire")


async def test_a_stale_write_conflicts(client: KubernetesClient, cluster: FakeKubernetes) -> None:
    stale = cluster.add_config_map("spire", "bundle", {"key": "one"})
    await client.replace(
        CONFIG_MAPS, "bundle", {"metadata": {"name": "bundle"}, "data": {"key": "two"}}, "spire"
    )
    with pytest.raises(Conflict, match="the object has been modified"):
        await client.replace(CONFIG_MAPS, "bundle", stale, "spire")
    patch = {"metadata": {"resourceVersion": stale["metadata"]["resourceVersion"]}}
    with pytest.raises(Conflict):
        await client.patch(CONFIG_MAPS, "bundle", patch, PatchType.STRATEGIC_MERGE, "spire")
    assert cluster.config_map("spire", "bundle")["data"] == {"key": "two"}


@pytest.mark.parametrize(
    ("kind", "patch", "expected"),
    [
        pytest.param(
            PatchType.MERGE, {"data": {"a": None, "c": "3"}}, {"b": "2", "c": "3"}, id="merge"
        ),
        pytest.param(
            PatchType.STRATEGIC_MERGE, {"data": {"b": "4"}}, {"a": "1", "b": "4"}, id="strategic"
        ),
        pytest.param(
            PatchType.JSON,
            [
                {"op": "test", "path": "/data/a", "value": "1"},
                {"op": "replace", "path": "/data/a", "value": "5"},
                {"op": "remove", "path": "/data/b"},
            ],
            {"a": "5"},
            id="JSON",
        ),
    ],
)
async def test_an_object_is_patched(
    client: KubernetesClient,
    cluster: FakeKubernetes,
    kind: PatchType,
    patch: object,
    expected: dict[str, str],
) -> None:
    cluster.add_config_map("spire", "bundle", {"a": "1", "b": "2"})
    await client.patch(CONFIG_MAPS, "bundle", patch, kind, "spire")
    assert cluster.config_map("spire", "bundle")["data"] == expected


async def test_a_strategic_patch_merges_webhooks_by_name(
    client: KubernetesClient, cluster: FakeKubernetes
) -> None:
    hooks = [{"name": name, "clientConfig": {"url": "https://x"}} for name in ("a", "b")]
    await client.create(MUTATING_WEBHOOKS, {"metadata": {"name": "hook"}, "webhooks": hooks})
    patch = {"webhooks": [{"name": "b", "clientConfig": {"caBundle": "Zm9v"}}]}
    result = await client.patch(MUTATING_WEBHOOKS, "hook", patch, PatchType.STRATEGIC_MERGE)
    assert result["webhooks"] == [
        hooks[0],
        {"name": "b", "clientConfig": {"url": "https://x", "caBundle": "Zm9v"}},
    ]


async def test_apply_makes_an_object_and_keeps_to_its_own_fields(
    client: KubernetesClient, cluster: FakeKubernetes
) -> None:
    async def apply(force: bool = False, **data: str) -> dict[str, str]:
        body = {"metadata": {"name": "bundle"}, "data": data}
        result = await client.apply(
            CONFIG_MAPS, "bundle", body, field_manager=MANAGER, namespace="spire", force=force
        )
        found: dict[str, str] = result["data"]
        return found

    assert await apply(mine="1", gone="1") == {"mine": "1", "gone": "1"}
    version = cluster.config_map("spire", "bundle")["metadata"]["resourceVersion"]
    assert await apply(mine="1", gone="1") == {"mine": "1", "gone": "1"}
    assert cluster.config_map("spire", "bundle")["metadata"]["resourceVersion"] == version
    edit = {"data": {"mine": "edited", "theirs": "2"}}
    await client.patch(CONFIG_MAPS, "bundle", edit, PatchType.MERGE, "spire")
    with pytest.raises(Conflict, match="Apply failed with 1 conflict"):
        await apply(mine="3")
    assert await apply(force=True, mine="3") == {"mine": "3", "theirs": "2"}


async def _take(client: KubernetesClient, since: str, count: int) -> list[WatchEvent]:
    found: list[WatchEvent] = []
    async with asyncio.timeout(20), aclosing(client.watch(CONFIG_MAPS, since=since)) as events:
        async for event in events:
            found.append(event)
            if len(found) == count:
                break
    return found


async def test_a_watch_tells_what_happens(
    client: KubernetesClient, cluster: FakeKubernetes
) -> None:
    cluster.add_config_map("spire", "before", {})
    _, version = await client.list(CONFIG_MAPS)
    watching = asyncio.create_task(_take(client, version, 3))
    await client.create(CONFIG_MAPS, {"metadata": {"name": "new"}}, "spire")
    await client.patch(CONFIG_MAPS, "new", {"data": {"a": "b"}}, PatchType.MERGE, "spire")
    await client.delete(CONFIG_MAPS, "new", "spire")
    events = await watching
    assert [event.type for event in events] == ["ADDED", "MODIFIED", "DELETED"]
    assert {event.object["metadata"]["name"] for event in events} == {"new"}
    assert events[-1].resource_version == str(cluster.store.version)


async def test_a_watch_ends_by_itself(client: KubernetesClient, cluster: FakeKubernetes) -> None:
    events = client.watch(CONFIG_MAPS, since=str(cluster.store.version), seconds=0)
    assert [event async for event in events] == []


async def test_a_watch_from_too_long_ago_is_gone(
    client: KubernetesClient, cluster: FakeKubernetes
) -> None:
    version = str(cluster.store.version)
    cluster.store.forget_history()
    with pytest.raises(Gone, match="too old resource version"):
        await _take(client, version, 1)


async def test_a_watch_that_is_cut_is_an_error(
    client: KubernetesClient, cluster: FakeKubernetes
) -> None:
    since = str(cluster.store.version)
    cluster.add_config_map("spire", "one", {})
    async with aclosing(client.watch(CONFIG_MAPS, since=since)) as events:
        assert (await anext(events)).type == "ADDED"
        cluster.drop_connections()
        with pytest.raises(Unavailable, match="no answer from"):
            await anext(events)
