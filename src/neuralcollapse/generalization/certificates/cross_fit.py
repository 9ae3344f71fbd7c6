"""Cross-fitting: every sample is held out once, and the folds' models are certified together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.generalization.certificates.clopper_pearson import count_upper
from neuralcollapse.generalization.certificates.held_out import failure_probability, finite_margins
from neuralcollapse.wording import are, at_least, at_most, count


@dataclass(frozen=True, eq=False)
class CrossFitCertificate:
    """An upper bound on the average error of the models of F folds.

    Attributes
    ----------
    upper
        With probability at least `confidence` the mean of the F models' errors on new data is at
        most this. It says nothing of a model trained on all folds.
    confidence
        Of the statement.
    per_fold
        One row per fold: ``n``, ``errors``, ``upper``; all hold together at `confidence`.

    Examples
    --------
    >>> from neuralcollapse.generalization import cross_fit_certificate
    >>> found = cross_fit_certificate([[1.0] * 500, [1.0] * 499 + [-1.0]])
    >>> found.per_fold["errors"].tolist(), found.upper < 0.02
    ([0, 1], True)
    """

    upper: float
    confidence: float
    per_fold: pd.DataFrame

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain numbers, lists and dictionaries."""
        return {
            "upper": self.upper,
            "confidence": self.confidence,
            "per_fold": self.per_fold.to_dict(orient="records"),
        }

    def __str__(self) -> str:
        errors, n = (self.per_fold[column].sum() for column in ("errors", "n"))
        return (
            f"At {at_least(self.confidence)} confidence the average error of the "
            f"{len(self.per_fold)} fold models on new data is at most {at_most(self.upper)}: "
            f"{count(errors)} of {count(n)} samples {are(errors)} misclassified "
            "by the model that did not see them. "
            "This does not certify a model trained on all folds."
        )


def cross_fit_certificate(
    fold_margins: Sequence[Any], confidence: float = 0.95
) -> CrossFitCertificate:
    r"""Certify the average error of models that each were trained without one fold of the data.

    .. math:: \frac1F \sum_f \mathrm{err}_f \le \frac1F \sum_f U_{\delta/F}(k_f, n_f)

    The folds' errors must not be pooled: each model was trained on the others' held-out samples,
    so their sum is not binomial. Each fold's own count is, given the other folds; a union over the
    folds puts them together.

    Parameters
    ----------
    fold_margins
        F >= 2 samples of margins, the f-th (n_f,) of fold f under the model trained without it.
    confidence
        1 - delta, in (0, 1).

    Returns
    -------
    CrossFitCertificate
        The bound on the average, and on each fold's model.

    Raises
    ------
    NeuralCollapseError
        If there are fewer than two folds, a fold is empty, or the confidence is not in (0, 1).
    NonFiniteError
        If a margin is NaN or infinite.

    Notes
    -----
    Ours, from Clopper and Pearson's bound.

    Examples
    --------
    >>> from neuralcollapse.generalization import cross_fit_certificate
    >>> certificate = cross_fit_certificate([[1.0] * 100, [1.0] * 99 + [-1.0]])
    >>> certificate.per_fold.round(4)
         n  errors   upper
    0  100       0  0.0362
    1  100       1  0.0545
    >>> round(certificate.upper, 4)
    0.0453
    """
    delta = failure_probability(confidence)
    num_folds = len(fold_margins) if np.iterable(fold_margins) else 0
    if num_folds < 2:
        remedy = "use error_certificate for one held-out sample"
        raise NeuralCollapseError("fold_margins", "at least 2 folds", str(num_folds), remedy)
    folds = [
        finite_margins(f"fold_margins[{f}]", fold, axes=1) for f, fold in enumerate(fold_margins)
    ]
    table = pd.DataFrame(
        {"n": [len(fold) for fold in folds], "errors": [int((fold <= 0).sum()) for fold in folds]}
    )
    table["upper"] = count_upper(
        table["errors"].to_numpy(), table["n"].to_numpy(), delta / len(folds)
    )
    return CrossFitCertificate(float(table["upper"].mean()), float(confidence), table)
