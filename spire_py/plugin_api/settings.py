"""Reads a plugin's `plugin_data`: HCL or JSON, where a number or a flag may stand as text (A27)."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from spire_py.errors import InvalidArgument
from spire_py.plugin_api.context import PluginContext
from spire_py.runtime.booleans import parse_boolean


class Settings:
    """The settings of one plugin. Read each key that is known, then call `finish`.

    Faults are gathered and raised together by `finish`; until then a faulty key reads as its
    default. A key that was never asked for becomes a warning.
    """

    def __init__(self, data: Mapping[str, Any], context: PluginContext) -> None:
        self._data = data
        self._context = context
        self._known: list[str] = []
        self._faults: list[str] = []

    def text(self, key: str, default: str = "", *, required: bool = False) -> str:
        """A text; where it is `required`, it must not be empty."""
        value = self._get(key, default)
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str):
            self.fault(f"{key} must be a string")
            return default
        if required and not value:
            self.fault(f"{key} is required")
        return value

    def integer(self, key: str, default: int) -> int:
        """A whole number."""
        value = self._get(key, default)
        if isinstance(value, str):
            try:
                value = int(value)
            except ValueError:
                value = None
        if not isinstance(value, int) or isinstance(value, bool):
            self.fault(f"{key} must be an integer")
            return default
        return value

    def flag(self, key: str, default: bool = False) -> bool:
        """True or false."""
        value = self._get(key, default)
        if isinstance(value, str):
            value = parse_boolean(value)
        if not isinstance(value, bool):
            self.fault(f"{key} must be true or false")
            return default
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts; a single text counts as a list of one."""
        value = self._get(key, [])
        if isinstance(value, str):
            value = [value]
        if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
            self.fault(f"{key} must be a list of strings")
            return ()
        return tuple(value)

    def has(self, key: str) -> bool:
        """Whether the key is set at all."""
        self._known.append(key)
        return key in self._data

    def fault(self, message: str) -> None:
        """Something is wrong that the configuration must change."""
        self._faults.append(message)

    def finish(self) -> None:
        """Warn of keys that nobody asked for.

        Raises:
            InvalidArgument: something is wrong; the message names all of it.
        """
        for key in self._data:
            if key not in self._known:
                self._context.warnings.append(
                    f'unknown setting "{key}" encountered{self._hint(key)}{self._line(key)}'
                )
        if self._faults:
            raise InvalidArgument("; ".join(self._faults))

    def _get(self, key: str, default: object) -> object:
        self._known.append(key)
        return self._data.get(key, default)

    def _line(self, key: str) -> str:
        """Where the key stands; data that came from a file knows its lines."""
        lines: Mapping[str, int] = getattr(self._data, "lines", {})
        return f" (line {lines[key]})" if key in lines else ""

    def _hint(self, key: str) -> str:
        nearest = difflib.get_close_matches(key, self._known, n=1)
        return f'; did you mean "{nearest[0]}"?' if nearest else ""
