from __future__ import annotations

import pytest

from spire_py.errors import Internal, PermissionDenied, SpireError
from spire_py.plugin_api.node_attestor import Challenge, NodeAttestation, ServerNodeAttestor
from spire_py.server.attestation.plugin_attestor import PluginAttestor
from spire_py.spiffe.id import SpiffeID

FOUND = NodeAttestation(SpiffeID.parse("spiffe://example.org/spire/agent/test/a"))


class Attestor(ServerNodeAttestor):
    """Asks one challenge, and refuses any answer but `right`."""

    closed = False

    async def check_address(self, payload: bytes, client_ip: str) -> None:
        if client_ip != "10.0.0.1":
            raise PermissionDenied(f"{payload.decode()} from elsewhere")

    async def attest(self, payload: bytes, challenge: Challenge) -> NodeAttestation:
        if await challenge(payload) != b"right":
            raise PermissionDenied("wrong answer", details=(b"detail",))
        return FOUND

    async def aclose(self) -> None:
        self.closed = True


async def answer(_challenge: bytes) -> bytes:
    return b"right"


async def wrong_answer(_challenge: bytes) -> bytes:
    return b"wrong"


async def broken_call(_challenge: bytes) -> bytes:
    raise Internal("failed to receive challenge from agent: EOF")


async def test_what_the_plugin_finds_is_handed_on() -> None:
    assert await PluginAttestor("test", Attestor()).attest(b"", answer) == FOUND


async def test_a_refusal_names_the_plugin() -> None:
    with pytest.raises(PermissionDenied) as refused:
        await PluginAttestor("test", Attestor()).attest(b"", wrong_answer)
    assert refused.value.message == "nodeattestor(test): wrong answer"
    assert refused.value.details == (b"detail",)


async def test_a_broken_call_is_not_the_plugins_fault() -> None:
    with pytest.raises(SpireError, match=r"^failed to receive challenge from agent: EOF$"):
        await PluginAttestor("test", Attestor()).attest(b"", broken_call)


async def test_the_address_of_the_client_is_the_plugins_business() -> None:
    attestor = PluginAttestor("test", Attestor())
    await attestor.check_address(b"a", "10.0.0.1")
    with pytest.raises(PermissionDenied) as refused:
        await attestor.check_address(b"a", "10.0.0.2")
    assert refused.value.message == "nodeattestor(test): a from elsewhere"


async def test_it_closes_the_plugin() -> None:
    attestor = Attestor()
    await PluginAttestor("test", attestor).aclose()
    assert attestor.closed
