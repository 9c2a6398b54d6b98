from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from spire_py_plugins.kubernetes.client import KubernetesClient
from spire_py_plugins.kubernetes.kubeconfig import Kubeconfig

from tests.fakes.kubernetes import FakeKubernetes


@pytest.fixture
def cluster() -> Iterator[FakeKubernetes]:
    with FakeKubernetes() as running:
        yield running


@pytest.fixture
async def client(cluster: FakeKubernetes, tmp_path: Path) -> AsyncIterator[KubernetesClient]:
    made = KubernetesClient(Kubeconfig(cluster.write_kubeconfig(tmp_path / "kubeconfig")))
    yield made
    await made.aclose()
