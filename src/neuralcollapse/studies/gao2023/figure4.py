"""Figure 4: test accuracy by permutation and by rotation, with the spread of seeds beside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from neuralcollapse.figure_style import captioned, figure
from neuralcollapse.files import write_whole
from neuralcollapse.generalization import alignment_effects
from neuralcollapse.generalization.alignment_effects import AlignmentEffects
from neuralcollapse.generalization.alignment_figure import draw_alignments
from neuralcollapse.geometry import orthant_margins
from neuralcollapse.geometry.alignment import ALIGNMENT_RULES
from neuralcollapse.studies.figure_job import FigureJob
from neuralcollapse.studies.gao2023.alignment import (
    NARROW,
    Kind,
    alignments,
    run_figure4,
    setting,
)
from neuralcollapse.studies.gao2023.alignment_networks import alignment_configs, run_networks
from neuralcollapse.studies.gao2023.alignment_runs import to_record
from neuralcollapse.studies.gao2023.rotation_figure import record_replication
from neuralcollapse.studies.gao2023.study import study
from neuralcollapse.studies.panels import share_limits
from neuralcollapse.wording import share


@dataclass(frozen=True)
class Panel:
    """One kind of alignment in one setting.

    Attributes
    ----------
    kind
        ``"permutations"`` or ``"rotations"``.
    where
        The setting in a word or two, such as ``"CIFAR-10"``.
    effects
        The analysis of the runs.
    margins
        The heads' minimum orthant margins in words; empty if they are not known.
    record
        The setting and the runs, JSON-ready.
    """

    kind: Kind
    where: str
    effects: AlignmentEffects
    margins: str
    record: dict[str, Any]


def perceptron_panels(progress: bool = False) -> list[Panel]:
    """Train the perceptrons on digits.

    Parameters
    ----------
    progress
        Show a progress bar.
    """
    panels = []
    for (kind, dim), runs in run_figure4(progress).items():
        effects = alignment_effects(runs, ALIGNMENT_RULES if kind == "permutations" else ())
        record = {
            "setting": setting(dim).to_dict(),
            "effects": effects.to_dict(),
            "runs": to_record(runs),
        }
        margins = _margins(kind, dim)
        panels.append(Panel(kind, f"{dim} features", effects, margins, record))
    return panels


def network_panels(job: FigureJob) -> list[Panel]:
    """Train the networks of every scale but ``"quick"``.

    Parameters
    ----------
    job
        Of the figure.
    """
    panels = []
    for (kind, case), runs in run_networks(job).items():
        effects = alignment_effects(runs)
        configs = alignment_configs(kind, job.scale, case, seeds=job.seeds)
        record = {
            "configs": [config.to_dict() for config in job.planned(configs)],
            "effects": effects.to_dict(),
            "runs": runs.to_dict("list"),
        }
        panels.append(Panel(kind, case, effects, "", record))
    return panels


def plot_figure4(panels: Sequence[Panel]) -> Figure:
    """Draw test accuracy by alignment and by seed, permutations left and rotations right.

    Parameters
    ----------
    panels
        Two a row.
    """
    rows = len(panels) // 2
    with figure(rows, 2, 11.5, 4.1 * rows) as (drawing, places):
        for axes, panel in zip(places, panels, strict=True):
            draw_alignments(axes, panel.effects.design, 100)
            axes.set_title(f"{_TITLES[panel.kind]}, {panel.where}", pad=32)
            account = axes.text(0, 1.02, _account(panel), transform=axes.transAxes)
            account.set(size=8.5, in_layout=False)
            axes.set_ylabel("test accuracy, %")
        for row in zip(places[::2], places[1::2], strict=True):
            share_limits(row)
    return drawing


_TITLES: dict[Kind, str] = {
    "permutations": "Permutations of one ETF",
    "rotations": "Haar rotations",
}


def _margins(kind: Kind, dim: int) -> str:
    least = [orthant_margins(head).least for head in alignments(kind, dim).values()]
    return f"{min(least):.2f} to {max(least):.2f}" if kind == "rotations" else f"{least[0]:.2f}"


def _account(panel: Panel) -> str:
    """Variance components and test of a panel, in two lines."""
    found = panel.effects
    row = found.anova.to_dict("index")["alignment"]
    parts = [
        f"{name} {100 * sd:.2f}" if sd == sd else f"{name} < 0"
        for name, sd in found.components["sd"].items()
    ]
    margins = f"; orthant margin {panel.margins}" if panel.margins else ""
    return (
        f"SD: {', '.join(parts).replace(' x ', ' × ')}\n"
        f"alignment: F = {row['F']:.2f}, p = {found.permutation_p:.2g}; "
        f"{share(found.design.converged.mean())} of runs fit{margins}"
    )


_LEGEND = (
    "Bar: mean; dots: its cells, hollow where a run did not fit its training data; grey: where 95 "
    "% of such means lie, sorted, if alignments (or seeds) do nothing, by shuffling them. "
    "SD: root of each variance component, in points, < 0 where its unbiased estimate is; "
    "p by permutation within seeds"
)


def _perceptron_caption(found: AlignmentEffects, dim: int) -> str:
    shared = setting(dim)
    config = shared.config
    a, b, r = found.design.values.shape
    return (
        f"{_LEGEND}; orthant margin: the head's minimum. "
        f"The paper trains one network per alignment. Ours: digits, 300 training and 1,497 test "
        f"images, perceptron 64-64-64-D, ReLU features, fixed ETF of norm {shared.scale:g}, "
        f"SGD {config.lr:g}, momentum {config.momentum:g}, batches of {config.batch_size}, "
        f"{config.epochs} epochs; {a} alignments × {b} seeds × {r} orders of the data, crossed."
    )


def _network_caption(panel: Panel) -> str:
    config = panel.record["configs"][0]
    a, b, _ = panel.effects.design.values.shape
    images = "all" if config["per_class"] is None else f"{config['per_class']:,}"
    return (
        f"{_LEGEND}, which determine initial weights and order of the data together. "
        f"The paper trains one network per alignment. Ours: {config['net']}, {images} training "
        f"images of each class, fixed ETF of norm 1, SGD {config['lr']:g} falling as a cosine, "
        f"momentum {config['momentum']:g}, weight decay {config['weight_decay']:g}, batches of "
        f"{config['batch_size']}, {config['epochs']} epochs; {a} alignments × {b} seeds, crossed."
    )


@study.figure(4, fixed=["quick"])
def draw(job: FigureJob) -> list[Path]:
    """Write the runs, their analysis and the figure; and the replication of the rotation effect.

    The replication is one of the perceptrons, and belongs to the scale ``"quick"`` alone.
    """
    if job.scale != "quick":
        panels = network_panels(job)
        return _write(job.folder / f"figure4_{job.scale}", panels, _network_caption(panels[0]))
    job.require_training("perceptrons of Figure 4, which are trained anew at the scale quick")
    panels = perceptron_panels(job.progress)
    caption = _perceptron_caption(panels[0].effects, NARROW)
    files = _write(job.folder / "figure4", panels, caption)
    return [*files, *record_replication(job.folder, job.progress)]


def _write(stem: Path, panels: Sequence[Panel], caption: str) -> list[Path]:
    """Write the record and the figure."""
    record = {f"{panel.kind}, {panel.where}": panel.record for panel in panels}
    path = stem.with_suffix(".json")
    write_whole(path, json.dumps(record, allow_nan=False) + "\n")
    return [path, *captioned(plot_figure4(panels), stem.with_suffix(".png"), caption)]
