"""What a function is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from spire_py_plugins.node_attestor.agent_path_template.values import (
    InvalidTemplate,
    List,
    Map,
    Value,
    Work,
    checked,
    is_number,
    kind_name,
)

Constant: TypeAlias = str | int | float | bool | None
Literals: TypeAlias = "list[tuple[Constant] | None]"
"""Arguments as they stand in the template; None for those that are known only later."""

TEXT = "text"
NUMBER = "number"
FLAG = "flag"
DICT = "map"
ANY = "any"


@dataclass(frozen=True, slots=True)
class Function:
    """A function.

    Attributes:
        run: does the work; raises `InvalidTemplate` where there is no result.
        kinds: of its arguments.
        more: of any number of further arguments; None where there are none.
        works: whether `run` takes a `Work` first, because its work depends on what is in lists.
        literals: checks arguments that stand in the template when it is read.
    """

    run: Callable[..., Value]
    kinds: tuple[str, ...] = ()
    more: str | None = None
    works: bool = False
    literals: Callable[[Literals], None] | None = None

    def takes(self, count: int) -> bool:
        """Whether this is a number of arguments that it can be called with."""
        return count == len(self.kinds) or (self.more is not None and count > len(self.kinds))

    def check(self, arguments: Literals) -> Literals:
        """What the arguments become, of which only some stand in the template.

        Raises:
            InvalidTemplate: one is of the wrong kind.
        """
        checked_arguments: Literals = []
        for argument, kind in zip(arguments, self._kinds(len(arguments)), strict=True):
            value = argument and (_whole(argument[0], kind),)
            if value:
                _check(value[0], kind)
            checked_arguments.append(value)
        if self.literals is not None:
            self.literals(checked_arguments)
        return checked_arguments

    def call(self, values: Sequence[Value], work: Work) -> Value:
        """The result.

        Raises:
            InvalidTemplate: an argument is of the wrong kind, or there is no result.
        """
        for value, kind in zip(values, self._kinds(len(values)), strict=True):
            _check(value, kind)
            _charge(value, work)
        result = self.run(work, *values) if self.works else self.run(*values)
        _charge(result, work)
        return checked(result) if isinstance(result, str) else result

    def _kinds(self, count: int) -> tuple[str, ...]:
        return (*self.kinds, *((self.more or ANY,) * (count - len(self.kinds))))


def _whole(value: Constant, kind: str) -> Constant:
    """A fraction such as `1e3` is a whole number to who wants one."""
    return int(value) if kind == NUMBER and isinstance(value, float) and value % 1 == 0 else value


def _check(value: Value, kind: str) -> None:
    match kind:
        case "text":
            fits = isinstance(value, str)
        case "number":
            fits = is_number(value)
        case "flag":
            fits = isinstance(value, bool)
        case "map":
            fits = isinstance(value, Map) and value.of == "any"
        case _:
            return
    if not fits:
        # A map of texts is another type than one of anything, to Go.
        name = "map of texts" if isinstance(value, Map) else kind_name(value)
        raise InvalidTemplate(f"an argument is of the wrong kind: a {name}, not a {kind}")


def _charge(value: Value, work: Work) -> None:
    match value:
        case str():
            work.charge(0, characters=len(value))
        case List():
            work.charge(len(value.items) // 8)
        case Map():
            work.charge(len(value.entries) // 8)


def items_of(value: Value) -> list[Value]:
    """The items of a list.

    Raises:
        InvalidTemplate: it is none.
    """
    if not isinstance(value, List):
        raise InvalidTemplate(f"a {kind_name(value)} is no list")
    return value.items
