from __future__ import annotations

import pytest

from spire_py.config.environment import expand

_ENVIRONMENT = {"A": "one", "B_2": "two", "1": "first", "*": "all"}


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$A", "one"),
        ("${A}", "one"),
        ("x${A}y$B_2.z", "xoneytwo.z"),
        ("$UNSET|${UNSET}|", "||"),
        ("$$A", "$A"),
        ("${$}", "$"),
        ("a $ b", "a $ b"),
        ("a$", "a$"),
        ("${}", ""),
        ("$12", "first2"),
        ("$*", "all"),
        ("$é", "$é"),
        ("$A-x", "one-x"),
    ],
)
def test_variables_are_replaced_as_go_does(text: str, expanded: str) -> None:
    assert expand(text, _ENVIRONMENT) == expanded
