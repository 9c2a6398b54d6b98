"""Texts of values, as Go's fmt makes them."""

from __future__ import annotations

import math
from decimal import Decimal

from spire_py_plugins.node_attestor.agent_path_template.values import (
    MAX_TEXT_CHARACTERS,
    BigInteger,
    InvalidTemplate,
    List,
    Map,
    Struct,
    Value,
    Work,
    checked,
    to_bytes,
)

_ESCAPES = {
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
    "\\": "\\\\",
}


class Writer:
    """Collects a text that must not grow too long."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._length = 0

    def write(self, text: str) -> None:
        self._length += len(text)
        if self._length > MAX_TEXT_CHARACTERS:
            raise InvalidTemplate("a text grows too long")
        self._texts.append(text)

    @property
    def text(self) -> str:
        return checked("".join(self._texts))


def format_value(work: Work, value: Value) -> str:
    """The text of a value: `%v`, or that of its `String` method.

    Raises:
        InvalidTemplate: it is too long or too deep, or a group of fields.
    """
    if isinstance(value, str):
        return value
    writer = Writer()
    _write(writer, work, value, 0)
    return writer.text


def _write(writer: Writer, work: Work, value: Value, depth: int) -> None:
    work.enter(depth)
    match value:
        case List():
            writer.write("[")
            for index, item in enumerate(value.items):
                writer.write(" " if index else "")
                _write(writer, work, item, depth + 1)
            writer.write("]")
        case Map():
            writer.write("map[")
            for index, key in enumerate(sorted_texts(value.entries)):
                writer.write(f" {key}:" if index else f"{key}:")
                _write(writer, work, value.entries[key], depth + 1)
            writer.write("]")
        case _:
            writer.write(_format_basic(value))


def _format_basic(value: Value) -> str:
    match value:
        case None:
            return "<nil>"
        case bool():
            return str(value).lower()
        case float():
            return format_float(value)
        case BigInteger():
            return str(value.value)
        case Struct():
            raise InvalidTemplate("a group of fields is no part of a path; name one of them")
    return str(value)


def format_float(value: float) -> str:
    """`%v` of a fraction: its shortest text, with an exponent where it is very large or small."""
    if math.isinf(value) or math.isnan(value):
        return "NaN" if math.isnan(value) else f"{'+' if value > 0 else '-'}Inf"
    if value == 0:
        return "-0" if math.copysign(1, value) < 0 else "0"
    number = Decimal(repr(value)).normalize()
    exponent = number.adjusted()
    if -4 <= exponent < 6:
        return f"{number:f}"
    digits = "".join(map(str, number.as_tuple().digits))
    fraction = f".{digits[1:]}" if len(digits) > 1 else ""
    sign = "-" if value < 0 else ""
    return f"{sign}{digits[0]}{fraction}e{'+' if exponent > 0 else '-'}{abs(exponent):02}"


def quote_text(text: str) -> str:
    """`%q` of a text."""
    return f'"{"".join(map(_quote_character, text))}"'


def _quote_character(character: str) -> str:
    code = ord(character)
    if character == '"':
        return '\\"'
    if character in _ESCAPES:
        return _ESCAPES[character]
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if character.isprintable():
        return character
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def sorted_texts(texts: list[str] | dict[str, Value]) -> list[str]:
    """In the order of their bytes."""
    return sorted(texts, key=to_bytes)
