"""Snapshots: the geometry of one measurement in a small file, to be drawn later."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.measurement.collapse_report import CollapseReport
from neuralcollapse.measurement.collapse_values import checked_report
from neuralcollapse.measurement.split_report import SplitReport
from neuralcollapse.metrics.class_distance import worst_pairs
from neuralcollapse.metrics.setting import Setting
from neuralcollapse.moments.class_moments import ClassMoments
from neuralcollapse.theory.sufficient_statistics import SufficientStatistics

MARGIN_LEVELS = (0.0, 0.05, 0.5)  # quantiles of the training margins that are kept of each class
CLOSEST_PAIRS = 20
MOST_HELD_OUT = 100_000  # test margins: more are sampled, which a certificate loses little by
SAMPLE_SEED = 0
LARGEST, SMALLEST = 2.0**120, 2.0**-60  # of what float32 holds with all its digits


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Class means, head and margins as they stood after one epoch.

    Attributes
    ----------
    epoch
        After which it was measured.
    class_names
        (K,) one per class.
    counts
        (K,) training samples of each class.
    center
        (d,) mean of the class means that there are.
    rows
        (K, d) class means minus `center`, rounded to float32: what that loses is a part of 1e-7 of
        the distance between classes, not of their offset. NaN for an absent class.
    trace_variances
        (K,) mean squared distance of the samples of a class from their mean.
    squared_norm
        Sum of the squared norms of all training features.
    closest_pairs
        (P, 3) class i, class j and their CDNV, the largest first.
    weight, bias
        (K, d) rounded to float32 and (K,) of the head, or None.
    margin_levels
        (K, 3) least, 5 % and median training margin of each class; None without a head.
    margin_median
        Of all training samples; None without a head.
    pair_margins
        (K, K) minimum margin of the training samples of class i against class j, see
        `CollapseState.pair_margins`; None without a head, or with too many classes.
    held_out_margins, held_out_labels
        (n',) margin and class of every test sample, of more than 100,000 those of so many drawn at
        random with a fixed seed; or None.
    held_out_confidences
        (n',) logarithm of the largest softmax probability of each, or None.
    held_out_total
        N', the number of test samples, drawn or not; None if every margin is kept.
    before
        Moments of the layer before, if they were recorded.

    Examples
    --------
    >>> import tempfile
    >>> import torch
    >>> import neuralcollapse as nc
    >>> from neuralcollapse.runs import read_snapshots, write_snapshot
    >>> report = nc.measure_features(torch.tensor([[-3.0], [-1.0], [1.0], [3.0]]), [0, 0, 1, 1])
    >>> with tempfile.TemporaryDirectory() as run:
    ...     _ = write_snapshot(run, 7, report)
    ...     (snapshot,) = read_snapshots(run)
    >>> snapshot.epoch, snapshot.counts.tolist(), snapshot.rows.tolist()
    (7, [2, 2], [[-2.0], [2.0]])
    """

    epoch: int
    class_names: list[str]
    counts: Int[Tensor, " K"]
    center: Float[Tensor, " d"]
    rows: Float[Tensor, "K d"]
    trace_variances: Float[Tensor, " K"]
    squared_norm: float
    closest_pairs: Float[Tensor, "P three"]
    weight: Float[Tensor, "K d"] | None = None
    bias: Float[Tensor, " K"] | None = None
    margin_levels: Float[Tensor, "K three"] | None = None
    margin_median: float | None = None
    pair_margins: Float[Tensor, "K K"] | None = None
    held_out_margins: Float[Tensor, " n"] | None = None
    held_out_labels: Int[Tensor, " n"] | None = None
    held_out_confidences: Float[Tensor, " n"] | None = None
    held_out_total: int | None = None
    before: SufficientStatistics | None = None

    @property
    def present(self) -> list[int]:
        """Classes that have training samples."""
        return (self.counts > 0).nonzero().squeeze(1).tolist()


def snapshot(epoch: int, report: CollapseReport, *, before: ClassMoments | None = None) -> Snapshot:
    """Return what `write_snapshot` writes.

    Parameters
    ----------
    epoch, report, before
        As there.
    """
    checked_report("report", report)
    moments = report.train.moments
    center = moments.center().cpu()
    closest = worst_pairs(moments, CLOSEST_PAIRS)
    levels, median = _levels(report.train, moments.num_classes)
    return Snapshot(
        epoch=epoch,
        class_names=list(report.class_names),
        counts=moments.counts.cpu(),
        center=center,
        rows=in_float32(moments.means.cpu() - center).double(),
        trace_variances=moments.trace_variances.cpu(),
        squared_norm=float(moments.squared_norm),
        closest_pairs=torch.tensor(closest, dtype=torch.float64).reshape(-1, 3),
        weight=None if report.weight is None else report.weight.cpu().double(),
        bias=None if report.bias is None else report.bias.cpu().double(),
        margin_levels=levels,
        margin_median=median,
        pair_margins=report.train.state.pair_margins,
        **({} if report.test is None or levels is None else _held_out(report.test)),
        before=None if before is None else _layer(before, moments.counts.cpu()),
    )


def in_float32(values: Tensor) -> Tensor:
    """Return values in float32, or as they are where their size is beyond it.

    Parameters
    ----------
    values
        Of any shape; infinity and NaN stay.

    Examples
    --------
    >>> [in_float32(size * torch.ones(2).double()).dtype for size in (1.0, 1e60)]
    [torch.float32, torch.float64]
    """
    size = float(values.abs().nan_to_num(0.0, 0.0).max()) if values.numel() else 0.0
    return values.float() if size == 0 or SMALLEST <= size <= LARGEST else values


def recorded_settings(shot: Snapshot) -> dict[str, Any]:
    """Return what the values beside a snapshot are judged against, as a record would hold it."""
    rows, bias = 0 if shot.weight is None else len(shot.weight), shot.bias is not None
    sizes, dim = tuple(shot.counts[shot.present].tolist()), shot.rows.shape[1]
    found = {"setting": Setting(sizes, dim, rows, bias).to_record()}
    if shot.held_out_labels is not None:
        held_out = shot.held_out_labels.bincount()
        unseen = Setting(tuple(held_out[held_out > 0].tolist()), dim, rows, bias, fresh=True)
        found["test_setting"] = unseen.to_record()
    return found


def _levels(split: SplitReport, num_classes: int) -> tuple[Tensor | None, float | None]:
    """Return the quantiles of each class's margins, NaN where it has no sample, and the median."""
    margins, labels = (part.cpu() for part in (split.state.margins, split.state.labels))
    if not len(margins):
        return None, None
    order = labels.argsort(stable=True)
    groups = margins.double()[order].split(torch.bincount(labels, minlength=num_classes).tolist())
    table = [
        np.quantile(group, MARGIN_LEVELS) if len(group) else np.full(len(MARGIN_LEVELS), np.nan)
        for group in (part.numpy() for part in groups)
    ]
    return torch.from_numpy(np.stack(table)), float(np.median(margins.numpy()))


def _held_out(test: SplitReport) -> dict[str, Any]:
    """Return what is kept of each test sample, of very many a sample without replacement."""
    state, total = test.state, len(test.state.margins)
    kept = {"margins": state.margins, "labels": state.labels}
    if state.samples is not None and len(state.samples.confidences) == total:
        kept["confidences"] = state.samples.confidences
    found: dict[str, Any] = {f"held_out_{name}": part.cpu() for name, part in kept.items()}
    if total <= MOST_HELD_OUT:
        return found
    generator = torch.Generator().manual_seed(SAMPLE_SEED)
    drawn = torch.randperm(total, generator=generator)[:MOST_HELD_OUT].sort().values
    return {name: part[drawn] for name, part in found.items()} | {"held_out_total": total}


def _layer(moments: ClassMoments, counts: Tensor) -> SufficientStatistics:
    if moments.counts.tolist() != counts.tolist() or not moments.scatter:
        expected = (
            f"moments of the same samples with their scatter, {counts.tolist()} of each class"
        )
        got = f"{moments.counts.tolist()} of each class, scatter {moments.scatter}"
        raise NeuralCollapseError("before", expected, got, "measure both layers on the same data")
    return SufficientStatistics(moments.means.cpu(), moments.within.cpu(), moments.counts.cpu())
