"""What is sent to the one method that must take it from anyone."""

from __future__ import annotations

import asyncio

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from spire_py._proto.spire.api.server import agent_pb2
from spire_py.crypto.csr import make_csr
from spire_py.crypto.keys import generate_key
from spire_py.errors import FailedPrecondition, InvalidArgument, SpireError
from spire_py.plugin_api.key_manager import KeyType
from tests.integration.server.conftest import RunningServer, attest_request

KEY = generate_key(KeyType.EC_P256)
CSR = make_csr(KEY)
REFUSED = "join token does not exist or has already been used"


def greedy_csr(key: object) -> bytes:
    """A request that asks for everything an agent must not have."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bank.example")])
    names: list[x509.GeneralName] = [
        x509.UniformResourceIdentifier("spiffe://example.org/spire/server"),
        x509.DNSName("bank.example"),
    ]
    return (
        x509.CertificateSigningRequestBuilder()
        .subject_name(name)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
        .sign(key, hashes.SHA256())  # type: ignore[arg-type]
        .public_bytes(Encoding.DER)
    )


async def attest(
    server: RunningServer, request: agent_pb2.AttestAgentRequest
) -> agent_pb2.AttestAgentResponse:
    return (await server.attest_call([request], server.port()))[-1]


async def test_of_a_csr_only_the_key_counts(server: RunningServer) -> None:
    answer = await attest(server, attest_request(await server.join_token(), greedy_csr(KEY)))
    leaf = x509.load_der_x509_certificate(answer.result.svid.cert_chain[0])
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    [only] = list(names)
    assert str(only.value).startswith("spiffe://example.org/spire/agent/join_token/")
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usages = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert ExtendedKeyUsageOID.CODE_SIGNING not in list(usages)
    assert leaf.public_key() == KEY.public_key()
    assert not leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(ec.generate_private_key(ec.SECP192R1()), id="P-192"),
        pytest.param(ec.generate_private_key(ec.SECP256K1()), id="secp256k1"),
        pytest.param(rsa.generate_private_key(65537, 1024), id="RSA 1024"),
        pytest.param(dsa.generate_private_key(1024), id="DSA"),
    ],
)
async def test_a_weak_or_unusual_key_gets_no_svid(server: RunningServer, key: object) -> None:
    with pytest.raises(InvalidArgument, match="failed to parse CSR"):
        await attest(server, attest_request(await server.join_token(), greedy_csr(key)))


async def test_a_csr_signed_by_another_key_gets_no_svid(server: RunningServer) -> None:
    stolen = bytearray(CSR)
    stolen[-1] ^= 1
    with pytest.raises(InvalidArgument, match="failed to parse CSR"):
        await attest(server, attest_request(await server.join_token(), bytes(stolen)))


@pytest.mark.parametrize(
    "payload",
    [b"' OR '1'='1", b"%", b"_" * 36, b"\0", b"\xff\xfe", b"x" * 500_000, b"../x", b" "],
    ids=["SQL", "percent", "underscores", "NUL", "no UTF-8", "long", "dots", "blank"],
)
async def test_no_token_is_guessed_by_a_pattern(server: RunningServer, payload: bytes) -> None:
    token = await server.join_token()
    request = attest_request("", CSR)
    request.params.data.payload = payload
    with pytest.raises(InvalidArgument, match=REFUSED):
        await attest(server, request)
    with pytest.raises(InvalidArgument, match=REFUSED):
        await attest(server, attest_request(token.upper() + "x", CSR))
    assert (await attest(server, attest_request(token, CSR))).result.svid.cert_chain


@pytest.mark.parametrize("kind", ["JOIN_TOKEN", "join_token\n", "../join_token", "join_to\u212aen"])
async def test_the_type_of_attestation_is_taken_to_the_letter(
    server: RunningServer, kind: str
) -> None:
    with pytest.raises(FailedPrecondition) as refused:
        await attest(server, attest_request(await server.join_token(), CSR, kind))
    assert refused.value.message.isprintable()


async def test_of_many_who_race_for_a_token_one_wins(server: RunningServer) -> None:
    token = await server.join_token()
    outcomes = await asyncio.gather(
        *(attest(server, attest_request(token, CSR)) for _ in range(20)), return_exceptions=True
    )
    assert sum(not isinstance(each, BaseException) for each in outcomes) == 1
    assert all(isinstance(each, SpireError) for each in outcomes if isinstance(each, BaseException))
