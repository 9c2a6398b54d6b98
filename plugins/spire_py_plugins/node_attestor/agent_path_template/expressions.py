"""Reads the values in actions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias, TypeVar

from spire_py_plugins.node_attestor.agent_path_template.functions import FUNCTIONS
from spire_py_plugins.node_attestor.agent_path_template.functions.function import Literals
from spire_py_plugins.node_attestor.agent_path_template.lexer import Token
from spire_py_plugins.node_attestor.agent_path_template.nodes import (
    Call,
    Dot,
    Either,
    Fields,
    Literal,
    Node,
    Pipeline,
    Variable,
)
from spire_py_plugins.node_attestor.agent_path_template.values import InvalidTemplate

_MAX_DEPTH = 16
_MAX_STAGES = 32
_END = Token("end", "")

Shape: TypeAlias = "Mapping[str, Shape] | None"
"""The fields that a value is known to have; None where that shows only when it is there."""

_T = TypeVar("_T", bound=Node)


class _Leaf(dict[str, Shape]):
    """The shape of what has no fields."""


class _Keys(dict[str, Shape]):
    """The shape of a map, which may have any key."""

    def __contains__(self, key: object) -> bool:
        return True

    def __missing__(self, key: str) -> Shape:
        return LEAF


LEAF: Shape = _Leaf()


def shape_of(fields: frozenset[str]) -> dict[str, Shape]:
    """The shape that names such as `Subject.CommonName` and `San.*` tell."""
    shape: dict[str, Shape] = {}
    for field in fields:
        *ways, last = field.removesuffix(".*").split(".")
        group: dict[str, Shape] = shape
        for way in ways:
            within = group.setdefault(way, {})
            assert isinstance(within, dict)
            group = within
        group[last] = _Keys() if field.endswith(".*") else LEAF
    return shape


def is_group(shape: Shape) -> bool:
    """Whether it is one of fields that are known: what cannot be written."""
    return shape is not None and not isinstance(shape, _Leaf | _Keys)


class Expressions:
    """Reads the tokens of one action.

    Args:
        tokens: of the action.
        variables: the names that are known; those that the action declares are added.
        dot: the shape of `.`.
        root: that of `$`.
    """

    def __init__(
        self, tokens: Sequence[Token], variables: list[str], dot: Shape, root: Shape
    ) -> None:
        self._tokens = tokens
        self._variables = variables
        self._dot = dot
        self._root = root
        self._next = 0
        self._depth = 0

    def peek(self) -> Token:
        """The next token, blanks left out."""
        if self._token().kind == "space":
            self._next += 1
        return self._token()

    def take(self) -> Token:
        token = self.peek()
        self._next += 1
        return token

    def finish(self) -> None:
        """Raises `InvalidTemplate` where there is more."""
        token = self.peek()
        if token is not _END:
            raise InvalidTemplate(f"unexpected {token.text!r} in action")

    def pipeline(self, context: str) -> Pipeline:
        """A value, and the variables it is given to, up to the end of the action.

        Raises:
            InvalidTemplate: it cannot be read.
        """
        names, declares = self._declared(context == "range")
        if declares is False:
            for name in names:
                self._known(name)
        node = self._pipeline(context)
        self.finish()
        if declares:
            self._variables.extend(names)
        return Pipeline(node, names, bool(declares))

    def shape(self, node: Node) -> Shape:
        """What is known of the fields of a value."""
        match node:
            case Dot():
                return self._dot
            case Variable("$"):
                return self._root
            case Fields():
                shape = self.shape(node.node)
                for name in node.names:
                    shape = shape[name] if shape is not None else None
                return shape
            case Pipeline():
                return self.shape(node.node)
            case Literal():
                return LEAF
        return None

    def _token(self) -> Token:
        return self._tokens[self._next] if self._next < len(self._tokens) else _END

    def _declared(self, is_range: bool) -> tuple[tuple[str, ...], bool | None]:
        """The variables that are given the value, and whether they are new; None without any."""
        start = self._next
        names = []
        while self.peek().kind == "variable":
            names.append(self.take().text)
            mark = self.peek().text
            if mark in {":=", "="}:
                self.take()
                if "$" in names:
                    raise InvalidTemplate("$ cannot be given a value")
                return tuple(names), mark == ":="
            if mark != "," or not is_range or len(names) > 1:
                break
            self.take()
        if self.peek().text == "," and names:
            raise InvalidTemplate("unexpected ','")
        self._next = start
        return (), None

    def _pipeline(self, context: str) -> Node:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise InvalidTemplate("parentheses are nested too deeply")
        if self.peek() is _END or self.peek().text == ")":
            raise InvalidTemplate(f"missing value for {context}")
        node = self._command(None)
        for _ in range(_MAX_STAGES):
            if self.peek().text != "|" or self.peek().kind != "mark":
                break
            self.take()
            node = self._command(node)
        else:
            raise InvalidTemplate(f"a value is handed on {_MAX_STAGES} times")
        self._depth -= 1
        return node

    def _command(self, piped: Node | None) -> Node:
        token = self.peek()
        if token.kind == "name":
            name = self.take().text
            if self._token().kind == "field":
                node = self._fields(self._call(name, ()))
            else:
                return self._call(name, self._arguments(piped), piped is not None)
        else:
            if token.kind == "nil":
                raise InvalidTemplate("nil is no value to begin with")
            node = self._operand()
        if piped is not None:
            raise InvalidTemplate("a value can be handed on to a function only")
        if self._starts_operand():
            raise InvalidTemplate(f"unexpected {self.peek().text!r}: only functions take values")
        return node

    def _arguments(self, piped: Node | None) -> tuple[Node, ...]:
        arguments = []
        while self._starts_operand():
            arguments.append(self._operand())
        return (*arguments, piped) if piped is not None else tuple(arguments)

    def _starts_operand(self) -> bool:
        separated = self._token().kind == "space"
        token = self.peek()
        if token is _END or (token.kind == "mark" and token.text != "("):
            return False
        if not separated:
            raise InvalidTemplate(f"unexpected {token.text!r}: a blank is missing")
        return True

    def _operand(self) -> Node:
        token = self.take()
        match token.kind:
            case "literal":
                return self._bare(Literal(token.value), token)
            case "nil":
                return self._bare(Literal(None), token)
            case "dot":
                return self._bare(Dot(), token)
            case "field":
                self._next -= 1
                return self._fields(Dot())
            case "variable":
                self._known(token.text)
                return self._fields(Variable(token.text))
            case "name":
                return self._fields(self._call(token.text, ()))
            case "mark" if token.text == "(":
                return self._fields(self._parenthesis())
        raise InvalidTemplate(
            f"unexpected {token.text!r} in action" if token.text else "missing value"
        )

    def _parenthesis(self) -> Node:
        node = self._pipeline("parenthesized pipeline")
        if self.take().text != ")":
            raise InvalidTemplate("unclosed parenthesis")
        return node

    def _bare(self, node: _T, token: Token) -> _T:
        if self._token().kind in {"field", "dot"}:
            raise InvalidTemplate(f"unexpected '.' after {token.text!r}")
        return node

    def _known(self, name: str) -> None:
        if name not in self._variables:
            raise InvalidTemplate(f"undefined variable {name}")

    def _fields(self, node: Node) -> Node:
        names = []
        while self._token().kind == "field":
            names.append(self._token().text.removeprefix("."))
            self._next += 1
        if not names:
            return node
        shape = self.shape(node)
        for name in names:
            if shape is not None:
                if name not in shape:
                    raise InvalidTemplate(f"there is no field .{'.'.join(names)}")
                shape = shape[name]
        return Fields(node, tuple(names))

    def _call(self, name: str, arguments: tuple[Node, ...], is_piped: bool = False) -> Node:
        if name in {"and", "or"} and arguments:
            return Either(name == "or", arguments, is_piped)
        if name not in FUNCTIONS:
            raise InvalidTemplate(f"function {name!r} is not known")
        function = FUNCTIONS[name]
        if not function.takes(len(arguments)):
            wanted = (
                f"{len(function.kinds)} values{' or more' if function.more is not None else ''}"
            )
            raise InvalidTemplate(f"function {name!r} takes {wanted}, not {len(arguments)}")
        literals: Literals = [
            (each.value,) if isinstance(each, Literal) else None for each in arguments
        ]
        try:
            literals = function.check(literals)
        except InvalidTemplate as error:
            raise InvalidTemplate(f"function {name!r}: {error.message}") from error
        return Call(
            name,
            tuple(
                Literal(literal[0]) if literal else argument
                for literal, argument in zip(literals, arguments, strict=True)
            ),
        )
