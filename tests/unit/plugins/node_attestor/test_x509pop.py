from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from spire_py_plugins.node_attestor.x509pop import server as server_end
from spire_py_plugins.node_attestor.x509pop.messages import (
    ECDSA,
    RSA,
    write_message,
    write_payload,
)

from spire_py.crypto.keys import PrivateKey
from spire_py.errors import (
    Internal,
    InvalidArgument,
    PermissionDenied,
    SpireError,
)
from spire_py.plugin_api.context import PluginContext
from spire_py.plugin_api.node_attestor import AgentNodeAttestor, ServerNodeAttestor
from spire_py.spiffe.bundle import Bundle, X509Authority
from tests.contracts.node_attestor import NodeAttestorContract, attest, no_challenge
from tests.fakes.pki import Issued, issue
from tests.unit.plugins.node_attestor.x509pop_nodes import (
    INTERMEDIATE,
    OTHER_ROOT,
    ROOT,
    RSA_KEY,
    SMALL_RSA_KEY,
    TRUST_DOMAIN,
    MakeServer,
    agent_of,
)


class TestExternalPKI(NodeAttestorContract):
    @pytest.fixture
    def server(self, make_server: MakeServer) -> ServerNodeAttestor:
        return make_server()

    @pytest.fixture
    def agent(self) -> AgentNodeAttestor:
        return agent_of(issue(INTERMEDIATE, name="node"), INTERMEDIATE)


class TestExternalPKIWithRSA(NodeAttestorContract):
    @pytest.fixture
    def server(self, make_server: MakeServer) -> ServerNodeAttestor:
        return make_server()

    @pytest.fixture
    def agent(self) -> AgentNodeAttestor:
        return agent_of(issue(ROOT, name="node", key=RSA_KEY))


class TestSpiffe(NodeAttestorContract):
    @pytest.fixture
    def server(self, make_server: MakeServer) -> ServerNodeAttestor:
        return make_server(mode="spiffe")

    @pytest.fixture
    def agent(self) -> AgentNodeAttestor:
        return agent_of(issue(ROOT, uris=["spiffe://example.org/spire-exchange/node"]))


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(ec.generate_private_key(ec.SECP256R1()), id="P-256"),
        pytest.param(ec.generate_private_key(ec.SECP384R1()), id="P-384"),
        pytest.param(ec.generate_private_key(ec.SECP521R1()), id="P-521"),
        pytest.param(RSA_KEY, id="RSA"),
    ],
)
async def test_keys_of_all_kinds_attest(make_server: MakeServer, key: PrivateKey) -> None:
    leaf = issue(ROOT, name="node", key=key)
    result = await attest(make_server(), agent_of(leaf))
    assert result.agent_id.path == f"/spire/agent/x509pop/{hashlib.sha1(leaf.der).hexdigest()}"
    assert result.can_reattest


async def test_the_certificate_names_the_address_where_it_must(make_server: MakeServer) -> None:
    payload = await agent_of(issue(ROOT, ips=["10.0.0.1", "fd00::1"])).payload()
    server = make_server(verify_client_ip=True)
    await server.check_address(payload, "10.0.0.1")
    await server.check_address(payload, "fd00:0::1")
    with pytest.raises(PermissionDenied) as refused:
        await server.check_address(payload, "10.0.0.2")
    assert refused.value.message == "client IP 10.0.0.2 does not match any certificate IP SAN"
    await make_server().check_address(payload, "10.0.0.2")


async def test_only_a_trusted_certificate_says_which_address_fits(make_server: MakeServer) -> None:
    payload = await agent_of(issue(OTHER_ROOT, ips=["10.0.0.1"])).payload()
    with pytest.raises(PermissionDenied, match="certificate verification failed"):
        await make_server(verify_client_ip=True).check_address(payload, "10.0.0.2")


async def test_a_caller_without_an_address_is_refused_where_it_is_needed(
    make_server: MakeServer,
) -> None:
    payload = await agent_of(issue(ROOT, ips=["10.0.0.1"])).payload()
    with pytest.raises(Internal, match="client IP not available for verification"):
        await make_server(verify_client_ip=True).check_address(payload, "")


async def test_selectors_tell_name_authorities_serial_number_and_sans(
    make_server: MakeServer,
) -> None:
    leaf = issue(
        INTERMEDIATE,
        name="node.example.org",
        serial_number=0xABC,
        uris=[
            "x509pop://example.org/zone/eu/west-1",
            "x509pop://example.org/rack/7%20b",
            "x509pop://example.org/nothing",
            "x509pop://other.org/zone/us",
            "x509pop://example.org/bad/%ff",
        ],
    )
    result = await attest(make_server(), agent_of(leaf, INTERMEDIATE))
    assert [str(selector) for selector in result.selectors] == [
        "x509pop:subject:cn:node.example.org",
        f"x509pop:ca:fingerprint:{hashlib.sha1(INTERMEDIATE.der).hexdigest()}",
        f"x509pop:ca:fingerprint:{hashlib.sha1(ROOT.der).hexdigest()}",
        "x509pop:serialnumber:0abc",
        "x509pop:san:rack:7 b",
        "x509pop:san:zone:eu/west-1",
    ]


async def test_a_pinned_certificate_attests_without_a_ca(
    make_server: MakeServer, tmp_path: Path
) -> None:
    node = issue(name="node")
    (tmp_path / "node.pem").write_text(node.pem)
    server = make_server(ca_bundle_paths=[str(tmp_path / "node.pem")])
    result = await attest(server, agent_of(node))
    assert not [text for text in map(str, result.selectors) if "ca:fingerprint" in text]


async def test_each_of_several_bundles_is_trusted(make_server: MakeServer, tmp_path: Path) -> None:
    (tmp_path / "1.pem").write_text(OTHER_ROOT.pem)
    (tmp_path / "2.pem").write_text(ROOT.pem)
    server = make_server(ca_bundle_paths=[str(tmp_path / "1.pem"), str(tmp_path / "2.pem")])
    await attest(server, agent_of(issue(ROOT, name="a")))
    await attest(server, agent_of(issue(OTHER_ROOT, name="b")))


_NOW = datetime.now(UTC)
_DAY = timedelta(days=1)


@pytest.mark.parametrize(
    "leaf",
    [
        pytest.param(issue(OTHER_ROOT, name="node"), id="other CA"),
        pytest.param(issue(INTERMEDIATE, name="node"), id="intermediate missing"),
        pytest.param(issue(name="node"), id="self-signed"),
        pytest.param(issue(issue(ROOT, name="x"), name="node"), id="signed by a leaf"),
        pytest.param(
            issue(ROOT, name="node", not_before=_NOW - 2 * _DAY, not_after=_NOW - _DAY),
            id="expired",
        ),
        pytest.param(
            issue(ROOT, name="node", not_before=_NOW + _DAY, not_after=_NOW + 2 * _DAY),
            id="not yet valid",
        ),
    ],
)
async def test_a_certificate_that_is_not_trusted_is_refused(
    make_server: MakeServer, leaf: Issued
) -> None:
    with pytest.raises(PermissionDenied, match=r"^certificate verification failed: "):
        await make_server().attest(await agent_of(leaf).payload(), no_challenge)


async def test_a_leaf_as_intermediate_signs_nothing(make_server: MakeServer) -> None:
    middle = issue(ROOT, name="middle")
    with pytest.raises(PermissionDenied, match="certificate verification failed"):
        await attest(make_server(), agent_of(issue(middle, name="node"), middle))


async def test_another_key_proves_nothing(make_server: MakeServer) -> None:
    for key in (ec.generate_private_key(ec.SECP256R1()), None):
        leaf = issue(ROOT, name="node", key=RSA_KEY if key is None else None)
        agent = agent_of(leaf, key=key or SMALL_RSA_KEY)
        with pytest.raises(PermissionDenied, match=r"^challenge response verification failed: "):
            await attest(make_server(), agent)


async def test_an_old_response_proves_nothing(make_server: MakeServer) -> None:
    agent = agent_of(issue(ROOT, name="node"))
    payload = await agent.payload()
    heard: list[bytes] = []

    async def listen(challenge: bytes) -> bytes:
        heard.append(await agent.respond(challenge))
        return heard[-1]

    await make_server().attest(payload, listen)

    async def replay(_challenge: bytes) -> bytes:
        return heard[0]

    with pytest.raises(PermissionDenied, match="ECDSA signature verify failed"):
        await make_server().attest(payload, replay)


@pytest.mark.parametrize(
    ("response", "error", "message"),
    [
        pytest.param(b"", InvalidArgument, "unable to unmarshal challenge response: ", id="empty"),
        pytest.param(b"[]", InvalidArgument, "unable to unmarshal", id="list"),
        pytest.param(
            b"{}", PermissionDenied, "verification failed: expecting ECDSA response", id="none"
        ),
        pytest.param(
            b'{"ecdsa_signature": {}}', InvalidArgument, "nonce must be a base64", id="no fields"
        ),
        pytest.param(
            write_message(RSA, nonce=b"n" * 32, signature=b"s"),
            PermissionDenied,
            "expecting ECDSA response",
            id="other kind",
        ),
        pytest.param(
            write_message(ECDSA, nonce=b"n", r=b"r", s=b"s"),
            PermissionDenied,
            "invalid response nonce",
            id="short nonce",
        ),
        pytest.param(
            write_message(ECDSA, nonce=b"n" * 32, r=b"", s=b""),
            PermissionDenied,
            "ECDSA signature verify failed",
            id="zeros",
        ),
        pytest.param(
            write_message(ECDSA, nonce=b"n" * 32, r=b"\xff" * 67, s=b"s"),
            PermissionDenied,
            "ECDSA signature verify failed",
            id="long scalar",
        ),
        pytest.param(b" " * 20_000, InvalidArgument, "unable to unmarshal", id="too long"),
    ],
)
async def test_a_bad_response_is_refused(
    make_server: MakeServer, response: bytes, error: type[SpireError], message: str
) -> None:
    async def answer(_challenge: bytes) -> bytes:
        return response

    payload = await agent_of(issue(ROOT, name="node")).payload()
    with pytest.raises(error, match=message):
        await make_server().attest(payload, answer)


async def test_a_bad_rsa_signature_is_refused(make_server: MakeServer) -> None:
    async def answer(_challenge: bytes) -> bytes:
        return write_message(RSA, nonce=b"n" * 32, signature=b"s" * 256)

    payload = await agent_of(issue(ROOT, name="node", key=RSA_KEY)).payload()
    with pytest.raises(PermissionDenied, match="RSA signature verify failed"):
        await make_server().attest(payload, answer)


@pytest.mark.parametrize(
    ("certificates", "message"),
    [
        pytest.param([], "no certificate to attest", id="none"),
        pytest.param([b"x"], "unable to parse leaf certificate: ", id="no leaf"),
        pytest.param(
            [ROOT.der, b"x"], "unable to parse intermediate certificate 0: ", id="no intermediate"
        ),
        pytest.param([ROOT.der] * 6, "too many intermediate certificates", id="too many"),
        pytest.param(
            [issue(ROOT, name="node", key=SMALL_RSA_KEY).der],
            "leaf certificate key size too large",
            id="large leaf key",
        ),
        pytest.param(
            [ROOT.der, issue(ROOT, name="node", key=SMALL_RSA_KEY).der],
            "intermediate certificate 0 key size too large",
            id="large intermediate key",
        ),
    ],
)
async def test_a_bad_chain_is_refused(
    make_server: MakeServer, certificates: list[bytes], message: str
) -> None:
    server = make_server(max_rsa_key_size=2048)
    with pytest.raises(InvalidArgument, match=message):
        await server.attest(write_payload(certificates), no_challenge)


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(b'{"certificates": {}}', id="object"),
        pytest.param(b'{"certificates": [1]}', id="number"),
        pytest.param(b'{"certificates": ["!"]}', id="no base64"),
    ],
)
async def test_a_malformed_payload_is_told_of(make_server: MakeServer, payload: bytes) -> None:
    with pytest.raises(InvalidArgument, match=r"^failed to unmarshal data: "):
        await make_server().attest(payload, no_challenge)


@pytest.mark.parametrize(
    "leaf",
    [
        pytest.param(issue(ROOT, name="node", digital_signature=False), id="other usage"),
        pytest.param(issue(ROOT, name="node", key_usage=False), id="no usage"),
    ],
)
async def test_a_certificate_not_for_signatures_gets_no_challenge(
    make_server: MakeServer, leaf: Issued
) -> None:
    with pytest.raises(Internal, match="not intended for digital signature use"):
        await make_server().attest(await agent_of(leaf).payload(), no_challenge)


async def test_an_ed25519_key_gets_no_challenge(make_server: MakeServer) -> None:
    key: Any = ed25519.Ed25519PrivateKey.generate()
    leaf = issue(ROOT, name="node", key=key)
    with pytest.raises(SpireError, match=r"unsupported|verification failed"):
        await make_server().attest(write_payload([leaf.der]), no_challenge)


async def test_the_path_follows_the_template(make_server: MakeServer) -> None:
    server = make_server(agent_path_template="/cn/{{ .Subject.CommonName | lower }}")
    result = await attest(server, agent_of(issue(ROOT, name="Node-1")))
    assert str(result.agent_id) == "spiffe://example.org/spire/agent/cn/node-1"


async def test_every_field_of_the_template_has_a_value(make_server: MakeServer) -> None:
    server = make_server(
        agent_path_template="/{{ .PluginName }}/{{ .TrustDomain }}/{{ .SerialNumberHex }}"
        "/{{ .SerialNumber }}/{{ .URISanSelectors.zone }}"
        '/{{ .Subject.Organization | join "-" | default "none" }}'
    )
    leaf = issue(ROOT, name="n", serial_number=0xABC, uris=["x509pop://example.org/zone/a"])
    result = await attest(server, agent_of(leaf))
    assert result.agent_id.path == "/spire/agent/x509pop/example.org/0abc/2748/a/none"


@pytest.mark.parametrize(
    ("template", "name"),
    [
        pytest.param("/{{ .Subject.CommonName }}", "white space", id="blank"),
        pytest.param("/{{ .Subject.CommonName }}", "", id="empty"),
        pytest.param("/{{ .Subject.CommonName }}", "..", id="dots"),
        pytest.param("/a/{{ .Subject.CommonName }}", "../../server", id="upwards"),
        pytest.param("{{ .Subject.CommonName }}", "node", id="no slash"),
        pytest.param("/{{ .URISanSelectors.zone }}", "node", id="no value"),
    ],
)
async def test_what_gives_no_legal_path_is_refused(
    make_server: MakeServer, template: str, name: str
) -> None:
    server = make_server(agent_path_template=template)
    with pytest.raises(Internal, match=r"^failed to make spiffe id: "):
        await attest(server, agent_of(issue(ROOT, name=name)))


@pytest.mark.parametrize(
    ("settings", "svid", "path"),
    [
        pytest.param({}, "/spire-exchange/a/b", "/spire/agent/x509pop/a/b", id="default"),
        pytest.param({"spiffe_prefix": "/node"}, "/node/a", "/spire/agent/x509pop/a", id="own"),
        pytest.param({"spiffe_prefix": ""}, "/node/a", "/spire/agent/x509pop/node/a", id="any"),
    ],
)
async def test_an_svid_is_exchanged(
    make_server: MakeServer, settings: dict[str, Any], svid: str, path: str
) -> None:
    leaf = issue(ROOT, uris=[f"spiffe://example.org{svid}", "x509pop://example.org/zone/eu"])
    result = await attest(make_server(mode="spiffe", **settings), agent_of(leaf))
    assert result.agent_id.path == path
    assert "x509pop:san:zone:eu" in map(str, result.selectors)


@pytest.mark.parametrize(
    ("uris", "message"),
    [
        pytest.param([], "valid SVID x509 cert not found", id="no SAN"),
        pytest.param(["https://example.org/spire-exchange/a"], "not found", id="other scheme"),
        pytest.param(["spiffe://other.org/spire-exchange/a"], "not found", id="other domain"),
        pytest.param(["spiffe://example.org/spire-exchange//a"], "not found", id="no SPIFFE ID"),
        pytest.param(["spiffe://example.org/a"], "x509 cert doesnt match SVID prefix", id="prefix"),
        pytest.param(["spiffe://example.org/spire-exchange"], "doesnt match", id="prefix alone"),
    ],
)
async def test_an_svid_that_may_not_be_exchanged_is_refused(
    make_server: MakeServer, uris: list[str], message: str
) -> None:
    with pytest.raises(PermissionDenied, match=message):
        await attest(make_server(mode="spiffe"), agent_of(issue(ROOT, uris=uris)))


async def test_mode_spiffe_follows_the_bundle(context: PluginContext) -> None:
    assert context.trust_bundle is not None
    server = server_end.configure({"mode": "spiffe"}, context)
    agent = agent_of(issue(OTHER_ROOT, uris=["spiffe://example.org/spire-exchange/node"]))
    with pytest.raises(PermissionDenied, match="certificate verification failed"):
        await attest(server, agent)
    context.trust_bundle.set(Bundle(TRUST_DOMAIN, (X509Authority(OTHER_ROOT.der),)))
    await attest(server, agent)


async def test_mode_spiffe_trusts_nobody_while_the_bundle_is_empty(context: PluginContext) -> None:
    assert context.trust_bundle is not None
    context.trust_bundle.set(Bundle(TRUST_DOMAIN))
    agent = agent_of(issue(ROOT, uris=["spiffe://example.org/spire-exchange/node"]))
    with pytest.raises(PermissionDenied, match="no CA certificate to trust"):
        await attest(server_end.configure({"mode": "spiffe"}, context), agent)


async def test_mode_spiffe_needs_a_bundle() -> None:
    server = server_end.configure({"mode": "spiffe"}, PluginContext(TRUST_DOMAIN))
    agent = agent_of(issue(ROOT, uris=["spiffe://example.org/spire-exchange/node"]))
    with pytest.raises(Internal, match="failed to get trust bundle"):
        await attest(server, agent)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param({}, "one of ca_bundle_path or ca_bundle_paths must be", id="no bundle"),
        pytest.param(
            {"ca_bundle_path": "/a", "ca_bundle_paths": ["/b"]}, "not both", id="both bundles"
        ),
        pytest.param(
            {"ca_bundle_path": "/does/not/exist"}, 'load trust bundle "/does/not', id="missing"
        ),
        pytest.param({"ca_bundle_path": "/dev/null"}, "no PEM blocks", id="empty bundle"),
        pytest.param({"mode": "x"}, "mode can only be either spiffe or external_pki", id="mode"),
        pytest.param(
            {"mode": "spiffe", "ca_bundle_path": "/a"}, "in spiffe mode", id="bundle in spiffe"
        ),
        pytest.param(
            {"mode": "spiffe", "agent_path_template": "{{"}, "agent svid template", id="template"
        ),
        pytest.param(
            {"mode": "spiffe", "max_intermediates": 0}, "must be greater than 0", id="depth"
        ),
        pytest.param(
            {"mode": "spiffe", "max_rsa_key_size": -1}, "must be greater than 0", id="key size"
        ),
    ],
)
def test_bad_settings_of_the_server_are_refused(
    context: PluginContext, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidArgument, match=message):
        server_end.configure(settings, context)


def test_the_name_in_spires_page_is_warned_of(context: PluginContext) -> None:
    server_end.configure({"mode": "spiffe", "svid_prefix": "/x"}, context)
    assert context.warnings == [
        'unknown setting "svid_prefix" encountered; did you mean "spiffe_prefix"?'
    ]
