"""Figure 2: the features of deeper layers are more collapsed, trained one by one or at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, MaxNLocator
from numpy.typing import NDArray
from rich.progress import track

from neuralcollapse.figure_style import BLUE, GREY, ORANGE, figure, label_ends, save
from neuralcollapse.files import write_npz
from neuralcollapse.studies.tirer2023.layerwise import (
    collapse_by_depth,
    end_to_end_features,
    layerwise_features,
)
from neuralcollapse.studies.tirer2023.study import study
from neuralcollapse.training import TrainConfig, load_dataset
from neuralcollapse.training.networks import MLP_UNITS

WAYS = {"layerwise": layerwise_features, "end_to_end": end_to_end_features}
CURVES = {"nc1_pinv": ("NC1", BLUE), "nc1_trace_ratio": ("ÑC1", ORANGE)}
CONFIG = TrainConfig(
    loss="mse",
    head_bias=False,
    width=0.25,
    weight_decay=8.5e-3,
    batch_size=64,
    epochs=30,
    schedule="step",
)
SEEDS = (0, 1, 2)

Record = dict[str, NDArray[np.float64]]


def record_depths(
    data: str = "digits", depth: int = 10, config: TrainConfig = CONFIG, progress: bool = False
) -> Record:
    """Train a perceptron layer by layer and end to end, and measure every hidden layer.

    Parameters
    ----------
    data
        See `load_dataset`.
    depth
        Number of hidden layers.
    config
        Of each training: every stage has all of its epochs. The seed is that of `SEEDS`.
    progress
        Show a progress bar.

    Returns
    -------
    dict of arrays
        ``{way}_{metric}`` (seeds, depth), way ``layerwise`` or ``end_to_end``.
    """
    images = load_dataset(data, config.data_root)
    labels = images.train.tensors[1]
    rows: dict[str, list[list[float]]] = {}
    runs = [(way, seed) for way in WAYS for seed in SEEDS]
    for way, seed in track(runs, "training", disable=not progress, transient=True):
        own = TrainConfig.from_dict(config.to_dict() | {"seed": seed})
        features = WAYS[way](images, depth, own)
        for name, values in collapse_by_depth(features, labels, images.num_classes).items():
            rows.setdefault(f"{way}_{name}", []).append(values)
    return {name: np.array(values) for name, values in rows.items()}


def plot_depths(record: Record, caption: str) -> Figure:
    """Draw NC1 and NC1~ against depth, for either way of training.

    Parameters
    ----------
    record
        From `record_depths`.
    caption
        Below the figure: the settings.
    """
    titles = {"layerwise": "Layer by layer, the earlier ones fixed", "end_to_end": "End to end"}
    with figure(1, 2, 10.5, 4.2) as (drawing, panels):
        for axes, (way, title) in zip(panels, titles.items(), strict=True):
            for name, (label, color) in CURVES.items():
                _band(axes, record[f"{way}_{name}"], label, color)
            axes.set_title(title)
            axes.set_xlabel("depth of the hidden layer")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.set_yscale("log")
        low = min(axes.get_ylim()[0] for axes in panels)
        high = max(axes.get_ylim()[1] for axes in panels)
        for axes in panels:
            axes.set_ylim(low, high)
            axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
            label_ends(axes)
        panels[0].set_ylabel("collapse of the training features")
        drawing.supxlabel(caption, fontsize=8.5, color=GREY)
    return drawing


def _band(axes: Axes, values: NDArray[np.float64], label: str, color: str) -> None:
    depths = np.arange(1, values.shape[1] + 1)
    axes.fill_between(depths, values.min(0), values.max(0), color=color, alpha=0.15, lw=0)
    axes.plot(depths, np.median(values, 0), ".-", ms=7, color=color, label=label)


@study.figure(2)
def draw(folder: Path, progress: bool = False) -> list[Path]:
    """Write the records and the figure, on the digits."""
    record = record_depths(progress=progress)
    path = write_npz(folder / "figure2.npz", record)
    caption = (
        "The paper trains on CIFAR-10. Ours: digits (8 × 8 pixels), "
        f"width {MLP_UNITS * CONFIG.width:g}, batch norm, squared error without bias, "
        f"{CONFIG.epochs} epochs (layer by layer: each), weight decay "
        f"{CONFIG.weight_decay:g},\nlearning rate {CONFIG.lr:g} falling by 10 at each "
        f"third; {len(SEEDS)} seeds (line: median, band: range). "
        "NC1 = tr(Σ$_W$Σ$_B^+$)/K, ÑC1 = tr Σ$_W$ / tr Σ$_B$."
    )
    return [path, save(plot_depths(record, caption), folder / "figure2.png")]
