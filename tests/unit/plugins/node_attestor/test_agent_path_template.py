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
    ],
)
def test_a_template_gives_its_path(text: str, path: str) -> None:
    assert AgentPathTemplate(text, FIELDS).execute(DATA) == path


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("/{{ .PluginName", "unclosed action", id="unclosed"),
        pytest.param("/{{ .PluginName }", "unclosed action", id="half closed"),
        pytest.param("/{{}}", "missing value", id="empty action"),
        pytest.param("/{{ . }}", "cannot read", id="dot"),
        pytest.param("/{{ .Nmae }}", r"there is no field \.Nmae", id="unknown field"),
        pytest.param("/{{ .Subject.Foo }}", r"there is no field \.Subject\.Foo", id="unknown part"),
        pytest.param("/{{ .Subject }}", r"there is no field \.Subject", id="not a value"),
        pytest.param("/{{ if .Name }}a{{ end }}", "function 'if' is not known", id="if"),
        pytest.param("/{{ range .List }}", "function 'range' is not known", id="range"),
        pytest.param("/{{ exec .Name }}", "function 'exec' is not known", id="unknown function"),
        pytest.param("/{{ $x := 1 }}", "cannot read", id="variable"),
        pytest.param("/{{/* a */}}", "cannot read", id="comment"),
        pytest.param("/{{ lower }}", "takes 1 values, not 0", id="too few"),
        pytest.param("/{{ lower .Name .Name }}", "takes 1 values, not 2", id="too many"),
        pytest.param("/{{ .Name | .Name }}", "handed on to a function only", id="pipe to a field"),
        pytest.param("/{{ .Name .Name }}", "unexpected '.Name'", id="two values"),
        pytest.param("/{{ (.Name }}", "unclosed parenthesis", id="parenthesis"),
        pytest.param("/{{ .Name ) }}", r"unexpected '\)'", id="closing parenthesis"),
        pytest.param("/{{ .Name | }}", "handed on to a function only", id="pipe to nothing"),
        pytest.param('/{{ "a }}', "unclosed action", id="unclosed text"),
        pytest.param('/{{ "\\n" }}', "cannot read", id="unknown escape"),
        pytest.param("/{{ 1.5 }}", "cannot read", id="fraction"),
        pytest.param("/{{ " + "(" * 9 + "1" + ")" * 9 + " }}", "too deeply", id="deep"),
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
        pytest.param("/{{ .List }}", "a list is no part of a path", id="list"),
        pytest.param("/{{ lower .Number }}", "of the wrong kind", id="kind"),
        pytest.param("/{{ index .List 2 }}", "there is no value 2", id="index"),
        pytest.param('/{{ replace "5" "' + "a" * 2000 + '" "5555" }}', "path is longer", id="long"),
    ],
)
def test_a_template_without_a_path_is_told_of(text: str, message: str) -> None:
    with pytest.raises(InvalidTemplate, match=message):
        AgentPathTemplate(text, FIELDS).execute(DATA)


@given(st.text(max_size=60) | st.text(alphabet='{}-|(). "\\aN1Name', max_size=60))
def test_any_text_is_a_template_or_refused(text: str) -> None:
    with contextlib.suppress(InvalidTemplate):
        AgentPathTemplate(text, FIELDS).execute(DATA)
