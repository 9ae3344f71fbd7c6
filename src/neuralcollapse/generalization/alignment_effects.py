"""What the alignment of a fixed head does to an outcome, told apart from what the seed does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from neuralcollapse.figure_style import figure, save
from neuralcollapse.files import without_nan
from neuralcollapse.generalization.alignment_figure import draw_alignments
from neuralcollapse.generalization.crossed_anova import (
    crossed_anova,
    ratio_interval,
    within_seed_permutation,
)
from neuralcollapse.generalization.design import CrossedDesign, crossed_design
from neuralcollapse.generalization.paired_rules import compare_rules
from neuralcollapse.plain_text import unmathed
from neuralcollapse.wording import share

CONFIDENCE = 0.95
SHOWN = 10  # alignments with runs that did not fit


@dataclass(frozen=True)
class AlignmentEffects:
    """How much of the spread of an outcome is due to alignment, to seed and to order.

    Printing it gives the whole account.

    Attributes
    ----------
    design
        The runs of the random alignments.
    anova
        From `crossed_anova`, of all runs, those that did not fit their training data included.
    permutation_p
        p-value of no main effect of alignment, from `within_seed_permutation`.
    fits
        One row per alignment: ``runs``, ``converged``, ``mean`` of all, and the means of those that
        converged and those that did not (NaN if there are none).
    among_fitting
        The same account of the alignments whose every run converged; None if that is all of them,
        or fewer than two.
    rules
        From `compare_rules`; None if there are none.

    Examples
    --------
    >>> import pandas as pd
    >>> from neuralcollapse.generalization import alignment_effects
    >>> runs = [(a, s, 0, 10.0 * a + s + (a == s), True) for a in range(3) for s in range(4)]
    >>> columns = ["alignment", "seed", "order", "value", "converged"]
    >>> effects = alignment_effects(pd.DataFrame(runs, columns=columns))
    >>> low, high = effects.limits
    >>> bool(low < effects.components.loc["alignment", "sd"] < high)
    True
    """

    design: CrossedDesign
    anova: pd.DataFrame
    permutation_p: float
    fits: pd.DataFrame
    among_fitting: AlignmentEffects | None
    rules: pd.DataFrame | None

    @property
    def components(self) -> pd.DataFrame:
        """Variance component of each source, unclipped, and its root (NaN if it is negative)."""
        variance = self.anova["variance"]
        return pd.DataFrame({"variance": variance, "sd": np.sqrt(variance.where(variance >= 0))})

    @property
    def tests(self) -> pd.DataFrame:
        """Each test with its F and p: F tests where there are exact ones, and the permutation."""
        table = self.anova[["F", "p"]].dropna()
        permuted = pd.DataFrame(
            {"F": [self.anova.loc["alignment", "F"]], "p": [self.permutation_p]},
            index=["alignment, permuted"],
        )
        return pd.concat([table, permuted]).rename_axis("test")

    @property
    def limits(self) -> tuple[float, float]:
        """95 % limits of the standard deviation of alignment, given that of a cell as estimated."""
        a, b, r = self.design.values.shape
        rows = self.anova.to_dict("index")
        low, high = ratio_interval(rows["alignment"]["F"], a, b, CONFIDENCE)
        cell = math.sqrt(rows["alignment x seed"]["mean_square"] / r)
        return low * cell, high * cell

    def to_dict(self) -> dict[str, Any]:
        """Return all numbers as a JSON-ready dict; what is undefined is None."""
        a, b, r = self.design.values.shape
        numbers = {
            "alignments": a,
            "seeds": b,
            "orders": r,
            "mean": float(self.design.values.mean()),
            "converged": float(self.design.converged.mean()),
            "anova": _records(self.anova),
            "alignment_sd_limits": self.limits,
            "permutation_p": self.permutation_p,
            "fits": _records(self.fits),
            "among_fitting": self.among_fitting.to_dict() if self.among_fitting else None,
            "rules": None if self.rules is None else _records(self.rules),
        }
        return without_nan(numbers)

    def plot(self, path: str | Path, scale: float = 1.0, label: str = "value") -> Path:
        """Draw the outcomes by alignment, and beside them by seed, and return where.

        Parameters
        ----------
        path
            The file; its ending says the format.
        scale
            Factor on the outcomes, 100 for percent.
        label
            Of the axis.
        """
        with figure(1, 1, 8.0, 4.2) as (drawing, panels):
            draw_alignments(panels[0], self.design, scale)
            panels[0].set_ylabel(unmathed(label))
            sd = self.components["sd"]
            panels[0].set_title(
                "spread (SD): "
                + ", ".join(f"{name} {_sd(scale * value)}" for name, value in sd.items())
            )
        return save(drawing, path)

    def __str__(self) -> str:
        a, b, r = self.design.values.shape
        fit = self.design.converged.mean()
        lines = [
            f"{a} alignments x {b} seeds x {r} orders: mean {self.design.values.mean():.5g}, "
            f"{share(fit)} of the runs fit their training data",
            "",
            f"{'source':<18}{'df':>5}{'variance':>12}{'sd':>11}{'F':>9}{'p':>9}",
        ]
        for source, row in self.anova.join(self.components["sd"]).to_dict("index").items():
            lines.append(
                f"{source:<18}{row['df']:>5.0f}{row['variance']:>12.3g}{_sd(row['sd']):>11}"
                f"{_shown(row['F']):>9}{_shown(row['p']):>9}"
            )
        low, high = self.limits
        lines += [
            f"alignment: SD {_shown(low)} to {_shown(high)} ({CONFIDENCE:.0%} limits), "
            f"p = {self.permutation_p:.2g} by permutation within seeds",
            self._reading(),
        ]
        if fit < 1:
            lines += ["", *self._unfit_lines()]
        if self.rules is not None:
            lines += ["", "rules, differences from random alignments of the same seed"]
            lines += [
                f"  {rule:<18}{row['difference']:>+11.3g} ± {row['se']:.2g} "
                f"(p {row['p']:.2g}, sign flips {row['p_sign_flip']:.2g}, Holm {row['p_holm']:.2g})"
                for rule, row in self.rules.to_dict("index").items()
            ]
        return "\n".join(lines)

    def _reading(self) -> str:
        if self.permutation_p <= 1 - CONFIDENCE:
            return "Alignments differ on average over seeds."
        return "No difference between alignments beyond that of seeds is seen."

    def _unfit_lines(self) -> list[str]:
        unfit = self.fits[self.fits["converged"] < self.fits["runs"]].sort_values("converged")
        lines = ["runs that did not fit, included above"]
        lines += [
            f"  alignment {name}: {row['runs'] - row['converged']:.0f} of {row['runs']:.0f}, mean "
            f"{row['mean_unconverged']:.4g} (the others {_shown(row['mean_converged'])})"
            for name, row in unfit[:SHOWN].to_dict("index").items()
        ]
        if len(unfit) > SHOWN:
            lines.append(f"  and of {len(unfit) - SHOWN} more alignments, all of them in .fits")
        if self.among_fitting is not None:
            row = self.among_fitting.anova.to_dict("index")["alignment"]
            count = len(self.among_fitting.design.alignments)
            lines.append(
                f"  among the {count} alignments that always fit: variance "
                f"{row['variance']:.3g}, F {_shown(row['F'])}, p {_shown(row['p'])}, permuted "
                f"{self.among_fitting.permutation_p:.2g}"
            )
        return lines


def alignment_effects(
    table: pd.DataFrame, rules: Sequence[str] = (), permutations: int = 2000, seed: int = 0
) -> AlignmentEffects:
    """Tell what alignments do to an outcome apart from what seeds and orders of the data do.

    One run for each alignment cannot: its spread is that of alignments and seeds together. So the
    design is crossed, every alignment is trained from the same seeds, and there are two tests of
    its main effect, of which the second needs no normal distribution.

    Parameters
    ----------
    table
        One run per row, with the columns ``alignment``, ``seed``, ``order``, ``value`` and
        ``converged``; see `crossed_design`. Runs of a rule have its name as their alignment.
    rules
        Names of alignments that depend on the seed, which are compared with the random ones, and
        left out of the analysis of variance.
    permutations, seed
        Of `within_seed_permutation`.

    Returns
    -------
    AlignmentEffects
        Variance components, tests, and what did not converge.

    Raises
    ------
    NeuralCollapseError
        If the design is not balanced (the message names a missing run), a column is missing, or a
        rule is unknown.
    NonFiniteError
        If a value is NaN or infinite.

    References
    ----------
    Gao et al. 2023, Figure 4, shows one run per alignment. The design and its analysis are ours.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from neuralcollapse.generalization import alignment_effects
    >>> rng = np.random.default_rng(0)
    >>> runs = [
    ...     (a, s, o, a + 0.1 * rng.normal(), True)
    ...     for a in range(4) for s in range(5) for o in range(2)
    ... ]
    >>> columns = ["alignment", "seed", "order", "value", "converged"]
    >>> effects = alignment_effects(pd.DataFrame(runs, columns=columns))
    >>> effects.permutation_p < 0.01
    True
    >>> round(float(effects.components.loc["alignment", "sd"]), 1)  # of 0, 1, 2, 3
    1.3
    """
    # This also checks that the whole table is complete, rules and random alignments together.
    compared = compare_rules(table, rules) if len(rules) else None
    random = table if compared is None else table[~table["alignment"].isin(list(rules))]
    design = crossed_design(random)
    fits = _fits(design)
    always = fits.index[fits["converged"] == fits["runs"]]
    among = None
    if 2 <= len(always) < len(fits):
        chosen = random[random["alignment"].isin(always)]
        among = alignment_effects(chosen, (), permutations, seed)
    anova = crossed_anova(design.values)
    p = within_seed_permutation(design.values, permutations, seed)
    return AlignmentEffects(design, anova, p, fits, among, compared)


def _fits(design: CrossedDesign) -> pd.DataFrame:
    rows = []
    for values, converged in zip(design.values, design.converged, strict=True):
        fit, unfit = values[converged], values[~converged]
        rows.append(
            {
                "runs": values.size,
                "converged": len(fit),
                "mean": float(values.mean()),
                "mean_converged": float(fit.mean()) if len(fit) else math.nan,
                "mean_unconverged": float(unfit.mean()) if len(unfit) else math.nan,
            }
        )
    return pd.DataFrame(rows, index=pd.Index(design.alignments, name="alignment"))


def _records(table: pd.DataFrame) -> dict[str, Any]:
    return {str(name): row for name, row in table.astype(float).to_dict("index").items()}


def _sd(value: float) -> str:
    return "below 0" if math.isnan(value) else f"{value:.3g}"


def _shown(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2g}" if value < 1 else f"{value:.3g}"
