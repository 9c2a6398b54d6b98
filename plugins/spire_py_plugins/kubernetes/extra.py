"""The libraries that the client needs are an extra, because most servers and agents need none."""

from __future__ import annotations

from importlib.util import find_spec

from spire_py.errors import InvalidArgument

_LIBRARIES = ("httpx2", "yaml")


def require_extra() -> None:
    """To be called by a plugin's `configure`, so that a lack shows at once.

    Raises:
        InvalidArgument: the extra `kubernetes` is not installed.
    """
    missing = [name for name in _LIBRARIES if find_spec(name) is None]
    if missing:
        raise InvalidArgument(
            f"the plugin needs {' and '.join(missing)}: pip install 'spire-py[kubernetes]'"
        )
