from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spire_py.config.hcl import MAX_BYTES, MAX_DEPTH, parse
from spire_py.config.tree import Table, merge, tables
from spire_py.errors import InvalidArgument


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("a = 1", 1, id="decimal"),
        pytest.param("a = 0x1F91", 8081, id="hexadecimal"),
        pytest.param("a = 0755", 493, id="octal"),
        pytest.param("a = -3", -3, id="negative"),
        pytest.param("a = 1e3", 1000.0, id="exponent"),
        pytest.param("a = 1.5", 1.5, id="fraction"),
        pytest.param("a = true", True, id="true"),
        pytest.param("a = false", False, id="false"),
        pytest.param('a = ""', "", id="empty text"),
        pytest.param(
            r'a = "q\"\\\n\t\x41\u00e9\U0001F600\101"',
            'q"\\\n\té😀A'.replace("\té", "\tAé"),
            id="escapes",
        ),
        pytest.param('a = "x ${FOO "bar" {}} y"', 'x ${FOO "bar" {}} y', id="interpolation"),
        pytest.param('a = "$5"', "$5", id="dollar"),
        pytest.param('a = [1, "b", [true], { c = 2 },]', [1, "b", [True], {"c": 2}], id="list"),
        pytest.param("a = []", [], id="empty list"),
        pytest.param("a = {}", {}, id="empty object"),
        pytest.param("a {}", {}, id="empty block"),
        pytest.param("a = <<END\n one\n  two\nEND\n", " one\n  two\n", id="heredoc"),
        pytest.param("a = <<END\nx\n  END\n", "x\n  ", id="heredoc that ends indented"),
        pytest.param("a = [,1,,2,]", [1, 2], id="too many commas"),
        pytest.param("a = 1\na = 2", 2, id="twice"),
        pytest.param("a = [1]\na = [2]", [1, 2], id="list twice"),
        pytest.param('{"a": 1, "a": 2}', 2, id="twice in JSON"),
        pytest.param("a = <<-END\n  one\n    two\n  END\n", "one\n  two\n", id="indented heredoc"),
        pytest.param("a = <<-END\n one\n  END\n", " one\n", id="heredoc less indented"),
        pytest.param("a = <<E\r\nx\r\nE\r\n", "x\n", id="heredoc with CRLF"),
        pytest.param('"a" = 1', 1, id="quoted key"),
        pytest.param("a=1#c", 1, id="hash comment"),
        pytest.param("a=1//c", 1, id="slash comment"),
        pytest.param("/* x\n y */a=1/**/", 1, id="long comment"),
        pytest.param("a = 1, b = 2", 1, id="comma between items"),
    ],
)
def test_value(text: str, value: object) -> None:
    assert parse(text)["a"] == value


def test_keys_know_their_lines() -> None:
    body = parse('a = 1\nserver {\n  b = "x"\n\n  c {\n    d = 2 }\n}\n')
    server = body["server"]
    assert body.lines == {"a": 1, "server": 2}
    assert server.lines == {"b": 3, "c": 5}
    assert server["c"].lines == {"d": 6}


def test_labels_become_tables_in_tables() -> None:
    body = parse('plugins {\n A "x" { k = 1 }\n A "y" {}\n}')
    assert body["plugins"] == {"A": [{"x": {"k": 1}}, {"y": {}}]}
    assert [part.lines for part in body["plugins"]["A"]] == [{"x": 2}, {"y": 3}]


def test_blocks_of_one_key_gather() -> None:
    body = parse("s { a = 1 b = 1 }\ns { b = 2 c { x = 1 } }\ns { c { y = 2 } }")
    merged = merge(body["s"])
    assert {key: merged[key] for key in ("a", "b")} == {"a": 1, "b": 2}
    assert merge(merged["c"]) == {"x": 1, "y": 2}
    assert merged.lines["b"] == 2
    assert len(tables(body["s"])) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("a", "line 1: expected '{' or '=' after the key 'a', got the end", id="key"),
        pytest.param("\n\na = ", "line 3: expected a value, got the end", id="no value"),
        pytest.param("a = INFO", "line 1: expected a value; a text needs quotes", id="no quotes"),
        pytest.param('a = "x\n"', "line 1: expected '\"' at the end of this text", id="open text"),
        pytest.param(
            "s {\n a = 1\n", "line 3: expected '}' for the '{' of line 1", id="open block"
        ),
        pytest.param("a = [1\n2]", "line 2: expected ',' or ']' in the list of line 1", id="list"),
        pytest.param("a b = 1", "line 1: expected '{' after a key and its label", id="label"),
        pytest.param("= 1", "line 1: expected a key, got '='", id="no key"),
        pytest.param("}", "line 1: expected a key, got '}'", id="brace"),
        pytest.param("a = @", "line 1: expected a name, a value or a bracket, got '@'", id="sign"),
        pytest.param("a = 10k", "line 1: expected a number such as", id="suffix"),
        pytest.param("a = 089", "line 1: expected the digits 0 to 7", id="octal"),
        pytest.param("a = 99999999999999999999", "line 1: expected a number of at most", id="big"),
        pytest.param("a = 1e999", "line 1: expected a smaller number", id="infinite"),
        pytest.param("/* x", "line 1: expected '*/'", id="open comment"),
        pytest.param("a = <<E\nx\n", "line 1: expected E on a line of its own", id="open heredoc"),
        pytest.param(
            "a = << \n", "line 1: expected a name and a new line after '<<'", id="heredoc"
        ),
        pytest.param(r'a = "\q"', "line 1: expected one of", id="escape"),
        pytest.param(r'a = "\xff"', "line 1: expected a text in UTF-8", id="not UTF-8"),
        pytest.param(r'a = "\777"', "line 1: expected an octal escape", id="octal escape"),
        pytest.param(r'a = "\ud800"', "line 1: expected the number of a Unicode", id="surrogate"),
        pytest.param("a = " + "[" * (MAX_DEPTH + 1), "expected at most 64 blocks", id="deep list"),
        pytest.param("a {" * (MAX_DEPTH + 1), "expected at most 64 blocks", id="deep block"),
        pytest.param('{"a": ' + "[" * MAX_DEPTH, "expected at most 64 blocks", id="deep JSON"),
        pytest.param("{", "line 1: expected a key in quotes, got the end", id="open JSON"),
        pytest.param('{"a" 1}', "line 1: expected ':' after a key, got '1'", id="no colon"),
        pytest.param('{\n"a": 1\n"b": 2}', "line 3: expected ',' or '}'", id="no comma"),
        pytest.param('{"a": [1 2]}', "line 1: expected ',' or ']'", id="JSON list"),
        pytest.param('{"a": nothing}', "line 1: expected a value, got 'n'", id="JSON word"),
        pytest.param('{"a": 1} x', "line 1: expected the end of the file, got 'x'", id="JSON rest"),
        pytest.param(
            '{"a": "\\x"}', "line 1: expected a text with JSON's escapes", id="JSON escape"
        ),
        pytest.param(" " * MAX_BYTES + "a", "larger than", id="too large"),
    ],
)
def test_refusal_names_the_line_and_what_was_expected(text: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as error:
        parse(text)
    assert message in str(error.value)


@pytest.mark.parametrize(
    "text",
    ["join_token = hunter2", 'password = "hunter2', 'password = "a" = "hunter2"', '{"p": hunter2}'],
)
def test_refusal_shows_no_value(text: str) -> None:
    with pytest.raises(InvalidArgument) as error:
        parse(text)
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('{"s": {"a": 1, "n": null}, "p": {"T": {"x": {"d": [1]}}}}', id="objects"),
        pytest.param('{"s": [{"a": 1}], "p": [{"T": [{"x": [{"d": [1]}]}]}]}', id="lists"),
        pytest.param(
            '\n { "s" : [ { "a" : 1 } ] , "p" : {"T" : [{"x": {"d": [1]}}]}}\n', id="mixed"
        ),
    ],
)
def test_json_may_wrap_blocks_in_lists(text: str) -> None:
    body = parse(text)
    assert merge(body["s"]) == {"a": 1}
    plugin = merge(merge(merge(body["p"])["T"])["x"])
    assert plugin == {"d": [1]}


def test_json_knows_its_lines() -> None:
    body = parse('{\n  "server": {\n    "a": "b",\n    "c": [\n      {"d": 1}\n    ]\n  }\n}')
    assert body.lines == {"server": 2}
    assert body["server"].lines == {"a": 3, "c": 4}
    assert body["server"]["c"][0].lines == {"d": 5}


@given(st.text(alphabet='ab{}[]="\\#/*<-,:$ \n01x.eE\ufeffé\x00truenfl', max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidArgument):
        assert isinstance(parse(text), Table)


@given(st.text(max_size=80))
def test_any_unicode_is_read_or_refused(text: str) -> None:
    try:
        parse("a = " + text)
        parse('{"a": ' + text)
    except InvalidArgument:
        pass


_JSON = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.text(max_size=5), _JSON, max_size=5), st.sampled_from([None, 2]))
def test_json_is_read_as_python_reads_it(document: dict[str, object], indent: int | None) -> None:
    assert parse(json.dumps(document, indent=indent)) == document


@given(st.text(max_size=40).filter(lambda text: "${" not in text))
def test_a_quoted_text_is_read_back(text: str) -> None:
    escaped = "".join(
        f"\\U{ord(character):08x}" if character in '"\\\n$' else character for character in text
    )
    assert parse(f'a = "{escaped}"')["a"] == text
