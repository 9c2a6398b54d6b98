"""The double as tests use it."""

from __future__ import annotations

import base64
import json
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.fakes.kubernetes.api import API
from tests.fakes.kubernetes.certificates import ClusterCA
from tests.fakes.kubernetes.faults import Faults
from tests.fakes.kubernetes.http import Server
from tests.fakes.kubernetes.kinds import CONFIG_MAPS, NAMESPACES, NODES, PODS, Kind
from tests.fakes.kubernetes.rbac import Rules
from tests.fakes.kubernetes.store import Document, Key, Store
from tests.fakes.kubernetes.tokens import API_AUDIENCE, Tokens

NAMES = ("127.0.0.1", "localhost", "kubernetes.default.svc")


class FakeKubernetes:
    """An API server on loopback, with objects, tokens, rules and faults.

    Args:
        names: in the server's certificate.
    """

    def __init__(self, names: Sequence[str] = NAMES) -> None:
        self.ca = ClusterCA()
        self.store = Store()
        self.tokens = Tokens(self.store)
        self.rules = Rules()
        self.faults = Faults()
        self.api = API(self.store, self.tokens, self.rules)
        context = self.ca.server_context(self.ca.server(names))
        self._server = Server(context, self.api, self.tokens, self.faults)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.005}, daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening, and drop all connections."""
        self.api.closing.set()
        self.store.wake()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.drop_connections()
        self._server.server_close()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def requests(self) -> list[str]:
        """Method and path of each request so far."""
        return list(self._server.requests)

    @property
    def connections(self) -> int:
        """How many connections there have been."""
        return self._server.connections

    def drop_connections(self) -> None:
        """As a load balancer that restarts does."""
        self._server.drop_connections()

    def add(self, kind: Kind, name: str, namespace: str = "", **fields: Any) -> Document:
        """Any object; `fields` are its other ones, `metadata` among them."""
        metadata = {**fields.pop("metadata", {}), "name": name}
        return self.store.create(kind, namespace, {**fields, "metadata": metadata}, "test")

    def add_node(
        self, name: str, *, uid: str = "", labels: Mapping[str, str] | None = None
    ) -> Document:
        return self.add(
            NODES, name, metadata={"uid": uid or str(uuid.uuid4()), "labels": dict(labels or {})}
        )

    def add_pod(
        self,
        namespace: str,
        name: str,
        *,
        node: str,
        service_account: str = "spire-agent",
        uid: str = "",
        labels: Mapping[str, str] | None = None,
        host_ip: str = "172.16.10.1",
    ) -> Document:
        return self.add(
            PODS,
            name,
            namespace,
            metadata={"uid": uid or str(uuid.uuid4()), "labels": dict(labels or {})},
            spec={"nodeName": node, "serviceAccountName": service_account},
            status={"hostIP": host_ip, "phase": "Running"},
        )

    def add_namespace(self, name: str, *, labels: Mapping[str, str] | None = None) -> Document:
        return self.add(NAMESPACES, name, metadata={"labels": dict(labels or {})})

    def add_config_map(self, namespace: str, name: str, data: Mapping[str, str]) -> Document:
        return self.add(CONFIG_MAPS, name, namespace, data=dict(data))

    def config_map(self, namespace: str, name: str) -> Document:
        return self.store.get(Key(CONFIG_MAPS, namespace, name))

    def wait_for_config_map(
        self,
        namespace: str,
        name: str,
        is_right: Callable[[dict[str, str]], bool],
        *,
        seconds: float = 20.0,
    ) -> dict[str, str]:
        """Its data, as soon as they are right; those of a missing one are empty."""
        end = time.monotonic() + seconds
        key = Key(CONFIG_MAPS, namespace, name)
        for _ in chain([None], self.store.changes(CONFIG_MAPS, namespace, self.store.version)):
            data = self.store.get(key)["data"] if self.store.has(key) else {}
            if is_right(data):
                break
            assert time.monotonic() < end, f"{namespace}/{name} holds {data}"
        return data

    def delete_pod(self, pod: Document) -> None:
        metadata = pod["metadata"]
        self.store.delete(Key(PODS, metadata["namespace"], metadata["name"]))

    def delete_node(self, name: str) -> None:
        self.store.delete(Key(NODES, "", name))

    def issue_token(
        self, pod: Document, *, audiences: Sequence[str] = ("spire-server",), seconds: float = 600
    ) -> str:
        """A projected token of a pod's service account, bound to the pod."""
        return self.tokens.issue(
            pod["metadata"]["namespace"],
            pod["spec"]["serviceAccountName"],
            audiences=audiences,
            pod=pod,
            seconds=seconds,
        )

    def client_token(self, name: str = "spire-server", *, seconds: float = 600) -> str:
        """A token for calls of this API server."""
        return self.tokens.issue("spire", name, audiences=[API_AUDIENCE], seconds=seconds)

    def write_kubeconfig(
        self,
        path: Path,
        user: Mapping[str, object] | None = None,
        cluster: Mapping[str, object] | None = None,
    ) -> Path:
        """A kubeconfig file, with a token in it unless `user` says otherwise."""
        entry = {
            "server": self.url,
            "certificate-authority-data": base64.b64encode(self.ca.pem.encode()).decode(),
            **(cluster or {}),
        }
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "tests",
            "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "tests"}}],
            "clusters": [{"name": "tests", "cluster": entry}],
            "users": [{"name": "tests", "user": user or {"token": self.client_token()}}],
        }
        # JSON is YAML too.
        path.write_text(json.dumps(document))
        return path

    def write_service_account(self, folder: Path, *, namespace: str = "spire") -> dict[str, str]:
        """The folder that a pod has mounted; gives the pod's environment."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "token").write_text(self.client_token())
        (folder / "ca.crt").write_text(self.ca.pem)
        (folder / "namespace").write_text(namespace)
        return {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(self.port)}
