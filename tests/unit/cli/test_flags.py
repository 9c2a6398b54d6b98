from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spire_py.cli.flags import Flag, FlagError, HelpRequested, Kind, parse, usage

FLAGS = (
    Flag("socketPath", "where", default="/default"),
    Flag("ttl", "seconds", Kind.NUMBER, default="600"),
    Flag("node", "a node", Kind.SWITCH),
    Flag("selector", "facts", Kind.TEXTS),
    Flag("audience", "who", Kind.COMMA_TEXTS),
    Flag("timeout", "how long", Kind.DURATION, default="5s"),
    Flag("output", "form", Kind.OUTPUT, default="pretty"),
)


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["-socketPath", "/x"], id="one dash"),
        pytest.param(["--socketPath", "/x"], id="two dashes"),
        pytest.param(["-socketPath=/x"], id="equals"),
        pytest.param(["--socketPath=/x"], id="two dashes, equals"),
        pytest.param(["-socketPath", "/y", "-socketPath", "/x"], id="the last one counts"),
    ],
)
def test_a_value_is_read_in_all_forms_of_go(words: list[str]) -> None:
    flags, rest = parse(FLAGS, words)
    assert flags.text("socketPath") == "/x"
    assert rest == []


def test_defaults_count_where_a_flag_is_absent() -> None:
    flags, _ = parse(FLAGS, [])
    assert flags.text("socketPath") == "/default"
    assert flags.number("ttl") == 600
    assert flags.switch("node") is False
    assert flags.texts("selector") == []
    assert flags.duration("timeout") == timedelta(seconds=5)
    assert not flags.given("ttl")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param(["-node"], True, id="alone"),
        pytest.param(["-node=true"], True, id="true"),
        pytest.param(["-node=false"], False, id="false"),
        pytest.param(["-node=0"], False, id="zero"),
    ],
)
def test_a_switch_takes_no_word_of_its_own(words: list[str], expected: bool) -> None:
    flags, rest = parse(FLAGS, [*words, "left"])
    assert flags.switch("node") is expected
    assert rest == ["left"]


def test_flags_may_repeat_and_values_may_begin_with_a_dash() -> None:
    flags, _ = parse(FLAGS, ["-selector", "a:b", "-selector", "-c:d", "-audience", "x,y"])
    assert flags.texts("selector") == ["a:b", "-c:d"]
    assert flags.texts("audience") == ["x", "y"]


def test_two_dashes_end_the_flags() -> None:
    flags, rest = parse(FLAGS, ["-node", "--", "-ttl", "1"])
    assert rest == ["-ttl", "1"]
    assert flags.number("ttl") == 600


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["-nope"], "flag provided but not defined: -nope", id="unknown"),
        pytest.param(["-ttl"], "flag needs an argument: -ttl", id="no value"),
        pytest.param(["-ttl", "1h"], 'invalid value "1h" for flag -ttl: parse error', id="number"),
        pytest.param(["-node=x"], 'invalid boolean value "x" for -node: parse error', id="switch"),
        pytest.param(["---x"], "bad flag syntax: ---x", id="three dashes"),
        pytest.param(["-=x"], "bad flag syntax: -=x", id="no name"),
        pytest.param(
            ["-output", "yaml"],
            'invalid value "yaml" for flag -output: '
            'bad formatter flag: unknown format option: "yaml"',
            id="output",
        ),
    ],
)
def test_faults_are_named_as_go_names_them(words: list[str], message: str) -> None:
    with pytest.raises(FlagError) as raised:
        parse(FLAGS, words)
    assert str(raised.value) == message


@pytest.mark.parametrize("word", ["-h", "--help", "-help"])
def test_help_is_asked_for(word: str) -> None:
    with pytest.raises(HelpRequested):
        parse(FLAGS, [word])


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1m30s", 90.0), ("500ms", 0.5), ("1.5h", 5400.0), ("0", 0.0), ("2us", 2e-6)],
)
def test_durations_are_gos(text: str, seconds: float) -> None:
    flags, _ = parse(FLAGS, ["-timeout", text])
    assert flags.duration("timeout").total_seconds() == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["5", "s", "1d", "1s2", ""])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(FlagError, match=f'invalid value "{text}" for flag -timeout: time: '):
        parse(FLAGS, [f"-timeout={text}"])


@given(st.lists(st.text(max_size=12), max_size=6))
def test_any_words_are_read_or_refused(words: list[str]) -> None:
    try:
        flags, rest = parse(FLAGS, words)
    except (FlagError, HelpRequested):
        return
    assert rest == words[len(words) - len(rest) :]
    assert flags.number("ttl") is not None


def test_usage_names_each_flag_with_its_default() -> None:
    text = usage("entry create", FLAGS)
    assert text.startswith("Usage of entry create:")
    assert "  -ttl int\n    \tseconds (default 600)" in text
    assert "  -node\n" in text
