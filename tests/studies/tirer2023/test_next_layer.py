import numpy as np
import pytest
import torch
from rich.console import Console

from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.measurement import write_features
from neuralcollapse.studies.tirer2023.features import random_features
from neuralcollapse.studies.tirer2023.next_layer import (
    TITLES,
    predict_next_layer,
    study_features,
)
from neuralcollapse.theory import near_features_minimizer, regularized_mse_minimizer


def naive_collapse(features, labels):
    """The five values by loops, for classes of equal size."""
    groups = [features[labels == k] for k in np.unique(labels)]
    means = np.array([group.mean(0) for group in groups])
    center = means.mean(0)
    within = sum(np.outer(x - m, x - m) for g, m in zip(groups, means, strict=True) for x in g)
    within = within / len(features)
    between = sum(np.outer(m - center, m - center) for m in means) / len(means)
    K = len(means)
    gram = (means - center) @ (means - center).T
    simplex = (np.eye(K) - 1 / K) / np.sqrt(K - 1)
    return {
        "trace_within": np.trace(within),
        "trace_between": np.trace(between),
        "nc1_trace_ratio": np.trace(within) / np.trace(between),
        "nc1_pinv": np.trace(within @ np.linalg.pinv(between, rcond=1e-10)) / K,
        "nc2_etf": np.linalg.norm(gram / np.linalg.norm(gram) - simplex),
    }


def test_both_columns_are_those_of_the_minimiser_by_hand():
    H0, labels = random_features(3, 6, 5, seed=0)
    names = torch.tensor([30, -1, 7])[labels]  # any integers name the classes
    layer = predict_next_layer(H0, names, 0.5, 0.1, 2.0)
    H = near_features_minimizer(H0, torch.tensor([2, 0, 1])[labels], 0.5, 0.1, 2.0).H
    for found, features in ((layer.before, H0), (layer.after, H)):
        expected = naive_collapse(features.numpy(), names.numpy())
        assert found == pytest.approx(expected, rel=1e-9)
        assert list(found) == list(TITLES)


def test_unequal_classes_are_predicted_too():
    H0, labels = random_features(3, 6, 5, seed=1)
    kept = torch.arange(18) > 3
    layer = predict_next_layer(H0[kept], labels[kept], 0.5, 0.1, 5.0)
    assert layer.minimizer.status == "unique"
    assert layer.after["nc1_trace_ratio"] < layer.before["nc1_trace_ratio"]


def test_collapsed_features_stay(tmp_path):
    best = regularized_mse_minimizer(3, 4, 5, 0.5, 0.1)
    layer = predict_next_layer(best.H, best.labels, 0.5, 0.1, 3.0)
    assert layer.after["trace_within"] < 1e-28
    assert layer.after["trace_between"] == pytest.approx(layer.before["trace_between"])


@pytest.mark.parametrize("ending", ["npz", "safetensors"])
def test_a_file_becomes_a_table(tmp_path, ending):
    H0, labels = random_features(3, 6, 5, seed=0)
    path = tmp_path / f"layer.{ending}"
    write_features(path, features=H0, labels=labels)
    console = Console(width=120, record=True)
    console.print(study_features(path, 0.5, 0.1, 2.0))
    text = console.export_text()
    layer = predict_next_layer(H0, labels, 0.5, 0.1, 2.0)
    for key, title in TITLES.items():
        (line,) = [line for line in text.splitlines() if title in line]
        assert f"{layer.before[key]:.4g}" in line
        assert f"{layer.after[key]:.4g}" in line
    assert "minimiser: unique" in text
    assert f"layer.{ending}" in text


def test_what_is_no_feature_matrix_is_refused():
    with pytest.raises(NeuralCollapseError, match="labels: expected"):
        predict_next_layer(torch.ones(4, 2), [0, 1, 0], 0.5, 0.1, 1.0)
    with pytest.raises(NonFiniteError, match="features"):
        predict_next_layer([[np.nan, 1.0], [0.0, 1.0]], [0, 1], 0.5, 0.1, 1.0)
    with pytest.raises(NeuralCollapseError, match="beta: expected"):
        predict_next_layer(torch.eye(4), [0, 1, 0, 1], 0.5, 0.1, 0.0)
