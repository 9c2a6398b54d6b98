"""The log level of the running agent, on its admin socket (feature H14)."""

from __future__ import annotations

from spire_py._proto.spire.api import types_pb2
from spire_py._proto.spire.api.agent import logger_pb2
from spire_py.telemetry.logs import LogLevels, get_logger
from spire_py.transport import CallContext
from spire_py.wire.log_levels import log_level_from_pb, log_levels_to_pb

log = get_logger("api")


class LoggerServicer:
    """`spire.api.agent.logger.v1.Logger`; whoever may open the admin socket may call it."""

    def __init__(self, *, levels: LogLevels) -> None:
        self._levels = levels

    async def get_logger(
        self, _request: logger_pb2.GetLoggerRequest, _context: CallContext
    ) -> types_pb2.Logger:
        """The levels of now and of the start."""
        log.info("GetLogger Called")
        return log_levels_to_pb(self._levels)

    async def set_log_level(
        self, request: logger_pb2.SetLogLevelRequest, _context: CallContext
    ) -> types_pb2.Logger:
        """Change the level of now.

        Raises:
            InvalidArgument: there is no such level.
        """
        level = log_level_from_pb(request.new_level)
        log.info("SetLogLevel Called", new_log_level=str(level))
        self._levels.set(level)
        return log_levels_to_pb(self._levels)

    async def reset_log_level(
        self, _request: logger_pb2.ResetLogLevelRequest, _context: CallContext
    ) -> types_pb2.Logger:
        """Go back to the level of the start."""
        log.info("ResetLogLevel Called", launch_log_level=str(self._levels.launch))
        self._levels.reset()
        return log_levels_to_pb(self._levels)
