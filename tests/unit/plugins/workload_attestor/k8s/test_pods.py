from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spire_py_plugins.workload_attestor.k8s.pods import parse_pod
from spire_py_plugins.workload_attestor.k8s.selectors import container_selectors, pod_selectors

from spire_py.errors import InvalidArgument
from tests.fakes.kubelet import pod
from tests.unit.plugins.strange import ANYTHING, TEXT, objects

STATUSES = st.lists(objects(["name", "image", "imageID", "containerID"], TEXT), max_size=3)
PODS = objects(
    ["metadata", "spec", "status"],
    objects(
        ["uid", "name", "namespace", "serviceAccountName", "nodeName", "phase", "labels"],
        TEXT | st.dictionaries(TEXT, TEXT, max_size=3),
    )
    | objects(["containerStatuses", "initContainerStatuses"], STATUSES)
    | st.fixed_dictionaries(
        {"uid": TEXT, "labels": st.dictionaries(TEXT, TEXT | ANYTHING, max_size=3)}
    ),
)


@given(PODS)
def test_any_document_is_a_pod_or_refused(document: Any) -> None:
    try:
        read = parse_pod(document)
    except InvalidArgument as error:
        read, message = None, error.message
    else:
        message = ""
    assert not message or message.isprintable()
    if read is None:
        return
    values = [*pod_selectors(read)]
    for container in (*read.containers, *read.init_containers):
        values += container_selectors(container)
    assert all(value.encode() for value in values)


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param({"a\ud800": "x"}, id="name"),
        pytest.param({"a": "x\udfff"}, id="value"),
    ],
)
def test_a_label_that_no_selector_could_repeat_is_refused(labels: dict[str, str]) -> None:
    with pytest.raises(InvalidArgument, match="is no UTF-8"):
        parse_pod(pod("uid", labels=labels))


def test_annotations_without_number_are_not_kept() -> None:
    annotations = {f"name-{number}": "x" * 100 for number in range(10_000)}
    assert parse_pod(pod("uid", annotations=annotations)) == parse_pod(pod("uid"))


@pytest.mark.parametrize(
    "metadata",
    [
        pytest.param({"labels": {"a": "x" * 300_000}}, id="a long label"),
        pytest.param({"labels": {f"{n}": "" for n in range(10_000)}}, id="many labels"),
        pytest.param({"ownerReferences": [{"kind": "x"}] * 10_000}, id="many owners"),
    ],
)
def test_a_pod_that_would_fill_the_memory_is_refused(metadata: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match="without number"):
        parse_pod(pod("uid", **metadata))


@pytest.mark.parametrize(
    ("text", "container_id"),
    [
        pytest.param("containerd://abc", "abc", id="containerd"),
        pytest.param("cri-o://abc/def?x#y", "abc", id="a path behind it"),
        pytest.param("abc", "", id="no runtime"),
        pytest.param("://abc", "abc", id="empty runtime"),
        pytest.param("containerd://", "", id="none yet"),
        pytest.param("", "", id="empty"),
    ],
)
def test_a_containers_id_is_the_host_of_its_url(text: str, container_id: str) -> None:
    document = pod("uid")
    document["status"]["containerStatuses"] = [{"name": "app", "containerID": text}]
    read = parse_pod(document)
    assert read is not None
    assert [each.id for each in read.containers] == [container_id]
