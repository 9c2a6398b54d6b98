"""A connection that one process opens and another uses: the opener's identity counts."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from spire_py.errors import FailedPrecondition
from spire_py.transport.peer import check_process
from tests.integration.transport.echo import Echo, serving
from tests.integration.transport.raw import RawClient

OPENER = """
import socket, sys
with socket.socket(socket.AF_UNIX) as opened, socket.socket(socket.AF_UNIX) as out:
    opened.connect(sys.argv[1])
    out.connect(sys.argv[2])
    socket.send_fds(out, [b"x"], [opened.fileno()])
sys.stdin.read()
"""


@contextmanager
def opened_by_another(
    server: Path, exchange: Path
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A process that has connected to `server`, and its connection in our hands."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(exchange))
        listener.listen(1)
        listener.settimeout(20)
        opener = subprocess.Popen(
            [sys.executable, "-I", "-c", OPENER, str(server), str(exchange)], stdin=subprocess.PIPE
        )
        try:
            received, _ = listener.accept()
            with received:
                received.settimeout(20)
                _, [descriptor], _, _ = socket.recv_fds(received, 1, 1)
            yield opener, descriptor
        finally:
            opener.kill()
            opener.communicate()


async def test_a_passed_connection_is_its_openers_and_dies_with_it(
    socket_path: Path, directory: Path
) -> None:
    echo = Echo()
    async with serving(socket_path, echo):
        loop = asyncio.get_running_loop()
        hand_over = opened_by_another(socket_path, directory / "x.sock")
        opener, descriptor = await loop.run_in_executor(None, hand_over.__enter__)
        try:
            sock = socket.socket(fileno=descriptor)
            client = RawClient(*await asyncio.open_unix_connection(sock=sock))
            client.hello()
            assert await client.alive(1)
            peer = echo.contexts[0].peer.unix
            assert peer is not None
            assert peer.pid == opener.pid != os.getpid()
            check_process(peer)
            opener.kill()
            opener.wait()
            assert await client.alive(3)  # the bytes still pass
            with pytest.raises(FailedPrecondition, match="no longer running"):
                check_process(peer)
            client.close()
        finally:
            hand_over.__exit__(None, None, None)
