"""An identity that another agent gives over its Workload API, to be exchanged (mode spiffe)."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path

from spire_py._proto import workload_pb2
from spire_py.crypto.concatenated import split_certificates
from spire_py.crypto.keys import pkcs8_to_private_key
from spire_py.errors import SpireError, Unavailable
from spire_py.transport import Channel
from spire_py_plugins.node_attestor.x509pop.identity import Identity

_METHOD = "/SpiffeWorkloadAPI/FetchX509SVID"
_SECURITY_HEADER = ("workload.spiffe.io", "true")
_TIMEOUT_SECONDS = 30.0


class WorkloadAPIIdentity:
    """The default X509-SVID that a Workload API has for this process, fetched anew each time."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def fetch(self) -> Identity:
        try:
            svid = await self._fetch()
            certificates = tuple(split_certificates(svid.x509_svid))
            key = pkcs8_to_private_key(svid.x509_svid_key)
        except SpireError as error:
            raise Unavailable(f"unable to fetch SVID from workload API: {error.message}") from error
        return Identity(certificates, key)

    async def _fetch(self) -> workload_pb2.X509SVID:
        async with (
            aclosing(Channel.unix(self._socket)) as channel,
            channel.server_stream(
                _METHOD,
                workload_pb2.X509SVIDRequest(),
                workload_pb2.X509SVIDResponse,
                timeout=_TIMEOUT_SECONDS,
                metadata=(_SECURITY_HEADER,),
            ) as updates,
        ):
            async for update in updates:
                if update.svids:
                    return update.svids[0]
        raise Unavailable("there is no SVID")
