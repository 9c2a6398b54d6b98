"""True and false as Go reads them (`strconv.ParseBool`): in configurations, flags and metadata."""

from __future__ import annotations

_WORDS = {
    **dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True),
    **dict.fromkeys(("0", "f", "F", "FALSE", "false", "False"), False),
}


def parse_boolean(text: str) -> bool | None:
    """What the text says; None where it is neither."""
    return _WORDS.get(text)
