"""Takes a template apart: texts, and the tokens of actions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from spire_py_plugins.node_attestor.agent_path_template.values import InvalidTemplate, from_bytes

_BLANKS = " \t\r\n"
_KEYWORDS = {
    *("block", "break", "continue", "define", "else", "end", "if", "range", "template", "with")
}
_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+)
    |(?P<text>"(?:\\.|[^"\\\n])*")
    |(?P<raw>`[^`]*`)
    |(?P<character>'(?:\\.|[^'\\\n])*')
    |(?P<number>[+-]?(?:0[xX][0-9a-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+
        |(?:\d[\d_]*(?:\.[\d_]*)?|\.\d[\d_]*)(?:[eE][+-]?\d+)?)(?!\w))
    |(?P<field>\.[^\W\d]\w*)
    |(?P<dot>\.)
    |(?P<variable>\$\w*)
    |(?P<word>[^\W\d]\w*)
    |(?P<mark>:=|=|\||,|\(|\))""",
    re.VERBOSE | re.ASCII,
)
_NAMES = {"field", "dot", "variable", "word"}
_AFTER_NAME = re.compile(r"[ \t\r\n.,|:)(]|\}\}|$")
_ESCAPE = re.compile(
    r"\\(?:(?P<octal>[0-3][0-7]{2})|x(?P<byte>[0-9a-fA-F]{2})|u(?P<short>[0-9a-fA-F]{4})"
    r"|U(?P<long>[0-9a-fA-F]{8})|(?P<letter>[abfnrtv\\'\"]))|(?P<wrong>\\)|(?P<plain>[^\\]+)"
)
_LETTERS = dict(zip("abfnrtv\\'\"", "\a\b\f\n\r\t\v\\'\"", strict=True))
_MAX_NUMBER = 2**63


@dataclass(frozen=True, slots=True)
class Token:
    """A token.

    Attributes:
        kind: `space`, `literal`, `nil`, `field`, `dot`, `variable`, `name`, `keyword` or `mark`.
        text: as in the template.
        value: of a literal.
    """

    kind: str
    text: str
    value: str | int | float | bool = ""


@dataclass(frozen=True, slots=True)
class Piece:
    """A text between actions, or the tokens of one."""

    text: str
    tokens: tuple[Token, ...] | None = None


def pieces(text: str) -> Iterator[Piece]:
    """The parts of a template, in their order.

    Raises:
        InvalidTemplate: it cannot be read.
    """
    position, trim = 0, False
    while (start := text.find("{{", position)) >= 0:
        begin = start + 2
        trim_left = text[begin : begin + 1] == "-" and text[begin + 1 : begin + 2] in set(_BLANKS)
        yield _plain(text[position:start], trim, trim_left)
        if trim_left:
            begin += 1
        if text.startswith("/*", begin + trim_left):
            position, trim = _comment(text, begin + trim_left)
            continue
        tokens, position, trim = _action(text, begin)
        yield Piece("", tokens)
    yield _plain(text[position:], trim, False)


def _plain(text: str, trim_left: bool, trim_right: bool) -> Piece:
    text = text.lstrip(_BLANKS) if trim_left else text
    return Piece(text.rstrip(_BLANKS) if trim_right else text)


def _comment(text: str, position: int) -> tuple[int, bool]:
    end = text.find("*/", position)
    if end < 0:
        raise InvalidTemplate("unclosed comment")
    closing, trim = _closing(text, end + 2)
    if not closing:
        raise InvalidTemplate("comment ends before the action does")
    return closing, trim


def _closing(text: str, position: int) -> tuple[int, bool]:
    """Where the action ends that may end here, else 0, and whether that trims what follows."""
    if text[position : position + 1] in set(_BLANKS) and text.startswith("-}}", position + 1):
        return position + 4, True
    return (position + 2, False) if text.startswith("}}", position) else (0, False)


def _action(text: str, position: int) -> tuple[tuple[Token, ...], int, bool]:
    tokens: list[Token] = []
    while position < len(text):
        closing, trim = _closing(text, position)
        if closing:
            return tuple(tokens), closing, trim
        match = _TOKEN.match(text, position)
        if match is None:
            raise InvalidTemplate(_unreadable(text, position))
        end = match.end()
        kind = match.lastgroup or ""
        if kind == "space" and text.startswith("-}}", end):
            # The last blank belongs to the mark that trims.
            end -= 1
        if kind in _NAMES and not _AFTER_NAME.match(text, end):
            raise InvalidTemplate(f"cannot read {text[position : end + 1]!r}")
        if end > position:
            tokens.append(_token(kind, text[position:end]))
        position = end
    raise InvalidTemplate("unclosed action")


def _unreadable(text: str, position: int) -> str:
    if text[position] in "\"'`":
        return "unclosed action: a quoted text has no end"
    return f"cannot read {text[position:].partition('}}')[0].strip()!r}"


def _token(kind: str, text: str) -> Token:
    match kind:
        case "text":
            return Token("literal", text, _unescape(text[1:-1], "'"))
        case "raw":
            return Token("literal", text, text[1:-1])
        case "character":
            return Token("literal", text, _character(text))
        case "number":
            return Token("literal", text, _number(text))
        case "word":
            return _word(text)
    return Token(kind, text)


def _word(text: str) -> Token:
    if text in {"true", "false"}:
        return Token("literal", text, text == "true")
    if text == "nil":
        return Token("nil", text)
    return Token("keyword" if text in _KEYWORDS else "name", text)


def _unescape(text: str, foreign_quote: str) -> str:
    result = bytearray()
    for part in _ESCAPE.finditer(text):
        if part["plain"] is not None:
            result += part["plain"].encode("utf-8", "surrogatepass")
        elif part["wrong"] or part["letter"] == foreign_quote:
            raise InvalidTemplate(f"cannot read {text!r}: unknown escape")
        elif code := part["octal"] or part["byte"]:
            result.append(int(code, 8 if part["octal"] else 16))
        elif code := part["short"] or part["long"]:
            result += _code_point(int(code, 16)).encode()
        else:
            result += _LETTERS[part["letter"]].encode()
    return from_bytes(bytes(result))


def _code_point(code: int) -> str:
    if code > 0x10FFFF or 0xD800 <= code < 0xE000:
        raise InvalidTemplate(f"there is no character {code:x}")
    return chr(code)


def _character(text: str) -> int:
    inside = text[1:-1]
    if code := re.fullmatch(r"\\([0-3][0-7]{2})|\\x([0-9a-fA-F]{2})", inside):
        return int(code[1], 8) if code[1] else int(code[2], 16)
    character = _unescape(inside, '"')
    if len(character) != 1:
        raise InvalidTemplate(f"{text} is no single character")
    return ord(character)


def _number(text: str) -> int | float:
    try:
        number = _parse_number(text)
    except ValueError as error:
        raise InvalidTemplate(f"{text} is no number") from error
    if isinstance(number, int) and not -_MAX_NUMBER <= number < _MAX_NUMBER:
        raise InvalidTemplate(f"{text} is too large")
    return number


def _parse_number(text: str) -> int | float:
    if text.lower().lstrip("+-")[:2] in {"0x", "0o", "0b"}:
        return int(text, 0)
    if re.fullmatch(r"[+-]?0[0-9_]+", text):
        # As in Go, where `08` is no number.
        return int(text, 8)
    if any(mark in text for mark in ".eE"):
        number = float(text)
        if number in {float("inf"), float("-inf")}:
            raise ValueError(text)
        return number
    return int(text)
