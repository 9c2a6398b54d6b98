from __future__ import annotations

import asyncio
import io
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from spire_py_plugins.upstream_authority.disk import Config, DiskAuthority, configure

from spire_py.crypto.certificate import CertificateFacts
from spire_py.crypto.csr import make_csr
from spire_py.crypto.keys import PrivateKey, generate_key
from spire_py.crypto.subject import Subject
from spire_py.errors import Internal, InvalidArgument, Unimplemented
from spire_py.plugin_api.context import PluginContext
from spire_py.plugin_api.upstream_authority import MintedX509CA
from spire_py.spiffe.bundle import JWTAuthority
from spire_py.spiffe.id import TrustDomain
from spire_py.telemetry.logs import configure_logging
from tests.fakes.clock import FakeClock
from tests.fakes.upstream_ca import DAY, UpstreamFiles

TRUST_DOMAIN = TrustDomain("example.org")
KEY = generate_key("ec-p256")
SUBJECT = Subject(country=("DE",), organization=("Müller",), serial_number="4711")
CSR = make_csr(KEY, uri="spiffe://example.org", subject=bytes(SUBJECT))
HOUR = timedelta(hours=1)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What is logged."""
    stream = io.StringIO()
    configure_logging("WARN", stream=stream)
    yield stream
    configure_logging()


@pytest.fixture
def files(tmp_path: Path, clock: FakeClock) -> UpstreamFiles:
    return UpstreamFiles(tmp_path, clock)


def authority(files: UpstreamFiles, *, bundle: bool = True) -> DiskAuthority:
    config = Config(TRUST_DOMAIN, files.certificates, files.key, files.bundle if bundle else None)
    return DiskAuthority(config, files.clock)


async def mint(disk: DiskAuthority, ttl: timedelta = DAY) -> MintedX509CA:
    await disk.open()
    return await disk.mint_x509_ca(CSR, ttl)


def facts(minted: MintedX509CA) -> CertificateFacts:
    return CertificateFacts(minted.chain[0])


async def test_a_ca_is_signed_as_asked_for(files: UpstreamFiles) -> None:
    root = files.ca("root")
    files.write(root)
    signed = facts(await mint(authority(files, bundle=False)))
    now = files.clock.now()
    assert (signed.not_before, signed.not_after) == (now - timedelta(seconds=10), now + DAY)
    assert signed.uris == ("spiffe://example.org",)
    assert signed.is_ca
    assert signed.subject == SUBJECT
    assert signed.certificate.issuer == root.certificate.subject
    signed.certificate.verify_directly_issued_by(root.certificate)
    usage = signed.key_usage
    assert usage is not None
    assert (usage.key_cert_sign, usage.crl_sign, usage.digital_signature) == (True, True, False)


async def test_without_a_wish_a_ca_lives_an_hour(files: UpstreamFiles) -> None:
    files.write(files.ca("root"))
    minted = await mint(authority(files, bundle=False), timedelta())
    assert facts(minted).not_after == files.clock.now() + HOUR


async def test_a_self_signed_ca_is_the_root(files: UpstreamFiles) -> None:
    root = files.ca("root")
    files.write(root)
    minted = await mint(authority(files, bundle=False))
    assert minted.chain[1:] == ()
    assert minted.roots == (root.der,)


async def test_an_intermediate_goes_into_the_chain(files: UpstreamFiles) -> None:
    root, other = files.ca("root"), files.ca("other root")
    middle = files.ca("middle", root)
    lower = files.ca("lower", middle)
    files.write(lower, middle, bundle=(root, other))
    minted = await mint(authority(files))
    assert minted.chain[1:] == (lower.der, middle.der)
    assert minted.roots == (root.der, other.der)


async def test_a_root_among_the_certificates_is_left_out(files: UpstreamFiles) -> None:
    root = files.ca("root")
    lower = files.ca("lower", root)
    files.write(lower, root, bundle=(root,))
    assert (await mint(authority(files))).chain[1:] == (lower.der,)
    files.write(root, bundle=(root,))
    assert (await mint(authority(files))).chain[1:] == ()


async def test_an_intermediate_that_is_trusted_itself_stays_in_the_chain(
    files: UpstreamFiles,
) -> None:
    lower = files.ca("lower", files.ca("root"))
    files.write(lower, bundle=(lower,))
    assert (await mint(authority(files))).chain[1:] == (lower.der,)


@pytest.mark.parametrize(
    "make_key",
    [
        pytest.param(lambda: ec.generate_private_key(ec.SECP384R1()), id="P-384"),
        pytest.param(lambda: ec.generate_private_key(ec.SECP521R1()), id="P-521"),
        pytest.param(lambda: rsa.generate_private_key(65537, 2048), id="RSA"),
    ],
)
async def test_keys_of_many_kinds_sign(
    files: UpstreamFiles, make_key: Callable[[], PrivateKey]
) -> None:
    root = files.ca("root", key=make_key())
    files.write(root)
    signed = facts(await mint(authority(files, bundle=False)))
    signed.certificate.verify_directly_issued_by(root.certificate)


@pytest.mark.parametrize(("root_days", "lower_days"), [(2, 3), (3, 2)])
async def test_no_ca_outlives_what_is_above_it(
    files: UpstreamFiles, root_days: float, lower_days: float
) -> None:
    root = files.ca("root", days=root_days)
    files.write(files.ca("lower", root, days=lower_days), bundle=(root,))
    minted = await mint(authority(files), 30 * DAY)
    assert facts(minted).not_after == files.clock.now() + 2 * DAY


async def test_new_files_are_used_at_once(files: UpstreamFiles) -> None:
    disk = authority(files, bundle=False)
    files.write(files.ca("one"))
    await mint(disk)
    two = files.ca("two")
    files.write(two)
    minted = await disk.mint_x509_ca(CSR, DAY)
    assert minted.roots == (two.der,)
    facts(minted).certificate.verify_directly_issued_by(two.certificate)


async def test_what_was_read_last_is_used_while_the_files_are_bad(
    files: UpstreamFiles, log: io.StringIO
) -> None:
    disk = authority(files, bundle=False)
    root = files.ca("root", days=2)
    files.write(root)
    await disk.open()
    files.key.write_text("half written")
    assert (await disk.mint_x509_ca(CSR, DAY)).roots == (root.der,)
    assert "unable to load upstream CA key: no PEM blocks" in log.getvalue()

    await files.clock.advance(2 * DAY)
    with pytest.raises(Internal, match="unable to sign CSR: upstream CA has expired"):
        await disk.mint_x509_ca(CSR, DAY)


def broken(files: UpstreamFiles, what: str) -> None:
    """Files with one fault."""
    root = files.ca("root")
    lower = files.ca("lower", root)
    files.write(lower, bundle=(root,))
    match what:
        case "no key":
            files.key.unlink()
        case "key is a folder":
            files.key.unlink()
            files.key.mkdir()
        case "key is a pipe":
            files.key.unlink()
            os.mkfifo(files.key, 0o600)
        case "key is a certificate":
            files.key.write_text(root.pem)
        case "no certificate":
            files.certificates.unlink()
        case "certificate is a key":
            files.certificates.write_text(lower.key_pem)
        case "no bundle":
            files.bundle.unlink()
        case "empty bundle":
            files.bundle.write_text("")
        case "key of another":
            files.key.write_text(root.key_pem)
        case "root of another":
            files.write_bundle(files.ca("other"))
        case "expired":
            files.write(files.ca("lower", root, days=-0.5))
        case "expired root":
            old = files.ca("root", days=-0.5)
            files.write(files.ca("lower", old), bundle=(old,))
        case "no CA":
            files.write(files.ca("lower", root, is_ca=False))
        case "too long a path":
            top = files.ca("root", path_length=0)
            middle = files.ca("middle", top)
            files.write(files.ca("lower", middle), middle, bundle=(top,))


CANNOT_BE_VALIDATED = (
    "unable to load upstream CA: certificate cannot be validated with the provided bundle or is "
    "not self-signed"
)


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("no key", "unable to load upstream CA key: open {key}: no such file or directory"),
        ("key is a folder", "unable to load upstream CA key: open {key}: is a directory"),
        ("key is a pipe", "unable to load upstream CA key: open {key}: is no regular file"),
        (
            "key is a certificate",
            'unable to load upstream CA key: expected block type ["PRIVATE KEY" "RSA PRIVATE KEY"',
        ),
        ("no certificate", "unable to load upstream CA cert: open {certificates}: no such file"),
        (
            "certificate is a key",
            'unable to load upstream CA cert: expected block type "CERTIFICATE"; got "PRIVATE KEY"',
        ),
        ("no bundle", "unable to load upstream CA bundle: open {bundle}: no such file"),
        ("empty bundle", "unable to load upstream CA bundle: no PEM blocks"),
        (
            "key of another",
            "unable to load upstream CA: certificate and private key do not match",
        ),
        ("root of another", CANNOT_BE_VALIDATED),
        ("expired", CANNOT_BE_VALIDATED),
        ("expired root", CANNOT_BE_VALIDATED),
        ("too long a path", CANNOT_BE_VALIDATED),
        ("no CA", "unable to load upstream CA: certificate of the signer is no CA certificate"),
    ],
)
async def test_files_that_make_no_ca_stop_the_start(
    files: UpstreamFiles, what: str, sentence: str
) -> None:
    broken(files, what)
    with pytest.raises(InvalidArgument) as error:
        await authority(files).open()
    assert error.value.message.startswith(
        sentence.format(key=files.key, certificates=files.certificates, bundle=files.bundle)
    )


async def test_without_a_bundle_there_is_one_certificate(files: UpstreamFiles) -> None:
    root = files.ca("root")
    files.write(files.ca("lower", root), root)
    with pytest.raises(InvalidArgument) as error:
        await authority(files, bundle=False).open()
    assert error.value.message == (
        "with no bundle_file_path configured only self-signed CAs are supported"
    )


@pytest.mark.parametrize("uri", [None, "spiffe://example.org/path", "spiffe://other.org"])
async def test_only_a_ca_of_the_own_trust_domain_is_signed(
    files: UpstreamFiles, uri: str | None
) -> None:
    files.write(files.ca("root"))
    disk = authority(files, bundle=False)
    await disk.open()
    with pytest.raises(Internal, match="unable to sign CSR: CSR "):
        await disk.mint_x509_ca(make_csr(KEY, uri=uri), DAY)
    with pytest.raises(Internal, match="unable to sign CSR: malformed CSR"):
        await disk.mint_x509_ca(b"nonsense", DAY)


async def test_a_new_root_of_the_bundle_is_told(files: UpstreamFiles) -> None:
    old, new = files.ca("old"), files.ca("new")
    files.write(files.ca("lower", old), bundle=(old,))
    disk = authority(files)
    await disk.open()
    clock = files.clock

    async def after_a_look() -> tuple[bytes, ...]:
        told = asyncio.ensure_future(disk.next_roots())
        await clock.sleepers()
        await clock.advance(timedelta(seconds=10))
        return await told

    # What the bundle held before the start may not have been stored.
    assert await after_a_look() == (old.der,)

    again = asyncio.ensure_future(disk.next_roots())
    for _ in range(3):
        await clock.sleepers()
        await clock.advance(timedelta(seconds=10))
    # The last look is over once the next is waited for.
    await clock.sleepers()
    assert not again.done()
    files.write_bundle(old, new)
    await clock.advance(timedelta(seconds=10))
    assert await again == (old.der, new.der)

    files.bundle.write_text("half written")
    with pytest.raises(InvalidArgument, match="unable to load upstream CA bundle: no PEM blocks"):
        await after_a_look()


async def test_a_new_certificate_that_is_its_own_root_is_told(files: UpstreamFiles) -> None:
    files.write(files.ca("old"))
    disk = authority(files, bundle=False)
    await disk.open()
    new = files.ca("new")
    files.write(new)
    told = asyncio.ensure_future(disk.next_roots())
    await files.clock.sleepers()
    await files.clock.advance(timedelta(seconds=10))
    assert await told == (new.der,)


async def test_a_key_that_others_may_read_is_warned_of(
    files: UpstreamFiles, log: io.StringIO
) -> None:
    files.write(files.ca("root"))
    files.key.chmod(0o644)
    await authority(files, bundle=False).open()
    assert "key_file_not_private" in log.getvalue()
    assert "mode=0644" in log.getvalue()


async def test_jwt_keys_are_not_published(files: UpstreamFiles) -> None:
    with pytest.raises(Unimplemented, match="publishing upstream is unsupported"):
        await authority(files).publish_jwt_key(JWTAuthority("id", b"key"))


@pytest.mark.parametrize("missing", ["cert_file_path", "key_file_path"])
def test_certificate_and_key_must_be_named(files: UpstreamFiles, missing: str) -> None:
    data = {**files.settings(bundle=False), missing: ""}
    with pytest.raises(InvalidArgument) as error:
        configure(data, PluginContext(TRUST_DOMAIN))
    assert error.value.message == "'cert_file_path' and 'key_file_path' must be set and not empty"


async def test_the_settings_are_spires(files: UpstreamFiles) -> None:
    context = PluginContext(TRUST_DOMAIN)
    # `validate` need not have the files.
    disk = configure({**files.settings(bundle=True), "cert_file": "x"}, context)
    assert context.warnings == [
        'unknown setting "cert_file" encountered; did you mean "cert_file_path"?'
    ]
    with pytest.raises(InvalidArgument, match="no such file"):
        await disk.open()
