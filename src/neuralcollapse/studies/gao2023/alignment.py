"""Figure 4: fixed ETF heads, permuted and rotated; crossed with seeds and orders of the data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from neuralcollapse.generalization import alignment_effects, compare_rules
from neuralcollapse.geometry import fittable_etf, orthant_margins, simplex_etf
from neuralcollapse.geometry.alignment import ALIGNMENT_RULES
from neuralcollapse.studies.claims import Evidence
from neuralcollapse.studies.gao2023.alignment_runs import AlignmentSetting, run_alignments
from neuralcollapse.studies.gao2023.study import study
from neuralcollapse.training import PerceptronConfig

Kind = Literal["permutations", "rotations"]
NARROW, WIDE = 16, 64
CLASSES = 10


def setting(
    dim: int, seeds: int = 10, orders: int = 2, relu_features: bool = True, epochs: int = 150
) -> AlignmentSetting:
    """Return the setting of Figure 4 with this dimension of the features.

    Parameters
    ----------
    dim
        d of the features.
    seeds, orders
        How many of each.
    relu_features
        Whether a ReLU makes the features.
    epochs
        Of the training.
    """
    config = PerceptronConfig(dim=dim, relu_features=relu_features, epochs=epochs)
    return AlignmentSetting(config, seeds=tuple(range(seeds)), orders=orders)


def alignments(kind: Kind, dim: int, count: int = 12) -> dict[Any, Tensor]:
    """Return unit ETF heads: permutations of one, itself the first, or Haar rotations.

    The permuted ETF has the largest orthant margin of 50 rotations: with a head that can hardly be
    fitted, one would only see which runs fit.

    Parameters
    ----------
    kind
        ``"permutations"`` or ``"rotations"``.
    dim
        d of the features.
    count
        How many.
    """
    generator = torch.Generator().manual_seed(dim)
    if kind == "rotations":
        turned = (simplex_etf(CLASSES, dim, generator=generator) for _ in range(count))
        return dict(enumerate(turned))
    first = fittable_etf(CLASSES, dim, generator=generator).vertices
    others = [first[torch.randperm(CLASSES, generator=generator)] for _ in range(count - 1)]
    return dict(enumerate([first, *others]))


def run_figure4(progress: bool = False) -> dict[tuple[Kind, int], pd.DataFrame]:
    """Train what Figure 4 shows: 12 permutations and 12 rotations, narrow and wide features.

    Parameters
    ----------
    progress
        Show a progress bar.

    Returns
    -------
    dict of DataFrame
        Runs, see `run_alignments`, by kind and dimension; permutations with the three rules.
    """
    kinds: dict[Kind, Sequence[str]] = {"permutations": ALIGNMENT_RULES, "rotations": ()}
    return {
        (kind, dim): run_alignments(setting(dim), alignments(kind, dim), rules, progress)
        for dim in (NARROW, WIDE)
        for kind, rules in kinds.items()
    }


@study.claim(
    "fig4",
    "Fixed ETF heads that are permuted or rotated train the same and test differently.",
    correction="one run per alignment cannot tell alignment from seed, which alone gives as much "
    "spread; crossed with seeds, permutations of a head for 64 features behind a ReLU show no main "
    "effect; rotations do behind a ReLU where features are few, but there they do not train the "
    "same either",
)
def _spread() -> Iterator[Evidence]:
    yield from _planted()
    wide = setting(WIDE, seeds=6, orders=1)
    runs = run_alignments(wide, alignments("permutations", WIDE, 6))
    cells = runs.pivot(index="alignment", columns="seed", values="value").to_numpy()
    note = "6 permutations x 6 seeds, 64 features behind a ReLU"
    yield Evidence("share of runs that fit", float(runs["converged"].mean()), 1, note=note)
    by_alignment, by_seed = np.ptp(cells, axis=0).mean(), np.ptp(cells, axis=1).mean()
    words = "mean range of test accuracy over permutations at one seed, points"
    yield Evidence.at_least(words, 100 * by_alignment, 0.3)
    yield Evidence.at_most("that over the range over seeds at one", by_alignment / by_seed, 1.25)
    effects = alignment_effects(runs)
    words = "p of no main effect of the permutation"
    yield Evidence.at_least(words, effects.permutation_p, 0.01)
    yield from _rotations()


def _planted() -> Iterator[Evidence]:
    """Recover the spreads that a table was made with: of alignments, seeds and orders."""
    rng = np.random.default_rng(0)
    planted = {"alignment": 1.0, "seed": 3.0, "order": 0.3}
    a, b, r = 100, 100, 4
    values = (
        planted["alignment"] * rng.normal(size=(a, 1, 1))
        + planted["seed"] * rng.normal(size=(1, b, 1))
        + planted["order"] * rng.normal(size=(1, b, r))
        + 0.1 * rng.normal(size=(a, b, r))
    )
    cells = np.indices(values.shape).reshape(3, -1).T
    runs = pd.DataFrame(cells, columns=["alignment", "seed", "order"])
    found = alignment_effects(runs.assign(value=values.ravel(), converged=True), permutations=1)
    for source, deviation in planted.items():
        words = f"spread recovered over spread planted, {source}"
        measured = found.components["sd"].to_dict()[source] / deviation
        yield Evidence(words, measured, 1, 0.2, note=f"made-up runs, {a} x {b} x {r}")


def _rotations() -> Iterator[Evidence]:
    """Compare the rotations of the largest and the smallest orthant margin, seed by seed."""
    candidates = alignments("rotations", NARROW, 50)
    least = {name: orthant_margins(head).least for name, head in candidates.items()}
    best, worst = max(least, key=least.__getitem__), min(least, key=least.__getitem__)
    runs = run_alignments(
        setting(NARROW, seeds=24, orders=1),
        {"best": candidates[best], "worst": candidates[worst]},
    )
    note = (
        f"24 seeds, 16 features behind a ReLU; of 50 rotations those with the largest "
        f"({least[best]:.2f}) and the smallest ({least[worst]:.2f}) orthant margin"
    )
    compared = compare_rules(runs, ["best"]).to_dict("index")["best"]
    words = "gain in test accuracy by the better rotation, points"
    yield Evidence.at_least(words, 100 * compared["difference"], 1, note=note)
    yield Evidence.at_most("p of that, by sign flips", compared["p_sign_flip"], 0.01)
    fits = runs.groupby("alignment")["converged"].mean()
    words = "share of runs that fit, the worse less the better rotation"
    yield Evidence.at_most(words, float(fits["worst"] - fits["best"]), 0)
