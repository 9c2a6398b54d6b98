"""Reads a template."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from spire_py_plugins.node_attestor.agent_path_template.functions import FUNCTIONS
from spire_py_plugins.node_attestor.agent_path_template.nodes import (
    Branch,
    Call,
    Dot,
    Either,
    Field,
    Literal,
    Node,
    Part,
    Text,
)
from spire_py_plugins.node_attestor.agent_path_template.values import InvalidTemplate

_MAX_DEPTH = 8

_ACTION = re.compile(
    r"\{\{(?P<trim>-\s+)?\s*(?:(?P<comment>/\*.*?\*/)|(?P<body>(?:\"(?:\\.|[^\"\\])*\"|[^\"])*?))"
    r"(?P<end>\s-)?\}\}",
    re.DOTALL,
)
_TOKEN = re.compile(
    r"\s*(?:(?P<root>\$(?:\.[A-Za-z_]\w*)+)|(?P<field>(?:\.[A-Za-z_]\w*)+)|(?P<dot>\.)(?!\w)"
    r"|(?P<name>[A-Za-z_]\w*)|(?P<number>-?\d{1,9})(?![\w.])"
    r'|"(?P<text>(?:\\["\\]|[^"\\\n])*)"|(?P<mark>[|()]))'
)
_WORDS = {"if", "with", "range", "else", "end"}
_VALUES = {"root", "field", "dot", "text", "number"}


def parse(text: str, fields: frozenset[str]) -> tuple[Part, ...]:
    """The parts of a template.

    Raises:
        InvalidTemplate: it cannot be read, or uses what is not known.
    """
    return _Blocks(list(_pieces(text)), fields).parse()


@dataclass(frozen=True, slots=True)
class _Piece:
    """A text between actions, or the inside of one."""

    text: str
    is_action: bool

    @property
    def word(self) -> str:
        """Which part of the template the action begins or ends; empty for none."""
        first = self.text.split(None, 1)[0] if self.is_action and self.text.strip() else ""
        return first if first in _WORDS else ""

    @property
    def rest(self) -> str:
        return self.text.strip().removeprefix(self.word)


def _pieces(text: str) -> Iterator[_Piece]:
    position, trim = 0, False
    for action in _ACTION.finditer(text):
        yield _plain(text[position : action.start()], trim, bool(action["trim"]))
        if action["comment"] is None:
            yield _Piece(action["body"], True)
        position, trim = action.end(), bool(action["end"])
    yield _plain(text[position:], trim, False)


def _plain(text: str, trim_left: bool, trim_right: bool) -> _Piece:
    if "{{" in text:
        raise InvalidTemplate("unclosed action")
    text = text.lstrip() if trim_left else text
    return _Piece(text.rstrip() if trim_right else text, False)


class _Blocks:
    """Reads pieces into parts, and knows what `.` is among them."""

    def __init__(self, pieces: Sequence[_Piece], fields: frozenset[str]) -> None:
        self._pieces = pieces
        self._fields = fields
        self._next = 0
        self._depth = 0

    def parse(self) -> tuple[Part, ...]:
        parts = self._parts(False)
        if self._next < len(self._pieces):
            raise InvalidTemplate(f"unexpected {{{{{self._pieces[self._next].word}}}}}")
        return parts

    def _parts(self, bound: bool) -> tuple[Part, ...]:
        """Up to the `else` or `end` that is not theirs. `bound`: `.` is a value."""
        parts: list[Part] = []
        while self._next < len(self._pieces):
            piece = self._pieces[self._next]
            if piece.word in {"else", "end"}:
                break
            self._next += 1
            if piece.word:
                parts.append(self._branch(piece.word, piece.rest, bound))
            elif piece.is_action:
                parts.append(Text(self._value(piece.text, bound)))
            elif piece.text:
                parts.append(Text(Literal(piece.text)))
        return tuple(parts)

    def _branch(self, kind: str, condition: str, bound: bool) -> Part:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise InvalidTemplate("parts are nested too deeply")
        node = self._value(condition, bound)
        body = self._parts(bound or kind != "if")
        otherwise = self._otherwise(kind, bound)
        self._depth -= 1
        return Branch(kind, node, body, otherwise)

    def _otherwise(self, kind: str, bound: bool) -> tuple[Part, ...]:
        """What comes after the body, up to and with the `end`."""
        last = self._take(kind)
        if last.word == "end":
            return ()
        again = _Piece(last.rest, True)
        if again.word == "if" and kind == "if":
            return (self._branch("if", again.rest, bound),)
        if again.text.strip():
            raise InvalidTemplate(f"unexpected {again.text.strip()!r} after else")
        otherwise = self._parts(bound)
        if self._take(kind).word != "end":
            raise InvalidTemplate(f"{kind} has a second else")
        return otherwise

    def _take(self, kind: str) -> _Piece:
        """The `else` or `end` that comes now."""
        if self._next == len(self._pieces):
            raise InvalidTemplate(f"{kind} has no end")
        piece = self._pieces[self._next]
        self._next += 1
        if piece.word == "end" and piece.rest.strip():
            raise InvalidTemplate(f"unexpected {piece.rest.strip()!r} after end")
        return piece

    def _value(self, text: str, bound: bool) -> Node:
        return _Values(text, self._fields, bound).parse()


class _Values:
    """Reads the value in one action."""

    def __init__(self, text: str, fields: frozenset[str], bound: bool) -> None:
        self._fields = fields
        self._bound = bound
        self._tokens = list(_tokens(text))
        self._next = 0
        self._depth = 0

    def parse(self) -> Node:
        node = self._pipeline()
        if self._next != len(self._tokens):
            raise InvalidTemplate(f"unexpected {self._tokens[self._next][1]!r} in action")
        return node

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._next] if self._next < len(self._tokens) else ("", "")

    def _take(self) -> tuple[str, str]:
        token = self._peek()
        self._next += 1
        return token

    def _pipeline(self) -> Node:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise InvalidTemplate("parentheses are nested too deeply")
        node = self._command(None)
        while self._peek() == ("mark", "|"):
            self._take()
            node = self._command(node)
        self._depth -= 1
        return node

    def _command(self, piped: Node | None) -> Node:
        kind, text = self._peek()
        if kind != "name" or text in {"true", "false"}:
            if piped is not None:
                raise InvalidTemplate("a value can be handed on to a function only")
            return self._operand()
        self._take()
        arguments = []
        while self._is_operand():
            arguments.append(self._operand())
        if piped is not None:
            arguments.append(piped)
        return _call(text, tuple(arguments))

    def _is_operand(self) -> bool:
        kind, text = self._peek()
        return kind in _VALUES or text in {"true", "false"} or (kind, text) == ("mark", "(")

    def _operand(self) -> Node:
        kind, text = self._take()
        match kind:
            case "field" | "root":
                return self._field(kind, text)
            case "dot" if self._bound:
                return Dot()
            case "text":
                return Literal(re.sub(r"\\(.)", r"\1", text))
            case "number":
                return Literal(int(text))
            case "name" if text in {"true", "false"}:
                return Literal(text == "true")
            case "mark" if text == "(":
                node = self._pipeline()
                if self._take() != ("mark", ")"):
                    raise InvalidTemplate("unclosed parenthesis")
                return node
        raise InvalidTemplate(f"unexpected {text!r} in action" if text else "missing value")

    def _field(self, kind: str, text: str) -> Node:
        path = text.removeprefix("$").removeprefix(".")
        if kind == "field" and self._bound:
            raise InvalidTemplate(f"within with and range, the field is ${text}")
        family = f"{path.rpartition('.')[0]}.*"
        if not self._fields & {path, family, f"{path}.*"}:
            raise InvalidTemplate(f"there is no field .{path}")
        return Field(tuple(path.split(".")))


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    position, text = 0, text.rstrip()
    while position < len(text):
        token = _TOKEN.match(text, position)
        if token is None:
            raise InvalidTemplate(f"cannot read {text[position:].strip()!r}")
        kind = token.lastgroup or ""
        yield kind, token[kind]
        position = token.end()


def _call(name: str, arguments: tuple[Node, ...]) -> Node:
    if name in {"and", "or"} and arguments:
        return Either(name == "or", arguments)
    if name not in FUNCTIONS:
        raise InvalidTemplate(f"function {name!r} is not known")
    function = FUNCTIONS[name]
    if not function.takes(len(arguments)):
        wanted = f"{len(function.kinds)} values{' or more' if function.more else ''}"
        raise InvalidTemplate(f"function {name!r} takes {wanted}, not {len(arguments)}")
    return Call(name, arguments)
