"""The load generator, a Go program in a process of its own (`make peers`)."""

from __future__ import annotations

import json
import shlex
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.peers.find import peer_binary

_LIMIT_SECONDS = 60.0


class LoadFailed(Exception):
    """The load generator is missing, or a call of it was refused."""


def program() -> Path:
    """Where it is.

    Raises:
        LoadFailed: it was not built.
    """
    path = peer_binary("load")
    if path is None:
        raise LoadFailed("the load generator .peers/bin/load is missing; `make peers` builds it")
    return path


class Load:
    """One run of it. It tells its state line by line and waits for us where we measure.

    `first` are words of a shell that its process runs before, such as to enter a cgroup.
    """

    def __init__(self, words: Sequence[str], *, first: str = "") -> None:
        command = [str(program()), "-pause", *words]
        if first:
            command = ["sh", "-c", f"{first} && exec {shlex.join(command)}"]
        self._popen = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def next(self, event: str) -> dict[str, Any]:
        """The next line of that event; others are passed over.

        Raises:
            LoadFailed: it ended before, a call was refused, or nothing came for a minute.
        """
        assert self._popen.stdout is not None
        # What it waits for may never come; ending it ends the loop.
        limit = threading.Timer(_LIMIT_SECONDS, self._popen.kill)
        limit.start()
        try:
            for text in self._popen.stdout:
                line: dict[str, Any] = json.loads(text)
                if line["event"] == "error" or line.get("errors"):
                    raise LoadFailed(str(line.get("error") or line["errors"]))
                if line["event"] == event:
                    return line
        finally:
            limit.cancel()
        raise LoadFailed(f"the load generator ended without {event!r}")

    def go(self) -> None:
        """Let it go on from where it waits."""
        assert self._popen.stdin is not None
        self._popen.stdin.write("\n")
        self._popen.stdin.flush()

    def close(self) -> None:
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        self._popen.stdin.close()
        try:
            self._popen.wait(10)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        self._popen.stdout.close()


@contextmanager
def load(op: str, *words: object, first: str = "") -> Iterator[Load]:
    """Start it for one operation; it ends with the block."""
    running = Load(("-op", op, *map(str, words)), first=first)
    try:
        yield running
    finally:
        running.close()
