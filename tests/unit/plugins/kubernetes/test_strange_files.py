"""Kubeconfig files and the answers of credential plugins that make no sense at all."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from spire_py_plugins.kubernetes.exec_credential import ExecCredential
from spire_py_plugins.kubernetes.kubeconfig import Kubeconfig

from spire_py.errors import FailedPrecondition, InvalidArgument
from tests.unit.plugins.strange import ANYTHING, TEXT, objects

V1 = "client.authentication.k8s.io/v1"
YAML_TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
VALUES = YAML_TEXT | st.none() | st.integers() | st.booleans() | st.lists(YAML_TEXT, max_size=2)
CLUSTERS = st.dictionaries(
    st.sampled_from(
        [
            *("certificate-authority-data", "certificate-authority", "tls-server-name"),
            *("insecure-skip-tls-verify", "proxy-url"),
        ]
    ),
    VALUES,
)
USERS = st.dictionaries(
    st.sampled_from(
        [
            *("token", "tokenFile", "username", "password", "as", "as-groups"),
            *("client-certificate", "client-certificate-data", "client-key-data"),
        ]
    ),
    VALUES,
)


def kubeconfig(cluster: dict[str, Any], user: dict[str, Any]) -> dict[str, Any]:
    return {
        "current-context": "x",
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1", **cluster}}],
        "users": [{"name": "u", "user": user}],
    }


async def load(folder: Path, text: str | bytes) -> None:
    path = folder / "kubeconfig"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    try:
        access = await Kubeconfig(path).load()
        access.endpoint.tls_context()
    except FailedPrecondition:
        return
    assert access.authorization.isascii()
    assert access.authorization.isprintable()


@given(CLUSTERS, USERS)
async def test_any_settings_are_taken_or_refused(
    tmp_path_factory: pytest.TempPathFactory, cluster: dict[str, Any], user: dict[str, Any]
) -> None:
    text = yaml.safe_dump(kubeconfig(cluster, user), allow_unicode=True)
    await load(tmp_path_factory.mktemp("k"), text)


@given(st.binary(max_size=200))
async def test_any_bytes_are_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    await load(tmp_path_factory.mktemp("k"), content)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a: &a [x,x,x,x]\n" + "".join(f"{i}: *a\n" for i in range(9)), id="aliases"),
        pytest.param("&a [*a]", id="contains itself"),
        pytest.param("[" * 10_000, id="deep"),
        pytest.param("!!python/object/apply:os.system ['true']", id="object of Python"),
        pytest.param("current-context: 0001-01-01T00:00:00+99:00", id="time"),
        pytest.param('{current-context: "\\ud800", contexts: [{name: x}]}', id="half a character"),
        pytest.param(json.dumps(kubeconfig({}, {"username": "\ud800"})), id="half a name"),
        pytest.param(json.dumps(kubeconfig({"proxy-url": "\ud800"}, {})), id="half a proxy"),
        pytest.param(json.dumps(kubeconfig({"certificate-authority": "\0"}, {})), id="NUL"),
        pytest.param(json.dumps(kubeconfig({"certificate-authority": "\ud800"}, {})), id="half"),
    ],
)
async def test_traps_are_refused(tmp_path: Path, text: str) -> None:
    async with asyncio.timeout(20):
        await load(tmp_path, text)


CREDENTIALS = st.fixed_dictionaries(
    {
        "kind": st.just("ExecCredential"),
        "apiVersion": st.just(V1),
        "status": objects(
            ["token", "clientCertificateData", "clientKeyData", "expirationTimestamp"],
            TEXT | st.datetimes().map(str) | ANYTHING,
        ),
    }
)


@given(st.one_of(ANYTHING, CREDENTIALS).map(json.dumps).map(str.encode) | st.binary(max_size=50))
def test_any_answer_is_a_credential_or_refused(output: bytes) -> None:
    try:
        credential = ExecCredential.parse(output, V1)
    except InvalidArgument:
        return
    assert credential.token or credential.certificate
    assert credential.expires_at is None or credential.expires_at.tzinfo
