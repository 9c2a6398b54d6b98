from __future__ import annotations

import resource
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from spire_py.errors import FailedPrecondition, InvalidArgument
from spire_py.transport.listeners import bind_tcp, bind_unix, raise_open_files_limit


@pytest.fixture
def directory() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="sp"))
    yield path
    shutil.rmtree(path)


def test_an_existing_directory_keeps_its_mode(directory: Path) -> None:
    directory.chmod(0o700)
    with bind_unix(directory / "a.sock", mode=0o770, directory_mode=0o755):
        assert directory.stat().st_mode & 0o777 == 0o700
        assert (directory / "a.sock").stat().st_mode & 0o777 == 0o770


def test_a_dangling_link_is_not_followed(directory: Path) -> None:
    path = directory / "a.sock"
    path.symlink_to(directory / "elsewhere")
    with pytest.raises(FailedPrecondition, match="is no socket"):
        bind_unix(path, mode=0o600, directory_mode=0o755)


def test_a_directory_that_cannot_be_made_is_told(directory: Path) -> None:
    (directory / "file").write_text("")
    with pytest.raises(FailedPrecondition, match="cannot listen on"):
        bind_unix(directory / "file" / "a.sock", mode=0o600, directory_mode=0o755)


def test_a_path_too_long_for_a_socket_is_refused(directory: Path) -> None:
    with pytest.raises(InvalidArgument, match="longer than 107"):
        bind_unix(directory / ("x" * 107), mode=0o600, directory_mode=0o755)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", ""])
def test_a_free_port_is_taken(host: str) -> None:
    with bind_tcp(host, 0) as listener:
        port = listener.getsockname()[1]
        assert not listener.getblocking()
        with socket.create_connection(("127.0.0.1", port), timeout=20):
            pass


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host"])
def test_an_address_that_is_not_ours_is_refused(host: str) -> None:
    with pytest.raises(FailedPrecondition, match="cannot listen on"):
        bind_tcp(host, 0)


def test_the_limit_of_open_files_is_raised_as_far_as_allowed() -> None:
    raise_open_files_limit()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert soft == hard
