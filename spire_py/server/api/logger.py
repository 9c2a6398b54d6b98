"""The Logger API: the log level of the running server (feature G16)."""

from __future__ import annotations

from spire_py._proto.spire.api import types_pb2
from spire_py._proto.spire.api.server import logger_pb2
from spire_py.errors import InvalidArgument
from spire_py.telemetry.logs import LogLevel, LogLevels, get_logger
from spire_py.transport import CallContext

log = get_logger("api")


class LoggerServicer:
    """`spire.api.server.logger.v1.Logger`."""

    def __init__(self, *, levels: LogLevels) -> None:
        self._levels = levels

    async def get_logger(
        self, _request: logger_pb2.GetLoggerRequest, _context: CallContext
    ) -> types_pb2.Logger:
        log.info("GetLogger Called")
        return self._state()

    async def set_log_level(
        self, request: logger_pb2.SetLogLevelRequest, _context: CallContext
    ) -> types_pb2.Logger:
        if request.new_level == types_pb2.LogLevel.UNSPECIFIED:
            raise InvalidArgument("newLevel value cannot be LogLevel_UNSPECIFIED")
        try:
            level = LogLevel(request.new_level - 1)
        except ValueError as error:
            raise InvalidArgument("unsupported log level") from error
        log.info("SetLogLevel Called", new_log_level=str(level))
        self._levels.set(level)
        return self._state()

    async def reset_log_level(
        self, _request: logger_pb2.ResetLogLevelRequest, _context: CallContext
    ) -> types_pb2.Logger:
        log.info("ResetLogLevel Called", launch_log_level=str(self._levels.launch))
        self._levels.reset()
        return self._state()

    def _state(self) -> types_pb2.Logger:
        # The API counts from one where logrus counts from zero.
        return types_pb2.Logger(
            current_level=types_pb2.LogLevel.Name(self._levels.current + 1),
            launch_level=types_pb2.LogLevel.Name(self._levels.launch + 1),
        )
