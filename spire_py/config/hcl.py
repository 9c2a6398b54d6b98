"""HCL 1 and JSON as SPIRE reads them, with the line of every value (docs/decisions/0002)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from spire_py.config.tokens import Kind, Lines, Token, syntax_error, tokenize
from spire_py.config.tree import Body, Table, Value
from spire_py.errors import InvalidArgument

MAX_BYTES = 4 * 1024 * 1024
"""A configuration larger than this is refused."""

MAX_DEPTH = 64
"""Blocks, objects and lists nested deeper than this are refused."""


def parse(text: str) -> Body:
    """Read HCL 1, or JSON where the first character is a brace (feature A27).

    Raises:
        InvalidArgument: it is neither; the message has the line and what was expected there.
    """
    if len(text) > MAX_BYTES or len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise InvalidArgument(f"the configuration is larger than {MAX_BYTES} bytes")
    if text.lstrip().startswith("{"):
        return _JsonParser(text).document()
    return _HclParser(text).document()


class _Nesting:
    def __init__(self) -> None:
        self._depth = 0

    def enter(self, line: int) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise syntax_error(line, f"expected at most {MAX_DEPTH} blocks within each other")

    def leave(self) -> None:
        self._depth -= 1


class _HclParser:
    def __init__(self, text: str) -> None:
        self._tokens: Iterator[Token] = tokenize(text.removeprefix("\ufeff"))
        self._token = next(self._tokens)
        self._nesting = _Nesting()

    def document(self) -> Table:
        body = Table(1)
        while not self._at(Kind.END):
            self._item(body)
        return body

    def _advance(self) -> Token:
        token = self._token
        if token.kind is not Kind.END:
            self._token = next(self._tokens)
        return token

    def _at(self, kind: Kind) -> bool:
        return self._token.kind is kind

    def _expected(self, what: str) -> InvalidArgument:
        return syntax_error(self._token.line, f"expected {what}, got {self._token}")

    def _item(self, body: Table) -> None:
        """`key = value`, `key { … }` or `key "label" { … }`, and a comma that may follow."""
        keys = self._keys()
        first = keys[0]
        if self._at(Kind.ASSIGN):
            if len(keys) > 1:
                raise self._expected("'{' after a key and its label")
            self._advance()
            value = self._value()
        elif self._at(Kind.OPEN_BRACE):
            value = self._object(first.line)
        else:
            written = " ".join(str(key.value) for key in keys)
            raise self._expected(f"'{{' or '=' after the key '{written}'")
        for label in reversed(keys[1:]):
            outer = Table(first.line)
            outer.add(str(label.value), value, label.line)
            value = outer
        body.add(str(first.value), value, first.line)
        if self._at(Kind.COMMA):
            self._advance()

    def _keys(self) -> list[Token]:
        keys = []
        while self._token.kind in (Kind.IDENTIFIER, Kind.STRING):
            keys.append(self._advance())
            if len(keys) > MAX_DEPTH:
                raise self._expected("'{' or '='")
        if not keys:
            raise self._expected("a key")
        return keys

    def _value(self) -> Value:
        kind = self._token.kind
        if kind in (Kind.STRING, Kind.NUMBER, Kind.BOOL):
            return self._advance().value
        if kind is Kind.OPEN_BRACE:
            return self._object(self._token.line)
        if kind is Kind.OPEN_BRACKET:
            return self._list()
        if kind is Kind.IDENTIFIER:
            # What stands there may be a secret whose quotes were forgotten.
            raise syntax_error(self._token.line, "expected a value; a text needs quotes")
        raise self._expected("a value")

    def _object(self, line: int) -> Table:
        self._nesting.enter(line)
        self._advance()
        body = Table(line)
        while not self._at(Kind.CLOSE_BRACE):
            if self._at(Kind.END):
                raise self._expected(f"'}}' for the '{{' of line {line}")
            self._item(body)
        self._advance()
        self._nesting.leave()
        return body

    def _list(self) -> list[Value]:
        line = self._token.line
        self._nesting.enter(line)
        self._advance()
        values: list[Value] = []
        while not self._at(Kind.CLOSE_BRACKET):
            if self._at(Kind.COMMA):
                # SPIRE's reader does not mind too many of them.
                self._advance()
                continue
            values.append(self._value())
            if self._at(Kind.COMMA):
                self._advance()
            elif not self._at(Kind.CLOSE_BRACKET):
                raise self._expected(f"',' or ']' in the list of line {line}")
        self._advance()
        self._nesting.leave()
        return values


_JSON_SPACE = re.compile(r"[ \t\r\n]*")
_JSON_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\.)*"')
_JSON_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,19})(?:\.[0-9]{1,20})?(?:[eE][+-]?[0-9]{1,3})?")
_JSON_WORDS = {"true": True, "false": False, "null": None}


class _JsonParser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._lines = Lines(text)
        self._position = 0
        self._nesting = _Nesting()
        self._skip_space()

    def document(self) -> Table:
        body = self._object()
        if self._position < len(self._text):
            raise self._expected("the end of the file")
        return body

    @property
    def _line(self) -> int:
        return self._lines.at(self._position)

    @property
    def _next(self) -> str:
        return self._text[self._position : self._position + 1]

    def _skip_space(self) -> None:
        space = _JSON_SPACE.match(self._text, self._position)
        self._position = space.end() if space else self._position

    def _expected(self, what: str) -> InvalidArgument:
        got = repr(self._next) if self._next else "the end of the file"
        return syntax_error(self._line, f"expected {what}, got {got}")

    def _take(self, character: str, where: str) -> None:
        if self._next != character:
            raise self._expected(f"'{character}' {where}")
        self._position += 1
        self._skip_space()

    def _object(self) -> Table:
        line = self._line
        self._nesting.enter(line)
        self._take("{", "to begin an object")
        body = Table(line)
        while self._next != "}":
            key_line, key = self._line, self._string("a key in quotes")
            self._take(":", "after a key")
            value = self._value()
            if value is not None:
                body.add(key, value, key_line)
            if self._next != "}":
                self._take(",", f"or '}}' in the object of line {line}")
        self._take("}", "")
        self._nesting.leave()
        return body

    def _value(self) -> Value:
        character = self._next
        if character == "{":
            return self._object()
        if character == "[":
            return self._list()
        if character == '"':
            return self._string("a text")
        for word, value in _JSON_WORDS.items():
            if self._text.startswith(word, self._position):
                self._position += len(word)
                self._skip_space()
                return value
        number = _JSON_NUMBER.match(self._text, self._position)
        if number is None:
            raise self._expected("a value")
        self._position = number.end()
        self._skip_space()
        return json.loads(number[0])

    def _list(self) -> list[Value]:
        line = self._line
        self._nesting.enter(line)
        self._take("[", "")
        values: list[Value] = []
        while self._next != "]":
            values.append(self._value())
            if self._next != "]":
                self._take(",", f"or ']' in the list of line {line}")
        self._take("]", "")
        self._nesting.leave()
        return values

    def _string(self, what: str) -> str:
        match = _JSON_STRING.match(self._text, self._position)
        if match is None:
            raise self._expected(what)
        try:
            value: str = json.loads(match[0])
            value.encode()
        except ValueError:
            raise self._expected(f"{what} with JSON's escapes") from None
        self._position = match.end()
        self._skip_space()
        return value
