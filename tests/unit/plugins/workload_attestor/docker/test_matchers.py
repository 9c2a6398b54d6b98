from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from spire_py_plugins.workload_attestor.docker.matchers import CgroupMatchers

from spire_py.errors import FailedPrecondition, InvalidArgument

PARTS = st.lists(st.sampled_from(["", "<id>", "*", "a", "b", "a.b", "(", "\n", ".*"]), max_size=5)
PATHS = st.lists(st.sampled_from(["", "a", "b", "axb", "(", "\n", "a\n"]), max_size=5).map("/".join)


@given(st.lists(PARTS.map("/".join), max_size=3), st.lists(PATHS, max_size=3))
def test_an_id_is_where_the_pattern_has_it(patterns: list[str], paths: list[str]) -> None:
    try:
        matchers = CgroupMatchers(patterns)
    except InvalidArgument:
        return
    try:
        found = matchers.find(paths)
    except FailedPrecondition:
        return
    expected = {
        part
        for pattern, path in ((p, q) for p in patterns for q in paths)
        for part in _ids(pattern.split("/"), path.split("/"))
    }
    assert expected == ({found} if found else set())


def _ids(pattern: list[str], path: list[str]) -> list[str]:
    """The same, in the simplest way."""
    pairs = list(zip(pattern, path, strict=False))
    if len(pattern) != len(path) or any(p != q for p, q in pairs if p not in {"<id>", "*"}):
        return []
    return [q for p, q in pairs if p == "<id>"]
