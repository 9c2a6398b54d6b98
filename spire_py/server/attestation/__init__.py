"""Node attestation that the server does itself, without a plugin."""
