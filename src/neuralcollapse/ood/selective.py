"""Selective prediction: decide only where the confidence is high, and so err less."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.validation import finite_array


@dataclass(frozen=True, eq=False)
class RiskCoverage:
    """The share of errors among the samples decided, for each share of samples decided.

    Attributes
    ----------
    coverage
        (n,) 1/n, 2/n, ..., 1: the share of samples decided, the most confident first.
    risk
        (n,) the share of errors among these; for ties of the confidence, its mean over random
        orders.

    Examples
    --------
    >>> from neuralcollapse.ood import risk_coverage
    >>> curve = risk_coverage([4.0, 3.0, 2.0, 1.0], [True, True, True, False])
    >>> curve.coverage_at(0.0), curve.excess_aurc  # the one error has the least confidence
    (0.75, 0.0)
    """

    coverage: np.ndarray
    risk: np.ndarray

    @property
    def aurc(self) -> float:
        """Mean risk over all coverages, in [0, 1]; the lower the better."""
        return float(self.risk.mean())

    @property
    def excess_aurc(self) -> float:
        """The AURC above that of the best confidence, which ranks every error last; >= 0."""
        total = len(self.risk)
        correct = round(total * (1 - self.risk[-1]))
        ideal = np.maximum(np.arange(1, total + 1) - correct, 0) / np.arange(1, total + 1)
        return max(self.aurc - float(ideal.mean()), 0.0)

    def coverage_at(self, risk: float) -> float:
        """Return the largest share of samples that can be decided at no more than this risk."""
        within = np.flatnonzero(self.risk <= risk)
        return float(self.coverage[within[-1]]) if len(within) else 0.0


def risk_coverage(confidence: Any, correct: Any) -> RiskCoverage:
    """Return the risk-coverage curve of a classifier that may decline to decide.

    Parameters
    ----------
    confidence
        (n,) such as `ood_scores` or normalised margins; higher is more confident.
    correct
        (n,) whether the decision is right.

    Returns
    -------
    RiskCoverage
        The curve; ``.aurc`` summarises it.

    Raises
    ------
    NeuralCollapseError
        If the lengths differ or there is no sample.
    NonFiniteError
        If a confidence, or a decision, is NaN or infinite.

    References
    ----------
    El-Yaniv & Wiener 2010; Geifman, Uziel & El-Yaniv 2019 (AURC and its excess).

    Examples
    --------
    >>> from neuralcollapse.ood import risk_coverage
    >>> curve = risk_coverage([4.0, 3.0, 2.0, 1.0], [True, True, False, True])
    >>> curve.risk.round(3).tolist(), curve.coverage_at(0.1)
    ([0.0, 0.0, 0.333, 0.25], 0.5)
    """
    scores, right = finite_array("confidence", confidence), finite_array("correct", correct)
    if scores.ndim != 1 or scores.shape != right.shape or not len(scores):
        expected = "one of each for at least one sample"
        got = f"shapes {scores.shape}, {right.shape}"
        remedy = "pass two arrays of one length"
        raise NeuralCollapseError("confidence, correct", expected, got, remedy)
    if not np.isin(right, (0, 1)).all():
        raise NeuralCollapseError(
            "correct", "True or False for each sample", "other numbers", "pass decision == label"
        )
    _, group, sizes = np.unique(-scores, return_inverse=True, return_counts=True)
    errors = np.bincount(group, 1 - right)
    # Within a tie all orders are equally likely: each position gets the mean number of errors.
    likely = np.repeat(errors / sizes, sizes)
    decided = np.arange(1, len(scores) + 1)
    return RiskCoverage(decided / len(scores), np.cumsum(likely) / decided)
