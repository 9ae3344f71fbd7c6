"""The words of a report are true, over worlds and sizes rather than examples."""

import itertools
import math
import re

import pytest
import torch

import neuralcollapse as nc
from neuralcollapse.measurement.cautions import cautions
from neuralcollapse.measurement.prediction import geometry_at_decay
from neuralcollapse.measurement.readings import SPREADS, record_apart
from neuralcollapse.theory import unequal_minimizer
from neuralcollapse.wording import number

HEADS = ("nc2_equinorm_head", "nc2_equiangular_head", "nc2_etf_head")
UNGRADED = ("accuracy", "ncc_accuracy", "margin_min", "margin_normalized")
SIZES = [(1,) * 5, (2,) * 3, (5, 5), (10,) * 10, (100, 20, 5, 5), (1, 1, 4, 4, 9)]
DIMS = [1, 2, 8, 64, 500]


def labels_of(sizes):
    return torch.repeat_interleave(torch.tensor(sizes))


def normal(seed):
    generator = torch.Generator().manual_seed(seed)
    return lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)


def noise(sizes, dim, seed=0, tested=True):
    """Return the report of features and a head that know nothing of classes."""
    randn, labels = normal(seed), labels_of(sizes)
    fresh = torch.arange(20 * len(sizes)) % len(sizes)
    test = {"test_features": 7 * randn(len(fresh), dim) + 3, "test_labels": fresh}
    head = randn(len(sizes), dim)
    return nc.measure_features(
        7 * randn(len(labels), dim) + 3, labels, head, **(test if tested else {})
    )


def collapsed(sizes, dim, bias, spread=1e-5, test_spread=1e-5, seed=0):
    """Return the report of the predicted geometry, scaled, rotated and shifted."""
    randn, labels = normal(seed), labels_of(sizes)
    shape = nc.predicted_geometry(sizes, dim, bias=bias)
    turn = torch.linalg.qr(randn(dim, dim))[0]
    means = 11 * shape.means @ turn
    fresh = torch.arange(20 * len(sizes)) % len(sizes)
    size = means.square().sum(1).mean().sqrt() / dim**0.5
    features = means[labels] + spread * size * randn(len(labels), dim)
    held_out = means[fresh] + test_spread * size * randn(len(fresh), dim)
    return nc.measure_features(
        features,
        labels,
        30 / 11 * shape.W @ turn,
        30 * shape.b if bias else None,
        test_features=held_out,
        test_labels=fresh,
    )


@pytest.mark.parametrize("sizes", SIZES, ids=lambda sizes: f"{len(sizes)}x{sizes[0]}")
def test_noise_is_no_better_than_chance_or_not_graded(sizes):
    for dim in DIMS:
        report = noise(sizes, dim)
        for name in report.train.values:
            reading = report.reading(name)
            assert reading.grade in ("", "no better than chance"), (dim, name, reading)
            assert "collapsed" not in reading.words
            assert "on the way" not in reading.words
        assert "collapsed" not in nc.measurement.report_text.headline(report)


@pytest.mark.parametrize("sizes", [(10,) * 10, (50,) * 3, (100, 5, 5, 5), (1, 1, 4, 4, 9)], ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_the_predicted_geometry_is_collapsed_or_not_graded(sizes, bias):
    for dim in (len(sizes) - 1, 32):
        if dim < len(sizes) - 1:
            continue
        report = collapsed(sizes, dim, bias)
        for name in report.train.values:
            if name in UNGRADED or (name == "margin_collapse_ratio" and bias):
                continue
            reading = report.reading(name)
            invalid = report.metric(name).validity and report.metric(name).validity(report.setting)
            near = "too near to tell apart" in reading.words and dim < len(sizes)
            graded = not invalid and not near
            assert reading.grade == ("collapsed" if graded else ""), (dim, name, reading)
        assert "NC1 collapsed" in str(report)


def test_an_untrained_head_is_no_etf():
    torch.manual_seed(0)
    for dim, num_classes in itertools.product((20, 128, 1024), (3, 10)):
        layer = torch.nn.Linear(dim, num_classes)
        features = torch.randn(4 * num_classes, dim)
        labels = torch.arange(len(features)) % num_classes
        report = nc.measure_features(features, labels, layer.weight.detach(), layer.bias.detach())
        for name in HEADS:
            assert report.reading(name).grade == "no better than chance", (dim, num_classes)


def test_two_classes_have_no_nc2():
    for report in (noise((60, 60), 5), collapsed((60, 20), 5, bias=True)):
        for name in ("nc2_equinorm", "nc2_equiangular", "nc2_etf", *HEADS):
            reading = report.reading(name)
            assert reading.grade == ""
            assert reading.words == "two vectors are always an ETF"
        assert "Gram matrix" not in str(report)


@pytest.mark.parametrize(("num_classes", "dim"), [(10, 4), (30, 8), (100, 64)])
def test_more_classes_than_fit_stand_beside_the_least_possible(num_classes, dim):
    report = noise((4,) * num_classes, dim)
    frame = report.to_frame()
    least = (2 - 2 * (dim / (num_classes - 1)) ** 0.5) ** 0.5
    for name in ("nc2_etf", "nc2_etf_head", "nc3_product"):
        assert frame.loc[name, "target"] == pytest.approx(least)
        assert frame.loc[name, "grade"] == ""
        assert frame.loc[name, "train"] >= least
    assert report.predicted is None
    assert any("do not fit" in caution for caution in report.cautions)


def test_unequal_classes_are_held_against_the_prediction():
    report = collapsed((100, 5, 5, 5), 16, bias=True)
    assert report["nc2_etf"] > 0.2  # far from an ETF
    assert report.to_frame().loc["nc2_etf", "target"] == pytest.approx(report["nc2_etf"], abs=1e-4)
    rows = report.train.moments.centered_means()
    assert nc.metrics.gram_distance(rows, report.predicted.gram) < 1e-4
    assert any("5 to 100 samples" in caution for caution in report.cautions)
    # An ETF in their place is not what theory predicts.
    labels, vertices = labels_of((100, 5, 5, 5)), nc.simplex_etf(4, 16)
    other = nc.measure_features(vertices[labels], labels, vertices, torch.zeros(4))
    assert other["nc2_etf"] < 1e-6
    assert other.reading("nc2_etf").grade != "collapsed"


def test_a_head_as_far_from_the_means_as_predicted_has_not_collapsed_in_another_shape():
    """An ETF, and a head turned from it by the angle that theory predicts for other lengths."""
    assert collapsed((300, 10, 10, 10), 16, True).reading("nc3_self_duality").grade == "collapsed"
    labels, vertices = labels_of((300, 10, 10, 10)), nc.simplex_etf(4, 16, "axis")
    aside = vertices.roll(8, 1)  # in dimensions of its own
    target = nc.measure_features(vertices[labels], labels, aside).reading("nc3_self_duality").target
    angle = 2 * math.asin(target / 2)
    head = math.cos(angle) * vertices + math.sin(angle) * aside
    report = nc.measure_features(vertices[labels], labels, head)
    assert report["nc3_self_duality"] == pytest.approx(target)
    assert target > 0.2
    reading = report.reading("nc3_self_duality")
    assert (reading.grade, reading.words) == ("on the way", "at its target, in another shape")
    assert "NC3 at its target, in another shape" in str(report)
    # Classes of nearly one size leave head and means parallel, whatever their shape.
    labels, means = labels_of((101, 100, 100)), torch.eye(3, 16) * torch.tensor([[1.0], [2], [4]])
    report = nc.measure_features(means[labels], labels, means)
    assert report.reading("nc3_self_duality").words == "collapsed"


def test_collapse_of_the_training_data_alone_is_not_called_collapse():
    report = collapsed((50,) * 6, 12, bias=False, test_spread=0.5)
    assert report["test_nc1_trace_ratio"] > 100 * report["nc1_trace_ratio"]
    words = [report.reading(name).words for name in report.train.values]
    assert not [said for said in words if "collapsed" in said]
    assert "on training data alone" in words
    assert "larger on test data" in report.cautions[0]
    assert "NC1 on training data alone" in str(report).splitlines()[1]


def test_classes_that_only_one_of_training_and_test_data_has_are_named():
    labels, means = labels_of((20, 20, 20, 20)), 3 * torch.eye(4, 6)
    features = means[labels] + 0.1 * normal(0)(80, 6)
    some = (labels < 3).nonzero().flatten()
    parts = (features[some], labels[some], means), (features, labels)
    (train, true, head), (test, test_labels) = parts
    names = ["ant", "bee", "cat", "dog"]
    report = nc.measure_features(
        train, true, head, test_features=test, test_labels=test_labels, class_names=names
    )
    assert report["test_ncc_accuracy"] == report["test_nc4_agreement"] == 0.75
    assert report["test_accuracy"] == 1
    (said,) = report.cautions
    assert said.startswith("25 % of the test data are of classes without training samples")
    assert "Absent classes of the training data, left out: dog." in str(report)
    other = nc.measure_features(
        test, test_labels, head, test_features=train, test_labels=true, class_names=names
    )
    assert other.cautions == [
        "The test data have no sample of: dog. Their NC1 to NC3 are of the others."
    ]


def test_few_samples_of_test_data_do_not_make_it_look_collapsed():
    """Means of two noisy samples lie far apart by noise: plain values are 71 times apart."""
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(6, 400, generator=generator)

    def draw(each: int, spread: float):
        y = torch.arange(6 * each) % 6
        return means[y] + spread * torch.randn(len(y), 400, generator=generator), y

    (x, y), (few, labels) = draw(200, 0.1), draw(2, 2.0)
    report = nc.measure_features(x, y, test_features=few, test_labels=labels)
    assert all(report[f"test_{name}"] < 100 * report[name] for name in SPREADS)
    assert report.apart > 100
    record = report.to_record()
    assert record_apart(record) == report.apart
    # There are fewer than five samples per class.
    assert "lower" not in record["estimates"]["test_nc1_trace_ratio"]


def test_cautions_name_what_could_mislead():
    report = noise((1, 1, 4, 4, 9), 64, tested=False)
    cautions = " ".join(report.cautions)
    assert "19 samples are too few for 64 features: VCI is 0 for any features." in cautions
    assert "2 of 5 classes have one sample" in cautions
    assert "nearest to their own class mean, whatever" in cautions
    assert report.reading("vci").words == "N ≤ d + 1: 0 for any features"
    assert noise((1,) * 5, 3).reading("cdnv").words.startswith("one sample per class has no spread")


def test_one_unit_that_makes_most_of_nc1_is_named():
    randn, labels = normal(0), torch.arange(1000) % 10
    features = 5 * nc.simplex_etf(10, 32)[labels] + 0.3 * randn(1000, 32)
    quiet = nc.measure_features(features, labels)
    assert not [caution for caution in quiet.cautions if "nc1_pinv" in caution]
    unit = torch.zeros(1000, 1, dtype=torch.float64)
    unit[3] = 300.0  # active on one sample
    report = nc.measure_features(torch.cat([features, unit], 1), labels)
    (caution,) = [caution for caution in report.cautions if "nc1_pinv" in caution]
    assert "of nc1_pinv comes from feature 32 alone" in caution


def test_no_feature_is_said_to_make_more_than_all_of_nc1():
    """What features add cancels where one oblique direction is far stronger than all others."""
    randn, labels = normal(2), torch.arange(1000) % 10
    direction = torch.nn.functional.normalize(randn(1, 32))
    features = 5 * nc.simplex_etf(10, 32)[labels] + 0.01 * randn(1000, 32)
    report = nc.measure_features(features + 1e4 * randn(1000, 1) * direction, labels)
    (caution,) = [caution for caution in report.cautions if "nc1_pinv" in caution]
    assert re.match(r"\d\d(\.\d+)? % of nc1_pinv comes from one of the 9 directions", caution)


def test_scale_rotation_and_offset_change_no_word():
    randn, labels = normal(1), torch.arange(120) % 4
    features = nc.simplex_etf(4, 6)[labels] + 0.1 * randn(120, 6)
    turn = torch.linalg.qr(randn(6, 6))[0]
    reports = [
        nc.measure_features(rows, labels)
        for rows in (features, 1e-3 * features @ turn, 1e4 * features + 50)
    ]
    words = [[report.reading(name).words for name in report] for report in reports]
    assert words[0] == words[1] == words[2]


def test_where_no_simplex_fits_the_head_is_held_against_the_best_code():
    angles = torch.arange(6) * torch.pi / 3
    hexagon = torch.stack([angles.cos(), angles.sin()], 1).double()
    scales = torch.tensor([1.0, 2, 3, 1, 2, 3])[:, None]  # lengths are of no account
    features = (3 * hexagon).repeat(2, 1)
    report = nc.measure_features(features, torch.arange(6).repeat(2), scales * hexagon)
    (said,) = [caution for caution in report.cautions if "one-vs-rest" in caution]
    assert re.search("has 100 % of the largest one-vs-rest margin possible", said)
    assert "mean cosine of 1.000" in said

    rows = torch.randn(9, 3, generator=torch.Generator().manual_seed(0)).double()
    turned = nc.measure_features(rows.repeat(2, 1), torch.arange(9).repeat(2), rows)
    (said,) = [caution for caution in turned.cautions if "one-vs-rest" in caution]
    low, high = map(float, re.search(r"([\d.]+) % to ([\d.]+) % of the largest", said).groups())
    assert 0 <= low <= high < 100  # nine points in space: 2/3 is attained, none exceeds the bound
    plain = nc.measure_features(rows.repeat(2, 1), torch.arange(9).repeat(2))
    assert not [caution for caution in plain.cautions if "one-vs-rest" in caution]


def test_the_decay_to_stay_below_is_that_at_which_small_classes_merge():
    labels = torch.repeat_interleave(torch.arange(4), torch.tensor([60, 60, 3, 3]))
    features = torch.eye(4, 6)[labels] + 0.1 * normal(0)(126, 6)
    report = nc.measure_features(features, labels)
    (said,) = [caution for caution in report.cautions if "stay below" in caution]
    bound = float(re.search(r"stay below ([0-9.]+)\.", said).group(1))
    merge = float(unequal_minimizer([60, 60, 3, 3], 6, 1e-2, 1e-2).merge_strength[2])
    assert 0.99 * merge < bound <= merge
    assert "the classes of 3 samples" in said
    alone = nc.measure_features(features[:123], labels[:123])  # of which no two small are alike
    (said,) = [caution for caution in alone.cautions if "stay below" in caution]
    assert "the classes of 60 samples" in said
    equal = nc.measure_features(features[:12], torch.arange(12) // 3)
    assert not [caution for caution in equal.cautions if "stay below" in caution]


@pytest.mark.parametrize(("factor", "word"), [(0.5, "below."), (1.5, "above: lower the decay.")])
def test_at_a_known_decay_merging_is_said_of_it(factor, word):
    """At a minimum, where the decay of the features is the one that its head implies."""
    sizes = (100, 20, 5, 5)
    strength = factor * 5**0.5 / sum(sizes)
    best = unequal_minimizer(sizes, 3, lambda_w=2 * strength, lambda_h=strength / 2)
    labels = labels_of(sizes)
    report = nc.measure_features(best.means[labels], labels, best.W)
    (said,) = [text for text in cautions(report, 2 * strength) if "λ_W =" in text]
    assert said.endswith(word)
    assert f"λ_H = {number(strength / 2)} of" in said
    moments = report.train.moments
    shape = geometry_at_decay(moments.counts, moments.means, best.W, False, 2 * strength)
    torch.testing.assert_close(shape.means @ shape.means.T, best.means @ best.means.T)
    equal = torch.full((4,), 5)
    assert geometry_at_decay(equal, moments.means, best.W, False, 2 * strength) is None
    assert geometry_at_decay(moments.counts, moments.means, best.W, False, None) is None
