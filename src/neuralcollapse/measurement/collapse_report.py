"""CollapseReport: everything one measurement found, to print, tabulate, save or plot."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.files import atomic_path
from neuralcollapse.measurement.readings import READINGS
from neuralcollapse.metrics.class_distance import CDNVStatistic
from neuralcollapse.metrics.margin_scale import margin_ceiling
from neuralcollapse.metrics.pairs import sweep_pairs
from neuralcollapse.metrics.state import CollapseState
from neuralcollapse.moments.class_moments import ClassMoments

TIES_TOLD = 1e-3  # share of ties from which the report speaks of them

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class SplitReport:
    """The measurement of one data set: of training data, or of test data beside it.

    Attributes
    ----------
    values
        Metric name to value.
    state
        Class moments of the features; decisions, accuracies and margins, against the class means
        of the training data.
    """

    values: dict[str, float]
    state: CollapseState

    @property
    def moments(self) -> ClassMoments:
        """Class moments of the features."""
        return self.state.moments

    @classmethod
    def of(cls, state: CollapseState, weight: Tensor | None, bias: Tensor | None) -> SplitReport:
        """Read the values of a state; what it does not tell before it is settled is NaN.

        Parameters
        ----------
        state
            Of the samples.
        weight, bias
            (K, d) and (K,) of the head, or None.
        """
        unsettled = ["ncc_accuracy"] if weight is None else ["ncc_accuracy", "nc4_agreement"]
        values = dict.fromkeys(unsettled, math.nan) | state.values(weight, bias)
        return cls({name: values[name] for name in READINGS if name in values}, state)


def check_class_names(class_names: Sequence[str] | None, num_classes: int) -> list[str]:
    """Return one name a class: those given, or the numbers."""
    names = list(map(str, range(num_classes) if class_names is None else class_names))
    if len(names) != num_classes:
        raise NeuralCollapseError(
            "class_names", f"{num_classes} names, one a class", str(len(names)), "name every class"
        )
    return names


@dataclass(frozen=True, eq=False)
class CollapseReport(Mapping[str, float]):
    """The collapse of one classifier on one data set, and on test data if given.

    A mapping from metric name to value: ``report["nc1_pinv"]``; values of test data have the
    prefix ``test_``. It prints as a table with a plain reading of each value.

    Attributes
    ----------
    train
        What was measured on the (training) data.
    test
        The same on test data, or None. NC4 and nearest-mean accuracy judge test features by the
        class means of the training data; NC1 to NC3 describe the test features by themselves.
    class_names
        One name a class.
    weight, bias
        The head, or None.

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse.measurement import measure_features
    >>> report = measure_features(torch.tensor([[-3.0], [-1.0], [1.0], [3.0]]), [0, 0, 1, 1])
    >>> report["nc1_pinv"]
    0.125000
    >>> report.worst_pairs()
       class i class j    cdnv
    0       0       1  0.0625
    """

    train: SplitReport
    class_names: Sequence[str]
    weight: Tensor | None = None
    bias: Tensor | None = None
    test: SplitReport | None = None
    _values: dict[str, float] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        values = dict(self.train.values)
        if self.test is not None:
            values |= {f"test_{name}": value for name, value in self.test.values.items()}
        object.__setattr__(self, "_values", values)

    def __getitem__(self, name: str) -> float:
        try:
            return self._values[name]
        except KeyError:
            known = ", ".join(self._values)
            raise KeyError(f"no metric {name!r} was measured; there are: {known}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    @property
    def absent(self) -> list[str]:
        """Names of the classes without a sample; no metric counts them."""
        missing = (~self.train.moments.present).nonzero().squeeze(1).tolist()
        return [self.class_names[k] for k in missing]

    @property
    def margins(self) -> Tensor:
        """Margin of every training sample, (N,); empty without a head."""
        return self.train.state.margins

    @property
    def per_class(self) -> pd.DataFrame:
        """One row a class, worst margin first: samples, spread, distance, accuracies, margins."""
        table = pd.DataFrame(_class_columns(self.train, self.class_names))
        if self.test is not None:
            table = table.join(
                pd.DataFrame(_class_columns(self.test, self.class_names))
                .drop(columns="class")
                .add_prefix("test_")
            )
        key = "margin_min" if "margin_min" in table else "trace_variance"
        return table.sort_values(key, ascending=key == "margin_min", ignore_index=True)

    def worst_pairs(self, count: int = 10) -> pd.DataFrame:
        """Return the pairs of classes with the largest CDNV, the closest to being confused.

        Parameters
        ----------
        count
            How many pairs at most.

        Returns
        -------
        DataFrame
            Columns ``class i``, ``class j``, ``cdnv``; worst first.
        """
        moments = self.train.moments
        statistic = CDNVStatistic(moments, worst=count)
        sweep_pairs(moments.centered_means(), [statistic])
        names = self.class_names
        pairs = [(names[i], names[j], value) for i, j, value in statistic.worst_pairs]
        return pd.DataFrame(pairs, columns=["class i", "class j", "cdnv"])

    def to_dict(self) -> dict[str, float]:
        """Return the values by name, a flat dictionary of floats."""
        return dict(self._values)

    def to_frame(self) -> pd.DataFrame:
        """Return one row a metric: train (and test) value, collapsed value, group and reading."""
        rows = []
        for name, value in self.train.values.items():
            reading = READINGS[name]
            row: dict[str, Any] = {"metric": name, "train": value}
            if self.test is not None:
                row["test"] = self.test.values.get(name, math.nan)
            row |= {
                "collapsed": self._collapsed(name),
                "reading": reading.say(value),
                "measures": reading.title,
                "group": reading.group,
            }
            rows.append(row)
        return pd.DataFrame(rows).set_index("metric")

    def to_json(self, path: str | Path | None = None) -> str:
        """Return values, classes and worst pairs as JSON, and write them to `path` if given.

        Infinite and undefined values become null, which JSON has no other word for.

        Parameters
        ----------
        path
            File to write, atomically.
        """
        document = {
            "values": {name: _finite(value) for name, value in self._values.items()},
            "num_samples": self.train.moments.num_samples,
            "absent": self.absent,
            "per_class": _records(self.per_class),
            "worst_pairs": _records(self.worst_pairs()),
        }
        text = json.dumps(document, indent=2, allow_nan=False)
        if path is not None:
            with atomic_path(path) as temporary:
                temporary.write_text(text + "\n", encoding="utf-8")
        return text

    def plot(self, path: str | Path | None = None) -> Figure:
        """Draw class-mean Gram matrix, within-class spectrum, margins, and class means in 3-D.

        Parameters
        ----------
        path
            Image to write, such as ``collapse.png``.

        Returns
        -------
        matplotlib Figure
            With what the report has: no margins without a head.
        """
        from neuralcollapse.measurement.figures import plot_report  # matplotlib takes a second

        figure = plot_report(self)
        if path is not None:
            with atomic_path(path) as temporary:
                figure.savefig(temporary)
        return figure

    def __repr__(self) -> str:
        moments = self.train.moments
        return (
            f"CollapseReport({moments.num_samples} samples, {moments.num_classes} classes, "
            f"{len(self)} values)"
        )

    def __str__(self) -> str:
        return _print(*self._tables())

    def _tables(self) -> Iterator[Table | str]:
        moments = self.train.moments
        yield (
            f"Neural collapse of {moments.num_samples:,} samples, "
            f"{int(moments.present.sum())} classes, {moments.dim} features"
        )
        if self.absent:
            yield f"Absent classes, left out: {', '.join(self.absent)}"
        table = Table("metric", "measures", box=SIMPLE_HEAD)
        for column in ("train", "test", "collapsed"):
            if column != "test" or self.test is not None:
                table.add_column(column, justify="right")
        table.add_column("reading")
        group = None
        for name, value in self.train.values.items():
            reading = READINGS[name]
            if reading.group != group:
                group = reading.group
                table.add_section()
                table.add_row(f"[bold]{group}")
            cells = [f"  {name}", reading.title, f"{value:.4g}"]
            if self.test is not None:
                other = self.test.values.get(name)
                cells.append("" if other is None else f"{other:.4g}")
            table.add_row(*cells, self._collapsed(name), reading.say(value))
        yield table
        worst = self.worst_pairs(1)
        if len(worst):
            i, j, value = worst.iloc[0]
            yield f"Closest pair of classes: {i} and {j} (CDNV {value:.4g})."
        state = self.train.state
        if state.ties > TIES_TOLD * state.counts.judged:
            yield (
                f"The largest logits of {state.ties:,} of {state.counts.judged:,} samples tie. "
                "They count as wrong: accuracy by argmax may be higher by as much as "
                f"{state.ties / state.counts.judged:.2%}."
            )
        if "margin_min" in self.per_class:
            least = self.per_class.iloc[0]
            yield f"Class with the least margin: {least['class']} ({least['margin_min']:.4g})."

    def _collapsed(self, name: str) -> str:
        if name == "margin_normalized":
            return f"{margin_ceiling(int(self.train.moments.present.sum())):.4g}"
        return READINGS[name].collapsed


def _class_columns(split: SplitReport, class_names: Sequence[str]) -> dict[str, Any]:
    moments = split.moments
    distances = (moments.means - moments.center()).square().sum(1).sqrt()
    return {
        "class": list(class_names),
        "samples": moments.counts.tolist(),
        "trace_variance": moments.trace_variances.tolist(),
        "distance_to_center": distances.tolist(),
    } | {name: column.tolist() for name, column in split.state.per_class().items()}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {
            str(name): _finite(cell) if isinstance(cell, float) else cell
            for name, cell in row.items()
        }
        for row in table.to_dict(orient="records")
    ]


def _print(*parts: Table | str) -> str:
    console = Console(width=120, color_system=None)
    with console.capture() as captured:
        for part in parts:
            console.print(part, markup=not isinstance(part, str), highlight=False)
    return captured.get().rstrip("\n")
