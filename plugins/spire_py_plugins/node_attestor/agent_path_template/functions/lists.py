"""Lists. Where sprig has a function and one that begins with `must`, they do the same here."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from spire_py_plugins.node_attestor.agent_path_template.formatting import (
    format_value,
    sorted_texts,
)
from spire_py_plugins.node_attestor.agent_path_template.functions.function import (
    ANY,
    NUMBER,
    TEXT,
    Function,
    items_of,
)
from spire_py_plugins.node_attestor.agent_path_template.values import (
    InvalidTemplate,
    List,
    Value,
    Work,
    deep_equal,
    is_number,
    is_true,
)


def texts_of(work: Work, value: Value) -> list[str]:
    """The texts of a list's items, or of the one value that is no list. What is nil is left out."""
    items = value.items if isinstance(value, List) else [value]
    work.charge(len(items))
    return [format_value(work, item) for item in items if item is not None]


def _to_strings(work: Work, value: Value) -> Value:
    return List([*texts_of(work, value)], "string")


def _sort_alpha(work: Work, value: Value) -> Value:
    if not isinstance(value, List):
        return List([format_value(work, value)], "string")
    texts: list[Value] = [*sorted_texts(texts_of(work, value))]
    if value.of == "string":
        # sprig sorts the very list that it is given, where that is one of texts.
        value.items[:] = texts
        return value
    return List(texts, "string")


def _is_in(work: Work, needle: Value, items: Sequence[Value]) -> bool:
    return any(deep_equal(work, needle, item) for item in items)


def _has(work: Work, needle: Value, value: Value) -> bool:
    return value is not None and _is_in(work, needle, items_of(value))


def _uniq(work: Work, value: Value) -> Value:
    found: list[Value] = []
    for item in items_of(value):
        if not _is_in(work, item, found):
            found.append(item)
    return List(found)


def _without(work: Work, value: Value, *others: Value) -> Value:
    return List([item for item in items_of(value) if not _is_in(work, item, others)])


def _chunk(size: int, value: Value) -> Value:
    items = items_of(value)
    if size < 1:
        raise InvalidTemplate("a size is below one")
    chunks: list[Value] = [
        List(items[start : start + size]) for start in range(0, len(items), size)
    ]
    return List(chunks, "list")


def _concat(*values: Value) -> Value:
    return List([item for value in values for item in items_of(value)])


def _end(index: int) -> Callable[[Value], Value]:
    def run(value: Value) -> Value:
        items = items_of(value)
        return items[index] if items else None

    return run


def _part(part: slice) -> Callable[[Value], Value]:
    return lambda value: List(items_of(value)[part])


def _slice(value: Value, *indices: Value) -> Value:
    items = items_of(value)
    if not items:
        return None
    start = _index(indices[0]) if indices else 0
    end = _index(indices[1]) if len(indices) > 1 else len(items)
    if not 0 <= start <= end <= len(items):
        raise InvalidTemplate(f"there are no values {start} to {end}")
    return List(items[start:end], value.of if isinstance(value, List) else "any")


def _index(value: Value) -> int:
    if is_number(value) or isinstance(value, bool):
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return int(value)
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 10:
        return int(value)
    if value is None:
        return 0
    raise InvalidTemplate("an index is no number")


def _compact(value: Value) -> Value:
    return List([item for item in items_of(value) if is_true(item)])


def _seq(work: Work, *numbers: int) -> str:
    match numbers:
        case (end,):
            start, step = 1, -1 if end < 1 else 1
        case (start, end):
            step = -1 if end < start else 1
        case (start, step, end):
            if end < start and step > 0:
                return ""
        case _:
            return ""
    if step == 0 or (end > start and step < 0):
        return ""
    stop = end - 1 if end < start else end + 1
    work.charge(abs(stop - start) // abs(step))
    return " ".join(map(str, range(start, stop, step)))


_BOTH: dict[str, Function] = {
    "append": Function(lambda value, item: List([*items_of(value), item]), (ANY, ANY)),
    "chunk": Function(_chunk, (NUMBER, ANY)),
    "compact": Function(_compact, (ANY,)),
    "first": Function(_end(0), (ANY,)),
    "has": Function(_has, (ANY, ANY), works=True),
    "initial": Function(_part(slice(None, -1)), (ANY,)),
    "last": Function(_end(-1), (ANY,)),
    "prepend": Function(lambda value, item: List([item, *items_of(value)]), (ANY, ANY)),
    "push": Function(lambda value, item: List([*items_of(value), item]), (ANY, ANY)),
    "rest": Function(_part(slice(1, None)), (ANY,)),
    "reverse": Function(_part(slice(None, None, -1)), (ANY,)),
    "slice": Function(_slice, (ANY,), ANY),
    "uniq": Function(_uniq, (ANY,), works=True),
    "without": Function(_without, (ANY,), ANY, works=True),
}

LISTS: dict[str, Function] = {
    **_BOTH,
    **{f"must{name[0].upper()}{name[1:]}": each for name, each in _BOTH.items()},
    "concat": Function(_concat, (), ANY),
    "list": Function(lambda *values: List(list(values)), (), ANY),
    "seq": Function(_seq, (), NUMBER, works=True),
    "sortAlpha": Function(_sort_alpha, (ANY,), works=True),
    "splitList": Function(
        lambda separator, text: List(text.split(separator) if separator else list(text), "string"),
        (TEXT, TEXT),
    ),
    "toStrings": Function(_to_strings, (ANY,), works=True),
    "tuple": Function(lambda *values: List(list(values)), (), ANY),
}
