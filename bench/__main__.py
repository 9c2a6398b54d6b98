"""`python -m bench`: prints figures beside their budgets. It fails only where it cannot measure."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence

from bench.load import LoadFailed, program
from bench.machine import describe
from bench.report import Results
from bench.rows import ROWS, Row
from bench.sides import Sides, find_sides

_RUNS = 3
_LONG_RUNS = 9


def main(words: Sequence[str]) -> int:
    """Measure what is asked for and print it. Returns the exit code."""
    options = _options(words)
    rows = options.only or list(ROWS)
    # An installed daemon has its byte code: without it each start would compile all modules anew.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    try:
        if any(ROWS[name].needs_load for name in rows):
            program()
        results = measure(rows, options.runs or (_LONG_RUNS if options.long else _RUNS))
    except LoadFailed as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    print(results.table(rows))
    return 0


def _options(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--only", action="append", choices=sorted(ROWS), metavar="ROW", help=", ".join(ROWS)
    )
    parser.add_argument("--runs", type=int, help=f"samples of each figure; default {_RUNS}")
    parser.add_argument("--long", action="store_true", help=f"{_LONG_RUNS} samples")
    return parser.parse_args(words)


def measure(rows: Sequence[str], runs: int) -> Results:
    """Take the samples, the sides in turn."""
    found = find_sides()
    print("\n".join(describe(found)) + "\n", flush=True)
    results = Results()
    with Sides(found, _progress) as sides:
        for name in rows:
            row = ROWS[name]
            for number in range(1 if row.rounds_once else runs):
                _progress(f"{name}, round {number + 1}")
                _take(row, sides, results)
    return results


def _take(row: Row, sides: Sides, results: Results) -> None:
    """One round. What cannot be measured is left out of the table, and the rest goes on."""
    try:
        for sample in row.measure(sides):
            results.add(*sample)
    except (LoadFailed, RuntimeError) as error:
        _progress(f"left out: {error}")


def _progress(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
