"""The selectors of a pod and of one of its containers (features J4, J5 and J8)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from spire_py_plugins.workload_attestor.k8s.pods import Container, Pod


def pod_selectors(pod: Pod) -> Iterator[str]:
    """What any process of the pod has; values of type `k8s`."""
    yield f"sa:{pod.service_account}"
    yield f"ns:{pod.namespace}"
    yield f"node-name:{pod.node_name}"
    yield f"pod-uid:{pod.uid}"
    yield f"pod-name:{pod.name}"
    yield f"pod-image-count:{len(pod.containers)}"
    yield f"pod-init-image-count:{len(pod.init_containers)}"
    for image in _images(pod.containers):
        yield f"pod-image:{image}"
    for image in _images(pod.init_containers):
        yield f"pod-init-image:{image}"
    for name, value in pod.labels:
        yield f"pod-label:{name}:{value}"
    for owner in pod.owners:
        yield f"pod-owner:{owner.kind}:{owner.name}"
        yield f"pod-owner-uid:{owner.kind}:{owner.uid}"


def container_selectors(container: Container) -> Iterator[str]:
    """What processes of one container have."""
    yield f"container-name:{container.name}"
    for image in _images((container,)):
        yield f"container-image:{image}"


def namespace_selectors(labels: Mapping[str, str]) -> Iterator[str]:
    """What processes of a namespace have."""
    for name, value in labels.items():
        yield f"ns-label:{name}:{value}"


def _images(containers: Iterable[Container]) -> Iterable[str]:
    """Each image by its digest and by its name, which differ in what they promise; each once."""
    return dict.fromkeys(
        image for container in containers for image in (container.image_id, container.image)
    )
