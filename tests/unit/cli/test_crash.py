from __future__ import annotations

import sys

import pytest

from spire_py.cli.crash import (
    TRACEBACK_VARIABLE,
    describe_bug,
    describe_os_error,
    os_reason,
    report_bug,
)


def bug() -> BaseException:
    try:
        int("two\nlines")
    except ValueError as error:
        return error
    raise AssertionError


def test_a_bug_is_one_line_with_its_place() -> None:
    text = describe_bug(bug())
    assert "\n" not in text
    assert text.startswith("internal error: ValueError: invalid literal")
    assert "test_crash.py:" in text


def test_a_traceback_is_shown_only_where_it_is_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    error = bug()
    monkeypatch.delenv(TRACEBACK_VARIABLE, raising=False)
    report_bug(type(error), error, error.__traceback__)
    line = capsys.readouterr().err
    assert line.startswith("Error: internal error: ValueError")
    assert line.count("\n") == 1
    assert TRACEBACK_VARIABLE in line
    monkeypatch.setenv(TRACEBACK_VARIABLE, "1")
    report_bug(type(error), error, error.__traceback__)
    assert capsys.readouterr().err.startswith("Traceback (most recent call last)")


def test_an_interrupt_is_no_bug(capsys: pytest.CaptureFixture[str]) -> None:
    report_bug(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert capsys.readouterr().err == ""
    assert sys.excepthook is not report_bug


@pytest.mark.parametrize(
    ("error", "reason", "text"),
    [
        pytest.param(
            FileNotFoundError(2, "No such file or directory", "/x"),
            "no such file or directory",
            "open /x: no such file or directory",
            id="file",
        ),
        pytest.param(OSError(28, "No space left"), "no space left", "no space left", id="no file"),
        pytest.param(OSError("Odd"), "odd", "odd", id="no number"),
    ],
)
def test_an_error_of_the_system_reads_as_in_go(error: OSError, reason: str, text: str) -> None:
    assert os_reason(error) == reason
    assert describe_os_error(error) == text
