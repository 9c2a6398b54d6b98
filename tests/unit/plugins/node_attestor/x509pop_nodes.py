"""Nodes with certificates, for the tests of x509pop."""

from __future__ import annotations

from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric import rsa
from spire_py_plugins.node_attestor.x509pop import agent as agent_end
from spire_py_plugins.node_attestor.x509pop.identity import Identity

from spire_py.crypto.keys import PrivateKey
from spire_py.plugin_api.node_attestor import AgentNodeAttestor, ServerNodeAttestor
from spire_py.spiffe.id import TrustDomain
from tests.fakes.pki import Issued, issue

TRUST_DOMAIN = TrustDomain("example.org")

RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
SMALL_RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=3072)

ROOT = issue(name="root", is_ca=True)
INTERMEDIATE = issue(ROOT, name="intermediate", is_ca=True)
OTHER_ROOT = issue(name="other root", is_ca=True)


MakeServer = Callable[..., ServerNodeAttestor]


class GivenIdentity:
    """An identity source that holds one."""

    def __init__(self, leaf: Issued, *others: Issued, key: PrivateKey | None = None) -> None:
        certificates = (leaf.der, *(other.der for other in others))
        self.identity = Identity(certificates, key or leaf.key)

    async def fetch(self) -> Identity:
        return self.identity


def agent_of(leaf: Issued, *others: Issued, key: PrivateKey | None = None) -> AgentNodeAttestor:
    return agent_end.X509PopAgent(GivenIdentity(leaf, *others, key=key))
