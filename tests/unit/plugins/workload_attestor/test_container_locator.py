from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spire_py_plugins.workload_attestor.container_locator import (
    ContainerLocator,
    Location,
    locate_in,
)

from spire_py.errors import FailedPrecondition, Internal, SpireError

UID = "2c48913c-b29f-11e7-9350-020968147796"
UID_ = UID.replace("-", "_")
OTHER_UID = "9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d"
STATIC_UID = "3ae1b5c2d4f60718293a4b5c6d7e8f90"
ID = "9bca8d63d5fa610783847915bcff0ecac1273e5b4bed3f6fa1b07350e0135961"
OTHER_ID = "b2a102854b4969b2ce98dc329c86b4fb2b06e4ad2cc8da9d8a7578c9cd2004a2"
NODE_ID = "93529524695bb00d91c1f6dba692ea8d3550c3b94fb2463af7bc9ec82f992d26"
V1_CONTROLLERS = (
    *("hugetlb", "rdma", "pids", "memory", "perf_event", "devices", "cpuset", "freezer"),
    *("blkio", "cpu,cpuacct", "net_cls,net_prio", "name=systemd"),
)


def v1(path: str, *more: str) -> str:
    """What /proc/<pid>/cgroup holds with version 1, where all hierarchies agree."""
    lines = [
        f"{number}:{controllers}:{path}"
        for number, controllers in reversed(list(enumerate(V1_CONTROLLERS, 1)))
    ]
    return "\n".join([*lines, *more]) + "\n"


def v2(path: str) -> str:
    return f"0::{path}\n"


def process(proc: Path, *, cgroup: str | None = None, mountinfo: str | None = None) -> int:
    _write(proc / "7", cgroup, mountinfo)
    return 7


def agent(proc: Path, *, cgroup: str | None = None, mountinfo: str | None = None) -> None:
    """The process that looks."""
    _write(proc / "self", cgroup, mountinfo)


def _write(folder: Path, cgroup: str | None, mountinfo: str | None) -> None:
    folder.mkdir()
    if cgroup is not None:
        (folder / "cgroup").write_text(cgroup)
    if mountinfo is not None:
        (folder / "mountinfo").write_text(mountinfo)


IN_POD = Location(ID, UID)

REAL_CGROUPS = [
    pytest.param(v1(f"/kubepods/besteffort/pod{UID}/{ID}"), IN_POD, id="v1 cgroupfs"),
    pytest.param(
        v1(f"/kubepods/pod{UID}/{ID}"), IN_POD, id="v1 guaranteed: EKS of old, dockershim"
    ),
    pytest.param(
        v1(
            f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID_}.slice/"
            f"docker-{ID}.scope"
        ),
        IN_POD,
        id="v1 systemd, Docker",
    ),
    pytest.param(
        v1(
            f"/system.slice/containerd.service/kubepods-besteffort-pod{UID_}.slice:cri-containerd:{ID}"
        ),
        IN_POD,
        id="v1, kubelet by systemd and containerd by cgroupfs: pod and container in one segment",
    ),
    pytest.param(
        v1(f"/kubepods/burstable/pod{UID}/{ID}", "0::/system.slice/containerd.service"),
        IN_POD,
        id="v1 with a unified hierarchy: GKE COS",
    ),
    pytest.param(
        v2(
            f"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{UID_}.slice/"
            f"cri-containerd-{ID}.scope"
        ),
        IN_POD,
        id="v2 systemd, containerd: EKS AL2023, GKE, AKS, kubeadm",
    ),
    pytest.param(
        v2(
            f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID_}.slice/"
            f"crio-{ID}.scope"
        ),
        IN_POD,
        id="v2 CRI-O: OpenShift",
    ),
    pytest.param(
        v2(
            f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UID_}.slice/"
            f"crio-{ID}.scope/container"
        ),
        IN_POD,
        id="v2 CRI-O with crun, which adds a cgroup",
    ),
    pytest.param(
        v2(
            f"/kubepods.slice/kubepods-pod{UID_}.slice/cri-containerd-{ID}.scope/init.scope",
        ),
        IN_POD,
        id="v2, systemd in the container",
    ),
    pytest.param(v2(f"/kubepods/burstable/pod{UID}/{ID}"), IN_POD, id="v2 cgroupfs: k3s, Talos"),
    pytest.param(v2(f"/k8s.io/pod{UID}/{ID}"), IN_POD, id="v2, another cgroup root"),
    pytest.param(
        v2(
            f"/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/"
            f"kubelet-kubepods-besteffort-pod{UID_}.slice/cri-containerd-{ID}.scope"
        ),
        IN_POD,
        id="v2 kind: kubelet in a container, seen from the node",
    ),
    pytest.param(
        v2(
            f"/docker/{NODE_ID}/kubelet.slice/kubelet-kubepods.slice/"
            f"kubelet-kubepods-pod{UID_}.slice/cri-containerd-{ID}.scope"
        ),
        IN_POD,
        id="v2 kind, seen from the host",
    ),
    pytest.param(
        v1(
            f"/docker/{NODE_ID}/kubepods/besteffort/pod{UID}/{ID}",
            f"0::/docker/{NODE_ID}/system.slice/containerd.service",
        ),
        IN_POD,
        id="v1 kind on Docker Desktop: a path of the node beside the pod's",
    ),
    pytest.param(
        v2(f"/../../pod{UID}/{ID}"), IN_POD, id="v2, seen from another pod's cgroup namespace"
    ),
    pytest.param(
        v2(f"/../../kubepods-besteffort-pod{UID_}.slice/cri-containerd-{ID}.scope"),
        IN_POD,
        id="v2 systemd, seen from another pod's cgroup namespace",
    ),
    pytest.param(v2(f"/../{ID}"), Location(ID), id="v2, seen from a container of the same pod"),
    pytest.param(
        v2(f"/../crio-{ID}.scope"), Location(ID), id="v2 CRI-O, seen from a container of the pod"
    ),
    pytest.param(v2(f"/system.slice/docker-{ID}.scope"), Location(ID), id="v2 Docker: no pod"),
    pytest.param(
        v2(f"/machine.slice/libpod-{ID}.scope/container"), Location(ID), id="v2 podman: no pod"
    ),
    pytest.param(
        v2(f"/kubepods/burstable/pod{STATIC_UID}/{ID}"),
        Location(ID),
        id="static pod: its UID is a hash, so the container's ID must do",
    ),
    pytest.param(v2(f"/kubepods/pod{UID}/{ID} (deleted)"), IN_POD, id="cgroup that was removed"),
    pytest.param(v2("/user.slice/user-1000.slice/session-2.scope"), Location(), id="login session"),
    pytest.param(v2("/system.slice/sshd.service"), Location(), id="service of the host"),
    pytest.param(v2(f"/kubepods.slice/kubepods-pod{UID_}.slice"), Location(), id="pod only"),
    pytest.param(v2(f"/system.slice/{ID[:63]}"), Location(), id="63 digits"),
    pytest.param(v2(f"/system.slice/a{ID}"), Location(), id="65 digits"),
    pytest.param("", Location(), id="empty"),
]

PLAIN_CGROUPS = [row for row in REAL_CGROUPS if NODE_ID not in str(row.values[0])]
"""Without pods, a node that is a container and a container on it are two of the same kind."""


@pytest.mark.parametrize(("cgroup", "expected"), REAL_CGROUPS)
async def test_containers_and_pods_are_found(
    tmp_path: Path, cgroup: str, expected: Location
) -> None:
    pid = process(tmp_path, cgroup=cgroup)
    assert await ContainerLocator(proc=tmp_path).locate(pid) == expected


@pytest.mark.parametrize(("cgroup", "expected"), PLAIN_CGROUPS)
async def test_pods_are_left_out_where_nobody_asks(
    tmp_path: Path, cgroup: str, expected: Location
) -> None:
    pid = process(tmp_path, cgroup=cgroup)
    locator = ContainerLocator(proc=tmp_path, pods=False)
    assert await locator.locate(pid) == Location(expected.container_id)


@pytest.mark.parametrize(
    ("cgroup", "message"),
    [
        pytest.param(
            f"2:cpu:/kubepods/pod{UID}/{ID}\n1:pids:/kubepods/pod{UID}/{OTHER_ID}\n",
            "multiple container IDs found",
            id="two containers",
        ),
        pytest.param(
            f"2:cpu:/kubepods/pod{UID}/{ID}\n1:pids:/kubepods/pod{OTHER_UID}/{ID}\n",
            "multiple pod UIDs found",
            id="two pods",
        ),
        pytest.param(
            v2(f"/kubepods/pod{UID}/{ID}/kubepods/pod{OTHER_UID}/{OTHER_ID}"),
            "multiple pod UIDs found",
            id="a cgroup made inside of a container for another pod's",
        ),
        pytest.param(
            v2(f"/kubepods/pod{UID}/{ID}/pod{OTHER_UID}:x:{OTHER_ID}"),
            "multiple pod UIDs found",
            id="the same in one segment",
        ),
        pytest.param(
            v2(f"/kubepods/pod{STATIC_UID}/{ID}/pod{OTHER_UID}/{OTHER_ID}"),
            "multiple pod UIDs found",
            id="the same in a static pod",
        ),
    ],
)
async def test_contradictions_are_refused(tmp_path: Path, cgroup: str, message: str) -> None:
    pid = process(tmp_path, cgroup=cgroup)
    with pytest.raises(FailedPrecondition, match=message):
        await ContainerLocator(proc=tmp_path).locate(pid)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        pytest.param(
            f"/kubepods/pod{UID}/{ID}/{OTHER_ID}", Location(OTHER_ID, UID, (ID,)), id="v1"
        ),
        pytest.param(
            f"/kubepods-pod{UID_}.slice/crio-{ID}.scope/crio-{OTHER_ID}.scope",
            Location(OTHER_ID, UID, (ID,)),
            id="systemd",
        ),
        pytest.param(
            f"/kubepods-pod{UID_}.slice:cri-containerd:{ID}/{OTHER_ID}",
            Location(OTHER_ID, UID, (ID,)),
            id="pod and container in one segment",
        ),
        pytest.param(
            f"/kubepods/pod{UID}/{ID}-{OTHER_ID}",
            Location(OTHER_ID, UID, (ID,)),
            id="both in one segment",
        ),
        pytest.param(
            f"/kubepods/pod{STATIC_UID}/{ID}/{OTHER_ID}",
            Location(OTHER_ID, outer=(ID,)),
            id="static pod",
        ),
        pytest.param(
            f"/../crio-{ID}.scope/{OTHER_ID}", Location(OTHER_ID, outer=(ID,)), id="pod unknown"
        ),
        pytest.param(
            f"/docker/{NODE_ID}/kubepods/pod{UID}/{ID}/{OTHER_ID}",
            Location(OTHER_ID, UID, (ID,)),
            id="kind: the node does not count",
        ),
        pytest.param(f"/kubepods/pod{UID}/{ID}/x/{ID}", IN_POD, id="itself does not count"),
    ],
)
async def test_containers_around_a_container_are_told(
    tmp_path: Path, path: str, expected: Location
) -> None:
    pid = process(tmp_path, cgroup=v2(path))
    assert await ContainerLocator(proc=tmp_path).locate(pid) == expected


USERS_OWN = "/user.slice/user-1000.slice/user@1000.service"
NAMED_BY_USERS = [
    pytest.param(
        f"{USERS_OWN}/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{UID_}.slice/"
        f"cri-containerd-{ID}.scope",
        IN_POD,
        id="rootless kind, or a forged pod",
    ),
    pytest.param(
        f"{USERS_OWN}/user.slice/libpod-{ID}.scope/container",
        Location(ID),
        id="rootless podman, or a forged container",
    ),
]


@pytest.mark.parametrize(("path", "expected"), NAMED_BY_USERS)
@pytest.mark.parametrize(
    "own",
    [
        pytest.param("/", id="agent in a cgroup namespace"),
        pytest.param("/system.slice/spire-agent.service", id="agent on the host"),
        pytest.param(
            "/user.slice/user-1001.slice/user@1001.service/agent.scope", id="another user's agent"
        ),
        pytest.param(None, id="no proc"),
    ],
)
async def test_what_a_user_named_is_no_pod(
    tmp_path: Path, path: str, expected: Location, own: str | None
) -> None:
    if own is not None:
        agent(tmp_path, cgroup=v2(own))
    pid = process(tmp_path, cgroup=v2(path), mountinfo=mounts(mount(f"/../{OTHER_ID}")))
    assert await ContainerLocator(proc=tmp_path).locate(pid) == Location()
    without_pods = ContainerLocator(proc=tmp_path, pods=False)
    assert await without_pods.locate(pid) == Location(expected.container_id)


@pytest.mark.parametrize(("path", "expected"), NAMED_BY_USERS)
async def test_what_a_user_named_is_a_pod_to_the_users_own_agent(
    tmp_path: Path, path: str, expected: Location
) -> None:
    agent(tmp_path, cgroup=v2(f"{USERS_OWN}/kubelet.slice/agent"))
    pid = process(tmp_path, cgroup=v2(path))
    assert await ContainerLocator(proc=tmp_path).locate(pid) == expected


async def test_what_the_kernel_says_elsewhere_counts_beside_what_a_user_named(
    tmp_path: Path,
) -> None:
    cgroup = (
        f"2:cpu:/kubepods/pod{UID}/{ID}\n1:name=systemd:{USERS_OWN}/pod{OTHER_UID}/{OTHER_ID}\n"
    )
    pid = process(tmp_path, cgroup=cgroup)
    assert await ContainerLocator(proc=tmp_path).locate(pid) == IN_POD


MOUNTS = """\
1542 1541 0:51 / /sys ro,nosuid,nodev,noexec,relatime - sysfs sysfs ro
{cgroup}
119 206 0:68 / /local rw,relatime - tmpfs  rw,size=8192k
120 206 8:1 /var/lib/a\\040b /data rw,relatime shared:1 master:2 - ext4 /dev/sda1 rw
121 206 0:70 /pod{other_uid}/{other_id} /x rw - overlay overlay rw
"""


def mounts(*lines: str) -> str:
    return MOUNTS.format(cgroup="\n".join(lines), other_uid=OTHER_UID, other_id=OTHER_ID)


def mount(root: str, kind: str = "cgroup2") -> str:
    return f"1543 1542 0:32 {root} /sys/fs/cgroup ro,nosuid,nodev,noexec - {kind} cgroup rw"


@pytest.mark.parametrize(
    ("mountinfo", "expected"),
    [
        pytest.param(
            mounts(
                mount(
                    f"/../../kubelet-kubepods-besteffort.slice/"
                    f"kubelet-kubepods-besteffort-pod{UID_}.slice/cri-containerd-{ID}.scope"
                )
            ),
            IN_POD,
            id="v2, agent's own container",
        ),
        pytest.param(
            mounts(
                *(
                    f"{number} 2032 0:{number} /kubepods/pod{UID}/{ID} /sys/fs/cgroup/{name} "
                    f"ro,nosuid,nodev,noexec,relatime - cgroup cgroup rw,{name}"
                    for number, name in enumerate(V1_CONTROLLERS, 2033)
                )
            ),
            IN_POD,
            id="v1",
        ),
        pytest.param(mounts(mount(f"/../{ID}")), Location(ID), id="container alone"),
        pytest.param(mounts(mount("/")), Location(), id="root cgroup, as Docker Desktop has it"),
        pytest.param(
            mounts(mount("/", "cgroup"), mount(f"/docker/{ID}", "cgroup")),
            Location(ID),
            id="root cgroup beside others",
        ),
        pytest.param(mounts(), Location(), id="no cgroup at all"),
        pytest.param("", Location(), id="empty"),
        pytest.param(None, Location(), id="missing"),
    ],
)
async def test_a_process_in_the_agents_own_cgroup_is_where_the_agents_mounts_say(
    tmp_path: Path, mountinfo: str | None, expected: Location
) -> None:
    agent(tmp_path, cgroup=v2("/"), mountinfo=mountinfo)
    forged = mounts(mount(f"/kubepods/pod{OTHER_UID}/{OTHER_ID}"))
    pid = process(tmp_path, cgroup=v2("/"), mountinfo=forged)
    assert await ContainerLocator(proc=tmp_path).locate(pid) == expected


@pytest.mark.parametrize(
    ("cgroup", "expected"),
    [
        pytest.param(v2(f"/../{ID}"), Location(ID), id="process of another container"),
        pytest.param(v2(f"/kubepods/pod{UID}/{ID}"), IN_POD, id="process of another pod"),
        pytest.param(v2("/user.slice/user-1000.slice/session-2.scope"), Location(), id="user"),
        pytest.param("2:cpu:/\n1:name=systemd:/system.slice/cron.service\n", Location(), id="v1"),
        pytest.param(v2("/../../system.slice/cron.service"), Location(), id="seen from a pod"),
        pytest.param(v2("/../.."), Location(), id="in the root cgroup, seen from a pod"),
        pytest.param(v2("/"), Location(), id="in the root cgroup"),
        pytest.param("", Location(), id="in no cgroup at all"),
    ],
)
@pytest.mark.parametrize(
    "own",
    [
        pytest.param("/system.slice/spire-agent.service", id="agent on the host"),
        pytest.param("/init.scope", id="agent in a container"),
        pytest.param("/", id="agent in the root cgroup, or that of its container"),
    ],
)
async def test_forged_mounts_move_nobody(
    tmp_path: Path, cgroup: str, expected: Location, own: str
) -> None:
    agent(tmp_path, cgroup=v2(own), mountinfo=mounts(mount("/")))
    forged = mounts(mount(f"/kubepods/pod{OTHER_UID}/{OTHER_ID}"))
    pid = process(tmp_path, cgroup=cgroup, mountinfo=forged)
    assert await ContainerLocator(proc=tmp_path).locate(pid) == expected


@pytest.mark.parametrize(
    "cgroup",
    [
        pytest.param("/../../system.slice/cron.service", id="service of the host"),
        pytest.param("/../..", id="root cgroup of the host"),
        pytest.param("/..", id="beside the container"),
        pytest.param("/x", id="a cgroup in the container, which may be anybody's"),
    ],
)
async def test_who_is_not_in_the_agents_cgroup_is_not_in_its_container(
    tmp_path: Path, cgroup: str
) -> None:
    agent(tmp_path, cgroup=v2("/"), mountinfo=mounts(mount(f"/kubepods/pod{UID}/{ID}")))
    pid = process(tmp_path, cgroup=v2(cgroup))
    assert await ContainerLocator(proc=tmp_path).locate(pid) == Location()


async def test_mounts_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    agent(tmp_path, cgroup=v2("/"), mountinfo=mounts(mount(f"/../{ID}"), mount(f"/../{OTHER_ID}")))
    pid = process(tmp_path, cgroup=v2("/"))
    with pytest.raises(FailedPrecondition, match="multiple container IDs found"):
        await ContainerLocator(proc=tmp_path).locate(pid)


async def test_mounts_do_not_count_where_that_is_switched_off(tmp_path: Path) -> None:
    agent(tmp_path, cgroup=v2("/"), mountinfo=mounts(mount(f"/../{ID}")))
    pid = process(tmp_path, cgroup=v2("/"))
    assert await ContainerLocator(proc=tmp_path, fall_back=False).locate(pid) == Location()


@pytest.mark.parametrize("separator", ["\x0b", "\x1c", "\x85", "\u2028", "\r"])
async def test_only_a_line_feed_begins_a_mount(tmp_path: Path, separator: str) -> None:
    forged = f"1 2 0:1 /a{separator}{mount(f'/../{ID}')} /x rw - tmpfs x rw\n"
    agent(tmp_path, cgroup=v2("/"), mountinfo=forged)
    pid = process(tmp_path, cgroup=v2("/"))
    assert await ContainerLocator(proc=tmp_path).locate(pid) == Location()


@pytest.mark.parametrize(
    ("cgroup", "mountinfo", "message"),
    [
        pytest.param("11:hugetlb\n", None, "contains 2 colon separated fields", id="cgroup"),
        pytest.param(v2("/"), "1 2 0:1 / /x rw\n", "malformed line", id="mount without separator"),
        pytest.param(v2("/"), "1 2 0:1 / /x rw -\n", "malformed line", id="mount without type"),
        pytest.param(v2("/" + "a" * 300_000), None, "is longer than", id="long cgroup"),
        pytest.param(v2("/"), mount("/" + "a" * 5_000_000), "is longer than", id="many mounts"),
    ],
)
async def test_what_cannot_be_read_is_an_error(
    tmp_path: Path, cgroup: str, mountinfo: str | None, message: str
) -> None:
    agent(tmp_path, cgroup=cgroup, mountinfo=mountinfo)
    pid = process(tmp_path, cgroup=cgroup)
    with pytest.raises(Internal, match=message):
        await ContainerLocator(proc=tmp_path).locate(pid)


async def test_a_process_that_is_gone_runs_nowhere(tmp_path: Path) -> None:
    assert await ContainerLocator(proc=tmp_path).locate(7) == Location()


async def test_this_process_can_be_located() -> None:
    await ContainerLocator(verbose=True).locate(os.getpid())


HEX = st.text("0123456789abcdef", min_size=64, max_size=64)
UIDS = st.uuids().map(str)
SEGMENTS = st.text(st.sampled_from("abcdefghij0123456789-_.:pod@"), max_size=80)


@given(st.lists(SEGMENTS, max_size=6), UIDS, HEX, st.sampled_from(["", "docker-", "crio-"]))
def test_the_last_container_of_a_path_counts(
    before: list[str], uid: str, container_id: str, prefix: str
) -> None:
    path = "/".join(["", *before, f"pod{uid}", f"{prefix}{container_id}"])
    try:
        found = locate_in([path])
    except FailedPrecondition:
        assert "pod" in "/".join(before)
        return
    assert found == Location(container_id, uid)


@given(st.lists(st.one_of(st.text(), SEGMENTS), max_size=5))
def test_any_text_is_located_or_refused(paths: list[str]) -> None:
    try:
        found = locate_in(paths)
    except FailedPrecondition:
        return
    assert len(found.container_id) in {0, 64}
    assert not found.pod_uid or found.container_id


@given(st.binary(max_size=300), st.binary(max_size=300))
async def test_any_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, cgroup: bytes, mountinfo: bytes
) -> None:
    proc = tmp_path_factory.mktemp("proc")
    for name in ("7", "self"):
        (proc / name).mkdir()
        (proc / name / "cgroup").write_bytes(cgroup)
        (proc / name / "mountinfo").write_bytes(mountinfo)
    try:
        await ContainerLocator(proc=proc).locate(7)
    except SpireError as error:
        message = error.message
    else:
        message = ""
    assert not message or message.isprintable()
