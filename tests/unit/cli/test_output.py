from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spire_py._proto.spire.api import types_pb2 as types
from spire_py.cli.output import (
    count_of,
    go_duration,
    go_json,
    go_local_time,
    go_time,
    message_to_object,
    quoted,
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        pytest.param(0, "1970-01-01 00:00:00 +0000 UTC", id="0"),
        pytest.param(1_795_420_700, "2026-11-23 07:58:20 +0000 UTC", id="now"),
        pytest.param(4_000_000_000, "2096-10-02 07:06:40 +0000 UTC", id="2096"),
        pytest.param(-1, "1969-12-31 23:59:59 +0000 UTC", id="before 1970"),
        pytest.param(253_402_300_800, "10000-01-01 00:00:00 +0000 UTC", id="year 10000"),
        pytest.param(10**17, "3168875820-09-06 09:46:40 +0000 UTC", id="far"),
    ],
)
def test_times_are_shown_as_go_shows_them(seconds: int, text: str) -> None:
    assert go_time(seconds) == text


@given(st.integers(min_value=-(2**63), max_value=2**63 - 1))
def test_no_time_of_the_wire_is_too_much(seconds: int) -> None:
    assert go_time(seconds).endswith(" +0000 UTC")


def test_a_local_time_names_its_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        assert go_local_time(1_795_420_700) == "2026-11-23 08:58:20 +0100 CET"
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        pytest.param(1.5, "1.5s", id="seconds"),
        pytest.param(0.0052, "5.2ms", id="milliseconds"),
        pytest.param(0.000_25, "250µs", id="microseconds"),
        pytest.param(5e-9, "5ns", id="nanoseconds"),
    ],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert go_duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param({"b": 1, "a": [True, None]}, '{"a":[true,null],"b":1}', id="sorted, no space"),
        pytest.param("<a&b>", '"\\u003ca\\u0026b\\u003e"', id="escaped for HTML"),
        pytest.param("grüße", '"grüße"', id="UTF-8"),
        pytest.param({"exp": 1.0, "x": [2.0, 2.5]}, '{"exp":1,"x":[2,2.5]}', id="whole numbers"),
    ],
)
def test_json_is_written_as_go_writes_it(value: object, text: str) -> None:
    assert go_json(value) == text


def test_a_message_shows_its_zero_values_and_no_absent_message() -> None:
    shown = message_to_object(types.Entry(id="x", expires_at=5))
    assert shown["admin"] is False
    assert shown["expires_at"] == "5"
    assert shown["selectors"] == []
    assert "spiffe_id" not in shown


def test_counts_and_quotes() -> None:
    assert count_of(1, "entry", "entries") == "1 entry"
    assert count_of(0, "entry", "entries") == "0 entries"
    assert quoted('a "b"') == '"a \\"b\\""'
