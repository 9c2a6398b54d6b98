"""One connection of a command to a server or an agent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import TypeVar

from google.protobuf.message import Message

from spire_py.cli.command import CommandFailed
from spire_py.errors import SpireError
from spire_py.transport import Channel

T = TypeVar("T", bound=Message)

CALL_SECONDS = 60.0
"""No call of a command waits longer, unless it says so."""


class Connection:
    """Calls methods of one API; a refusal becomes the command's failure, in gRPC's words."""

    def __init__(
        self,
        channel: Channel,
        metadata: Sequence[tuple[str, str]] = (),
        *,
        error_prefix: str = "Error: ",
    ) -> None:
        self._channel = channel
        self._metadata = metadata
        self._error_prefix = error_prefix

    async def call(
        self,
        method: str,
        request: Message,
        response_type: type[T],
        *,
        timeout: float | None = CALL_SECONDS,
    ) -> T:
        """One unary call; `timeout` is in seconds, None for ever.

        Raises:
            CommandFailed: the call was refused or found no one.
        """
        try:
            return await self._channel.unary(
                method, request, response_type, timeout=timeout, metadata=self._metadata
            )
        except SpireError as error:
            raise CommandFailed(describe(error), prefix=self._error_prefix) from error

    async def first(
        self, method: str, request: Message, response_type: type[T], *, timeout: float | None
    ) -> T:
        """The first answer of a streaming call.

        Raises:
            CommandFailed: the call was refused, found no one or ended without an answer.
        """
        async with self.stream(method, request, response_type, timeout=timeout) as responses:
            async for response in responses:
                return response
        raise CommandFailed("the agent ended the stream without an answer", prefix="")

    @asynccontextmanager
    async def stream(
        self, method: str, request: Message, response_type: type[T], *, timeout: float | None
    ) -> AsyncIterator[AsyncIterator[T]]:
        """The answers of one streaming call.

        Raises:
            CommandFailed: the call was refused, ended or found no one.
        """
        try:
            async with self._channel.server_stream(
                method, request, response_type, timeout=timeout, metadata=self._metadata
            ) as messages:
                yield messages
        except SpireError as error:
            raise CommandFailed(describe(error), prefix=self._error_prefix) from error


@asynccontextmanager
async def connect(
    path: Path, metadata: Sequence[tuple[str, str]] = (), *, error_prefix: str = "Error: "
) -> AsyncIterator[Connection]:
    """A connection to the Unix socket at `path`, made when the first call needs it.

    `error_prefix` is what stands before a refusal; the agent's commands print none.
    """
    async with aclosing(Channel.unix(path)) as channel:
        yield Connection(channel, metadata, error_prefix=error_prefix)


def describe(error: SpireError) -> str:
    """A refusal as gRPC's Go client words it; scripts look for it."""
    return f"rpc error: code = {error.code.camel} desc = {error.message}"
