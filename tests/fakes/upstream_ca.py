"""A CA in files, as an operator would put it there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from spire_py.crypto.keys import PrivateKey
from tests.fakes.clock import FakeClock
from tests.fakes.pki import Issued, issue

DAY = timedelta(days=1)


@dataclass
class UpstreamFiles:
    """Writes certificates and keys, valid by the clock, to one folder."""

    folder: Path
    clock: FakeClock

    @property
    def certificates(self) -> Path:
        return self.folder / "ca.crt"

    @property
    def key(self) -> Path:
        return self.folder / "ca.key"

    @property
    def bundle(self) -> Path:
        return self.folder / "bundle.crt"

    def ca(
        self,
        name: str,
        issuer: Issued | None = None,
        *,
        days: float = 100,
        key: PrivateKey | None = None,
        path_length: int | None = None,
        uris: Sequence[str] = (),
        is_ca: bool = True,
    ) -> Issued:
        """A CA certificate that is valid from a day ago."""
        now = self.clock.now()
        return issue(
            issuer,
            name=name,
            is_ca=is_ca,
            key=key or ec.generate_private_key(ec.SECP256R1()),
            not_before=now - DAY,
            not_after=now + days * DAY,
            path_length=path_length,
            uris=uris,
        )

    def write(self, *certificates: Issued, bundle: Sequence[Issued] = ()) -> None:
        """The first of `certificates` signs; `bundle` is what is trusted."""
        self.certificates.write_text("".join(each.pem for each in certificates))
        self.key.write_text(certificates[0].key_pem)
        self.key.chmod(0o600)
        if bundle:
            self.write_bundle(*bundle)

    def write_bundle(self, *roots: Issued) -> None:
        self.bundle.write_text("".join(root.pem for root in roots))

    def settings(self, *, bundle: bool) -> dict[str, str]:
        """As `plugin_data` has them."""
        settings = {"cert_file_path": str(self.certificates), "key_file_path": str(self.key)}
        return {**settings, "bundle_file_path": str(self.bundle)} if bundle else settings
