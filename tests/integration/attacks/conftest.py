"""What attacks need: the server of the API tests, and folders for sockets."""

from tests.integration.server.conftest import server, short_path
from tests.integration.transport.conftest import directory, socket_path

__all__ = ["directory", "server", "short_path", "socket_path"]
