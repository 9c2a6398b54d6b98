"""Server ends of x509pop, and what a plugin is told of its daemon."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from spire_py_plugins.node_attestor.x509pop import server as server_end

from spire_py.plugin_api.context import PluginContext
from spire_py.plugin_api.node_attestor import ServerNodeAttestor
from spire_py.runtime.watch import Watch
from spire_py.spiffe.bundle import Bundle, X509Authority
from tests.unit.plugins.node_attestor.x509pop_nodes import ROOT, TRUST_DOMAIN, MakeServer


@pytest.fixture
def context() -> PluginContext:
    bundle = Bundle(TRUST_DOMAIN, x509_authorities=(X509Authority(ROOT.der),))
    return PluginContext(TRUST_DOMAIN, trust_bundle=Watch(bundle))


@pytest.fixture
def make_server(tmp_path: Path, context: PluginContext) -> MakeServer:
    """Makes a server end: in mode external_pki it trusts ROOT unless it is told otherwise."""

    def make(**settings: Any) -> ServerNodeAttestor:
        if settings.get("mode") != "spiffe" and "ca_bundle_paths" not in settings:
            bundle = tmp_path / "ca.pem"
            bundle.write_text(ROOT.pem)
            settings["ca_bundle_path"] = str(bundle)
        return server_end.configure(settings, context)

    return make
