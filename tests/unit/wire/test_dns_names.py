from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spire_py.errors import InvalidArgument
from spire_py.wire.dns_names import check_dns_name


@pytest.mark.parametrize(
    "name",
    [
        "a",
        "example.org",
        "*.example.org",
        "a-b.c1.example",
        "1.2.3.4",
        "Example.org",
        "_service.a_b.org",
        "xn--bcher-kva.example",
        "xn--strae-oqa.de",
        "a" * 63 + ".org",
        ".".join(["a" * 61] * 4),
    ],
)
def test_names_that_a_certificate_may_have_pass(name: str) -> None:
    assert check_dns_name(name) == name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "empty or only whitespace"),
        ("  ", "empty or only whitespace"),
        ("bücher.example", "name must be ascii"),
        ("*.*.example.org", "too many wildcards"),
        ("a.*.org", "wildcard must be first label"),
        ("*", "wildcard must be first label"),
        ("*.", "empty or only whitespace"),
        ("example.org.", "domain ends with dot"),
        ("a/b.org", "idna error\nidna: disallowed rune U+002F"),
        (" example.org", "idna error\nidna: disallowed rune U+0020"),
        ("a\x00b", "idna error\nidna: disallowed rune U+0000"),
        ("example.org\n", "idna error\nidna: disallowed rune U+000A"),
        ("-a.org", 'idna error\nidna: invalid label "-a"'),
        ("a-.org", 'idna error\nidna: invalid label "a-"'),
        ("ab--c.org", 'idna error\nidna: invalid label "ab--c"'),
        ("a..org", 'idna error\nidna: invalid label "a..org"'),
        ("xn--a.org", 'idna error\nidna: invalid label "xn--a"'),
        ("xn--", 'idna error\nidna: invalid label "xn--"'),
        ("a" * 64, f'idna error\nidna: invalid label "{"a" * 64}"'),
    ],
)
def test_names_that_no_certificate_may_have_are_refused(name: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as refusal:
        check_dns_name(name)
    assert refusal.value.message == message


def test_name_is_bounded() -> None:
    with pytest.raises(InvalidArgument, match="invalid label"):
        check_dns_name(".".join(["a" * 63] * 4))


@given(st.text(alphabet=st.characters(max_codepoint=0x200), max_size=80))
def test_any_text_passes_whole_or_is_refused(name: str) -> None:
    try:
        assert check_dns_name(name) == name
    except InvalidArgument:
        return
    assert set(name) <= set(string.ascii_letters + string.digits + "-_.*")


@given(st.from_regex(r"xn--[a-z0-9-]{1,60}", fullmatch=True))
def test_any_encoded_label_passes_or_is_refused(label: str) -> None:
    try:
        check_dns_name(label)
    except InvalidArgument:
        return
    assert label.removeprefix("xn--").encode().decode("punycode")
