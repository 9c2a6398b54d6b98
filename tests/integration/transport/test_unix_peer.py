"""Who is at the other end of a Unix socket (feature H19)."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf.wrappers_pb2 import BytesValue

from spire_py.errors import FailedPrecondition, PermissionDenied
from spire_py.transport import Channel, UnixPeer, check_process
from spire_py.transport import peer as peer_module
from spire_py.transport.processes import start_time

from .echo import UNARY, Echo, serving, text, until

_CONNECT_AND_WAIT = """
import socket, sys
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); print("connected", flush=True)
sys.stdin.read()
"""

_CONNECT_AND_LEAVE_A_CHILD = """
import os, socket, sys
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])
if os.fork() == 0:
    print("connected", flush=True); sys.stdin.read()
os._exit(0)
"""


def listening(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    return listener


def connector(code: str, path: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"connected\n"
    return process


@pytest.fixture(params=["pidfd", "start time"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to recognise a process: of newer kernels, and of older ones."""
    if request.param == "start time":
        monkeypatch.setattr(peer_module, "_peer_pidfd", lambda _: None)
    return str(request.param)


async def test_the_peer_is_this_process(socket_path: Path) -> None:
    echo = Echo()
    async with serving(socket_path, echo):
        channel = Channel.unix(socket_path)
        await channel.unary(UNARY, text("x"), BytesValue, timeout=30)
        peer = echo.contexts[0].peer.unix
        assert peer is not None
        assert (peer.pid, peer.uid, peer.gid) == (os.getpid(), os.getuid(), os.getgid())
        assert peer.still_alive()
        check_process(peer)
        await channel.aclose()


def test_a_process_that_ended_is_refused(socket_path: Path, kernel: str) -> None:
    with listening(socket_path) as listener:
        process = connector(_CONNECT_AND_WAIT, socket_path)
        accepted, _ = listener.accept()
        with accepted:
            peer = peer_module.unix_peer(accepted)
            assert peer.pid == process.pid
            check_process(peer)
            process.communicate()
            assert not peer.still_alive()
            with pytest.raises(FailedPrecondition, match="no longer running"):
                check_process(peer)


def test_a_process_that_ended_before_accept_is_refused(socket_path: Path, kernel: str) -> None:
    """Its child holds the connection open; the pid may be anyone's by now."""
    with listening(socket_path) as listener:
        process = connector(_CONNECT_AND_LEAVE_A_CHILD, socket_path)
        process.wait()
        accepted, _ = listener.accept()
        with accepted:
            peer = peer_module.unix_peer(accepted)
            assert not peer.still_alive()
            with pytest.raises(FailedPrecondition, match="no longer running"):
                check_process(peer)
        process.communicate()


def test_a_pid_given_out_again_is_refused() -> None:
    """The number is in use, but by a process that started at another time."""
    started = start_time(os.getpid())
    assert started is not None
    recycled = UnixPeer(pid=os.getpid(), uid=os.getuid(), gid=os.getgid(), started=started - 1)
    with pytest.raises(FailedPrecondition, match="no longer running"):
        check_process(recycled)


def test_without_any_mark_of_the_process_it_is_refused() -> None:
    unknown = UnixPeer(pid=os.getpid(), uid=os.getuid(), gid=os.getgid())
    with pytest.raises(FailedPrecondition, match="no longer running"):
        check_process(unknown)


@pytest.mark.parametrize("change", [{"uid": 4711}, {"gid": 4711}], ids=["user", "group"])
def test_a_process_of_another_user_is_refused(change: dict[str, int]) -> None:
    facts = {"uid": os.getuid(), "gid": os.getgid()} | change
    peer = UnixPeer(pid=os.getpid(), started=start_time(os.getpid()), **facts)
    with pytest.raises(PermissionDenied, match="another user or group"):
        check_process(peer)


def test_a_name_with_parentheses_does_not_confuse_the_start_time(tmp_path: Path) -> None:
    script = tmp_path / "a) 1 2 (b"
    script.symlink_to(sys.executable)
    process = subprocess.Popen([str(script), "-c", "input()"], stdin=subprocess.PIPE)
    try:
        own = start_time(os.getpid())
        assert own is not None
        assert (start_time(process.pid) or 0) >= own
    finally:
        process.communicate()
    assert start_time(process.pid) is None


async def test_descriptors_are_closed_with_the_connection(socket_path: Path) -> None:
    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    echo = Echo()
    async with serving(socket_path, echo) as server:
        before = open_files()
        for _ in range(20):
            channel = Channel.unix(socket_path)
            await channel.unary(UNARY, text("x"), BytesValue, timeout=30)
            await channel.aclose()
            echo.contexts.clear()
        await until(lambda: not server.connections and open_files() <= before)
