"""Comparisons, and which value to take."""

from __future__ import annotations

from spire_py_plugins.node_attestor.agent_path_template.functions.function import (
    ANY,
    FLAG,
    Function,
)
from spire_py_plugins.node_attestor.agent_path_template.values import (
    BigInteger,
    InvalidTemplate,
    Struct,
    Value,
    is_true,
    kind_name,
    to_bytes,
)

_BASIC = (str, int, float, bool)


def _equal(value: Value, *others: Value) -> bool:
    return any(_same(value, other) for other in others)


def _same(one: Value, other: Value) -> bool:
    if one is None or other is None:
        return one is other
    basic = isinstance(one, _BASIC), isinstance(other, _BASIC)
    if basic == (False, False):
        if isinstance(one, BigInteger) and isinstance(other, BigInteger):
            # Both are pointers, and there is one number.
            return one is other
        raise InvalidTemplate(f"a {kind_name(other)} cannot be compared")
    if type(one) is not type(other):
        raise InvalidTemplate("incompatible types for comparison")
    return one == other


def _less(one: Value, other: Value) -> bool:
    if not isinstance(one, _BASIC) or not isinstance(other, _BASIC):
        raise InvalidTemplate("invalid type for comparison")
    if type(one) is not type(other):
        raise InvalidTemplate("incompatible types for comparison")
    if isinstance(one, str) and isinstance(other, str):
        return to_bytes(one) < to_bytes(other)
    if isinstance(one, bool | str) or isinstance(other, str):
        raise InvalidTemplate("invalid type for comparison")
    return one < other


def _is_empty(value: Value) -> bool:
    return not isinstance(value, Struct) and not is_true(value)


def _default(value: Value, *given: Value) -> Value:
    return value if not given or _is_empty(given[0]) else given[0]


def _coalesce(*values: Value) -> Value:
    return next((value for value in values if not _is_empty(value)), None)


def _fail(message: Value) -> Value:
    raise InvalidTemplate(str(message))


LOGIC: dict[str, Function] = {
    "all": Function(lambda *values: not any(map(_is_empty, values)), (), ANY),
    "any": Function(lambda *values: not all(map(_is_empty, values)), (), ANY),
    "coalesce": Function(_coalesce, (), ANY),
    "default": Function(_default, (ANY,), ANY),
    "empty": Function(_is_empty, (ANY,)),
    "eq": Function(_equal, (ANY, ANY), ANY),
    "fail": Function(_fail, ("text",)),
    "ge": Function(lambda one, other: not _less(one, other), (ANY, ANY)),
    "gt": Function(lambda one, other: not (_less(one, other) or _same(one, other)), (ANY, ANY)),
    "le": Function(lambda one, other: _less(one, other) or _same(one, other), (ANY, ANY)),
    "lt": Function(_less, (ANY, ANY)),
    "ne": Function(lambda one, other: not _same(one, other), (ANY, ANY)),
    "not": Function(lambda value: not is_true(value), (ANY,)),
    "ternary": Function(lambda yes, no, flag: yes if flag else no, (ANY, ANY, FLAG)),
}
