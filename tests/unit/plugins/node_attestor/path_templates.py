"""Data for path templates, each with the type it has in SPIRE."""

from __future__ import annotations

from spire_py_plugins.node_attestor.agent_path_template import BigInteger

GO_FIELDS = frozenset(
    {
        *("PluginName", "Name", "Text", "Number", "Serial", "List", "Empty", "Flag"),
        *("Subject.CommonName", "Subject.Organization", "San.*"),
    }
)
GO_DATA = {
    "PluginName": "x509pop",
    "Name": " Web Server.Example ",
    "Text": "äöü ß\n/a b",
    "Number": 42,
    "Serial": BigInteger(12345),
    "List": ("one", "two", "Three"),
    "Empty": (),
    "Subject": {"CommonName": "node-1", "Organization": ("ACME",)},
    "San": {"zone": "a", "rack": "r 1"},
    "Flag": True,
}
