"""The functions that templates may call: some of Go's own, and of sprig's that SPIRE takes."""

from __future__ import annotations

import base64
import binascii
import hashlib
import posixpath
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from spire_py_plugins.node_attestor.agent_path_template.values import (
    InvalidTemplate,
    Value,
    is_true,
)

MAX_TEXT_CHARACTERS = 64 * 1024

_Kind: TypeAlias = tuple[type, ...]

_TEXT: _Kind = (str,)
_NUMBER: _Kind = (int,)
_FLAG: _Kind = (bool,)
_LIST: _Kind = (tuple, list)
_MAP: _Kind = (Mapping,)
_BASIC: _Kind = (str, int, bool)
_ANY: _Kind = (*_BASIC, *_LIST, *_MAP)


@dataclass(frozen=True, slots=True)
class Function:
    """A function.

    Attributes:
        run: does the work; raises `InvalidTemplate` where there is no result.
        kinds: of its arguments.
        more: of any number of further arguments; None where there are none.
    """

    run: Callable[..., Value]
    kinds: tuple[_Kind, ...]
    more: _Kind | None = None

    def takes(self, count: int) -> bool:
        """Whether this is a number of arguments that it can be called with."""
        return count == len(self.kinds) or (self.more is not None and count > len(self.kinds))

    def call(self, values: Sequence[Value]) -> Value:
        """The result.

        Raises:
            InvalidTemplate: an argument is of the wrong kind, or there is no result.
        """
        rest = (self.more or (),) * (len(values) - len(self.kinds))
        for value, kind in zip(values, (*self.kinds, *rest), strict=True):
            if not _is(value, kind):
                raise InvalidTemplate("an argument is of the wrong kind")
        result = self.run(*values)
        if isinstance(result, str) and len(result) > MAX_TEXT_CHARACTERS:
            raise InvalidTemplate("a text grows too long")
        return result


def _is(value: Value, kind: _Kind) -> bool:
    # A flag of Python's is a number too.
    return isinstance(value, kind) and (bool in kind or not isinstance(value, bool))


def _trunc(length: int, text: str) -> str:
    return text[:length] if length >= 0 else text[length:]


def _substr(start: int, end: int, text: str) -> str:
    return text[max(start, 0) : end if end >= 0 else None]


def _repeat(count: int, text: str) -> str:
    if count < 0 or count * len(text) > MAX_TEXT_CHARACTERS:
        raise InvalidTemplate("a count is below zero or too large")
    return text * count


def _index(values: Sequence[str] | Mapping[str, str], key: int | str) -> str:
    if isinstance(values, Mapping):
        # As in Go, this is how to ask for what may not be there.
        return values.get(str(key), "")
    if not isinstance(key, int) or not 0 <= key < len(values):
        raise InvalidTemplate(f"there is no value {key}")
    return values[key]


def _first(values: Sequence[str]) -> str:
    return _index(values, 0)


def _last(values: Sequence[str]) -> str:
    return _index(values, len(values) - 1)


def _equal(value: Value, *others: Value) -> bool:
    if any(type(other) is not type(value) for other in others):
        raise InvalidTemplate("incompatible types for comparison")
    return value in others


def _coalesce(*values: Value) -> Value:
    return next((value for value in values if is_true(value)), "")


def _decoded(decode: Callable[[str], bytes]) -> Callable[[str], str]:
    def run(text: str) -> str:
        try:
            return decode(text).decode()
        except (binascii.Error, ValueError) as error:
            raise InvalidTemplate("a text is not encoded as it should be") from error

    return run


def _base(path: str) -> str:
    """The last element of a path, as Go tells it."""
    return posixpath.basename(path.rstrip("/")) or ("/" if path else ".")


_LOGIC: dict[str, Function] = {
    "coalesce": Function(_coalesce, (), _ANY),
    "default": Function(lambda value, given: given if is_true(given) else value, (_ANY, _ANY)),
    "empty": Function(lambda value: not is_true(value), (_ANY,)),
    "eq": Function(_equal, (_BASIC, _BASIC), _BASIC),
    "ge": Function(lambda one, other: one >= other, (_NUMBER, _NUMBER)),
    "gt": Function(lambda one, other: one > other, (_NUMBER, _NUMBER)),
    "le": Function(lambda one, other: one <= other, (_NUMBER, _NUMBER)),
    "lt": Function(lambda one, other: one < other, (_NUMBER, _NUMBER)),
    "ne": Function(lambda one, other: not _equal(one, other), (_BASIC, _BASIC)),
    "not": Function(lambda value: not is_true(value), (_ANY,)),
    "ternary": Function(lambda yes, no, flag: yes if flag else no, (_ANY, _ANY, _FLAG)),
}

_TEXTS: dict[str, Function] = {
    "b32dec": Function(_decoded(base64.b32decode), (_TEXT,)),
    "b32enc": Function(lambda text: base64.b32encode(text.encode()).decode(), (_TEXT,)),
    "b64dec": Function(_decoded(lambda text: base64.b64decode(text, validate=True)), (_TEXT,)),
    "b64enc": Function(lambda text: base64.b64encode(text.encode()).decode(), (_TEXT,)),
    "base": Function(_base, (_TEXT,)),
    "contains": Function(lambda part, text: part in text, (_TEXT, _TEXT)),
    "hasPrefix": Function(lambda prefix, text: text.startswith(prefix), (_TEXT, _TEXT)),
    "hasSuffix": Function(lambda suffix, text: text.endswith(suffix), (_TEXT, _TEXT)),
    "lower": Function(str.lower, (_TEXT,)),
    "nospace": Function(lambda text: "".join(text.split()), (_TEXT,)),
    "repeat": Function(_repeat, (_NUMBER, _TEXT)),
    "replace": Function(lambda old, new, text: text.replace(old, new), (_TEXT, _TEXT, _TEXT)),
    "sha1sum": Function(
        lambda text: hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(), (_TEXT,)
    ),
    "sha256sum": Function(lambda text: hashlib.sha256(text.encode()).hexdigest(), (_TEXT,)),
    "splitList": Function(
        lambda separator, text: text.split(separator) if separator else list(text), (_TEXT, _TEXT)
    ),
    "substr": Function(_substr, (_NUMBER, _NUMBER, _TEXT)),
    "toString": Function(str, ((str, int),)),
    "trim": Function(str.strip, (_TEXT,)),
    "trimAll": Function(
        lambda characters, text: text.strip(characters) if characters else text, (_TEXT, _TEXT)
    ),
    "trimPrefix": Function(lambda prefix, text: text.removeprefix(prefix), (_TEXT, _TEXT)),
    "trimSuffix": Function(lambda suffix, text: text.removesuffix(suffix), (_TEXT, _TEXT)),
    "trunc": Function(_trunc, (_NUMBER, _TEXT)),
    "upper": Function(str.upper, (_TEXT,)),
}

_COLLECTIONS: dict[str, Function] = {
    "compact": Function(lambda values: [each for each in values if each], (_LIST,)),
    "first": Function(_first, (_LIST,)),
    "has": Function(lambda value, values: value in values, (_TEXT, _LIST)),
    "index": Function(_index, ((*_LIST, *_MAP), (int, str))),
    "initial": Function(lambda values: values[:-1], (_LIST,)),
    "join": Function(lambda separator, values: separator.join(values), (_TEXT, _LIST)),
    "last": Function(_last, (_LIST,)),
    "len": Function(
        lambda value: len(value.encode() if isinstance(value, str) else value),
        ((str, *_LIST, *_MAP),),
    ),
    "list": Function(lambda *values: values, (), _TEXT),
    "rest": Function(lambda values: values[1:], (_LIST,)),
    "reverse": Function(lambda values: values[::-1], (_LIST,)),
    "sortAlpha": Function(sorted, (_LIST,)),
    "uniq": Function(lambda values: list(dict.fromkeys(values)), (_LIST,)),
    "without": Function(
        lambda values, *others: [each for each in values if each not in others], (_LIST,), _TEXT
    ),
}

FUNCTIONS: Mapping[str, Function] = {**_LOGIC, **_TEXTS, **_COLLECTIONS}
"""By name. `and` and `or`, which may leave arguments alone, are the parser's."""
