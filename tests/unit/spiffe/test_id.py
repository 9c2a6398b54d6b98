from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spire_py.errors import SpireError
from spire_py.spiffe.id import MAX_ID_BYTES, InvalidSpiffeID, SpiffeID, TrustDomain

BAD_NAME = "trust domain characters are limited to"
BAD_SEGMENT = "path segment characters are limited to"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        pytest.param("", "cannot be empty", id="empty", marks=pytest.mark.spec(1)),
        pytest.param("http://td/x", "scheme", id="http", marks=pytest.mark.spec(1)),
        pytest.param("SPIFFEX://td/x", "scheme", id="other", marks=pytest.mark.spec(1)),
        pytest.param("spiffe:/td/x", "scheme", id="one slash", marks=pytest.mark.spec(1)),
        pytest.param("spiffe://", "trust domain is missing", id="bare", marks=pytest.mark.spec(2)),
        pytest.param("spiffe:///x", "trust domain is missing", id="td", marks=pytest.mark.spec(2)),
        pytest.param("spiffe://td/x?a", BAD_SEGMENT, id="query", marks=pytest.mark.spec(3)),
        pytest.param("spiffe://td/x?", BAD_SEGMENT, id="empty query", marks=pytest.mark.spec(3)),
        pytest.param("spiffe://td/x#b", BAD_SEGMENT, id="fragment", marks=pytest.mark.spec(3)),
        pytest.param("spiffe://td#", BAD_NAME, id="empty fragment", marks=pytest.mark.spec(3)),
        pytest.param("spiffe://td?a", BAD_NAME, id="query of td", marks=pytest.mark.spec(3)),
        pytest.param("spiffe://user@td/x", BAD_NAME, id="userinfo", marks=pytest.mark.spec(4)),
        pytest.param("spiffe://td:80/x", BAD_NAME, id="port", marks=pytest.mark.spec(4)),
        pytest.param("spiffe://Td/x", BAD_NAME, id="upper case", marks=pytest.mark.spec(5)),
        pytest.param("spiffe://td%20/x", BAD_NAME, id="percent", marks=pytest.mark.spec(6, 8)),
        pytest.param("spiffe://tdé/x", BAD_NAME, id="accent", marks=pytest.mark.spec(6)),
        pytest.param("spiffe://[::1]/x", BAD_NAME, id="ip literal", marks=pytest.mark.spec(6)),
        pytest.param("spiffe://td/%41", BAD_SEGMENT, id="percent path", marks=pytest.mark.spec(8)),
        pytest.param(
            "spiffe://td//x", "empty segments", id="empty segment", marks=pytest.mark.spec(9)
        ),
        pytest.param("spiffe://td/x/", "trailing slash", id="slash", marks=pytest.mark.spec(9)),
        pytest.param("spiffe://td/", "trailing slash", id="only slash", marks=pytest.mark.spec(9)),
        pytest.param("spiffe://td/./x", "dot segments", id="dot", marks=pytest.mark.spec(10)),
        pytest.param("spiffe://td/x/..", "dot segments", id="dots", marks=pytest.mark.spec(10)),
        pytest.param("spiffe://td/a b", BAD_SEGMENT, id="space", marks=pytest.mark.spec(11)),
        pytest.param("spiffe://td/a:b", BAD_SEGMENT, id="colon", marks=pytest.mark.spec(11)),
        pytest.param("spiffe://td/~a", BAD_SEGMENT, id="tilde", marks=pytest.mark.spec(11)),
        pytest.param("spiffe://td/a@b", BAD_SEGMENT, id="at", marks=pytest.mark.spec(11)),
        pytest.param("spiffe://td/a\n", BAD_SEGMENT, id="newline", marks=pytest.mark.spec(11)),
        pytest.param("spiffe://td/ä", BAD_SEGMENT, id="path accent", marks=pytest.mark.spec(11)),
        pytest.param("spiffe://td\n/a", BAD_NAME, id="newline in td", marks=pytest.mark.spec(6)),
        pytest.param(
            f"spiffe://{'a' * 256}/x", "too long", id="256 bytes", marks=pytest.mark.spec(14)
        ),
    ],
)
def test_spiffe_id_refuses(text: str, fault: str) -> None:
    with pytest.raises(InvalidSpiffeID, match=fault):
        SpiffeID.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("spiffe://td", id="trust domain"),
        pytest.param("spiffe://10.0.0.1/x", id="ip", marks=pytest.mark.spec(6, 7)),
        pytest.param("spiffe://a_b/x", id="underscore", marks=pytest.mark.spec(6)),
        pytest.param("spiffe://-._/x", id="no dns name", marks=pytest.mark.spec(6, 7)),
        pytest.param("spiffe://td/...", id="three dots", marks=pytest.mark.spec(10)),
        pytest.param("spiffe://td/.a/b..", id="dot names", marks=pytest.mark.spec(10)),
        pytest.param("spiffe://td/A-z.0_9", id="path", marks=pytest.mark.spec(11)),
        pytest.param(f"spiffe://{'a' * 255}/x", id="255 bytes", marks=pytest.mark.spec(14)),
        pytest.param(f"spiffe://td/{'a' * 2036}", id="2048 bytes", marks=pytest.mark.spec(12)),
    ],
)
def test_spiffe_id_is_read_and_shown_unchanged(text: str) -> None:
    assert len(text) <= MAX_ID_BYTES
    assert str(SpiffeID.parse(text)) == text


@pytest.mark.spec(15)
def test_path_is_compared_with_case() -> None:
    assert SpiffeID.parse("spiffe://td/A") != SpiffeID.parse("spiffe://td/a")


@pytest.mark.spec(15)
def test_a_foreign_id_is_compared_without_case_of_scheme_and_trust_domain() -> None:
    assert SpiffeID.parse_foreign("SPIFFE://Td.Org/A") == SpiffeID.parse("spiffe://td.org/A")


@pytest.mark.spec(5)
def test_a_foreign_id_is_written_in_lower_case() -> None:
    assert str(SpiffeID.parse_foreign("Spiffe://TD/A")) == "spiffe://td/A"


@pytest.mark.spec(6)
def test_folding_makes_no_letter_of_what_is_none() -> None:
    kelvin = "spiffe://\u212aube/x"
    assert kelvin.lower() == "spiffe://kube/x"
    with pytest.raises(InvalidSpiffeID, match=BAD_NAME):
        SpiffeID.parse_foreign(kelvin)


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        pytest.param("x", "path must have a leading slash", id="no slash"),
        pytest.param("//x y", "path cannot contain empty segments", id="first fault counts"),
        pytest.param("/x y//", BAD_SEGMENT, id="first fault counts, too"),
        pytest.param("/../x y", "path cannot contain dot segments", id="dots before"),
    ],
)
def test_path_faults_are_named_as_go_spiffe_names_them(path: str, fault: str) -> None:
    with pytest.raises(InvalidSpiffeID, match=fault):
        TrustDomain("td").member(path)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        pytest.param("example.org", "example.org", id="name"),
        pytest.param("spiffe://example.org", "example.org", id="id"),
        pytest.param("spiffe://example.org/x/y", "example.org", id="id with path"),
    ],
)
def test_trust_domain_is_read_from_name_or_id(text: str, name: str) -> None:
    assert TrustDomain.parse(text).name == name


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("Example.org", id="upper case", marks=pytest.mark.spec(5)),
        pytest.param("example.org/x", id="path without scheme"),
        pytest.param("http://example.org", id="scheme"),
        pytest.param("a" * 256, id="256 bytes"),
    ],
)
def test_trust_domain_refuses(text: str) -> None:
    with pytest.raises(InvalidSpiffeID):
        TrustDomain.parse(text)


def test_trust_domain_id_has_no_path() -> None:
    assert TrustDomain("td").id.is_trust_domain
    assert str(TrustDomain("td").id) == "spiffe://td"


PATH_CHARACTERS = string.ascii_letters + string.digits + "._-"
segments = st.text(PATH_CHARACTERS, min_size=1, max_size=8).filter(
    lambda text: text not in {".", ".."}
)
names = st.text(string.ascii_lowercase + string.digits + "._-", min_size=1, max_size=20)


@given(name=names, parts=st.lists(segments, max_size=5))
def test_every_id_of_the_grammar_is_read(name: str, parts: list[str]) -> None:
    text = "spiffe://" + "/".join([name, *parts])
    spiffe_id = SpiffeID.parse(text)
    assert str(spiffe_id) == text
    assert spiffe_id.trust_domain == TrustDomain(name)


@given(st.text() | st.text("spife:/.%?#@Aa", max_size=30).map(lambda text: f"spiffe://{text}"))
def test_no_text_raises_anything_but_our_error(text: str) -> None:
    for parse in (SpiffeID.parse, SpiffeID.parse_foreign):
        try:
            spiffe_id = parse(text)
        except SpireError:
            continue
        assert SpiffeID.parse(str(spiffe_id)) == spiffe_id
