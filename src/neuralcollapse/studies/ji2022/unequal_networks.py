"""Ours: networks trained on classes of 1 to 20, beside the geometry predicted at their decay."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import torch
from matplotlib.axes import Axes
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from neuralcollapse.figure_style import figure, save
from neuralcollapse.metrics import etf_distance, gram_distance
from neuralcollapse.studies.claims import Evidence
from neuralcollapse.studies.descent import train_on_all
from neuralcollapse.studies.figure_job import ALL_SCALES, FigureJob
from neuralcollapse.studies.ji2022.study import study
from neuralcollapse.theory import implied_feature_decay, predicted_geometry, unequal_minimizer
from neuralcollapse.training import load_dataset

SIZES = (60,) * 5 + (3,) * 5
MINORITY = slice(5, None)
HIDDEN, WIDTH, STEPS = 256, 32, 1000
BELOW, ABOVE = (5e-3, 3e-4), (3.6e-2, 1.6e-3)  # lambda_W, lambda_H
NOTE = "perceptron on digits, 5 classes of 60 and 5 of 3; head and features decay, no bias"


@study.claim(
    "unequal-decay",
    "Ours: with unequal classes and weight decay a network goes to the predicted geometry, not to "
    "an ETF; small classes of one size become one where r = (lambda_W lambda_H)^(1/2) reaches "
    "n^(1/2) / N.",
)
def _unequal_decay() -> Iterator[Evidence]:
    threshold = float(unequal_minimizer(SIZES, WIDTH, *BELOW).merge_strength.min())
    by_hand = math.sqrt(min(SIZES)) / sum(SIZES)
    yield Evidence("r at which the small classes merge", threshold, by_hand, 1e-12)
    for decays, merged in ((ABOVE, True), (BELOW, False)):
        (weight, means), r = _train(decays, bias=False), math.sqrt(decays[0] * decays[1])
        where = f"at {r / threshold:.2f} of the strength that merges"
        shape = predicted_geometry(SIZES, WIDTH, bias=False, weight_decay=decays)
        far = gram_distance(weight, shape.head_gram)
        yield Evidence(f"distance of the head's Gram from it, {where}", far, 0, 0.2, note=NOTE)
        yield Evidence.at_least("and from a simplex ETF", etf_distance(weight), 0.5)
        implied = implied_feature_decay(weight, means, SIZES, decays[0])
        words = "decay of the features that the head implies, over the true one"
        yield Evidence(words, implied / decays[1], 1, 0.25)
        rows = weight[MINORITY]
        alike = float((rows - rows.mean(0)).norm() / weight.norm())
        words = "spread of the rows of the small classes, of the norm of the head"
        judged = Evidence.at_most if merged else Evidence.at_least
        yield judged(words, alike, 0.02 if merged else 0.2)


@lru_cache(maxsize=8)
def _train(decays: tuple[float, float], bias: bool) -> tuple[Tensor, Tensor]:
    """Return the trained head and the class means of the training images, both (K, d)."""
    data = load_dataset("digits", per_class=max(SIZES)).standardized().train
    images, labels = data.tensors[0].flatten(1), data.tensors[1]
    kept = torch.cat([(labels == k).nonzero().squeeze(1)[:n] for k, n in enumerate(SIZES)])
    images, labels = images[kept], labels[kept]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        body = nn.Sequential(nn.Linear(64, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, WIDTH))
        head = nn.Linear(WIDTH, len(SIZES), bias=bias)

    def loss() -> Tensor:
        features = body(images)
        fit = cross_entropy(head(features), labels) + decays[0] / 2 * head.weight.square().sum()
        return fit + decays[1] / 2 * features.square().sum()

    train_on_all([*body.parameters(), *head.parameters()], loss, STEPS)
    with torch.no_grad():
        features = body(images).double()
    means = torch.stack([features[labels == k].mean(0) for k in range(len(SIZES))])
    return head.weight.detach().double(), means


@study.figure(8, fixed=ALL_SCALES)
def draw_unequal(job: FigureJob) -> list[Path]:
    """Draw Gram matrices of heads trained at 1 to 20 beside those predicted, without and with bias.

    Below the strength of decay at which the small classes become one, and above.
    """
    threshold = math.sqrt(min(SIZES)) / sum(SIZES)
    with figure(2, 4, 12.5, 6.2) as (drawing, panels):
        for row, bias in enumerate((False, True)):
            for pair, decays in enumerate((BELOW, ABOVE)):
                weight, _ = _train(decays, bias)
                shape = predicted_geometry(SIZES, WIDTH, bias=bias, weight_decay=decays)
                share = math.sqrt(decays[0] * decays[1]) / threshold
                left, right = panels[4 * row + 2 * pair : 4 * row + 2 * pair + 2]
                far = gram_distance(weight, shape.head_gram)
                _matrix(left, weight, f"network, r at {share:.2g}")
                _matrix(right, shape.W, f"predicted; {far:.2g} off")
            panels[4 * row].set_ylabel("with bias" if bias else "without bias")
    return [save(drawing, job.folder / "figure8.png")]


def _matrix(axes: Axes, rows: Tensor, title: str) -> None:
    centered = rows - rows.mean(0)
    gram = centered @ centered.T
    largest = float(gram.abs().max())
    axes.imshow(gram, cmap="RdBu_r", vmin=-largest, vmax=largest)
    axes.set_title(title)
    axes.grid(False)
    axes.set_xticks([2, 7], ["60", "3"])
    axes.set_yticks([2, 7], ["60", "3"])
