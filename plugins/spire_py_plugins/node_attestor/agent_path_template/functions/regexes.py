"""Regular expressions: Go's are RE2's, and so is the library, which is loaded when one is used.

Python's own take time that grows exponentially, and agents choose the texts (decision 0014).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from types import ModuleType
from typing import Any

from spire_py_plugins.node_attestor.agent_path_template.formatting import Writer
from spire_py_plugins.node_attestor.agent_path_template.functions.function import (
    NUMBER,
    TEXT,
    Function,
    Literals,
)
from spire_py_plugins.node_attestor.agent_path_template.values import (
    InvalidTemplate,
    List,
    Value,
    Work,
)

_MAX_MEMORY_BYTES = 1 << 20
_MAX_SUBJECT_CHARACTERS = 8 * 1024
_MAX_PATTERN_CHARACTERS = 2048
_STEPS_TO_COMPILE = 20
_STEPS_OF_A_MATCH = 4
_STATES_PER_STEP = 4096
_REFERENCE = re.compile(r"\$(?:(?P<escaped>\$)|(?P<name>\w+)|\{(?P<braced>\w+)\})")


def _library() -> ModuleType:
    try:
        import re2
    except ImportError as error:
        raise InvalidTemplate(
            "regular expressions need google-re2: install the extra 'templates'"
        ) from error
    module: ModuleType = re2
    return module


@lru_cache(maxsize=32)
def _compiled(pattern: str) -> Any:
    if len(pattern) > _MAX_PATTERN_CHARACTERS:
        raise InvalidTemplate("a regular expression is too long")
    library = _library()
    options = library.Options()
    options.log_errors = False
    options.max_mem = _MAX_MEMORY_BYTES
    try:
        return library.compile(pattern, options)
    except (library.error, UnicodeError) as error:
        raise InvalidTemplate(f"{pattern!r} is no regular expression of RE2's") from error


def _check(arguments: Literals) -> None:
    _library()
    if arguments[0] is not None and isinstance(arguments[0][0], str):
        _compiled(arguments[0][0])


def _matches(work: Work, pattern: str, text: str) -> Iterator[Any]:
    """All matches, as Go finds them: an empty one does not touch the one before it."""
    compiled, position, before = _subject(work, pattern, text), 0, -1
    while position <= len(text):
        match = compiled.search(text, position)
        if match is None:
            return
        work.charge(_STEPS_OF_A_MATCH)
        start, end = match.span()
        if end > position:
            position = end
        else:
            position += 1
        if end > start or start != before:
            yield match
        before = end


def _subject(work: Work, pattern: str, text: str) -> Any:
    """The expression, when the text may be searched for it."""
    if len(text) > _MAX_SUBJECT_CHARACTERS:
        raise InvalidTemplate("a text is too long for a regular expression")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeError as error:
            raise InvalidTemplate("a text is no UTF-8") from error
    work.charge(_STEPS_TO_COMPILE)
    compiled = _compiled(pattern)
    work.charge(len(text) * compiled.programsize // _STATES_PER_STEP)
    return compiled


def _match(work: Work, pattern: str, text: str) -> bool:
    return _subject(work, pattern, text).search(text) is not None


def _find(work: Work, pattern: str, text: str) -> str:
    match = _subject(work, pattern, text).search(text)
    return str(match[0]) if match else ""


def _spans(work: Work, pattern: str, text: str, count: int) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for match in _matches(work, pattern, text):
        if len(found) == count:
            break
        found.append(match.span())
    return found


def _find_all(work: Work, pattern: str, text: str, count: int) -> Value:
    return List([text[start:end] for start, end in _spans(work, pattern, text, count)], "string")


def _split(work: Work, pattern: str, text: str, count: int) -> Value:
    if count == 0:
        return List([], "string")
    if pattern and not text:
        return List([""], "string")
    parts: list[Value] = []
    begin = end = 0
    for start, after in _spans(work, pattern, text, count):
        if count > 0 and len(parts) == count - 1:
            break
        end = start
        if after:
            parts.append(text[begin:end])
        begin = after
    if end != len(text):
        parts.append(text[begin:])
    return List(parts, "string")


def _replacer(expands: bool) -> Callable[[Work, str, str, str], str]:
    def run(work: Work, pattern: str, text: str, replacement: str) -> str:
        writer, position = Writer(), 0
        for match in _matches(work, pattern, text):
            writer.write(text[position : match.start()])
            writer.write(_expanded(match, replacement) if expands else replacement)
            position = match.end()
        writer.write(text[position:])
        return writer.text

    return run


def _expanded(match: Any, replacement: str) -> str:
    def group(reference: re.Match[str]) -> str:
        if reference["escaped"]:
            return "$"
        name = reference["name"] or reference["braced"]
        number = int(name) if re.fullmatch("0|[1-9][0-9]{0,8}", name) else None
        if number is None:
            number = match.re.groupindex.get(name, match.re.groups + 1)
        return (match[number] or "") if number <= match.re.groups else ""

    return _REFERENCE.sub(group, replacement)


def _quote_meta(text: str) -> str:
    return re.sub(r"[\\.+*?()|\[\]{}^$]", r"\\\g<0>", text)


def _function(run: Callable[..., Value], *kinds: str) -> Function:
    return Function(run, (TEXT, TEXT, *kinds), works=True, literals=_check)


_BOTH = {
    "regexFind": _function(_find),
    "regexFindAll": _function(_find_all, NUMBER),
    "regexMatch": _function(_match),
    "regexReplaceAll": _function(_replacer(True), TEXT),
    "regexReplaceAllLiteral": _function(_replacer(False), TEXT),
    "regexSplit": _function(_split, NUMBER),
}

REGEXES: dict[str, Function] = {
    **_BOTH,
    **{f"mustR{name.removeprefix('r')}": each for name, each in _BOTH.items()},
    "regexQuoteMeta": Function(_quote_meta, (TEXT,)),
}
