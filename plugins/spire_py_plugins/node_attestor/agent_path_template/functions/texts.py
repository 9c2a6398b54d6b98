"""Texts, and paths of files. What counts or cuts does so in bytes, as Go does."""

from __future__ import annotations

from collections.abc import Callable

from spire_py_plugins.node_attestor.agent_path_template.formatting import (
    Writer,
    format_value,
    quote_text,
)
from spire_py_plugins.node_attestor.agent_path_template.functions.function import (
    ANY,
    NUMBER,
    TEXT,
    Function,
)
from spire_py_plugins.node_attestor.agent_path_template.functions.lists import texts_of
from spire_py_plugins.node_attestor.agent_path_template.values import (
    MAX_TEXT_CHARACTERS,
    InvalidTemplate,
    Value,
    Work,
    from_bytes,
    to_bytes,
)

BLANKS = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)


def _trunc(length: int, text: str) -> str:
    data = to_bytes(text)
    if length < 0:
        return from_bytes(data[length:])
    return from_bytes(data[:length])


def _substr(start: int, end: int, text: str) -> str:
    data = to_bytes(text)
    if start < 0:
        start = 0
    elif end < 0 or end > len(data):
        end = len(data)
    if not 0 <= start <= end <= len(data):
        raise InvalidTemplate(f"there are no characters {start} to {end}")
    return from_bytes(data[start:end])


def _abbrev(width: int, text: str) -> str:
    return _abbrev_both(0, width, text)


def _abbrev_both(left: int, width: int, text: str) -> str:
    data = to_bytes(text)
    if width < 4 or (left > 0 and width < 7) or len(data) <= width:
        return text
    kept = width - 3
    left = min(left, len(data))
    if len(data) - left < kept:
        left = len(data) - kept
    if left <= 4:
        return f"{from_bytes(data[:kept])}..."
    if left + kept < len(data):
        return f"...{_abbrev(kept, from_bytes(data[left:]))}"
    return f"...{from_bytes(data[-kept:])}"


def _repeat(count: int, text: str) -> str:
    if count < 0 or count * len(text) > MAX_TEXT_CHARACTERS:
        raise InvalidTemplate("a count is below zero or too large")
    return text * count


def replace(old: str, new: str, text: str) -> str:
    """The text with all of `old` replaced.

    Raises:
        InvalidTemplate: it grows too long.
    """
    if len(text) + text.count(old) * len(new) > 2 * MAX_TEXT_CHARACTERS:
        raise InvalidTemplate("a text grows too long")
    return text.replace(old, new)


def _indent(spaces: int, text: str) -> str:
    return _repeat(spaces, " ") + replace("\n", "\n" + _repeat(spaces, " "), text)


def _join(work: Work, separator: str, value: Value) -> str:
    return _joined(separator, texts_of(work, value))


def _joined(separator: str, texts: list[str]) -> str:
    writer = Writer()
    for index, text in enumerate(texts):
        writer.write(separator + text if index else text)
    return writer.text


def _quoter(quote: Callable[[str], str]) -> Callable[..., str]:
    def run(work: Work, *values: Value) -> str:
        texts = [quote(format_value(work, value)) for value in values if value is not None]
        return _joined(" ", texts)

    return run


def _wrap_with(width: int, separator: str, text: str, breaks: bool = True) -> str:
    """Lines of `width` bytes at most, unless a word is longer and `breaks` is not set."""
    data, separator, width = to_bytes(text), separator or "\n", max(width, 1)
    writer, position = Writer(), 0
    while len(data) - position > width:
        if data[position] == 0x20:
            position += 1
            continue
        last = position + width
        blank = data.rfind(b" ", position, last + 1)
        if blank < 0 and not breaks:
            blank = data.find(b" ", last)
            if blank < 0:
                break
        end = blank if blank >= 0 else last
        writer.write(from_bytes(data[position:end]))
        writer.write(separator)
        position = end + 1 if blank >= 0 else end
    writer.write(from_bytes(data[position:]))
    return writer.text


def _clean(path: str) -> str:
    root = "/" if path.startswith("/") else ""
    names: list[str] = []
    for name in path.split("/"):
        if name == ".." and names and names[-1] != "..":
            names.pop()
        elif name not in {"", "."} and not (name == ".." and root):
            names.append(name)
    return root + "/".join(names) or "."


def _base(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2] or ("/" if path else ".")


def _dir(path: str) -> str:
    before, slash, _ = path.rpartition("/")
    return _clean(before + slash)


def _ext(path: str) -> str:
    _, dot, after = path.rpartition("/")[2].rpartition(".")
    return dot + after if dot else ""


TEXTS: dict[str, Function] = {
    "abbrev": Function(_abbrev, (NUMBER, TEXT)),
    "abbrevboth": Function(_abbrev_both, (NUMBER, NUMBER, TEXT)),
    "base": Function(_base, (TEXT,)),
    "cat": Function(_quoter(str), (), ANY, works=True),
    "clean": Function(_clean, (TEXT,)),
    "contains": Function(lambda part, text: part in text, (TEXT, TEXT)),
    "dir": Function(_dir, (TEXT,)),
    "ext": Function(_ext, (TEXT,)),
    "hasPrefix": Function(lambda prefix, text: text.startswith(prefix), (TEXT, TEXT)),
    "hasSuffix": Function(lambda suffix, text: text.endswith(suffix), (TEXT, TEXT)),
    "indent": Function(_indent, (NUMBER, TEXT)),
    "isAbs": Function(lambda path: path.startswith("/"), (TEXT,)),
    "join": Function(_join, (TEXT, ANY), works=True),
    "nindent": Function(lambda spaces, text: "\n" + _indent(spaces, text), (NUMBER, TEXT)),
    "plural": Function(lambda one, many, count: one if count == 1 else many, (TEXT, TEXT, NUMBER)),
    "quote": Function(_quoter(quote_text), (), ANY, works=True),
    "repeat": Function(_repeat, (NUMBER, TEXT)),
    "replace": Function(replace, (TEXT, TEXT, TEXT)),
    "squote": Function(_quoter(lambda text: f"'{text}'"), (), ANY, works=True),
    "substr": Function(_substr, (NUMBER, NUMBER, TEXT)),
    "toString": Function(format_value, (ANY,), works=True),
    "trim": Function(lambda text: text.strip(BLANKS), (TEXT,)),
    "trimAll": Function(
        lambda characters, text: text.strip(characters) if characters else text, (TEXT, TEXT)
    ),
    "trimPrefix": Function(lambda prefix, text: text.removeprefix(prefix), (TEXT, TEXT)),
    "trimSuffix": Function(lambda suffix, text: text.removesuffix(suffix), (TEXT, TEXT)),
    "trunc": Function(_trunc, (NUMBER, TEXT)),
    "wrap": Function(lambda width, text: _wrap_with(width, "\n", text, False), (NUMBER, TEXT)),
    "wrapWith": Function(_wrap_with, (NUMBER, TEXT, TEXT)),
}
