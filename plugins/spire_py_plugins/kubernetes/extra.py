"""The extra `kubernetes`, which the client's libraries are."""

from __future__ import annotations

from spire_py_plugins.extras import require_libraries


def require_extra() -> None:
    """To be called by a plugin's `configure`, so that a lack shows at once.

    Raises:
        InvalidArgument: the extra is not installed.
    """
    require_libraries("kubernetes", "httpx2", "yaml")
