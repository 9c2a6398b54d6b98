"""Libraries that only some plugins need are extras, because most servers and agents need none."""

from __future__ import annotations

from importlib.util import find_spec

from spire_py.errors import InvalidArgument


def require_libraries(extra: str, *libraries: str) -> None:
    """To be called by a plugin's `configure`, so that a lack shows at once.

    Args:
        extra: what brings them.
        libraries: the names that they are imported by.

    Raises:
        InvalidArgument: one is not installed.
    """
    missing = [name for name in libraries if find_spec(name) is None]
    if missing:
        raise InvalidArgument(
            f"the plugin needs {' and '.join(missing)}: pip install 'spire-py[{extra}]'"
        )
