"""Figure 3: minimum margin and test accuracy against epochs, before and after all is fitted."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from neuralcollapse.figure_style import BLUE, GREEN, GREY, ORANGE, captioned, figure
from neuralcollapse.npz_files import write_npz
from neuralcollapse.plain_text import unmathed
from neuralcollapse.studies.figure_job import SEEDS, SMALL, FigureJob, Scale
from neuralcollapse.studies.gao2023.study import study
from neuralcollapse.studies.panels import Curves, curves_by_case, share_limits
from neuralcollapse.training import TrainConfig

METRICS = {
    "margin_min": ("Minimum margin p_min", BLUE),
    "margin_collapse_ratio": ("Share of the margin's ceiling", GREEN),
    "test_accuracy": ("Test accuracy", ORANGE),
}
# Quick: few images, so that there is something left to learn when all of them are fitted.
COMMON: dict[Scale, dict[str, Any]] = {
    "quick": {"per_class": 30, "batch_size": 50, "epochs": 60},
    "small": {
        **SMALL,
        "test_per_class": 200,
        "batch_size": 64,
        "epochs": 120,
        "weight_decay": 5e-4,
    },
    "medium": {
        "data": "fashion-mnist",
        "per_class": 1000,
        "batch_size": 128,
        "epochs": 60,
        "weight_decay": 5e-4,
        "precision": "bf16",
    },
    "paper": {"batch_size": 128, "epochs": 200, "weight_decay": 5e-4},
}
CASES: dict[Scale, dict[str, dict[str, Any]]] = {
    "quick": {"Perceptron": {"net": "mlp"}, "Small CNN": {"net": "cnn"}},
    "small": {
        f"{title}, {name}": {"net": net, "data": data, "width": width}
        for data, name in (("fashion-mnist", "Fashion-MNIST"), ("mnist-5k", "MNIST"))
        # A small CNN of a quarter of the width does not fit Fashion-MNIST.
        for net, title, width in (
            ("resnet18", "ResNet18", 0.25),
            ("vgg13", "VGG13", 0.25),
            ("cnn", "small CNN", 1.0),
        )
    },
    "medium": {"ResNet18": {"net": "resnet18"}, "VGG13": {"net": "vgg13"}},
    "paper": {
        f"{title}, {name}": {"net": net, "data": data}
        for net, title in (("resnet18", "ResNet18"), ("vgg13", "VGG13"))
        for data, name in (("cifar10", "CIFAR-10"), ("cifar100", "CIFAR-100"))
    },
}


def margin_configs(job: FigureJob) -> list[TrainConfig]:
    """Return what is trained: every case with every seed, the seed fastest.

    Parameters
    ----------
    job
        Of the figure.
    """
    shared, seeds = {"data_root": job.data_root}, job.seeds_or(SEEDS[job.scale])
    return [
        TrainConfig.from_dict(COMMON[job.scale] | shared | case | {"seed": seed})
        for case, seed in itertools.product(CASES[job.scale].values(), seeds)
    ]


def record_margins(
    names: Sequence[str], histories: Sequence[Sequence[Mapping[str, Any]]]
) -> Curves:
    """Gather margins and accuracies of the runs.

    Parameters
    ----------
    names
        Of the cases.
    histories
        Of the runs of `margin_configs`, in its order.

    Returns
    -------
    dict of arrays
        ``epochs`` (T,); ``{case}_{metric}`` (seeds, T) for the metrics of `METRICS` and
        ``accuracy``, that of the training images.
    """
    return curves_by_case(names, (*METRICS, "accuracy"), histories)


def fitted_epochs(record: Curves, case: str) -> NDArray[np.float64]:
    """Return, for each seed, the first epoch from which all training images stay right.

    Parameters
    ----------
    record
        From `record_margins`.
    case
        Name of a network, such as ``"Perceptron"``.

    Returns
    -------
    array of shape (seeds,)
        NaN where there is none.
    """
    right = record[f"{case}_accuracy"] == 1
    stays = np.logical_and.accumulate(right[:, ::-1], 1)[:, ::-1]
    return np.where(stays.any(1), record["epochs"][stays.argmax(1)], np.nan)


def rises_after_fit(record: Curves, case: str) -> NDArray[np.float64]:
    """Return by how much test accuracy rises from that epoch to the last, for each seed.

    Parameters
    ----------
    record, case
        As in `fitted_epochs`.
    """
    accuracy = record[f"{case}_test_accuracy"]
    first = fitted_epochs(record, case)
    at = np.array(
        [np.interp(e, record["epochs"], row) for e, row in zip(first, accuracy, strict=True)]
    )
    return accuracy[:, -1] - at


def plot_margins(record: Curves, names: Sequence[str]) -> Figure:
    """Draw the margins and the test accuracy against epochs, one network a column.

    More than three networks come in blocks below each other.

    Parameters
    ----------
    record
        From `record_margins`.
    names
        Of the networks.
    """
    wide = 2 if len(names) == 4 else min(3, len(names))
    blocks = [names[start : start + wide] for start in range(0, len(names), wide)]
    size = 10.5 if wide > 1 else 5.25, 9.6 * len(blocks)
    with figure(3 * len(blocks), wide, *size) as (drawing, panels):
        rows = iter([panels[start : start + wide] for start in range(0, len(panels), wide)])
        for block, (metric, (title, color)) in itertools.product(blocks, METRICS.items()):
            row = next(rows)
            for axes in row[len(block) :]:
                axes.set_visible(False)
            row = row[: len(block)]
            for axes, name in zip(row, block, strict=True):
                _curves(axes, record, name, metric, color)
                if metric == "margin_min":
                    axes.set_title(unmathed(name))
            row[0].set_ylabel(title)
            share_limits(row)
            last = np.concatenate([record[f"{name}_{metric}"][:, -1] for name in block])
            for axes in row:
                axes.set_ylim(bottom=max(axes.get_ylim()[0], _shown_from(metric, last)))
                if metric == "test_accuracy":
                    axes.set_xlabel("epoch")
                else:
                    axes.axhline(0, color=GREY, lw=1)
    return drawing


def _shown_from(metric: str, last: NDArray[np.float64]) -> float:
    """Return where to cut: the first epochs would hide what happens after a fit."""
    if not last.min() > 0:  # no fit, or NaN
        return -np.inf
    return float(2 * last.min() - 1.05 if metric == "test_accuracy" else -2 * last.max())


def _curves(axes: Axes, record: Curves, name: str, metric: str, color: str) -> None:
    epochs, seeds = record["epochs"], record[f"{name}_{metric}"]
    for values in seeds:
        axes.plot(epochs, values, color=color, lw=0.9, alpha=0.45)
    axes.plot(epochs, np.median(seeds, 0), color=color, lw=2.2)
    axes.set_xlim(0, epochs[-1])
    fitted = np.median(fitted_epochs(record, name))
    if np.isfinite(fitted):
        axes.axvline(fitted, color=GREY, ls="--", lw=1.2)
        axes.annotate(
            "all training\nimages right",
            (fitted, 0.03),
            xycoords=("data", "axes fraction"),
            xytext=(16, 0),
            textcoords="offset points",
            size=8.5,
            color=GREY,
        )


@study.figure(3)
def draw(job: FigureJob) -> list[Path]:
    """Train the networks, and write the record and the figure."""
    names = list(CASES[job.scale])
    configs = job.planned(margin_configs(job))
    # On few images a measurement takes as long as an epoch, so there they are even in log time.
    often = {} if job.scale == "small" else {"measure_every": 1}
    record = record_margins(names, job.train(configs, **often))
    stem = job.folder / f"figure3_{job.scale}"
    path = write_npz(stem.with_suffix(".npz"), record)
    caption = _caption(configs, names, record)
    return [path, *captioned(plot_margins(record, names), stem.with_suffix(".png"), caption)]


def _caption(configs: Sequence[TrainConfig], names: Sequence[str], record: Curves) -> str:
    rises = "; ".join(
        f"{name} {100 * rise.mean():+.1f} points (from {100 * rise.min():+.1f} to "
        f"{100 * rise.max():+.1f})"
        for name in names
        for rise in [rises_after_fit(record, name)]
    )
    config = configs[0]
    data = " and ".join(dict.fromkeys(own.data for own in configs))
    images = "all" if config.per_class is None else f"{config.per_class}"
    return (
        f"The paper trains on CIFAR and others. Ours: {data}, {images} training images of "
        f"each class, batches of {config.batch_size}, learning rate {config.lr:g} falling as a "
        f"cosine, weight decay {config.weight_decay:g}; thin: each seed, thick: their median. The "
        "ceiling of p_min is tau K / (K - 1). Test accuracy after all training images are right: "
        f"{rises}."
    )
