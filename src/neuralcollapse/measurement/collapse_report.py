"""CollapseReport: the result of one measurement, to print, tabulate, save or plot."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from neuralcollapse.measurement.cautions import cautions
from neuralcollapse.measurement.collapse_values import CollapseValues
from neuralcollapse.measurement.report_file import read_report, save_report
from neuralcollapse.measurement.report_text import report_html, report_text
from neuralcollapse.wording import counted

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class CollapseReport(CollapseValues):
    """The collapse of one classifier on one data set, and on test data if given.

    A mapping from metric name to value: ``report["nc1_pinv"]``; values of test data have the
    prefix ``test_``. It prints as a table with each value in plain words.

    Attributes
    ----------
    train
        The measurement of the (training) data.
    test
        The measurement of test data, or None. NC4 and nearest-mean accuracy compare test features
        with the class means of the training data; NC1 to NC3 describe the test features alone.
    class_names
        One name per class.
    weight, bias
        The head, or None.
    own
        Metrics of this measurement alone, by name.
    others
        Further test data by name; their values have the prefix ``test_NAME_``.
    layers
        Values of the requested layers, by layer.
    before
        Class moments of the last of these layers, from which theory predicts the features; None
        without layers.
    notes
        Remarks on how the data were read, and on what the loader does to them.

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

    @cached_property
    def cautions(self) -> list[str]:
        """What could mislead a reader of the values, in plain words."""
        return cautions(self)

    @property
    def per_class(self) -> pd.DataFrame:
        """One row per class, worst margin first: samples, spread, distance, accuracies, margins."""
        from neuralcollapse.measurement.report_tables import class_table

        return class_table(self)

    def worst_pairs(self, count: int = 10) -> pd.DataFrame:
        """Return the pairs of classes with the largest CDNV, the hardest to tell apart by it.

        Parameters
        ----------
        count
            The largest number of pairs.

        Returns
        -------
        DataFrame
            Columns ``class i``, ``class j``, ``cdnv``; worst first.
        """
        from neuralcollapse.measurement.report_tables import pair_table

        return pair_table(self, count)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per metric: values, estimates, target, chance, reading, description."""
        from neuralcollapse.measurement.report_tables import report_frame

        return report_frame(self)

    def to_json(self, path: str | Path | None = None) -> str:
        """Return values, classes and worst pairs as JSON, and write them to `path` if given.

        Infinite and undefined values become null, since JSON cannot express them.

        Parameters
        ----------
        path
            File to write, atomically.
        """
        from neuralcollapse.measurement.report_tables import report_json

        return report_json(self, path)

    def to_csv(self, path: str | Path) -> None:
        """Write the values to a csv file, and the tables of classes and worst pairs beside it.

        Parameters
        ----------
        path
            Such as ``values.csv``; the others become ``values-classes.csv``, ``values-pairs.csv``.
            Of a device or a pipe, such as ``/dev/stdout``, nothing is beside: it gets the values.

        Raises
        ------
        NeuralCollapseError
            If a file of one of these other names is there, and is no table of a report.
        """
        from neuralcollapse.measurement.report_tables import write_csv

        write_csv(self, Path(path))

    def to_latex(self, path: str | Path | None = None) -> str:
        """Return values, classes and worst pairs as LaTeX (booktabs); write it to `path` if given.

        Parameters
        ----------
        path
            File to write, atomically.
        """
        from neuralcollapse.measurement.report_tables import report_latex

        return report_latex(self, path)

    def save(self, path: str | Path) -> None:
        """Write the report to a safetensors file, for `load_report`; own functions are not saved.

        Parameters
        ----------
        path
            The file, written completely or not at all.
        """
        save_report(self, path)

    def plot(self, path: str | Path | None = None) -> Figure:
        """Draw class-mean Gram matrix, within-class spectrum, margins, and class means in 3-D.

        Parameters
        ----------
        path
            Image to write, such as ``collapse.png``.

        Returns
        -------
        matplotlib Figure
            Shows what the report has: without a head there are no margins.
        """
        from neuralcollapse.figure_style import save  # matplotlib takes a second
        from neuralcollapse.measurement.figures import plot_report

        figure = plot_report(self)
        if path is not None:
            save(figure, path)
        return figure

    def __repr__(self) -> str:
        moments = self.train.moments
        return (
            f"CollapseReport({counted(moments.num_samples, 'sample')}, "
            f"{counted(moments.num_classes, 'class', 'classes')}, "
            f"{len(self)} values)"
        )

    def __str__(self) -> str:
        return report_text(self)

    def _repr_html_(self) -> str:
        return report_html(self)


def load_report(path: str | Path) -> CollapseReport:
    """Read a report that `CollapseReport.save` wrote.

    Parameters
    ----------
    path
        The safetensors file. Nothing in it is executed.

    Returns
    -------
    CollapseReport
        With the same values, estimates, tables and readings. Metrics of your own keep their values,
        but not their functions.

    Raises
    ------
    NeuralCollapseError
        If it is not such a file, or is damaged.

    Examples
    --------
    >>> import tempfile
    >>> import torch
    >>> from neuralcollapse import load_report
    >>> from neuralcollapse.measurement import measure_features
    >>> report = measure_features(torch.tensor([[-3.0], [-1.0], [1.0], [3.0]]), [0, 0, 1, 1])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     report.save(f"{folder}/r.safetensors")
    ...     again = load_report(f"{folder}/r.safetensors")
    >>> dict(again) == dict(report)
    True
    """
    return CollapseReport(**read_report(path))
