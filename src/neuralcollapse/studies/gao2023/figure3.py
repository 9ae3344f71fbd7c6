"""Figure 3: least margin and test accuracy against epochs, before and after all is fitted."""

from __future__ import annotations

import itertools
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.progress import track

from neuralcollapse.figure_style import BLUE, GREEN, GREY, ORANGE, figure, save
from neuralcollapse.files import write_npz
from neuralcollapse.studies.gao2023.study import study
from neuralcollapse.training import TrainConfig, train

NETWORKS = {"mlp": "Perceptron", "cnn": "Small CNN"}
METRICS = {
    "margin_min": ("Least margin p_min", BLUE),
    "margin_collapse_ratio": ("Share of the margin's ceiling", GREEN),
    "test_accuracy": ("Test accuracy", ORANGE),
}
# Few images, so that there is something left to learn when all of them are fitted.
CONFIG = TrainConfig(per_class=30, batch_size=50, epochs=60)
SEEDS = (0, 1, 2)
MEASURE_EVERY = 1

Record = dict[str, NDArray[np.float64]]


def record_margins(config: TrainConfig = CONFIG, progress: bool = False) -> Record:
    """Train each network with each seed, and keep margins and accuracies.

    Parameters
    ----------
    config
        Its network and seed are varied.
    progress
        Show a progress bar.

    Returns
    -------
    dict of arrays
        ``epochs`` (T,); ``{net}_{metric}`` (seeds, T) for the metrics of `METRICS` and
        ``accuracy``, that of the training images.
    """
    rows: dict[str, list[list[float]]] = {}
    epochs: list[float] = []
    runs = list(itertools.product(NETWORKS, SEEDS))
    for net, seed in track(runs, "training", disable=not progress, transient=True):
        own = TrainConfig.from_dict(config.to_dict() | {"net": net, "seed": seed})
        with TemporaryDirectory() as folder:
            history = train(own, folder, measure_every=MEASURE_EVERY, progress=False)
        epochs = [record["epoch"] for record in history]
        for name in (*METRICS, "accuracy"):
            rows.setdefault(f"{net}_{name}", []).append([record[name] for record in history])
    return {"epochs": np.array(epochs, float)} | {name: np.array(v) for name, v in rows.items()}


def fitted_epochs(record: Record, net: str) -> NDArray[np.float64]:
    """Return the first epoch of each seed after which all training images are right, and stay so.

    Parameters
    ----------
    record
        From `record_margins`.
    net
        ``"mlp"`` or ``"cnn"``.

    Returns
    -------
    array of shape (seeds,)
        NaN where there is none.
    """
    right = record[f"{net}_accuracy"] == 1
    stays = np.logical_and.accumulate(right[:, ::-1], 1)[:, ::-1]
    return np.where(stays.any(1), record["epochs"][stays.argmax(1)], np.nan)


def rises_after_fit(record: Record, net: str) -> NDArray[np.float64]:
    """Return by how much test accuracy rises from that epoch to the last, for each seed.

    Parameters
    ----------
    record, net
        As in `fitted_epochs`.
    """
    accuracy = record[f"{net}_test_accuracy"]
    first = fitted_epochs(record, net)
    at = np.array(
        [np.interp(e, record["epochs"], row) for e, row in zip(first, accuracy, strict=True)]
    )
    return accuracy[:, -1] - at


def plot_margins(record: Record, caption: str) -> Figure:
    """Draw the margins and the test accuracy against epochs, one network a column.

    Parameters
    ----------
    record
        From `record_margins`.
    caption
        Below the figure: the settings.
    """
    with figure(3, 2, 10.5, 9.6) as (drawing, panels):
        for axes, ((metric, (title, color)), (net, name)) in zip(
            panels, itertools.product(METRICS.items(), NETWORKS.items()), strict=True
        ):
            _curves(axes, record, net, metric, color)
            axes.set_title(f"{name}: {title[0].lower() + title[1:]}")
        for row in range(3):
            _share_limits(panels[2 * row : 2 * row + 2])
        for axes in panels[:4]:
            axes.axhline(0, color=GREY, lw=1)
        for axes in panels[4:]:
            axes.set_xlabel("epoch")
            top = axes.get_ylim()[1]
            axes.set_ylim(max(axes.get_ylim()[0], 0.8), top)
        drawing.supxlabel(caption, fontsize=8.5, color=GREY)
    return drawing


def _curves(axes: Axes, record: Record, net: str, metric: str, color: str) -> None:
    epochs, seeds = record["epochs"], record[f"{net}_{metric}"]
    for values in seeds:
        axes.plot(epochs, values, color=color, lw=0.9, alpha=0.45)
    axes.plot(epochs, np.median(seeds, 0), color=color, lw=2.2)
    axes.set_xlim(0, epochs[-1])
    fitted = np.median(fitted_epochs(record, net))
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


def _share_limits(panels: list[Axes]) -> None:
    low = min(axes.get_ylim()[0] for axes in panels)
    high = max(axes.get_ylim()[1] for axes in panels)
    for axes in panels:
        axes.set_ylim(low, high)


@study.figure(3)
def draw(folder: Path, progress: bool = False) -> list[Path]:
    """Write the record and the figure, on the digits."""
    record = record_margins(progress=progress)
    path = write_npz(folder / "figure3.npz", record)
    rises = "; ".join(
        f"{name} {100 * rise.mean():+.1f} points (from {100 * rise.min():+.1f} to "
        f"{100 * rise.max():+.1f})"
        for net, name in NETWORKS.items()
        for rise in [rises_after_fit(record, net)]
    )
    caption = (
        "The paper trains on CIFAR and others. Ours: digits (8 × 8 pixels), "
        f"{CONFIG.per_class} training images of each class, 360 test images, batches of "
        f"{CONFIG.batch_size}, learning rate {CONFIG.lr:g} falling as a cosine,\nweight decay "
        f"{CONFIG.weight_decay:g}; thin: {len(SEEDS)} seeds, thick: their median. The ceiling of "
        "p_min is tau K / (K - 1). Test accuracy after all training images are right:\n"
        f"{rises}. One test image is 0.3 points."
    )
    return [path, save(plot_margins(record, caption), folder / "figure3.png")]
