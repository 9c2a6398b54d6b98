"""`agent_path_template` of node attestors: the part of Go's text/template that paths need (I16).

Text with actions in double braces. An action is a field such as `.Subject.CommonName`, a quoted
text, a whole number, or a call of one of the functions below; `|` hands a value on as the last
argument, parentheses group. Whatever else the language has is refused when the template is read,
and so is a field that does not exist: a template must not turn out wrong when an agent attests.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from spire_py.errors import InvalidArgument

MAX_TEMPLATE_CHARACTERS = 2048
MAX_PATH_CHARACTERS = 2048

Value: TypeAlias = "str | int | Sequence[str]"
Data: TypeAlias = Mapping[str, Any]
"""The fields: values, or mappings with further fields."""

_ACTION = re.compile(r"\{\{(?P<trim>- )?(?P<body>(?:\"(?:\\.|[^\"\\])*\"|[^\"])*?)(?P<end> -)?\}\}")
_TOKEN = re.compile(
    r"\s*(?:(?P<field>(?:\.[A-Za-z_]\w*)+)|(?P<name>[A-Za-z_]\w*)|(?P<number>-?\d{1,9})(?![\w.])"
    r'|"(?P<text>(?:\\["\\]|[^"\\])*)"|(?P<mark>[|()]))'
)


class InvalidTemplate(InvalidArgument):
    """A template cannot be read, or gives no path for what it is filled with."""


@dataclass(frozen=True, slots=True)
class _Literal:
    value: str | int

    def evaluate(self, data: Data) -> Value:  # noqa: ARG002 - as all of its kind
        return self.value


@dataclass(frozen=True, slots=True)
class _Field:
    names: tuple[str, ...]

    def evaluate(self, data: Data) -> Value:
        value: Any = data
        for name in self.names:
            if not isinstance(value, Mapping) or name not in value:
                raise InvalidTemplate(f"field {self} has no value")
            value = value[name]
        if isinstance(value, Mapping):
            raise InvalidTemplate(f"field {self} is no value")
        result: Value = value
        return result

    def __str__(self) -> str:
        return "".join(f".{name}" for name in self.names)


@dataclass(frozen=True, slots=True)
class _Call:
    name: str
    arguments: tuple[_Node, ...]

    def evaluate(self, data: Data) -> Value:
        values = [argument.evaluate(data) for argument in self.arguments]
        function, kinds = _FUNCTIONS[self.name]
        for value, kind in zip(values, kinds, strict=True):
            if not isinstance(value, kind):
                raise InvalidTemplate(f"function {self.name!r}: an argument is of the wrong kind")
        return function(*values)


_Node: TypeAlias = "_Literal | _Field | _Call"


class AgentPathTemplate:
    """A template, read and checked.

    Args:
        text: as in the configuration.
        fields: the names it may use, without the leading dot, such as `Subject.CommonName`; one
            that ends in `.*` allows any name in its place.

    Raises:
        InvalidTemplate: the text cannot be read, or uses what is not known.
    """

    def __init__(self, text: str, fields: frozenset[str]) -> None:
        if len(text) > MAX_TEMPLATE_CHARACTERS:
            raise InvalidTemplate(f"template is longer than {MAX_TEMPLATE_CHARACTERS} characters")
        self._nodes = tuple(_parse(text, fields))

    def execute(self, data: Data) -> str:
        """The path for `data`; whether it is a legal one is for the caller to check.

        Raises:
            InvalidTemplate: a field has no value, or the path grows too long.
        """
        path = "".join(_as_text(node.evaluate(data)) for node in self._nodes)
        if len(path) > MAX_PATH_CHARACTERS:
            raise InvalidTemplate(f"path is longer than {MAX_PATH_CHARACTERS} characters")
        return path


def _as_text(value: Value) -> str:
    if isinstance(value, str | int):
        return str(value)
    raise InvalidTemplate("a list is no part of a path; use join or index")


def _parse(text: str, fields: frozenset[str]) -> Iterator[_Node]:
    position, trim = 0, False
    for action in _ACTION.finditer(text):
        yield from _plain(text[position : action.start()], trim, bool(action["trim"]))
        yield _Parser(action["body"], fields).parse()
        position, trim = action.end(), bool(action["end"])
    yield from _plain(text[position:], trim, False)


def _plain(text: str, trim_left: bool, trim_right: bool) -> Iterator[_Node]:
    if "{{" in text:
        raise InvalidTemplate("unclosed action")
    text = text.lstrip() if trim_left else text
    yield _Literal(text.rstrip() if trim_right else text)


class _Parser:
    """Reads one action."""

    def __init__(self, body: str, fields: frozenset[str]) -> None:
        self._body = body
        self._fields = fields
        self._tokens = list(self._tokenize())
        self._next = 0
        self._depth = 0

    def _tokenize(self) -> Iterator[tuple[str, str]]:
        position, body = 0, self._body.rstrip()
        while position < len(body):
            token = _TOKEN.match(body, position)
            if token is None:
                raise InvalidTemplate(f"cannot read {body[position:].strip()!r}")
            kind = token.lastgroup or ""
            yield kind, token[kind]
            position = token.end()

    def parse(self) -> _Node:
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

    def _pipeline(self) -> _Node:
        self._depth += 1
        if self._depth > 8:
            raise InvalidTemplate("parentheses are nested too deeply")
        node = self._command(None)
        while self._peek() == ("mark", "|"):
            self._take()
            node = self._command(node)
        self._depth -= 1
        return node

    def _command(self, piped: _Node | None) -> _Node:
        kind, text = self._peek()
        if kind != "name":
            if piped is not None:
                raise InvalidTemplate("a value can be handed on to a function only")
            return self._operand()
        self._take()
        arguments = []
        while self._peek()[0] in {"field", "text", "number"} or self._peek() == ("mark", "("):
            arguments.append(self._operand())
        if piped is not None:
            arguments.append(piped)
        return _call(text, tuple(arguments))

    def _operand(self) -> _Node:
        kind, text = self._take()
        if kind == "field":
            return self._field(text)
        if kind == "text":
            return _Literal(re.sub(r"\\(.)", r"\1", text))
        if kind == "number":
            return _Literal(int(text))
        if (kind, text) == ("mark", "("):
            node = self._pipeline()
            if self._take() != ("mark", ")"):
                raise InvalidTemplate("unclosed parenthesis")
            return node
        raise InvalidTemplate(f"unexpected {text!r} in action" if text else "missing value")

    def _field(self, text: str) -> _Node:
        names = tuple(text[1:].split("."))
        family = ".".join((*names[:-1], "*"))
        if ".".join(names) not in self._fields and family not in self._fields:
            raise InvalidTemplate(f"there is no field {text}")
        return _Field(names)


def _call(name: str, arguments: tuple[_Node, ...]) -> _Node:
    if name not in _FUNCTIONS:
        raise InvalidTemplate(f"function {name!r} is not known")
    _, kinds = _FUNCTIONS[name]
    if len(arguments) != len(kinds):
        raise InvalidTemplate(f"function {name!r} takes {len(kinds)} values, not {len(arguments)}")
    return _Call(name, arguments)


def _trunc(length: int, text: str) -> str:
    return text[:length] if length >= 0 else text[length:]


def _index(values: Sequence[str], position: int) -> str:
    if isinstance(values, str) or not 0 <= position < len(values):
        raise InvalidTemplate(f"function 'index': there is no value {position}")
    return values[position]


def _default(value: Value, given: Value) -> Value:
    return given or value


_LIST: tuple[type, ...] = (tuple, list)
_ANY: tuple[type, ...] = (str, int, *_LIST)

_FUNCTIONS: dict[str, tuple[Callable[..., Value], tuple[type | tuple[type, ...], ...]]] = {
    "b32enc": (lambda text: base64.b32encode(text.encode()).decode(), (str,)),
    "b64enc": (lambda text: base64.b64encode(text.encode()).decode(), (str,)),
    "default": (_default, (_ANY, _ANY)),
    "index": (_index, (_LIST, int)),
    "join": (lambda separator, values: separator.join(values), (str, _LIST)),
    "lower": (str.lower, (str,)),
    "nospace": (lambda text: "".join(text.split()), (str,)),
    "replace": (lambda old, new, text: text.replace(old, new), (str, str, str)),
    "sha1sum": (
        lambda text: hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(),
        (str,),
    ),
    "sha256sum": (lambda text: hashlib.sha256(text.encode()).hexdigest(), (str,)),
    "splitList": (
        lambda separator, text: text.split(separator) if separator else list(text),
        (str, str),
    ),
    "toString": (str, ((str, int),)),
    "trim": (str.strip, (str,)),
    "trimAll": (
        lambda characters, text: text.strip(characters) if characters else text,
        (str, str),
    ),
    "trimPrefix": (lambda prefix, text: text.removeprefix(prefix), (str, str)),
    "trimSuffix": (lambda suffix, text: text.removesuffix(suffix), (str, str)),
    "trunc": (_trunc, (int, str)),
    "upper": (str.upper, (str,)),
}
