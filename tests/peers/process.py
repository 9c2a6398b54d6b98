"""Runs a peer and follows the JSON lines it prints."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

Line = dict[str, Any]

_STOP_SECONDS = 10.0
_LINE_BYTES = 4 << 20


class PeerEnded(Exception):
    """The peer ended, or was silent for too long, before it printed what was awaited."""


class PeerProcess:
    """One running peer. Lines that are no JSON are kept in `noise`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.lines: list[Line] = []
        self.noise: list[str] = []

    async def event(self, name: str, *, timeout: float = 30.0) -> Line:
        """The next line with that event; lines before it are kept in `lines`.

        Args:
            timeout: seconds.

        Raises:
            PeerEnded: it did not come; the message holds what came instead.
        """
        try:
            async with asyncio.timeout(timeout):
                async for line in self._read():
                    if line["event"] == name:
                        return line
        except TimeoutError:
            raise PeerEnded(f"no {name!r} in {timeout} s; {self._heard()}") from None
        raise PeerEnded(f"ended without {name!r}; {self._heard()}")

    async def said(self, text: str, *, timeout: float = 30.0) -> None:
        """Return once a line that is no JSON holds the text."""
        try:
            async with asyncio.timeout(timeout):
                async for _ in self._read(noise=True):
                    if self.noise and text in self.noise[-1]:
                        return
        except TimeoutError:
            raise PeerEnded(f"no {text!r} in {timeout} s; {self._heard()}") from None
        raise PeerEnded(f"ended without {text!r}; {self._heard()}")

    async def finish(self, *, timeout: float = 30.0) -> int:
        """Read to the end and give the exit code."""
        try:
            async with asyncio.timeout(timeout):
                async for _ in self._read():
                    pass
                return await self._process.wait()
        except TimeoutError:
            raise PeerEnded(f"still running after {timeout} s; {self._heard()}") from None

    async def say(self, text: str) -> None:
        """Write a line to its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(text.encode() + b"\n")
        await self._process.stdin.drain()

    async def stop(self) -> None:
        """Ask it to end by SIGTERM, and make it end if it does not."""
        if self._process.returncode is None:
            self._process.terminate()
            try:
                await self.finish(timeout=_STOP_SECONDS)
            except PeerEnded:
                self._process.kill()
                await self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()

    async def _read(self, *, noise: bool = False) -> AsyncIterator[Line]:
        assert self._process.stdout is not None
        async for raw in self._process.stdout:
            text = raw.decode(errors="replace").rstrip("\n")
            try:
                line: Line = json.loads(text)
            except ValueError:
                self.noise.append(text)
                if noise:
                    yield {}
                continue
            self.lines.append(line)
            yield line

    def _heard(self) -> str:
        return f"lines: {self.lines[-5:]}, noise: {self.noise[-5:]}"


@asynccontextmanager
async def running(
    program: Path, *arguments: str, env: Mapping[str, str] | None = None
) -> AsyncIterator[PeerProcess]:
    """A peer that is stopped at the end of the block."""
    process = await asyncio.create_subprocess_exec(
        program,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, **(env or {})},
        limit=_LINE_BYTES,
    )
    peer = PeerProcess(process)
    try:
        yield peer
    finally:
        await peer.stop()


async def run(program: Path, *arguments: str, timeout: float = 40.0) -> tuple[int, list[Line]]:
    """Run a peer to its end: exit code and lines."""
    async with running(program, *arguments) as peer:
        code = await peer.finish(timeout=timeout)
        return code, peer.lines
