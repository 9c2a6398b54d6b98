from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from spire_py.config.problems import ConfigWarning
from spire_py.errors import FailedPrecondition, InvalidArgument
from spire_py.telemetry.logs import (
    Logging,
    LogLevel,
    configure_logging,
    get_logger,
    log_config_warnings,
)
from spire_py.telemetry.render import json_line, text_line

NOW = datetime(2026, 1, 2, 3, 4, 5, 678900, tzinfo=UTC)
TIME = 'time="2026-01-02T03:04:05Z"'

log = get_logger("endpoints")
"""Made before logging is set up, as modules do."""


class Captured:
    def __init__(self) -> None:
        self.stream = io.StringIO()
        self.logging: Logging

    def configure(self, level: str = "INFO", format: str = "", **options: bool) -> None:  # noqa: A002
        self.logging = configure_logging(
            level, format, stream=self.stream, now=lambda: NOW, **options
        )

    @property
    def lines(self) -> list[str]:
        return self.stream.getvalue().splitlines()


@pytest.fixture
def captured() -> Iterator[Captured]:
    captured = Captured()
    captured.configure()
    yield captured
    root = logging.getLogger()
    for handler in list(root.handlers):
        if type(handler).__module__ == "spire_py.telemetry.logs":
            root.removeHandler(handler)
    root.setLevel(logging.WARNING)
    configure_logging(stream=io.StringIO())


def test_text_line_is_that_of_logrus(captured: Captured) -> None:
    log.info("Starting Server APIs", network="tcp", address="127.0.0.1:8081")
    assert captured.lines == [
        (
            f'{TIME} level=info msg="Starting Server APIs" address="127.0.0.1:8081" network=tcp '
            "subsystem_name=endpoints"
        )
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param("plain-1.2_/@^+", "plain-1.2_/@^+", id="plain"),
        pytest.param("", "", id="empty"),
        pytest.param("a b", '"a b"', id="space"),
        pytest.param('q"\\', '"q\\"\\\\"', id="quotes"),
        pytest.param("a\nb\x01\x7f", '"a\\nb\\x01\\x7f"', id="control"),
        pytest.param("é😀", '"é😀"', id="letters"),
        pytest.param("\u200b\U000e0001", '"\\u200b\\U000e0001"', id="not printable"),
        pytest.param("\ud800", '"\ufffd"', id="surrogate"),
        pytest.param(5, "5", id="number"),
        pytest.param(1.5, "1.5", id="fraction"),
        pytest.param(True, "true", id="true"),
        pytest.param(None, '"<nil>"', id="nothing"),
        pytest.param(["a", "b"], '"[a b]"', id="list"),
        pytest.param({"b": 1, "a": True}, '"map[a:true b:1]"', id="map"),
        pytest.param(timedelta(minutes=1), "1m0s", id="duration"),
        pytest.param(b"\x01\xff", "01ff", id="bytes"),
        pytest.param(LogLevel.DEBUG, "debug", id="object"),
    ],
)
def test_value_is_written_as_go_writes_it(captured: Captured, value: object, text: str) -> None:
    log.info("m", x=value)
    assert captured.lines == [f"{TIME} level=info msg=m subsystem_name=endpoints x={text}"]


def test_text_format_has_fractions_of_seconds(captured: Captured) -> None:
    captured.configure(format="text")
    log.info("m")
    assert captured.lines[0].startswith('time="2026-01-02T03:04:05.6789Z" ')


def test_offset_of_local_time_is_written(captured: Captured) -> None:
    zone = timezone(-timedelta(hours=2, minutes=30))
    configure_logging(stream=captured.stream, now=lambda: NOW.astimezone(zone))
    log.info("m")
    assert captured.lines[0].startswith('time="2026-01-02T00:34:05-02:30" ')


def test_json_line_is_that_of_logrus(captured: Captured) -> None:
    captured.configure(format="JSON")
    log.warning("a <b>", n=1, d=timedelta(seconds=1), t=NOW, x=None, y=[b"\x01"], z=float("inf"))
    assert captured.lines == [
        (
            '{"d":1000000000,"level":"warning","msg":"a \\u003cb\\u003e","n":1,'
            '"subsystem_name":"endpoints","t":"2026-01-02T03:04:05.6789Z",'
            '"time":"2026-01-02T03:04:05.6789Z","x":null,"y":["01"],"z":"inf"}'
        )
    ]
    assert json.loads(captured.lines[0])["msg"] == "a <b>"


@pytest.mark.parametrize("format", ["", "json"])
def test_field_with_the_name_of_a_fixed_one_is_moved(captured: Captured, format: str) -> None:  # noqa: A002
    captured.configure(format=format)
    log.info("m", level="x", time=1, msg="y")
    assert "fields.level" in captured.lines[0]
    assert "fields.time" in captured.lines[0]
    assert "fields.msg" in captured.lines[0]


@pytest.mark.parametrize(
    ("level", "names"),
    [
        ("PANIC", ["panic"]),
        ("fatal", ["panic", "fatal"]),
        ("Error", ["panic", "fatal", "error"]),
        ("warn", ["panic", "fatal", "error", "warning"]),
        ("warning", ["panic", "fatal", "error", "warning"]),
        ("info", ["panic", "fatal", "error", "warning", "info"]),
        ("debug", ["panic", "fatal", "error", "warning", "info", "debug"]),
        ("trace", ["panic", "fatal", "error", "warning", "info", "debug", "trace"]),
    ],
)
def test_lines_below_the_level_are_left_out(
    captured: Captured, level: str, names: list[str]
) -> None:
    captured.configure(level)
    methods: list[Callable[[str], None]] = [
        log.panic,
        log.fatal,
        log.error,
        log.warning,
        log.info,
        log.debug,
        log.trace,
    ]
    for method in methods:
        method("m")
    assert [line.split()[1] for line in captured.lines] == [f"level={name}" for name in names]


def test_level_changes_at_run_time(captured: Captured) -> None:
    levels = captured.logging.levels
    log.debug("no")
    levels.set(LogLevel.DEBUG)
    log.debug("yes")
    assert (levels.current, levels.launch) == (LogLevel.DEBUG, LogLevel.INFO)
    assert log.enabled(LogLevel.DEBUG)
    levels.reset()
    log.debug("no")
    assert levels.current == LogLevel.INFO
    assert ["msg=yes" in line for line in captured.lines] == [True]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": "loud"}, 'not a valid logrus Level: "loud"'),
        ({"format": "xml"}, 'unknown logger format: "xml"'),
    ],
)
def test_unknown_setting_is_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        configure_logging(**options)


def test_bound_facts_are_in_each_line(captured: Captured) -> None:
    bound = log.bind(service="svid.v1.SVID", method="MintX509SVID")
    bound.info("m", spiffe_id="spiffe://example.org/a")
    log.info("n")
    assert captured.lines[0].endswith(
        'msg=m method=MintX509SVID service=svid.v1.SVID spiffe_id="spiffe://example.org/a" '
        "subsystem_name=endpoints"
    )
    assert captured.lines[1].endswith("msg=n subsystem_name=endpoints")


@pytest.mark.parametrize("field", ["token", "join_token", "private_key", "connection_string"])
def test_secrets_never_reach_the_log(captured: Captured, field: str) -> None:
    log.info("m", **{field: "hunter2"})
    assert "hunter2" not in captured.lines[0]
    assert f'{field}="<hidden>"' in captured.lines[0]


def test_source_location_names_the_caller(captured: Captured) -> None:
    captured.configure(source_location=True)
    log.info("m")
    assert 'file="test_logs.py:' in captured.lines[0]
    assert f"func={__name__}.test_source_location_names_the_caller" in captured.lines[0]


def test_exception_comes_with_its_traceback(captured: Captured) -> None:
    try:
        raise ValueError("boom")
    except ValueError:
        log.exception("Server crashed")
    assert "level=error" in captured.lines[0]
    assert "error=boom" in captured.lines[0]
    assert 'ValueError: boom\\n"' in captured.lines[0]


def test_standard_library_is_routed_in_from_warning_up(captured: Captured) -> None:
    captured.configure("TRACE")
    library = logging.getLogger("some.library")
    library.debug("header %s", "hunter2")
    library.info("no")
    library.warning("slow %d", 1)
    try:
        raise ValueError("boom")
    except ValueError:
        library.exception("broken")
    assert captured.lines[0] == (f'{TIME} level=warning msg="slow 1" subsystem_name=some.library')
    assert "level=error msg=broken error=boom" in captured.lines[1]
    assert len(captured.lines) == 2


def test_configuring_twice_writes_each_line_once(captured: Captured) -> None:
    captured.configure()
    logging.getLogger("x").warning("once")
    assert len(captured.lines) == 1


def test_file_is_appended_to_and_private_to_the_group(tmp_path: Path) -> None:
    path = tmp_path / "spire.log"
    path.write_text("before\n")
    fresh = tmp_path / "fresh.log"
    configure_logging(file=str(path))
    log.info("m")
    configure_logging(file=str(fresh))
    log.info("n")
    configure_logging(stream=io.StringIO())
    assert path.read_text().startswith("before\ntime=")
    assert fresh.stat().st_mode & 0o777 & ~0o640 == 0


def test_file_is_opened_anew_on_demand(tmp_path: Path) -> None:
    path, moved = tmp_path / "spire.log", tmp_path / "spire.log.1"
    settings = configure_logging(file=str(path))
    log.info("first")
    path.rename(moved)
    log.info("second")
    settings.reopen()
    log.info("third")
    configure_logging(stream=io.StringIO())
    assert moved.read_text().count("\n") == 2
    assert "msg=third" in path.read_text()
    assert "second" not in path.read_text()


def test_failure_to_open_anew_keeps_the_file(tmp_path: Path) -> None:
    directory = tmp_path / "logs"
    directory.mkdir()
    settings = configure_logging(file=str(directory / "spire.log"))
    directory.rename(tmp_path / "gone")
    settings.reopen()
    log.info("still here")
    configure_logging(stream=io.StringIO())
    text = (tmp_path / "gone" / "spire.log").read_text()
    assert "failed to rotate log after signal" in text
    assert "still here" in text


def test_reopening_standard_output_does_nothing(captured: Captured) -> None:
    captured.logging.reopen()
    assert captured.lines == []


def test_file_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition, match="unable to open log file"):
        configure_logging(file=str(tmp_path / "no" / "spire.log"))


def test_reader_that_is_gone_does_not_stop_us() -> None:
    stream = io.StringIO()
    configure_logging(stream=stream)
    stream.close()
    log.info("m")
    configure_logging(stream=io.StringIO())


def test_warnings_of_the_configuration_are_marked_as_in_spire(captured: Captured) -> None:
    log_config_warnings(
        get_logger(), [ConfigWarning("a", 5), ConfigWarning("b", None, deprecated=True)]
    )
    assert captured.lines == [
        f"{TIME} level=warning msg=a line=5",
        f"{TIME} level=warning msg=b alert=true alert_type=deprecated_config",
    ]


@pytest.mark.parametrize("format_", ["text", "json"])
@pytest.mark.parametrize("value", ["x" * 10**6, ["x"] * 10**6, {"x": "y" * 10**6}])
def test_a_value_that_would_fill_the_disk_is_cut(format_: str, value: object) -> None:
    now = datetime(2026, 1, 2, tzinfo=UTC)
    line = (
        json_line(now, "info", "x" * 10**6, {"f": value})
        if format_ == "json"
        else text_line(now, "info", "x" * 10**6, {"f": value}, fractions=False)
    )
    assert len(line) < 40_000
    assert "characters)" in line
