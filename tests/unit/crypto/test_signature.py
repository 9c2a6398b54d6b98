from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from spire_py.crypto.csr import make_csr, parse_csr
from spire_py.crypto.keys import generate_key, public_key_der
from spire_py.crypto.signature import signature_scheme
from spire_py.crypto.subject import DEFAULT_CA_SUBJECT
from spire_py.crypto.x509_signer import X509Signer, self_signed_ca
from spire_py.errors import InvalidArgument
from spire_py.spiffe.bundle import Bundle, JWTAuthority, X509Authority
from spire_py.spiffe.jwt_svid import sign_jwt_svid, validate_jwt_svid
from spire_py.spiffe.x509_svid import verify_chain
from tests.unit.spiffe.certificates import HOME, HOUR, NOW, WORKLOAD


@pytest.mark.parametrize(
    ("kind", "algorithm"),
    [
        ("ec-p256", "300a06082a8648ce3d040302"),
        ("ec-p384", "300a06082a8648ce3d040303"),
        ("rsa-2048", "300d06092a864886f70d01010b0500"),
    ],
)
def test_the_algorithm_goes_with_the_key(kind: str, algorithm: str) -> None:
    assert signature_scheme(generate_key(kind)).algorithm.hex() == algorithm


def test_an_unused_curve_has_no_algorithm() -> None:
    with pytest.raises(InvalidArgument, match="secp256k1"):
        signature_scheme(ec.generate_private_key(ec.SECP256K1()))


class RemoteKey(ec.EllipticCurvePrivateKey):
    """A key that gives nothing but its public half and signatures, as one in a KMS."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key

    @property
    def curve(self) -> ec.EllipticCurve:
        return self._key.curve

    @property
    def key_size(self) -> int:
        return self._key.key_size

    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self._key.public_key()

    def sign(self, data: Any, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        return self._key.sign(data, signature_algorithm)

    def exchange(self, *args: object) -> bytes:
        raise NotImplementedError

    def private_numbers(self) -> ec.EllipticCurvePrivateNumbers:
        raise NotImplementedError

    def private_bytes(self, *args: object) -> bytes:
        raise NotImplementedError

    def __copy__(self) -> RemoteKey:
        raise NotImplementedError

    def __deepcopy__(self, memo: dict[Any, Any]) -> RemoteKey:
        raise NotImplementedError


def test_a_key_that_lives_elsewhere_signs_all_there_is_to_sign() -> None:
    key = RemoteKey(ec.generate_private_key(ec.SECP256R1()))
    public = public_key_der(key)
    assert parse_csr(make_csr(key, uri=WORKLOAD)).public_key_der == public
    root = self_signed_ca(key, str(HOME.id), DEFAULT_CA_SUBJECT, NOW, NOW + HOUR)
    leaf = X509Signer(root, key).sign_svid(public, WORKLOAD, not_before=NOW, not_after=NOW + HOUR)
    bundles = {HOME: Bundle(HOME, (X509Authority(root),), (JWTAuthority("one", public),))}
    assert str(verify_chain([leaf.der], bundles, NOW)) == WORKLOAD
    token = sign_jwt_svid(
        key, "one", spiffe_id=WORKLOAD, audience=["db"], expires_at=NOW + HOUR, issued_at=NOW
    )
    assert str(validate_jwt_svid(token, "db", bundles, NOW).spiffe_id) == WORKLOAD
