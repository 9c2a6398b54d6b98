"""What every key manager promises."""

from __future__ import annotations

import asyncio

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from spire_py.crypto.keys import public_key_der
from spire_py.errors import InvalidArgument
from spire_py.plugin_api.key_manager import KeyManager, KeyType


class KeyManagerContract:
    """A subclass says how to make one, by a fixture `key_manager`."""

    async def test_there_are_no_keys_at_first(self, key_manager: KeyManager) -> None:
        assert await key_manager.get_keys() == {}

    async def test_a_new_key_can_be_found(self, key_manager: KeyManager) -> None:
        key = await key_manager.generate_key("x509-CA-A", KeyType.EC_P256)
        assert key.key_id == "x509-CA-A"
        assert dict(await key_manager.get_keys()) == {"x509-CA-A": key}

    async def test_new_key_replaces_the_old_one_of_its_id(self, key_manager: KeyManager) -> None:
        first = await key_manager.generate_key("x509-CA-A", KeyType.EC_P256)
        second = await key_manager.generate_key("x509-CA-A", KeyType.EC_P256)
        assert list((await key_manager.get_keys()).values()) == [second]
        assert public_key_der(first.private_key) != public_key_der(second.private_key)

    async def test_keys_of_other_ids_stay(self, key_manager: KeyManager) -> None:
        a = await key_manager.generate_key("x509-CA-A", KeyType.EC_P256)
        b = await key_manager.generate_key("x509-CA-B", KeyType.EC_P384)
        assert dict(await key_manager.get_keys()) == {"x509-CA-A": a, "x509-CA-B": b}

    async def test_keys_made_at_once_are_all_kept(self, key_manager: KeyManager) -> None:
        ids = [f"key-{number}" for number in range(8)]
        await asyncio.gather(*(key_manager.generate_key(id_, KeyType.EC_P256) for id_ in ids))
        assert sorted(await key_manager.get_keys()) == ids

    async def test_the_mapping_given_out_is_a_copy(self, key_manager: KeyManager) -> None:
        before = await key_manager.get_keys()
        await key_manager.generate_key("x509-CA-A", KeyType.EC_P256)
        assert dict(before) == {}

    @pytest.mark.parametrize(
        ("key_type", "kind", "bits"),
        [
            pytest.param(KeyType.EC_P256, ec.EllipticCurvePrivateKey, 256, id="ec-p256"),
            pytest.param(KeyType.EC_P384, ec.EllipticCurvePrivateKey, 384, id="ec-p384"),
            pytest.param(KeyType.RSA_2048, rsa.RSAPrivateKey, 2048, id="rsa-2048"),
        ],
    )
    async def test_keys_are_of_the_type_asked_for(
        self, key_manager: KeyManager, key_type: KeyType, kind: type[object], bits: int
    ) -> None:
        key = (await key_manager.generate_key("key", key_type)).private_key
        assert isinstance(key, kind)
        assert key.key_size == bits

    async def test_a_key_signs(self, key_manager: KeyManager) -> None:
        key = (await key_manager.generate_key("key", KeyType.EC_P256)).private_key
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        scheme = ec.ECDSA(hashes.SHA256())
        key.public_key().verify(key.sign(b"text", scheme), b"text", scheme)

    async def test_a_key_needs_an_id(self, key_manager: KeyManager) -> None:
        with pytest.raises(InvalidArgument, match="key id is required"):
            await key_manager.generate_key("", KeyType.EC_P256)

    async def test_a_closed_one_can_be_closed_again(self, key_manager: KeyManager) -> None:
        await key_manager.aclose()
        await key_manager.aclose()


class LastingKeyManagerContract(KeyManagerContract):
    """And what those promise whose keys outlive the process; `reopened` is the next process."""

    async def test_keys_are_there_after_a_restart(
        self, key_manager: KeyManager, reopened: KeyManager
    ) -> None:
        for key_type in (KeyType.EC_P256, KeyType.EC_P384, KeyType.RSA_2048):
            await key_manager.generate_key(f"key-{key_type}", key_type)
        before = await key_manager.get_keys()
        after = await reopened.get_keys()
        assert {name: public_key_der(key.private_key) for name, key in after.items()} == {
            name: public_key_der(key.private_key) for name, key in before.items()
        }
