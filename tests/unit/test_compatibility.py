"""`docs/compatibility.md` has each feature once, says of each what it is, and names real tests."""

from __future__ import annotations

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).parents[1]
DOCUMENT = TESTS.parent / "docs" / "compatibility.md"
FEATURES = TESTS / "data" / "feature_ids.txt"
STATES = ("works", "partly", "not yet")


class Row(NamedTuple):
    """One feature. `shown` is the last cell: what is missing, and the tests."""

    id: str
    name: str
    state: str
    shown: str

    @property
    def tests(self) -> list[tuple[str, str]]:
        """Files below `tests/` and functions in them."""
        return re.findall(r"`([\w/]+\.py)::(\w+)`", self.shown)


def rows() -> list[Row]:
    """The table's rows; a bar within a cell is written `\\|`."""
    lines = DOCUMENT.read_text().splitlines()
    cells = (re.split(r"(?<!\\)\|", line)[1:-1] for line in lines if re.match(r"\| [A-V]\d", line))
    return [Row(*(cell.strip() for cell in row)) for row in cells]


@cache
def functions(file: str) -> frozenset[str]:
    path = TESTS / file
    nodes = ast.walk(ast.parse(path.read_text())) if path.is_file() else ()
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in nodes if isinstance(node, kinds))


def test_each_feature_has_one_row_in_order() -> None:
    assert [row.id for row in rows()] == FEATURES.read_text().split()
    assert len(rows()) == 382
    assert all(row.name for row in rows())


def test_each_state_is_one_of_three_words() -> None:
    assert [row.id for row in rows() if row.state not in STATES] == []


def test_what_works_has_a_test() -> None:
    assert [row.id for row in rows() if row.state == "works" and not row.tests] == []


def test_what_works_partly_says_what_is_missing() -> None:
    partly = [row for row in rows() if row.state == "partly"]
    assert [row.id for row in partly if not row.shown.partition(f"`{row.tests[0][0]}")[0]] == []


def test_what_is_not_there_names_no_test() -> None:
    assert [row.id for row in rows() if row.state == "not yet" and row.tests] == []


def test_each_named_test_exists() -> None:
    missing = [
        f"{row.id}: {file}::{name}"
        for row in rows()
        for file, name in row.tests
        if not name.startswith("test_") or name not in functions(file)
    ]
    assert missing == []


def test_the_numbers_at_the_top_are_right() -> None:
    count = Counter(row.state for row in rows())
    works, partly, not_yet = (count[state] for state in STATES)
    wanted = f"Of 382 features {works} work, {partly} work partly, {not_yet} are not there yet."
    assert wanted in DOCUMENT.read_text()
