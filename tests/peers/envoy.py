"""Configurations of Envoy that takes its certificates by SDS from the agent's socket."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.request import urlopen

Config = dict[str, Any]

_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3"
_HTTP = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3"
_ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
_OPTIONS = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_SDS_CLUSTER = "spire_agent"


def sds(name: str) -> Config:
    """A secret of that name, asked for over the agent's socket."""
    service = {"envoy_grpc": {"cluster_name": _SDS_CLUSTER}}
    source = {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [service]}
    return {"name": name, "sds_config": {"resource_api_version": "V3", "api_config_source": source}}


def common_tls(*, identity: str, authority: str, peer: str | None) -> Config:
    """The part that both ends share.

    Args:
        identity: `default` or a SPIFFE ID.
        authority: `ROOTCA`, `ALL`, or a trust domain ID.
        peer: the only SPIFFE ID the other end may have, as Istio does it; None: any that the
            authority holds.
    """
    context: Config = {"tls_certificate_sds_secret_configs": [sds(identity)]}
    if peer is None:
        context["validation_context_sds_secret_config"] = sds(authority)
        return context
    wanted = [{"san_type": "URI", "matcher": {"exact": peer}}]
    context["combined_validation_context"] = {
        "default_validation_context": {"match_typed_subject_alt_names": wanted},
        "validation_context_sds_secret_config": sds(authority),
    }
    return context


def server(*, agent_socket: Path, tls: Config) -> Config:
    """A proxy that wants mTLS and answers each request with the caller's URI SAN."""
    answer = {
        "match": {"prefix": "/"},
        "direct_response": {"status": 200, "body": {"inline_string": "served"}},
        "response_headers_to_add": [
            {"header": {"key": "x-caller", "value": "%DOWNSTREAM_PEER_URI_SAN%"}}
        ],
    }
    socket = {
        "name": "tls",
        "typed_config": {
            "@type": f"{_TLS}.DownstreamTlsContext",
            "common_tls_context": tls,
            "require_client_certificate": True,
        },
    }
    return _bootstrap(agent_socket, "server", _listener(answer, socket), [])


def client(*, agent_socket: Path, tls: Config, upstream: tuple[str, int]) -> Config:
    """A proxy that takes plain HTTP and forwards it by mTLS."""
    socket = {
        "name": "tls",
        "typed_config": {"@type": f"{_TLS}.UpstreamTlsContext", "common_tls_context": tls},
    }
    host, port = upstream
    address = {"socket_address": {"address": host, "port_value": port}}
    cluster = {
        "name": "upstream",
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": _endpoint("upstream", address),
        "transport_socket": socket,
    }
    route = {"match": {"prefix": "/"}, "route": {"cluster": "upstream"}}
    return _bootstrap(agent_socket, "client", _listener(route, None), [cluster])


def _endpoint(name: str, address: Config) -> Config:
    return {
        "cluster_name": name,
        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
    }


def _listener(route: Config, transport_socket: Config | None) -> Config:
    manager = {
        "@type": f"{_HTTP}.HttpConnectionManager",
        "stat_prefix": "http",
        "route_config": {
            "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}],
        },
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": _ROUTER}}],
    }
    chain: Config = {
        "filters": [
            {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
        ]
    }
    if transport_socket is not None:
        chain["transport_socket"] = transport_socket
    return {
        "name": "main",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [chain],
    }


def _bootstrap(agent_socket: Path, node: str, listener: Config, clusters: list[Config]) -> Config:
    http2: Config = {"explicit_http_config": {"http2_protocol_options": {}}}
    agent = {
        "name": _SDS_CLUSTER,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": _endpoint(_SDS_CLUSTER, {"pipe": {"path": str(agent_socket)}}),
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": _OPTIONS,
                **http2,
            }
        },
    }
    return {
        "node": {"id": node, "cluster": "peers"},
        "static_resources": {"listeners": [listener], "clusters": [agent, *clusters]},
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
    }


def arguments(config: Config, folder: Path) -> list[str]:
    """Write the configuration; the flags that Envoy is started with."""
    folder.mkdir(parents=True)
    path = folder / "envoy.json"
    path.write_text(json.dumps(config))
    return [
        *("--config-path", str(path), "--admin-address-path", str(folder / "admin")),
        *("--log-level", "info", "--concurrency", "1", "--disable-hot-restart"),
    ]


class Admin:
    """The admin page of one Envoy."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, page: str) -> Any:
        """A page as JSON, or None as long as Envoy is not up."""
        try:
            address = (self._folder / "admin").read_text().strip()
            with urlopen(f"http://{address}/{page}", timeout=5) as answer:
                return json.loads(answer.read())
        except (OSError, ValueError):
            return None

    def port(self) -> int | None:
        """The port of its listener, once the listener takes connections."""
        listeners = (self.read("listeners?format=json") or {}).get("listener_statuses", [])
        for listener in listeners:
            return int(listener["local_address"]["socket_address"]["port_value"])
        return None
