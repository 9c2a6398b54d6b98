"""Envoys as processes, and requests through them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

from tests.peers import envoy
from tests.peers.process import PeerProcess, running


@dataclass(frozen=True)
class Answer:
    """What came back, with what the serving proxy saw of the calling one and the other way."""

    status: int
    caller: str = ""
    caller_serial: str = ""
    caller_issuer: str = ""
    server: str = ""


@dataclass(frozen=True)
class Proxy:
    """An Envoy that has all its secrets and takes connections."""

    port: int
    admin: envoy.Admin


@asynccontextmanager
async def proxy(program: Path, config: envoy.Config, folder: Path) -> AsyncIterator[Proxy]:
    """An Envoy, once it has all its secrets."""
    async with running(program, *envoy.arguments(config, folder)) as process:
        yield await started(process, envoy.Admin(folder))


async def started(process: PeerProcess, admin: envoy.Admin) -> Proxy:
    await heard(process, "starting workers")
    port = await asyncio.to_thread(admin.port)
    assert port is not None
    return Proxy(port, admin)


async def heard(process: PeerProcess, text: str) -> None:
    """Return once it has said so, now or before."""
    if not any(text in line for line in process.noise):
        await process.said(text)


async def ask(proxy: Proxy) -> Answer:
    """One request through it."""
    return await asyncio.to_thread(_ask, proxy.port)


def _ask(port: int) -> Answer:
    try:
        with urlopen(f"http://127.0.0.1:{port}/", timeout=15) as answer:
            return _answer(answer.status, answer.headers)
    except HTTPError as refusal:
        with refusal:
            return _answer(refusal.code, refusal.headers)


def _answer(status: int, headers: Message) -> Answer:
    return Answer(
        status,
        caller=headers.get("x-caller", ""),
        caller_serial=headers.get("x-caller-serial", ""),
        caller_issuer=headers.get("x-caller-issuer", ""),
        server=headers.get("x-server", ""),
    )
