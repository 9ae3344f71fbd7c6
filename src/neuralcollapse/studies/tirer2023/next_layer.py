"""What the near-features model predicts for one more layer after given features."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from torch import Tensor

from neuralcollapse.measurement import read_features
from neuralcollapse.metrics.presets import preset
from neuralcollapse.moments import ClassMoments
from neuralcollapse.theory import near_features_minimizer
from neuralcollapse.theory.near_features import NearFeaturesMinimizer
from neuralcollapse.validation import distinct_labels, finite_matrix, integer_labels

TITLES = {
    "trace_within": "tr Σ_W, scatter within classes",
    "trace_between": "tr Σ_B, scatter of the class means",
    "nc1_trace_ratio": "NC1~ = tr Σ_W / tr Σ_B",
    "nc1_pinv": "NC1 = tr(Σ_W Σ_B^+) / K",
    "nc2_etf": "NC2, distance from a simplex ETF",
}


@dataclass(frozen=True)
class NextLayer:
    """The collapse of features, and that of the layer predicted to follow them.

    Attributes
    ----------
    before, after
        Values by the keys of `TITLES`, of the given features and of the minimiser's. Class means
        weigh equally, whatever the class sizes.
    minimizer
        The minimiser itself, with its status.
    """

    before: dict[str, float]
    after: dict[str, float]
    minimizer: NearFeaturesMinimizer


def predict_next_layer(
    features: Any, labels: Any, lambda_w: float, lambda_h: float, beta: float
) -> NextLayer:
    """Predict the collapse of the layer that follows given features.

    The next layer's features are taken for those of least regularised squared error among the
    features near the given ones; see `near_features_minimizer`. Whether a network does this is
    for the reader to judge, as is the choice of beta.

    Parameters
    ----------
    features
        (N, d) features H0 of a layer, one row per sample.
    labels
        (N,) class of each row: any integers, classes of any sizes.
    lambda_w, lambda_h
        Regularisation of the head and of the features, above 0. A weight decay of the head of w,
        as optimisers have it, is lambda_w = K w.
    beta
        Strength of the pull towards H0, above 0.

    Returns
    -------
    NextLayer
        The collapse before and after.

    Raises
    ------
    NeuralCollapseError
        If labels and features do not match, or a strength is not positive.
    NonFiniteError
        If a number is NaN or infinite.

    References
    ----------
    Tirer, Huang & Niles-Weed 2023, Equation 2.

    Examples
    --------
    >>> import torch
    >>> H0 = torch.tensor([[2.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 2.0]])
    >>> layer = predict_next_layer(H0, [7, 7, 9, 9], lambda_w=0.5, lambda_h=0.1, beta=3.0)
    >>> layer.after["nc1_trace_ratio"] < layer.before["nc1_trace_ratio"]
    True
    """
    rows = finite_matrix("features", features).cpu()
    _, classes = distinct_labels("labels", labels)
    target = integer_labels("labels", classes, len(rows))
    found = near_features_minimizer(rows, target, lambda_w, lambda_h, beta)
    assert found.H is not None  # it is None for moments only
    return NextLayer(_collapse(rows, target), _collapse(found.H, target), found)


def study_features(path: str | Path, lambda_w: float, lambda_h: float, beta: float) -> Table:
    """Lay out the collapse of features in a file beside that predicted for the next layer.

    Parameters
    ----------
    path
        ``.npz`` or ``.safetensors`` with ``features`` and ``labels``, see `read_features`.
    lambda_w, lambda_h, beta
        As in `predict_next_layer`.

    Returns
    -------
    rich.table.Table
        To print with ``rich.print``.
    """
    arrays = read_features(path)
    layer = predict_next_layer(arrays["features"], arrays["labels"], lambda_w, lambda_h, beta)
    return next_layer_table(layer, Path(path).name)


def next_layer_table(layer: NextLayer, name: str) -> Table:
    """Lay out a prediction.

    Parameters
    ----------
    layer
        From `predict_next_layer`.
    name
        Of the features given, as the heading of their column.
    """
    status = layer.minimizer.status
    table = Table(box=SIMPLE_HEAD, caption=f"minimiser: {status}", caption_justify="left")
    table.add_column("")
    for heading in (name, "next layer, predicted", "factor"):
        table.add_column(heading, justify="right")
    for key, title in TITLES.items():
        before, after = layer.before[key], layer.after[key]
        factor = f"{after / before:.3g}" if before > 0 else "undefined"
        table.add_row(title, f"{before:.4g}", f"{after:.4g}", factor)
    return table


def _collapse(features: Tensor, labels: Tensor) -> dict[str, float]:
    moments = ClassMoments(int(labels.max()) + 1, features.shape[1]).update(features, labels)
    centered = moments.centered_means()
    between = float(centered.square().sum(1).mean())
    values = preset("tirer2023", moments)
    # By way of the ratio, in which every class counts the same, as in the scatter of the means.
    values["trace_within"] = values["nc1_trace_ratio"] * between
    values["trace_between"] = between
    return {name: values[name] for name in TITLES}
