from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from spire_py.errors import InvalidArgument
from spire_py.transport import client_context, insecure_client_context, server_context
from spire_py.transport.tls import memory_file
from tests.integration.transport.certificates import Authority

ID = "spiffe://example.org/spire/server"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("spiffe://example.org")


def test_a_server_asks_for_a_certificate_and_can_do_without(authority: Authority) -> None:
    own = authority.issue(ID)
    context = server_context(chain=[own.certificate], key=own.key, roots=[authority.root])
    assert context.verify_mode is ssl.CERT_OPTIONAL
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.num_tickets == 0
    assert ssl.OP_NO_TICKET in ssl.Options(context.options)
    assert ssl.OP_NO_RENEGOTIATION in ssl.Options(context.options)


def test_no_old_suite_is_offered(authority: Authority) -> None:
    own = authority.issue(ID)
    contexts = (
        server_context(chain=[own.certificate], key=own.key, roots=[authority.root]),
        client_context(roots=[authority.root]),
        insecure_client_context(),
    )
    for context in contexts:
        ciphers = context.get_ciphers()
        assert ciphers
        assert all(cipher["aead"] for cipher in ciphers)
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_a_client_verifies_the_chain_and_no_name(authority: Authority) -> None:
    context = client_context(roots=[authority.root])
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert not context.check_hostname
    assert insecure_client_context().verify_mode is ssl.CERT_NONE


def test_a_key_of_another_certificate_is_refused(authority: Authority) -> None:
    one, two = authority.issue(ID), authority.issue(ID)
    with pytest.raises(InvalidArgument, match="do not fit"):
        server_context(chain=[one.certificate], key=two.key, roots=[authority.root])


def test_roots_that_are_no_certificates_are_refused(authority: Authority) -> None:
    with pytest.raises(InvalidArgument, match="root certificate"):
        client_context(roots=[b"junk"])


def test_no_roots_trust_nobody(authority: Authority) -> None:
    own = authority.issue(ID)
    assert server_context(chain=[own.certificate], key=own.key, roots=[]).get_ca_certs() == []
    assert client_context(roots=[]).get_ca_certs() == []


def test_a_key_reaches_openssl_without_a_disk() -> None:
    with memory_file(b"a secret") as path:
        assert Path(path).read_bytes() == b"a secret"
        assert str(Path(path).readlink()).startswith("/memfd:")
    assert not Path(path).exists()
