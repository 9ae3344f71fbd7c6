"""Calibration: whether a classifier is right as often as it is confident to be."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.generalization.certificates.clopper_pearson import clopper_pearson_upper
from neuralcollapse.generalization.certificates.held_out import failure_probability
from neuralcollapse.generalization.temperature import best_temperature
from neuralcollapse.metrics.decisions import decide
from neuralcollapse.validation import finite_matrix, integer_labels
from neuralcollapse.wording import at_least, at_most, count, number, share

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DRAWS = 200  # of labels that the confidences are right about


@dataclass(frozen=True, eq=False)
class Calibration:
    """How far the confidence of a classifier may be trusted, on samples it was not trained on.

    Attributes
    ----------
    n
        Samples.
    confidence
        Of the interval.
    accuracy, mean_confidence
        Share that is right, and the mean probability of the class decided for.
    ece
        Expected calibration error of the class decided for: mean over bins of confidence of the
        distance between confidence and accuracy.
    lower, upper
        The distance for the true accuracies of the bins lies between them: Clopper and Pearson's
        intervals of all bins at once, given the confidences. Within a bin over- and
        underconfidence cancel: what each confidence is off by itself may be more.
    chance
        What 95 % of samples of this size stay below whose confidences are exactly right, by 200
        draws: the error of few samples.
    classwise
        Mean over classes of the calibration error of the probability of each class.
    brier
        Mean squared distance between probabilities and the true class, in [0, 2].
    reliability, resolution, uncertainty
        Murphy's parts of the Brier score of being right, over the bins: the first less the second
        plus the third.
    nll
        Mean negative log-likelihood, in nats.
    temperature
        By which the logits of one half of the samples are best divided, from 0.001 to 1000: near
        the least if that half is all right, for then colder is always better.
    judged
        On the other half, ``nll`` and ``ece`` before (``"as it is"``) and after (``"scaled"``).
    bins
        One row a bin that has samples: ``n``, ``confidence``, ``accuracy``, ``lower``, ``upper``.
    """

    n: int
    confidence: float
    accuracy: float
    mean_confidence: float
    ece: float
    lower: float
    upper: float
    chance: float
    classwise: float
    brier: float
    reliability: float
    resolution: float
    uncertainty: float
    nll: float
    temperature: float
    judged: pd.DataFrame = field(repr=False)
    bins: pd.DataFrame = field(repr=False)

    @property
    def sentence(self) -> str:
        """What a reader should know, in words."""
        apart = self.mean_confidence - self.accuracy
        if self.ece <= self.chance:
            verdict = "no more than samples of this size show whose confidences are right"
        else:
            verdict = (
                f"{'over' if apart > 0 else 'under'}confident on average by {share(abs(apart))}"
            )
        before, after = self.judged["nll"].tolist()
        helps = "lowers" if after < before else "does not lower"
        return (
            f"It is right on {share(self.accuracy)} of {count(self.n)} held-out samples with a "
            f"mean confidence of {share(self.mean_confidence)}; over bins of confidence the "
            f"calibration error is {share(self.ece)} (between {at_least(self.lower)} and "
            f"{at_most(self.upper)} at {at_least(self.confidence)} confidence): {verdict}. A "
            f"temperature of {number(self.temperature)}, found on one half, {helps} the negative "
            f"log-likelihood of the other, from {number(before)} to {number(after)}."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain numbers, lists and dictionaries, fit for JSON."""
        tables = {"judged": self.judged.to_dict("index"), "bins": self.bins.to_dict("records")}
        names = [name for name in self.__dataclass_fields__ if name not in tables]
        return {name: getattr(self, name) for name in names} | tables

    def table(self) -> pd.DataFrame:
        """Return one row a quantity, with its value in words."""
        rows = {
            "calibration error of the class decided for": share(self.ece),
            "by chance, if confidences were right, below": at_most(self.chance),
            "calibration error of every class, mean": share(self.classwise),
            "Brier score": number(self.brier),
            "reliability, a part of it (0 is best)": number(self.reliability),
            "resolution, a part of it (more is better)": number(self.resolution),
            "negative log-likelihood": number(self.nll),
        }
        return pd.DataFrame({"value": rows})

    def plot(self, path: str | Path | None = None) -> Figure:
        """Draw the reliability diagram: accuracy over confidence, and how many samples there are.

        Parameters
        ----------
        path
            Image to write, such as ``calibration.png``.
        """
        from neuralcollapse.figure_style import save
        from neuralcollapse.generalization.reliability_diagram import reliability_diagram

        drawing = reliability_diagram(self)
        if path is not None:
            save(drawing, path)
        return drawing

    def __str__(self) -> str:
        return f"{self.sentence}\n{self.table().to_string(header=False)}"


def calibration(
    logits: Any, labels: Any, *, bins: int = 15, confidence: float = 0.95
) -> Calibration:
    r"""Measure whether confidence can be trusted.

    .. math:: \mathrm{ECE} = \sum_b \frac{n_b}{n} \bigl|\mathrm{acc}_b - \mathrm{conf}_b\bigr|

    over bins b of the confidence, the largest softmax probability. Training past 100 % accuracy
    lets margins grow with the norm of the head, and confidence with them, right or wrong; dividing
    the logits by one temperature takes that back.

    Parameters
    ----------
    logits
        (n, K) of samples that training never saw, K >= 2, n >= 4.
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
        If shapes or labels do not fit, there are fewer than 4 samples, or an option is out of
        range.

    References
    ----------
    Guo et al. 2017, "On calibration of modern neural networks"; Murphy 1973 (parts of the Brier
    score); Clopper & Pearson 1934.

    Examples
    --------
    >>> logits = torch.tensor([[4.0, 0.0], [4.0, 0.0], [0.0, 4.0], [4.0, 0.0]])
    >>> found = calibration(logits, [0, 0, 1, 1])
    >>> round(found.accuracy, 4), round(found.mean_confidence, 4), round(found.ece, 4)
    (0.75, 0.982, 0.232)
    """
    scores = finite_matrix("logits", logits).cpu()
    n, num_classes = scores.shape
    delta = failure_probability(confidence)
    if n < 4 or num_classes < 2:
        raise NeuralCollapseError(
            "logits", "shape (n, K), n >= 4, K >= 2", str(tuple(scores.shape)), "hold out more data"
        )
    if bins < 1:
        raise NeuralCollapseError("bins", "at least 1", str(bins), "15 is usual")
    true = integer_labels("labels", labels, n, num_classes).cpu()
    shares, right = scores.softmax(1), decide(scores, true)[0] > 0
    sure = shares.amax(1)
    table = _bins(sure, right, bins, delta)
    sizes, confident, correct, low, high = (table[name].to_numpy() for name in table)
    weights, gaps = sizes / n, np.abs(correct - confident)
    below, above = low - confident, high - confident
    nearest = np.maximum(np.maximum(below, -above), 0)
    accuracy = float(right.double().mean())
    temperature, judged = _judged(scores, true, bins)
    return Calibration(
        n=n,
        confidence=float(confidence),
        accuracy=accuracy,
        mean_confidence=float(sure.mean()),
        ece=_error(sure, right, bins),
        lower=float(weights @ nearest),
        upper=float(weights @ np.maximum(np.abs(below), np.abs(above))),
        chance=_by_chance(sure, bins),
        classwise=_classwise(shares, true, bins),
        brier=float((shares - one_hot(true, num_classes)).square().sum(1).mean()),
        reliability=float(weights @ gaps**2),
        resolution=float(weights @ (correct - accuracy) ** 2),
        uncertainty=accuracy * (1 - accuracy),
        nll=float(cross_entropy(scores, true)),
        temperature=temperature,
        judged=judged,
        bins=table,
    )


def _places(sure: Tensor, bins: int) -> Tensor:
    return (sure * bins).long().clamp_(0, bins - 1)


def _bins(sure: Tensor, right: Tensor, bins: int, delta: float) -> pd.DataFrame:
    place = _places(sure, bins)
    n = torch.bincount(place, minlength=bins)
    hits = torch.bincount(place[right], minlength=bins)
    total = torch.bincount(place, sure, minlength=bins)
    there = n > 0
    sizes, right_ones, sums = (part[there].numpy() for part in (n, hits, total))
    level = 1 - delta / (2 * len(sizes))  # each end of each bin
    return pd.DataFrame(
        {
            "n": sizes,
            "confidence": sums / sizes,
            "accuracy": right_ones / sizes,
            "lower": 1 - clopper_pearson_upper(sizes - right_ones, sizes, level),
            "upper": clopper_pearson_upper(right_ones, sizes, level),
        }
    )


def _error(sure: Tensor, right: Tensor, bins: int) -> float:
    """Return the distance of confidence and accuracy, averaged over bins by their samples."""
    # Not torchmetrics': it places confidences in float32, and calls one half of ties right.
    gaps = torch.bincount(_places(sure, bins), sure - right.to(sure.dtype))
    return float(gaps.abs().sum()) / len(sure)


def _classwise(shares: Tensor, true: Tensor, bins: int) -> float:
    return float(np.mean([_error(part, true == k, bins) for k, part in enumerate(shares.T)]))


def _by_chance(sure: Tensor, bins: int) -> float:
    """Return what the error stays below in 95 % of draws of labels that agree with confidence."""
    generator = torch.Generator().manual_seed(0)
    uniform = (torch.rand(len(sure), generator=generator, dtype=sure.dtype) for _ in range(DRAWS))
    return float(np.quantile([_error(sure, draw < sure, bins) for draw in uniform], 0.95))


def _judged(scores: Tensor, true: Tensor, bins: int) -> tuple[float, pd.DataFrame]:
    """Find the temperature on one half of each class, and judge it on the other."""
    order = true.argsort(stable=True)
    first, second = order[::2], order[1::2]
    temperature = best_temperature(scores[first], true[first])
    rows = {}
    for name, divisor in (("as it is", 1.0), ("scaled", temperature)):
        part, labels = scores[second] / divisor, true[second]
        sure, right = part.softmax(1).amax(1), decide(part, labels)[0] > 0
        rows[name] = {
            "nll": float(cross_entropy(part, labels)),
            "ece": _error(sure, right, bins),
        }
    return temperature, pd.DataFrame.from_dict(rows, orient="index")
