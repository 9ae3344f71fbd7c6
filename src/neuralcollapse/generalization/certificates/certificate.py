"""The error certificate: what a held-out sample proves about the error on new data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from neuralcollapse.files import atomic_path
from neuralcollapse.generalization.certificates.wording import percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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
        What the median of any distribution-free bound from n samples is at least.
    table
        One row a method: ``upper``, ``covers`` (whether it is an upper bound with probability
        `confidence` under every distribution; the other rows explain and certify nothing),
        ``assumes``.
    per_class
        One row a class, the highest bound first: ``class``, ``n``, ``errors``, ``error_rate``,
        ``upper``; all the bounds hold together with probability `confidence`. None without labels.
    refused
        Method to reason why it is not in the table.

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

    @property
    def error_rate(self) -> float:
        """Share of the held-out samples that are misclassified."""
        return self.errors / self.n

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain numbers, strings, lists and dictionaries, fit for JSON."""
        classes = self.per_class
        if classes is not None:  # a class without a sample has no error rate
            classes = classes.astype(object).where(classes.notna(), None)
        return {
            "upper": self.upper,
            "confidence": self.confidence,
            "errors": self.errors,
            "n": self.n,
            "error_rate": self.error_rate,
            "floor": self.floor,
            "methods": self.table.reset_index().to_dict(orient="records"),
            "refused": dict(self.refused),
            "per_class": None if classes is None else classes.to_dict(orient="records"),
        }

    def plot(self, path: str | Path | None = None) -> Figure:
        """Draw the bounds of all methods, and those of the classes, beside the errors seen.

        Parameters
        ----------
        path
            Image to write, such as ``certificate.png``.
        """
        from neuralcollapse.generalization.certificates.figure import plot_certificate

        figure = plot_certificate(self)
        if path is not None:
            with atomic_path(path) as temporary:
                figure.savefig(temporary)
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

    def _parts(self) -> Iterator[Table | str]:
        yield (
            f"At {percent(self.confidence)} confidence the error on new data is at most "
            f"{percent(self.upper)}: {self.errors:,} of {self.n:,} held-out samples are "
            f"misclassified ({percent(self.error_rate)})."
        )
        table = Table("method", box=SIMPLE_HEAD)
        table.add_column("error at most", justify="right")
        table.add_column("certifies")
        table.add_column("rests on")
        for name, row in self.table.iterrows():
            table.add_row(
                str(name), percent(row["upper"]), "yes" if row["covers"] else "no", row["assumes"]
            )
        yield table
        for name, reason in self.refused.items():
            yield f"Left out, {name}: {reason}."
        if self.per_class is not None:
            worst = self.per_class.iloc[0]
            yield (
                f"Least is known of class {worst['class']}: {worst['errors']} of {worst['n']} "
                f"wrong, at most {percent(worst['upper'])} (all classes at once)."
            )
        yield (
            f"No method that holds for all data promises less than {percent(self.floor)} in more "
            f"than half of its uses with {self.n:,} samples."
        )
