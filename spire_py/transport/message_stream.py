"""A stream that carries gRPC messages: what both ends do alike."""

from __future__ import annotations

import asyncio

from spire_py.errors import Internal

from .messages import MessageReader
from .stream import Carrier, Stream


class MessageStream(Stream):
    """Keeps received bytes until someone takes the message, and holds the peer back meanwhile.

    The peer is credited for bytes only while no whole message waits. So what one stream keeps is
    at most one message and one window.
    """

    __slots__ = ("_arrived", "_kept", "_reader", "_withheld")

    def __init__(self, connection: Carrier, stream_id: int, reader: MessageReader) -> None:
        super().__init__(connection, stream_id)
        self._reader = reader
        self._arrived: asyncio.Future[None] | None = None
        self._kept = 0
        self._withheld = 0

    def keep(self, data: bytes) -> None:
        """Add received bytes.

        Raises:
            ResourceExhausted: the message at hand is too large.
        """
        self._reader.feed(data)
        self._withheld += len(data)
        self._kept += len(data)
        if self.connection.charge(len(data)) and not self._reader.complete():
            self._credit_withheld()  # without more bytes nobody can go on

    def take(self) -> bytes | None:
        """The next message, if it is there.

        Raises:
            SpireError: it cannot be read.
        """
        message = self._reader.take()
        if message is not None:
            self.connection.discharge(self._kept - self._reader.size)
            self._kept = self._reader.size
            if not self._reader.complete():
                self._credit_withheld()
        return message

    async def next_message(self) -> bytes | None:
        """The next message, or None when the peer sends no more.

        Raises:
            SpireError: it cannot be read.
        """
        while True:
            message = self.take()
            if message is not None:
                return message
            if self.remote_closed or self.closed:
                if self._reader.size and not self.closed:
                    raise Internal("grpc: the last message is incomplete")
                return None
            self._arrived = asyncio.get_running_loop().create_future()
            await self._arrived

    def wake_reader(self) -> None:
        """Let `next_message` look again."""
        arrived, self._arrived = self._arrived, None
        if arrived is not None and not arrived.done():
            arrived.set_result(None)

    def drop_kept(self) -> None:
        """Nobody will take what is kept."""
        self._reader.clear()
        self.connection.discharge(self._kept)
        self._kept = 0

    def _credit_withheld(self) -> None:
        size, self._withheld = self._withheld, 0
        self.credit(size)
