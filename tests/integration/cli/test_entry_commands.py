"""`entry create`, `show`, `count` and `delete` on a running server (features E5, E6, E8 to E10)."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.integration.cli.commands import Outcome, Shell

NODE = "spiffe://example.org/node"


def create(server: Shell, line: str, *words: str) -> Outcome:
    return server(f"entry create -parentID {NODE} {line}", *words)


def entry_id_of(outcome: Outcome) -> str:
    assert outcome.code == 0, outcome.err
    return re.findall(r"^Entry ID {16}: (\S+)$", outcome.out, re.MULTILINE)[0]


def ids_in(outcome: Outcome) -> list[str]:
    assert outcome.code == 0, outcome.err
    return re.findall(r"^SPIFFE ID +: spiffe://example.org/(\S+)$", outcome.out, re.MULTILINE)


def test_a_created_entry_is_printed(server: Shell) -> None:
    made = create(server, "-spiffeID spiffe://example.org/plain -selector unix:uid:1")
    assert made.code == 0
    assert made.err == ""
    assert made.out == (
        f"Entry ID                : {entry_id_of(made)}\n"
        "SPIFFE ID               : spiffe://example.org/plain\n"
        "Parent ID               : spiffe://example.org/node\n"
        "Revision                : 0\n"
        "X509-SVID TTL           : default\n"
        "JWT-SVID TTL            : default\n"
        "Selector                : unix:uid:1\n\n"
    )


FULL = (
    "-spiffeID spiffe://example.org/full -selector unix:uid:2 -selector unix:gid:7 "
    "-x509SVIDTTL 120 -jwtSVIDTTL 60 -dns a.example.org -dns b.example.org -hint internal "
    "-admin -downstream -entryExpiry 4000000000 -disableX509SVIDPrefetch -jwtSVIDIncludeJTI"
)


def test_every_field_has_its_line(server: Shell) -> None:
    made = create(server, f"-entryID full {FULL}")
    assert made.out == (
        "Entry ID                : full\n"
        "SPIFFE ID               : spiffe://example.org/full\n"
        "Parent ID               : spiffe://example.org/node\n"
        "Revision                : 0\n"
        "Downstream              : true\n"
        "X509-SVID TTL           : 120\n"
        "JWT-SVID TTL            : 60\n"
        "Expiration time         : 2096-10-02 07:06:40 +0000 UTC\n"
        "Selector                : unix:gid:7\n"
        "Selector                : unix:uid:2\n"
        "DNS name                : a.example.org\n"
        "DNS name                : b.example.org\n"
        "Admin                   : true\n"
        "Hint                    : internal\n"
        "DisableX509SvidPrefetch : true\n"
        "JwtSvidIncludeJti       : true\n\n"
    )


def test_a_node_entry_hangs_below_the_server(server: Shell) -> None:
    made = server("entry create -node -spiffeID spiffe://example.org/alias -selector a:b")
    assert "Parent ID               : spiffe://example.org/spire/server\n" in made.out


def test_the_older_spelling_of_the_ttl_counts(server: Shell) -> None:
    made = create(server, "-spiffeID spiffe://example.org/old -selector unix:uid:3 -ttl 77")
    assert "X509-SVID TTL           : 77\n" in made.out


def test_a_second_entry_of_the_same_kind_is_refused(server: Shell) -> None:
    line = "-spiffeID spiffe://example.org/twice -selector unix:uid:4"
    create(server, line)
    again = create(server, line)
    assert again.code == 1
    assert again.out == ""
    assert again.err == (
        "Failed to create the following entry "
        '(code: AlreadyExists, msg: "similar entry already exists"):\n'
        "Entry ID                : (none)\n"
        "SPIFFE ID               : spiffe://example.org/twice\n"
        "Parent ID               : spiffe://example.org/node\n"
        "Revision                : 0\n"
        "X509-SVID TTL           : default\n"
        "JWT-SVID TTL            : default\n"
        "Selector                : unix:uid:4\n\n"
        "Error: failed to create one or more entries\n"
    )
    document = create(server, line, "-output", "json").json
    assert document["results"][0]["status"] == {
        "code": 6,
        "message": "similar entry already exists",
    }


W = "-spiffeID spiffe://example.org/w"
S = "-selector unix:uid:1"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        pytest.param(
            f"{W} {S}", "a parent ID is required if the node flag is not set", id="no parent"
        ),
        pytest.param(f"-parentID {NODE} {S}", "a SPIFFE ID is required", id="no SPIFFE ID"),
        pytest.param(
            f"-parentID {NODE} {W}", "at least one selector is required", id="no selector"
        ),
        pytest.param(
            f"-parentID {NODE} -spiffeID foo {S}", "scheme is missing or invalid", id="no ID"
        ),
        pytest.param(
            f"-parentID {NODE} {W} -selector x",
            'selector "x" must be formatted as type:value',
            id="selector without colon",
        ),
        pytest.param(
            f"-parentID {NODE} {W} {S} -x509SVIDTTL -5",
            "a positive x509-SVID TTL is required",
            id="negative X.509 TTL",
        ),
        pytest.param(
            f"-parentID {NODE} {W} {S} -jwtSVIDTTL -5",
            "a positive JWT-SVID TTL is required",
            id="negative JWT TTL",
        ),
        pytest.param(
            f"-node {W} {S} -federatesWith other.org",
            "node entries can not federate",
            id="federated node",
        ),
        pytest.param(
            f"-parentID {NODE} {W} {S} -x509SVIDTTL 9999999999",
            "invalid value for X509 SVID TTL: overflow converting int(9999999999) to int32",
            id="TTL of more than 32 bits",
        ),
    ],
)
def test_what_cannot_be_an_entry_never_reaches_the_server(
    server: Shell, line: str, message: str
) -> None:
    refused = server(f"entry create {line}")
    assert (refused.code, refused.out, refused.err) == (1, "", f"Error: {message}\n")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        pytest.param(
            "-spiffeID spiffe://other.org/x",
            "InvalidArgument",
            "failed to convert entry: invalid spiffe ID: "
            '\\"spiffe://other.org/x\\" is not a member of trust domain \\"example.org\\"',
            id="foreign trust domain",
        ),
        pytest.param(
            "-spiffeID spiffe://example.org/w -federatesWith unknown.org",
            "Internal",
            'failed to create entry: unable to find federated bundle \\"spiffe://unknown.org\\"',
            id="unknown federated bundle",
        ),
    ],
)
def test_the_servers_refusal_is_told_with_its_code(
    server: Shell, words: str, code: str, message: str
) -> None:
    refused = create(server, f"{words} {S}")
    assert refused.code == 1
    first = refused.err.splitlines()[0]
    assert first == f'Failed to create the following entry (code: {code}, msg: "{message}"):'
    assert refused.err.endswith("Error: failed to create one or more entries\n")


def document(*names: str) -> bytes:
    return json.dumps(
        {
            "entries": [
                {
                    "parent_id": NODE,
                    "spiffe_id": f"spiffe://example.org/{name}",
                    "selectors": [{"type": "unix", "value": f"user:{name}"}],
                    "x509_svid_ttl": 200,
                }
                for name in names
            ]
        }
    ).encode()


def test_entries_come_from_a_file_or_stdin(server: Shell, tmp_path: Path) -> None:
    (tmp_path / "entries.json").write_bytes(document("file1", "file2"))
    made = server(f"entry create -data {tmp_path}/entries.json")
    assert ids_in(made) == ["file1", "file2"]
    assert ids_in(server("entry create -data -", stdin=document("stdin1"))) == ["stdin1"]


def test_the_good_entries_of_a_file_are_made_though_others_are_refused(server: Shell) -> None:
    server("entry create -data -", stdin=document("mixed1"))
    half = server("entry create -data -", stdin=document("mixed1", "mixed2"))
    assert half.code == 1
    assert "spiffe://example.org/mixed2" in half.out
    assert "spiffe://example.org/mixed1" not in half.out
    assert "spiffe://example.org/mixed1" in half.err


@pytest.mark.parametrize(
    ("stdin", "message"),
    [
        pytest.param(b"{nonsense", "malformed JSON: ", id="no JSON"),
        pytest.param(b"[" * 100_000, "malformed JSON: ", id="deep"),
        pytest.param(b"\xff", "malformed JSON: ", id="no UTF-8"),
        pytest.param(b"[]", "the file must be an object", id="a list"),
        pytest.param(b'{"entries": 5}', "entries must be a list", id="a number"),
        pytest.param(b'{"entries": [{}]}', "invalid SPIFFE ID: ", id="empty entry"),
    ],
)
def test_a_bad_document_is_refused_in_one_line(server: Shell, stdin: bytes, message: str) -> None:
    refused = server("entry create -data -", stdin=stdin)
    assert refused.code == 1
    assert refused.err.startswith(f"Error: {message}")
    assert refused.err.count("\n") == 1


def test_a_missing_file_is_named(server: Shell, tmp_path: Path) -> None:
    refused = server(f"entry create -data {tmp_path}/none.json")
    assert refused.err == f"Error: open {tmp_path}/none.json: no such file or directory\n"
    refused = server(f"entry delete -file {tmp_path}")
    assert refused.err == f"Error: open {tmp_path}: is a directory\n"


def test_a_thousand_entries_go_in_one_call_and_come_back_in_pages(server: Shell) -> None:
    names = [f"many{number:04}" for number in range(1200)]
    stdin = document(*names)
    assert len(ids_in(server("entry create -data -", stdin=stdin))) == 1200
    shown = ids_in(server("entry show"))
    assert [name for name in shown if name.startswith("many")] == names


@pytest.fixture(scope="module")
def shown(server: Shell) -> Shell:
    """A server with entries to look for; all have the hint or selectors of this fixture only."""
    for name, words in {
        "s/b": "-selector s:1 -selector s:2 -hint here",
        "s/a": "-selector s:1",
        "s/c": "-selector s:3 -downstream",
    }.items():
        create(server, f"-spiffeID spiffe://example.org/{name} {words}")
    return server


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param("-hint here", ["s/b"], id="hint"),
        pytest.param("-spiffeID spiffe://example.org/s/a", ["s/a"], id="SPIFFE ID"),
        pytest.param(f"-parentID {NODE} -hint here", ["s/b"], id="parent and hint"),
        pytest.param("-selector s:1", ["s/a", "s/b"], id="superset, the default"),
        pytest.param("-selector s:1 -matchSelectorsOn exact", ["s/a"], id="exact"),
        pytest.param(
            "-selector s:1 -selector s:2 -matchSelectorsOn subset", ["s/a", "s/b"], id="subset"
        ),
        pytest.param("-selector s:2 -selector s:3 -matchSelectorsOn any", ["s/b", "s/c"], id="any"),
        pytest.param("-selector s:3 -downstream", ["s/c"], id="downstream"),
        pytest.param("-spiffeID spiffe://example.org/s/none", [], id="nothing"),
        pytest.param("-federatesWith spiffe://other.org", [], id="federated"),
    ],
)
@pytest.mark.parametrize("name", ["show", "list"])
def test_entries_are_found_by_filters_in_order(
    shown: Shell, name: str, words: str, expected: list[str]
) -> None:
    found = shown(f"entry {name} {words}")
    assert ids_in(found) == expected
    count = len(expected)
    assert found.out.splitlines()[0] == f"Found {count} {'entry' if count == 1 else 'entries'}"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        pytest.param("-hint here", "1 registration entry", id="one"),
        pytest.param("-selector s:1", "2 registration entries", id="two"),
        pytest.param("-hint nowhere", "0 registration entries", id="none"),
    ],
)
def test_entries_are_counted(shown: Shell, words: str, line: str) -> None:
    assert shown(f"entry count {words}").out == f"{line}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(
            "-entryID nope",
            "error fetching entry ID nope: rpc error: code = NotFound desc = entry not found",
            id="unknown",
        ),
        pytest.param(
            "-entryID x -selector a:b",
            "the -entryID flag can't be combined with others",
            id="ID and selector",
        ),
        pytest.param(
            "-parentID foo",
            'error parsing parent ID "foo": scheme is missing or invalid',
            id="bad parent",
        ),
        pytest.param(
            "-selector x",
            'error parsing selectors: selector "x" must be formatted as type:value',
            id="bad selector",
        ),
        pytest.param(
            "-selector a:b -matchSelectorsOn x", 'match behavior "x" unknown', id="bad match"
        ),
    ],
)
def test_show_says_what_it_cannot_find(server: Shell, words: str, message: str) -> None:
    refused = server(f"entry show {words}")
    assert (refused.code, refused.out, refused.err) == (1, "", f"Error: {message}\n")


def test_json_has_snake_case_names_zero_values_and_big_numbers_as_text(server: Shell) -> None:
    create(server, "-entryID js -spiffeID spiffe://example.org/js -selector b:2 -selector a:1")
    shown = server("entry show -entryID js -output json")
    entry = shown.json["entries"][0]
    created_at = entry.pop("created_at")
    assert isinstance(created_at, str)
    assert created_at.isdigit()
    assert entry == {
        "admin": False,
        "dns_names": [],
        "downstream": False,
        "expires_at": "0",
        "federates_with": [],
        "hint": "",
        "id": "js",
        "jwt_svid_ttl": 0,
        "parent_id": {"path": "/node", "trust_domain": "example.org"},
        "revision_number": "0",
        "selectors": [{"type": "a", "value": "1"}, {"type": "b", "value": "2"}],
        "spiffe_id": {"path": "/js", "trust_domain": "example.org"},
        "store_svid": False,
        "x509_svid_ttl": 0,
    }
    assert list(json.loads(shown.out)) == ["entries", "next_page_token"]
    assert server("entry show -hint nowhere -output json").out == (
        '{"entries":[],"next_page_token":""}\n'
    )
    assert server("entry count -hint nowhere -output json").out == '{"count":0}\n'


def test_one_entry_is_deleted(server: Shell) -> None:
    entry_id = entry_id_of(create(server, f"-spiffeID spiffe://example.org/gone {S}"))
    gone = server(f"entry delete -entryID {entry_id}")
    assert gone.code == 0
    assert gone.err == ""
    assert gone.out == (f"Deleted entry with ID: {entry_id}\n\n\nDeleted 1 entries successfully")
    assert server(f"entry show -entryID {entry_id}").code == 1


def test_entries_of_a_file_are_deleted_each_for_itself(server: Shell) -> None:
    for name in ("d1", "d2"):
        create(server, f"-entryID {name} -spiffeID spiffe://example.org/{name} {S}")
    gone = server("entry delete -file -", stdin=b'{"ids": ["d1", "nope", "d2"]}')
    assert gone.code == 1
    assert gone.out == (
        "Deleted entry with ID: d1\nDeleted entry with ID: d2\n\n\n\n\n"
        "Deleted 2 entries successfully, but failed to delete 1 entries"
    )
    assert gone.err == (
        'Failed to delete entry with ID nope (code: NotFound, msg: "entry not found")\n'
        "Error: failed to delete one or more entries\n"
    )


@pytest.mark.parametrize(
    ("line", "stdin", "message"),
    [
        pytest.param("", b"", "an entry ID is required", id="nothing"),
        pytest.param("-file -", b"{", "malformed JSON: ", id="no JSON"),
        pytest.param("-file -", b"[" * 100_000, "malformed JSON: ", id="deep"),
        pytest.param("-file -", b'{"ids": [1]}', "the file must hold an object", id="numbers"),
        pytest.param("-file -", b"[]", "the file must hold an object", id="a list"),
        pytest.param("-file -", b'{"id": []}', "the file must hold an object", id="another name"),
    ],
)
def test_delete_says_what_it_needs(server: Shell, line: str, stdin: bytes, message: str) -> None:
    refused = server(f"entry delete {line}", stdin=stdin)
    assert refused.code == 1
    assert refused.err.startswith(f"Error: {message}")
    assert refused.err.count("\n") == 1
