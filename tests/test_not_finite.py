"""NaN compares false with everything: it must be refused before it counts as good, or as bad."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from neuralcollapse import ClassMoments, measure, measure_features, measure_layers, watch
from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.generalization import (
    alignment_power,
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
from neuralcollapse.geometry import simplex_etf, softmax_code
from neuralcollapse.metrics import (
    CollapseState,
    boundary_distances,
    effective_rank,
    equinorm,
    frequency_thirds,
    margin_ceiling,
    margin_lower_bound_of_mean,
    margin_min,
    margin_scale,
    mean_loss_floor,
    nc4_agreement,
    ncc_accuracy,
    nearest_center,
    pairwise_collapse,
    sample_margins,
    self_duality,
    summarize,
)
from neuralcollapse.ood import NCI, ViM, ood_scores, risk_coverage, second_moment
from neuralcollapse.theory import (
    deep_separation,
    predicted_geometry,
    separation_optimum,
    sufficient_statistics,
)

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
    "features of a nearest mean": lambda bad: nearest_center(spoiled(X, bad), W),
    "features of an accuracy": lambda bad: ncc_accuracy(spoiled(X, bad), Y, W),
    "features of an agreement": lambda bad: nc4_agreement(spoiled(X, bad), W, W),
    "head of an agreement": lambda bad: nc4_agreement(X, W, spoiled(W, bad)),
    "bias of an agreement": lambda bad: nc4_agreement(X, W, W, spoiled([0, 0], bad)),
    "margins": lambda bad: sample_margins(spoiled(X, bad), Y),
    "minimum margin": lambda bad: margin_min(spoiled(X, bad), Y),
    "thirds": lambda bad: frequency_thirds(spoiled([1, 2], bad)),
    "point of a second moment": lambda bad: second_moment(MOMENTS, spoiled([0, 0], bad)),
    "alpha of nci": lambda bad: NCI(MOMENTS, W, alpha=bad),
    "alpha of vim": lambda bad: ViM(MOMENTS, W, num_components=1, alpha=bad),
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
    "least samples": lambda bad: pairwise_collapse(MOMENTS, min_samples=bad),
    "vertices": lambda bad: simplex_etf(bad, 5),
    "directions": lambda bad: predicted_geometry([3, 3], bad),
    "components": lambda bad: ViM(MOMENTS, W, num_components=bad, alpha=1.0),
    "alignments": lambda bad: alignment_power(1.0, bad, 3),
}


@pytest.mark.parametrize("bad", [NAN, INF, 2.5], ids=str)
@pytest.mark.parametrize("call", COUNTING.values(), ids=COUNTING.keys())
def test_what_is_not_whole_is_no_count(call, bad):
    with pytest.raises(NeuralCollapseError, match=r"whole number|finite counts|with a sample"):
        call(bad)


LAYERS = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
BUDGETS = {
    "kept features": lambda bad: CollapseState(2, 2, feature_budget=bad),
    "stream": lambda bad: measure_features([(X, Y)], weight=W, feature_budget=bad),
    "measure": lambda bad: measure(LAYERS, [(X, Y)], feature_budget=bad),
    "layers": lambda bad: measure_layers(LAYERS, [(X, Y)], feature_budget=bad),
    "scatters": lambda bad: measure_layers(LAYERS, [(X, Y)], scatter_budget=bad),
}


@pytest.mark.parametrize("bad", [NAN, -1, "1 GB"], ids=str)
@pytest.mark.parametrize("call", BUDGETS.values(), ids=BUDGETS.keys())
def test_what_is_no_number_of_bytes_is_no_budget(call, bad):
    with pytest.raises(Exception, match=r"bytes of at least 0|a number, got|Type-check error"):
        call(bad)


@pytest.mark.parametrize("bad", [NAN, 2.5, -1], ids=str)
def test_epochs_to_watch_are_a_whole_number(bad):
    with pytest.raises(Exception, match=r"epochs: expected .*at least 0|Type-check error"):
        watch(LAYERS, [(X, Y)], epochs=bad)


def test_sizes_may_be_whole_numbers_of_any_type():
    state = CollapseState(np.float64(2.0), np.float64(2.0))
    state.gather(X, Y, X)
    assert state.accuracy == 1


@pytest.mark.parametrize("bad", [NAN, INF, 2.5], ids=str)
@pytest.mark.parametrize("call", NUMBERS.values(), ids=NUMBERS.keys())
def test_what_is_not_whole_is_no_number_of_things(call, bad):
    # Under test the annotations are checked too, and may speak first.
    with pytest.raises(Exception, match=r"at least|1 to d - 1|Type-check error"):
        call(bad)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: predicted_geometry([10**400, 2], 3), "a whole number too large for float64"),
        (lambda: distribution_free_floor(10**400), "a whole number of 1,329 bits"),
        (lambda: separation_optimum([2**53, 2], 3), "at most 2,147,483,648 numbers"),
        (lambda: deep_separation(10**9, 3), "at most 4,096"),
        (lambda: softmax_code(2**53, 3), "at most 65,536"),
    ],
)
def test_what_no_machine_can_finish_is_refused(call, message):
    with pytest.raises(NeuralCollapseError, match=message):
        call()


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


def test_a_scale_below_zero_or_undefined_gives_no_floor():
    for bad in (NAN, -1.0):
        with pytest.raises(NeuralCollapseError, match="scale: expected at least 0"):
            mean_loss_floor(bad, 3)


def test_a_mean_may_be_absent_but_not_infinite():
    assert nearest_center(X, spoiled(W, NAN)).tolist() == [0, 0, 0, 0]
    with pytest.raises(NonFiniteError, match="means: expected finite rows"):
        nearest_center(X, spoiled(W, INF))


KINDS = {
    "list": lambda x: x.tolist(),
    "array": lambda x: x.numpy(),
    "frame": lambda x: pd.DataFrame(x.numpy()),
    "nullable frame": lambda x: pd.DataFrame(x.numpy()).astype("Float64"),
    "gradient": lambda x: x.clone().requires_grad_(),
}
READING = {
    "nearest mean": lambda read: nearest_center(read(X), read(W)).tolist(),
    "accuracy": lambda read: ncc_accuracy(read(X), Y, read(W)),
    "agreement": lambda read: nc4_agreement(read(X), read(W), read(W)),
    "margins": lambda read: sample_margins(read(X), Y).tolist(),
    "summary": lambda read: summarize(MOMENTS, read(W)),
    "pair risks": lambda read: pair_risks(read(X), Y).to_dict(),
    "moments": lambda read: sufficient_statistics(read(X), Y).means.tolist(),
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
@pytest.mark.parametrize("call", READING.values(), ids=READING.keys())
def test_every_kind_of_array_is_read_alike(call, kind):
    def same(x):
        return kind(x.double())

    assert call(same) == call(lambda x: x.double())


@pytest.mark.parametrize(
    "call", [READING[name] for name in ("nearest mean", "accuracy", "agreement", "margins")]
)
def test_complex_numbers_are_refused(call):
    with pytest.raises(NeuralCollapseError, match=r"real numbers, got dtype torch.complex64"):
        call(lambda x: x.to(torch.complex64))
