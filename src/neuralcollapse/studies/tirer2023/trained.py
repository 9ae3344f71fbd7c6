"""Figures 2 and 3 as claims, on networks small enough to be trained at every verification."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from neuralcollapse.runs.record import Record
from neuralcollapse.studies.claims import Evidence, smallest
from neuralcollapse.studies.figure_job import FigureJob
from neuralcollapse.studies.panels import Curves
from neuralcollapse.studies.tirer2023 import figure2, figure3
from neuralcollapse.studies.tirer2023.study import study
from neuralcollapse.training import TrainConfig

DEPTH = 4
DEPTH_CONFIG = TrainConfig.from_dict(
    figure2.COMMON | figure2.SCALES["quick"] | {"epochs": figure2.SCALES["quick"]["epochs"] // 2}
)
DEPTH_SEEDS = (0, 1, 2)
# Few images, so that all of them are right in a minute; at a moderate decay, and at one beyond.
FIGURE3 = TrainConfig.from_dict(
    figure3.COMMON | figure3.SCALES["quick"] | {"per_class": 60, "epochs": 60}
)
MODERATE = 2e-3
STRONG = {"mse": 3e-2, "ce": 6e-2}
DECAY_SEEDS = (0, 1)


@study.claim(
    "fig2",
    "Deeper hidden layers of a trained perceptron are more collapsed, NC1 and NC1~, whether the "
    "layers are trained one by one on fixed earlier ones or all at once (on CIFAR-10 in the paper, "
    "on digits here).",
)
def _depth() -> Iterator[Evidence]:
    with TemporaryDirectory() as folder:
        record = figure2.record_depths(
            DEPTH_CONFIG, DEPTH, Path(folder), DEPTH_SEEDS, FigureJob(Path(folder))
        )
    epochs = DEPTH_CONFIG.epochs
    note = f"digits, {DEPTH} hidden layers, {epochs} epochs, {len(DEPTH_SEEDS)} seeds"
    for way, title in (("layerwise", "one by one"), ("end_to_end", "all at once")):
        for metric, (name, _) in figure2.CURVES.items():
            values = record[f"{way}_{metric}"]
            steepest = float((values[:, 1:] / values[:, :-1]).max())
            words = f"{title}: largest {name} of a layer over that of the layer before"
            yield Evidence.at_most(words, steepest, 0.9, note=note)
            fall = float((values[:, -1] / values[:, 0]).max())
            yield Evidence.at_most(f"{title}: {name} of the last over the first", fall, 0.3)


@study.claim(
    "fig3",
    "With every training image right, more weight decay of the feature layers brings features "
    "closer to collapse, and more so than the same change of the head's: NC1, with squared error "
    "without bias and with cross-entropy with bias.",
    correction="at moderate decay (shown for a perceptron on digits; the paper trains ResNet18 on "
    "CIFAR-10). Beyond some strength it turns round, training accuracy 1 as before: more decay of "
    "the feature layers then raises NC1, with either loss. At the paper's product of decay and "
    "summed learning rate this small problem is beyond it",
)
def _decays() -> Iterator[Evidence]:
    record = figure3.record_decays(_trained(MODERATE, list(figure3.DECAYS), list(figure3.LOSSES)))
    note = f"digits, {FIGURE3.per_class} a class, {FIGURE3.epochs} epochs, {len(DECAY_SEEDS)} seeds"
    for loss, title in figure3.LOSSES.items():
        doubled, head = _factors(record, loss, "× 2")
        words = f"{title}: NC1 with the features' decay doubled over the baseline's, largest"
        where = f"{note}, decay {MODERATE:g}"
        yield Evidence.at_most(words, float(doubled.max()), 0.95, note=where)
        share = float((doubled / head).max())
        yield Evidence.at_most("that over NC1 with the head's doubled", share, 1)
        zeroed, _ = _factors(record, loss, "0")
        words = "NC1 without the features' decay, least"
        yield Evidence.at_least(words, float(zeroed.min()), 1.05)
        accuracy = float(record[f"{loss}_accuracy"][..., -1].min())
        yield Evidence.at_least("least training accuracy", accuracy, 1)
    for loss, title in figure3.LOSSES.items():
        runs = _trained(STRONG[loss], ["baseline", "features × 2"], [loss])
        base, changed = np.array([run[-1]["nc1_pinv"] for run in runs]).reshape(2, -1)
        words = f"{title}: the same factor at decay {STRONG[loss]:g}, least"
        yield Evidence.at_least(words, float((changed / base).min()), 1, note="turned round")
        accuracy = smallest(*(run[-1]["accuracy"] for run in runs))
        yield Evidence.at_least("least training accuracy there", accuracy, 1)


def _trained(decay: float, names: Sequence[str], losses: Sequence[str]) -> list[list[Record]]:
    """Train the named cases at a baseline's decay; the histories have the order of the cases."""
    base = replace(FIGURE3, weight_decay=decay, head_weight_decay=decay)
    configs = np.array(figure3.decay_configs(base, DECAY_SEEDS), object)
    cases = configs.reshape(-1, len(figure3.DECAYS), len(DECAY_SEEDS))
    rows = [list(figure3.LOSSES).index(loss) for loss in losses]
    columns = [list(figure3.DECAYS).index(name) for name in names]
    chosen = cases[rows][:, columns].ravel().tolist()
    with TemporaryDirectory() as folder:
        return FigureJob(Path(folder)).train(chosen, measure_at=[])


def _factors(
    record: Curves, loss: str, change: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Last NC1 over the baseline's, a seed each: features' decay changed, and the head's."""
    last = record[f"{loss}_nc1_pinv"][:, :, -1]
    names = list(figure3.DECAYS)
    features, head = (names.index(f"{part} {change}") for part in ("features", "head"))
    return last[features] / last[0], last[head] / last[0]
