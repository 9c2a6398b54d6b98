"""Logging: structlog in front, SPIRE's formats behind (features A17, A18, C21, G16, P7 to P10).

A line is `log.info("Starting Server APIs", address=…, network="tcp")`: the message is a constant,
SPIRE's sentence where SPIRE has one, and the facts are fields, by SPIRE's names.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from datetime import datetime
from enum import IntEnum
from pathlib import Path
from typing import Any, TextIO

import structlog

from spire_py.config.problems import ConfigWarning
from spire_py.errors import FailedPrecondition, InvalidArgument
from spire_py.telemetry.render import json_line, text_line

_FILE_MODE = 0o640
_SECRETS = frozenset(
    {
        "app_secret",
        "connection_string",
        "join_token",
        "key_pem",
        "passphrase",
        "password",
        "private_key",
        "ro_connection_string",
        "secret",
        "secret_access_key",
        "secret_token",
        "token",
    }
)
"""Fields whose values never reach the log, whoever asks for it."""
_HIDDEN = "<hidden>"


class LogLevel(IntEnum):
    """The levels of logrus, by its numbers; `spire.api.types.LogLevel` has them one higher."""

    PANIC = 0
    FATAL = 1
    ERROR = 2
    WARNING = 3
    INFO = 4
    DEBUG = 5
    TRACE = 6

    @classmethod
    def parse(cls, text: str) -> LogLevel:
        """Read a level, in upper or lower case; `warn` is `warning`.

        Raises:
            InvalidArgument: it is none.
        """
        name = text.upper()
        if name == "WARN":
            return cls.WARNING
        if name in cls.__members__:
            return cls[name]
        raise InvalidArgument(f'not a valid logrus Level: "{text}"')

    def __str__(self) -> str:
        return self.name.lower()


class LogLevels:
    """The level that counts now, and the one the daemon was started with (features G16, H14)."""

    def __init__(self, launch: LogLevel = LogLevel.INFO) -> None:
        self._launch = launch
        self._current = launch

    @property
    def current(self) -> LogLevel:
        return self._current

    @property
    def launch(self) -> LogLevel:
        return self._launch

    def set(self, level: LogLevel) -> None:
        """Let lines of this level and above through from now on."""
        self._current = level

    def reset(self) -> None:
        """Go back to the level of the start."""
        self._current = self._launch


def _local_now() -> datetime:
    return datetime.now().astimezone()


class Logging:
    """Where lines go and which. There is one in a process: `configure_logging` sets it up."""

    def __init__(self) -> None:
        self.levels = LogLevels()
        self._format = ""
        self._path: Path | None = None
        self._stream: TextIO | None = None
        self._source_location = False
        self._now: Callable[[], datetime] = _local_now
        self._lock = threading.Lock()

    def configure(
        self,
        *,
        level: LogLevel,
        format: str,  # noqa: A002 - the name of SPIRE's key ends so
        path: Path | None,
        source_location: bool,
        stream: TextIO | None,
        now: Callable[[], datetime],
    ) -> None:
        """Take new settings; a file that was open before is closed.

        Raises:
            FailedPrecondition: the file cannot be opened.
        """
        opened = stream if path is None else _open(path)
        former = self._stream if self._path is not None else None
        self._stream, self._path = opened, path
        if former is not None:
            former.close()
        self.levels = LogLevels(level)
        self._format = format.lower()
        self._source_location = source_location
        self._now = now

    def reopen(self) -> None:
        """Open the log file anew, after it was moved away (feature A18). Nothing without a file.

        A failure is logged and the file that is open stays in use.
        """
        if self._path is None:
            return
        try:
            fresh = _open(self._path)
        except FailedPrecondition as error:
            get_logger().error("failed to rotate log after signal", error=str(error))
            return
        with self._lock:
            former, self._stream = self._stream, fresh
        if former is not None:
            former.close()
        get_logger().info("Reopened log file")

    def render(self, level: str, message: str, fields: Mapping[str, Any]) -> str:
        """One line, as configured."""
        if self._source_location:
            fields = {**fields, **_source_location()}
        now = self._now()
        if self._format == "json":
            return json_line(now, level, message, fields)
        return text_line(now, level, message, fields, fractions=self._format == "text")

    def write(self, line: str) -> None:
        """Put a line out. A reader that is gone must not stop the daemon."""
        with self._lock:
            stream = self._stream if self._stream is not None else sys.stdout
            try:
                stream.write(line + "\n")
                stream.flush()
            except (OSError, ValueError):
                # ValueError: the stream was closed under us.
                return


_LOGGING = Logging()


def configure_logging(
    level: str = "INFO",
    format: str = "",  # noqa: A002 - the name of SPIRE's key ends so
    file: str = "",
    source_location: bool = False,
    *,
    stream: TextIO | None = None,
    now: Callable[[], datetime] | None = None,
) -> Logging:
    """Set up the process's logging. Loggers made before take part too.

    Args:
        level: `PANIC` to `TRACE`.
        format: empty or `text` for logrus's text (empty: times without fractions), or `json`.
        file: appended to; empty for standard output.
        source_location: add `file` and `func` to each line.
        stream: instead of standard output.
        now: the local time.

    Raises:
        InvalidArgument: unknown level or format.
        FailedPrecondition: the file cannot be opened.
    """
    if format.lower() not in ("", "text", "json"):
        raise InvalidArgument(f'unknown logger format: "{format}"')
    _LOGGING.configure(
        level=LogLevel.parse(level),
        format=format,
        path=Path(file) if file else None,
        source_location=source_location,
        stream=stream,
        now=now or _local_now,
    )
    _route_stdlib()
    return _LOGGING


class Logger(structlog.BoundLoggerBase):
    """Writes lines at a level, if that level is on."""

    def trace(self, event: str, **facts: Any) -> None:
        self._log(LogLevel.TRACE, event, facts)

    def debug(self, event: str, **facts: Any) -> None:
        self._log(LogLevel.DEBUG, event, facts)

    def info(self, event: str, **facts: Any) -> None:
        self._log(LogLevel.INFO, event, facts)

    def warning(self, event: str, **facts: Any) -> None:
        self._log(LogLevel.WARNING, event, facts)

    def error(self, event: str, **facts: Any) -> None:
        self._log(LogLevel.ERROR, event, facts)

    def exception(self, event: str, **facts: Any) -> None:
        """As `error`, with the traceback of the exception being handled; for bugs."""
        self._log(LogLevel.ERROR, event, {"exc_info": True, **facts})

    def fatal(self, event: str, **facts: Any) -> None:
        """The line only; ending the process is the caller's."""
        self._log(LogLevel.FATAL, event, facts)

    def panic(self, event: str, **facts: Any) -> None:
        """The line only; see `fatal`."""
        self._log(LogLevel.PANIC, event, facts)

    def log(self, level: LogLevel, event: str, **facts: Any) -> None:
        """A line at a level that is chosen at run time."""
        self._log(level, event, facts)

    def enabled(self, level: LogLevel) -> bool:
        """Whether lines of this level are written; for facts that are dear to find out."""
        return level <= _LOGGING.levels.current

    def _log(self, level: LogLevel, event: str, facts: Mapping[str, Any]) -> None:
        if level <= _LOGGING.levels.current:
            self._proxy_to_logger(str(level), event, **facts)

    def bind(self, **facts: Any) -> Logger:
        """A logger that adds these facts to each of its lines."""
        bound = super().bind(**facts)
        assert isinstance(bound, Logger)
        return bound


class _Output:
    """What structlog calls with a line that is ready; the level was looked at before."""

    def __getattr__(self, name: str) -> Callable[[str], None]:
        return _LOGGING.write


def _hide_secrets(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    for key in _SECRETS.intersection(event):
        event[key] = _HIDDEN
    return event


def _traceback(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    wanted = event.pop("exc_info", None)
    error = sys.exc_info()[1] if wanted is True else wanted
    if isinstance(error, BaseException):
        event.setdefault("error", str(error) or type(error).__name__)
        event["traceback"] = "".join(traceback.format_exception(error))
    return event


def _render(_logger: object, method: str, event: MutableMapping[str, Any]) -> str:
    message = str(event.pop("event", ""))
    if "event_type" in event:
        # SPIRE has a fact of the name that is structlog's own for the message.
        event["event"] = event.pop("event_type")
    return _LOGGING.render(method, message, event)


_PROCESSORS = (_hide_secrets, _traceback, _render)


def get_logger(subsystem: str = "", **facts: Any) -> Logger:
    """A logger; `subsystem` is the `subsystem_name` of its lines."""
    if subsystem:
        facts["subsystem_name"] = subsystem
    return Logger(_Output(), _PROCESSORS, facts)


def log_config_warnings(log: Logger, warnings: Iterable[ConfigWarning]) -> None:
    """Log what the configuration's reader found, with SPIRE's marks for what is deprecated."""
    for warning in warnings:
        facts: dict[str, Any] = {} if warning.line is None else {"line": warning.line}
        if warning.deprecated:
            facts |= {"alert": True, "alert_type": "deprecated_config"}
        log.warning(warning.message, **facts)


class _StdlibHandler(logging.Handler):
    """Hands lines of the standard library's logging on, such as asyncio's."""

    def emit(self, record: logging.LogRecord) -> None:
        level = LogLevel.ERROR if record.levelno >= logging.ERROR else LogLevel.WARNING
        facts: dict[str, Any] = {}
        if record.exc_info and record.exc_info[1]:
            facts["exc_info"] = record.exc_info[1]
        get_logger(record.name).log(level, record.getMessage(), **facts)


def _route_stdlib() -> None:
    # Libraries show headers and SQL parameters below this level: they may hold secrets.
    root = logging.getLogger()
    root.setLevel(logging.WARNING)
    if not any(isinstance(handler, _StdlibHandler) for handler in root.handlers):
        root.addHandler(_StdlibHandler())


def _open(path: Path) -> TextIO:
    try:
        descriptor = os.open(path, os.O_APPEND | os.O_CREAT | os.O_WRONLY, _FILE_MODE)
    except OSError as error:
        raise FailedPrecondition(f"unable to open log file {path}: {error.strerror}") from error
    return os.fdopen(descriptor, "a", encoding="utf-8", errors="backslashreplace")


def _source_location() -> dict[str, str]:
    """Who wrote the line: the nearest frame outside of structlog and this module."""
    frame = sys._getframe(1)  # noqa: SLF001 - there is no public way that is cheap
    while frame.f_back is not None:
        module = frame.f_globals.get("__name__", "")
        if module != __name__ and not module.startswith(("structlog", "logging")):
            break
        frame = frame.f_back
    code = frame.f_code
    return {
        "file": f"{Path(code.co_filename).name}:{frame.f_lineno}",
        "func": f"{frame.f_globals.get('__name__', '')}.{code.co_qualname}",
    }
