"""Faults and warnings of the server's file, each with its line."""

from __future__ import annotations

import pytest

from spire_py.config.hcl import parse
from spire_py.config.problems import ConfigProblems
from spire_py.config.server import (
    read_server_config,
)
from tests.unit.config.server_file import problems, warnings


@pytest.mark.parametrize(
    ("server", "problem"),
    [
        pytest.param(
            'trust_domian = "x"',
            'unknown configuration detected: "trust_domian" in server; '
            'did you mean "trust_domain"? (line 2)',
            id="unknown key",
        ),
        pytest.param(
            'ca_subject { foo = "x" }',
            'unknown configuration detected: "foo" in ca_subject (line 2)',
            id="unknown key of ca_subject",
        ),
        pytest.param(
            "\nratelimit {\n attestaton = true }",
            'unknown configuration detected: "attestaton" in ratelimit; '
            'did you mean "attestation"? (line 4)',
            id="unknown key of ratelimit",
        ),
        pytest.param(
            'federation { bundle_endpoint { port = 1 x = 1 profile "https_spiffe" {} } }',
            'unknown configuration detected: "x" in bundle endpoint (line 2)',
            id="unknown key of bundle_endpoint",
        ),
        pytest.param(
            'ca_ttl = "1y"',
            'could not parse default CA ttl "1y": time: unknown unit "y" in duration "1y" (line 2)',
            id="CA TTL",
        ),
        pytest.param(
            'default_x509_svid_ttl = "b"',
            'could not parse default X509 SVID ttl "b": time: invalid duration "b" (line 2)',
            id="X509-SVID TTL",
        ),
        pytest.param(
            'default_jwt_svid_ttl = "b"',
            'could not parse default JWT SVID ttl "b": time: invalid duration "b" (line 2)',
            id="JWT-SVID TTL",
        ),
        pytest.param(
            'agent_ttl = "b"',
            'could not parse agent ttl "b": time: invalid duration "b" (line 2)',
            id="agent TTL",
        ),
        pytest.param(
            'agent_ttl = "-1h"',
            "server: agent_ttl: expected a duration longer than 0 (line 2)",
            id="negative TTL",
        ),
        pytest.param(
            'experimental { full_cache_reload_interval = "-1s" }',
            "experimental: full_cache_reload_interval: expected a duration longer than 0 (line 2)",
            id="reload without pause",
        ),
        pytest.param(
            'experimental { prune_events_older_than = "-1h" }',
            "experimental: prune_events_older_than: expected a duration longer than 0 (line 2)",
            id="events removed before others have seen them",
        ),
        pytest.param(
            'experimental { event_timeout = "-1h" }',
            "experimental: event_timeout: expected a duration longer than 0 (line 2)",
            id="late events given up at once",
        ),
        pytest.param(
            'ca_key_type = "foo"',
            'error parsing ca_key_type: key type "foo" is unknown; '
            "must be one of [rsa-2048, rsa-4096, ec-p256, ec-p384] (line 2)",
            id="CA key type",
        ),
        pytest.param(
            'jwt_key_type = "foo"',
            'error parsing jwt_key_type: key type "foo" is unknown; '
            "must be one of [rsa-2048, rsa-4096, ec-p256, ec-p384] (line 2)",
            id="JWT key type",
        ),
        pytest.param(
            'log_level = "loud"',
            'could not start logger: not a valid logrus Level: "loud" (line 2)',
            id="log level",
        ),
        pytest.param(
            'log_format = "xml"',
            'could not start logger: unknown logger format: "xml" (line 2)',
            id="log format",
        ),
        pytest.param(
            'admin_ids = ["spiffe://a/b", "c"]',
            'could not parse admin ID "c": scheme is missing or invalid (line 2)',
            id="admin ID",
        ),
        pytest.param(
            'proxy_protocol_trusted_cidrs = ["10.0.0.1"]',
            'invalid proxy_protocol_trusted_cidrs value "10.0.0.1": '
            "invalid CIDR address: 10.0.0.1 (line 2)",
            id="CIDR",
        ),
        pytest.param(
            'bind_port = "many"',
            "server: bind_port: expected a whole number, got a text (line 2)",
            id="port is a text",
        ),
        pytest.param(
            "bind_port = 70000",
            "server: bind_port: expected a port between 1 and 65535 (line 2)",
            id="port is too large",
        ),
        pytest.param(
            'audit_log_enabled = "true"',
            "server: audit_log_enabled: expected true or false, got a text (line 2)",
            id="flag is a text",
        ),
        pytest.param(
            'admin_ids = "spiffe://a/b"',
            "server: admin_ids: expected a list, got a text (line 2)",
            id="list is a text",
        ),
        pytest.param(
            "log_file = true",
            "server: log_file: expected a text, got true or false (line 2)",
            id="text is a flag",
        ),
        pytest.param(
            "ca_subject = 1", "ca_subject: expected a block, got a number (line 2)", id="block"
        ),
        pytest.param(
            'experimental { named_pipe_name = "x" }',
            "invalid configuration: named_pipe_name is not supported in this platform; "
            "please use socket_path instead (line 2)",
            id="named pipe",
        ),
        pytest.param(
            '\nexperimental {\n event_timeout = "1m"\n sql_transaction_timeout = "1m" }',
            "both experimental sql_transaction_timeout and event_timeout set, "
            "only set event_timeout (line 5)",
            id="both timeouts",
        ),
        pytest.param(
            'experimental { feature_flags = ["z", "a"] }',
            "error loading feature flags: unknown feature flag(s): [a z] (line 2)",
            id="feature flags",
        ),
        pytest.param(
            'experimental { cache_reload_interval = "x" }',
            'could not parse cache reload interval: time: invalid duration "x" (line 2)',
            id="cache reload interval",
        ),
        pytest.param(
            'federation { federates_with "a.org" { bundle_endpoint_url = "http://a.org"\n'
            'bundle_endpoint_profile "https_web" {} } }',
            'federation.federates_with["a.org"].bundle_endpoint_url must use the HTTPS protocol; '
            'URL found: "http://a.org" (line 2)',
            id="federation without TLS",
        ),
        pytest.param(
            'federation { federates_with "a.org" { bundle_endpoint_profile "https_web" {} } }',
            'federation.federates_with["a.org"].bundle_endpoint_url must be configured (line 2)',
            id="federation without URL",
        ),
        pytest.param(
            'federation { federates_with "a.org" { bundle_endpoint_url = "https://a.org" } }',
            'federation configuration for trust domain "a.org": '
            "missing bundle endpoint configuration (line 2)",
            id="federation without profile",
        ),
        pytest.param(
            'federation { federates_with "a.org" { bundle_endpoint_url = "https://a.org"\n'
            'bundle_endpoint_profile "https_spiffe" { endpoint_spiffe_id = "x" } } }',
            "could not get endpoint SPIFFE ID: scheme is missing or invalid (line 3)",
            id="federation with bad ID",
        ),
        pytest.param(
            'federation { bundle_endpoint { port = 1 profile "https_web" {} } }',
            "malformed https_web profile configuration: 'acme' or 'serving_cert_file' is required "
            "(line 2)",
            id="https_web without certificate",
        ),
        pytest.param(
            "bind_port = 1\nBind_Port = 2",
            'the argument "Bind_Port" was already set (line 3)',
            id="twice in other case",
        ),
    ],
)
def test_fault_is_told_with_its_line(server: str, problem: str) -> None:
    assert problem in problems(server)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", ["plugins section must be configured"], id="plugins"),
        pytest.param("", ["trust_domain must be configured"], id="trust domain"),
        pytest.param("", ["data_dir must be configured"], id="data dir"),
        pytest.param(
            "x = 1", ['unknown configuration detected: "x" in top-level (line 1)'], id="x"
        ),
    ],
)
def test_empty_file_tells_all_that_is_missing(text: str, expected: list[str]) -> None:
    with pytest.raises(ConfigProblems) as error:
        read_server_config(parse(text))
    assert set(expected) <= {str(problem) for problem in error.value.problems}


def test_all_faults_are_told_at_once() -> None:
    text = 'server {\n trust_domain = "A"\n bind_port = "x"\n ca_ttl = "1"\n}\n'
    with pytest.raises(ConfigProblems) as error:
        read_server_config(parse(text))
    assert str(error.value).splitlines() == [
        "data_dir must be configured",
        "plugins section must be configured",
        (
            'could not parse trust_domain "A": trust domain characters are limited to lowercase '
            "letters, numbers, dots, dashes, and underscores (line 2)"
        ),
        "server: bind_port: expected a whole number, got a text (line 3)",
        'could not parse default CA ttl "1": time: missing unit in duration "1" (line 4)',
    ]


@pytest.mark.parametrize(
    ("rest", "problem"),
    [
        (
            "health_checks { listener_enable = true }",
            (
                'unknown configuration detected: "listener_enable" in health_checks; '
                'did you mean "listener_enabled"? (line 4)'
            ),
        ),
        (
            'health_checks { bind_port = "http" }',
            "health_checks: bind_port: expected a port between 1 and 65535 (line 4)",
        ),
        (
            'health_checks { live_path = "live" }',
            'health_checks: live_path: expected a path that begins with "/" (line 4)',
        ),
        (
            'health_checks { live_path = "/x" ready_path = "/x" }',
            "health_checks: live_path and ready_path must differ (line 4)",
        ),
        (
            "telemetry { Prometheus { prt = 1 port = 1 } }",
            'unknown configuration detected: "prt" in Prometheus; did you mean "port"? (line 4)',
        ),
        (
            "telemetry { Prometheus {} }",
            "Prometheus: port: expected a port between 1 and 65535 (line 4)",
        ),
        (
            'telemetry { DogStatsd = [{ address = "a" }, { adress = "b" }] }',
            (
                'unknown configuration detected: "adress" in DogStatsd; '
                'did you mean "address"? (line 4)'
            ),
        ),
        (
            "telemetry { InMem { x = 1 } }",
            'unknown configuration detected: "x" in InMem (line 4)',
        ),
        (
            "health_check {}",
            (
                'unknown configuration detected: "health_check" in top-level; '
                'did you mean "health_checks"? (line 4)'
            ),
        ),
    ],
)
def test_fault_of_other_sections(rest: str, problem: str) -> None:
    assert problem in problems(rest=rest + "\n")


@pytest.mark.parametrize(
    ("server", "rest", "warning"),
    [
        pytest.param(
            'default_svid_ttl = "30m"',
            "",
            '"default_svid_ttl" in server is an older name; '
            'please use "default_x509_svid_ttl" (line 2)',
            id="older name",
        ),
        pytest.param(
            "",
            "telemetry { Foo = 1 }\n",
            'unknown configuration detected: "Foo" in telemetry (line 4)',
            id="unknown key of telemetry",
        ),
        pytest.param(
            "federation { foo = 1 }",
            "",
            'unknown configuration detected: "foo" in federation (line 2)',
            id="unknown key of federation",
        ),
        pytest.param(
            'log_level = "INFO"\nlog_level = "WARN"',
            "",
            '"log_level" in server is given more than once (line 3)',
            id="twice",
        ),
        pytest.param(
            "experimental { foo = 1 }",
            "",
            'unknown configuration detected: "foo" in experimental (line 2)',
            id="unknown key of experimental",
        ),
        pytest.param(
            "\nca_subject {}",
            "",
            "ca_subject configurable is set but empty; the default will be used (line 3)",
            id="empty subject",
        ),
        pytest.param(
            "federation { bundle_endpoint { port = 1 } }",
            "",
            "Bundle endpoint is configured but has no profile set, using https_spiffe as default; "
            "please configure a profile explicitly. This will be fatal in a future release. "
            "(line 2)",
            id="no profile",
        ),
        pytest.param(
            'experimental { sql_transaction_timeout = "1m" }',
            "",
            "experimental.sql_transaction_timeout is deprecated, "
            "use experimental.event_timeout instead (line 2)",
            id="old timeout",
        ),
        pytest.param(
            'default_x509_svid_ttl = "6h"',
            "",
            "default_x509_svid_ttl is too high for the configured ca_ttl value. SVIDs with shorter "
            "lifetimes may be issued. Please set default_x509_svid_ttl to 4h or less, or the "
            "ca_ttl to 36h or more, to guarantee the full default_x509_svid_ttl lifetime when CA "
            "rotations are scheduled. (line 2)",
            id="TTL above a sixth",
        ),
        pytest.param(
            'agent_ttl = "200h"',
            "",
            "agent_ttl is too high and the ca_ttl is too low. SVIDs with shorter lifetimes may be "
            "issued. Please set agent_ttl to 168h or less, and the ca_ttl to 1008h or more, to "
            "guarantee the full agent_ttl lifetime when CA rotations are scheduled. (line 2)",
            id="TTL above a week, CA too short",
        ),
        pytest.param(
            'default_jwt_svid_ttl = "200h"\nca_ttl = "2000h"',
            "",
            "default_jwt_svid_ttl is too high. SVIDs with shorter lifetimes may be issued. Please "
            "set default_jwt_svid_ttl to 168h or less to guarantee the full default_jwt_svid_ttl "
            "lifetime when CA rotations are scheduled. (line 2)",
            id="TTL above a week",
        ),
    ],
)
def test_warning_is_told_with_its_line(server: str, rest: str, warning: str) -> None:
    assert warning in warnings(server, rest)


def test_ttl_of_a_sixth_of_the_ca_is_no_cause_for_warning() -> None:
    assert warnings('default_x509_svid_ttl = "4h"') == []
