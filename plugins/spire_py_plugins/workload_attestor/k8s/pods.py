"""Pods as the kubelet tells of them, cut down to what attestation needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spire_py.errors import InvalidArgument

_MAX_CHARACTERS = 256 * 1024
"""Of all that is kept of a pod: some 2 KB in earnest."""

_OVER = frozenset({"Failed", "Succeeded"})


@dataclass(frozen=True, slots=True)
class Container:
    """A container's status. `id` lacks the runtime's `containerd://`; empty until there is one."""

    name: str
    image: str
    image_id: str
    id: str


@dataclass(frozen=True, slots=True)
class Owner:
    """What a pod belongs to, such as a ReplicaSet."""

    kind: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod of this node that is not over."""

    uid: str
    name: str
    namespace: str
    service_account: str
    node_name: str
    labels: tuple[tuple[str, str], ...]
    owners: tuple[Owner, ...]
    containers: tuple[Container, ...]
    init_containers: tuple[Container, ...]

    def container(self, container_id: str) -> Container | None:
        """The container of that ID, which must not be empty; init containers count."""
        for each in (*self.containers, *self.init_containers):
            if each.id == container_id:
                return each
        return None


def parse_pod(document: Any) -> Pod | None:
    """Read a pod; None where all its containers have ended for good.

    Raises:
        InvalidArgument: it is malformed, has no UID, or too much of anything.
    """
    pod = _Fields(document)
    metadata, spec, status = pod.object("metadata"), pod.object("spec"), pod.object("status")
    if status.text("phase") in _OVER:
        return None
    uid = metadata.text("uid")
    if not uid:
        raise InvalidArgument("pod has no UID")
    read = Pod(
        uid=uid,
        name=metadata.text("name"),
        namespace=metadata.text("namespace"),
        service_account=spec.text("serviceAccountName"),
        node_name=spec.text("nodeName"),
        labels=metadata.object("labels").texts(),
        owners=tuple(map(_owner, metadata.objects("ownerReferences"))),
        containers=tuple(map(_container, status.objects("containerStatuses"))),
        init_containers=tuple(map(_container, status.objects("initContainerStatuses"))),
    )
    if _size(read) > _MAX_CHARACTERS:
        raise InvalidArgument(f"pod {_shown(uid)} has labels, owners or containers without number")
    return read


def _size(pod: Pod) -> int:
    """About how many characters are kept of a pod."""
    parts = (
        *pod.labels,
        *((each.kind, each.name, each.uid) for each in pod.owners),
        *(
            (each.name, each.image, each.image_id, each.id)
            for each in (*pod.containers, *pod.init_containers)
        ),
    )
    return len(pod.name) + sum(100 + sum(map(len, part)) for part in parts)


def _owner(owner: _Fields) -> Owner:
    return Owner(kind=owner.text("kind"), name=owner.text("name"), uid=owner.text("uid"))


def _container(status: _Fields) -> Container:
    return Container(
        name=status.text("name"),
        image=status.text("image"),
        image_id=status.text("imageID"),
        id=_host(status.text("containerID")),
    )


def _host(url: str) -> str:
    """The host of `<runtime>://<container ID>`; empty where there is none."""
    _, _, rest = url.partition("://")
    for end in "/?#":
        rest = rest.partition(end)[0]
    return rest


class _Fields:
    """A JSON object whose members may be missing or null, as Go leaves them out."""

    def __init__(self, value: Any) -> None:
        if not isinstance(value, dict):
            raise InvalidArgument("pod is malformed: expected an object")
        self._value: Mapping[str, Any] = value

    def text(self, name: str) -> str:
        value = self._value.get(name)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise InvalidArgument(f"pod is malformed: {_shown(name)} is no string")
        if not value.isascii():
            _check_characters(name, value)
        return value

    def texts(self) -> tuple[tuple[str, str], ...]:
        """All members, each a text."""
        for name in self._value:
            if not name.isascii():
                _check_characters("a name", name)
        return tuple((name, self.text(name)) for name in self._value)

    def object(self, name: str) -> _Fields:
        return _Fields(self._value.get(name) or {})

    def objects(self, name: str) -> list[_Fields]:
        value = self._value.get(name) or []
        if not isinstance(value, list):
            raise InvalidArgument(f"pod is malformed: {name} is no array")
        return [_Fields(each) for each in value]


def _check_characters(name: str, value: str) -> None:
    """Refuse half of a surrogate pair: no selector could repeat it."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"pod is malformed: {_shown(name)} is no UTF-8") from error


def _shown(name: str) -> str:
    """A member's name, which may be a stranger's, for the log."""
    return name if name.isidentifier() and name.isascii() else ascii(name[:100])
