"""Log levels between logging and the Logger APIs."""

from __future__ import annotations

import pytest

from spire_py._proto.spire.api import types_pb2
from spire_py.errors import InvalidArgument
from spire_py.telemetry.logs import LogLevel, LogLevels
from spire_py.wire.log_levels import log_level_from_pb, log_levels_to_pb


def test_each_level_comes_back_as_it_went() -> None:
    for level in LogLevel:
        message = log_levels_to_pb(LogLevels(level))
        assert log_level_from_pb(message.launch_level) is level
        assert types_pb2.LogLevel.Name(message.current_level)[:4] == level.name[:4]


def test_level_of_now_is_told_apart_from_that_of_the_start() -> None:
    levels = LogLevels(LogLevel.INFO)
    levels.set(LogLevel.DEBUG)
    message = log_levels_to_pb(levels)
    assert (message.launch_level, message.current_level) == (
        types_pb2.LogLevel.INFO,
        types_pb2.LogLevel.DEBUG,
    )


@pytest.mark.parametrize(
    ("number", "said"),
    [
        pytest.param(0, "newLevel value cannot be LogLevel_UNSPECIFIED", id="unspecified"),
        pytest.param(8, "unsupported log level", id="unknown"),
        pytest.param(-1, "unsupported log level", id="negative"),
    ],
)
def test_what_is_no_level_is_refused(number: int, said: str) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        log_level_from_pb(number)
    assert refusal.value.message == said
