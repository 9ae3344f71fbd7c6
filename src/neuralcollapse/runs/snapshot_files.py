"""Snapshots on disk: one npz file of plain arrays each, checked when it is read."""

from __future__ import annotations

import math
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.files import reading, remove_half_written
from neuralcollapse.measurement.collapse_report import CollapseReport
from neuralcollapse.moments.class_moments import ClassMoments
from neuralcollapse.npz_files import read_npz, write_npz
from neuralcollapse.runs.snapshots import Snapshot, in_float32, snapshot
from neuralcollapse.theory.sufficient_statistics import SufficientStatistics

FOLDER = "snapshots"
FORMAT = 1  # of the file; raised when a reader of the old one would misread the new one
# Axes of the arrays: classes, features, those of the layer before, pairs, samples, fixed numbers.
AXES: dict[str, str] = {
    "counts": "K", "center": "d", "rows": "Kd", "trace_variances": "K", "closest_pairs": "p3",
    "weight": "Kd", "bias": "K", "margin_levels": "K3", "pair_margins": "KK",
    "held_out_margins": "n", "held_out_labels": "n", "held_out_confidences": "n",
    "before_means": "Ke", "before_within": "ee", "before_counts": "K",
}  # fmt: skip
WHOLE = {"counts", "held_out_labels", "before_counts"}
SCALARS = {"epoch", "squared_norm", "margin_median", "held_out_total"}
MOST_SAMPLES = 2**53


def write_snapshot(
    folder: str | Path, epoch: int, report: CollapseReport, *, before: ClassMoments | None = None
) -> Path:
    """Write the geometry of a measurement into the folder of a run, atomically.

    Parameters
    ----------
    folder
        Of the run; the file is ``snapshots/epoch-000123.npz`` in it, of about 8 K d bytes and
        plain arrays alone.
    epoch
        >= 0, after which it was measured.
    report
        The measurement.
    before
        Moments of the layer before, on the same samples and with their scatter, for the
        prediction of one layer from the other.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    NeuralCollapseError
        If the epoch is negative, or `before` has other classes or no scatter.

    Examples
    --------
    >>> import tempfile
    >>> import torch
    >>> from neuralcollapse.measurement import measure_features
    >>> from neuralcollapse.runs import read_snapshots, write_snapshot
    >>> report = measure_features(torch.tensor([[-3.0], [-1.0], [1.0], [3.0]]), [0, 0, 1, 1])
    >>> with tempfile.TemporaryDirectory() as run:
    ...     path = write_snapshot(run, 7, report)
    ...     (snapshot,) = read_snapshots(run)
    >>> path.name, snapshot.rows.flatten().tolist(), snapshot.trace_variances.tolist()
    ('epoch-000007.npz', [-2.0, 2.0], [1.0, 1.0])
    """
    if epoch < 0:
        raise NeuralCollapseError("epoch", "0 or later", str(epoch), "count epochs from 0 or 1")
    arrays = {"format": FORMAT, **asdict(snapshot(epoch, report, before=before))}
    layer = arrays.pop("before") or {}
    arrays |= {f"before_{name}": value for name, value in layer.items()}
    small = {"rows", "weight", "pair_margins", "held_out_margins", "held_out_confidences"}
    arrays = {
        name: np.asarray(in_float32(value) if name in small else value)
        for name, value in arrays.items()
        if value is not None
    }
    return write_npz(Path(folder, FOLDER, f"epoch-{epoch:06d}.npz"), arrays)


def read_snapshots(folder: str | Path) -> list[Snapshot]:
    """Read the snapshots of a run.

    Parameters
    ----------
    folder
        Of the run.

    Returns
    -------
    list of Snapshot
        In order of epochs; empty if there is none.

    Raises
    ------
    NeuralCollapseError
        If a file is damaged, holds Python objects, or is of a later format; the message names it.

    Examples
    --------
    >>> import tempfile
    >>> import torch
    >>> import neuralcollapse as nc
    >>> from neuralcollapse.runs import read_snapshots, write_snapshot
    >>> report = nc.measure_features(torch.tensor([[-3.0], [-1.0], [1.0], [3.0]]), [0, 0, 1, 1])
    >>> with tempfile.TemporaryDirectory() as run:
    ...     for epoch in (1, 5):
    ...         _ = write_snapshot(run, epoch, report)
    ...     [snapshot.epoch for snapshot in read_snapshots(run)]
    [1, 5]
    """
    return [_read(path) for path in snapshot_files(folder)]


def snapshot_files(folder: str | Path) -> list[Path]:
    """Return the files of snapshots in the folder of a run, in order of epochs, and no others."""
    files = Path(folder, FOLDER).glob("epoch-*.npz")
    return sorted(path for path in files if re.fullmatch(r"epoch-\d{6,}\.npz", path.name))


def remove_snapshots(folder: str | Path, after: int = -1) -> None:
    """Remove the snapshots of a run, of a run that starts over or goes on from an earlier epoch.

    Parameters
    ----------
    folder
        Of the run; nothing need be there.
    after
        Only those of later epochs; all if omitted.

    Examples
    --------
    >>> import tempfile
    >>> import torch
    >>> import neuralcollapse as nc
    >>> from neuralcollapse.runs import read_snapshots, remove_snapshots, write_snapshot
    >>> report = nc.measure_features(torch.tensor([[-3.0], [-1.0], [1.0], [3.0]]), [0, 0, 1, 1])
    >>> with tempfile.TemporaryDirectory() as run:
    ...     for epoch in (1, 5, 9):
    ...         _ = write_snapshot(run, epoch, report)
    ...     remove_snapshots(run, after=5)
    ...     [snapshot.epoch for snapshot in read_snapshots(run)]
    [1, 5]
    """
    for path in snapshot_files(folder):
        if int(path.stem.removeprefix("epoch-")) > after:
            path.unlink()
        remove_half_written(path)


def _read(path: Path) -> Snapshot:
    arrays = read_npz(path)
    with reading(path, "a snapshot", "remove this file and read again"):
        if int(arrays.pop("format")) != FORMAT:
            raise ValueError("written by a later version")
        return _restored(arrays)


def _restored(arrays: dict[str, Any]) -> Snapshot:
    """Turn arrays into what they were: numbers, names, and tensors of float64 and int64."""
    values: dict[str, Any] = {"class_names": [str(name) for name in arrays.pop("class_names")]}
    for name, array in arrays.items():
        if array.dtype.kind not in "iuf":
            raise TypeError(f"{name} of {array.dtype}")
        if array.dtype.kind == "f" and name in WHOLE:
            raise TypeError(f"{name} that are not whole")
        values[name] = (
            torch.from_numpy(array.astype(np.int64 if name in WHOLE else np.float64))
            if array.ndim
            else array.item()
        )
    _require_sizes(values)
    layer = {
        name.removeprefix("before_"): values.pop(name) for name in list(values) if "before_" in name
    }
    return Snapshot(**values, before=SufficientStatistics(**layer) if layer else None)


def _require_sizes(values: dict[str, Any]) -> None:
    """Refuse arrays that do not fit together, and counts and labels that are none."""
    sizes = {"K": len(values["class_names"]), "3": 3}
    for name in AXES.keys() & values.keys():
        axes, shape = AXES[name], tuple(getattr(values[name], "shape", ()))
        known = zip(axes, shape, strict=False)
        if len(axes) != len(shape) or any(sizes.setdefault(a, n) != n for a, n in known):
            raise ValueError(f"{name} of shape {shape}")
    for name, least, most in (
        ("counts", 0, MOST_SAMPLES),
        ("before_counts", 0, MOST_SAMPLES),
        ("held_out_labels", 0, sizes["K"] - 1),
        ("held_out_confidences", -math.inf, 0),
        ("closest_pairs", 0, math.inf),
    ):
        part = values.get(name)
        if part is not None and len(part) and not least <= part.min() <= part.max() <= most:
            raise ValueError(f"{name} from {float(part.min()):g} to {float(part.max()):g}")
    pairs = values["closest_pairs"][:, :2]
    if len(pairs) and float(pairs.max()) >= sizes["K"]:
        raise ValueError("closest_pairs of other classes")
    for name in SCALARS & values.keys():
        if isinstance(values[name], torch.Tensor):
            raise TypeError(f"an array as {name}")
    if not 0 <= values["epoch"] <= MOST_SAMPLES or values["epoch"] != int(values["epoch"]):
        raise ValueError(f"epoch = {values['epoch']}")
    if bool((values["trace_variances"] < 0).any()):
        raise ValueError("trace_variances below 0")
    if not 0 <= values["squared_norm"] < math.inf:
        raise ValueError(f"squared_norm = {values['squared_norm']}")
