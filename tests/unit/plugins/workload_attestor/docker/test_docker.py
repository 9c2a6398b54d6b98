from __future__ import annotations

import asyncio
import os
import socket
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from shutil import rmtree
from typing import Any
from urllib.parse import quote

import pytest
from spire_py_plugins.workload_attestor import docker
from spire_py_plugins.workload_attestor.container_locator import ContainerLocator
from spire_py_plugins.workload_attestor.docker.attestor import DockerWorkloadAttestor
from spire_py_plugins.workload_attestor.docker.settings import DockerSettings, parse_settings

from spire_py.errors import FailedPrecondition, InvalidArgument, NotFound, SpireError, Unavailable
from spire_py.plugin_api.context import PluginContext
from spire_py.spiffe.id import TrustDomain
from tests.fakes.clock import FakeClock
from tests.fakes.container_engine import FakeEngine

ID = "9bca8d63d5fa610783847915bcff0ecac1273e5b4bed3f6fa1b07350e0135961"
OTHER_ID = "b2a102854b4969b2ce98dc329c86b4fb2b06e4ad2cc8da9d8a7578c9cd2004a2"
PID = 7
CONTAINER = {
    "Id": ID,
    "Config": {
        "Image": "registry.example.org/team/web:v1",
        "Labels": {"app": "web", "example.org/tier": "front:end"},
        "Env": ["PATH=/bin", "MODE=a=b"],
    },
}
IMAGE = {"Id": f"sha256:{'5' * 64}"}
SELECTORS = [
    "docker:label:app:web",
    "docker:label:example.org/tier:front:end",
    "docker:env:PATH=/bin",
    "docker:env:MODE=a=b",
    "docker:image_id:registry.example.org/team/web:v1",
]
DIGEST = f"docker:image_config_digest:sha256:{'5' * 64}"


@pytest.fixture
def folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="sp"))
    yield folder
    rmtree(folder)


@pytest.fixture
def engine(folder: Path) -> Iterator[FakeEngine]:
    with FakeEngine(folder / "docker.sock") as engine:
        engine.containers[ID] = CONTAINER
        engine.images["registry.example.org/team/web:v1"] = IMAGE
        yield engine


def context() -> PluginContext:
    return PluginContext(TrustDomain("example.org"))


def attestor(
    folder: Path, cgroup: str, clock: FakeClock | None = None, **data: Any
) -> DockerWorkloadAttestor:
    (folder / str(PID)).mkdir()
    (folder / str(PID) / "cgroup").write_text(f"0::{cgroup}\n")
    paths = {
        "docker_socket_path": f"unix://{folder}/docker.sock",
        "podman_socket_path": f"unix://{folder}/podman.sock",
        "podman_socket_path_template": f"unix://{folder}/%d/podman.sock",
    }
    return DockerWorkloadAttestor(
        parse_settings({**paths, **data}, context()),
        locator=ContainerLocator(proc=folder, pods=False),
        clock=clock or FakeClock(),
    )


async def attest(folder: Path, cgroup: str, **data: Any) -> list[str]:
    return [str(each) for each in await attestor(folder, cgroup, **data).attest(PID)]


@pytest.mark.parametrize(
    "cgroup",
    [
        pytest.param(f"/system.slice/docker-{ID}.scope", id="systemd"),
        pytest.param(f"/docker/{ID}", id="cgroupfs"),
        pytest.param(f"/../{ID}", id="private cgroup namespaces"),
        pytest.param(f"/docker/{OTHER_ID}/docker/{ID}", id="Docker in Docker"),
        pytest.param(f"/kubepods/besteffort/pod0/{ID}", id="with a parent of Kubernetes"),
    ],
)
async def test_a_process_has_its_containers_selectors(
    folder: Path, engine: FakeEngine, cgroup: str
) -> None:
    assert await attest(folder, cgroup) == [*SELECTORS, DIGEST]
    assert engine.asked[0] == f"/containers/{ID}/json"


@pytest.mark.parametrize(
    "cgroup",
    [
        pytest.param(f"/docker/{OTHER_ID}/{ID}", id="by its name alone"),
        pytest.param(f"/system.slice/docker-{OTHER_ID}.scope/docker-{ID}.scope", id="systemd"),
        pytest.param(f"/docker/{OTHER_ID}/docker/{'c' * 64}/{ID}", id="two within"),
        pytest.param(f"/docker/{OTHER_ID}-{ID}", id="in one segment"),
    ],
)
async def test_a_container_cannot_pass_for_another_by_a_cgroup_of_its_own(
    folder: Path, engine: FakeEngine, cgroup: str
) -> None:
    engine.containers[OTHER_ID] = {"Id": OTHER_ID, "Config": {"Labels": {"app": "attacker"}}}
    with pytest.raises(FailedPrecondition, match="multiple container IDs found"):
        await attest(folder, cgroup)


async def test_a_container_cannot_pass_for_one_of_another_engine(folder: Path) -> None:
    with FakeEngine(folder / "docker.sock") as engine, FakeEngine(folder / "podman.sock") as podman:
        engine.containers[OTHER_ID] = {"Config": {"Labels": {"app": "attacker"}}}
        podman.containers[ID] = CONTAINER
        with pytest.raises(FailedPrecondition, match="multiple container IDs found"):
            await attest(folder, f"/system.slice/docker-{OTHER_ID}.scope/libpod-{ID}.scope")


async def test_an_outer_container_that_cannot_be_asked_for_is_no_way_around(
    folder: Path, engine: FakeEngine
) -> None:
    engine.broken.add(OTHER_ID)
    with pytest.raises(Unavailable):
        await attest(folder, f"/docker/{OTHER_ID}/{ID}")


USERS = "/user.slice/user-{0}.slice/user@{0}.service"


async def test_a_user_cannot_pass_for_a_container_of_roots_engine(
    folder: Path, engine: FakeEngine
) -> None:
    stranger = os.getuid() + 1
    with pytest.raises(FailedPrecondition, match=f"cgroup is of user {stranger}"):
        await attest(folder, f"{USERS.format(stranger)}/docker-{ID}.scope")
    assert engine.asked == []


async def test_a_users_own_engine_tells_of_the_users_containers(
    folder: Path, engine: FakeEngine
) -> None:
    found = await attest(folder, f"{USERS.format(os.getuid())}/user.slice/docker-{ID}.scope")
    assert found == [*SELECTORS, DIGEST]


async def test_the_apis_version_can_be_set(folder: Path, engine: FakeEngine) -> None:
    await attest(folder, f"/docker/{ID}", docker_version="1.41")
    assert engine.asked[0] == f"/v1.41/containers/{ID}/json"


async def test_processes_outside_of_containers_have_no_selectors(
    folder: Path, engine: FakeEngine
) -> None:
    assert await attest(folder, "/system.slice/sshd.service") == []
    assert engine.asked == []


async def test_an_image_that_is_gone_has_no_digest(folder: Path, engine: FakeEngine) -> None:
    engine.images.clear()
    assert await attest(folder, f"/docker/{ID}") == SELECTORS


@pytest.mark.parametrize(
    ("cgroup", "socket"),
    [
        pytest.param(f"/machine.slice/libpod-{ID}.scope/container", "podman.sock", id="root"),
        pytest.param(f"/libpod_parent/libpod/{ID}", "podman.sock", id="root, cgroupfs"),
        pytest.param(
            f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope",
            "1000/podman.sock",
            id="user",
        ),
        pytest.param(
            f"/user.slice/user-9999999999.slice/libpod-{ID}.scope", "podman.sock", id="no user"
        ),
    ],
)
async def test_podman_is_asked_for_its_own(folder: Path, cgroup: str, socket: str) -> None:
    with FakeEngine(folder / socket) as podman:
        podman.containers[ID] = {"Config": {"Labels": {"of": "podman"}, "Env": None, "Image": ""}}
        assert await attest(folder, cgroup) == ["docker:label:of:podman"]


async def failure(folder: Path) -> SpireError:
    """What is raised once all attempts are over."""
    clock = FakeClock()
    attesting = asyncio.create_task(attestor(folder, f"/docker/{ID}", clock).attest(PID))
    for wait in (100, 200, 400):
        await clock.sleepers()
        await clock.advance(timedelta(milliseconds=wait))
    with pytest.raises(SpireError) as caught:
        await attesting
    return caught.value


async def test_an_engine_that_stumbles_is_asked_again(folder: Path, engine: FakeEngine) -> None:
    engine.refusals = [(500, b""), (503, b"{}"), (200, b"{")]
    clock = FakeClock()
    attesting = asyncio.create_task(attestor(folder, f"/docker/{ID}", clock).attest(PID))
    for wait in (100, 200, 400):
        await clock.sleepers()
        await clock.advance(timedelta(milliseconds=wait))
    assert len(await attesting) == 6


async def test_a_container_that_is_not_known_is_an_error_at_once(
    folder: Path, engine: FakeEngine
) -> None:
    # As every pod's is, where the node's pods run in containerd: they must not wait.
    with pytest.raises(NotFound, match="Error response from daemon: No such container"):
        await attest(folder, f"/docker/{OTHER_ID}")
    assert len(engine.asked) == 1


async def test_an_engine_without_socket_is_told_at_once(folder: Path) -> None:
    with pytest.raises(Unavailable, match=f"{folder}/docker.sock: No such file or directory"):
        await attest(folder, f"/docker/{ID}")


async def test_an_engine_that_does_not_listen_is_asked_again(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(folder / "docker.sock"))
        error = await failure(folder)
    assert isinstance(error, Unavailable)
    assert f"{folder}/docker.sock: Connection refused" in error.message


async def test_an_answer_that_is_too_long_is_refused(folder: Path, engine: FakeEngine) -> None:
    engine.refusals = [(200, b" " * 5_000_000)] * 4
    assert "longer than 4194304 bytes" in (await failure(folder)).message


@pytest.mark.parametrize(
    "container",
    [
        pytest.param({}, id="no config"),
        pytest.param({"Config": []}, id="config no object"),
        pytest.param({"Config": {"Labels": ["a"]}}, id="labels no object"),
        pytest.param({"Config": {"Env": {"a": "b"}}}, id="environment no array"),
        pytest.param({"Config": {"Labels": {"a": 1}}}, id="label no text"),
    ],
)
async def test_nonsense_is_refused(folder: Path, engine: FakeEngine, container: object) -> None:
    engine.containers[ID] = container
    with pytest.raises(Unavailable, match="the engine's answer"):
        await attest(folder, f"/docker/{ID}")


async def test_matchers_find_ids_of_any_form(folder: Path, engine: FakeEngine) -> None:
    engine.containers["web-1"] = CONTAINER
    found = await attest(
        folder,
        "/my.slice/any/web-1/x",
        container_id_cgroup_matchers=["/my.slice/*/<id>/x", "/docker/<id>"],
        use_new_container_locator=False,
    )
    assert found == [*SELECTORS, DIGEST]


@pytest.mark.parametrize(
    ("cgroup", "message"),
    [
        pytest.param("/docker/", "a pattern matched, but no container id was found", id="blank"),
        pytest.param(
            "/docker/a\n1:pids:/docker/b", "multiple container IDs found in cgroups", id="two"
        ),
    ],
)
async def test_matchers_refuse_what_is_not_clear(folder: Path, cgroup: str, message: str) -> None:
    matchers = {
        "container_id_cgroup_matchers": ["/docker/<id>"],
        "use_new_container_locator": False,
    }
    with pytest.raises(FailedPrecondition, match=message):
        await attest(folder, cgroup, **matchers)


@pytest.mark.parametrize(
    "name",
    [pytest.param(b"\xff\xfe", id="no UTF-8"), pytest.param("é b?c#d".encode(), id="not in URLs")],
)
async def test_an_id_may_be_any_bytes(folder: Path, engine: FakeEngine, name: bytes) -> None:
    engine.containers[quote(name)] = CONTAINER
    plugin = attestor(
        folder,
        "/",
        container_id_cgroup_matchers=["/docker/<id>"],
        use_new_container_locator=False,
    )
    (folder / str(PID) / "cgroup").write_bytes(b"0::/docker/%b\n" % name)
    assert len(await plugin.attest(PID)) == 6


@pytest.mark.parametrize("image", ["x" * 100_000, "x/" * 50_000 + "x", "a/../b", "\n"])
async def test_an_image_whose_name_fits_no_url_has_no_digest(
    folder: Path, engine: FakeEngine, image: str
) -> None:
    engine.containers[ID] = {"Config": {"Image": image}}
    assert await attest(folder, f"/docker/{ID}") == [f"docker:image_id:{image}"]


@pytest.mark.parametrize("name", ["..", "."])
async def test_an_id_is_never_another_path(folder: Path, engine: FakeEngine, name: str) -> None:
    matchers = {
        "container_id_cgroup_matchers": ["/docker/<id>"],
        "use_new_container_locator": False,
    }
    with pytest.raises(NotFound):
        await attest(folder, f"/docker/{name}", **matchers)
    assert engine.asked == []


def test_defaults_are_those_of_spire() -> None:
    assert parse_settings({}, context()) == DockerSettings()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param({"docker_socket_path": "tcp://x:1"}, "docker_socket_path must be", id="tcp"),
        pytest.param({"podman_socket_path": "/run/x"}, "podman_socket_path must be", id="path"),
        pytest.param({"docker_version": "../1"}, "docker_version must be", id="version"),
        pytest.param({"sigstore": [{}]}, "sigstore is not available", id="sigstore"),
        pytest.param(
            {"podman_socket_path_template": "unix:///run/x"},
            "template must contain exactly one %d UID placeholder",
            id="no placeholder",
        ),
        pytest.param(
            {"podman_socket_path_template": "unix:///run/%d/%d"},
            "template must contain exactly one %d UID placeholder",
            id="two placeholders",
        ),
        pytest.param(
            {"podman_socket_path_template": "unix:///run/%d/%s"},
            "template only supports escaped %% or the %d UID placeholder",
            id="other placeholder",
        ),
        pytest.param(
            {"podman_socket_path_template": "unix:///run/%d/%"},
            "trailing % at end of template",
            id="half a placeholder",
        ),
        pytest.param(
            {"container_id_cgroup_matchers": ["/a"], "use_new_container_locator": False},
            'pattern "/a" must contain the container id token "<id>" exactly once',
            id="matcher without ID",
        ),
        pytest.param(
            {
                "container_id_cgroup_matchers": ["/a/b/<id>", "/*/b/<id>"],
                "use_new_container_locator": False,
            },
            "patterns must not be ambiguous",
            id="ambiguous matchers",
        ),
    ],
)
def test_faults_are_told(data: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_settings(data, context())
    assert message in caught.value.message


def test_the_guides_matchers_are_taken_with_a_warning() -> None:
    noted = context()
    matchers = ["/docker/([^/]+)", "/system.slice/docker-([^.]+).scope"]
    settings = parse_settings({"container_id_cgroup_matchers": matchers}, noted)
    assert settings == DockerSettings()
    assert noted.warnings == [
        "container_id_cgroup_matchers has no effect unless use_new_container_locator is false"
    ]


async def test_a_socket_that_cannot_be_looked_at_hides_no_other(
    folder: Path, engine: FakeEngine
) -> None:
    # As root may look everywhere, a name that is too long stands in for a closed folder.
    closed: dict[str, Any] = {"podman_socket_path": f"unix://{folder}/{'x' * 300}/podman.sock"}
    missing = await attestor(folder, "/", **closed).check_surroundings()
    assert not any("podman" in each for each in missing)
    assert engine.asked


async def test_nothing_is_opened_when_it_is_configured() -> None:
    plugin = docker.configure({"docker_socket_path": "unix:///none.sock"}, context())
    assert isinstance(plugin, DockerWorkloadAttestor)
    await plugin.aclose()
