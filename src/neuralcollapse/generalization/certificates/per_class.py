"""A bound on the error of each class, all of them at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.generalization.certificates.clopper_pearson import count_upper
from neuralcollapse.generalization.certificates.held_out import failure_probability
from neuralcollapse.validation import check_class_names, fraction, integer_labels


def class_uppers(
    margins: np.ndarray,
    labels: Any,
    class_names: Sequence[str] | None,
    confidence: float,
    tolerance: float | None = None,
) -> pd.DataFrame:
    """Return Clopper and Pearson's bound for each class, each at a share delta / K of the level.

    Holm's steps would need an error to test against: with one, they tell at the same joint level
    of which classes the error is shown to be below it.

    Parameters
    ----------
    margins
        (n,) finite held-out margins.
    labels
        (n,) their classes 0..K-1.
    class_names
        (K,) names; the labels themselves, up to the largest, if None.
    confidence
        Probability at which all the bounds hold together, given how many samples each class has.
    tolerance
        Error in (0, 1) to test each class against, fixed beforehand; no test if None.

    Returns
    -------
    DataFrame
        As `ErrorCertificate.per_class`. Of a class without a sample nothing is known: bound 1.

    Raises
    ------
    NeuralCollapseError
        If the labels do not fit, there are fewer than two classes, or the tolerance is not in
        (0, 1).

    References
    ----------
    Holm 1979, "A simple sequentially rejective multiple test procedure".

    Examples
    --------
    >>> class_uppers(np.array([1.0, -1.0, 2.0, 3.0]), [0, 0, 1, 1], None, 0.95).round(4)
       class  n  errors  error_rate   upper
    0      0  2       1         0.5  0.9874
    1      1  2       0         0.0  0.8419
    """
    delta = failure_probability(confidence)
    given = None if class_names is None else list(class_names) if np.iterable(class_names) else []
    num_classes = None if given is None else len(given)
    true = integer_labels("labels", labels, len(margins), num_classes).numpy()
    counts = np.bincount(true, minlength=num_classes or 0)
    if len(counts) < 2:
        raise NeuralCollapseError(
            "labels", "at least 2 classes", str(len(counts)), "one class has no rival"
        )
    errors = np.bincount(true, margins <= 0, len(counts)).astype(int)
    # The count 1 of 1 stands for a class without a sample.
    upper = count_upper(np.where(counts, errors, 1), np.maximum(counts, 1), delta / len(counts))
    names = range(len(counts)) if given is None else check_class_names(given, len(counts))
    table = pd.DataFrame(
        {
            "class": list(names),
            "n": counts,
            "errors": errors,
            "error_rate": errors / np.where(counts, counts, np.nan),
            "upper": upper,
        }
    )
    if tolerance is not None:
        table["within"] = _below(tolerance, errors, counts, delta)
    return table.sort_values("upper", ascending=False, ignore_index=True, kind="stable")


def _below(tolerance: float, errors: np.ndarray, counts: np.ndarray, delta: float) -> np.ndarray:
    """Tell of which classes the error is below the tolerance, by Holm's steps over exact tests."""
    from scipy.stats import binom
    from statsmodels.stats.multitest import multipletests  # takes a second

    fraction("tolerance", tolerance, "use 0.1 for an error of 10 %")
    # Without a sample the probability of at most 0 errors of 0 is 1: such a class is never shown.
    return multipletests(binom.cdf(errors, counts, tolerance), delta, method="holm")[0]
