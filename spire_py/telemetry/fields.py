"""The names of SPIRE's log fields (features P7 to P9), for those that are built at run time.

Most lines write the name as a keyword: `log.info("…", spiffe_id=…)`. The names are the same.
"""

from __future__ import annotations

from typing import Final

ADDRESS: Final = "address"
AGENT_ID: Final = "agent_id"
ALERT: Final = "alert"
ALERT_TYPE: Final = "alert_type"
ATTEMPT: Final = "attempt"
AUTHORIZED_AS: Final = "authorized_as"
AUTHORIZED_VIA: Final = "authorized_via"
CALLER_ADDR: Final = "caller_addr"
CALLER_GID: Final = "caller_gid"
CALLER_ID: Final = "caller_id"
CALLER_PATH: Final = "caller_path"
CALLER_UID: Final = "caller_uid"
CHECK: Final = "check"
CSR_SPIFFE_ID: Final = "csr_spiffe_id"
DATA_DIR: Final = "data_dir"
DETAILS: Final = "details"
DURATION: Final = "duration"
ENTRY_ID: Final = "entry_id"
ERROR: Final = "error"
EXPIRES_AT: Final = "expires_at"
EXTERNAL: Final = "external"
FAILURES: Final = "failures"
LINE: Final = "line"
METHOD: Final = "method"
NETWORK: Final = "network"
NODE_ATTESTOR_TYPE: Final = "node_attestor_type"
PARENT_ID: Final = "parent_id"
PID: Final = "pid"
PLUGIN_NAME: Final = "plugin_name"
PLUGIN_TYPE: Final = "plugin_type"
REASON: Final = "reason"
REGISTRATION_ID: Final = "registration_id"
REQUEST_ID: Final = "request_id"
RETRY_INTERVAL: Final = "retry_interval"
REVISION_NUMBER: Final = "revision_number"
SELECTORS: Final = "selectors"
SERIAL_NUMBER: Final = "serial_num"
SERVICE: Final = "service"
SPIFFE_ID: Final = "spiffe_id"
STATUS: Final = "status"
STATUS_CODE: Final = "status_code"
STATUS_MESSAGE: Final = "status_message"
SUBSYSTEM_NAME: Final = "subsystem_name"
TRUST_DOMAIN_ID: Final = "trust_domain_id"
TYPE: Final = "type"

DEPRECATED_CONFIG: Final = "deprecated_config"
"""A value of `alert_type`."""

DEPRECATED_SERVICE: Final = "deprecated_service"
"""A value of `alert_type`."""

AUDIT: Final = "audit"
"""The value of `type` in audit lines."""

SECRETS: Final = frozenset(
    {
        "app_secret",
        "connection_string",
        "join_token",
        "key_pem",
        "passphrase",
        "password",
        "private_key",
        "ro_connection_string",
        "secret",
        "secret_access_key",
        "secret_token",
        "token",
    }
)
"""Fields whose values never reach the log, whoever asks for it."""
