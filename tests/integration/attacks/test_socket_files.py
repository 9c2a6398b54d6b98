"""Links laid where a socket is to be, by somebody who may write into its directory."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from spire_py.errors import FailedPrecondition
from spire_py.transport import listeners


def test_a_link_that_took_the_sockets_place_gets_no_mode(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the victim's file would be open to all: the agent's socket has mode 0777."""
    victim = directory / "shadow"
    victim.write_text("secret")
    victim.chmod(0o600)
    path = directory / "api.sock"

    class Raced(socket.socket):
        def bind(self, address: object) -> None:
            super().bind(address)  # type: ignore[arg-type]
            path.unlink()
            path.symlink_to(victim)

    monkeypatch.setattr(socket, "socket", Raced)
    with pytest.raises(FailedPrecondition):
        listeners.bind_unix(path, mode=0o777, directory_mode=0o755)
    assert victim.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("kind", ["file", "directory", "link to a file", "fifo"])
def test_what_is_no_socket_is_left_alone(directory: Path, kind: str) -> None:
    path, victim = directory / "api.sock", directory / "victim"
    victim.write_text("kept")
    if kind == "file":
        path.write_text("kept")
    elif kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to(victim)
    with pytest.raises(FailedPrecondition, match="is no socket"):
        listeners.bind_unix(path, mode=0o777, directory_mode=0o755)
    assert path.exists()
    assert victim.read_text() == "kept"


def test_a_link_to_anothers_socket_is_replaced_and_the_socket_left_alone(directory: Path) -> None:
    other, path = directory / "other.sock", directory / "api.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(other))
    other.chmod(0o600)
    path.symlink_to(other)
    with listeners.bind_unix(path, mode=0o777, directory_mode=0o755):
        assert not path.is_symlink()
        assert other.stat().st_mode & 0o777 == 0o600
