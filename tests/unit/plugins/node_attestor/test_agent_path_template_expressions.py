from __future__ import annotations

import pytest
from spire_py_plugins.node_attestor.agent_path_template import AgentPathTemplate

from tests.unit.plugins.node_attestor.path_templates import GO_DATA, GO_FIELDS

# What SPIRE's templates give for `GO_DATA` with Go 1.26 and sprig 3.3.0.
RESULTS = [
    ('{{ regexMatch "[^a]" "" }}', "false"),
    ('{{ regexMatch "x*" "foo\\nbar" }}', "true"),
    ('{{ mustRegexMatch "[[:alpha:]]" "baaac" }}', "true"),
    ('{{ mustRegexMatch "(?i)x|y" "a.b/ö€c" }}', "false"),
    ('{{ regexFind "a|ab" "x9y10z" }}', ""),
    ('{{ regexFind "\\\\pL+" "foo\\nbar" }}', "foo"),
    ('{{ regexFind "[[:alpha:]]" "a" }}', "a"),
    ('{{ regexFind "(?P<n>o+)(r)?" "hello world" }}', "o"),
    ('{{ regexFind "x*" "x9y10z" }}', "x"),
    ('{{ mustRegexFind "(a)(b)?" "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab" }}', "a"),
    ('{{ mustRegexFind "[a-z]+" "aabbab" }}', "aabbab"),
    ('{{ mustRegexFind "[[:alpha:]]" "hello world" }}', "h"),
    ('{{ mustRegexFind "a*" "aabbab" }}', "aa"),
    ('{{ mustRegexFind "\\\\pL+" "foo\\nbar" }}', "foo"),
    ('{{ regexReplaceAll "\\\\b" "foo\\nbar" "$" }}', "$foo$\n$bar$"),
    ('{{ regexReplaceAll "[a-z]+" "aabbab" "${1-}" }}', "${1-}"),
    ('{{ regexReplaceAll "(?:ab)*?" "a" "[$0]" }}', "[]a[]"),
    ('{{ regexReplaceAll "\\\\pL+" .Text "$n" }}', " \n/ "),
    ('{{ regexReplaceAll "\\\\s*" "baaac" "\\\\1" }}', "\\1b\\1a\\1a\\1a\\1c\\1"),
    ('{{ regexReplaceAllLiteral "[a-z]+" "hello world" "${" }}', "${ ${"),
    ('{{ regexReplaceAllLiteral "(?m)^b" "a.b/ö€c" "${" }}', "a.b/ö€c"),
    ('{{ regexReplaceAllLiteral "(a)(b)?" .Text "$ö" }}', "äöü ß\n/$ö b"),
    ('{{ regexReplaceAllLiteral "\\\\Aa" "foo\\nbar" "$$" }}', "foo\nbar"),
    ('{{ regexReplaceAllLiteral "\\\\d+" .Name "${1}x" }}', " Web Server.Example "),
    ('{{ range $i,$x := regexFindAll "a" "a.b/ö€c" 1 }}{{$i}}={{ $x }}|{{ end }}', "0=a|"),
    ('{{ range $i,$x := regexFindAll "\\\\s*" .Name 1 }}{{$i}}={{ $x }}|{{ end }}', "0= |"),
    ('{{ range $i,$x := regexFindAll "^" .Name -1 }}{{$i}}={{ $x }}|{{ end }}', "0=|"),
    (
        '{{ range $i,$x := regexFindAll "\\\\Qa.b\\\\E" "a.b/ö€c" 2 }}{{$i}}={{ $x }}|{{ end }}',
        "0=a.b|",
    ),
    ('{{ range $i,$x := regexFindAll "[a-z]+" "x9y10z" 1 }}{{$i}}={{ $x }}|{{ end }}', "0=x|"),
    ('{{ range $i,$x := regexFindAll "(?m)^b" "foo\\nbar" -1 }}{{$i}}={{ $x }}|{{ end }}', "0=b|"),
    ('{{ range $i,$x := regexSplit "a|ab" .Text 1 }}{{$i}}={{ $x }}|{{ end }}', "0=äöü ß\n/a b|"),
    ('{{ range $i,$x := regexSplit "[^a]" "" 1 }}{{$i}}={{ $x }}|{{ end }}', "0=|"),
    ('{{ range $i,$x := regexSplit "\\\\pL+" "a" 2 }}{{$i}}={{ $x }}|{{ end }}', "0=|1=|"),
    ('{{ range $i,$x := regexSplit "a*" "aabbab" 2 }}{{$i}}={{ $x }}|{{ end }}', "0=|1=bbab|"),
    (
        '{{ range $i,$x := regexSplit "\\\\Qa.b\\\\E" "aabbab" 2 }}{{$i}}={{ $x }}|{{ end }}',
        "0=aabbab|",
    ),
    ('{{ range $i,$x := regexSplit "x*" "x9y10z" 3 }}{{$i}}={{ $x }}|{{ end }}', "0=|1=9|2=y10z|"),
    (
        '{{ range $i,$x := regexSplit "a" .Name 1 }}{{$i}}={{ $x }}|{{ end }}',
        "0= Web Server.Example |",
    ),
]


@pytest.mark.parametrize(("text", "path"), RESULTS)
def test_a_regular_expression_gives_what_it_gives_in_go(text: str, path: str) -> None:
    assert AgentPathTemplate(text, GO_FIELDS).execute(GO_DATA) == path
