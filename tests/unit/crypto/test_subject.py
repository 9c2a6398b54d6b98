from __future__ import annotations

from cryptography import x509
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from spire_py.crypto.subject import (
    DEFAULT_CA_SUBJECT,
    EMPTY_SUBJECT,
    SVID_SUBJECT,
    Subject,
    svid_subject,
)
from tests.unit.spiffe.certificates import Issuer


def test_the_default_subjects_are_encoded_as_go_does() -> None:
    # C=US, O=SPIRE: PrintableStrings in one SET each.
    assert (
        bytes(SVID_SUBJECT).hex()
        == "301d310b3009060355040613025553310e300c060355040a13055350495245"
    )
    assert bytes(DEFAULT_CA_SUBJECT).endswith(b"\x13\x06SPIFFE")
    assert bytes(Subject()) == EMPTY_SUBJECT == b"\x30\x00"


def test_text_that_is_not_printable_becomes_utf_8() -> None:
    assert b"\x0c\x03\xc3\xa4_" in bytes(Subject(organization=("ä_",)))
    assert b"\x13\x04a.b?" in bytes(Subject(common_name="a.b?"))
    assert b"\x0c\x03*.b" in bytes(Subject(common_name="*.b"))
    assert b"\x0c\x03a&b" in bytes(Subject(common_name="a&b"))


def test_values_of_one_attribute_share_an_rdn() -> None:
    subject = Subject(organizational_unit=("b", "a"))
    assert bytes(subject).count(b"\x06\x03\x55\x04\x0b") == 2
    assert bytes(subject)[2] == 0x31
    assert bytes(subject).index(b"\x13\x01a") < bytes(subject).index(b"\x13\x01b")


def test_the_first_dns_name_becomes_the_common_name() -> None:
    assert svid_subject() == bytes(SVID_SUBJECT)
    assert svid_subject("a.test").endswith(b"\x06\x03\x55\x04\x03\x13\x06a.test")


def test_only_a_subject_with_something_in_it_is_true() -> None:
    assert not Subject()
    assert Subject(common_name="x")


def test_a_parsed_name_gives_its_known_parts() -> None:
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "DE"),
            x509.NameAttribute(NameOID.DOMAIN_COMPONENT, "dropped"),
            x509.NameAttribute(NameOID.COMMON_NAME, "first"),
            x509.NameAttribute(NameOID.COMMON_NAME, "last"),
            x509.NameAttribute(NameOID.SERIAL_NUMBER, "7"),
        ]
    )
    assert Subject.from_name(name) == Subject(
        country=("DE",), common_name="last", serial_number="7"
    )


texts = st.text(min_size=1, max_size=10).filter(
    lambda text: max(text) < "\ud800" or max(text) > "\udfff"
)
several = st.lists(texts, max_size=2, unique=True).map(lambda names: tuple(sorted(names)))


@given(several, several, several, several, several, texts | st.just(""))
def test_what_is_encoded_is_what_a_parser_reads(
    organization: tuple[str, ...],
    unit: tuple[str, ...],
    locality: tuple[str, ...],
    province: tuple[str, ...],
    street: tuple[str, ...],
    common_name: str,
) -> None:
    subject = Subject(
        organization=organization,
        organizational_unit=unit,
        locality=locality,
        province=province,
        street_address=street,
        common_name=common_name,
    )
    read = Subject.from_name(parse(bytes(subject)))
    for field in ("organization", "organizational_unit", "locality", "province"):
        assert sorted(getattr(read, field)) == sorted(getattr(subject, field))
    assert read.common_name == common_name


ISSUER = Issuer("x")


def parse(name: bytes) -> x509.Name:
    """Read a name by way of a certificate that has it."""
    from spire_py.crypto.keys import public_key_der
    from spire_py.crypto.x509_signer import X509Signer
    from tests.unit.spiffe.certificates import HOUR, NOW

    signed = X509Signer(ISSUER.root(), ISSUER.key).sign_svid(
        public_key_der(ISSUER.key),
        "spiffe://example.org/x",
        not_before=NOW,
        not_after=NOW + HOUR,
        subject=name,
    )
    return x509.load_der_x509_certificate(signed.der).subject
