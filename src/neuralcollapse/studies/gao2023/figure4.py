"""Figure 4: test accuracy by permutation and by rotation, with the spread of seeds beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from neuralcollapse.figure_style import GREY, figure, save
from neuralcollapse.files import atomic_path
from neuralcollapse.generalization import AlignmentEffects, alignment_effects
from neuralcollapse.generalization.alignment_figure import draw_alignments
from neuralcollapse.geometry import ALIGNMENT_RULES, orthant_margins
from neuralcollapse.studies.figure_job import FigureJob
from neuralcollapse.studies.gao2023.alignment import Kind, alignments, run_figure4, setting
from neuralcollapse.studies.gao2023.alignment_runs import to_record
from neuralcollapse.studies.gao2023.rotation_figure import record_replication
from neuralcollapse.studies.gao2023.study import study

Runs = dict[tuple[Kind, int], pd.DataFrame]


def effects_of(runs: Runs) -> dict[tuple[Kind, int], AlignmentEffects]:
    """Return the analysis of every panel.

    Parameters
    ----------
    runs
        From `run_figure4`.
    """
    return {
        key: alignment_effects(table, ALIGNMENT_RULES if key[0] == "permutations" else ())
        for key, table in runs.items()
    }


def plot_figure4(effects: dict[tuple[Kind, int], AlignmentEffects]) -> Figure:
    """Draw test accuracy by alignment and by seed, one panel a kind of alignment and dimension.

    Parameters
    ----------
    effects
        From `effects_of`.
    """
    with figure(2, 2, 11.5, 8.2) as (drawing, panels):
        for axes, ((kind, dim), found) in zip(panels, effects.items(), strict=True):
            draw_alignments(axes, found.design, 100)
            axes.set_title(f"{_TITLES[kind]}, {dim} features", pad=32)
            account = axes.text(0, 1.02, _account(found, kind, dim), transform=axes.transAxes)
            account.set(size=8.5, in_layout=False)
            axes.set_ylabel("test accuracy, %")
        for left, right in (panels[:2], panels[2:]):
            _share_limits(left, right)
        drawing.supxlabel(_caption(effects), fontsize=8.5, color=GREY)
    return drawing


_TITLES: dict[Kind, str] = {
    "permutations": "Permutations of one ETF",
    "rotations": "Haar rotations",
}


def _account(found: AlignmentEffects, kind: Kind, dim: int) -> str:
    """Variance components and test of a panel, in two lines."""
    row = found.anova.to_dict("index")["alignment"]
    parts = [
        f"{name} {100 * sd:.2f}" if sd == sd else f"{name} < 0"
        for name, sd in found.components["sd"].items()
    ]
    least = [orthant_margins(head).least for head in alignments(kind, dim).values()]
    margins = f"{min(least):.2f} to {max(least):.2f}" if kind == "rotations" else f"{least[0]:.2f}"
    return (
        f"SD: {', '.join(parts).replace(' x ', ' × ')}\n"
        f"alignment: F = {row['F']:.2f}, p = {found.permutation_p:.2g}; "
        f"{found.design.converged.mean():.0%} of runs fit; orthant margin {margins}"
    )


def _share_limits(left: Axes, right: Axes) -> None:
    limits = [*left.get_ylim(), *right.get_ylim()]
    for axes in (left, right):
        axes.set_ylim(min(limits), max(limits))


def _caption(effects: dict[tuple[Kind, int], AlignmentEffects]) -> str:
    (_, dim), found = next(iter(effects.items()))
    shared = setting(dim)
    config = shared.config
    a, b, r = found.design.values.shape
    return (
        "Bar: mean; dots: its cells, hollow where a run did not fit its training data. "
        "SD: root of each variance component, in points, < 0 where its unbiased estimate is;\n"
        "p by permutation within seeds; orthant margin: the head's least.\n"
        f"The paper trains one network an alignment. Ours: digits, 300 training and 1,497 test "
        f"images, perceptron 64-64-64-D, ReLU features, fixed ETF of norm {shared.scale:g},\n"
        f"SGD {config.lr:g}, momentum {config.momentum:g}, batches of {config.batch_size}, "
        f"{config.epochs} epochs; {a} alignments × {b} seeds × {r} orders of the data, crossed."
    )


@study.figure(4)
def draw(job: FigureJob) -> list[Path]:
    """Write the runs, their analysis and the figure; and the replication of the rotation effect."""
    runs = run_figure4(job.progress)
    effects = effects_of(runs)
    panels: dict[str, Any] = {
        f"{kind}, {dim} features": {
            "setting": setting(dim).to_dict(),
            "effects": effects[kind, dim].to_dict(),
            "runs": to_record(table),
        }
        for (kind, dim), table in runs.items()
    }
    path = job.folder / "figure4.json"
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(panels, allow_nan=False) + "\n")
    return [
        path,
        save(plot_figure4(effects), job.folder / "figure4.png"),
        *record_replication(job.folder, job.progress),
    ]
