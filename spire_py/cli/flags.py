"""Command line flags as Go programs read them, because SPIRE's users and scripts write them so.

One dash or two; `-name value` or `-name=value`; a switch stands alone or says `-name=false`; the
first word that is no flag, or `--`, ends them. `argparse` reads several of these forms otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, auto

from spire_py.errors import InvalidArgument
from spire_py.runtime.booleans import parse_boolean


class FlagError(Exception):
    """The words of a command line do not fit its flags; the message says which and why.

    `hint` is a sentence that helps, where there is one.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class HelpRequested(Exception):
    """The words ask for the help text."""


class Kind(Enum):
    """What a flag holds."""

    TEXT = auto()
    NUMBER = auto()
    SWITCH = auto()
    TEXTS = auto()
    """May be given more than once."""
    COMMA_TEXTS = auto()
    """One value, or several with commas between."""
    DURATION = auto()
    OUTPUT = auto()
    """`pretty` or `json`."""


_KIND_NAMES = {Kind.TEXT: " string", Kind.SWITCH: "", Kind.NUMBER: " int"}


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag of a command; `default`, shown in the help text, counts where it is absent."""

    name: str
    help: str
    kind: Kind = Kind.TEXT
    default: str = ""


class Flags:
    """The flags of one command line, read and checked."""

    def __init__(self, declared: Sequence[Flag], values: Mapping[str, list[str]]) -> None:
        self._declared = {flag.name: flag for flag in declared}
        self._values = values

    def given(self, name: str) -> bool:
        """Whether the flag stands on the command line."""
        return name in self._values

    def text(self, name: str) -> str:
        values = self._values.get(name)
        return values[-1] if values else self._declared[name].default

    def texts(self, name: str) -> list[str]:
        values = self._values.get(name, [])
        if self._declared[name].kind is Kind.COMMA_TEXTS:
            return [part for value in values for part in value.split(",") if part]
        return list(values)

    def number(self, name: str) -> int:
        return int(self.text(name) or "0")

    def switch(self, name: str) -> bool:
        return bool(parse_boolean(self.text(name)))

    def duration(self, name: str) -> timedelta:
        return _parse_duration(self.text(name))

    def overrides(self) -> dict[str, str]:
        """All flags that were given, as text: they win over a config file (feature A28)."""
        return {name: values[-1] for name, values in self._values.items()}


def parse(declared: Sequence[Flag], words: Sequence[str]) -> tuple[Flags, list[str]]:
    """Read `words`; what is left over after the flags comes second.

    Raises:
        FlagError: an unknown flag, a missing or an unreadable value. The wording is Go's.
        HelpRequested: `-h` or `-help` is among them.
    """
    known = {flag.name: flag for flag in declared}
    values: dict[str, list[str]] = {}
    rest = list(words)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word == "--":
            break
        name, equals, value = word.removeprefix("-").removeprefix("-").partition("=")
        if not name or name.startswith("-"):
            raise FlagError(f"bad flag syntax: {word}")
        if name in {"h", "help"} and name not in known:
            raise HelpRequested
        if name not in known:
            raise FlagError(f"flag provided but not defined: -{name}", _nearest(name, known))
        flag = known[name]
        if not equals:
            if flag.kind is Kind.SWITCH:
                value = "true"
            elif not rest:
                raise FlagError(f"flag needs an argument: -{name}")
            else:
                value = rest.pop(0)
        _check(flag, value)
        values.setdefault(name, []).append(value)
    return Flags(declared, values), rest


def _nearest(name: str, known: Iterable[str]) -> str:
    import difflib

    folded = {flag.casefold(): flag for flag in known}
    close = difflib.get_close_matches(name.casefold(), folded, n=1)
    return f"Did you mean -{folded[close[0]]}?" if close else ""


def usage(title: str, declared: Sequence[Flag]) -> str:
    """The help text: each flag with its default."""
    lines = [f"Usage of {title}:"]
    for flag in sorted(declared, key=lambda flag: flag.name):
        kind = _KIND_NAMES.get(flag.kind, " value")
        default = f" (default {flag.default})" if flag.default else ""
        lines += [f"  -{flag.name}{kind}", f"    \t{flag.help}{default}"]
    return "\n".join(lines)


def _check(flag: Flag, value: str) -> None:
    if flag.kind is Kind.SWITCH and parse_boolean(value) is None:
        raise FlagError(f'invalid boolean value "{value}" for -{flag.name}: parse error')
    if flag.kind is Kind.NUMBER and not re.fullmatch(r"[+-]?[0-9]{1,18}", value):
        raise FlagError(f'invalid value "{value}" for flag -{flag.name}: parse error')
    if flag.kind is Kind.OUTPUT and value.lower() not in {"pretty", "json"}:
        raise FlagError(
            f'invalid value "{value}" for flag -{flag.name}: '
            f'bad formatter flag: unknown format option: "{value}"'
        )
    if flag.kind is Kind.DURATION:
        try:
            _parse_duration(value)
        except InvalidArgument as error:
            raise FlagError(
                f'invalid value "{value}" for flag -{flag.name}: {error}',
                "A duration is written such as 5s, 1m30s or 500ms.",
            ) from error


def _parse_duration(text: str) -> timedelta:
    from spire_py.config.durations import parse_duration

    return parse_duration(text)
