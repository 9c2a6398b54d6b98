"""KeyManager plugins, for server and agent alike."""
