"""A server below an authority in files: what workloads get, and SPIRE before and after it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

from spire_py.crypto.certificate import CertificateFacts
from spire_py.spiffe.bundle import Bundle, X509Authority
from spire_py.spiffe.id import TrustDomain
from spire_py.spiffe.x509_svid import verify_chain
from tests.fakes.clock import FakeClock
from tests.fakes.upstream_ca import UpstreamFiles
from tests.integration.daemons import OUR_SERVER, TRUST_DOMAIN, Stack, new_stack
from tests.integration.peers.conftest import (
    ONE,
    QUICK_AGENT,
    QUICK_SERVER,
    STACKS,
    TWO,
    Halves,
    programs,
)
from tests.integration.peers.proxies import ask, proxy
from tests.integration.peers.test_workloads import WORKLOADS
from tests.peers import envoy
from tests.peers.find import peer_binary
from tests.peers.process import run, running

Find = Callable[[str], Path]


def written(folder: Path) -> UpstreamFiles:
    """An intermediate with an RSA key below a root with an EC key."""
    files = UpstreamFiles(folder, FakeClock(datetime.now(UTC)))
    root = files.ca("root")
    files.write(files.ca("lower", root, key=rsa.generate_private_key(65537, 2048)), bundle=(root,))
    return files


def plugin(files: UpstreamFiles) -> str:
    lines = "\n".join(f'{key} = "{path}"' for key, path in files.settings(bundle=True).items())
    return f'UpstreamAuthority "disk" {{ plugin_data {{\n{lines}\n}} }}'


@pytest.fixture(scope="module", params=STACKS)
def stack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """A server below the authority, and an agent, with two entries."""
    halves: Halves = request.param
    files = written(tmp_path_factory.mktemp("upstream"))
    with new_stack(
        **programs(halves),
        server_keys=QUICK_SERVER,
        agent_keys=QUICK_AGENT,
        server_plugins=plugin(files),
    ) as stack:
        stack.start_server()
        stack.start_agent()
        stack.create_entry("one", "-entryID", "1-one")
        stack.create_entry("two", "-entryID", "2-two")
        stack.wait_for_svids(2)
        yield stack


def fetched(stack: Stack, folder: Path) -> tuple[list[x509.Certificate], list[x509.Certificate]]:
    """The chain and the bundle as `api fetch x509 -write` leaves them."""
    folder.mkdir(exist_ok=True)
    outcome = stack.try_agent("api", "fetch", "x509", "-silent", "-write", str(folder))
    assert outcome.returncode == 0, outcome.stderr
    return (
        x509.load_pem_x509_certificates((folder / "svid.0.pem").read_bytes()),
        x509.load_pem_x509_certificates((folder / "bundle.0.pem").read_bytes()),
    )


def common_names(certificates: list[x509.Certificate]) -> list[str]:
    facts = (CertificateFacts(each.public_bytes(Encoding.DER)) for each in certificates)
    return [each.subject.common_name for each in facts]


@pytest.mark.spec(16, 17, 25)
def test_files_hold_the_chain_leaf_first_and_the_root(stack: Stack, tmp_path: Path) -> None:
    chain, bundle = fetched(stack, tmp_path)
    assert common_names(chain) == ["", "", "lower"]
    assert common_names(bundle) == ["root"]
    ca = CertificateFacts(chain[1].public_bytes(Encoding.DER))
    assert ca.uris == (f"spiffe://{TRUST_DOMAIN}",)
    for lower, upper in zip(chain, [*chain[1:], *bundle], strict=True):
        lower.verify_directly_issued_by(upper)
    trust_domain = TrustDomain(TRUST_DOMAIN)
    roots = tuple(X509Authority(each.public_bytes(Encoding.DER)) for each in bundle)
    ders = [each.public_bytes(Encoding.DER) for each in chain]
    bundles = {trust_domain: Bundle(trust_domain, roots)}
    assert str(verify_chain(ders, bundles, datetime.now(UTC))) == ONE


@pytest.mark.parametrize("peer", WORKLOADS)
async def test_workloads_get_the_chain_and_tokens(
    require_peer: Find, stack: Stack, peer: str
) -> None:
    endpoint = f"unix://{stack.agent_socket}"
    code, lines = await run(require_peer(peer), "fetch", "-socket", endpoint)
    assert code == 0, lines
    assert [svid["chain"] for svid in lines[0]["svids"]] == [3, 3]
    assert lines[0]["bundles"] == {TRUST_DOMAIN: 1}
    code, lines = await run(require_peer(peer), "jwt", "-socket", endpoint)
    assert code == 0, lines
    assert [line["id"] for line in lines] == [ONE, TWO]


@pytest.mark.parametrize("server", WORKLOADS)
@pytest.mark.parametrize("client", WORKLOADS[:1])
async def test_workloads_trust_each_other_by_the_upstream_root(
    require_peer: Find, stack: Stack, server: str, client: str
) -> None:
    endpoint = f"unix://{stack.agent_socket}"
    serve = ("serve", "-socket", endpoint, "-spiffe-id", TWO, "-expect", ONE)
    async with running(require_peer(server), *serve) as serving:
        address = (await serving.event("listening"))["address"]
        call = ("get", "-socket", endpoint, "-url", f"https://{address}/")
        code, lines = await run(require_peer(client), *call, "-expect", TWO)
        assert code == 0, lines
        assert lines[-1]["body"] == ONE


@pytest.mark.peer("envoy")
@pytest.mark.parametrize(
    "metadata",
    [
        pytest.param({}, id="SPIFFE validator"),
        pytest.param({"disable_spiffe_cert_validation": True}, id="plain authorities"),
    ],
)
async def test_envoys_get_the_chain(
    require_peer: Find, stack: Stack, tmp_path: Path, metadata: envoy.Config
) -> None:
    program, socket = require_peer("envoy"), stack.agent_socket
    inner = envoy.common_tls(identity=TWO, authority="ROOTCA", peer=ONE)
    serving_config = envoy.server(agent_socket=socket, tls=inner, metadata=metadata)
    async with proxy(program, serving_config, tmp_path / "server") as serving:
        outer = envoy.common_tls(identity="default", authority="ROOTCA", peer=TWO)
        config = envoy.client(
            agent_socket=socket, tls=outer, upstream=("127.0.0.1", serving.port), metadata=metadata
        )
        async with proxy(program, config, tmp_path / "client") as entrance:
            answer = await ask(entrance)
            assert (answer.status, answer.caller, answer.server) == (200, ONE, TWO)


@pytest.mark.peer("workload")
async def test_a_new_root_reaches_workloads_before_anything_is_below_it(
    require_peer: Find, tmp_path: Path
) -> None:
    program, files = require_peer("workload"), written(tmp_path)
    with new_stack(
        server_keys=QUICK_SERVER, agent_keys=QUICK_AGENT, server_plugins=plugin(files)
    ) as stack:
        await asyncio.to_thread(stack.start_server)
        await asyncio.to_thread(stack.start_agent)
        await asyncio.to_thread(stack.create_entry, "one")
        await asyncio.to_thread(stack.wait_for_svids, 1)
        before = authority(stack, tmp_path)
        socket = f"unix://{stack.agent_socket}"
        async with running(program, "watch", "-socket", socket, "-timeout", "60s") as watching:
            await watching.event("x509")
            files.bundle.write_text(files.bundle.read_text() + files.ca("new root").pem)
            while (await watching.event("x509"))["bundles"] != {TRUST_DOMAIN: 2}:
                pass
        assert authority(stack, tmp_path) == before


@pytest.mark.peer("spire-server")
async def test_a_takeover_keeps_the_ca_both_ways(tmp_path: Path) -> None:
    spire = (str(peer_binary("spire-server")),)
    with new_stack(
        server_program=spire,
        server_keys=QUICK_SERVER,
        agent_keys=QUICK_AGENT,
        server_plugins=plugin(written(tmp_path)),
    ) as stack:
        server = await asyncio.to_thread(stack.start_server)
        await asyncio.to_thread(stack.start_agent)
        await asyncio.to_thread(stack.create_entry, "0", "-entryID", "9")
        await asyncio.to_thread(stack.wait_for_svids, 1)
        authorities, bundle = [authority(stack, tmp_path)], stack.server("bundle", "show")
        for count, program in enumerate((OUR_SERVER, spire), start=1):
            await asyncio.to_thread(server.stop)
            stack.server_program = program
            server = await asyncio.to_thread(stack.start_server)
            # The identity of the entry with the lowest ID comes first.
            await asyncio.to_thread(stack.create_entry, str(count), "-entryID", str(9 - count))
            await asyncio.to_thread(stack.wait_for_svids, 1 + count)
            authorities.append(authority(stack, tmp_path))
            assert "X509 CA prepared" not in server.output
            assert stack.server("bundle", "show") == bundle
        assert authorities[0] == authorities[1] == authorities[2]


def authority(stack: Stack, folder: Path) -> bytes:
    """The CA below which this user's identity is."""
    chain, _ = fetched(stack, folder / "svids")
    return chain[1].public_bytes(Encoding.DER)


def test_files_that_are_missing_end_the_server_with_spires_words(tmp_path: Path) -> None:
    files = written(tmp_path)
    files.key.unlink()
    with new_stack(server_plugins=plugin(files)) as stack:
        server = stack.launch_server()
        assert server.wait_for_end() == 1
        assert (
            'failed to configure plugin \\"disk\\": unable to load upstream CA key: '
            f"open {files.key}: no such file or directory"
        ) in server.output
        assert "Traceback" not in server.output
