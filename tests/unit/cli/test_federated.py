"""`api fetch x509` with intermediates and federated bundles (feature F4)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509

from spire_py._proto import workload_pb2
from spire_py.cli.agent.api_x509 import Fetched, check_response, response_text, write
from spire_py.cli.command import CommandFailed
from spire_py.crypto.keys import private_key_to_pkcs8
from tests.fakes.pki import Issued, issue

BEGIN = datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)
END = datetime(2099, 1, 2, 3, 4, 5, tzinfo=UTC)
SPAN = "2020-01-02 03:04:05 +0000 UTC", "2099-01-02 03:04:05 +0000 UTC"


def authority(trust_domain: str, issuer: Issued | None = None) -> Issued:
    uri = f"spiffe://{trust_domain}"
    return issue(issuer, name=trust_domain, uris=[uri], is_ca=True, not_before=BEGIN, not_after=END)


ROOT = authority("example.org")
INTERMEDIATE = authority("example.org", ROOT)
LEAF = issue(
    INTERMEDIATE, name="leaf", uris=["spiffe://example.org/w"], not_before=BEGIN, not_after=END
)
FOREIGN = [authority("b.org"), authority("a.org"), authority("a.org")]


def response(root: Issued = ROOT) -> workload_pb2.X509SVIDResponse:
    svid = workload_pb2.X509SVID(
        spiffe_id="spiffe://example.org/w",
        x509_svid=LEAF.der + INTERMEDIATE.der,
        x509_svid_key=private_key_to_pkcs8(LEAF.key),
        bundle=root.der,
        hint="first",
    )
    return workload_pb2.X509SVIDResponse(
        svids=[svid],
        federated_bundles={
            "spiffe://b.org": FOREIGN[0].der,
            "spiffe://a.org": FOREIGN[1].der + FOREIGN[2].der,
        },
    )


@pytest.fixture
def fetched() -> Fetched:
    return check_response(response())


def lines(subject: str) -> Iterator[str]:
    yield f"{subject} Valid After:\t{SPAN[0]}"
    yield f"{subject} Valid Until:\t{SPAN[1]}"


def test_each_certificate_has_its_lines_and_trust_domains_are_sorted(fetched: Fetched) -> None:
    assert response_text(fetched, 0.002).splitlines() == [
        "Received 1 svid after 2ms",
        "",
        "SPIFFE ID:\t\tspiffe://example.org/w",
        "Hint:\t\t\tfirst",
        *lines("SVID"),
        *lines("Intermediate #1"),
        *lines("CA #1"),
        *lines("[spiffe://a.org] CA #1"),
        *lines("[spiffe://a.org] CA #2"),
        *lines("[spiffe://b.org] CA #1"),
    ]


def test_each_federated_bundle_has_its_file(
    fetched: Fetched, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(fetched, tmp_path)
    assert capsys.readouterr().out.splitlines()[3:] == [
        f"Writing federated bundle #{number} for trust domain spiffe://{name} "
        f"to file {tmp_path}/federated_bundle.0.{number}.pem."
        for number, name in enumerate(("a.org", "b.org"))
    ]
    counts = {
        path.name: len(x509.load_pem_x509_certificates(path.read_bytes()))
        for path in tmp_path.glob("*.pem")
    }
    assert counts == {
        "svid.0.pem": 2,
        "bundle.0.pem": 1,
        "federated_bundle.0.0.pem": 2,
        "federated_bundle.0.1.pem": 1,
    }


def test_an_svid_below_no_root_of_its_bundle_is_refused() -> None:
    with pytest.raises(CommandFailed, match=r'/w" SVID failed verification'):
        check_response(response(root=authority("example.org")))
