"""`bundle show` (feature E11)."""

from __future__ import annotations

from spire_py._proto.spire.api import types_pb2 as types
from spire_py._proto.spire.api.server import bundle_pb2
from spire_py.cli.command import CommandFailed
from spire_py.cli.connection import Connection
from spire_py.cli.flags import Flag, Flags
from spire_py.cli.output import print_messages
from spire_py.cli.server.api import server_command
from spire_py.crypto.pem import certificates_to_pem


async def _show(flags: Flags, server: Connection) -> int:
    bundle = await server.call(
        "/spire.api.server.bundle.v1.Bundle/GetBundle",
        bundle_pb2.GetBundleRequest(),
        types.Bundle,
    )

    def pretty() -> int:
        print(bundle_text(bundle, flags.text("format")), end="")
        return 0

    return print_messages(flags, pretty, bundle)


def bundle_text(bundle: types.Bundle, form: str) -> str:
    """A bundle as PEM (the roots only) or as a SPIFFE bundle document.

    Raises:
        CommandFailed: `form` is neither `pem` nor `spiffe`, in whatever case.
    """
    form = form.lower() or "pem"
    if form == "pem":
        return certificates_to_pem(authority.asn1 for authority in bundle.x509_authorities)
    if form == "spiffe":
        from spire_py.spiffe.bundle_format import bundle_to_json
        from spire_py.wire.bundles import bundle_from_pb

        return bundle_to_json(bundle_from_pb(bundle)) + "\n"
    raise CommandFailed(f'invalid format: "{form}"')


SHOW = server_command(
    "bundle show",
    "Prints the server's bundle",
    (Flag("format", "pem or spiffe, in pretty output only", default="pem"),),
    _show,
)
