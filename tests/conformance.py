"""Writes `docs/conformance.md`: each check of the SPIFFE specs with the tests that show it.

A test names its checks by `@pytest.mark.spec(20, 21)`. Run `python -m tests.conformance`.
"""

from __future__ import annotations

import ast
import csv
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent
DOCUMENT = TESTS.parent / "docs" / "conformance.md"
CHECKS = TESTS / "data" / "spec_checks.tsv"
_HEAD = """\
# Conformance with the SPIFFE specifications

One row for each check of this release; the numbers are the project's own. M: must, S: should.
Who: I issuer, V validator,
W Workload API server, C client, P reader of foreign bundles.
Made by `python -m tests.conformance`; a test holds it current.

| # | level | who | check | shown by |
|---|---|---|---|---|
"""


def tests_by_check() -> dict[int, list[str]]:
    """The tests of each check, as `file::name`, sorted."""
    found: dict[int, list[str]] = defaultdict(list)
    for path in sorted(TESTS.rglob("test_*.py")):
        for number, name in _marks(ast.parse(path.read_text())):
            found[number].append(f"{path.relative_to(TESTS)}::{name}")
    return {number: sorted(set(names)) for number, names in found.items()}


def _marks(tree: ast.Module) -> Iterator[tuple[int, str]]:
    module_numbers = [
        number
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "pytestmark"
        for number in _spec_numbers(node.value)
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith(
            "test"
        ):
            numbers = [n for mark in node.decorator_list for n in _spec_numbers(mark)]
            yield from ((number, node.name) for number in [*module_numbers, *numbers])
        if isinstance(node, ast.ClassDef):
            for mark in node.decorator_list:
                yield from ((number, node.name) for number in _spec_numbers(mark))


def _spec_numbers(node: ast.AST) -> Iterator[int]:
    """The numbers of every `pytest.mark.spec(...)` in an expression, `pytest.param` marks too."""
    for call in ast.walk(node):
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "pytest.mark.spec":
            for argument in call.args:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, int):
                    yield argument.value


def checks() -> list[dict[str, str]]:
    with CHECKS.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def document() -> str:
    shown = tests_by_check()
    rows = []
    for check in checks():
        tests = shown.get(int(check["number"]), [])
        cell = "<br>".join(f"`{test}`" for test in tests[:4]) or "**no test**"
        if len(tests) > 4:
            cell += f"<br>and {len(tests) - 4} more"
        text = check["check"].replace("|", "\\|")
        rows.append(f"| {check['number']} | {check['level']} | {check['who']} | {text} | {cell} |")
    return _HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    DOCUMENT.write_text(document())
