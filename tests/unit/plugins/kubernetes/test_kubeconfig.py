"""Where an API server is and who we are, from files."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from spire_py_plugins.kubernetes.client import KubernetesClient
from spire_py_plugins.kubernetes.exec_credential import ExecPlugin
from spire_py_plugins.kubernetes.kubeconfig import Kubeconfig
from spire_py_plugins.kubernetes.resources import NODES

from spire_py.errors import FailedPrecondition, PermissionDenied, Unauthenticated, Unavailable
from tests.fakes.kubernetes import FakeKubernetes


@pytest.fixture
def cluster() -> Iterator[FakeKubernetes]:
    with FakeKubernetes() as running:
        running.add_node("node-1")
        yield running


async def use(path: Path) -> None:
    client = KubernetesClient(Kubeconfig(path))
    async with aclosing(client):
        await client.get(NODES, "node-1")


def encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


async def test_a_token_file_is_relative_to_the_kubeconfig_and_read_each_time(
    cluster: FakeKubernetes, tmp_path: Path
) -> None:
    path = cluster.write_kubeconfig(tmp_path / "kubeconfig", {"tokenFile": "token"})
    client = KubernetesClient(Kubeconfig(path))
    async with aclosing(client):
        (tmp_path / "token").write_text("stale")
        with pytest.raises(Unauthenticated):
            await client.get(NODES, "node-1")
        (tmp_path / "token").write_text(cluster.client_token() + "\n")
        await client.get(NODES, "node-1")


async def test_a_client_certificate_may_stand_in_the_file_or_beside_it(
    cluster: FakeKubernetes, tmp_path: Path
) -> None:
    issued = cluster.ca.client("admin", ["system:masters"])
    inside = {
        "client-certificate-data": encode(issued.pem),
        "client-key-data": encode(issued.key_pem),
    }
    await use(cluster.write_kubeconfig(tmp_path / "inside", inside))
    (tmp_path / "client.crt").write_text(issued.pem)
    (tmp_path / "client.key").write_text(issued.key_pem)
    beside = {"client-certificate": "client.crt", "client-key": str(tmp_path / "client.key")}
    await use(cluster.write_kubeconfig(tmp_path / "beside", beside))


async def test_a_ca_file_that_is_replaced_counts_at_once(
    cluster: FakeKubernetes, tmp_path: Path
) -> None:
    (tmp_path / "ca.crt").write_text(cluster.ca.pem)
    settings = {"certificate-authority-data": None, "certificate-authority": "ca.crt"}
    client = KubernetesClient(
        Kubeconfig(cluster.write_kubeconfig(tmp_path / "kubeconfig", cluster=settings))
    )
    async with aclosing(client):
        await client.get(NODES, "node-1")
        (tmp_path / "ca.crt").write_text(cluster.ca.pem + cluster.ca.pem)
        await client.get(NODES, "node-1")
        (tmp_path / "ca.crt").write_text("no certificate")
        with pytest.raises(FailedPrecondition, match="no CA certificate for https://"):
            await client.get(NODES, "node-1")
    assert cluster.connections == 2


async def test_a_kubeconfig_that_is_replaced_counts_at_once(
    cluster: FakeKubernetes, tmp_path: Path
) -> None:
    path = tmp_path / "kubeconfig"
    client = KubernetesClient(Kubeconfig(path))
    async with aclosing(client):
        with pytest.raises(FailedPrecondition, match="No such file"):
            await client.get(NODES, "node-1")
        cluster.write_kubeconfig(path, {"token": "stale"})
        with pytest.raises(Unauthenticated):
            await client.get(NODES, "node-1")
        cluster.write_kubeconfig(path)
        await client.get(NODES, "node-1")


async def test_the_name_in_the_servers_certificate_may_be_another(tmp_path: Path) -> None:
    with FakeKubernetes(names=["kubernetes"]) as cluster:
        cluster.add_node("node-1")
        settings = {"tls-server-name": "kubernetes"}
        await use(cluster.write_kubeconfig(tmp_path / "kubeconfig", cluster=settings))


async def test_verification_can_be_switched_off(tmp_path: Path) -> None:
    with FakeKubernetes(names=["elsewhere"]) as cluster:
        cluster.add_node("node-1")
        settings = {"insecure-skip-tls-verify": True, "certificate-authority-data": None}
        await use(cluster.write_kubeconfig(tmp_path / "kubeconfig", cluster=settings))


async def test_verification_is_not_switched_off_by_a_text(tmp_path: Path) -> None:
    with FakeKubernetes(names=["elsewhere"]) as cluster:
        settings = {"insecure-skip-tls-verify": "false"}
        with pytest.raises(Unavailable, match="certificate"):
            await use(cluster.write_kubeconfig(tmp_path / "kubeconfig", cluster=settings))


async def test_a_token_file_comes_before_a_token(cluster: FakeKubernetes, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(cluster.client_token())
    user = {"tokenFile": "token", "token": "stale"}
    await use(cluster.write_kubeconfig(tmp_path / "kubeconfig", user))


async def test_a_user_without_credentials_is_nobody(
    cluster: FakeKubernetes, tmp_path: Path
) -> None:
    with pytest.raises(PermissionDenied, match="system:anonymous"):
        await use(cluster.write_kubeconfig(tmp_path / "kubeconfig", {"username": ""}))


PLUGIN = """
import json, os, pathlib, sys
request = json.loads(os.environ["KUBERNETES_EXEC_INFO"])
assert request["spec"]["interactive"] is False
folder = pathlib.Path(__file__).parent
with (folder / "runs").open("a") as runs:
    runs.write(" ".join(sys.argv[1:]) + os.environ.get("MORE", "") + "\\n")
print((folder / "credential").read_text())
"""
V1 = "client.authentication.k8s.io/v1"


@pytest.fixture
def exec_user(tmp_path: Path) -> dict[str, Any]:
    plugin = tmp_path / "plugin"
    plugin.write_text(f"#!{sys.executable}\n{PLUGIN}")
    plugin.chmod(stat.S_IRWXU)
    return {
        "exec": {
            "apiVersion": V1,
            "command": "./plugin",
            "args": ["get-token"],
            "env": [{"name": "MORE", "value": "!"}],
        }
    }


def write_credential(folder: Path, **status: str) -> None:
    document = {"apiVersion": V1, "kind": "ExecCredential", "status": status}
    (folder / "credential").write_text(json.dumps(document))


async def test_a_credential_plugin_is_run_once_and_again_when_its_token_is_refused(
    cluster: FakeKubernetes, tmp_path: Path, exec_user: dict[str, Any]
) -> None:
    client = KubernetesClient(
        Kubeconfig(cluster.write_kubeconfig(tmp_path / "kubeconfig", exec_user))
    )
    async with aclosing(client):
        write_credential(tmp_path, token="stale")
        with pytest.raises(Unauthenticated):
            await client.get(NODES, "node-1")
        write_credential(tmp_path, token=cluster.client_token())
        await client.get(NODES, "node-1")
        await client.get(NODES, "node-1")
    assert (tmp_path / "runs").read_text() == "get-token!\n" * 3


async def test_a_credential_that_expires_is_got_anew(
    cluster: FakeKubernetes, tmp_path: Path, exec_user: dict[str, Any]
) -> None:
    write_credential(
        tmp_path, token=cluster.client_token(), expirationTimestamp="2020-01-01T00:00:00Z"
    )
    client = KubernetesClient(
        Kubeconfig(cluster.write_kubeconfig(tmp_path / "kubeconfig", exec_user))
    )
    async with aclosing(client):
        await client.get(NODES, "node-1")
        await client.get(NODES, "node-1")
    assert (tmp_path / "runs").read_text() == "get-token!\n" * 2


async def test_a_credential_plugin_may_give_a_certificate(
    cluster: FakeKubernetes, tmp_path: Path, exec_user: dict[str, Any]
) -> None:
    issued = cluster.ca.client("admin")
    write_credential(tmp_path, clientCertificateData=issued.pem, clientKeyData=issued.key_pem)
    await use(cluster.write_kubeconfig(tmp_path / "kubeconfig", exec_user))


async def test_a_credential_that_never_was_new_is_got_anew(
    cluster: FakeKubernetes, tmp_path: Path, exec_user: dict[str, Any]
) -> None:
    # What Go writes for no time at all.
    write_credential(
        tmp_path, token=cluster.client_token(), expirationTimestamp="0001-01-01T00:00:00Z"
    )
    client = KubernetesClient(
        Kubeconfig(cluster.write_kubeconfig(tmp_path / "kubeconfig", exec_user))
    )
    async with aclosing(client):
        await client.get(NODES, "node-1")
        await client.get(NODES, "node-1")
    assert (tmp_path / "runs").read_text() == "get-token!\n" * 2


async def test_a_credential_that_is_no_token_is_neither_shown_nor_kept(
    cluster: FakeKubernetes, tmp_path: Path, exec_user: dict[str, Any]
) -> None:
    client = KubernetesClient(
        Kubeconfig(cluster.write_kubeconfig(tmp_path / "kubeconfig", exec_user))
    )
    async with aclosing(client):
        write_credential(tmp_path, token="secret\nX-Header: yes")
        with pytest.raises(FailedPrecondition, match=r"that no token can have$"):
            await client.get(NODES, "node-1")
        write_credential(tmp_path, token=cluster.client_token())
        await client.get(NODES, "node-1")


@pytest.mark.parametrize(
    "script",
    [
        pytest.param("sleep 600 & echo '{}'", id="ends"),
        pytest.param("sleep 600 & wait", id="waits for it"),
    ],
)
async def test_what_a_credential_plugin_leaves_behind_holds_up_nobody_and_ends(
    tmp_path: Path, script: str
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    plugin = ExecPlugin(["sh", "-c", f"exec 3>{fifo}; {script}"], {}, V1, "", seconds=0.3)
    with os.fdopen(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK), "rb") as held:
        with pytest.raises(FailedPrecondition, match=r"took longer than 0\.3 s"):
            await plugin.fetch()
        # Which ends when the last process that has it open is gone.
        os.set_blocking(held.fileno(), True)
        assert await asyncio.to_thread(held.read) == b""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"args": ["\0"]}, "cannot be given to a program", id="argument with a NUL"),
        pytest.param({"command": "./absent"}, "cannot be run: No such file", id="absent"),
        pytest.param({"command": "false"}, "it ended with exit code 1", id="fails"),
        pytest.param({"command": "true"}, "JSON is malformed", id="prints nothing"),
        pytest.param({"command": "yes"}, "its output is too long", id="prints without end"),
        pytest.param({"apiVersion": "x/v1alpha1"}, "apiVersion must be one of", id="version"),
        pytest.param({"args": [1]}, "command or args is malformed", id="arguments"),
        pytest.param({"env": [{"name": "A"}]}, "env is malformed", id="environment"),
        pytest.param(
            {"command": "echo", "args": ['{"kind": "ExecCredential"}']},
            f"it printed no ExecCredential of {V1}",
            id="no version",
        ),
        pytest.param(
            {
                "command": "echo",
                "args": [json.dumps({"kind": "ExecCredential", "apiVersion": V1, "status": {}})],
            },
            "has no token",
            id="no token",
        ),
    ],
)
async def test_a_credential_plugin_in_trouble_is_said_to_be(
    cluster: FakeKubernetes,
    tmp_path: Path,
    exec_user: dict[str, Any],
    change: dict[str, Any],
    message: str,
) -> None:
    exec_user["exec"].update(change)
    with pytest.raises(FailedPrecondition, match=message):
        await use(cluster.write_kubeconfig(tmp_path / "kubeconfig", exec_user))
    assert cluster.requests == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "the file is not a mapping", id="empty"),
        pytest.param("a: [", r"is no YAML \(line \d\)", id="no YAML"),
        pytest.param("!!python/object/apply:os.system [id]", "is no YAML", id="Python object"),
        pytest.param("{}", "current-context is not set", id="no context"),
        pytest.param("current-context: x", "there is no context 'x' in contexts", id="context"),
        pytest.param(
            "{current-context: x, contexts: [{name: x, context: {cluster: y}}]}",
            "there is no cluster 'y' in clusters",
            id="cluster",
        ),
        pytest.param(
            "{current-context: x, contexts: [{name: x, context: {cluster: y}}], "
            "clusters: [{name: y, cluster: {server: 'http://127.0.0.1'}}]}",
            "must be an https:// URL, not 'http://127.0.0.1'",
            id="no TLS",
        ),
        pytest.param(
            "{current-context: x, contexts: [{name: x, context: {cluster: y}}], "
            "clusters: [{name: y, cluster: {server: 'https://me:secret@127.0.0.1'}}]}",
            "the cluster's server must have no password$",
            id="password in the URL",
        ),
    ],
)
async def test_a_kubeconfig_that_makes_no_sense_is_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "kubeconfig").write_text(text)
    with pytest.raises(FailedPrecondition, match=message):
        await use(tmp_path / "kubeconfig")


@pytest.mark.parametrize(
    ("user", "message"),
    [
        pytest.param({"as": "admin"}, "a user's as is not supported", id="impersonation"),
        pytest.param({"auth-provider": {"name": "gcp"}}, "auth-provider is not", id="provider"),
        pytest.param({"tokenFile": "empty"}, "is empty", id="empty token file"),
        pytest.param({"tokenFile": "absent"}, "No such file", id="absent token file"),
        pytest.param({"token": 5}, "token is not a text", id="number"),
        pytest.param({"token": "secret\n"}, "that no token can have$", id="token with a line feed"),
        pytest.param({"token": "secr\u00e9t"}, "that no token can have$", id="token not in ASCII"),
        pytest.param({"client-certificate": "garbage"}, "go together", id="no key"),
        pytest.param({"client-certificate": "empty"}, "empty is empty", id="empty certificate"),
        pytest.param(
            {"client-certificate": "garbage", "client-key": "garbage"},
            "the client certificate and key for https://.* cannot be used",
            id="garbage",
        ),
        pytest.param({"client-certificate-data": "%"}, "is no base64 of PEM", id="no base64"),
    ],
)
async def test_a_user_that_cannot_be_used_is_refused(
    cluster: FakeKubernetes, tmp_path: Path, user: dict[str, Any], message: str
) -> None:
    (tmp_path / "empty").write_text("")
    (tmp_path / "garbage").write_text("garbage")
    with pytest.raises(FailedPrecondition, match=message):
        await use(cluster.write_kubeconfig(tmp_path / "kubeconfig", user))
    assert cluster.requests == []
