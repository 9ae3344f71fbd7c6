import math

import numpy as np
import pytest
import torch

import neuralcollapse as nc
from neuralcollapse.errors import NeuralCollapseError, NonFiniteError

HEAD = ("nc2_equinorm_head", "nc2_equiangular_head", "nc2_etf_head", "nc3_self_duality")
COLLAPSED = {
    **dict.fromkeys(("nc1_pinv", "nc1_trace_ratio", "cdnv", "vci"), 0.0),
    **dict.fromkeys(("nc2_equinorm", "nc2_equiangular", "nc2_etf", "nc3_product", *HEAD), 0.0),
    **dict.fromkeys(("nc4_agreement", "ncc_accuracy", "accuracy"), 1.0),
    "margin_normalized": 5 / 4,
    "margin_collapse_ratio": 1.0,
}


def test_a_perfect_etf_gives_every_collapsed_value():
    vertices = nc.simplex_etf(5, 7, generator=torch.Generator().manual_seed(2))
    labels = torch.arange(40) % 5
    head = 4 * vertices
    shifted = nc.measure_features(3 + 2 * vertices[labels], labels, head, -3 * head.sum(1))
    report = nc.measure_features(2 * vertices[labels], labels, head)
    for name, value in COLLAPSED.items():
        assert report[name] == pytest.approx(value, abs=1e-7), name
        if name not in (
            "margin_normalized",
            "margin_collapse_ratio",
        ):  # its scale counts the offset and the bias
            assert shifted[name] == pytest.approx(value, abs=1e-7), name
    assert report["margin_min"] == pytest.approx(2 * 4 * 5 / 4)


def test_arrays_tensors_and_dtypes_agree():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 20)
    features = rng.normal(size=(60, 4)) + labels[:, None]
    expected = nc.measure_features(features, labels)
    assert nc.measure_features(torch.tensor(features), labels.tolist()) == expected
    single = nc.measure_features(features.astype(np.float32), labels.astype(np.uint8))
    for name, value in expected.items():
        assert single[name] == pytest.approx(value, rel=1e-4)
    whole = np.round(10 * features).astype(np.int64)
    assert nc.measure_features(whole, labels) == nc.measure_features(whole.astype(float), labels)


def test_labels_are_any_integers_or_strings():
    features = torch.tensor([[0.0], [1.0], [4.0], [5.0]])
    plain = nc.measure_features(features, [0, 0, 1, 1])
    for labels, names in (([-7, -7, 40, 40], ["-7", "40"]), (["x", "x", "y", "y"], ["x", "y"])):
        report = nc.measure_features(features, labels, test_features=features, test_labels=labels)
        assert report.class_names == names
        assert report["nc1_pinv"] == plain["nc1_pinv"] == report["test_nc1_pinv"]


def test_test_features_are_judged_by_train_means():
    train = torch.tensor([[0.0], [1.0], [4.0], [5.0]])  # means 0.5 and 4.5: the border is 2.5
    test = torch.tensor([[2.4], [2.6], [9.0], [2.4]])
    report = nc.measure_features(train, [0, 0, 1, 1], test_features=test, test_labels=[0, 0, 1, 1])
    assert report["test_ncc_accuracy"] == 0.5
    assert report["ncc_accuracy"] == 1.0


def test_without_a_scatter_two_metrics_are_missing():
    generator = torch.Generator().manual_seed(0)
    features, labels = torch.randn(50, 6, generator=generator), torch.arange(50) % 5
    full = nc.measure_features(features, labels)
    light = nc.measure_features(features, labels, scatter=False)
    assert set(full) - set(light) == {"nc1_pinv", "vci"}
    assert all(full[name] == pytest.approx(light[name]) for name in light)


X, Y = torch.zeros(4, 2), [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nc.measure_features(torch.zeros(4), Y), "features: expected a matrix"),
        (lambda: nc.measure_features(X, [0, 1]), "labels: expected 4 labels"),
        (lambda: nc.measure_features(X, [0.5] * 4), "integers or strings, got dtype float64"),
        (lambda: nc.measure_features(X, [1] * 4), "at least 2 classes, got samples of 1"),
        (lambda: nc.measure_features(X, Y, torch.ones(2, 3)), "weight"),
        (lambda: nc.measure_features(X, Y, bias=torch.ones(2)), "bias: expected a weight along"),
        (lambda: nc.measure_features(X, Y, test_labels=Y), "test_features: expected both"),
        (lambda: nc.measure_features(X, Y, test_features=X), "test_labels: expected both"),
        (lambda: nc.measure_features([(X, Y, X[None])]), "logits: expected a matrix"),
        (lambda: nc.measure_features(X, Y, class_names=["a"]), "below 1, the number of classes"),
        (lambda: nc.measure_features(X, Y, torch.ones(2, 2), class_names=["a"]), "2 names"),
        (
            lambda: nc.measure_features(X, Y, test_features=X, test_labels=[0, 0, 1, 7]),
            r"test_labels: expected labels among those of the training data, \[0, 1\], got \[7\]",
        ),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(NeuralCollapseError, match=message):
        call()


def test_nan_is_refused():
    with pytest.raises(NonFiniteError, match="features in batch 0: expected finite numbers, got 1"):
        nc.measure_features(torch.tensor([[0.0], [float("nan")]]), [0, 1])


def test_equal_features_have_stated_answers():
    report = nc.measure_features(torch.ones(4, 3), Y)
    assert np.isnan(report["nc1_pinv"])
    assert np.isnan(report["nc1_trace_ratio"])
    assert "undefined" in str(report)


def test_logits_alone_number_the_classes():
    features = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 3] * 4)  # no sample of class 2
    logits = 2.0 * torch.eye(4)[labels]
    report = nc.measure_features(features, labels, logits=logits)
    assert report["accuracy"] == 1.0
    assert report.class_names == ["0", "1", "2", "3"]
    with pytest.raises(NeuralCollapseError, match="labels from 1 to 4"):
        nc.measure_features(features, labels + 1, logits=logits)


@pytest.mark.parametrize("prefix", ["", "test_"])
def test_logits_of_other_samples_are_refused_by_their_own_name(prefix):
    features, labels = torch.eye(4), torch.arange(4)
    given = {"features": features, "labels": labels, "weight": torch.eye(4)}
    tested = {"test_features": features, "test_labels": labels}
    message = f"^{prefix}logits: expected 4 rows, one per sample, got 3"
    with pytest.raises(NeuralCollapseError, match=message):
        nc.measure_features(**given, **tested, **{f"{prefix}logits": torch.eye(4)[:3]})


def test_one_logit_decides_between_two_classes():
    features = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
    labels = features[:, 1] > 0
    given = nc.measure_features(features, labels, logits=features[:, :1])
    streamed = nc.measure_features([(features, labels, features[:, :1])], class_names=["no", "yes"])
    assert given["accuracy"] == streamed["accuracy"]
    assert given["accuracy"] == float(((features[:, 0] > 0) == labels).double().mean())


@pytest.mark.parametrize(
    ("test_features", "message"),
    [(torch.ones(4, 2), r"test_features: expected shape \(n, 3\)"), (torch.ones(4), "a matrix")],
)
def test_test_features_are_those_of_the_same_layer(test_features, message):
    with pytest.raises(NeuralCollapseError, match=message):
        nc.measure_features(
            torch.randn(4, 3), [0, 1] * 2, test_features=test_features, test_labels=[0, 1] * 2
        )


def test_no_rows_are_no_features():
    with pytest.raises(NeuralCollapseError, match="features: expected at least one row, got none"):
        nc.measure_features(torch.ones(0, 3), [])


@pytest.mark.untyped
def test_names_of_classes_come_in_any_sequence():
    features, labels = torch.randn(12, 4), torch.arange(12) % 3
    for names in (np.array(["a", "b", "c"]), iter(["a", "b", "c"]), ("a", "b", "c")):
        assert nc.measure_features(features, labels, class_names=names).class_names == [*"abc"]
    for names in (np.array(["a", "b", "c"]), iter(["a", "b", "c"])):
        stream = nc.measure_features([(features, labels)], class_names=names)
        assert stream.class_names == [*"abc"]
    with pytest.raises(NeuralCollapseError, match="class_names: expected one name per class, got"):
        nc.measure_features(features, labels, class_names=3)


def test_logits_of_test_data_need_its_features():
    with pytest.raises(NeuralCollapseError, match="test_logits: expected test features along"):
        nc.measure_features(torch.randn(6, 2), [0, 1] * 3, test_logits=torch.ones(6, 2))


def test_test_data_of_one_class_are_measured_as_far_as_they_can_be():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(20, 3, generator=generator), torch.arange(20) % 2
    with pytest.warns(UserWarning, match="test data has samples of 1 class:"):
        report = nc.measure_features(x, y, test_features=x[::2], test_labels=[0] * 10)
    assert math.isnan(report["test_cdnv"])
    assert 0 <= report["test_ncc_accuracy"] <= 1
