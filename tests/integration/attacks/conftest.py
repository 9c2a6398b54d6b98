"""What attacks need: the server of the API tests, and folders for sockets."""

from tests.integration.server.conftest import server, short_path

__all__ = ["server", "short_path"]
