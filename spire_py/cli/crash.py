"""What a user sees of what went wrong: one line, never a traceback."""

from __future__ import annotations

import os
import sys
import traceback
from types import TracebackType

TRACEBACK_VARIABLE = "SPIRE_PY_TRACEBACK"
"""Set to anything, it makes a bug show its whole traceback."""
_SHOWN_FRAMES = 4


def os_reason(error: OSError) -> str:
    """What the system says of an error, in lower case as Go's programs print it."""
    return (error.strerror or str(error)).lower()


def describe_os_error(error: OSError) -> str:
    """An error of the system with the file it is about: `open /x: permission denied`."""
    return f"open {error.filename}: {os_reason(error)}" if error.filename else os_reason(error)


def describe_bug(error: BaseException) -> str:
    """A bug as one line: what it is, and the innermost places of our code, innermost first."""
    frames = traceback.extract_tb(error.__traceback__)[: -_SHOWN_FRAMES - 1 : -1]
    places = " < ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames)
    text = " ".join(str(error).split())
    return f"internal error: {type(error).__name__}: {text} (at {places})"


def report_bug(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """An exception hook: one line on stderr; the whole traceback where it is asked for."""
    if os.environ.get(TRACEBACK_VARIABLE):
        sys.__excepthook__(kind, error, trace)
    elif not issubclass(kind, KeyboardInterrupt):
        hint = f"set {TRACEBACK_VARIABLE}=1 to see more; please report it"
        print(f"Error: {describe_bug(error)}; {hint}", file=sys.stderr)
