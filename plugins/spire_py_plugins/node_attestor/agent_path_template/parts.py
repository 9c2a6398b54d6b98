"""The parts of a template once it is read: what writes to the path."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from spire_py_plugins.node_attestor.agent_path_template.formatting import format_value
from spire_py_plugins.node_attestor.agent_path_template.nodes import Pipeline, Scope
from spire_py_plugins.node_attestor.agent_path_template.values import (
    InvalidTemplate,
    List,
    Map,
    Value,
    Work,
    is_number,
    is_true,
    kind_name,
)

_MAX_CALLS = 8
_MAX_PATH_CHARACTERS = 2048


class Run:
    """One filling of a template."""

    def __init__(self, templates: Mapping[str, tuple[Part, ...]]) -> None:
        self.templates = templates
        self.work = Work()
        self.calls = 0
        self._texts: list[str] = []
        self._length = 0

    def write(self, text: str) -> None:
        """Raises `InvalidTemplate` where the path grows too long."""
        self._length += len(text)
        if self._length > _MAX_PATH_CHARACTERS:
            raise InvalidTemplate(f"path is longer than {_MAX_PATH_CHARACTERS} characters")
        self._texts.append(text)

    @property
    def path(self) -> str:
        return "".join(self._texts)

    def call(self, name: str, dot: Value) -> None:
        """Fills another template. It sees no variables but its own `$`."""
        self.calls += 1
        if self.calls > _MAX_CALLS:
            raise InvalidTemplate("templates are nested too deeply")
        execute(self.templates[name], self, Scope(dot, [("$", dot)], self.work))
        self.calls -= 1


class _Leave(Exception):
    """How `break` and `continue` get out."""

    def __init__(self, again: bool) -> None:
        self.again = again


@dataclass(frozen=True, slots=True)
class Text:
    """What stands between actions."""

    text: str

    def execute(self, run: Run, scope: Scope) -> None:  # noqa: ARG002 - as all of its kind
        run.work.charge()
        run.write(self.text)


@dataclass(frozen=True, slots=True)
class Action:
    """A value that is written, or given to a variable."""

    pipeline: Pipeline

    def execute(self, run: Run, scope: Scope) -> None:
        run.work.charge()
        value = self.pipeline.evaluate(scope)
        if not self.pipeline.names:
            run.write("<no value>" if value is None else format_value(run.work, value))


@dataclass(frozen=True, slots=True)
class Branch:
    """`if` or `with`: one of two parts of the template."""

    binds: bool
    pipeline: Pipeline
    body: tuple[Part, ...]
    otherwise: tuple[Part, ...]

    def execute(self, run: Run, scope: Scope) -> None:
        run.work.charge()
        mark = len(scope.variables)
        value = self.pipeline.evaluate(scope)
        if is_true(value):
            inner = Scope(value if self.binds else scope.dot, scope.variables, scope.work)
            execute(self.body, run, inner)
        else:
            execute(self.otherwise, run, scope)
        del scope.variables[mark:]


@dataclass(frozen=True, slots=True)
class Range:
    """A part of the template for each item of a value, or another for none."""

    pipeline: Pipeline
    body: tuple[Part, ...]
    otherwise: tuple[Part, ...]

    def execute(self, run: Run, scope: Scope) -> None:
        run.work.charge()
        mark = len(scope.variables)
        value = self.pipeline.node.evaluate(scope)
        is_empty = True
        for index, item in self._items(value):
            is_empty = False
            run.work.charge()
            self._set(scope, index, item)
            try:
                execute(self.body, run, Scope(item, scope.variables, scope.work))
            except _Leave as leave:
                if not leave.again:
                    break
            finally:
                del scope.variables[mark:]
        if is_empty:
            self._set(scope, value, value)
            execute(self.otherwise, run, scope)
            del scope.variables[mark:]

    def _items(self, value: Value) -> Iterable[tuple[Value, Value]]:
        match value:
            case None:
                return ()
            case List():
                return enumerate(value.items)
            case Map():
                return [(key, value.entries[key]) for key in sorted(value.entries)]
        if is_number(value):
            return self._numbers(value)
        raise InvalidTemplate(f"range goes over lists, maps and numbers, not a {kind_name(value)}")

    def _numbers(self, count: int) -> Iterable[tuple[Value, Value]]:
        if len(self.pipeline.names) > 1:
            raise InvalidTemplate("range over a number has one variable")
        return ((number, number) for number in range(count))

    def _set(self, scope: Scope, index: Value, item: Value) -> None:
        names = self.pipeline.names
        values = (index, item) if len(names) > 1 else (item,)
        for name, value in zip(names, values, strict=False):
            if self.pipeline.declares:
                scope.variables.append((name, value))
            else:
                scope.assign(name, value)


@dataclass(frozen=True, slots=True)
class Leave:
    """`break`, or `continue`."""

    again: bool

    def execute(self, run: Run, scope: Scope) -> None:  # noqa: ARG002
        raise _Leave(self.again)


@dataclass(frozen=True, slots=True)
class Include:
    """`template`, or the place of a `block`: another template's text."""

    name: str
    pipeline: Pipeline | None

    def execute(self, run: Run, scope: Scope) -> None:
        run.work.charge()
        mark = len(scope.variables)
        run.call(self.name, self.pipeline.evaluate(scope) if self.pipeline else None)
        del scope.variables[mark:]


Part: TypeAlias = "Text | Action | Branch | Range | Leave | Include"


def execute(parts: Sequence[Part], run: Run, scope: Scope) -> None:
    """Writes what parts of a template give.

    Raises:
        InvalidTemplate: there is nothing for this data.
    """
    for part in parts:
        part.execute(run, scope)
