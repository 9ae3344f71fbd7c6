"""Figure 3: what the weight decay of the head and that of the feature layers do to collapse."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from neuralcollapse.figure_style import BLUE, ORANGE, captioned, figure, label_ends
from neuralcollapse.npz_files import write_npz
from neuralcollapse.studies.figure_job import SEEDS, SMALL, FigureJob, Scale
from neuralcollapse.studies.panels import Curves, band, curves_by_case, drawn_by_band, log_ticks
from neuralcollapse.studies.tirer2023.study import study
from neuralcollapse.training import TrainConfig
from neuralcollapse.wording import share

DECAYS = {  # name: factors on the weight decay of the feature layers and of the head
    "baseline": (1.0, 1.0),
    "head × 2": (1.0, 2.0),
    "head 0": (1.0, 0.0),
    "features × 2": (2.0, 1.0),
    "features 0": (0.0, 1.0),
}
STYLES: dict[str, dict[str, Any]] = {
    "baseline": {"color": "black", "lw": 2.2},
    "head × 2": {"color": ORANGE},
    "head 0": {"color": ORANGE, "ls": (0, (2, 1.2))},
    "features × 2": {"color": BLUE},
    "features 0": {"color": BLUE, "ls": (0, (2, 1.2))},
}
LOSSES = {"mse": "Squared error, no bias", "ce": "Cross-entropy, bias"}
METRICS = ("nc1_pinv", "nc1_trace_ratio", "nc2_etf", "accuracy")
MEASURE_EVERY = 5
BASELINE = ("lr", "weight_decay")  # by which the networks differ: a setting is the baseline's
# Learning rate and momentum are the paper's at every scale, and, but for small, its product of
# weight decay and the sum of all learning rates: fewer and smaller epochs need more decay. At the
# scale small the product is 0.4 of it, since twice the whole of it leaves training images wrong.
COMMON: dict[str, Any] = {"lr": 0.05, "momentum": 0.9, "lr_schedule": "step"}
SCALES: dict[Scale, dict[str, Any]] = {
    "quick": {"width": 0.25, "weight_decay": 8.5e-3, "batch_size": 64, "epochs": 120},
    "small": {
        **SMALL,
        "data": "fashion-mnist",
        "net": "resnet18",
        "test_per_class": 100,
        "weight_decay": 5e-3,
        "batch_size": 64,
        "epochs": 60,
    },
    "medium": {
        "data": "fashion-mnist",
        "per_class": 1000,
        "net": "resnet18",
        "weight_decay": 5e-3,
        "batch_size": 128,
        "epochs": 60,
        "precision": "bf16",
    },
    "paper": {
        "data": "cifar10",
        "net": "resnet18",
        "weight_decay": 5e-4,
        "batch_size": 128,
        "epochs": 120,
    },
}
# By what the learning rate of squared error is divided where 0.05 is too fast: the small networks
# got at most 21 % of their images right in ten epochs, and 52 to 99 % in sixty; the loss of one of
# full width was NaN at its sixth step.
MSE_DIVISOR: dict[Scale, float] = {"small": 5.0, "medium": 5.0}


def decay_configs(
    base: TrainConfig, seeds: Sequence[int], mse_divisor: float = 1.0
) -> list[TrainConfig]:
    """Return what is trained: each loss with each weight decay and seed, the seed fastest.

    Parameters
    ----------
    base
        The baseline; its loss, bias, seed and decays are varied.
    seeds
        Of every case.
    mse_divisor
        By what the learning rate is divided for squared error.
    """
    return [
        replace(
            base,
            loss=loss,
            lr=base.lr / (mse_divisor if loss == "mse" else 1),
            head_bias=loss == "ce",
            weight_decay=features * base.weight_decay,
            head_weight_decay=head * base.weight_decay,
            seed=seed,
        )
        for loss, (features, head), seed in itertools.product(LOSSES, DECAYS.values(), seeds)
    ]


def record_decays(histories: Sequence[Sequence[Mapping[str, Any]]]) -> Curves:
    """Gather the curves of the runs.

    Parameters
    ----------
    histories
        Of the runs of `decay_configs`, in its order.

    Returns
    -------
    dict of arrays
        ``epochs`` (T,); ``{loss}_{metric}`` (decays, seeds, T), in the order of `DECAYS`.
    """
    curves = curves_by_case(list(LOSSES), METRICS, histories)
    epochs = curves.pop("epochs")
    shape = len(DECAYS), -1, len(epochs)
    return {"epochs": epochs} | {name: rows.reshape(shape) for name, rows in curves.items()}


def final_effects(record: Curves, loss: str, metric: str) -> dict[str, tuple[float, ...]]:
    """Return by what factor each decay changes a metric's last value: (median, least, largest).

    Above 1 the decay has raised it. A seed is compared with the baseline of the same seed.

    Parameters
    ----------
    record
        From `record_decays`.
    loss, metric
        ``"mse"`` or ``"ce"``; ``"nc1_pinv"``, ``"nc1_trace_ratio"`` or ``"nc2_etf"``.
    """
    last = record[f"{loss}_{metric}"][:, :, -1]
    factors = last[1:] / last[0]
    names = [name for name in DECAYS if name != "baseline"]
    return {
        name: (float(np.median(row)), float(row.min()), float(row.max()))
        for name, row in zip(names, factors, strict=True)
    }


def plot_decays(record: Curves) -> Figure:
    """Draw NC1 and NC2 against epochs, squared error above, cross-entropy below.

    Parameters
    ----------
    record
        From `record_decays`.
    """
    with figure(2, 2, 10.5, 7.6) as (drawing, panels):
        places = itertools.product(LOSSES.items(), (("nc1_pinv", "NC1"), ("nc2_etf", "NC2")))
        for axes, ((loss, title), (metric, name)) in zip(panels, places, strict=True):
            for decay, seeds in zip(DECAYS, record[f"{loss}_{metric}"], strict=True):
                band(axes, record["epochs"], seeds, alpha=0.12, label=decay, **STYLES[decay])
            axes.set_yscale("log")
            log_ticks(axes.yaxis, (1, 2, 3, 5))
            axes.set_xlim(0, record["epochs"][-1])
            label_ends(axes)
            axes.set_title(f"{title}: {name}")
        for axes in panels[2:]:
            axes.set_xlabel("epoch")
    return drawing


@study.figure(3)
def draw(job: FigureJob) -> list[Path]:
    """Train the networks, and write the records and the figure."""
    of_all = {name: value for name, value in job.settings.items() if name not in BASELINE}
    of_baseline = {name: job.settings[name] for name in BASELINE if name in job.settings}
    settings = {"data_root": job.data_root} | COMMON | SCALES[job.scale] | of_baseline
    seeds = job.seeds_or(SEEDS[job.scale])
    divisor = MSE_DIVISOR.get(job.scale, 1.0)
    networks = decay_configs(TrainConfig.from_dict(settings), seeds, divisor)
    configs = replace(job, settings=of_all).planned(networks)
    record = record_decays(job.train(configs, measure_every=MEASURE_EVERY))
    stem = job.folder / f"figure3_{job.scale}"
    path = write_npz(stem.with_suffix(".npz"), record)
    caption = _caption(configs, seeds, record)
    return [path, *captioned(plot_decays(record), stem.with_suffix(".png"), caption)]


def _caption(configs: Sequence[TrainConfig], seeds: Sequence[int], record: Curves) -> str:
    base = configs[0]
    rates = " and ".join(
        f"{next(own.lr for own in configs if own.loss == loss):g} ({title.split(',')[0].lower()})"
        for loss, title in LOSSES.items()
    )
    ours = (
        f"{base.data}, {base.net} of width × {base.width:g}, batches of {base.batch_size}, "
        f"{base.epochs} epochs, weight decay {base.weight_decay:g}, learning rate {rates}"
    )
    settings = (
        "The paper trains ResNet18 on CIFAR-10 with weight decay 5e-4 and learning rate 0.05, "
        f"divided by 10 every 40 epochs. Ours: {ours}, divided by 10 after "
        f"each third; line: {drawn_by_band(len(seeds))}."
    )
    return f"{settings} {_effects(record)}"


def _effects(record: Curves) -> str:
    """Say by what factor each decay changed NC1 at the end, and whether all was fitted there."""
    sentences = ["Last NC1 over the baseline's of the same seed, median (range); below 1: closer."]
    for loss, title in LOSSES.items():
        factors = final_effects(record, loss, "nc1_pinv").items()
        listed = ", ".join(f"{name}: {m:.2g} ({a:.2g} to {b:.2g})" for name, (m, a, b) in factors)
        fitted = ", ".join(map(share, record[f"{loss}_accuracy"][:, :, -1].min(1)))
        sentences.append(
            f"{title.partition(',')[0]}: {listed}. Training images right, the least seed of each "
            f"decay: {fitted}."
        )
    return " ".join(sentences)
