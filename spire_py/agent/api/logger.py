"""The log level of the running agent, on its admin socket (feature H14)."""

from __future__ import annotations

from spire_py._proto.spire.api import types_pb2
from spire_py._proto.spire.api.agent import logger_pb2
from spire_py.errors import InvalidArgument
from spire_py.telemetry.logs import LogLevel, LogLevels, get_logger
from spire_py.transport import CallContext

log = get_logger("api")


class LoggerAPI:
    """`spire.api.agent.logger.v1.Logger`; whoever may open the admin socket may call it."""

    def __init__(self, *, levels: LogLevels) -> None:
        self._levels = levels

    async def get_logger(
        self, _request: logger_pb2.GetLoggerRequest, _context: CallContext
    ) -> types_pb2.Logger:
        """The levels of now and of the start."""
        log.info("GetLogger Called")
        return self._state()

    async def set_log_level(
        self, request: logger_pb2.SetLogLevelRequest, _context: CallContext
    ) -> types_pb2.Logger:
        """Change the level of now.

        Raises:
            InvalidArgument: there is no such level.
        """
        if request.new_level == types_pb2.LogLevel.UNSPECIFIED:
            raise InvalidArgument("newLevel value cannot be LogLevel_UNSPECIFIED")
        try:
            # The API counts from one where logrus counts from zero.
            level = LogLevel(request.new_level - 1)
        except ValueError as error:
            raise InvalidArgument("unsupported log level") from error
        log.info("SetLogLevel Called", new_log_level=str(level))
        self._levels.set(level)
        return self._state()

    async def reset_log_level(
        self, _request: logger_pb2.ResetLogLevelRequest, _context: CallContext
    ) -> types_pb2.Logger:
        """Go back to the level of the start."""
        log.info("ResetLogLevel Called", launch_log_level=str(self._levels.launch))
        self._levels.reset()
        return self._state()

    def _state(self) -> types_pb2.Logger:
        return types_pb2.Logger(
            current_level=types_pb2.LogLevel.Name(self._levels.current + 1),
            launch_level=types_pb2.LogLevel.Name(self._levels.launch + 1),
        )
