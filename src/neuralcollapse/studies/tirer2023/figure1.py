"""Figure 1: the spectrum of the linear map within a class; and what each lambda does to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from neuralcollapse.figure_style import BLUE, GREY, ORANGE, captioned, figure, label_ends
from neuralcollapse.npz_files import write_npz
from neuralcollapse.studies.figure_job import ALL_SCALES, FigureJob
from neuralcollapse.studies.panels import fixed_ticks
from neuralcollapse.studies.tirer2023.regularization import LAMBDA_H, LAMBDA_W, NOISE, within_ratios
from neuralcollapse.studies.tirer2023.setting import LinearMapSetting
from neuralcollapse.studies.tirer2023.study import study
from neuralcollapse.theory.feature_response import Variant

STRENGTHS = (0.001, 0.01, 0.1, 0.3, 0.6)
BETAS = (100.0, 1.0)
FACTORS = tuple(np.geomspace(0.25, 4.0, 17))

SPECTRA = (
    "Singular values of the block F_kk of the linear map. K = 4, d = 10, n = 10, lambda_W = "
    "sqrt(2) and beta = 100 are the paper's setting; beta = 1, where the two forms part, and the "
    f"values of lambda_H ({', '.join(f'{value:g}' for value in STRENGTHS)}) are ours: the paper "
    "has several, which are not known to us."
)
STRENGTHENED = (
    f"Ours: K = 4, d = 10, n = 10, lambda_W = {LAMBDA_W:g}, lambda_H = {LAMBDA_H:g}, beta = 1, "
    f"noise {NOISE:g} an entry; one strength is multiplied by the factor, the other stays."
)

Record = dict[str, NDArray[np.float64]]


def record_spectra() -> Record:
    """Return the spectra of F_kk and the effect of the strengths, as drawn.

    Returns
    -------
    dict of arrays
        ``exact`` and ``first-order`` (betas, strengths, n d): singular values, falling.
        ``moving`` and ``fixed`` (2, factors, 2): by lambda_H and lambda_W, actual and predicted
        tr Σ_W of the minimiser over that of H0.
    """
    variants: tuple[Variant, ...] = ("exact", "first-order")
    spectra = {
        variant: np.array(
            [[_spectrum(lambda_h, beta, variant) for lambda_h in STRENGTHS] for beta in BETAS]
        )
        for variant in variants
    }
    effects = {
        name: np.array(
            [
                [within_ratios(1.0, factor, 1.0, fixed=fixed) for factor in FACTORS],
                [within_ratios(factor, 1.0, 1.0, fixed=fixed) for factor in FACTORS],
            ]
        )
        for name, fixed in (("moving", False), ("fixed", True))
    }
    return {"strengths": np.array(STRENGTHS), "factors": np.array(FACTORS), **spectra, **effects}


def _spectrum(lambda_h: float, beta: float, variant: Variant) -> list[float]:
    operator = LinearMapSetting(lambda_h, beta).operator(variant)
    return [value for value, many in operator.block_singular_values(0, 0) for _ in range(many)]


def plot_spectra(record: Record) -> Figure:
    """Draw the singular values of F_kk at each beta, one curve a strength.

    Parameters
    ----------
    record
        From `record_spectra`.
    """
    colors = colormaps["viridis_r"](np.linspace(0.15, 1, len(STRENGTHS)))
    with figure(1, 2, 10.5, 4.2) as (drawing, panels):
        for axes, beta, exact, first in zip(
            panels, BETAS, record["exact"], record["first-order"], strict=True
        ):
            index = np.arange(1, exact.shape[1] + 1)
            for lambda_h, color, values, approximate in zip(
                STRENGTHS, colors, exact, first, strict=True
            ):
                axes.step(index, values, where="mid", color=color, label=f"{lambda_h:g}")
                axes.step(index, approximate, ls=(0, (1, 2)), where="mid", color=color, label="_")
            axes.set_title(f"β = {beta:g}, {'the paper’s' if beta == BETAS[0] else 'ours'}")
            axes.set_xlabel("singular value, in falling order")
            axes.set_xlim(0, exact.shape[1] + 1)
            label_ends(axes)
            axes.text(1.015, 1.0, "λ$_H$, ours", transform=axes.transAxes, color=GREY)
        panels[0].set_ylabel("singular value of F$_{kk}$")
        panels[0].legend(handles=_styles("exact", "large-β form", ":"), loc=(0.25, 0.25))
    return drawing


def plot_strengths(record: Record) -> Figure:
    """Draw the within-class scatter of the minimiser against either strength.

    Parameters
    ----------
    record
        From `record_spectra`.
    """
    drawn = np.concatenate([record["moving"], record["fixed"]])
    lowest, highest = float(drawn.min()), float(drawn.max())
    titles = {"moving": "H0 near the optimum of the strengths", "fixed": "H0 always the same"}
    with figure(1, 2, 10.5, 4.2) as (drawing, panels):
        for axes, (name, title) in zip(panels, titles.items(), strict=True):
            for strength, color, curve in zip(
                ("λ$_H$", "λ$_W$"), (BLUE, ORANGE), record[name], strict=True
            ):
                axes.plot(FACTORS, curve[:, 1], color=color, label=strength)
                axes.plot(FACTORS, curve[:, 0], "o", ms=4, color=color, label="_")
            axes.set_title(title)
            axes.set_xscale("log")
            fixed_ticks(axes.xaxis, (0.25, 0.5, 1, 2, 4))
            axes.set_xlabel("factor on one strength")
            axes.set_ylim(0.9 * lowest, 1.05 * highest)
            label_ends(axes)
        panels[0].set_ylabel("tr Σ$_W$ of the minimiser / of H0")
        panels[0].legend(handles=_styles("predicted", "actual minimiser", "o"), loc="lower left")
    return drawing


def _styles(line: str, other: str, style: str) -> list[Line2D]:
    marks = {"marker": "o", "ls": "", "ms": 4} if style == "o" else {"ls": (0, (1, 2))}
    return [
        Line2D([], [], color=GREY, label=line),
        Line2D([], [], color=GREY, label=other, **marks),
    ]


@study.figure(1, fixed=ALL_SCALES)
def draw(job: FigureJob) -> list[Path]:
    """Write the records, the spectra, and the effect of the two strengths."""
    record = record_spectra()
    path = write_npz(job.folder / "figure1.npz", record)
    return [
        path,
        *captioned(plot_spectra(record), job.folder / "figure1.png", SPECTRA),
        *captioned(plot_strengths(record), job.folder / "figure1_strengths.png", STRENGTHENED),
    ]
