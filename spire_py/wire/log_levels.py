"""Log levels between the daemons' logging and the Logger APIs (features G16, H14).

The API counts from one where logrus counts from zero.
"""

from __future__ import annotations

from spire_py._proto.spire.api import types_pb2
from spire_py.errors import InvalidArgument
from spire_py.telemetry.logs import LogLevel, LogLevels


def log_level_from_pb(number: int) -> LogLevel:
    """The level that a client wants.

    Raises:
        InvalidArgument: there is no such level.
    """
    if number == types_pb2.LogLevel.UNSPECIFIED:
        raise InvalidArgument("newLevel value cannot be LogLevel_UNSPECIFIED")
    try:
        return LogLevel(number - 1)
    except ValueError as error:
        raise InvalidArgument("unsupported log level") from error


def log_levels_to_pb(levels: LogLevels) -> types_pb2.Logger:
    """The levels of now and of the start."""
    return types_pb2.Logger(
        current_level=types_pb2.LogLevel.Name(levels.current + 1),
        launch_level=types_pb2.LogLevel.Name(levels.launch + 1),
    )
