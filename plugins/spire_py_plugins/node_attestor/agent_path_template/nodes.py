"""What a template is made of once it is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from spire_py_plugins.node_attestor.agent_path_template.functions import FUNCTIONS
from spire_py_plugins.node_attestor.agent_path_template.values import (
    Data,
    InvalidTemplate,
    Value,
    as_text,
    is_true,
)

_MAX_STEPS = 10_000


class Run:
    """One filling of a template, which must not take for ever: an agent chooses the data."""

    def __init__(self, data: Data) -> None:
        self.data = data
        self._steps = 0

    def step(self) -> None:
        """Raises `InvalidTemplate` where there were too many."""
        self._steps += 1
        if self._steps > _MAX_STEPS:
            raise InvalidTemplate(f"filling it takes more than {_MAX_STEPS} steps")


@dataclass(frozen=True, slots=True)
class Literal:
    """A text or number that stands in the template."""

    value: str | int | bool

    def evaluate(self, run: Run, dot: Value) -> Value:  # noqa: ARG002 - as all of its kind
        return self.value


@dataclass(frozen=True, slots=True)
class Dot:
    """What `with` or `range` hands on."""

    def evaluate(self, run: Run, dot: Value) -> Value:  # noqa: ARG002
        return dot


@dataclass(frozen=True, slots=True)
class Field:
    """A field, by the names on the way to it."""

    names: tuple[str, ...]

    def evaluate(self, run: Run, dot: Value) -> Value:  # noqa: ARG002
        value: Any = run.data
        for name in self.names:
            if not isinstance(value, Mapping) or name not in value:
                raise InvalidTemplate(f"field .{'.'.join(self.names)} has no value")
            value = value[name]
        result: Value = value
        return result


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a function that is known, with as many arguments as it takes."""

    name: str
    arguments: tuple[Node, ...]

    def evaluate(self, run: Run, dot: Value) -> Value:
        values = [argument.evaluate(run, dot) for argument in self.arguments]
        try:
            return FUNCTIONS[self.name].call(values)
        except InvalidTemplate as error:
            raise InvalidTemplate(f"function {self.name!r}: {error.message}") from error


@dataclass(frozen=True, slots=True)
class Either:
    """`or`: the first value that is true, else the last; `and`: the first that is false.

    What comes after it is not looked at: `and (index .M "k") (eq .M.k "v")` must not fail.
    """

    wanted: bool
    arguments: tuple[Node, ...]

    def evaluate(self, run: Run, dot: Value) -> Value:
        for argument in self.arguments[:-1]:
            value = argument.evaluate(run, dot)
            if is_true(value) is self.wanted:
                return value
        return self.arguments[-1].evaluate(run, dot)


Node: TypeAlias = "Literal | Dot | Field | Call | Either"


@dataclass(frozen=True, slots=True)
class Text:
    """A part of the path."""

    node: Node

    def execute(self, run: Run, dot: Value) -> Iterator[str]:
        run.step()
        yield as_text(self.node.evaluate(run, dot))


@dataclass(frozen=True, slots=True)
class Branch:
    """`if`, `with` or `range`: one of two parts of the template, or one of them repeatedly."""

    kind: str
    node: Node
    body: tuple[Part, ...]
    otherwise: tuple[Part, ...]

    def execute(self, run: Run, dot: Value) -> Iterator[str]:
        run.step()
        value = self.node.evaluate(run, dot)
        if not is_true(value):
            yield from execute(self.otherwise, run, dot)
        elif self.kind == "if":
            yield from execute(self.body, run, dot)
        elif self.kind == "with":
            yield from execute(self.body, run, value)
        else:
            for each in _items(value):
                run.step()
                yield from execute(self.body, run, each)


Part: TypeAlias = "Text | Branch"


def execute(parts: Sequence[Part], run: Run, dot: Value) -> Iterator[str]:
    """The texts that parts of a template give, one after the other.

    Raises:
        InvalidTemplate: there are none for this data.
    """
    for part in parts:
        yield from part.execute(run, dot)


def _items(value: Value) -> Iterator[str]:
    if isinstance(value, Mapping):
        return iter(value[key] for key in sorted(value))
    if isinstance(value, str | int):
        raise InvalidTemplate("range goes over lists and mappings")
    return iter(value)
