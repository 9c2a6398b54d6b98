"""What is wrong with a configuration: faults that stop the start, and warnings that do not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from spire_py.errors import InvalidArgument


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault. `line` is where it stands in the file; None where nothing stands there."""

    message: str
    line: int | None = None

    def __str__(self) -> str:
        return _with_line(self.message, self.line)


@dataclass(frozen=True, slots=True)
class ConfigWarning:
    """Something that works and that the user should know of.

    `deprecated` ones are logged with SPIRE's fields for it (feature P9).
    """

    message: str
    line: int | None = None
    deprecated: bool = False

    def __str__(self) -> str:
        return _with_line(self.message, self.line)


class ConfigProblems(InvalidArgument):
    """All faults of a configuration at once, one to a line of the message."""

    def __init__(
        self, problems: Iterable[Problem], warnings: Iterable[ConfigWarning] = (), prefix: str = ""
    ) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: problem.line or 0))
        self.warnings = tuple(warnings)
        super().__init__(prefix + "\n".join(str(problem) for problem in self.problems))


def _with_line(message: str, line: int | None) -> str:
    return message if line is None else f"{message} (line {line})"
