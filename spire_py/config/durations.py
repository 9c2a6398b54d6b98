"""Durations as Go writes them: `1h30m`, `500ms`, `-1.5h`."""

from __future__ import annotations

import re
from datetime import timedelta

from spire_py.errors import InvalidArgument

_NANOSECONDS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_TERM = re.compile(r"(?P<whole>[0-9]*)(?:\.(?P<part>[0-9]*))?(?P<unit>[^0-9.]*)")
_MAX_NANOSECONDS = 2**63 - 1
_MAX_TEXT = 100


def parse_duration(text: str) -> timedelta:
    """Read a duration with Go's rules; what is below a microsecond is cut off.

    Raises:
        InvalidArgument: it is none; the wording is that of Go's `time.ParseDuration`.
    """
    invalid = InvalidArgument(f'time: invalid duration "{text[:_MAX_TEXT]}"')
    if len(text) > _MAX_TEXT:
        raise invalid
    sign, rest = (-1, text[1:]) if text.startswith("-") else (1, text.removeprefix("+"))
    if rest == "0":
        return timedelta(0)
    if not rest:
        raise invalid
    total = 0
    while rest:
        term = _TERM.match(rest)
        if term is None or not (term["whole"] or term["part"]):
            raise invalid
        total += _term_nanoseconds(term, text, invalid)
        if total > _MAX_NANOSECONDS:
            raise invalid
        rest = rest[term.end() :]
    return timedelta(microseconds=sign * (total // 1000))


def _term_nanoseconds(term: re.Match[str], text: str, invalid: InvalidArgument) -> int:
    unit = term["unit"]
    if not unit:
        raise InvalidArgument(f'time: missing unit in duration "{text}"')
    if unit not in _NANOSECONDS:
        raise InvalidArgument(f'time: unknown unit "{unit}" in duration "{text}"')
    if len(term["whole"]) > 20:
        raise invalid
    scale = _NANOSECONDS[unit]
    part = (term["part"] or "")[:20]
    fraction = int(part) * scale // 10 ** len(part) if part else 0
    return int(term["whole"] or 0) * scale + fraction


def format_duration(duration: timedelta) -> str:
    """Write a duration as Go does: `1h30m0s`, `1.5s`, `20ms`, `0s`."""
    micros = duration // timedelta(microseconds=1)
    if micros == 0:
        return "0s"
    sign, micros = ("-", -micros) if micros < 0 else ("", micros)
    if micros < 1000:
        return f"{sign}{micros}µs"
    if micros < 1_000_000:
        return f"{sign}{_decimal(micros, 3)}ms"
    minutes, rest = divmod(micros, 60_000_000)
    seconds = f"{_decimal(rest, 6)}s"
    if not minutes:
        return sign + seconds
    hours, minutes = divmod(minutes, 60)
    return f"{sign}{hours}h{minutes}m{seconds}" if hours else f"{sign}{minutes}m{seconds}"


def short_duration(duration: timedelta) -> str:
    """As `format_duration` in whole seconds, without trailing zero units: `4h`, not `4h0m0s`."""
    text = format_duration(timedelta(seconds=duration // timedelta(seconds=1)))
    if text.endswith("m0s"):
        text = text[:-2]
    if text.endswith("h0m"):
        text = text[:-2]
    return text


def _decimal(value: int, places: int) -> str:
    whole, part = divmod(value, 10**places)
    return f"{whole}.{part:0{places}}".rstrip("0").rstrip(".")
