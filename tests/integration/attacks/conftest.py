"""What attacks need: the server of the API tests, and folders for sockets."""

from tests.integration.server.conftest import server, short_path
from tests.integration.transport.conftest import authority, directory, socket_path

__all__ = ["authority", "directory", "server", "short_path", "socket_path"]
