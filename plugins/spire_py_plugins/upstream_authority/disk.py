"""UpstreamAuthority `disk`: a CA whose certificate and key lie in files (feature K8)."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from spire_py.crypto.certificate import CertificateFacts, InvalidCertificate
from spire_py.crypto.certificate_path import verify_path
from spire_py.crypto.csr import CertificateRequest, parse_csr
from spire_py.crypto.keys import PrivateKey, public_key_der
from spire_py.crypto.pem import MAX_PEM_BYTES, pem_to_certificates, pem_to_private_key
from spire_py.crypto.x509_signer import X509Signer
from spire_py.errors import FailedPrecondition, Internal, InvalidArgument, SpireError
from spire_py.plugin_api.context import PluginContext
from spire_py.plugin_api.settings import Settings
from spire_py.plugin_api.upstream_authority import MintedX509CA, UpstreamAuthority
from spire_py.runtime.clock import Clock, SystemClock
from spire_py.spiffe.id import TrustDomain
from spire_py.spiffe.x509_svid import MAX_CHAIN_LENGTH
from spire_py.telemetry.logs import get_logger

_BACKDATE = timedelta(seconds=10)
_DEFAULT_TTL = timedelta(hours=1)
_LOOK_INTERVAL = timedelta(seconds=10)

P = ParamSpec("P")
T = TypeVar("T")

log = get_logger("upstream_authority.disk")


@dataclass(frozen=True, slots=True)
class Config:
    """Where the files are. Without a bundle the certificate is its own root."""

    trust_domain: TrustDomain
    certificates: Path
    key: Path
    bundle: Path | None = None


@dataclass(frozen=True, slots=True)
class UpstreamCA:
    """The CA as the files have it. It belongs together and leads to one of the roots.

    All certificates are DER. `chain` is what lies between the CAs it signs and a root; `not_after`
    is when the first certificate on the way to the root ends.
    """

    signer: X509Signer = field(repr=False)
    chain: tuple[bytes, ...]
    roots: tuple[bytes, ...]
    not_after: datetime


class DiskAuthority(UpstreamAuthority):
    """Signs with the CA of the files, which are read anew each time.

    Where they cannot be used, what was read last is. Roots are looked at every ten seconds, so that
    a new one is trusted everywhere before anything below it comes.

    Args:
        config: where the files are.
        clock: the machine's own where None.
    """

    def __init__(self, config: Config, clock: Clock | None = None) -> None:
        self._config = config
        self._clock = clock or SystemClock()
        self._ca: UpstreamCA | None = None
        self._told: tuple[bytes, ...] = ()
        # A disk that does not answer must not take the threads that others need.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="upstream")

    async def open(self) -> None:
        self._ca = await self._load()
        await self._in_thread(_warn_of_open_key, self._config.key)

    async def mint_x509_ca(self, csr: bytes, preferred_ttl: timedelta) -> MintedX509CA:
        upstream = await self._reload()
        return await self._in_thread(self._sign, upstream, csr, preferred_ttl)

    async def next_roots(self) -> tuple[bytes, ...]:
        while True:
            await self._clock.sleep(_LOOK_INTERVAL)
            _, roots = await self._in_thread(_load_certificates, self._config)
            if roots != self._told:
                self._told = roots
                return roots

    async def aclose(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _in_thread(
        self, function: Callable[P, T], *arguments: P.args, **named: P.kwargs
    ) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, partial(function, *arguments, **named))

    async def _load(self) -> UpstreamCA:
        return await self._in_thread(load, self._config, self._clock.now())

    async def _reload(self) -> UpstreamCA:
        try:
            self._ca = await self._load()
        except SpireError as error:
            if self._ca is None:
                raise
            log.warning("upstream_ca_not_reloaded", error=error.message)
        return self._ca

    def _sign(self, upstream: UpstreamCA, csr: bytes, preferred_ttl: timedelta) -> MintedX509CA:
        now = self._clock.now()
        ttl = preferred_ttl if preferred_ttl > timedelta() else _DEFAULT_TTL
        try:
            request = _read_csr(csr, self._config.trust_domain)
            if upstream.not_after <= now:
                raise FailedPrecondition("upstream CA has expired")
            signed = upstream.signer.sign_ca(
                request.public_key_der,
                str(self._config.trust_domain.id),
                subject=request.subject,
                not_before=now - _BACKDATE,
                not_after=min(now + ttl, upstream.not_after),
            )
        except SpireError as error:
            raise Internal(f"unable to sign CSR: {error.message}") from error
        return MintedX509CA((signed.der, *upstream.chain), upstream.roots)


def configure(data: Mapping[str, Any], context: PluginContext) -> DiskAuthority:
    """The plugin. The files are first read by `open`."""
    settings = Settings(data, context)
    certificates = settings.text("cert_file_path")
    key = settings.text("key_file_path")
    bundle = settings.text("bundle_file_path")
    if not certificates or not key:
        settings.fault("'cert_file_path' and 'key_file_path' must be set and not empty")
    settings.finish()
    return DiskAuthority(
        Config(
            trust_domain=context.trust_domain,
            certificates=Path(certificates),
            key=Path(key),
            bundle=Path(bundle) if bundle else None,
        )
    )


def load(config: Config, now: datetime) -> UpstreamCA:
    """Read the files; the calls block.

    Raises:
        InvalidArgument: one cannot be read, or they do not make a CA that can sign now.
    """
    try:
        key = pem_to_private_key(_read(config.key))
    except InvalidArgument as error:
        raise InvalidArgument(f"unable to load upstream CA key: {error.message}") from error
    certificates, roots = _load_certificates(config)
    try:
        return _upstream_ca(key, certificates, roots, now)
    except InvalidArgument as error:
        raise InvalidArgument(f"unable to load upstream CA: {error.message}") from error


def _upstream_ca(
    key: PrivateKey, certificates: list[bytes], roots: tuple[bytes, ...], now: datetime
) -> UpstreamCA:
    if CertificateFacts(certificates[0]).public_key_der != public_key_der(key):
        raise InvalidArgument("certificate and private key do not match")
    try:
        path = verify_path(
            certificates[0],
            certificates[1:],
            anchors=roots,
            now=now,
            max_intermediates=MAX_CHAIN_LENGTH - 3,
        )
    except InvalidCertificate as error:
        raise InvalidArgument(
            "certificate cannot be validated with the provided bundle or is not self-signed: "
            f"{error.message}"
        ) from error
    return UpstreamCA(
        signer=X509Signer(certificates[0], key),
        chain=tuple(der for der in certificates if not _is_root(der, roots)),
        roots=roots,
        not_after=min(CertificateFacts(der).not_after for der in path),
    )


def _is_root(der: bytes, roots: tuple[bytes, ...]) -> bool:
    """Whether all who have the roots have this one, and nobody asks who signed it."""
    facts = CertificateFacts(der)
    return der in roots and facts.subject_der == facts.issuer_der


def _load_certificates(config: Config) -> tuple[list[bytes], tuple[bytes, ...]]:
    """The CA with what is above it, and the roots."""
    try:
        certificates = pem_to_certificates(_read(config.certificates))
    except InvalidArgument as error:
        raise InvalidArgument(f"unable to load upstream CA cert: {error.message}") from error
    if config.bundle is None:
        if len(certificates) > 1:
            raise InvalidArgument(
                "with no bundle_file_path configured only self-signed CAs are supported"
            )
        return certificates, tuple(certificates)
    try:
        return certificates, tuple(pem_to_certificates(_read(config.bundle)))
    except InvalidArgument as error:
        raise InvalidArgument(f"unable to load upstream CA bundle: {error.message}") from error


def _read(path: Path) -> bytes:
    """The file, as far as it may be one; a pipe or device in its place is not waited for."""
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise InvalidArgument(f"open {path}: is no regular file")
            return file.read(MAX_PEM_BYTES + 1)
    except OSError as error:
        raise InvalidArgument(f"open {path}: {(error.strerror or '').lower()}") from error


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _read_csr(csr: bytes, trust_domain: TrustDomain) -> CertificateRequest:
    request = parse_csr(csr)
    if len(request.uris) != 1:
        raise InvalidArgument("CSR must have exactly one URI SAN")
    if request.uris[0] != str(trust_domain.id):
        raise InvalidArgument(
            f'CSR with SPIFFE ID "{request.uris[0]}" is invalid: must use the trust domain ID for '
            f'trust domain "{trust_domain}"'
        )
    return request


def _warn_of_open_key(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        log.warning("key_file_not_private", path=str(path), mode=f"{stat.S_IMODE(mode):04o}")
