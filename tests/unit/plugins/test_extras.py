from __future__ import annotations

import pytest
from spire_py_plugins.extras import require_libraries

from spire_py.errors import InvalidArgument


def test_a_library_that_is_not_installed_is_named_with_its_extra() -> None:
    with pytest.raises(InvalidArgument) as refused:
        require_libraries("systemd", "asyncio", "no_such_library", "nor_this")
    assert refused.value.message == (
        "the plugin needs no_such_library and nor_this: pip install 'spire-py[systemd]'"
    )


def test_libraries_that_are_there_are_enough() -> None:
    require_libraries("systemd", "asyncio")
