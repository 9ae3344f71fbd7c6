"""Calibration of the predicted class: all that confidences and decisions tell."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from neuralcollapse.generalization.certificates.clopper_pearson import count_upper
from neuralcollapse.generalization.certificates.held_out import failure_probability
from neuralcollapse.validation import whole_number
from neuralcollapse.wording import at_least, at_most, count, number, share

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_BINS = 10**6
DRAWS = 200  # of labels that the confidences are right about
BINS = 15


@dataclass(frozen=True, eq=False)
class TopLabelCalibration:
    """How far the confidence in the predicted class may be trusted.

    Attributes
    ----------
    n
        Samples.
    confidence
        Of the interval.
    accuracy, mean_confidence
        Share that is right, and the mean probability of the predicted class.
    ece
        Expected calibration error of the predicted class: mean over bins of confidence of the
        distance between confidence and accuracy.
    lower, upper
        The distance for the true accuracies of the bins lies between them: Clopper and Pearson's
        intervals of all bins at once, given the confidences. Within a bin over- and
        underconfidence cancel: what each confidence is off by itself may be more.
    chance
        What 95 % of samples of this size stay below whose confidences are exactly right, by 200
        draws: the error of few samples.
    reliability, resolution, uncertainty
        Murphy's parts of the Brier score of being right, over the bins: the first less the second
        plus the third.
    nll
        Mean negative log-likelihood of the true class, in nats.
    bins
        One row per bin that has samples: ``n``, ``confidence``, ``accuracy``, ``lower``, ``upper``.
    """

    n: int
    confidence: float
    accuracy: float
    mean_confidence: float
    ece: float
    lower: float
    upper: float
    chance: float
    reliability: float
    resolution: float
    uncertainty: float
    nll: float
    bins: pd.DataFrame = field(repr=False)

    @property
    def sentence(self) -> str:
        """What a reader should know, in words."""
        apart = self.mean_confidence - self.accuracy
        if self.ece <= self.chance:
            verdict = "no more than samples of this size show whose confidences are right"
        elif abs(apart) <= 2 * math.sqrt(self.accuracy * (1 - self.accuracy) / self.n):
            verdict = "over- and underconfident in different bins, on average neither"
        else:
            verdict = (
                f"{'over' if apart > 0 else 'under'}confident on average by {share(abs(apart))}"
            )
        return (
            f"It is right on {share(self.accuracy)} of {count(self.n)} held-out samples with a "
            f"mean confidence of {share(self.mean_confidence)}; over bins of confidence the "
            f"calibration error is {share(self.ece)} (between {at_least(self.lower)} and "
            f"{at_most(self.upper)} at {at_least(self.confidence)} confidence): {verdict}."
        )

    def table(self) -> pd.DataFrame:
        """Return one row per quantity, with its value in words."""
        rows = {
            "calibration error of the predicted class": share(self.ece),
            "by chance, if confidences were right, below": at_most(self.chance),
            "reliability, a part of its Brier score (0 is best)": number(self.reliability),
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

        drawing = reliability_diagram(self.bins, self.ece, self.confidence)
        if path is not None:
            save(drawing, path)
        return drawing

    def __str__(self) -> str:
        return f"{self.sentence}\n{self.table().to_string(header=False)}"


def top_label_calibration(
    log_confidences: Tensor, margins: Tensor, bins: int = BINS, confidence: float = 0.95
) -> TopLabelCalibration:
    """Measure whether the confidence in the predicted class can be trusted.

    Parameters
    ----------
    log_confidences
        (n,) logarithm of the largest softmax probability of each sample, see `log_confidences`.
    margins
        (n,) of the true class, in logits.
    bins, confidence
        As in `calibration`.

    Examples
    --------
    >>> logits = torch.tensor([[4.0, 0.0], [4.0, 0.0], [0.0, 4.0], [4.0, 0.0]]).double()
    >>> found = top_label_calibration(
    ...     logits.log_softmax(1).amax(1), torch.tensor([4.0, 4.0, 4.0, -4.0])
    ... )
    >>> round(found.accuracy, 4), round(found.mean_confidence, 4), round(found.ece, 4)
    (0.75, 0.982, 0.232)
    """
    return TopLabelCalibration(**top_label_parts(log_confidences, margins, bins, confidence))


def top_label_parts(
    log_confidences: Tensor, margins: Tensor, bins: int, confidence: float
) -> dict[str, Any]:
    """Return what a `TopLabelCalibration` is made of, by name."""
    bins = whole_number("bins", bins, at_most=MOST_BINS)
    logs, gaps = log_confidences.double().cpu(), margins.double().cpu()
    sure, right = logs.exp(), gaps > 0
    table = _bins(sure, right, bins, failure_probability(confidence))
    sizes, confident, correct, low, high = (table[name].to_numpy() for name in table)
    weights, below, above = sizes / len(sure), low - confident, high - confident
    accuracy = float(right.double().mean())
    return {
        "n": len(sure),
        "confidence": float(confidence),
        "accuracy": accuracy,
        "mean_confidence": float(sure.mean()),
        "ece": calibration_error(sure, right, bins),
        "lower": float(weights @ np.maximum(np.maximum(below, -above), 0)),
        "upper": float(weights @ np.maximum(np.abs(below), np.abs(above))),
        "chance": _by_chance(sure, bins),
        "reliability": float(weights @ (correct - confident) ** 2),
        "resolution": float(weights @ (correct - accuracy) ** 2),
        "uncertainty": accuracy * (1 - accuracy),
        "nll": -float((logs + gaps.clamp(max=0)).mean()),
        "bins": table,
    }


def calibration_error(sure: Tensor, right: Tensor, bins: int) -> float:
    """Return the distance of confidence and accuracy, averaged over bins by their samples."""
    # Not torchmetrics': it places confidences in float32, and calls one half of ties right.
    gaps = torch.bincount(_places(sure, bins), sure - right.to(sure.dtype))
    return float(gaps.abs().sum()) / len(sure)


def _places(sure: Tensor, bins: int) -> Tensor:
    return (sure * bins).long().clamp_(0, bins - 1)


def _bins(sure: Tensor, right: Tensor, bins: int, delta: float) -> pd.DataFrame:
    place = _places(sure, bins)
    n = torch.bincount(place, minlength=bins)
    hits = torch.bincount(place[right], minlength=bins)
    total = torch.bincount(place, sure, minlength=bins)
    there = n > 0
    sizes, right_ones, sums = (part[there].numpy() for part in (n, hits, total))
    each = delta / (2 * len(sizes))  # for each end of each bin
    return pd.DataFrame(
        {
            "n": sizes,
            "confidence": sums / sizes,
            "accuracy": right_ones / sizes,
            "lower": 1 - count_upper(sizes - right_ones, sizes, each),
            "upper": count_upper(right_ones, sizes, each),
        }
    )


def _by_chance(sure: Tensor, bins: int) -> float:
    """Return what the error stays below in 95 % of draws of labels that agree with confidence."""
    generator = torch.Generator().manual_seed(0)
    draws = (torch.empty_like(sure).uniform_(generator=generator) for _ in range(DRAWS))
    return float(np.quantile([calibration_error(sure, draw < sure, bins) for draw in draws], 0.95))
