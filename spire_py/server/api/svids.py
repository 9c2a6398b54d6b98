"""SVIDs that this server signed, from the CA to the wire."""

from __future__ import annotations

from spire_py._proto.spire.api import types_pb2
from spire_py.model.entry import time_to_seconds
from spire_py.server.ca.ca import SignedJWTSVID, SignedX509SVID
from spire_py.wire.spiffe_ids import id_to_pb


def x509_svid_to_pb(svid: SignedX509SVID) -> types_pb2.X509SVID:
    return types_pb2.X509SVID(
        id=id_to_pb(svid.spiffe_id),
        cert_chain=svid.chain,
        expires_at=time_to_seconds(svid.expires_at),
    )


def jwt_svid_to_pb(svid: SignedJWTSVID) -> types_pb2.JWTSVID:
    return types_pb2.JWTSVID(
        id=id_to_pb(svid.spiffe_id),
        token=svid.token,
        expires_at=time_to_seconds(svid.expires_at),
        issued_at=time_to_seconds(svid.issued_at),
    )
