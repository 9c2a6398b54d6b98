"""The values in a template, and what Go says of them.

A text of Go's is bytes. Here it is a `str` in which bytes that are no UTF-8 stand as surrogates
(`surrogateescape`), so that whatever cuts a text between the bytes of a letter does as in Go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeGuard

from spire_py.errors import InvalidArgument

MAX_STEPS: Final = 20_000
MAX_TEXT_CHARACTERS: Final = 64 * 1024
_MAX_DEPTH: Final = 32
_CHARACTERS_PER_STEP: Final = 64

Data: TypeAlias = Mapping[str, Any]
"""The fields: texts, numbers, flags, sequences and mappings of texts, or further fields."""


class InvalidTemplate(InvalidArgument):
    """A template cannot be read, or gives no path for what it is filled with."""


@dataclass(frozen=True, slots=True)
class BigInteger:
    """A number of any size, which prints as one and is none to functions: Go's `*big.Int`."""

    value: int


@dataclass(slots=True, eq=False)
class List:
    """A slice of Go's. `of`: `any`, or `string` or `list` where Go knows the type of the items."""

    items: list[Value]
    of: str = "any"


@dataclass(slots=True, eq=False)
class Map:
    """A map of Go's, with texts as keys. `of`: `any`, or `string`."""

    entries: dict[str, Value]
    of: str = "any"


@dataclass(slots=True, eq=False)
class Struct:
    """Fields that are known beforehand."""

    fields: dict[str, Value]


Value: TypeAlias = "str | int | float | bool | List | Map | Struct | BigInteger | None"


class Work:
    """Counts what filling a template costs, which must end soon: agents choose the data."""

    def __init__(self) -> None:
        self._steps = 0

    def charge(self, steps: int = 1, *, characters: int = 0) -> None:
        """Raises `InvalidTemplate` where there were too many steps."""
        self._steps += steps + characters // _CHARACTERS_PER_STEP
        if self._steps > MAX_STEPS:
            raise InvalidTemplate(f"filling it takes more than {MAX_STEPS} steps")

    def enter(self, depth: int) -> None:
        """Charges for a value within `depth` others; lists and maps may hold themselves."""
        self.charge()
        if depth > _MAX_DEPTH:
            raise InvalidTemplate(f"values are nested more than {_MAX_DEPTH} deep")


def from_data(data: Data, shape: Mapping[str, Any]) -> Struct:
    """The fields of `shape` with their values, as `Value`."""
    return Struct({name: _value(data[name], shape[name]) for name in shape if name in data})


def _value(value: Any, shape: object) -> Value:
    if isinstance(value, Mapping):
        if isinstance(shape, Mapping) and shape:
            return from_data(value, shape)
        return Map({str(key): str(each) for key, each in value.items()}, "string")
    if isinstance(value, Sequence) and not isinstance(value, str):
        return List([str(each) for each in value], "string")
    result: Value = value
    return result


def is_number(value: Value) -> TypeGuard[int]:
    """Whether it is a whole number; a flag of Python's is one too, and none here."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_true(value: Value) -> bool:
    """As `if` takes it: what is empty or zero is false."""
    match value:
        case List():
            return bool(value.items)
        case Map():
            return bool(value.entries)
        case Struct() | BigInteger():
            return True
    return bool(value)


def kind_name(value: Value) -> str:
    """What to call it in a message."""
    match value:
        case None:
            return "nil"
        case bool():
            return "flag"
        case str():
            return "text"
        case int() | BigInteger():
            return "number"
        case float():
            return "fraction"
        case List():
            return "list"
        case Map():
            return "map"
    return "group of fields"


def to_bytes(text: str) -> bytes:
    """The text as Go has it."""
    return text.encode("utf-8", "surrogateescape")


def from_bytes(text: bytes) -> str:
    return text.decode("utf-8", "surrogateescape")


def checked(text: str) -> str:
    """The text, where it may stand in a template.

    Raises:
        InvalidTemplate: it is too long.
    """
    if len(text) > MAX_TEXT_CHARACTERS:
        raise InvalidTemplate("a text grows too long")
    # Bytes that two texts brought may make a letter together.
    return text if text.isascii() else from_bytes(to_bytes(text))


def deep_equal(work: Work, one: Value, other: Value, depth: int = 0) -> bool:
    """Whether they are of the same type and have the same contents."""
    work.enter(depth)
    if type(one) is not type(other):
        return False
    if isinstance(one, List) and isinstance(other, List):
        return (
            one.of == other.of
            and len(one.items) == len(other.items)
            and all(
                deep_equal(work, a, b, depth + 1)
                for a, b in zip(one.items, other.items, strict=True)
            )
        )
    if isinstance(one, Map) and isinstance(other, Map):
        return (
            one.of == other.of
            and one.entries.keys() == other.entries.keys()
            and all(
                deep_equal(work, value, other.entries[key], depth + 1)
                for key, value in one.entries.items()
            )
        )
    return one is other if isinstance(one, Struct) else one == other
