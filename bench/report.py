"""Medians, bounds and the printed table."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from statistics import median

from bench.budgets import FIGURES, OURS, SPIRE, Bound, Figure

_HEAD = ("operation", "unit", "at most", "aim", "ours", "SPIRE", "ratio", "verdict")


class Results:
    """All samples, by figure and side."""

    def __init__(self) -> None:
        self._samples: defaultdict[tuple[str, str], list[float]] = defaultdict(list)

    def add(self, key: str, side: str, value: float) -> None:
        self._samples[key, side].append(value)

    def medians(self) -> dict[tuple[str, str], float]:
        return {place: median(values) for place, values in self._samples.items()}

    def table(self, rows: Iterable[str]) -> str:
        """The figures of these rows as a Markdown table, which is also readable as it is."""
        medians = self.medians()
        wanted = set(rows)
        lines = [_line(figure, medians) for figure in FIGURES if figure.row in wanted]
        return _markdown([_HEAD, *lines])


def _line(figure: Figure, medians: Mapping[tuple[str, str], float]) -> tuple[str, ...]:
    ours, theirs = medians.get((figure.key, OURS)), medians.get((figure.key, SPIRE))
    ratio = f"{ours / theirs:.2f}" if ours is not None and theirs else "–"
    return (
        figure.text,
        figure.unit,
        str(figure.at_most or "–"),
        str(figure.aim or "–"),
        _number(ours),
        _number(theirs),
        ratio,
        _verdict(figure, ours, medians),
    )


def _verdict(figure: Figure, ours: float | None, medians: Mapping[tuple[str, str], float]) -> str:
    def keeps(bound: Bound | None) -> bool | None:
        limit = bound.limit(figure.key, medians) if bound else None
        return None if limit is None or ours is None else ours <= limit

    within = keeps(figure.at_most)
    if within is None:
        return "–"
    if not within:
        return "MISS"
    return "hit, aim too" if keeps(figure.aim) else "hit"


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.1f}" if value >= 10 else f"{value:.3f}" if value < 1 else f"{value:.2f}"


def _markdown(lines: list[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]

    def join(cells: Iterable[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    texts = [
        join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines
    ]
    return "\n".join([texts[0], join("-" * width for width in widths), *texts[1:]])
