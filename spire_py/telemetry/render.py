"""Log lines as SPIRE writes them: logrus's text and JSON formats."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any

from spire_py.config.durations import format_duration

_PLAIN = re.compile(r"[A-Za-z0-9\-._/@^+]*")
_MARKS = re.compile(r'["\\]')
MAX_VALUE_CHARACTERS = 16_384
"""Of a value or message in a line; what is longer is cut: a peer may have written it."""

_FIXED = ("time", "level", "msg", "logrus_error")
_ESCAPES = {
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
    "\\": "\\\\",
    '"': '\\"',
}
_HTML = str.maketrans(
    {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
)


def text_line(
    time: datetime, level: str, message: str, fields: Mapping[str, Any], *, fractions: bool
) -> str:
    """One line of logrus's text format, without its newline; fields are sorted by name."""
    parts = [f"time={_quoted(rfc3339(time, fractions=fractions))}", f"level={level}"]
    if message:
        parts.append(f"msg={_quoted(message)}")
    fields = _without_clashes(fields)
    parts.extend(f"{key}={_quoted(go_text(fields[key]))}" for key in sorted(fields))
    return " ".join(parts)


def json_line(time: datetime, level: str, message: str, fields: Mapping[str, Any]) -> str:
    """One line of logrus's JSON format, without its newline; all keys are sorted by name."""
    data = {key: _json_value(value) for key, value in _without_clashes(fields).items()}
    data.update(time=rfc3339(time, fractions=True), level=level, msg=_bounded(message))
    text = json.dumps(data, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "replace").decode().translate(_HTML)


def rfc3339(time: datetime, *, fractions: bool) -> str:
    """A time as Go writes RFC 3339; with fractions, trailing zeros of the fraction are left out."""
    text = time.replace(tzinfo=None).isoformat(timespec="seconds")
    if fractions and time.microsecond:
        text += f".{time.microsecond:06}".rstrip("0")
    offset = time.utcoffset()
    if not offset:
        return text + "Z"
    sign = "-" if offset < timedelta(0) else "+"
    hours, minutes = divmod(abs(offset) // timedelta(minutes=1), 60)
    return f"{text}{sign}{hours:02}:{minutes:02}"


def go_text(value: object) -> str:
    """A value as Go's `fmt.Sprint` shows it."""
    if isinstance(value, str):
        return value.value if isinstance(value, Enum) else value
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, timedelta):
        return format_duration(value)
    if isinstance(value, datetime):
        return _go_time(value)
    if isinstance(value, Mapping):
        items = (f"{go_text(key)}:{go_text(value[key])}" for key in sorted(value, key=str))
        return f"map[{' '.join(items)}]"
    if isinstance(value, (list, tuple, set, frozenset)):
        return f"[{' '.join(go_text(item) for item in value)}]"
    if isinstance(value, (bytes, bytearray)):
        return value.hex()
    return str(value)


def _go_time(value: datetime) -> str:
    local = value.astimezone()
    text = local.strftime("%Y-%m-%d %H:%M:%S")
    if local.microsecond:
        text += f".{local.microsecond:06}".rstrip("0")
    return f"{text} {local.strftime('%z')} {local.strftime('%Z')}"


def _json_value(value: object) -> object:
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, timedelta):
        return value // timedelta(microseconds=1) * 1000
    if isinstance(value, datetime):
        return rfc3339(
            value.astimezone() if value.tzinfo else value.replace(tzinfo=UTC), fractions=True
        )
    text = go_text(value)
    if len(text) > MAX_VALUE_CHARACTERS:
        return _bounded(text)
    if isinstance(value, Mapping):
        return {go_text(key): _json_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_json_value(item) for item in value]
    return text


def _without_clashes(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Fields that have the name of one of logrus's own get a prefix."""
    if not any(name in fields for name in _FIXED):
        return fields
    return {f"fields.{key}" if key in _FIXED else key: value for key, value in fields.items()}


def _bounded(text: str) -> str:
    if len(text) <= MAX_VALUE_CHARACTERS:
        return text
    return f"{text[:MAX_VALUE_CHARACTERS]}...({len(text)} characters)"


def _quoted(text: str) -> str:
    text = _bounded(text)
    if _PLAIN.fullmatch(text):
        return text
    if text.isprintable() and not _MARKS.search(text):
        return f'"{text}"'
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    code = ord(character)
    if code < 0x80:
        return f"\\x{code:02x}"
    if 0xD800 <= code <= 0xDFFF:
        return "\ufffd"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
