from __future__ import annotations

import ssl

import pytest
from spire_py_plugins.kubernetes.access import Endpoint

from tests.fakes.kubernetes.certificates import ClusterCA


@pytest.mark.parametrize("verify", [True, False])
def test_no_old_version_and_no_renegotiation_is_taken(verify: bool) -> None:
    endpoint = Endpoint("https://127.0.0.1", authorities=ClusterCA().pem, verify=verify)
    context = endpoint.tls_context()
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert ssl.OP_NO_RENEGOTIATION in ssl.Options(context.options)
    assert context.check_hostname is verify
    assert context.verify_mode is (ssl.CERT_REQUIRED if verify else ssl.CERT_NONE)
