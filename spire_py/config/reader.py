"""From tables to checked models, with every fault and its line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, ClassVar, TypeAlias, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from spire_py.config.problems import ConfigProblems, ConfigWarning, Problem
from spire_py.config.tree import Table, Value, is_block, merge, tables
from spire_py.config.values import kind_of
from spire_py.errors import InvalidArgument

Path: TypeAlias = tuple[str | int, ...]


class Section(BaseModel):
    """A block of the configuration. A subclass names its keys as SPIRE does.

    An empty text and the number 0 count as not given, as in SPIRE, save for `zero_is_a_value`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    section_name: ClassVar[str] = ""
    """How faults name this block."""

    refuses_unknown_keys: ClassVar[bool] = True
    """Whether an unknown key stops the start; else it is a warning (feature A25)."""

    older_names: ClassVar[Mapping[str, str]] = {}
    """Keys of older guides, and the key each stands for; taken with a warning."""

    ignored_keys: ClassVar[Mapping[str, str]] = {}
    """Keys that have no function, each with the reason; a warning."""

    zero_is_a_value: ClassVar[frozenset[str]] = frozenset()

    zero_means_default: ClassVar[frozenset[str]] = frozenset()
    """Durations that count as not given where they are 0."""

    required: ClassVar[Mapping[str, str]] = {}
    """SPIRE's sentence for each key that must be given."""

    placeholders: ClassVar[Mapping[str, Any]] = {}
    """Stand-ins for required values, so that the other checks can run and tell their faults."""


S = TypeVar("S", bound=Section)


class Reader:
    """Reads sections and gathers what is wrong with them."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[ConfigWarning] = []
        self._lines: dict[Path, int | None] = {}

    def fault(self, message: str, *path: str | int) -> None:
        """Note a fault of what is at `path` in the section that was read last."""
        self.problems.append(Problem(message, _line(path, self._lines)))

    def warn(self, message: str, *path: str | int, deprecated: bool = False) -> None:
        """Note a warning; see `fault`."""
        self.warnings.append(ConfigWarning(message, _line(path, self._lines), deprecated))

    def read(self, model: type[S], value: Value, *, line: int | None = None) -> S:
        """The section as a model.

        Where there are faults, they are in `problems` and the model is fit only for finding
        further ones.
        """
        lines: dict[Path, int | None] = {(): line}
        self._lines = lines
        fields = self._shape(model, value, (), lines)
        try:
            return model.model_validate(fields)
        except ValidationError as error:
            for fault in error.errors(include_url=False, include_input=False):
                self._report(model, fault["loc"], fault, lines)
                _drop(fields, fault["loc"])
            return _with_placeholders(model, fields)

    def check(self) -> None:
        """Raise `ConfigProblems` where anything is wrong."""
        if self.problems:
            raise ConfigProblems(self.problems, self.warnings)

    def _shape(
        self, model: type[Section], value: Value, path: Path, lines: dict[Path, int | None]
    ) -> dict[str, Any]:
        """The fields of one block, with blocks merged and keys told apart."""
        try:
            table = merge(value)
        except InvalidArgument:
            self.problems.append(
                Problem(
                    f"{_section(model, path)}: expected a block, got {kind_of(value)}",
                    _line(path, lines),
                )
            )
            return {}
        fields: dict[str, Any] = {}
        for key, line in getattr(table, "repeated", ()):
            message = f'"{key}" in {_section(model, path)} is given more than once'
            self.warnings.append(ConfigWarning(message, line))
        for key, item in table.items():
            line = table.lines.get(key) if isinstance(table, Table) else None
            name = self._field(model, key, path, line)
            if name is None or _is_nothing(model, name, item):
                continue
            lines[(*path, name)] = line
            if name in fields:
                self.problems.append(Problem(f'the argument "{key}" was already set', line))
                continue
            fields[name] = self._shape_field(model, name, item, (*path, name), lines)
        return fields

    def _field(self, model: type[Section], key: str, path: Path, line: int | None) -> str | None:
        """The field that a key of the file means; SPIRE does not mind upper and lower case."""
        names = {name.casefold(): name for name in model.model_fields}
        folded = key.casefold()
        if folded in names:
            return names[folded]
        section = _section(model, path)
        if newer := model.older_names.get(folded):
            self.warnings.append(
                ConfigWarning(
                    f'"{key}" in {section} is an older name; please use "{newer}"', line, True
                )
            )
            return newer
        if reason := model.ignored_keys.get(folded):
            self.warnings.append(ConfigWarning(f'"{key}" in {section} is ignored: {reason}', line))
            return None
        hint = nearest(key, model.model_fields)
        message = f'unknown configuration detected: "{key}" in {section}{hint}'
        if model.refuses_unknown_keys:
            self.problems.append(Problem(message, line))
        else:
            self.warnings.append(ConfigWarning(message, line))
        return None

    def _shape_field(
        self,
        model: type[Section],
        name: str,
        item: Value,
        path: Path,
        lines: dict[Path, int | None],
    ) -> Any:
        shape, inner = _kind(model, name)
        if shape == "block" and inner:
            return self._shape(inner, item, path, lines)
        if shape == "blocks" and inner and (is_block(item) or item == []):
            return [
                self._shape_numbered(inner, part, (*path, number), lines)
                for number, part in enumerate(tables(item))
            ]
        if shape == "labelled" and inner and is_block(item):
            labelled = merge(item)
            for label, line in labelled.lines.items():
                lines[(*path, label)] = line
            return {
                label: self._shape(inner, part, (*path, label), lines)
                for label, part in labelled.items()
            }
        return item

    def _shape_numbered(
        self, inner: type[Section], part: Value, path: Path, lines: dict[Path, int | None]
    ) -> dict[str, Any]:
        lines[path] = getattr(part, "line", None) or lines.get(path[:-1])
        return self._shape(inner, part, path, lines)

    def _report(
        self,
        model: type[Section],
        location: Path,
        fault: Mapping[str, Any],
        lines: Mapping[Path, int | None],
    ) -> None:
        cause = fault.get("ctx", {}).get("error")
        owner = _owner(model, location)
        key = next((part for part in reversed(location) if isinstance(part, str)), "")
        if fault["type"] == "missing":
            self.problems.append(Problem(owner.required.get(key, f"{key} must be configured")))
            return
        if type(cause) is ValueError:
            message = str(cause)
        else:
            section = _section(model, location[:1]) if len(location) > 1 else _section(model, ())
            message = f"{_section(owner, ()) or section}: {key}: {cause or fault['msg']}"
        self.problems.append(Problem(message, _line(location, lines)))


def nearest(key: str, names: Iterable[str]) -> str:
    """A hint at the known name that is most like `key`, or nothing."""
    close = difflib.get_close_matches(key.casefold(), list(names), n=1, cutoff=0.6)
    return f'; did you mean "{close[0]}"?' if close else ""


@cache
def _kind(model: type[Section], name: str) -> tuple[str, type[Section] | None]:
    """Whether a field is one block, a list of blocks, blocks by label, or a plain value."""
    annotation: Any = model.model_fields[name].annotation
    if get_origin(annotation) is Union or type(annotation).__name__ == "UnionType":
        annotation = next(part for part in get_args(annotation) if part is not type(None))
    arguments = get_args(annotation)
    if _is_section(annotation):
        return "block", annotation
    if get_origin(annotation) is tuple and _is_section(arguments[0]):
        return "blocks", arguments[0]
    if get_origin(annotation) is dict and _is_section(arguments[1]):
        return "labelled", arguments[1]
    return "value", None


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)


def _is_nothing(model: type[Section], name: str, item: Value) -> bool:
    if item is None or item == "":
        return True
    if item in ("0", "0s") and name in model.zero_means_default:
        return True
    return item == 0 and not isinstance(item, bool) and name not in model.zero_is_a_value


def _section(model: type[Section], path: Path) -> str:
    return model.section_name or ".".join(str(part) for part in path)


def _owner(model: type[Section], location: Path) -> type[Section]:
    """The section that holds what `location` names."""
    owner = model
    for part in location[:-1]:
        if isinstance(part, str) and part in owner.model_fields:
            owner = _kind(owner, part)[1] or owner
    return owner


def _line(location: Path, lines: Mapping[Path, int | None]) -> int | None:
    for end in range(len(location), -1, -1):
        if location[:end] in lines:
            return lines[location[:end]]
    return None


def _drop(fields: dict[str, Any], location: Path) -> None:
    """Take a faulty value out; where it is in a list, the whole list."""
    holder: Any = fields
    for index, part in enumerate(location):
        inner = holder.get(part) if isinstance(holder, dict) else None
        if index == len(location) - 1 or not isinstance(inner, dict):
            if isinstance(holder, dict):
                holder.pop(part, None)
            return
        holder = inner


def _with_placeholders(model: type[S], fields: dict[str, Any]) -> S:
    filled = {**model.placeholders, **fields}
    for name, stand_in in model.placeholders.items():
        # A block that lacks one key keeps its others, and the blocks beside it stay too.
        if isinstance(stand_in, Mapping) and isinstance(filled[name], dict):
            filled[name] = {**stand_in, **filled[name]}
    try:
        return model.model_validate(filled)
    except ValidationError:
        return model.model_validate(dict(model.placeholders))
