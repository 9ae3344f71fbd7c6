"""The figure of one measurement: Gram matrix, spectra, margins, class means in space."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d.axes3d import Axes3D
from torch import Tensor

from neuralcollapse.figure_style import BLUE, GREEN, GREY, ORANGE
from neuralcollapse.geometry.simplex_etf import nearest_etf
from neuralcollapse.measurement.collapse_values import CollapseValues
from neuralcollapse.measurement.report_tables import pair_table
from neuralcollapse.metrics.catalogue import metric_named
from neuralcollapse.metrics.margin_scale import margin_ceiling, margin_scale
from neuralcollapse.plain_text import unmathed
from neuralcollapse.wording import counted

NAME = 14  # characters of a class's name
TICKED_CLASSES = 20  # the names of more classes would overlap
PIXELS = 512  # for more classes, cosines are averaged over squares


def plot_report(report: CollapseValues) -> Figure:
    """Draw the four panels of a report.

    Parameters
    ----------
    report
        What `measure` returned. Without a head there are no margins; without a scatter, no
        within-class spectrum; the panel then says so.

    Returns
    -------
    matplotlib Figure
        11 x 9 inches.
    """
    figure = Figure(figsize=(11, 9), layout="constrained")
    grid = figure.add_gridspec(2, 2)
    _gram(figure.add_subplot(grid[0, 0]), report)
    _spectra(figure.add_subplot(grid[0, 1]), report)
    _margins(figure.add_subplot(grid[1, 0]), report)
    _in_space(figure.add_subplot(grid[1, 1], projection="3d"), report)
    figure.suptitle(
        f"Neural collapse of {counted(report.train.moments.num_samples, 'sample')}: "
        f"{metric_named('nc1_trace_ratio').label} = {report['nc1_trace_ratio']:.3g}, "
        f"distance from a simplex ETF = {report['nc2_etf']:.3g}"
    )
    return figure


def _gram(axes: Axes, report: CollapseValues) -> None:
    rows = report.train.moments.centered_means()
    directions = rows / rows.norm(dim=1, keepdim=True)
    side = -(-len(rows) // PIXELS)
    # The mean cosine of two groups of classes is the product of their mean directions.
    groups = torch.stack([group.mean(0) for group in directions.split(side)])
    cosines = (groups @ groups.T).cpu().numpy()
    extent = (-0.5, side * len(groups) - 0.5, side * len(groups) - 0.5, -0.5)
    image = axes.imshow(cosines, cmap="RdBu_r", vmin=-1, vmax=1, extent=extent)
    label = "cosine" if side == 1 else f"cosine, mean of {side} x {side} classes"
    axes.figure.colorbar(image, ax=axes, shrink=0.8, label=label)
    target = -1 / (len(rows) - 1)
    axes.set_title(f"Cosines of class means (ETF: {target:.3f} off the diagonal)")
    names = _present_names(report)
    if len(names) <= TICKED_CLASSES:
        axes.set_xticks(range(len(names)), names, rotation=90 if max(map(len, names)) > 3 else 0)
        axes.set_yticks(range(len(names)), names)
    else:
        axes.set(xlabel="class", ylabel="class")


def _spectra(axes: Axes, report: CollapseValues) -> None:
    moments = report.train.moments
    axes.set_title("Spectra of the scatters")
    rows = moments.centered_means()
    between = torch.linalg.svdvals(rows).square() / len(rows)
    between = between[: len(rows) - 1]
    axes.plot(_ranks(between), between.cpu(), "o-", color=ORANGE, ms=4, label="between classes")
    if moments.scatter:
        within = torch.linalg.eigvalsh(moments.within).flip(0)
        # What lies below round-off of the largest is not an eigenvalue but noise.
        within = within[within > within[0] * len(within) * torch.finfo(within.dtype).eps]
        axes.plot(_ranks(within), within.cpu(), "o-", color=BLUE, ms=4, label="within classes")
    else:
        axes.text(0.5, 0.1, "no within-class scatter was kept", transform=axes.transAxes)
    axes.set(xscale="log", yscale="log", xlabel="rank", ylabel="eigenvalue")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)


def _margins(axes: Axes, report: CollapseValues) -> None:
    axes.set_title("Margins of the samples, over their scale")
    axes.set(xlabel="margin / scale", ylabel="share of samples")
    parts = []
    if report.weight is not None:
        for label, part, color in (("train", report.train, BLUE), ("test", report.test, ORANGE)):
            if part is not None and part.moments.num_samples:
                scale = margin_scale(part.moments, report.weight, report.bias)
                if scale:
                    parts.append((label, part.state.margins.cpu().numpy() / scale, color))
    if not parts:
        said = "no head" if report.weight is None else "all logits alike"
        axes.text(0.5, 0.5, f"{said}, no margins", ha="center", transform=axes.transAxes)
        return
    every = np.concatenate([values for _, values, _ in parts])
    edges = np.histogram_bin_edges(every, bins=60).tolist()
    for label, values, color in parts:
        weights = np.full(len(values), 1 / len(values))
        axes.hist(values, edges, weights=weights, color=color, alpha=0.25)
        axes.hist(values, edges, weights=weights, color=color, histtype="step", label=label)
    ceiling = margin_ceiling(int(report.train.moments.present.sum()))
    axes.axvline(ceiling, color=GREEN, ls="--", label=f"collapse: K/(K-1) = {ceiling:.3g}")
    axes.axvline(0, color=GREY, lw=1)
    axes.margins(y=0.25)  # room for the legend
    axes.legend(frameon=False, loc="upper left")


def _in_space(axes: Axes3D, report: CollapseValues) -> None:
    """Draw four class means, which span three dimensions and so are shown without loss."""
    chosen = _four_classes(report)
    means = report.train.moments.means[chosen]
    centered = means - means.mean(0)
    left, values, _ = torch.linalg.svd(centered, full_matrices=False)
    points = torch.zeros(len(chosen), 3, dtype=centered.dtype, device=centered.device)
    points[:, : len(values[:3])] = (left * values)[:, :3]
    nearest = nearest_etf(points)
    targets = (nearest.center + nearest.scale * nearest.vertices).cpu().numpy()
    found = points.cpu().numpy()
    names = [unmathed(report.class_names[k], NAME) for k in chosen]
    for i in range(len(chosen)):
        for j in range(i):
            axes.plot(*targets[[i, j]].T, color=GREY, lw=1, ls=":")
            axes.plot(*found[[i, j]].T, color=BLUE, lw=0.8, alpha=0.6)
        axes.plot(*np.stack([found[i], targets[i]]).T, color=ORANGE, lw=1.5)
        axes.text(*(1.12 * found[i]), names[i])
    axes.scatter(*targets.T, s=60, facecolors="none", edgecolors=GREEN, label="nearest ETF")
    axes.scatter(*found.T, s=30, color=BLUE, label="class means")
    axes.set_title(f"Means of {len(chosen)} classes, the closest pair among them")
    axes.set_box_aspect((1, 1, 1))
    # Equal limits on all axes, so that those left empty by two or three classes are not stretched.
    reach = 1.12 * float(np.abs(np.concatenate([found, targets])).max()) or 1.0
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), zlim=(-reach, reach))
    axes.set(xticklabels=[], yticklabels=[], zticklabels=[])
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(-0.1, -0.05))


def _four_classes(report: CollapseValues) -> list[int]:
    """Return the classes of the worst pairs by CDNV, up to four."""
    pairs = pair_table(report)
    index = {name: k for k, name in enumerate(report.class_names)}
    present = report.train.moments.present.nonzero().squeeze(1).tolist()
    worst = [index[name] for pair in pairs[["class i", "class j"]].to_numpy() for name in pair]
    return list(dict.fromkeys([*worst, *present]))[:4]


def _present_names(report: CollapseValues) -> Sequence[str]:
    present = report.train.moments.present.tolist()
    named = zip(report.class_names, present, strict=True)
    return [unmathed(name, NAME) for name, here in named if here]


def _ranks(spectrum: Tensor) -> range:
    return range(1, len(spectrum) + 1)
