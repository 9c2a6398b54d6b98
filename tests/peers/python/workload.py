"""A workload on py-spiffe: its identities, mTLS and tokens, as JSON lines.

Runs in an environment of its own, never in a process with spire-py. Commands: watch, fetch, serve,
get, jwt, validate; the flags are those of the Go workload.
"""

from __future__ import annotations

import argparse
import http.client
import http.server
import json
import queue
import ssl
import sys
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from spiffe import JwtSource, JwtSvid, SpiffeId, WorkloadApiClient, X509Source, X509Svid

_LIMIT = 1 << 20


def emit(event: str, **fields: Any) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


def describe(context: Any) -> dict[str, Any]:
    svids = [
        {
            "id": str(svid.spiffe_id),
            "serial": str(svid.leaf.serial_number),
            "not_before": svid.leaf.not_valid_before_utc.isoformat(),
            "not_after": svid.leaf.not_valid_after_utc.isoformat(),
            "chain": len(svid.cert_chain),
        }
        for svid in context.x509_svids
    ]
    bundles = {
        bundle.trust_domain.name: len(bundle.x509_authorities)
        for bundle in context.x509_bundle_set.bundles
    }
    return {"svids": svids, "bundles": bundles}


def watch(client: WorkloadApiClient, options: argparse.Namespace) -> None:
    """Print each update until enough came."""
    came: queue.Queue[tuple[str, dict[str, Any]]] = queue.Queue()

    def identities(update: Any) -> None:
        came.put(("x509", describe(update)))

    def jwt_bundles(update: Any) -> None:
        keys = {item.trust_domain.name: sorted(item.jwt_authorities) for item in update.bundles}
        came.put(("jwt_bundles", {"keys": keys}))

    def failed(error: Exception) -> None:
        came.put(("watch_error", {"message": str(error)}))

    handlers = [
        client.stream_x509_contexts(identities, failed),
        client.stream_jwt_bundles(jwt_bundles, failed),
    ]
    left = options.updates
    while left != 0 or not options.updates:
        event, fields = came.get(timeout=options.timeout)
        emit(event, **fields)
        left -= event == "x509"
    for handler in handlers:
        handler.cancel()


def fetch(client: WorkloadApiClient, options: argparse.Namespace) -> None:
    """The identities, once."""
    emit("x509", **describe(client.fetch_x509_context(timeout=options.timeout)))


def jwt(client: WorkloadApiClient, options: argparse.Namespace) -> None:
    """Fetch tokens; check each with the bundles here and by asking the agent."""
    audience = {options.audience}
    subject = SpiffeId(options.spiffe_id) if options.spiffe_id else None
    with JwtSource(workload_api_client=client, timeout_in_seconds=options.timeout) as source:
        for svid in source.fetch_svids(audience, subject):
            bundle = source.get_bundle_for_trust_domain(svid.spiffe_id.trust_domain)
            if bundle is None:
                raise LookupError(f"no bundle of {svid.spiffe_id.trust_domain}")
            JwtSvid.parse_and_validate(svid.token, bundle, audience)
            client.validate_jwt_svid(svid.token, options.audience, timeout=options.timeout)
            emit(
                "jwt",
                id=str(svid.spiffe_id),
                audience=sorted(svid.audience),
                token=svid.token,
                expiry=svid.expiry,
            )


def validate(client: WorkloadApiClient, options: argparse.Namespace) -> None:
    """Ask the agent about one token."""
    svid = client.validate_jwt_svid(options.token, options.audience, timeout=options.timeout)
    emit("valid", id=str(svid.spiffe_id))


def x509_source(client: WorkloadApiClient, options: argparse.Namespace) -> X509Source:
    """A source of the wanted identity, else of the first."""

    def pick(svids: list[X509Svid]) -> X509Svid:
        return next((svid for svid in svids if str(svid.spiffe_id) == options.spiffe_id), svids[0])

    return X509Source(
        workload_api_client=client, timeout_in_seconds=options.timeout, svid_picker=pick
    )


def tls_context(source: X509Source, purpose: int) -> ssl.SSLContext:
    """A context with our identity that takes only members of our trust domain's bundle."""
    update = source.get_x509_context()
    own = update.default_svid
    bundle = update.x509_bundle_set.get_bundle_for_trust_domain(own.spiffe_id.trust_domain)
    context = ssl.SSLContext(purpose)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    roots = b"".join(
        root.public_bytes(serialization.Encoding.DER) for root in bundle.x509_authorities
    )
    context.load_verify_locations(cadata=roots)
    with tempfile.TemporaryDirectory() as folder:
        chain, key = Path(folder, "chain.pem"), Path(folder, "key.pem")
        own.save(chain, key, serialization.Encoding.PEM)
        context.load_cert_chain(chain, key)
    return context


def peer_id(socket: ssl.SSLSocket, options: argparse.Namespace) -> str:
    """The other end's SPIFFE ID.

    Raises:
        PermissionError: it is not the expected one.
    """
    leaf = x509.load_der_x509_certificate(socket.getpeercert(binary_form=True) or b"")
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    found = SpiffeId(uris[0]) if len(uris) == 1 else None
    if found is None or (options.expect and str(found) != options.expect):
        raise PermissionError(f"the other end is {uris}")
    return str(found)


def serve(client: WorkloadApiClient, options: argparse.Namespace) -> None:
    """Answer each HTTPS request with the caller's ID until a signal."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            caller = peer_id(self.connection, options)  # type: ignore[arg-type]
            emit("peer", id=caller, path=self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(caller)))
            self.end_headers()
            self.wfile.write(caller.encode())

        def log_message(self, *_: object) -> None: ...

    class Server(http.server.HTTPServer):
        def get_request(self) -> Any:
            plain, address = super().get_request()
            # What the source holds now: identity and bundle may have changed since the last call.
            context = tls_context(source, ssl.PROTOCOL_TLS_SERVER)
            return context.wrap_socket(plain, server_side=True), address

    host, port = options.listen.rsplit(":", 1)
    with x509_source(client, options) as source:
        server = Server((host, int(port)), Answer)
        emit("listening", address=f"{host}:{server.server_port}")
        server.serve_forever()


def get(client: WorkloadApiClient, options: argparse.Namespace) -> None:
    """One HTTPS request by mTLS."""
    url = urlsplit(options.url)
    with x509_source(client, options) as source:
        context = tls_context(source, ssl.PROTOCOL_TLS_CLIENT)
    connection = http.client.HTTPSConnection(
        url.hostname or "", url.port, timeout=options.timeout, context=context
    )
    connection.connect()
    found = peer_id(connection.sock, options)
    connection.request("GET", url.path or "/")
    response = connection.getresponse()
    emit("response", status=response.status, body=response.read(_LIMIT).decode(), peer=found)


def seconds(text: str) -> float:
    return float(text.removesuffix("s"))


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    commands = {"watch": watch, "fetch": fetch, "serve": serve, "get": get, "jwt": jwt}
    parser.add_argument("command", choices=[*commands, "validate"])
    parser.add_argument("-socket", help="unix:///path; default SPIFFE_ENDPOINT_SOCKET")
    parser.add_argument("-audience", default="peer")
    parser.add_argument("-spiffe-id", default="")
    parser.add_argument("-listen", default="127.0.0.1:0")
    parser.add_argument("-url", default="")
    parser.add_argument("-expect", default="")
    parser.add_argument("-token", default="")
    parser.add_argument("-updates", type=int, default=0)
    parser.add_argument("-timeout", type=seconds, default=20.0, help="such as 20s")
    options = parser.parse_args(arguments)
    options.run = {**commands, "validate": validate}[options.command]
    return options


def main() -> int:
    options = parse(sys.argv[1:])
    try:
        with WorkloadApiClient(options.socket) as client:
            options.run(client, options)
    except Exception as error:  # the border of a process: whatever it is, the test must see it
        emit("error", error=str(error), kind=type(error).__name__)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
