"""The plugins that SPIRE brings, so that one we lack is told apart from one nobody knows."""

from __future__ import annotations

from collections.abc import Mapping

SERVER: Mapping[str, frozenset[str]] = {
    "BundlePublisher": frozenset(
        {
            "aws_rolesanywhere_trustanchor",
            "aws_s3",
            "azure_blob",
            "gcp_cloudstorage",
            "k8s_configmap",
        }
    ),
    "CredentialComposer": frozenset({"uniqueid"}),
    "KeyManager": frozenset(
        {"aws_kms", "azure_key_vault", "disk", "gcp_kms", "hashicorp_vault", "memory"}
    ),
    "NodeAttestor": frozenset(
        {
            "aws_iid",
            "azure_imds",
            "azure_msi",
            "gcp_iit",
            "http_challenge",
            "join_token",
            "k8s_psat",
            "sshpop",
            "tpm_devid",
            "x509pop",
        }
    ),
    "Notifier": frozenset({"gcs_bundle", "k8sbundle"}),
    "UpstreamAuthority": frozenset(
        {"aws_pca", "awssecret", "cert-manager", "disk", "ejbca", "gcp_cas", "spire", "vault"}
    ),
}
"""The server's plugins of SPIRE 1.15, by type (features I1 to I15, K1 to K23)."""

AGENT: Mapping[str, frozenset[str]] = {
    "KeyManager": frozenset({"disk", "memory"}),
    "NodeAttestor": SERVER["NodeAttestor"],
    "SVIDStore": frozenset({"aws_secretsmanager", "gcp_secretmanager"}),
    "WorkloadAttestor": frozenset({"docker", "k8s", "slurm", "systemd", "unix", "windows"}),
}
"""The agent's plugins of SPIRE 1.15, by type (features I1 to I15, J1 to J16, K7, K25, K26)."""
