from __future__ import annotations

import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from spire_py.agent.socket_aliases import link_aliases, make_way
from spire_py.errors import FailedPrecondition
from spire_py.transport.listeners import bind_unix

NAMES = ("socket", "spire-agent.sock", "api.sock")


@pytest.fixture
def directory() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="sp"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def path(directory: Path) -> Path:
    return directory / "spire-agent.sock"


def listen(path: Path) -> socket.socket:
    return bind_unix(path, mode=0o777, directory_mode=0o755)


def test_each_name_leads_to_the_socket_wherever_the_folder_is_mounted(
    directory: Path, path: Path
) -> None:
    with listen(path):
        link_aliases(path, NAMES)
        assert {
            each.name: str(each.readlink()) for each in directory.iterdir() if each != path
        } == {
            "socket": "spire-agent.sock",
            "api.sock": "spire-agent.sock",
        }
        for name in NAMES:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(directory / name))


def test_a_right_link_is_left_alone(directory: Path, path: Path) -> None:
    with listen(path):
        link_aliases(path, NAMES)
        before = (directory / "socket").lstat().st_ino
        link_aliases(path, NAMES)
        assert (directory / "socket").lstat().st_ino == before


@pytest.mark.parametrize("target", ["elsewhere", "/nonexistent/agent.sock", "socket"])
def test_a_stale_link_is_replaced(directory: Path, path: Path, target: str) -> None:
    (directory / "socket").symlink_to(target)
    with listen(path):
        link_aliases(path, ["socket"])
    assert str((directory / "socket").readlink()) == "spire-agent.sock"
    assert sorted(each.name for each in directory.iterdir()) == ["socket", "spire-agent.sock"]


def test_the_socket_of_a_dead_process_is_replaced(directory: Path, path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(directory / "api.sock"))
    with listen(path):
        link_aliases(path, ["api.sock"])
    assert (directory / "api.sock").is_symlink()


@pytest.mark.parametrize(
    ("kind", "complaint"),
    [
        ("file", "a file of this name is in the way"),
        ("directory", "a directory of this name is in the way"),
        ("socket", "another process listens on a socket of this name"),
    ],
)
def test_anything_else_in_the_way_is_told_and_left(
    directory: Path, path: Path, kind: str, complaint: str
) -> None:
    alias = directory / "socket"
    other = listen(alias) if kind == "socket" else None
    if kind == "file":
        alias.write_text("kept")
    elif kind == "directory":
        alias.mkdir()
    with listen(path), pytest.raises(FailedPrecondition, match=complaint) as refusal:
        link_aliases(path, ["socket"])
    assert str(alias) in refusal.value.message
    assert not alias.is_symlink()
    assert alias.exists()
    if other is not None:
        other.close()


def test_a_folder_that_cannot_be_written_to_is_told() -> None:
    with pytest.raises(FailedPrecondition, match="cannot make the socket alias '/proc/socket'"):
        link_aliases(Path("/proc/api.sock"), ["socket"])


def test_the_socket_may_take_the_name_of_a_former_alias(directory: Path, path: Path) -> None:
    path.symlink_to("api.sock")
    make_way(path, ["api.sock"])
    with listen(path):
        link_aliases(path, ["api.sock"])
        assert path.is_socket()
        assert str((directory / "api.sock").readlink()) == "spire-agent.sock"


def test_the_alias_of_an_agent_that_serves_is_left_alone(directory: Path, path: Path) -> None:
    path.symlink_to("api.sock")
    with listen(directory / "api.sock"):
        make_way(path, ["api.sock"])
        with pytest.raises(FailedPrecondition, match="another process listens"):
            listen(path)


@pytest.mark.parametrize(
    ("target", "aliases"), [("elsewhere", []), ("/nonexistent/agent.sock", ["socket"])]
)
def test_a_link_that_is_not_ours_stays_where_the_socket_is_to_be(
    path: Path, target: str, aliases: list[str]
) -> None:
    path.symlink_to(target)
    make_way(path, aliases)
    with pytest.raises(FailedPrecondition, match="is no socket"):
        listen(path)
    assert str(path.readlink()) == target
