"""What commands print: text as SPIRE prints it, or JSON (feature E31)."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from spire_py.cli.flags import Flag, Flags, Kind

_SECONDS_OF_400_YEARS = 146_097 * 86_400
OUTPUT_FLAG = Flag("output", "pretty or json", Kind.OUTPUT, default="pretty")


def print_messages(flags: Flags, pretty: Callable[[], int], *messages: Message) -> int:
    """Print in the format that `-output` asks for; the exit code comes back.

    JSON is one object for one message and a list for several; its exit code is 0.
    """
    if flags.text("output").lower() == "pretty":
        return pretty()
    objects = [message_to_object(message) for message in messages]
    print(go_json(objects[0] if len(objects) == 1 else objects))
    return 0


def message_to_object(message: Message) -> dict[str, Any]:
    """A message as SPIRE's JSON has it: proto names, zero values shown, 64-bit numbers as text."""
    return MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def go_json(value: object) -> str:
    """JSON as Go's encoder writes it: sorted keys, no spaces, `<`, `>` and `&` escaped."""
    text = json.dumps(
        _whole_numbers(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _whole_numbers(value: object) -> object:
    """Numbers of a `Struct`, such as a token's `exp`, are floats; Go shows whole ones as such."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _whole_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole_numbers(item) for item in value]
    return value


def count_of(number: int, singular: str, plural: str) -> str:
    """`1 agent`, `2 agents`."""
    return f"{number} {singular if number == 1 else plural}"


def go_time(seconds: int) -> str:
    """A time in UTC, as Go prints it: `2006-01-02 15:04:05 +0000 UTC`."""
    return _go_time(seconds, UTC)


def go_local_time(seconds: int) -> str:
    """A time in the machine's zone, as Go prints it: `2006-01-02 15:04:05 +0100 CET`."""
    return _go_time(seconds, None)


def _go_time(seconds: int, zone: tzinfo | None) -> str:
    # The calendar repeats every 400 years; so a year that `datetime` does not know is shown too.
    cycles, rest = divmod(seconds, _SECONDS_OF_400_YEARS)
    moment = datetime.fromtimestamp(rest, UTC).astimezone(zone)
    return f"{moment.year + 400 * cycles:04d}-{moment:%m-%d %H:%M:%S %z %Z}"


def go_duration(seconds: float) -> str:
    """A short duration as Go prints it, such as `5.2ms` or `1.5s`."""
    for factor, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= factor:
            return f"{seconds / factor:.6f}".rstrip("0").rstrip(".") + unit
    return f"{seconds * 1e9:.0f}ns"


def on_one_line(value: object) -> str:
    """A value of a stranger's, such as an agent's version, that begins no line of its own.

    Nor does it tell the terminal anything: what is not printable is shown escaped.
    """
    text = str(value)
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def quoted(text: str) -> str:
    """Text in double quotes, as Go's %q prints it."""
    return json.dumps(text, ensure_ascii=False)
