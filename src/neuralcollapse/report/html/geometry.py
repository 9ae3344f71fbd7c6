"""The class means over epochs: their Gram matrix, and their way into the simplex ETF in 3-D."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.cluster.hierarchy import leaves_list, linkage
from torch import Tensor

from neuralcollapse.geometry.simplex_etf import nearest_etf, standard_simplex
from neuralcollapse.metrics.catalogue import FIRST
from neuralcollapse.metrics.class_vectors import pair_cosines
from neuralcollapse.report.html.packing import pack, short
from neuralcollapse.runs.run import Run
from neuralcollapse.runs.snapshots import Snapshot

GRAM_CLASSES = 100  # more would be smaller than a pixel on a phone, and a large page
SPACES = {2: "one dimension", 3: "two dimensions"}
GRAM_STEPS = 32767  # cosines travel as 16-bit integers


def geometry_data(run: Run) -> dict[str, Any] | None:
    """Return what the page needs to draw a run's class means, None without snapshots.

    Parameters
    ----------
    run
        Its snapshots may be of any epochs; classes absent from one are absent from the picture.

    Returns
    -------
    dict
        ``epochs``, ``gram`` (class indices and packed upper triangles of cosines) and ``views``
        (packed points in space, with what they are a projection of).
    """
    snapshots = [shot for shot in run.snapshots if len(shot.present) >= 2]
    if not snapshots:
        return None
    present = snapshots[-1].present
    snapshots = [shot for shot in snapshots if shot.present == present]
    shown = _closest_first(snapshots[-1])[:GRAM_CLASSES]
    shown = _clustered(snapshots[-1], shown)
    views = [_all_classes(snapshots, present)]
    if len(present) > 4 and snapshots[-1].rows.shape[1] >= 3:
        views.append(_four_classes(snapshots, sorted(_closest_first(snapshots[-1])[:4])))
    return {
        "epochs": [shot.epoch for shot in snapshots],
        "values": [_values(run, shot.epoch) for shot in snapshots],
        "gram": {
            "classes": shown,
            "of": len(present),
            "target": short(-1 / (len(present) - 1)),
            "frames": [_packed_cosines(shot.rows[shown]) for shot in snapshots],
        },
        "views": views,
    }


def even_shadow(num_classes: int) -> Float[Tensor, "m three"]:
    r"""Return the projection of the standard simplex in which its vertices surround the centre.

    .. math:: P = \sqrt{\tfrac{K-1}{K}}\; S^\top F, \qquad P^\top P = I

    with F (K, 3) the orthonormal zero-sum columns nearest to K points spread evenly over a
    sphere. It loses nothing up to K = 4; beyond it is a shadow, the same one for every epoch.

    Parameters
    ----------
    num_classes
        K >= 2.

    Returns
    -------
    Tensor of shape (K - 1, 3), float64
        Orthonormal columns, or rows if there are fewer of them.

    Examples
    --------
    >>> P = even_shadow(12)
    >>> (P.T @ P).round(decimals=6).abs()
    tensor([[1., 0., 0.],
            [0., 1., 0.],
            [0., 0., 1.]], dtype=torch.float64)
    """
    if num_classes <= 4:
        return torch.eye(num_classes - 1, 3, dtype=torch.float64)
    index = torch.arange(num_classes, dtype=torch.float64)
    height = 1 - (2 * index + 1) / num_classes  # Fibonacci's sphere: one point a spiral step
    radius, turn = (1 - height.square()).sqrt(), index * math.pi * (3 - math.sqrt(5))
    sphere = torch.stack([radius * turn.cos(), radius * turn.sin(), height], 1)
    left, _, right = torch.linalg.svd(sphere - sphere.mean(0), full_matrices=False)
    scale = math.sqrt((num_classes - 1) / num_classes)
    return scale * standard_simplex(num_classes).T @ left @ right


def _values(run: Run, epoch: int) -> dict[str, float | None]:
    record = next((record for record in run.records if record["epoch"] == epoch), {})
    return {name: short(record.get(name, math.nan)) for name in FIRST.values()}


def _closest_first(shot: Snapshot) -> list[int]:
    """Return the classes that there are, those of the pairs hardest to tell apart first."""
    pairs = shot.closest_pairs[:, :2].long().flatten().tolist()
    return list(dict.fromkeys([*pairs, *shot.present]))


def _clustered(shot: Snapshot, classes: list[int]) -> list[int]:
    """Return classes in the order in which those that point alike stand together."""
    if len(classes) < 3:
        return sorted(classes)
    angles = np.clip(1 - pair_cosines(shot.rows[sorted(classes)]).numpy(), 0, None)
    if not np.isfinite(angles).all():
        return sorted(classes)
    order = leaves_list(linkage(angles, "average", optimal_ordering=True)).tolist()
    return [sorted(classes)[k] for k in order]


def _packed_cosines(rows: Tensor) -> str:
    cosines = pair_cosines(rows).clamp(-1, 1)
    return pack(np.rint(cosines.numpy() * GRAM_STEPS), "<i2")


def _all_classes(snapshots: list[Snapshot], present: list[int]) -> dict[str, Any]:
    num_classes, dim = len(present), snapshots[-1].rows.shape[1]
    if dim < num_classes - 1:
        return _principal(snapshots, present)
    shadow = even_shadow(num_classes)
    # A shadow of unit vectors is shorter than 1 by this much on average: drawn at full length.
    zoom = max(1.0, math.sqrt((num_classes - 1) / 3))
    note = (
        f"{num_classes} class means span {SPACES.get(num_classes, 'three dimensions')}, so this is "
        "the picture itself, not a projection"
        if num_classes <= 4
        else f"{num_classes} class means span {num_classes - 1} dimensions. This is a shadow of "
        "them: an orthogonal projection in which the collapsed simplex lies evenly around the "
        "centre, the same for all epochs"
    )
    targets = zoom * standard_simplex(num_classes) @ shadow
    frames = [_aligned(shot, present, shadow, zoom) for shot in snapshots]
    return _view("all classes", note, present, frames, targets)


def _four_classes(snapshots: list[Snapshot], chosen: list[int]) -> dict[str, Any]:
    note = (
        "The four classes that are hardest to tell apart. Four points span three dimensions, so "
        "nothing is lost: at collapse they are exactly a regular tetrahedron"
    )
    shadow = even_shadow(4)
    frames = [_aligned(shot, chosen, shadow, 1.0) for shot in snapshots]
    return _view("four closest classes", note, chosen, frames, standard_simplex(4))


def _principal(snapshots: list[Snapshot], present: list[int]) -> dict[str, Any]:
    """Draw means that no simplex ETF fits, in the directions that they vary most in at the end."""
    rows = snapshots[-1].rows[present]
    directions = torch.linalg.svd(rows, full_matrices=False).Vh[:3].T
    note = (
        f"{len(present)} classes in {rows.shape[1]} dimensions have no simplex ETF. This is a "
        "projection on the three directions in which the last class means vary most"
    )
    frames = []
    for shot in snapshots:
        scale = float(shot.rows[present].square().sum(1).mean().sqrt()) or 1.0
        points = torch.zeros(len(present), 3, dtype=torch.float64)
        points[:, : directions.shape[1]] = shot.rows[present] @ directions / scale
        frames.append((points, shot.trace_variances[present].sqrt() / scale))
    return _view("all classes", note, present, frames, None)


def _aligned(
    shot: Snapshot, classes: list[int], shadow: Tensor, zoom: float
) -> tuple[Tensor, Tensor]:
    """Return class means turned and scaled so that their nearest ETF is the standard one."""
    rows = shot.rows[classes]
    rows = rows - rows.mean(0)
    if float(rows.square().sum()) == 0:
        return torch.zeros(len(classes), 3, dtype=torch.float64), torch.zeros(len(classes))
    nearest = nearest_etf(rows)
    points = zoom / nearest.scale * rows @ nearest.rotation.T @ shadow
    return points, shot.trace_variances[classes].sqrt() / nearest.scale


def _view(
    name: str,
    note: str,
    classes: list[int],
    frames: list[tuple[Tensor, Tensor]],
    targets: Tensor | None,
) -> dict[str, Any]:
    return {
        "name": name,
        "note": note,
        "classes": classes,
        "points": [pack(points) for points, _ in frames],
        "spread": [pack(spread) for _, spread in frames],
        "targets": None if targets is None else pack(targets),
    }
