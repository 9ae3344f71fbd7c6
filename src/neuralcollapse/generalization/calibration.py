"""Calibration: whether a classifier is right as often as it is confident to be."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.generalization.temperature import COLDEST, HOTTEST, best_temperature
from neuralcollapse.generalization.top_label import (
    BINS,
    TopLabelCalibration,
    calibration_error,
    top_label_parts,
)
from neuralcollapse.metrics.decisions import decide, log_confidences
from neuralcollapse.validation import check_shape, check_squares, finite_matrix, integer_labels
from neuralcollapse.wording import number, share

FEWEST = 4  # samples, of which one half tells the temperature, and the other judges it
ROUND_OFF = 1e-2  # of a sum of probabilities, in bfloat16 too


@dataclass(frozen=True, eq=False)
class Calibration(TopLabelCalibration):
    """How far the confidence of a classifier may be trusted, on samples it was not trained on.

    Attributes
    ----------
    classwise
        Mean over classes of the calibration error of the probability of each class.
    brier
        Mean squared distance between probabilities and the true class, in [0, 2].
    temperature
        By which the logits of one half of the samples are best divided, from 0.001 to 1000: the
        smallest if that whole half is right, as a lower temperature is then always better.
    judged
        On the other half, ``nll`` and ``ece`` before (``"as it is"``) and after (``"scaled"``).
    n, confidence, accuracy, mean_confidence, ece, lower, upper, chance
        Of the predicted class, see `TopLabelCalibration`, as the following.
    reliability, resolution, uncertainty, nll, bins
        Parts of the Brier score of being right, negative log-likelihood, and bins of confidence.

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse.generalization import calibration
    >>> logits = torch.tensor([[4.0, 0.0], [4.0, 0.0], [0.0, 4.0], [4.0, 0.0]])
    >>> found = calibration(logits, [0, 0, 1, 1])
    >>> found.accuracy < found.mean_confidence  # overconfident
    True
    >>> round(found.brier, 2)
    0.48
    """

    classwise: float
    brier: float
    temperature: float
    judged: pd.DataFrame = field(repr=False)

    @property
    def sentence(self) -> str:
        """What a reader should know, in words."""
        before, after = self.judged["nll"].tolist()
        helps = "lowers" if after < before else "does not lower"
        limits = {COLDEST: ", the lowest that is tried", HOTTEST: ", the highest that is tried"}
        limit = limits.get(self.temperature, "")
        return (
            f"{super().sentence} A temperature of {number(self.temperature)}{limit}, found on one "
            f"half, {helps} the negative log-likelihood of the other, from {number(before)} to "
            f"{number(after)}."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain numbers, lists and dictionaries, fit for JSON."""
        tables = {"judged": self.judged.to_dict("index"), "bins": self.bins.to_dict("records")}
        names = [name for name in self.__dataclass_fields__ if name not in tables]
        return {name: getattr(self, name) for name in names} | tables

    def table(self) -> pd.DataFrame:
        """Return one row per quantity, with its value in words."""
        more = {
            "calibration error of every class, mean": share(self.classwise),
            "Brier score of all classes": number(self.brier),
        }
        return pd.concat([super().table(), pd.DataFrame({"value": more})])


def calibration(
    logits: Any, labels: Any, *, bins: int = BINS, confidence: float = 0.95
) -> Calibration:
    r"""Measure whether confidence can be trusted.

    .. math:: \mathrm{ECE} = \sum_b \frac{n_b}{n} \bigl|\mathrm{acc}_b - \mathrm{conf}_b\bigr|

    over bins b of the confidence, the largest softmax probability. Training past 100 % accuracy
    lets margins grow with the norm of the head, and confidence with them, right or wrong; dividing
    the logits by one temperature can undo that.

    Parameters
    ----------
    logits
        (n, K) of samples that training never saw, K >= 2, n >= 4; of a network that returns
        probabilities, their logarithm.
    labels
        (n,) true classes in 0..K-1.
    bins
        Bins of equal width in [0, 1], at least 1.
    confidence
        Of the interval, in (0, 1).

    Returns
    -------
    Calibration
        To print, tabulate or draw.

    Raises
    ------
    NonFiniteError
        If a logit is NaN or infinite.
    NeuralCollapseError
        If shapes or labels do not fit, there are fewer than 4 samples, all rows are
        probabilities, squares of logits leave float64, or an option is out of range.

    References
    ----------
    Guo et al. 2017, "On calibration of modern neural networks"; Murphy 1973 (parts of the Brier
    score); Clopper & Pearson 1934.

    Examples
    --------
    >>> import torch
    >>> from neuralcollapse.generalization import calibration
    >>> logits = torch.tensor([[4.0, 0.0], [4.0, 0.0], [0.0, 4.0], [4.0, 0.0]])
    >>> found = calibration(logits, [0, 0, 1, 1])
    >>> round(found.accuracy, 4), round(found.mean_confidence, 4), round(found.ece, 4)
    (0.75, 0.982, 0.232)
    """
    scores = finite_matrix("logits", logits).detach().cpu()
    n, num_classes = scores.shape
    check_shape("logits", scores, (f"n >= {FEWEST}", "K >= 2"), "hold out more data")
    check_squares("logits", scores, least=0.0)
    if bool((scores >= 0).all() & ((scores.sum(1) - 1).abs() <= ROUND_OFF).all()):
        expected = "logits, of which the softmax is taken"
        got = "probabilities: rows of at least 0 that sum to 1"
        raise NeuralCollapseError("logits", expected, got, "pass their logarithm")
    true = integer_labels("labels", labels, n, num_classes).cpu()
    margins = decide(scores, true)[0]
    parts = top_label_parts(log_confidences(scores), margins, bins, confidence)
    shares, (temperature, judged) = scores.softmax(1), _judged(scores, true, bins)
    of_class = [calibration_error(part, true == k, bins) for k, part in enumerate(shares.T)]
    return Calibration(
        **parts,
        classwise=float(np.mean(of_class)),
        brier=float((shares - one_hot(true, num_classes)).square().sum(1).mean()),
        temperature=temperature,
        judged=judged,
    )


def _judged(scores: Tensor, true: Tensor, bins: int) -> tuple[float, pd.DataFrame]:
    """Find the temperature on one half of each class, and judge it on the other."""
    scores = scores - scores.amax(1, keepdim=True)  # what all of a row share has no digits to cost
    order = true.argsort(stable=True)
    first, second = order[::2], order[1::2]
    temperature = best_temperature(scores[first], true[first])
    rows = {}
    for name, divisor in (("as it is", 1.0), ("scaled", temperature)):
        part, labels = scores[second] / divisor, true[second]
        sure, right = part.softmax(1).amax(1), decide(part, labels)[0] > 0
        rows[name] = {
            "nll": float(cross_entropy(part, labels)),
            "ece": calibration_error(sure, right, bins),
        }
    return temperature, pd.DataFrame.from_dict(rows, orient="index")
