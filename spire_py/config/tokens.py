"""The words of HCL 1, and how literals are read."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from spire_py.errors import InvalidArgument


class Kind(Enum):
    """What a word is; the value is how an error names it."""

    IDENTIFIER = "a name"
    STRING = "a text"
    NUMBER = "a number"
    BOOL = "true or false"
    OPEN_BRACE = "'{'"
    CLOSE_BRACE = "'}'"
    OPEN_BRACKET = "'['"
    CLOSE_BRACKET = "']'"
    ASSIGN = "'='"
    COMMA = "','"
    END = "the end of the file"


@dataclass(frozen=True, slots=True)
class Token:
    """One word: its kind, its value and the line it begins on."""

    kind: Kind
    value: str | int | float | bool
    line: int

    def __str__(self) -> str:
        if self.kind in (Kind.IDENTIFIER, Kind.BOOL, Kind.NUMBER):
            return f"{self.value}"
        # Texts may hold secrets.
        return str(self.kind.value)


_SPACE = re.compile(r"(?:[ \t\r\n]+|#[^\n]*|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_NAME = re.compile(r"[^\W\d][\w.\-]*")
_NUMBER = re.compile(
    r"-?(?:0[xX][0-9a-fA-F]+|[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?|\.[0-9]+(?:[eE][+-]?[0-9]+)?)"
)
_PLAIN_STRING = re.compile(r'"([^"\\$\n]*)"')
_HEREDOC = re.compile(r"<<(-?)(\w+)\r?\n")
_ESCAPE = re.compile(
    r'\\(?:([abfnrtv\\"])|([0-7]{3})|x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8}))'
)
_ESCAPED = {
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    "\\": "\\",
    '"': '"',
}
_PUNCTUATION = {
    "{": Kind.OPEN_BRACE,
    "}": Kind.CLOSE_BRACE,
    "[": Kind.OPEN_BRACKET,
    "]": Kind.CLOSE_BRACKET,
    "=": Kind.ASSIGN,
    ",": Kind.COMMA,
}
_INT64 = range(-(2**63), 2**63)
_MAX_NUMBER = 40


class Lines:
    """Finds the line of a position in a text."""

    def __init__(self, text: str) -> None:
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def at(self, position: int) -> int:
        return bisect_right(self._starts, position)


def syntax_error(line: int, message: str) -> InvalidArgument:
    """The error for a text that is no HCL or JSON."""
    return InvalidArgument(f"line {line}: {message}")


def tokenize(text: str) -> Iterator[Token]:
    """Split HCL 1 into words; the last one is `END`.

    Raises:
        InvalidArgument: there is something that begins no word, or a word that does not end.
    """
    lines = Lines(text)
    position = 0
    while True:
        space = _SPACE.match(text, position)
        position = space.end() if space else position
        line = lines.at(position)
        if position >= len(text):
            yield Token(Kind.END, "", line)
            return
        token, position = _next(text, position, line)
        yield token


def _next(text: str, position: int, line: int) -> tuple[Token, int]:
    character = text[position]
    if character in _PUNCTUATION:
        return Token(_PUNCTUATION[character], character, line), position + 1
    if character == '"':
        value, end = _string(text, position, line)
        return Token(Kind.STRING, value, line), end
    if name := _NAME.match(text, position):
        if name[0] in ("true", "false"):
            return Token(Kind.BOOL, name[0] == "true", line), name.end()
        return Token(Kind.IDENTIFIER, name[0], line), name.end()
    if number := _NUMBER.match(text, position):
        return Token(Kind.NUMBER, _number(text, number, line), line), number.end()
    if text.startswith("<<", position):
        value, end = _heredoc(text, position, line)
        return Token(Kind.STRING, value, line), end
    if text.startswith("/*", position):
        raise syntax_error(line, "expected '*/', the end of this comment, before the file's end")
    raise syntax_error(line, f"expected a name, a value or a bracket, got {character!r}")


def _number(text: str, match: re.Match[str], line: int) -> int | float:
    written = match[0]
    following = text[match.end() : match.end() + 1]
    if following.isalnum() or following == "_" or len(written) > _MAX_NUMBER:
        raise syntax_error(line, "expected a number such as 8081 or 0x1f91; texts need quotes")
    digits = written.lstrip("-")
    if digits.isdecimal() or digits[:2].lower() == "0x":
        base = 16 if digits[:2].lower() == "0x" else 8 if digits[0] == "0" else 10
        try:
            value = int(written, base)
        except ValueError:
            raise syntax_error(line, "expected the digits 0 to 7 after a leading 0") from None
        if value not in _INT64:
            raise syntax_error(line, "expected a number of at most 64 bits")
        return value
    decimal = float(written)
    if decimal in (float("inf"), float("-inf")):
        raise syntax_error(line, "expected a smaller number")
    return decimal


def _string(text: str, start: int, line: int) -> tuple[str, int]:
    if plain := _PLAIN_STRING.match(text, start):
        return plain[1], plain.end()
    end = _string_end(text, start, line)
    return _unquote(text[start + 1 : end], line), end + 1


def _string_end(text: str, start: int, line: int) -> int:
    """Where the closing quote stands. Within `${…}` quotes and newlines do not count."""
    position, braces = start + 1, 0
    while position < len(text):
        character = text[position]
        if character == "\\":
            position += 2
            continue
        if not braces and character == '"':
            return position
        if not braces and character == "\n":
            break
        if not braces and text.startswith("${", position):
            braces = 1
            position += 2
            continue
        braces += (character == "{" and braces > 0) - (character == "}" and braces > 0)
        position += 1
    raise syntax_error(line, "expected '\"' at the end of this text, before the line ends")


def _unquote(inner: str, line: int) -> str:
    parts: list[bytes] = []
    position = 0
    while position < len(inner):
        character = inner[position]
        if inner.startswith("${", position):
            end = _interpolation_end(inner, position)
            parts.append(inner[position:end].encode("utf-8", "surrogatepass"))
            position = end
        elif character == "\\":
            escape = _ESCAPE.match(inner, position)
            if escape is None:
                raise syntax_error(
                    line, "expected one of \\\\ \\\" \\n \\t \\xhh \\uhhhh after '\\'"
                )
            parts.append(_escaped(escape, line))
            position = escape.end()
        else:
            parts.append(character.encode("utf-8", "surrogatepass"))
            position += 1
    try:
        return b"".join(parts).decode()
    except UnicodeDecodeError:
        raise syntax_error(line, "expected a text in UTF-8") from None


def _interpolation_end(inner: str, start: int) -> int:
    """The end of a `${…}`, which is taken as it is; SPIRE gives it no meaning."""
    braces = 0
    for position in range(start + 1, len(inner)):
        braces += (inner[position] == "{") - (inner[position] == "}")
        if not braces:
            return position + 1
    return len(inner)


def _escaped(escape: re.Match[str], line: int) -> bytes:
    short, octal, hexadecimal, *code_points = escape.groups()
    if short:
        return _ESCAPED[short].encode()
    if octal or hexadecimal:
        value = int(octal, 8) if octal else int(hexadecimal, 16)
        if value > 0xFF:
            raise syntax_error(line, "expected an octal escape of at most \\377")
        return bytes([value])
    value = int(next(filter(None, code_points)), 16)
    if value > 0x10FFFF or 0xD800 <= value <= 0xDFFF:
        raise syntax_error(line, "expected the number of a Unicode character after '\\u'")
    return chr(value).encode()


def _heredoc(text: str, start: int, line: int) -> tuple[str, int]:
    opening = _HEREDOC.match(text, start)
    if opening is None:
        raise syntax_error(line, "expected a name and a new line after '<<'")
    indented, anchor = opening.groups()
    closing = re.compile(rf"^[ \t]*{re.escape(anchor)}\r*$", re.MULTILINE).search(
        text, opening.end()
    )
    if closing is None:
        raise syntax_error(line, f"expected {anchor} on a line of its own, the end of this text")
    body = text[opening.end() : closing.start()].replace("\r\n", "\n")
    prefix = closing[0][: closing[0].index(anchor)]
    # HCL 1 leaves the closing line's indentation in the text unless it is to be taken off.
    return (_unindent(body, prefix) if indented else body + prefix), closing.end()


def _unindent(body: str, prefix: str) -> str:
    """Take the closing line's indentation off all lines, where all have it."""
    rows = body.split("\n")
    if not all(row.startswith(prefix) for row in rows[:-1]):
        return body
    return "\n".join(row.removeprefix(prefix) for row in rows)
