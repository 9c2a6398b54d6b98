"""Maps. They are changed in place, as in sprig, and their keys are in the order of the bytes."""

from __future__ import annotations

from collections.abc import Callable

from spire_py_plugins.node_attestor.agent_path_template.formatting import (
    format_value,
    sorted_texts,
)
from spire_py_plugins.node_attestor.agent_path_template.functions.function import (
    ANY,
    DICT,
    TEXT,
    Function,
)
from spire_py_plugins.node_attestor.agent_path_template.values import (
    InvalidTemplate,
    List,
    Map,
    Struct,
    Value,
    Work,
    is_true,
)


def _dict(work: Work, *values: Value) -> Map:
    texts = [format_value(work, value) for value in values[::2]]
    return Map(dict(zip(texts, [*values[1::2], ""][: len(texts)], strict=True)))


def _set(target: Map, key: str, value: Value) -> Map:
    target.entries[key] = value
    return target


def _unset(target: Map, key: str) -> Map:
    target.entries.pop(key, None)
    return target


def _pluck(key: str, *maps: Map) -> List:
    return List([each.entries[key] for each in maps if key in each.entries])


def _keys(*maps: Map) -> List:
    return List([key for each in maps for key in sorted_texts(each.entries)], "string")


def _values(value: Map) -> List:
    return List([value.entries[key] for key in sorted_texts(value.entries)])


def _pick(value: Map, *keys: str) -> Map:
    return Map({key: value.entries[key] for key in keys if key in value.entries})


def _omit(value: Map, *keys: str) -> Map:
    return Map({key: each for key, each in value.entries.items() if key not in keys})


def _dig(*values: Value) -> Value:
    *keys, default, value = values
    texts = [key for key in keys if isinstance(key, str)]
    if len(texts) < len(keys):
        raise InvalidTemplate("a key is no text")
    for key in texts:
        if not isinstance(value, Map) or value.of != "any":
            raise InvalidTemplate(f"what should have the key {key!r} is no map")
        if key not in value.entries:
            return default
        value = value.entries[key]
    return value


def _merger(overwrite: bool) -> Callable[..., Map]:
    def run(work: Work, target: Map, *sources: Map) -> Map:
        for source in sources:
            _merge(work, target, source, overwrite, 0)
        return target

    return run


def _merge(work: Work, target: Map, source: Map, overwrite: bool, depth: int) -> None:
    for key, value in list(source.entries.items()):
        work.enter(depth)
        old = target.entries.get(key)
        if value is None and not overwrite:
            continue
        if isinstance(value, Map) and isinstance(old, Map):
            if old.of != value.of:
                raise InvalidTemplate("maps of different types cannot be merged")
            _merge(work, old, value, overwrite, depth + 1)
            if old.entries:
                continue
        if overwrite or key not in target.entries or _is_unset(old):
            target.entries[key] = value


def _is_unset(value: Value) -> bool:
    return not isinstance(value, Struct) and not is_true(value)


_MERGE = Function(_merger(False), (DICT,), DICT, works=True)
_OVERWRITE = Function(_merger(True), (DICT,), DICT, works=True)

MAPS: dict[str, Function] = {
    "dict": Function(_dict, (), ANY, works=True),
    "dig": Function(_dig, (ANY, ANY, ANY), ANY),
    "get": Function(lambda value, key: value.entries.get(key, ""), (DICT, TEXT)),
    "hasKey": Function(lambda value, key: key in value.entries, (DICT, TEXT)),
    "keys": Function(_keys, (), DICT),
    "merge": _MERGE,
    "mergeOverwrite": _OVERWRITE,
    "mustMerge": _MERGE,
    "mustMergeOverwrite": _OVERWRITE,
    "omit": Function(_omit, (DICT,), TEXT),
    "pick": Function(_pick, (DICT,), TEXT),
    "pluck": Function(_pluck, (TEXT,), DICT),
    "set": Function(_set, (DICT, TEXT, ANY)),
    "unset": Function(_unset, (DICT, TEXT)),
    "values": Function(_values, (DICT,)),
}
