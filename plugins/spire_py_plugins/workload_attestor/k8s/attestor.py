"""WorkloadAttestor `k8s`: which pod and container a process runs in (features J1 to J9)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from spire_py.errors import DeadlineExceeded, FailedPrecondition, Internal, SpireError, Unavailable
from spire_py.model.selector import Selector
from spire_py.plugin_api.workload_attestor import WorkloadAttestor
from spire_py.telemetry.logs import get_logger
from spire_py_plugins.workload_attestor.container_locator import ContainerLocator, Location
from spire_py_plugins.workload_attestor.host_processes import missing_around_processes
from spire_py_plugins.workload_attestor.k8s.pod_lists import PodList, PodLists
from spire_py_plugins.workload_attestor.k8s.pods import Container, Pod
from spire_py_plugins.workload_attestor.k8s.selectors import (
    container_selectors,
    namespace_selectors,
    pod_selectors,
)

log = get_logger("workload_attestor")

_TYPE = "k8s"


class Closing(Protocol):
    """What is to be closed with the attestor."""

    async def aclose(self) -> None: ...


class NamespaceLabels(Closing, Protocol):
    """Where labels of namespaces come from."""

    async def fetch(self, namespace: str) -> Mapping[str, str]: ...

    async def missing_rules(self) -> list[str]: ...


class K8sWorkloadAttestor(WorkloadAttestor):
    """Finds the pod of a process in the kubelet's list, and waits for it to appear there.

    Args:
        locator: tells the container of a process.
        pod_lists: of this node; None where the kubelet is not to be asked (J9).
        max_poll_attempts: lists that are looked through before it is given up.
        container_selectors: tell facts of the container too. Without them, a pod is enough, whose
            container the kubelet may not know yet (J6).
        namespace_labels: where to ask for them (J8); None where they are not told.
        kubelet: closed with the attestor.
        unset_variable: the environment variable that was to tell the node's name, and does not.
    """

    def __init__(
        self,
        *,
        locator: ContainerLocator,
        pod_lists: PodLists | None,
        max_poll_attempts: int,
        container_selectors: bool = True,
        namespace_labels: NamespaceLabels | None = None,
        kubelet: Closing | None = None,
        unset_variable: str = "",
    ) -> None:
        self._locator = locator
        self._pod_lists = pod_lists
        self._max_poll_attempts = max_poll_attempts
        self._container_selectors = container_selectors
        self._namespace_labels = namespace_labels
        self._kubelet = kubelet
        self._unset_variable = unset_variable

    async def attest(self, pid: int) -> tuple[Selector, ...]:
        if self._pod_lists is None:
            raise FailedPrecondition("kubelet client is disabled")
        where = await self._locator.locate(pid)
        if not where.container_id:
            return ()
        if self._container_selectors or not where.pod_uid:
            where.refuse_nested()
        pod, container = await self._poll(self._pod_lists, where)
        values = [*pod_selectors(pod)]
        if container and self._container_selectors:
            values += container_selectors(container)
        if self._namespace_labels:
            values += await _namespace_values(self._namespace_labels, pod.namespace)
        return tuple(Selector(_TYPE, value) for value in values)

    async def check_surroundings(self) -> Sequence[str]:
        if self._pod_lists is None:
            return ()
        missing = await asyncio.to_thread(missing_around_processes, self._locator.proc, "cgroup")
        if self._unset_variable:
            missing.append(
                f"environment variable {self._unset_variable} (node_name_env) is not set: the "
                "agent's pod needs it from fieldPath spec.nodeName"
            )
        try:
            await self._pod_lists.newer_than(0, quiet=True)
        except SpireError as error:
            missing.append(error.message)
        if self._namespace_labels:
            missing += await self._namespace_labels.missing_rules()
        return missing

    async def _poll(self, pod_lists: PodLists, where: Location) -> tuple[Pod, Container | None]:
        version, failure = 0, None
        for _ in range(self._max_poll_attempts):
            try:
                pod_list = await pod_lists.newer_than(version)
            except SpireError as error:
                failure = error
                continue
            version, failure = pod_list.version, None
            if found := self._find(pod_list, where):
                return found
        facts = {"pod_uid": where.pod_uid, "container_id": where.container_id}
        if failure:
            log.warning("Unable to get pod list; giving up", error=failure.message, **facts)
            raise Unavailable(failure.message) from failure
        log.warning("Container id not found; giving up", **facts)
        raise DeadlineExceeded("no selectors found after max poll attempts")

    def _find(self, pod_list: PodList, where: Location) -> tuple[Pod, Container | None] | None:
        found = list(self._matches(pod_list, where))
        if len(found) > 1:
            log.warning("Two pods found with same container Id", container_id=where.container_id)
            raise Internal("two pods found with same container Id")
        return found[0] if found else None

    def _matches(
        self, pod_list: PodList, where: Location
    ) -> Iterator[tuple[Pod, Container | None]]:
        if not where.pod_uid:
            for pod in pod_list.pods.values():
                if container := pod.container(where.container_id):
                    yield pod, container
        elif pod_known := pod_list.pods.get(where.pod_uid):
            container = pod_known.container(where.container_id)
            if container or not self._container_selectors:
                yield pod_known, container

    async def aclose(self) -> None:
        for each in (self._pod_lists, self._kubelet, self._namespace_labels):
            if each is not None:
                await each.aclose()


async def _namespace_values(source: NamespaceLabels, namespace: str) -> list[str]:
    try:
        return [*namespace_selectors(await source.fetch(namespace))]
    except SpireError as error:
        raise Internal(
            f'unable to get namespace labels for "{namespace}": {error.message}'
        ) from error
