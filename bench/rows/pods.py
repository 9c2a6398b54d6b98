"""Rows about a workload in a pod: the agent asks the kubelet of a full node which one it is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench.kubelet import kubelet
from bench.pods import container_id, pod_uid
from bench.sides import Scene, Side, Sides, agent_of
from tests.integration.kubernetes.cgroups import Cgroups

Samples = Iterator[tuple[str, str, float]]

_OURS = 123
"""The number of the pod that the load is in."""
_CALLS = 5
"""In a round, for each of which the kubelet is asked anew."""
_UNTIL_LIST_IS_OLD_SECONDS = 0.7
"""A pod list counts for half a second, on both sides."""
_MEBIBYTE = 1 << 20


def measure(sides: Sides) -> Samples:
    for side in sides.all:
        with _node(sides, side, 250) as scene:
            yield "pod.first", side.name, _cold_call(scene)[0]
            for _ in range(_CALLS):
                yield "pod.cold", side.name, _cold_call(scene)[1]
            warm = ("-callers", 8, "-count", 2_000, "-new-connection")
            yield "pod.warm", side.name, scene.cpu_ms(agent_of(scene), "fetch-x509", *warm)
            yield from _memory("pod.250", scene, side)
    for side in sides.all:
        with _node(sides, side, 500) as scene:
            for _ in range(_CALLS):
                _cold_call(scene)
            yield from _memory("pod.500", scene, side)


@contextmanager
def _node(sides: Sides, side: Side, pods: int) -> Iterator[Scene]:
    """An agent that no pod has called yet, and a place for the load in one of the pods."""
    with sides.fresh(side) as scene, kubelet(scene.stack.folder, pods) as running:
        cgroups = Cgroups(scene.stack.folder)
        try:
            if cgroups.environment:
                raise RuntimeError("no cgroups can be made here")
            scene.stack.agent_attestor += running.plugin
            uid = pod_uid(_OURS)
            scene.stack.create_entry("web", "-selector", f"k8s:pod-uid:{uid}")
            scene.start_agent()
            place = f"/kubepods/burstable/pod{uid}/{container_id(_OURS)}"
            scene.load_starts_with = cgroups.enter(place)
            yield scene
        finally:
            # Processes must be gone before their cgroups are.
            scene.stack.close()
            cgroups.remove()


def _cold_call(scene: Scene) -> tuple[float, float]:
    """Seconds that a caller waits, and CPU-ms, where the kubelet is asked anew."""
    usage = agent_of(scene)
    with scene.load("fetch-x509", "-callers", 1, "-count", 1) as running:
        running.next("ready")
        time.sleep(_UNTIL_LIST_IS_OLD_SECONDS)
        before = usage.cpu_seconds()
        running.go()
        done = running.next("done")
        return float(done["max_ms"]) / 1000, 1000 * (usage.cpu_seconds() - before)


def _memory(key: str, scene: Scene, side: Side) -> Samples:
    usage = agent_of(scene)
    yield f"{key}-private", side.name, usage.private_bytes() / _MEBIBYTE
    yield f"{key}-peak", side.name, usage.peak_bytes() / _MEBIBYTE
