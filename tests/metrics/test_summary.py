import math

import pytest
import torch

from neuralcollapse import metrics
from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.geometry import simplex_etf
from neuralcollapse.metrics import pairs, summarize
from neuralcollapse.moments import ClassMoments


def test_every_value_is_that_of_the_function_of_its_name(case):
    moments = case.moments
    means, weight = case.present_rows
    margin = -1.5
    expected = {
        "nc1_pinv": metrics.nc1_pinv(moments),
        "nc1_trace_ratio": metrics.nc1_trace_ratio(moments),
        "cdnv": metrics.cdnv(moments),
        "vci": metrics.vci(moments),
        "nc2_equinorm": metrics.equinorm(means),
        "nc2_equiangular": metrics.equiangularity(means),
        "nc2_etf": metrics.etf_distance(means),
        "nc2_equinorm_head": metrics.equinorm(case.weight),
        "nc2_equiangular_head": metrics.equiangularity(case.weight),
        "nc2_etf_head": metrics.etf_distance(case.weight),
        "nc3_self_duality": metrics.self_duality(weight, means),
        "nc3_product": metrics.product_duality(weight, means),
        "margin_normalized": margin / metrics.margin_scale(moments, case.weight, case.bias),
    }
    present = len(means)
    expected["margin_collapse_ratio"] = expected["margin_normalized"] * (present - 1) / present
    values = summarize(moments, case.weight, case.bias, margin)
    assert list(values) == list(expected)
    assert values == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert list(summarize(moments, case.weight)) == list(expected)[:-2]
    assert list(summarize(moments)) == list(expected)[:7]


def test_without_a_scatter_what_needs_it_is_left_out(case):
    moments = ClassMoments(case.num_classes, case.features.shape[1], scatter=False)
    moments.update(case.features, case.labels)
    values = summarize(moments, case.weight)
    assert not {"nc1_pinv", "vci"} & set(values)
    full = summarize(case.moments, case.weight)
    assert values == pytest.approx({name: full[name] for name in values}, rel=1e-9, abs=1e-12)


def test_pairs_of_class_means_are_visited_once(monkeypatch):
    sweeps = []
    sweep = pairs._tiles
    monkeypatch.setattr(pairs, "_tiles", lambda rows: sweeps.append(len(rows)) or sweep(rows))
    moments = ClassMoments(4, 5).update(torch.randn(20, 5), torch.arange(20) % 4)
    summarize(moments)
    assert sweeps == [4]


def test_collapse_is_zero_and_its_margin_the_ceiling():
    vertices = simplex_etf(5, 7)
    moments = ClassMoments(5, 7).update(3 * vertices, torch.arange(5))
    values = summarize(moments, vertices, margin_min=3 * 5 / 4)
    assert values.pop("margin_normalized") == pytest.approx(5 / 4)
    assert values.pop("margin_collapse_ratio") == pytest.approx(1)
    assert values == pytest.approx(dict.fromkeys(values, 0), abs=1e-13)


def test_all_features_equal():
    moments = ClassMoments(3, 2).update(torch.full((6, 2), 0.3), torch.arange(6) % 3)
    values = summarize(moments, torch.zeros(3, 2), margin_min=0.0)
    assert all(math.isnan(value) for value in values.values())


def test_a_head_of_another_shape_is_refused():
    moments = ClassMoments(3, 2).update(torch.randn(3, 2), [0, 1, 2])
    with pytest.raises(NeuralCollapseError, match=r"weight: expected shape \(3, 2\), got \(2, 2\)"):
        summarize(moments, torch.ones(2, 2))
