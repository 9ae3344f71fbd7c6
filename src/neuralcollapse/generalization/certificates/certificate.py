"""The error certificate: what a held-out sample proves about the error on new data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from neuralcollapse.files import without_nan
from neuralcollapse.measurement.report_text import ties_told
from neuralcollapse.plain_text import plain
from neuralcollapse.tables import SIMPLE_HEAD, Console, Table
from neuralcollapse.wording import are, at_least, at_most, count, counted, listed, share

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ASSUMPTION = (
    "This holds if the held-out data chose nothing: neither when training stopped, nor a setting, "
    "nor this model among others."
)
JOINT_LEVEL = (
    "The bounds of the {classes} classes hold together at {confidence} confidence: each has an "
    "equal part of what may fail (Bonferroni; Holm's steps sharpen tests, not bounds)."
)
SHOWN = 8  # classes that are named


@dataclass(frozen=True, eq=False)
class ErrorCertificate:
    """An upper bound on the error of one classifier, and what other methods say beside it.

    Attributes
    ----------
    upper
        The certificate: with probability at least `confidence` over the held-out sample, the
        error on new data is at most this. It is Clopper and Pearson's bound, and was chosen before
        the data: the least of several bounds would not hold with that probability.
    confidence
        Of each statement by itself.
    errors, n
        Misclassified held-out samples (ties among them), and all.
    floor
        Lower limit of the median of any distribution-free bound from n samples.
    table
        One row per method: ``upper``, ``covers`` (whether it is an upper bound with probability
        `confidence` under every distribution; the other rows explain and certify nothing),
        ``assumes``.
    per_class
        One row per class, the highest bound first: ``class``, ``n``, ``errors``, ``error_rate``,
        ``upper``; all the bounds hold together with probability `confidence`. None without labels.
    refused
        Method to reason why it is not in the table.
    tolerance
        The error that each class was tested against, or None; the column ``within`` of
        `per_class` has the outcome.
    ties
        Held-out samples of margin 0, whose largest logits tie; they are among the errors.

    Examples
    --------
    >>> from neuralcollapse.generalization import error_certificate
    >>> certificate = error_certificate([2.0] * 99 + [-1.0])
    >>> round(certificate.upper, 4), certificate.errors, certificate.n
    (0.0466, 1, 100)
    """

    upper: float
    confidence: float
    errors: int
    n: int
    floor: float
    table: pd.DataFrame
    per_class: pd.DataFrame | None
    refused: dict[str, str]
    tolerance: float | None = None
    ties: int = 0

    @property
    def error_rate(self) -> float:
        """Share of the held-out samples that are misclassified."""
        return self.errors / self.n

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain numbers, strings, lists and dictionaries, fit for JSON."""
        classes = self.per_class
        document = {
            "upper": self.upper,
            "confidence": self.confidence,
            "errors": self.errors,
            "n": self.n,
            "ties": self.ties,
            "error_rate": self.error_rate,
            "floor": self.floor,
            "methods": self.table.reset_index().to_dict(orient="records"),
            "refused": dict(self.refused),
            "tolerance": self.tolerance,
            "per_class": None if classes is None else classes.to_dict(orient="records"),
        }
        return without_nan(document)  # a class without a sample has no error rate

    def plot(self, path: str | Path | None = None) -> Figure:
        """Draw the bounds of all methods, and those of the classes, beside the errors seen.

        Parameters
        ----------
        path
            Image to write, such as ``certificate.png``.
        """
        from neuralcollapse.figure_style import save
        from neuralcollapse.generalization.certificates.figure import plot_certificate

        figure = plot_certificate(self.table, self.per_class, self.to_dict())
        if path is not None:
            save(figure, path)
        return figure

    def __repr__(self) -> str:
        return (
            f"ErrorCertificate(upper={self.upper:.4g}, confidence={self.confidence:g}, "
            f"errors={self.errors}, n={self.n})"
        )

    def __str__(self) -> str:
        console = Console(width=100, color_system=None)
        with console.capture() as captured:
            for part in self._parts():
                console.print(part, markup=False, highlight=False)
        return "\n".join(line.rstrip() for line in captured.get().splitlines())

    @property
    def worst_class(self) -> dict[str, Any] | None:
        """The row of the class with the highest bound, of those that have a sample."""
        if self.per_class is None:
            return None
        rows = self.per_class.to_dict(orient="records")
        return next({str(name): value for name, value in row.items()} for row in rows if row["n"])

    @property
    def sentence(self) -> str:
        """What is certified, in words: for all classes together, and for the worst of them."""
        said = (
            f"At {at_least(self.confidence)} confidence the error on new data is at most "
            f"{at_most(self.upper)}: {count(self.errors)} of {count(self.n)} held-out samples "
            f"{are(self.errors)} misclassified ({share(self.error_rate)})."
        )
        worst = self.worst_class
        if worst is None or self.per_class is None:
            return said
        seen = " seen" if self.per_class["n"].eq(0).any() else ""
        return (
            f"{said} Of the worst class{seen}, {plain(worst['class'])}, it is at most "
            f"{at_most(worst['upper'])}: {count(worst['errors'])} of {count(worst['n'])} "
            f"{are(worst['errors'])}."
        )

    @property
    def remarks(self) -> list[str]:
        """What else a reader should know: ties, methods left out, tests of classes, absent ones."""
        return list(self._remarks())

    def _parts(self) -> Iterator[Table | str]:
        yield self.sentence
        yield ASSUMPTION
        table = Table("method", box=SIMPLE_HEAD)
        table.add_column("error at most", justify="right")
        table.add_column("certifies")
        table.add_column("rests on")
        for name, row in self.table.iterrows():
            table.add_row(
                str(name), at_most(row["upper"]), "yes" if row["covers"] else "no", row["assumes"]
            )
        yield table
        if self.per_class is not None:
            classes = count(len(self.per_class))
            yield JOINT_LEVEL.format(confidence=at_least(self.confidence), classes=classes)
        yield from self._remarks()
        yield (
            f"No method that holds for all data promises less than {at_least(self.floor)} in more "
            f"than half of its uses with {counted(self.n, 'sample')}."
        )

    def _remarks(self) -> Iterator[str]:
        if said := ties_told(self.ties, self.n, "held-out "):
            yield said
        for name, reason in self.refused.items():
            yield f"Left out, {name}: {reason}."
        table = self.per_class
        if table is None:
            return
        if self.tolerance is not None:
            within = table.loc[table["within"], "class"]
            yield (
                "Holm's test at the same joint level shows an error below "
                f"{at_most(self.tolerance)} for {count(len(within))} of {count(len(table))} "
                f"classes{_except(table.loc[~table['within'], 'class'])}."
            )
        absent = table.loc[table["n"] == 0, "class"]
        if len(absent):
            yield f"No held-out sample, so nothing known, of {_some(absent)}."


def _except(classes: pd.Series) -> str:
    return f", not for {_some(classes)}" if len(classes) else ""


def _some(classes: pd.Series) -> str:
    names = list(map(plain, classes[:SHOWN]))
    if len(classes) > SHOWN:
        names.append(f"{count(len(classes) - SHOWN)} more")
    return listed(names)
