"""HTTPS requests with bounds on time and size, over connections that are kept."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spire_py.errors import FailedPrecondition, ResourceExhausted, Unauthenticated, Unavailable
from spire_py_plugins.kubernetes.access import Access, AccessSource, Endpoint
from spire_py_plugins.kubernetes.errors import error_for_answer

if TYPE_CHECKING:
    import httpx2

_MAX_ERROR_BYTES = 64 * 1024
_IDLE_SECONDS = 20.0
_CONNECTIONS = 16


@dataclass(frozen=True, slots=True)
class Limits:
    """What an answer may cost.

    Attributes:
        answer_seconds: from the start to the end of a whole answer; of a stream, to its headers.
        answer_bytes: of a body.
    """

    answer_seconds: float = 10.0
    answer_bytes: int = 4 * 1024 * 1024


LIMITS = Limits()
"""The usual ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request; `path` begins with a slash."""

    method: str = "GET"
    path: str
    query: Mapping[str, str] | None = None
    body: bytes = b""
    content_type: str = "application/json"


class Session:
    """Makes requests with the access of the moment: whatever of it changes counts at the next one.

    Args:
        source: the access.
        limits: of each answer.
    """

    def __init__(self, source: AccessSource, limits: Limits = LIMITS) -> None:
        self._source = source
        self._limits = limits
        self._pool: _Pool | None = None

    async def fetch(self, request: Request) -> bytes:
        """The body of the answer.

        Raises:
            SpireError: the access is incomplete, the server is away, too slow, or refuses, or the
                answer is too long.
        """
        try:
            return await self._fetch(request)
        except Unauthenticated:
            # Tokens rotate: one that was kept may have been replaced just now.
            if not self._source.forget():
                raise
            return await self._fetch(request)

    async def _fetch(self, request: Request) -> bytes:
        access = await self._source.load()
        with _translated(access, self._limits):
            async with (
                asyncio.timeout(self._limits.answer_seconds),
                self._answer(access, request) as answer,
            ):
                return await _body(answer, self._limits.answer_bytes)

    @asynccontextmanager
    async def stream(
        self, request: Request, *, silence_seconds: float | None = None
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The body in pieces, of any length in all: whoever reads it sets the bounds.

        Args:
            request: what to ask.
            silence_seconds: between two pieces; None for no limit.

        Raises:
            SpireError: as for `fetch`; also while it is read.
        """
        access = await self._source.load()
        async with AsyncExitStack() as stack:
            with _translated(access, self._limits):
                async with asyncio.timeout(self._limits.answer_seconds):
                    answer = await stack.enter_async_context(self._answer(access, request))
            async with aclosing(self._pieces(access, answer, silence_seconds)) as pieces:
                yield pieces

    async def _pieces(
        self, access: Access, answer: httpx2.Response, silence_seconds: float | None
    ) -> AsyncGenerator[bytes, None]:
        with _translated(access, self._limits):
            async with _raw(answer) as pieces:
                while True:
                    async with asyncio.timeout(silence_seconds):
                        piece = await anext(pieces, None)
                    if piece is None:
                        return
                    yield piece

    @asynccontextmanager
    async def _answer(self, access: Access, request: Request) -> AsyncIterator[httpx2.Response]:
        async with self._pooled(access.endpoint) as client:
            outgoing = client.build_request(
                request.method,
                access.endpoint.server + request.path,
                params=dict(request.query) if request.query else None,
                content=request.body or None,
                headers=_headers(access, request),
                extensions=_extensions(access.endpoint),
            )
            answer = await client.send(outgoing, stream=True)
            try:
                await _check(answer)
                yield answer
            finally:
                await answer.aclose()

    @asynccontextmanager
    async def _pooled(self, endpoint: Endpoint) -> AsyncIterator[httpx2.AsyncClient]:
        """Connections to the endpoint; those to a former one end with their last request."""
        pool = self._pool
        if pool is None or pool.endpoint != endpoint:
            former, self._pool = pool, _Pool(endpoint)
            pool = self._pool
            if former is not None:
                await former.retire()
        async with pool.used() as client:
            yield client

    async def aclose(self) -> None:
        """Close the connections."""
        if self._pool is not None:
            pool, self._pool = self._pool, None
            await pool.retire()


class _Pool:
    """The kept connections to one endpoint."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._client = _client(endpoint)
        self._users = 0
        self._retired = False

    @asynccontextmanager
    async def used(self) -> AsyncIterator[httpx2.AsyncClient]:
        self._users += 1
        try:
            yield self._client
        finally:
            self._users -= 1
            await self._close_if_done()

    async def retire(self) -> None:
        """Close with the last user."""
        self._retired = True
        await self._close_if_done()

    async def _close_if_done(self) -> None:
        if self._retired and not self._users:
            await self._client.aclose()


def _client(endpoint: Endpoint) -> httpx2.AsyncClient:
    import httpx2

    try:
        return httpx2.AsyncClient(
            verify=endpoint.tls_context(),
            proxy=endpoint.proxy or None,
            # As client-go: no proxy of the environment stands between a host and itself.
            trust_env=not endpoint.proxy and not _is_local(endpoint.server),
            follow_redirects=False,
            limits=httpx2.Limits(max_connections=_CONNECTIONS, keepalive_expiry=_IDLE_SECONDS),
        )
    except (httpx2.InvalidURL, ValueError, ImportError) as error:
        raise FailedPrecondition(f"the proxy for {endpoint.server} cannot be used") from error


def _is_local(server: str) -> bool:
    import httpx2

    host = httpx2.URL(server).host
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _headers(access: Access, request: Request) -> dict[str, str]:
    headers = {
        "Accept": "application/json",
        # What is not compressed cannot grow.
        "Accept-Encoding": "identity",
        "User-Agent": "spire-py",
    }
    if request.body:
        headers["Content-Type"] = request.content_type
    if access.authorization:
        headers["Authorization"] = access.authorization
    return headers


def _extensions(endpoint: Endpoint) -> dict[str, object]:
    # A whole request has one bound, which stands around it.
    extensions: dict[str, object] = {
        "timeout": dict.fromkeys(("connect", "pool", "read", "write"), None)
    }
    if endpoint.server_name:
        extensions["sni_hostname"] = endpoint.server_name
    return extensions


async def _check(answer: httpx2.Response) -> None:
    encoding = answer.headers.get("Content-Encoding", "identity")
    if encoding != "identity":
        raise Unavailable(f"the answer is encoded as {encoding!r}, which was not asked for")
    if not answer.is_success:
        try:
            body = await _body(answer, _MAX_ERROR_BYTES)
        except ResourceExhausted:
            body = b""
        raise error_for_answer(answer.status_code, body)


async def _body(answer: httpx2.Response, most: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    async with _raw(answer) as pieces:
        async for part in pieces:
            size += len(part)
            if size > most:
                raise ResourceExhausted(f"the answer is longer than {most} bytes")
            parts.append(part)
    return b"".join(parts)


def _raw(answer: httpx2.Response) -> aclosing[AsyncGenerator[bytes, None]]:
    """The body as it comes."""
    return aclosing(answer.aiter_raw())


@contextmanager
def _translated(access: Access, limits: Limits) -> Iterator[None]:
    """The HTTP library's errors as ours."""
    import httpx2

    server = access.endpoint.server
    try:
        yield
    except (TimeoutError, httpx2.TimeoutException) as error:
        raise Unavailable(f"no answer from {server} within {limits.answer_seconds:g} s") from error
    # TLS that breaks once it is up comes as the system's own error.
    except (httpx2.HTTPError, OSError) as error:
        raise Unavailable(f"no answer from {server}: {_reason(error)}") from error
    except httpx2.InvalidURL as error:
        raise FailedPrecondition(f"{server} cannot be asked: {error}") from error


def _reason(error: BaseException) -> str:
    """The innermost cause: the outer ones repeat it with less."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return f"TLS failed: {cause.reason or cause}"
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return str(error) or type(error).__name__
