from __future__ import annotations

import pytest

from spire_py.transport.peer import peer_key


@pytest.mark.parametrize(
    ("one", "another", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8:0:0:ffff::2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
        ("::ffff:192.0.2.1", "::1", False),
    ],
)
def test_an_ipv6_network_is_one_peer(one: str, another: str, same: bool) -> None:
    assert (peer_key(one) == peer_key(another)) is same
