"""NaN compares false with everything: it must be refused before it counts as good, or as bad."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from neuralcollapse import ClassMoments
from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.generalization import (
    center_deviation_probability,
    clopper_pearson_upper,
    covered_mass,
    crossed_anova,
    distribution_free_floor,
    error_certificate,
    expected_missing_mass_bound,
    margin_bound,
    missing_mass_bound,
    pair_margin_bound,
    pair_risks,
)
from neuralcollapse.generalization.crossed_anova import within_seed_permutation
from neuralcollapse.generalization.design import crossed_design
from neuralcollapse.metrics import (
    boundary_distances,
    effective_rank,
    equinorm,
    margin_ceiling,
    margin_lower_bound_of_mean,
    margin_scale,
    self_duality,
    summarize,
)
from neuralcollapse.ood import ood_scores, risk_coverage
from neuralcollapse.theory import sufficient_statistics

NAN, INF = math.nan, math.inf
X = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 0.1], [0.1, 2.0]])
Y = [0, 1, 0, 1]
W = torch.eye(2)
MOMENTS = ClassMoments(2, 2).update(X, Y)
VALUES = np.arange(12.0).reshape(3, 4, 1)


def spoiled(value, bad):
    """The same numbers, the last of them `bad`."""
    copy = torch.tensor(np.asarray(value), dtype=torch.float64)
    copy.view(-1)[-1] = bad
    return copy


REFUSING = {
    "head of moments": lambda bad: summarize(MOMENTS, spoiled(W, bad)),
    "bias of the scale": lambda bad: margin_scale(MOMENTS, W, spoiled([0, 0], bad)),
    "self-duality": lambda bad: self_duality(spoiled(W, bad), W),
    "centre": lambda bad: equinorm(W, spoiled([0, 0], bad)),
    "spectrum": lambda bad: effective_rank(spoiled([1, 1], bad)),
    "boundary bias": lambda bad: boundary_distances(X, Y, W, spoiled([0, 0], bad)),
    "pair bound": lambda bad: pair_margin_bound(X, Y, W, spoiled([0, 0], bad), fitted="head"),
    "margin bound": lambda bad: margin_bound(
        X, Y, W, spoiled([0, 0], bad), relative_margin=1.0, fitted="head"
    ),
    "radii": lambda bad: covered_mass(X, Y, spoiled([1] * 4, bad), X, Y),
    "certificate": lambda bad: error_certificate(spoiled([1, 2], bad)),
    "pair risks": lambda bad: pair_risks(spoiled(X, bad), Y),
    "permutation": lambda bad: within_seed_permutation(spoiled(VALUES, bad)),
    "anova": lambda bad: crossed_anova(spoiled(VALUES, bad)),
    "confidence": lambda bad: risk_coverage(spoiled([1, 2], bad), [True, False]),
    "correct": lambda bad: risk_coverage([1.0, 2.0], spoiled([1, 1], bad)),
    **{
        f"bias of {method}": lambda bad, method=method: ood_scores(
            MOMENTS, W, spoiled([0, 0], bad), X, method
        )
        for method in ("nci", "msp", "energy")
    },
    "head of nci": lambda bad: ood_scores(MOMENTS, spoiled(W, bad), None, X),
    "features of nci": lambda bad: ood_scores(MOMENTS, W, None, spoiled(X, bad)),
    "training features of vim": lambda bad: ood_scores(
        MOMENTS, W, None, X, "vim", train_features=spoiled(X, bad)
    ),
    "features of moments": lambda bad: ClassMoments(2, 2).update(spoiled(X, bad), Y),
}


@pytest.mark.parametrize("bad", [NAN, INF, -INF], ids=str)
@pytest.mark.parametrize("call", REFUSING.values(), ids=REFUSING.keys())
def test_what_is_not_finite_is_refused(call, bad):
    with pytest.raises(NonFiniteError, match="1 NaN or infinite of"):
        call(bad)


class Given:
    means, within = torch.eye(2).double(), torch.eye(2).double()

    def __init__(self, counts):
        self.counts = counts


COUNTING = {
    "means": lambda bad: sufficient_statistics(Given(spoiled([2, 2], bad))),
    "errors": lambda bad: clopper_pearson_upper(spoiled([1, 2], bad).numpy(), 10),
    "samples": lambda bad: clopper_pearson_upper(1, spoiled([5, 5], bad).numpy()),
    "state": lambda bad: ClassMoments.from_state_dict(
        {**MOMENTS.state_dict(), "counts": spoiled([2, 2], bad)}
    ),
}
NUMBERS = {
    "ceiling": margin_ceiling,
    "mean loss": lambda bad: margin_lower_bound_of_mean(0.1, bad),
    "cells": lambda bad: expected_missing_mass_bound(bad, 10),
    "missing mass": lambda bad: missing_mass_bound(10, bad),
    "floor": distribution_free_floor,
    "centres": lambda bad: center_deviation_probability(3, bad, 1.0, 1.0),
    "classes": lambda bad: ClassMoments(bad, 2),
}


@pytest.mark.parametrize("bad", [NAN, INF, 2.5], ids=str)
@pytest.mark.parametrize("call", COUNTING.values(), ids=COUNTING.keys())
def test_what_is_not_whole_is_no_count(call, bad):
    with pytest.raises(NeuralCollapseError, match=r"whole number|finite counts|with a sample"):
        call(bad)


@pytest.mark.parametrize("bad", [NAN, INF, 2.5], ids=str)
@pytest.mark.parametrize("call", NUMBERS.values(), ids=NUMBERS.keys())
def test_what_is_not_whole_is_no_number_of_things(call, bad):
    # Under test the annotations are checked too, and may speak first.
    with pytest.raises(Exception, match=r"at least|Type-check error"):
        call(bad)


@pytest.mark.parametrize("bad", [NAN, None, "False"])
def test_a_run_that_may_have_converged_has_not(bad):
    rows = [(a, s, 0, 1.0 * a * s, True) for a in (1, 2) for s in (3, 4)]
    table = pd.DataFrame(rows, columns=["alignment", "seed", "order", "value", "converged"])
    table["converged"] = table["converged"].astype(object)
    table.loc[3, "converged"] = bad
    with pytest.raises(NeuralCollapseError, match="converged: expected True or False"):
        crossed_design(table)


def test_a_decision_is_right_or_wrong():
    with pytest.raises(NeuralCollapseError, match="correct: expected True or False"):
        risk_coverage([1.0, 2.0], [1, 2])
