"""Several runs side by side: what sets them apart, and which of them is the best in what."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from neuralcollapse.metrics.catalogue import FIRST, metric_named
from neuralcollapse.report.html.settings import setting_rows
from neuralcollapse.runs.run import Run
from neuralcollapse.wording import accuracy, listed, number

SEED = "seed"
COLUMNS = [f"{part}{name}" for name in (*FIRST.values(), "accuracy") for part in ("", "test_")]
MOST_NAMED = 6  # settings, in a sentence
LONGEST = 30  # characters of a name made of settings


def differing(runs: Sequence[Run]) -> dict[str, list[str]]:
    """Return the settings in which runs differ, each with its value in every run, as text.

    Parameters
    ----------
    runs
        A setting that a run did not record is a dash.

    Examples
    --------
    >>> runs = [Run("a", [], [], {"config": {"lr": lr, "net": "mlp"}}) for lr in (0.1, 0.2)]
    >>> differing(runs)
    {'lr': ['0.1', '0.2']}
    """
    rows = setting_rows([run.config for run in runs])
    return {row.name: row.values for row in rows if row.differ}


def called_by_what_differs(runs: Sequence[Run]) -> list[Run]:
    """Return runs named by the settings that tell them apart; by their own names if none do.

    Examples
    --------
    >>> runs = [Run("a", [], [], {"config": {"lr": lr}}) for lr in (0.1, 0.2)]
    >>> [run.name for run in called_by_what_differs(runs)]
    ['lr 0.1', 'lr 0.2']
    """
    columns = differing(runs)
    names = [
        ", ".join(f"{name.replace('_', ' ')} {values[i]}" for name, values in columns.items())
        for i in range(len(runs))
    ]
    if len(set(names)) < len(runs) or max(map(len, names)) > LONGEST:
        return list(runs)
    return [replace(run, name=name) for run, name in zip(runs, names, strict=True)]


def setting_groups(runs: Sequence[Run]) -> tuple[list[int], list[str]]:
    """Return the group of each run, and the name of each group: runs that differ in seed alone.

    Examples
    --------
    >>> config = [{"lr": 0.1, "seed": 0}, {"lr": 0.1, "seed": 1}, {"lr": 0.2, "seed": 0}]
    >>> setting_groups([Run(str(i), [], [], {"config": c}) for i, c in enumerate(config)])
    ([0, 0, 1], ['lr 0.1', 'lr 0.2'])
    """
    columns = differing(runs)
    seeds = columns.pop(SEED, None)
    if seeds is None:
        return list(range(len(runs))), [run.name for run in runs]
    keys: dict[Any, int] = {}
    found = [
        keys.setdefault(tuple(values[i] for values in columns.values()), len(keys))
        for i in range(len(runs))
    ]
    names = []
    for group in range(len(keys)):
        i = found.index(group)
        said = ", ".join(f"{n.replace('_', ' ')} {values[i]}" for n, values in columns.items())
        names.append(said or f"{len(runs)} seeds")
    return found, names


@dataclass(frozen=True)
class Cell:
    """A value of the table in words, and whether it is the best of its column."""

    text: str
    best: bool = False


@dataclass(frozen=True)
class RunTable:
    """The table of runs by settings and metrics.

    Attributes
    ----------
    sentence
        What sets the runs apart, and which is the best in what matters most.
    settings, metrics
        Headings; of the metrics, title and formula.
    rows
        Of each run its name, settings in words, and a cell for each metric.
    """

    sentence: str
    settings: list[str]
    metrics: list[tuple[str, str]]
    rows: list[tuple[str, list[str], list[Cell]]]


def comparison_data(runs: Sequence[Run], uppers: Sequence[str | None]) -> RunTable:
    """Return the table of runs by settings and metrics.

    Parameters
    ----------
    runs
        At least two.
    uppers
        The certified error of each, as text.
    """
    columns = differing(runs)
    last = [run.records[-1] for run in runs]
    measured = [name for name in COLUMNS if any(name in record for record in last)]
    cells = [_column(name, [record.get(name, math.nan) for record in last]) for name in measured]
    names = [run.name for run in called_by_what_differs(runs)]
    sentence = _sentence(names, list(columns), dict(zip(measured, cells, strict=True)))
    metrics = [(_title(name), metric_named(name).heading) for name in measured]
    if any(uppers):
        cells.append([Cell(upper or "–") for upper in uppers])
        metrics.append(("error at most", "certified, on new data"))
    rows = [
        (run.name, [values[i] for values in columns.values()], [column[i] for column in cells])
        for i, run in enumerate(runs)
    ]
    return RunTable(sentence, [name.replace("_", " ") for name in columns], metrics, rows)


def _sentence(names: list[str], settings: list[str], cells: dict[str, list[Cell]]) -> str:
    """Say what sets the runs apart, and which is the best in what matters most."""
    said = [f"{len(names)} runs."]
    if 0 < len(settings) <= MOST_NAMED:
        differ = listed([name.replace("_", " ") for name in settings])
        said = [f"{len(names)} runs, which differ in {differ}."]
    for name, words in (
        ("test_accuracy", "Highest test accuracy"),
        ("nc1_trace_ratio", "Smallest NC1"),
    ):
        best = [i for i, cell in enumerate(cells.get(name, ())) if cell.best]
        if 0 < len(best) <= MOST_NAMED / 2:
            found = listed([names[i] for i in best])
            said.append(f"{words}: {found} ({cells[name][best[0]].text}).")
    return " ".join(said)


def numeric_settings(runs: Sequence[Run]) -> dict[str, list[float | None]]:
    """Return the settings that are numbers and differ, other than the seed, to draw metrics over.

    Examples
    --------
    >>> runs = [Run("a", [], [], {"config": {"lr": lr, "seed": 10 * lr}}) for lr in (1, 2)]
    >>> numeric_settings(runs)
    {'lr': [1.0, 2.0]}
    """
    found = {}
    for name in differing(runs):
        values = [run.config.get(name) for run in runs]
        plain = [
            float(v) if isinstance(v, int | float) and not isinstance(v, bool) else None
            for v in values
        ]
        if name != SEED and len({v for v in plain if v is not None}) > 1:
            found[name] = plain
    return found


def _title(name: str) -> str:
    metric = metric_named(name)
    known = {"nc4_agreement": "NC4", "accuracy": "accuracy"}
    said = known.get(metric.name, metric.group.split()[0])
    return f"{said}, test" if name.startswith("test_") else said


def _column(name: str, values: list[float]) -> list[Cell]:
    """Return texts of one metric; the best is marked where the runs differ."""
    shares = metric_named(name).kind == "share"
    texts = [_text(value, shares) for value in values]
    finite = [v for v in values if not math.isnan(v)]
    best = (max if shares else min)(finite, default=math.nan)
    several = len(set(finite)) > 1
    return [Cell(t, several and v == best) for t, v in zip(texts, values, strict=True)]


def _text(value: float, is_share: bool) -> str:
    """Return a value with as many digits as the others of its column."""
    if math.isnan(value):
        return "–"
    if is_share:
        return accuracy(value)
    return f"{value:#.3g}" if 1e-4 <= value < 1000 else number(value)
