"""Reads one long list in a JSON document piece by piece (decision note 0010)."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from spire_py.errors import Unavailable

_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\n\r]*")
_ROOM = 64 * 1024


async def list_items(
    pieces: AsyncIterator[bytes], member: str, *, max_characters: int
) -> AsyncGenerator[Any, None]:
    """The values in the list that the document, an object, has as `member`; null counts as empty.

    Little more than the longest value is held at a time. Whoever reads the values must read them
    all: only then is it known that the document was whole.

    Args:
        pieces: the document, in UTF-8.
        member: its name.
        max_characters: of a value in the list, and of any other member of the document.

    Raises:
        Unavailable: it is no such document, it is cut off, or a value is too long.
    """
    text = _Text(pieces, max_characters)
    found = False
    await text.take("{", "an object")
    more = await text.peek() != "}"
    while more:
        if await text.name() != member:
            await text.value()
        elif found:
            raise malformed(f"{member} stands there twice")
        else:
            found = True
            async with aclosing(_values(text, member)) as values:
                async for value in values:
                    yield value
        more = await text.skip(",")
    await text.take("}", "the end of the object")
    await text.finish()
    if not found:
        raise malformed(f"expected an {member} array")


async def _values(text: _Text, member: str) -> AsyncGenerator[Any, None]:
    # Go writes an empty list as null.
    if await text.peek() == "n" and await text.value() is None:
        return
    await text.take("[", f"an {member} array")
    more = await text.peek() != "]"
    while more:
        yield await text.value()
        more = await text.skip(",")
    await text.take("]", "the end of the array")


def malformed(what: str) -> Unavailable:
    """What is wrong with an answer."""
    return Unavailable(f"invalid kubelet response: {what}")


class _Text:
    """The part of a document that is still to be read, as far as it has come."""

    def __init__(self, pieces: AsyncIterator[bytes], max_characters: int) -> None:
        self._pieces = pieces
        self._max = max_characters
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._text = ""
        self._position = 0
        self._ended = False

    async def peek(self) -> str:
        """The next character that is no space; empty at the end."""
        while True:
            match = _SPACE.match(self._text, self._position)
            assert match is not None
            self._position = match.end()
            if self._position < len(self._text):
                return self._text[self._position]
            if not await self._grow():
                return ""

    async def take(self, character: str, what: str) -> None:
        """Go past a character that must be next."""
        if not await self.skip(character):
            raise self._unexpected(what)

    async def skip(self, character: str) -> bool:
        """Go past a character, if it is next."""
        if await self.peek() != character:
            return False
        self._position += 1
        return True

    async def name(self) -> str:
        """A member's name and its colon."""
        if await self.peek() != '"':
            raise self._unexpected("a name")
        name: str = await self.value()
        await self.take(":", "a colon")
        return name

    async def value(self) -> Any:
        """Any value, whole."""
        await self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._position)
            except (ValueError, RecursionError) as error:
                # It may be cut off, or wrong: that shows when there is no more.
                if not await self._grow():
                    raise self._unexpected("a value") from error
                continue
            # A number may go on.
            if end < len(self._text) or not await self._grow():
                self._position = end
                return value

    async def finish(self) -> None:
        """Nothing may follow."""
        if await self.peek():
            raise self._unexpected("the end")

    async def _grow(self) -> bool:
        """Read on; false at the end.

        What is there is at least doubled, so that a long value is not tried anew for each piece.
        """
        rest = self._text[self._position :]
        if len(rest) > self._max:
            raise malformed(f"a value is longer than {self._max} characters")
        parts, length = [rest], len(rest)
        wanted = max(_ROOM, 2 * len(rest))
        while length < wanted and not self._ended:
            part = await self._piece()
            parts.append(part)
            length += len(part)
        self._text, self._position = "".join(parts), 0
        return length > len(rest)

    async def _piece(self) -> str:
        piece = await anext(self._pieces, None)
        self._ended = piece is None
        try:
            return self._decoder.decode(piece or b"", final=self._ended)
        except UnicodeDecodeError as error:
            raise malformed("it is not UTF-8") from error

    def _unexpected(self, what: str) -> Unavailable:
        if self._ended and self._position >= len(self._text):
            return malformed("it is cut off")
        return malformed(f"expected {what}")
