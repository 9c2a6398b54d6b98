"""The values in a template once it is read: what gives one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from spire_py_plugins.node_attestor.agent_path_template.functions import FUNCTIONS
from spire_py_plugins.node_attestor.agent_path_template.values import (
    InvalidTemplate,
    Map,
    Struct,
    Value,
    Work,
    is_true,
    kind_name,
)


@dataclass(slots=True)
class Scope:
    """What a value may depend on.

    Attributes:
        dot: what `.` is.
        variables: names and values, the innermost last. `$` is the first.
        work: counts.
    """

    dot: Value
    variables: list[tuple[str, Value]]
    work: Work = field(default_factory=Work)

    def variable(self, name: str) -> Value:
        return self.variables[self._index(name)][1]

    def assign(self, name: str, value: Value) -> None:
        self.variables[self._index(name)] = (name, value)

    def _index(self, name: str) -> int:
        for index in range(len(self.variables) - 1, -1, -1):
            if self.variables[index][0] == name:
                return index
        raise InvalidTemplate(f"variable {name} has no value here")


@dataclass(frozen=True, slots=True)
class Literal:
    """A text or number that stands in the template, or nil."""

    value: str | int | float | bool | None

    def evaluate(self, scope: Scope) -> Value:  # noqa: ARG002 - as all of its kind
        return self.value


@dataclass(frozen=True, slots=True)
class Known:
    """A value that is there already."""

    value: Value

    def evaluate(self, scope: Scope) -> Value:  # noqa: ARG002
        return self.value


@dataclass(frozen=True, slots=True)
class Dot:
    """What `with` or `range` hands on."""

    def evaluate(self, scope: Scope) -> Value:
        return scope.dot


@dataclass(frozen=True, slots=True)
class Variable:
    """`$name`, or `$`: all fields."""

    name: str

    def evaluate(self, scope: Scope) -> Value:
        return scope.variable(self.name)


@dataclass(frozen=True, slots=True)
class Fields:
    """Fields of a value, or keys of a mapping, by the names on the way."""

    node: Node
    names: tuple[str, ...]

    def evaluate(self, scope: Scope) -> Value:
        value = self.node.evaluate(scope)
        for name in self.names:
            scope.work.charge()
            value = self._field(value, name)
        return value

    def _field(self, value: Value, name: str) -> Value:
        if not isinstance(value, Struct | Map):
            raise InvalidTemplate(f"a {kind_name(value)} has no field .{name}")
        entries = value.fields if isinstance(value, Struct) else value.entries
        if name not in entries:
            raise InvalidTemplate(f"field .{'.'.join(self.names)} has no value")
        return entries[name]


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a function that is known, with as many arguments as it takes."""

    name: str
    arguments: tuple[Node, ...]

    def evaluate(self, scope: Scope) -> Value:
        scope.work.charge()
        values = [argument.evaluate(scope) for argument in self.arguments]
        try:
            return FUNCTIONS[self.name].call(values, scope.work)
        except InvalidTemplate as error:
            raise InvalidTemplate(f"function {self.name!r}: {error.message}") from error


@dataclass(frozen=True, slots=True)
class Either:
    """`or`: the first value that is true, else the last; `and`: the first that is false.

    What comes after it is not looked at: `and (index .M "k") (eq .M.k "v")` must not fail.
    """

    wanted: bool
    arguments: tuple[Node, ...]
    is_piped: bool = False
    """Whether the last argument was handed on, and so comes first."""

    def evaluate(self, scope: Scope) -> Value:
        last = self.arguments[-1]
        if self.is_piped:
            last = Known(last.evaluate(scope))
        for argument in self.arguments[:-1]:
            value = argument.evaluate(scope)
            if is_true(value) is self.wanted:
                return value
        return last.evaluate(scope)


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A value that a variable is given, or two in `range`.

    Attributes:
        node: gives the value.
        names: of the variables.
        declares: whether these are new ones.
    """

    node: Node
    names: tuple[str, ...] = ()
    declares: bool = False

    def evaluate(self, scope: Scope) -> Value:
        value = self.node.evaluate(scope)
        for name in self.names:
            if self.declares:
                scope.variables.append((name, value))
            else:
                scope.assign(name, value)
        return value


Node: TypeAlias = "Literal | Known | Dot | Variable | Fields | Call | Either | Pipeline"
