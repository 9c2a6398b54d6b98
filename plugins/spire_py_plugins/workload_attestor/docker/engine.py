"""Asks a container engine, Docker or Podman, over its Unix socket."""

from __future__ import annotations

import asyncio
import errno
from contextlib import aclosing
from http import HTTPStatus
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from spire_py.crypto.strict_json import parse_json_object
from spire_py.errors import InvalidArgument, NotFound, SpireError, Unavailable

if TYPE_CHECKING:
    import httpx2

_SECONDS = 10.0
_MAX_BYTES = 4 * 1024 * 1024
_MAX_SHOWN = 300
_MAX_NAME = 1000


class Engine:
    """One engine. Each question has a connection of its own: the engine may have been restarted.

    Args:
        socket: where it listens.
        version: of the API; empty for the engine's own.
        seconds: that an answer may take.
    """

    def __init__(self, socket: Path, *, version: str = "", seconds: float = _SECONDS) -> None:
        self._socket = socket
        self._prefix = f"/v{version}" if version else ""
        self._seconds = seconds

    def is_there(self) -> bool:
        """Whether its socket can be seen; not in a folder that is closed to this agent."""
        try:
            return self._socket.exists()
        except OSError:
            return False

    async def fetch_container(self, container_id: str) -> dict[str, Any]:
        """What the engine knows of a container.

        Raises:
            NotFound: nothing.
            Unavailable: it is away, too slow, or talks nonsense.
        """
        return await self._fetch(f"/containers/{_segment(container_id)}/json")

    async def fetch_image(self, name: str) -> dict[str, Any]:
        """What the engine knows of an image; raises as `fetch_container`."""
        path = "/".join(_segment(each) for each in name.split("/"))
        return await self._fetch(f"/images/{path}/json")

    async def check(self) -> None:
        """See whether the engine would answer; raises as `fetch_container`."""
        await self._fetch("/version")

    async def _fetch(self, path: str) -> dict[str, Any]:
        # Loading the library takes as long as many answers do.
        await asyncio.to_thread(import_module, "httpx2")
        import httpx2

        # There is no TLS on a Unix socket: no certificates need to be loaded.
        transport = httpx2.AsyncHTTPTransport(uds=str(self._socket), verify=False)
        client = httpx2.AsyncClient(transport=transport, trust_env=False, timeout=None)
        try:
            async with asyncio.timeout(self._seconds), client:
                url = f"http://localhost{self._prefix}{path}"
                async with client.stream(
                    "GET", url, headers={"Accept-Encoding": "identity"}
                ) as answer:
                    return _document(answer.status_code, await _body(answer))
        except TimeoutError as error:
            raise Unavailable(
                f"no answer from {self._socket} within {self._seconds:g} s"
            ) from error
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            raise Unavailable(
                f"cannot connect to the container engine at {self._socket}: {_reason(error)} "
                f"({_remedy(error)})"
            ) from error


def _segment(text: str) -> str:
    """A segment of a path, which must not name another place."""
    if text in {"", ".", ".."} or len(text) > _MAX_NAME:
        raise NotFound(f"{text[:_MAX_SHOWN]!a} is no name")
    # What a cgroup is called may be no UTF-8.
    return quote(text, safe=":@", errors="surrogateescape")


def _document(status: int, body: bytes) -> dict[str, Any]:
    if status == HTTPStatus.OK:
        try:
            return parse_json_object(body, max_bytes=_MAX_BYTES)
        except InvalidArgument as error:
            raise Unavailable(f"the engine's answer cannot be read: {error.message}") from error
    kind: type[SpireError] = NotFound if status == HTTPStatus.NOT_FOUND else Unavailable
    raise kind(f"Error response from daemon: {_message(body) or status}")


def _message(body: bytes) -> str:
    """The reason that the engine gives, as one line."""
    try:
        text = str(parse_json_object(body, max_bytes=_MAX_BYTES).get("message", ""))
    except InvalidArgument:
        return ""
    return "".join(each if each.isprintable() else " " for each in text[:_MAX_SHOWN])


async def _body(answer: httpx2.Response) -> bytes:
    parts: list[bytes] = []
    size = 0
    async with aclosing(answer.aiter_raw()) as pieces:
        async for piece in pieces:
            size += len(piece)
            if size > _MAX_BYTES:
                raise Unavailable(f"the engine's answer is longer than {_MAX_BYTES} bytes")
            parts.append(piece)
    return b"".join(parts)


def _reason(error: BaseException) -> str:
    """The system's own words, where there are some."""
    cause = _system_error(error)
    return (cause.strerror if cause else "") or str(error) or type(error).__name__


def _remedy(error: BaseException) -> str:
    cause = _system_error(error)
    if cause is not None and cause.errno in {errno.EACCES, errno.EPERM}:
        return "the agent must run as root or with the group of the socket"
    if cause is not None and cause.errno == errno.ECONNREFUSED:
        return "the engine does not run, or its socket was mounted before it was made anew"
    return "its socket must be mounted into the agent's container"


def _system_error(error: BaseException) -> OSError | None:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause
        cause = cause.__cause__ or cause.__context__
    return None
