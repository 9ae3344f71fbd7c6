"""Figures 2 and 3 as claims, on networks small enough to be trained at every verification."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from neuralcollapse.studies.claims import Evidence
from neuralcollapse.studies.figure_job import FigureJob
from neuralcollapse.studies.tirer2023 import figure2, figure3
from neuralcollapse.studies.tirer2023.study import study
from neuralcollapse.training import TrainConfig

DEPTH = 4
DEPTH_CONFIG = TrainConfig.from_dict(
    figure2.COMMON | figure2.SCALES["quick"] | {"epochs": figure2.SCALES["quick"]["epochs"] // 2}
)
FIGURE3 = TrainConfig.from_dict(figure3.COMMON | figure3.SCALES["quick"])
# A sixth of the figure's epochs, at six times the weight decay: their product is the paper's.
DECAY_CONFIG = replace(FIGURE3, epochs=FIGURE3.epochs // 6, weight_decay=6 * FIGURE3.weight_decay)
DECAY_SEEDS = figure3.SEEDS["quick"]


@study.claim(
    "fig2",
    "Deeper hidden layers of a trained perceptron are more collapsed, NC1 and NC1~, whether the "
    "layers are trained one by one on fixed earlier ones or all at once (on CIFAR-10 in the paper, "
    "on digits here).",
)
def _depth() -> Iterator[Evidence]:
    with TemporaryDirectory() as folder:
        record = figure2.record_depths(DEPTH_CONFIG, DEPTH, Path(folder))
    epochs = DEPTH_CONFIG.epochs
    note = f"digits, {DEPTH} hidden layers, {epochs} epochs, {len(figure2.SEEDS)} seeds"
    for way, title in (("layerwise", "one by one"), ("end_to_end", "all at once")):
        for metric, (name, _) in figure2.CURVES.items():
            values = record[f"{way}_{metric}"]
            steepest = float((values[:, 1:] / values[:, :-1]).max())
            words = f"{title}: largest {name} of a layer over that of the layer before"
            yield Evidence(words, steepest, 0.9, relation="<=", note=note)
            fall = float((values[:, -1] / values[:, 0]).max())
            yield Evidence(f"{title}: {name} of the last over the first", fall, 0.3, relation="<=")


@study.claim(
    "fig3",
    "The weight decay of the feature layers moves NC1 more than that of the head does, zeroed or "
    "doubled: with squared error, without bias.",
    correction="the paper trains ResNet18 on CIFAR-10, where it finds the same with cross-entropy; "
    "a perceptron on digits, all that is tested here, does not show it there: zeroed, either decay "
    "moves NC1 by about the same factor",
)
def _decays() -> Iterator[Evidence]:
    configs = figure3.decay_configs(DECAY_CONFIG, DECAY_SEEDS)
    with TemporaryDirectory() as folder:
        record = figure3.record_decays(FigureJob(Path(folder)).train(configs, measure_at=[]))
    note = (
        f"digits, {DECAY_CONFIG.epochs} epochs, weight decay {DECAY_CONFIG.weight_decay:g}, "
        f"{len(DECAY_SEEDS)} seeds, NC1 at the end; the least of the seeds"
    )
    words = "|log(NC1 / baseline's)|, features' decay {} over head's decay {}"
    for change in ("0", "× 2"):
        features, head = _log_factors(record, "mse", change)
        yield Evidence(
            "squared error: " + words.format(change, change),
            float((abs(features) / abs(head)).min()),
            1,
            relation=">=",
            note=note,
        )
    features, head = _log_factors(record, "ce", "0")
    yield Evidence(
        "cross-entropy: NC1 without the features' decay over that without the head's, in logarithm",
        float(np.median(features - head)),
        0,
        math.log(2),
        note="median of the seeds; equal within a factor of 2",
    )
    accuracy = min(float(record[f"{loss}_accuracy"][..., -1].min()) for loss in figure3.LOSSES)
    yield Evidence("least training accuracy", accuracy, 0.98, relation=">=")


def _log_factors(
    record: figure3.Record, loss: str, change: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Log of the last NC1 over the baseline's, a seed each: features' decay changed, head's."""
    last = np.log(record[f"{loss}_nc1_pinv"][:, :, -1])
    names = list(figure3.DECAYS)
    features, head = (names.index(f"{part} {change}") for part in ("features", "head"))
    return last[features] - last[0], last[head] - last[0]
