"""Pods as the kubelet of a busy node tells of them: some 8 KB of JSON each."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from tests.fakes.kubelet import pod

_MANAGED_FIELDS = 12
_VARIABLES = 18


def pod_uid(number: int) -> str:
    return str(UUID(int=0x5EED << 112 | number, version=4))


def container_id(number: int, container: int = 0) -> str:
    return f"{number:x}{container:x}".rjust(64, "c")


def pod_list(count: int) -> bytes:
    """The answer to a GET of `/pods` on a node with so many."""
    pods = [_pod(number) for number in range(count)]
    document = {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": pods}
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


def _pod(number: int) -> dict[str, Any]:
    """One of an application with a proxy beside it."""
    name = f"checkout-backend-7c9d8f6b5-{number:05}"
    made = pod(
        pod_uid(number),
        container_id(number),
        container_id(number, 1),
        name=name,
        namespace=f"team-{number % 20}",
        generateName="checkout-backend-7c9d8f6b5-",
        resourceVersion=str(88_000_000 + number),
        creationTimestamp="2026-11-20T08:15:42Z",
        labels={
            "app.kubernetes.io/name": "checkout-backend",
            "app.kubernetes.io/instance": f"checkout-{number % 20}",
            "app.kubernetes.io/version": "4.17.2",
            "pod-template-hash": "7c9d8f6b5",
            "security.istio.io/tlsMode": "istio",
        },
        annotations={
            "kubernetes.io/config.seen": "2026-11-20T08:15:42.117283945Z",
            "kubernetes.io/config.source": "api",
            "prometheus.io/port": "9090",
            "prometheus.io/scrape": "true",
            "sidecar.istio.io/status": json.dumps({"revision": "default", "volumes": ["a", "b"]}),
        },
        ownerReferences=[
            {
                "apiVersion": "apps/v1",
                "kind": "ReplicaSet",
                "name": "checkout-backend-7c9d8f6b5",
                "uid": pod_uid(number % 20 + 100_000),
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
        managedFields=[_managed(manager) for manager in ("kube-controller-manager", "kubelet")],
    )
    made["spec"] |= _spec(number)
    made["status"] |= _status(number)
    for status in made["status"]["containerStatuses"]:
        status.update(_running())
    return made


def _managed(manager: str) -> dict[str, Any]:
    fields = {
        f'k:{{"name":"SETTING_{n}"}}': {".": {}, "f:name": {}, "f:value": {}}
        for n in range(_MANAGED_FIELDS)
    }
    return {
        "manager": manager,
        "operation": "Update",
        "apiVersion": "v1",
        "time": "2026-11-20T08:15:42Z",
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:spec": {"f:containers": {"f:env": {".": {}, **fields}}}},
    }


def _spec(number: int) -> dict[str, Any]:
    return {
        "containers": [_container("app-0", number), _container("app-1", number)],
        "volumes": [
            {"name": "config", "configMap": {"name": "checkout-backend", "defaultMode": 420}},
            {"name": "secrets", "secret": {"secretName": "checkout-backend", "defaultMode": 420}},
            {"name": "workload-socket", "hostPath": {"path": "/run/spire/agent-sockets"}},
            {"name": "kube-api-access", "projected": {"sources": _token_sources()}},
        ],
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "securityContext": {"runAsNonRoot": True, "fsGroup": 1337},
        "schedulerName": "default-scheduler",
        "tolerations": [
            {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": "NoExecute"}
            for key in ("not-ready", "unreachable")
        ],
        "priority": 0,
        "enableServiceLinks": True,
    }


def _container(name: str, number: int) -> dict[str, Any]:
    probe = {"httpGet": {"path": "/healthz", "port": 8080, "scheme": "HTTP"}, "periodSeconds": 10}
    return {
        "name": name,
        "image": f"registry.example.org/{name}:v{number % 7}",
        "args": ["--listen=0.0.0.0:8080", f"--shard={number}", "--log-format=json"],
        "env": [
            {"name": f"SETTING_{n}", "value": f"https://service-{n}.team.svc.cluster.local:8443"}
            for n in range(_VARIABLES)
        ],
        "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
        "resources": {"limits": {"memory": "512Mi"}, "requests": {"cpu": "100m"}},
        "volumeMounts": [
            {"name": each, "mountPath": f"/var/run/{each}", "readOnly": True}
            for each in ("config", "secrets", "workload-socket", "kube-api-access")
        ],
        "livenessProbe": probe,
        "readinessProbe": probe,
        "imagePullPolicy": "IfNotPresent",
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }


def _token_sources() -> list[dict[str, Any]]:
    return [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
    ]


def _status(number: int) -> dict[str, Any]:
    return {
        "conditions": [
            {"type": kind, "status": "True", "lastTransitionTime": "2026-11-20T08:15:55Z"}
            for kind in ("Initialized", "Ready", "ContainersReady", "PodScheduled")
        ],
        "hostIP": "10.0.0.7",
        "podIP": f"10.1.{number >> 8}.{number & 255}",
        "startTime": "2026-11-20T08:15:42Z",
        "qosClass": "Burstable",
    }


def _running() -> dict[str, Any]:
    return {
        "ready": True,
        "started": True,
        "restartCount": 0,
        "lastState": {},
        "state": {"running": {"startedAt": "2026-11-20T08:15:50Z"}},
    }
