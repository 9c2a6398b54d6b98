"""Whoever attests chooses the data; whatever they are, filling a template ends soon."""

from __future__ import annotations

import contextlib
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spire_py_plugins.node_attestor.agent_path_template import AgentPathTemplate, InvalidTemplate
from spire_py_plugins.node_attestor.agent_path_template.functions import FUNCTIONS, regexes

from tests.unit.plugins.node_attestor.path_templates import GO_DATA, GO_FIELDS

LONG = "a" * 60_000
VALUES = ["nil", ".List", ".San", "$.Serial", '"a"', "(dict 1 2)", "(list 1)", "-1", "3", "1.5"]
VALUES += ["true", "9223372036854775807", "-9223372036854775808", "$.Text", '""', "1e300"]


def fill(text: str, **data: object) -> str:
    return AgentPathTemplate(text, GO_FIELDS).execute({**GO_DATA, **data})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{{ define "a" }}{{ template "a" }}{{ end }}{{ template "a" }}', "nested too deeply"),
        ("{{ range 1000000000 }}{{ end }}", "more than 20000 steps"),
        ("{{ seq 1000000000 | len }}", "more than 20000 steps"),
        ("{{ seq -9223372036854775808 1 9223372036854775807 }}", "more than 20000 steps"),
        ("{{ $x := list }}{{ range 100 }}{{ $x = list $x }}{{ end }}{{ $x }}", "32 deep"),
        ("{{ $x := list }}{{ range 30 }}{{ $x = list $x $x }}{{ end }}{{ $x }}", "20000 steps"),
        ('{{ $d := dict }}{{ set $d "a" $d }}', "32 deep"),
        ('{{ $d := dict }}{{ $e := set $d "a" $d }}{{ uniq (list $d $d) }}', "32 deep"),
        ('{{ $d := dict }}{{ $e := set $d "a" $d }}{{ merge $d $d }}', "32 deep"),
        ('{{ $x := "ab" }}{{ range 30 }}{{ $x = print $x $x }}{{ end }}', "grows too long"),
        ("{{ $x := .List }}{{ range 30 }}{{ $x = concat $x $x }}{{ end }}", "20000 steps"),
        ('{{ replace "" .Name .Name }}', "grows too long"),
        ("{{ replace `a` .Name .Name }}", "grows too long"),
        ('{{ join .Name (splitList "" .Name) }}', "grows too long|20000 steps"),
        ("{{ wrapWith 1 .Name .Name }}", "grows too long"),
        ("{{ indent 99999 .Text }}", "too large"),
        ('{{ repeat 99999 "a" | len }}', "too large"),
        ('{{ printf "%9999d" 1 }}', "wider than 1000"),
        ('{{ regexReplaceAll "" (trunc 8000 .Name) (trunc 8000 .Name) }}', "grows too long|steps"),
        ("{{ regexMatch .Name `a` }}", "regular expression is too long"),
        ("{{ regexMatch `a` .Name }}", "too long for a regular expression"),
        ("{{ range 9999 }}{{ $x := regexMatch `(a|aa)+b` (trunc 8000 $.Name) }}{{ end }}", "steps"),
        ("{{ range 9999 }}{{ $x := upper $.Name }}{{ end }}", "20000 steps"),
        ("{{ uniq (splitList `` (print (trunc 9000 .Name) (seq 999))) }}", "20000 steps"),
        ("{{ range 999 }}aaaa{{ end }}", "path is longer than 2048"),
        ('{{ trunc 1 "\u00e4" }}', "path is no UTF-8"),
    ],
)
def test_a_template_that_never_ends_is_given_up(text: str, message: str) -> None:
    with pytest.raises(InvalidTemplate, match=message):
        fill(text, Name=LONG)


def test_the_deepest_template_is_filled() -> None:
    call = f"{'(' * 14}upper `a`{' | upper' * 31}{')' * 14}"
    parts = f"{'{{ if 1 }}' * 14}{{{{ print {call} }}}}{'{{ end }}' * 14}"
    templates = "".join(
        f'{{{{ define "{name}" }}}}{{{{ template "{name - 1}" }}}}{{{{ end }}}}'
        for name in range(1, 8)
    )
    text = f'{{{{ define "0" }}}}{parts}{{{{ end }}}}{templates}{{{{ template "7" }}}}'
    assert fill(text) == "A"


def test_an_expression_that_is_hard_for_python_is_not_for_re2() -> None:
    assert fill('{{ regexMatch "^(a|aa)+$" .Name }}', Name="a" * 8000 + "b") == "false"


def test_a_template_with_expressions_is_refused_without_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    regexes._compiled.cache_clear()
    monkeypatch.setitem(sys.modules, "re2", None)
    with pytest.raises(InvalidTemplate, match="install the extra 'templates'"):
        AgentPathTemplate('{{ regexMatch "a" .Name }}', GO_FIELDS)
    assert fill("{{ regexQuoteMeta `a.b` }}") == "a\\.b"


@pytest.mark.parametrize("name", sorted({*FUNCTIONS} - {"uuidv4"}))
def test_a_function_gives_a_text_or_a_fault_for_any_values(name: str) -> None:
    for value in VALUES:
        for count in range(5):
            with contextlib.suppress(InvalidTemplate):
                fill(f"{{{{ {name} {' '.join([value] * count)} }}}}")


NODES = st.recursive(
    st.sampled_from([".Name", ".Text", "$.List", ".San", "$x", "1", "-3", "2.5", "nil", '"a/b"']),
    lambda inner: st.builds(
        lambda name, values: f"({name} {' '.join(values)})",
        st.sampled_from(sorted({*FUNCTIONS} | {"and", "or"})),
        st.lists(inner, max_size=3),
    ),
    max_leaves=6,
)
PARTS = st.recursive(
    st.builds("{{{{ print {} }}}}".format, NODES) | st.builds("{{{{ $x = {} }}}}".format, NODES),
    lambda inner: st.builds(
        "{{{{ {} {} }}}}{}{{{{ else }}}}{}{{{{ end }}}}".format,
        st.sampled_from(["if", "range", "range $i, $x :=", "with $y :="]),
        NODES,
        inner,
        inner,
    ),
    max_leaves=4,
)


@given(st.lists(PARTS, max_size=3), st.text(max_size=20))
def test_any_template_gives_a_path_in_bounds_or_a_fault(parts: list[str], name: str) -> None:
    with contextlib.suppress(InvalidTemplate):
        path = fill(f"{{{{ $x := 1 }}}}{''.join(parts)}", Name=name)
        assert len(path) <= 2048
        path.encode()
