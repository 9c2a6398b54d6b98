from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spire_py_plugins.node_attestor.agent_path_template import AgentPathTemplate, InvalidTemplate

FIELDS = frozenset({"PluginName", "Name", "Number", "List", "Subject.CommonName", "San.*"})
DATA = {
    "PluginName": "x509pop",
    "Name": " Web Server.Example ",
    "Number": 42,
    "List": ("one", "two"),
    "Subject": {"CommonName": "node-1"},
    "San": {"zone": "a"},
}


@pytest.mark.parametrize(
    ("text", "path"),
    [
        pytest.param("", "", id="empty"),
        pytest.param("/plain}}/text", "/plain}}/text", id="text"),
        pytest.param("/{{ .PluginName }}/x", "/x509pop/x", id="field"),
        pytest.param("{{.PluginName}}{{.Number}}", "x509pop42", id="no blanks"),
        pytest.param("/{{ .Subject.CommonName }}", "/node-1", id="field of a field"),
        pytest.param("/{{ .San.zone }}", "/a", id="field of any name"),
        pytest.param("/a {{- .PluginName -}} b", "/ax509popb", id="trim marks"),
        pytest.param('/{{ "a }} \\" \\\\ b" }}', '/a }} " \\ b', id="quoted text"),
        pytest.param("/{{ 7 }}", "/7", id="number"),
        pytest.param("{{ .PluginName | upper }}", "X509POP", id="pipe"),
        pytest.param("{{ upper .PluginName }}", "X509POP", id="call"),
        pytest.param("{{ .Name | trim | lower | nospace }}", "webserver.example", id="pipes"),
        pytest.param('{{ replace " " "-" (trim .Name) }}', "Web-Server.Example", id="parentheses"),
        pytest.param("{{ index .List 1 }}", "two", id="index"),
        pytest.param('{{ .List | join "-" }}', "one-two", id="join"),
        pytest.param('{{ index (splitList "5" .PluginName) 1 }}', "09pop", id="splitList"),
        pytest.param("{{ trunc 4 .PluginName }}", "x509", id="trunc"),
        pytest.param("{{ trunc -3 .PluginName }}", "pop", id="trunc from the end"),
        pytest.param('{{ trimPrefix "x509" .PluginName }}', "pop", id="trimPrefix"),
        pytest.param('{{ trimSuffix "pop" .PluginName }}', "x509", id="trimSuffix"),
        pytest.param('{{ trimAll "xp" .PluginName }}', "509po", id="trimAll"),
        pytest.param('{{ default "none" "" }}', "none", id="default"),
        pytest.param('{{ .PluginName | default "none" }}', "x509pop", id="default not needed"),
        pytest.param("{{ b64enc .PluginName }}", "eDUwOXBvcA==", id="b64enc"),
        pytest.param("{{ b32enc .PluginName }}", "PA2TAOLQN5YA====", id="b32enc"),
        pytest.param("{{ toString .Number | trunc 1 }}", "4", id="toString"),
        pytest.param('{{ sha1sum "a" }}', "86f7e437faa5a7fce15d1ddcb9eaeaea377667b8", id="sha1sum"),
        pytest.param('{{ trunc 8 (sha256sum "a") }}', "ca978112", id="sha256sum"),
        pytest.param("/{{/* a }} b */}}c{{- /* d */ -}} e", "/ce", id="comment"),
        pytest.param('{{ if eq .PluginName "x509pop" }}a{{ end }}', "a", id="if"),
        pytest.param('{{ if eq .PluginName "a" "x509pop" }}a{{ end }}', "a", id="one of several"),
        pytest.param('{{ if eq .PluginName "x" }}a{{ end }}b', "b", id="if not"),
        pytest.param("{{ if ne .Number 42 }}a{{ else }}b{{ end }}", "b", id="else"),
        pytest.param(
            "{{ if gt .Number 50 }}a{{ else if ge .Number 42 }}b{{ else }}c{{ end }}",
            "b",
            id="else if",
        ),
        pytest.param(
            "{{ if lt .Number 50 -}} {{ if le .Number 41 }}a{{ else }}b{{ end }} {{- end }}c",
            "bc",
            id="if within if",
        ),
        pytest.param('{{ if "" }}a{{ else }}b{{ end }}', "b", id="an empty text is false"),
        pytest.param("{{ if 0 }}a{{ else }}b{{ end }}", "b", id="zero is false"),
        pytest.param("{{ if not false }}a{{ end }}", "a", id="not"),
        pytest.param('{{ if index .San "zone" }}{{ .San.zone }}{{ end }}', "a", id="if index"),
        pytest.param(
            '{{ if and (index .San "rack") (eq .San.rack "1") }}a{{ else }}b{{ end }}',
            "b",
            id="and looks no further",
        ),
        pytest.param('{{ or "" "a" .San.rack }}', "a", id="or looks no further"),
        pytest.param('{{ and "a" "b" }}', "b", id="and gives the last"),
        pytest.param('{{ index .San "rack" | default "none" }}', "none", id="default for a key"),
        pytest.param('{{ index .San "zone" }}', "a", id="index of a mapping"),
        pytest.param(
            "{{ with .Subject.CommonName }}{{ . }}{{ $.Number }}{{ end }}", "node-142", id="with"
        ),
        pytest.param('{{ with "" }}a{{ else }}{{ .Number }}{{ end }}', "42", id="with nothing"),
        pytest.param("{{ range .List }}/{{ . | upper }}{{ end }}", "/ONE/TWO", id="range"),
        pytest.param("{{ range list }}a{{ else }}b{{ end }}", "b", id="range over nothing"),
        pytest.param("{{ range .San }}{{ . }}{{ end }}", "a", id="range over a mapping"),
        pytest.param('{{ ternary "a" "b" (contains "09" .PluginName) }}', "a", id="ternary"),
        pytest.param('{{ ternary "a" "b" (hasPrefix "p" .PluginName) }}', "b", id="hasPrefix"),
        pytest.param('{{ hasSuffix "p" .PluginName }}', "true", id="a flag"),
        pytest.param('{{ coalesce "" .PluginName "a" }}', "x509pop", id="coalesce"),
        pytest.param('{{ empty "" }}{{ empty .List }}', "truefalse", id="empty"),
        pytest.param('{{ b64dec "YQ==" }}{{ b32dec "ME======" }}', "aa", id="b64dec, b32dec"),
        pytest.param('{{ base "/a/b/" }}{{ base "" }}{{ base "/" }}', "b./", id="base"),
        pytest.param('{{ repeat 3 "ab" }}', "ababab", id="repeat"),
        pytest.param('{{ substr 1 3 "abcd" }}{{ substr 2 -1 "abcd" }}', "bccd", id="substr"),
        pytest.param(
            "{{ first .List }}{{ last .List }}{{ len .List }}", "onetwo2", id="first, last, len"
        ),
        pytest.param('{{ len "\u00e4" }}', "2", id="len counts bytes"),
        pytest.param(
            '{{ rest .List | join "" }}{{ initial .List | join "" }}', "twoone", id="rest"
        ),
        pytest.param(
            '{{ list "b" "" "a" "b" | compact | uniq | sortAlpha | join "" }}', "ab", id="list"
        ),
        pytest.param('{{ without (reverse .List) "one" | join "" }}', "two", id="without, reverse"),
        pytest.param('{{ has "one" .List }}', "true", id="has"),
    ],
)
def test_a_template_gives_its_path(text: str, path: str) -> None:
    assert AgentPathTemplate(text, FIELDS).execute(DATA) == path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("/{{ .PluginName", "unclosed action", id="unclosed"),
        pytest.param("/{{ .PluginName }", "cannot read", id="half closed"),
        pytest.param("/{{}}", "missing value", id="empty action"),
        pytest.param("/{{ . }}", "no text for a group of fields", id="dot"),
        pytest.param("/{{ .Nmae }}", r"there is no field \.Nmae", id="unknown field"),
        pytest.param("/{{ .Subject.Foo }}", r"there is no field \.Subject\.Foo", id="unknown part"),
        pytest.param("/{{ .Subject }}", "no text for a group of fields", id="not a value"),
        pytest.param("/{{ if .Name }}a", "if has no end", id="if without end"),
        pytest.param("/{{ range .List }}a{{ else }}", "range has no end", id="else without end"),
        pytest.param("/{{ if }}a{{ end }}", "missing value", id="if of nothing"),
        pytest.param("/{{ end }}", "unexpected {{end}}", id="end alone"),
        pytest.param("/{{ else }}", "unexpected {{else}}", id="else alone"),
        pytest.param("{{ if 1 }}{{ else }}{{ else }}{{ end }}", "a second else", id="second else"),
        pytest.param("{{ if 1 }}{{ end 2 }}", "unexpected '2' after end", id="end of something"),
        pytest.param(
            "{{ with 1 }}{{ else if 2 }}{{ end }}",
            "unexpected 'if' after else",
            id="else of with",
        ),
        pytest.param(
            "{{ with .Name }}{{ .Name }}{{ end }}", r"there is no field \.Name", id="field in with"
        ),
        pytest.param(
            "{{ range $i, $j, $x := .List }}{{ end }}", "unexpected ','", id="three names"
        ),
        pytest.param("{{ $i, $x := .List }}", "unexpected ','", id="two names"),
        pytest.param("{{ $x = 1 }}", r"undefined variable \$x", id="assignment without a variable"),
        pytest.param("{{ $x }}", r"undefined variable \$x", id="no variable"),
        pytest.param("{{ if $x := 1 }}{{ end }}{{ $x }}", r"variable \$x", id="variable of if"),
        pytest.param("{{ $ := 1 }}", r"\$ cannot be given", id="root as a variable"),
        pytest.param("{{ break }}", "outside of range", id="break alone"),
        pytest.param("{{ range .List }}{{ break 1 }}{{ end }}", "unexpected '1'", id="break of"),
        pytest.param('{{ template "a" }}', "template 'a' is not defined", id="no such template"),
        pytest.param('{{ define "a" }}', "define has no end", id="define without end"),
        pytest.param('{{ define "a" }}{{ else }}{{ end }}', "else}} in define", id="define, else"),
        pytest.param(
            '{{ define "a" }}1{{ end }}{{ define "a" }}2{{ end }}', "defined twice", id="twice"
        ),
        pytest.param('{{ if 1 }}{{ define "a" }}{{ end }}{{ end }}', "unexpected", id="in if"),
        pytest.param("{{ lower 1 }}", "a number, not a text", id="a literal of the wrong kind"),
        pytest.param('{{ regexFind "(" .Name }}', "no regular expression", id="expression"),
        pytest.param("{{ nil }}", "nil is no value to begin with", id="nil"),
        pytest.param("{{ 0x }}", "cannot read", id="number without digits"),
        pytest.param("{{ 9223372036854775808 }}", "too large", id="number too large"),
        pytest.param("{{ 'ab' }}", "no single character", id="two characters"),
        pytest.param('{{ upper"a" }}', "cannot read", id="blank missing"),
        pytest.param('{{ lower ("a").b }}', "there is no field", id="field of a text"),
        pytest.param("/{{/* a */ 1 }}", "comment ends before", id="comment and more"),
        pytest.param("{{ if 1 }}" * 17 + "{{ end }}" * 17, "nested too deeply", id="deep parts"),
        pytest.param("{{ template }}", "needs a quoted name", id="template without a name"),
        pytest.param("{{ and }}", "function 'and' is not known", id="and of nothing"),
        pytest.param('{{ eq "a" }}', "takes 2 values or more, not 1", id="eq of one"),
        pytest.param("/{{ exec .Name }}", "function 'exec' is not known", id="unknown function"),
        pytest.param("/{{/* a }}", "unclosed comment", id="unclosed comment"),
        pytest.param("/{{ lower }}", "takes 1 values, not 0", id="too few"),
        pytest.param("/{{ lower .Name .Name }}", "takes 1 values, not 2", id="too many"),
        pytest.param("/{{ .Name | .Name }}", "handed on to a function only", id="pipe to a field"),
        pytest.param("/{{ .Name .Name }}", "unexpected '.Name'", id="two values"),
        pytest.param("/{{ (.Name }}", "unclosed parenthesis", id="parenthesis"),
        pytest.param("/{{ .Name ) }}", r"unexpected '\)'", id="closing parenthesis"),
        pytest.param("/{{ .Name | }}", "missing value", id="pipe to nothing"),
        pytest.param('/{{ "a }}', "unclosed action", id="unclosed text"),
        pytest.param('/{{ "\\q" }}', "cannot read", id="unknown escape"),
        pytest.param("/{{ " + "(" * 17 + "1" + ")" * 17 + " }}", "too deeply", id="deep"),
        pytest.param('{{ "a"' + "| upper" * 33 + " }}", "handed on 32 times", id="many stages"),
        pytest.param("x" * 2049, "longer than 2048", id="too long"),
    ],
)
def test_a_template_is_refused_when_it_is_read(text: str, message: str) -> None:
    with pytest.raises(InvalidTemplate, match=message):
        AgentPathTemplate(text, FIELDS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("/{{ .San.region }}", r"field \.San\.region has no value", id="no value"),
        pytest.param("/{{ print . }}", "a group of fields is no part", id="fields"),
        pytest.param("/{{ get .San .Name }}", "a map of texts, not a map", id="map of texts"),
        pytest.param("{{ $x := .Subject }}{{ $x.A }}", r"field \.A has no value", id="variable"),
        pytest.param(
            "/{{ lower .Number }}", "'lower': an argument is of the wrong kind", id="kind"
        ),
        pytest.param("/{{ trunc true .Name }}", "of the wrong kind", id="a flag is no number"),
        pytest.param('/{{ eq .Number "42" }}', "incompatible types", id="eq of kinds that differ"),
        pytest.param("/{{ if .San.rack }}{{ end }}", r"\.San\.rack has no value", id="if no value"),
        pytest.param("/{{ first .Name }}", "'first': a text is no list", id="first of a text"),
        pytest.param(
            "/{{ range .Name }}{{ end }}", "lists, maps and numbers", id="range over a text"
        ),
        pytest.param('/{{ repeat 99999 "aa" }}', "below zero or too large", id="repeat"),
        pytest.param('/{{ b64dec "a" }}', "not encoded as it should be", id="b64dec"),
        pytest.param("/{{ index .List 2 }}", "there is no value 2", id="index"),
        pytest.param('/{{ replace "5" "' + "a" * 2000 + '" "5555" }}', "path is longer", id="long"),
    ],
)
def test_a_template_without_a_path_is_told_of(text: str, message: str) -> None:
    with pytest.raises(InvalidTemplate, match=message):
        AgentPathTemplate(text, FIELDS).execute(DATA)


def test_a_long_list_of_an_agents_costs_little() -> None:
    template = AgentPathTemplate("{{ range $.List }}" * 8 + "{{ end }}" * 8, FIELDS)
    with pytest.raises(InvalidTemplate, match="more than 20000 steps"):
        template.execute({"List": ("a",) * 500})


ACTIONS = [
    "{{ if .Name }}",
    "{{ with .List }}",
    "{{ range .List }}",
    "{{ else }}",
    "{{ else if 1 }}",
]
ACTIONS += ["{{ end }}", "{{ . }}", "{{ $.Name }}", "{{ .Name }}", "{{/* a */}}", "a"]


@given(
    st.text(max_size=60)
    | st.text(alphabet='{}-|(). "\\aN1Name', max_size=60)
    | st.lists(st.sampled_from(ACTIONS), max_size=12).map("".join)
)
def test_any_text_is_a_template_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidTemplate):
        AgentPathTemplate(text, FIELDS).execute(DATA)
