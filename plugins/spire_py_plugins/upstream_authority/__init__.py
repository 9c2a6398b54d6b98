"""UpstreamAuthority plugins: what signs the CAs of a server."""
