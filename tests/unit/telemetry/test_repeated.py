"""A failure that repeats is warned of three times; its end is told."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest

from spire_py.errors import Unavailable
from spire_py.telemetry.logs import LogLevel, configure_logging, get_logger
from spire_py.telemetry.repeated import RepeatedFailures


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    configure_logging("DEBUG", stream=stream)
    yield stream
    configure_logging()


def levels(lines: io.StringIO) -> list[str]:
    return [line.split("level=")[1].split()[0] for line in lines.getvalue().splitlines()]


def test_fourth_failure_is_for_those_who_debug(lines: io.StringIO) -> None:
    failures = RepeatedFailures(get_logger("test"))
    for _ in range(4):
        failures.failed("it broke", Unavailable("away"))
    assert levels(lines) == ["warning"] * 3 + ["debug"]


def test_end_of_failures_is_told_once_and_the_count_begins_anew(lines: io.StringIO) -> None:
    failures = RepeatedFailures(get_logger("test"), LogLevel.ERROR)
    failures.succeeded("it broke", "it_works")
    for _ in range(5):
        failures.failed("it broke", Unavailable("away"))
    failures.succeeded("it broke", "it_works", what="that")
    failures.succeeded("it broke", "it_works")
    failures.failed("it broke", Unavailable("away"))
    assert levels(lines) == ["error"] * 3 + ["debug"] * 2 + ["info", "error"]
    assert "msg=it_works failures=5 subsystem_name=test what=that" in lines.getvalue()


def test_each_sentence_counts_by_itself(lines: io.StringIO) -> None:
    failures = RepeatedFailures(get_logger("test"))
    for sentence in ("one", "other") * 3:
        failures.failed(sentence, Unavailable("away"))
    assert levels(lines) == ["warning"] * 6
