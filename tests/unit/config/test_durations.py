from __future__ import annotations

import contextlib
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spire_py.config.durations import format_duration, parse_duration, short_duration
from spire_py.errors import InvalidArgument


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("0s", 0),
        ("1h30m", 5400),
        ("1.5h", 5400),
        (".5m", 30),
        ("1.m", 60),
        ("-1h", -3600),
        ("+5m", 300),
        ("500ms", 0.5),
        ("1us", 1e-6),
        ("1µs", 1e-6),
        ("1μs", 1e-6),
        ("1999ns", 1e-6),
        ("168h", 604800),
        ("1h1h", 7200),
    ],
)
def test_parse(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", 'time: invalid duration ""'),
        ("abc", 'time: invalid duration "abc"'),
        ("5", 'time: missing unit in duration "5"'),
        ("1d", 'time: unknown unit "d" in duration "1d"'),
        ("1h x", 'time: unknown unit "h x" in duration "1h x"'),
        (".s", 'time: invalid duration ".s"'),
        ("-", 'time: invalid duration "-"'),
        ("9999999h", 'time: invalid duration "9999999h"'),
    ],
)
def test_refusal_is_worded_as_in_go(text: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as error:
        parse_duration(text)
    assert str(error.value) == message


def test_refusal_of_a_long_text_is_short() -> None:
    with pytest.raises(InvalidArgument) as error:
        parse_duration("1" * 10_000 + "h")
    assert len(str(error.value)) < 200


@pytest.mark.parametrize(
    ("duration", "text", "short"),
    [
        (timedelta(0), "0s", "0s"),
        (timedelta(hours=1, minutes=30), "1h30m0s", "1h30m"),
        (timedelta(hours=4), "4h0m0s", "4h"),
        (timedelta(seconds=90), "1m30s", "1m30s"),
        (timedelta(milliseconds=1500), "1.5s", "1s"),
        (timedelta(milliseconds=20), "20ms", "0s"),
        (timedelta(microseconds=1), "1µs", "0s"),
        (timedelta(days=7), "168h0m0s", "168h"),
        (-timedelta(minutes=1), "-1m0s", "-1m"),
    ],
)
def test_format(duration: timedelta, text: str, short: str) -> None:
    assert format_duration(duration) == text
    assert short_duration(duration) == short


@given(st.timedeltas(timedelta(days=-100_000), timedelta(days=100_000)))
def test_what_is_written_is_read_back(duration: timedelta) -> None:
    assert parse_duration(format_duration(duration)) == duration


@given(st.text(max_size=20) | st.text("0123456789.hmsuµn-+ ", max_size=20))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidArgument):
        assert isinstance(parse_duration(text), timedelta)
