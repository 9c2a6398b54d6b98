"""A configuration of Envoy that lets requests in by their JWT-SVID."""

from __future__ import annotations

from typing import Any

Config = dict[str, Any]

_FILTERS = "type.googleapis.com/envoy.extensions.filters"


def gate(*, jwks: str, audience: str) -> Config:
    """A proxy that answers requests whose bearer token the keys in `jwks` signed for `audience`."""
    provider = {
        "audiences": [audience],
        "local_jwks": {"inline_string": jwks},
        "from_headers": [{"name": "authorization", "value_prefix": "Bearer "}],
    }
    rule = {"match": {"prefix": "/"}, "requires": {"provider_name": "spiffe"}}
    authentication = {
        "@type": f"{_FILTERS}.http.jwt_authn.v3.JwtAuthentication",
        "providers": {"spiffe": provider},
        "rules": [rule],
    }
    answer = {"status": 200, "body": {"inline_string": "served"}}
    route = {"match": {"prefix": "/"}, "direct_response": answer}
    manager = {
        "@type": f"{_FILTERS}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "http",
        "route_config": {
            "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}],
        },
        "http_filters": [
            {"name": "envoy.filters.http.jwt_authn", "typed_config": authentication},
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_FILTERS}.http.router.v3.Router"},
            },
        ],
    }
    network = "envoy.filters.network.http_connection_manager"
    listener = {
        "name": "main",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [{"filters": [{"name": network, "typed_config": manager}]}],
    }
    return {
        "node": {"id": "gate", "cluster": "peers"},
        "static_resources": {"listeners": [listener]},
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
    }
