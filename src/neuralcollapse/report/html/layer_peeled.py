"""What the layer-peeled model predicts for these class sizes, beside what was measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neuralcollapse.measurement.prediction import geometry_at_decay
from neuralcollapse.metrics.class_vectors import pair_cosines
from neuralcollapse.metrics.equiangularity import gram_distance
from neuralcollapse.report.html.packing import short
from neuralcollapse.runs.snapshots import Snapshot
from neuralcollapse.theory.predicted_geometry import predicted_geometry
from neuralcollapse.theory.separation import separation_value
from neuralcollapse.wording import number

BINS = 40


@dataclass(frozen=True)
class Compared:
    """One quantity as the model predicts it and as it was measured, in words."""

    what: str
    predicted: str
    measured: str
    hint: str


@dataclass(frozen=True)
class LayerPeeled:
    """What a page says of the layer-peeled model.

    Attributes
    ----------
    missing
        Why there is no prediction, and then nothing else; or None.
    balanced, sizes
        Whether all classes are of one size; from which size to which.
    rows
        Predicted beside measured.
    angles, norms
        Histograms of cosines, and lengths of the vectors of each class, to draw.
    """

    missing: str | None = None
    balanced: bool = False
    sizes: str = ""
    rows: Sequence[Compared] = ()
    angles: dict[str, Any] | None = None
    norms: dict[str, Any] | None = None


def layer_peeled_data(shot: Snapshot, head_decay: float | None = None) -> LayerPeeled:
    r"""Compare a snapshot with the limit of weak decay for its class sizes, with a bias or without.

    The margin is held against the bound

    .. math:: p_{\min} \le \|W\| \|H\| / D

    in which a bias counts as one more feature of value 1.

    Parameters
    ----------
    shot
        Classes absent from it are left out.
    head_decay
        Weight decay of the head as a part of the loss, if known: unequal classes are then held
        against the optimum at this decay, too.
    """
    present = shot.present
    sizes, dim = shot.counts[present], shot.rows.shape[1]
    if dim < len(present) - 1:
        return LayerPeeled(
            f"{len(present)} classes in {dim} dimensions have no simplex-encoded optimum: with "
            "fewer than K − 1 dimensions the prediction is a softmax code, which has no closed "
            "form."
        )
    optimum = predicted_geometry(sizes, len(present) - 1, bias=shot.bias is not None)
    predicted = {"class means": optimum.means, "head": optimum.W}
    measured = {"class means": shot.rows[present]}
    if shot.weight is not None:
        measured["head"] = shot.weight[present]
    vectors = {name: (predicted[name], rows) for name, rows in measured.items()}
    return LayerPeeled(
        balanced=len(set(sizes.tolist())) == 1,
        sizes=f"{int(sizes.min()):,} to {int(sizes.max()):,}",
        rows=[
            *_geometry_rows(vectors),
            *_rows_at_decay(shot, measured, head_decay),
            *_margin_row(shot),
        ],
        angles=_angles(vectors),
        norms=_norms(vectors, shot, present),
    )


def _geometry_rows(vectors: dict[str, tuple[Tensor, Tensor]]) -> list[Compared]:
    rows = []
    for name, (target, found) in vectors.items():
        wanted, seen = _cosines(target), _cosines(found)
        rows += [
            Compared(
                f"{name}: cosines of pairs",
                _span(wanted),
                _span(seen),
                f"off by {number(float((seen - wanted).abs().mean()))} on average",
            ),
            Compared(
                f"{name}: longest over shortest",
                number(_longest(target)),
                number(_longest(found)),
                "1 for classes of equal size",
            ),
            Compared(
                f"{name}: distance of the Gram matrices",
                "0",
                number(gram_distance(found, _gram(target))),
                "each scaled to norm 1; at most √2",
            ),
        ]
    return rows


def _rows_at_decay(
    shot: Snapshot, measured: dict[str, Tensor], head_decay: float | None
) -> list[Compared]:
    """Return how far class vectors are from those that theory predicts at the run's own decay."""
    means, biased = shot.rows + shot.center, shot.bias is not None
    shape = geometry_at_decay(shot.counts, means, shot.weight, biased, head_decay)
    if shape is None or head_decay is None:
        return []
    target = {"class means": shape.gram, "head": shape.head_gram}
    return [
        Compared(
            f"{name}: distance of the Gram matrices, at this run's decay",
            "0",
            number(gram_distance(rows, target[name])),
            f"at the head's weight decay {number(head_decay)} and that of the features "
            "which head and class means imply; above, in the limit of weak decay",
        )
        for name, rows in measured.items()
    ]


def _margin_row(shot: Snapshot) -> list[Compared]:
    """Return the margin as a share of the most that these norms allow."""
    if shot.weight is None or shot.margin_levels is None:
        return []
    present = shot.present
    head, squares = shot.weight[present], shot.squared_norm
    if shot.bias is not None:
        head = torch.cat([head, shot.bias[present, None]], 1)
        squares += int(shot.counts.sum())
    # An offset common to all rows changes no margin, and no norm should be charged for it.
    norm = float((head - head.mean(0)).square().sum().sqrt())
    ceiling = norm * math.sqrt(squares) / separation_value(shot.counts[present])
    least = float(shot.margin_levels[present, 0].min())
    measured = f"{number(least)}, {number(100 * least / ceiling)} % of it" if ceiling else "0"
    return [
        Compared(
            "minimum margin, at most ‖W‖ ‖H‖ / D",
            number(ceiling),
            measured,
            "equal exactly at collapse, with these norms",
        )
    ]


def _angles(vectors: dict[str, tuple[Tensor, Tensor]]) -> dict[str, Any]:
    """Return the share of pairs in each bin of cosines, of what was measured."""
    found = {name: _cosines(rows).numpy() for name, (_, rows) in vectors.items()}
    wanted = np.concatenate([_cosines(target).numpy() for target, _ in vectors.values()])
    everything = np.concatenate([*found.values(), wanted])
    low, high = float(everything.min()), float(everything.max())
    edges = np.linspace(low - 0.02, high + 0.02, BINS + 1)
    fine = (edges[-1] - edges[0]) / 150
    return {
        "edges": [short(edge) for edge in edges],
        "shares": {
            name: [short(n / max(len(values), 1)) for n in np.histogram(values, edges)[0]]
            for name, values in found.items()
        },
        # No nearer to each other than a line is wide.
        "predicted": sorted({short(round(x / fine) * fine) for x in wanted.tolist()}),
    }


def _norms(
    vectors: dict[str, tuple[Tensor, Tensor]], shot: Snapshot, present: list[int]
) -> dict[str, Any]:
    """Return the lengths of class vectors over their root mean square, largest class first."""
    order = shot.counts[present].argsort(descending=True, stable=True)
    return {
        "names": [shot.class_names[present[k]] for k in order.tolist()],
        "sizes": shot.counts[present][order].tolist(),
        "vectors": {
            name: {
                "predicted": [short(x) for x in _lengths(target)[order]],
                "measured": [short(x) for x in _lengths(found)[order]],
            }
            for name, (target, found) in vectors.items()
        },
    }


def _centered(rows: Tensor) -> Tensor:
    return rows - rows.mean(0)


def _gram(rows: Tensor) -> Tensor:
    return _centered(rows) @ _centered(rows).T


def _cosines(rows: Tensor) -> Tensor:
    return pair_cosines(_centered(rows))


def _lengths(rows: Tensor) -> Tensor:
    lengths = _centered(rows).norm(dim=1)
    return lengths / lengths.square().mean().sqrt()


def _longest(rows: Tensor) -> float:
    lengths = _lengths(rows)
    return float(lengths.max() / lengths.min())


def _span(values: Tensor) -> str:
    low, high = float(values.min()), float(values.max())
    return number(low) if high - low < 1e-6 else f"{number(low)} to {number(high)}"
