import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

import neuralcollapse as nc
from neuralcollapse.errors import NeuralCollapseError, NonFiniteError
from neuralcollapse.generalization import (
    cantelli_plug_in,
    cantelli_upper,
    cdnv_error_bound,
    certify_report,
    clopper_pearson_upper,
    distribution_free_floor,
    error_certificate,
    margin_ramp_upper,
)

MARGINS = np.random.default_rng(0).normal(2, 1, 200)
TRAIN = np.random.default_rng(1).normal(4, 1, 301)
LABELS = np.arange(200) % 3


def test_the_headline_is_the_count():
    certificate = error_certificate(MARGINS, 0.9, train_margins=TRAIN)
    errors = sum(m <= 0 for m in MARGINS)
    assert (certificate.errors, certificate.n) == (errors, 200)
    assert certificate.error_rate == errors / 200
    assert certificate.upper == clopper_pearson_upper(errors, 200, 0.9)
    assert certificate.floor == distribution_free_floor(200, 0.9)
    assert certificate.confidence == 0.9


def test_a_tie_is_an_error():
    assert error_certificate([0.0, 1.0, 2.0]).errors == 1


def test_each_row_is_its_method_with_a_scale_from_training():
    table = error_certificate(MARGINS, 0.9, train_margins=TRAIN).table
    c = float(np.sort(TRAIN)[150])
    grid = [c, c / 2, c / 4, c / 8, c / 16]
    assert table["upper"].to_dict() == pytest.approx(
        {
            "Clopper-Pearson": clopper_pearson_upper(sum(m <= 0 for m in MARGINS), 200, 0.9),
            "margin ramp": margin_ramp_upper(MARGINS, grid, 0.9),
            "Cantelli, clipped": cantelli_upper(MARGINS, c, 0.9),
            "Cantelli, plug-in": cantelli_plug_in(MARGINS),
        }
    )
    assert table["covers"].tolist() == [True, True, True, False]
    assert table["assumes"].iloc[-1] == "population identity, plug-in, no coverage"


def test_features_add_a_row_that_covers_nothing():
    moments = nc.ClassMoments(2, 1).update(torch.tensor([[-3.0], [-2.9], [3.0]]), [0, 0, 1])
    row = error_certificate(MARGINS, moments=moments).table.loc["CDNV, plug-in"]
    assert row["upper"] == cdnv_error_bound(moments)
    assert not row["covers"]
    assert "no coverage" in row["assumes"]


@pytest.mark.parametrize(
    ("train", "reason"),
    [
        (None, "train_margins is missing"),
        (-TRAIN, "not above 0"),
        ([0.0, 0.0], "which is 0, not above 0"),
    ],
)
def test_without_a_scale_the_methods_that_need_one_are_left_out_and_say_why(train, reason):
    certificate = error_certificate(MARGINS, train_margins=train)
    assert list(certificate.table.index) == ["Clopper-Pearson", "Cantelli, plug-in"]
    assert set(certificate.refused) == {"margin ramp", "Cantelli, clipped"}
    assert reason in certificate.refused["margin ramp"]
    assert f"Left out, margin ramp: {certificate.refused['margin ramp']}." in " ".join(
        str(certificate).split()
    )


def test_one_sample_is_enough_for_all_but_a_variance():
    certificate = error_certificate([1.0], train_margins=[1.0])
    assert certificate.upper == pytest.approx(0.95)
    assert certificate.refused == {"Cantelli, clipped": "a variance needs at least two samples"}


@given(power=st.integers(-10, 10), seed=st.integers(0, 100))
def test_neither_units_nor_order_nor_container_matter(power, seed):
    order = np.random.default_rng(seed).permutation(200)
    scaled = torch.tensor(MARGINS[order]) * 2.0**power
    other = error_certificate(scaled, labels=LABELS[order], train_margins=TRAIN * 2.0**power)
    one = error_certificate(MARGINS, labels=LABELS, train_margins=list(TRAIN))
    np.testing.assert_allclose(other.table["upper"], one.table["upper"], rtol=1e-10)
    assert other.per_class.equals(one.per_class)


def test_classes_share_the_level():
    table = error_certificate(MARGINS, 0.9, labels=LABELS, class_names="abcd").per_class
    assert table["upper"].is_monotonic_decreasing
    for _, row in table.iterrows():
        own = MARGINS["abcd".index(row["class"]) == LABELS]
        assert row["n"] == len(own)
        if len(own):
            errors = int((own <= 0).sum())
            assert row["error_rate"] == errors / len(own)
            alone = clopper_pearson_upper(errors, len(own), 1 - 0.1 / 4)
            assert row["upper"] == pytest.approx(alone, rel=1e-12)
        else:
            assert row["class"] == "d"
            assert row["upper"] == 1.0
            assert math.isnan(row["error_rate"])


def test_it_says_in_words_what_is_certified():
    text = str(error_certificate(MARGINS, train_margins=TRAIN, labels=LABELS))
    flat = " ".join(text.split())
    assert flat.startswith("At 95 % confidence the error on new data is at most ")
    assert "of 200 held-out samples are misclassified" in flat
    assert "This holds if the held-out data chose nothing" in flat
    assert "The bounds of the 3 classes hold together at 95 % confidence" in flat
    assert "Holm" in flat
    assert "No method that holds for all data promises less than 1.14 %" in flat
    for line in text.splitlines():
        assert len(line) <= 100
        if line.strip().startswith("Cantelli, plug-in"):
            assert " no " in line
    assert repr(error_certificate([1.0] * 9)) == (
        "ErrorCertificate(upper=0.2831, confidence=0.95, errors=0, n=9)"
    )


def test_the_worst_class_stands_in_the_sentence_with_exact_counts():
    margins, labels = np.ones(10_000), np.arange(10_000) % 10
    margins[labels == 6] = np.where(np.arange(1000) < 695, -1, 1)
    margins[np.isin(labels, [1, 2, 3]) & (np.arange(10_000) < 4703)] = -1
    names = [*"abcdef", "Shirt", *"hij"]
    found = error_certificate(margins, labels=labels, class_names=names)
    assert "2,107 of 10,000 held-out samples are misclassified (21.1 %)" in found.sentence
    assert found.sentence.endswith(": 695 of 1,000 are.")
    assert "Of the worst class, Shirt, it is at most 73.2 %" in found.sentence


def test_nothing_is_said_of_an_absent_class_but_that_nothing_is_known():
    certificate = error_certificate(MARGINS, labels=LABELS, class_names=list("abcd"))
    text = " ".join(str(certificate).split())
    assert "No held-out sample, so nothing known, of d." in text
    assert "0 of 0" not in text
    assert certificate.worst_class["n"] > 0


def test_holm_tells_of_which_classes_the_error_is_below_a_tolerance():
    """Against Holm's steps as he wrote them, and by what they gain over equal levels."""
    random = np.random.default_rng(3)
    gained = 0
    for _ in range(6):
        labels = random.integers(0, 6, 240)
        margins = np.where(random.random(240) < 0.05 + 0.06 * labels, -1.0, 1.0)
        table = error_certificate(margins, 0.95, labels=labels, tolerance=0.3).per_class
        values = {
            row["class"]: binomtest(int(row["errors"]), int(row["n"]), 0.3, "less").pvalue
            for _, row in table.iterrows()
        }
        shown = set()
        for step, name in enumerate(sorted(values, key=values.get)):
            if values[name] > 0.05 / (6 - step):
                break
            shown.add(name)
        assert set(table.loc[table["within"], "class"]) == shown
        gained += len(shown) - (table["upper"] < 0.3).sum()
    assert gained > 0


def test_the_test_of_classes_is_said_and_needs_labels():
    text = " ".join(str(error_certificate(MARGINS, labels=LABELS, tolerance=0.5)).split())
    assert "shows an error below 50 % for 3 of 3 classes." in text
    text = " ".join(
        str(error_certificate(MARGINS, labels=LABELS, class_names="abcd", tolerance=0.5)).split()
    )
    assert "below 50 % for 3 of 4 classes, not for d." in text
    with pytest.raises(NeuralCollapseError, match="tolerance: expected labels beside it"):
        error_certificate(MARGINS, tolerance=0.5)
    with pytest.raises(NeuralCollapseError, match=r"tolerance: expected a number in \(0, 1\)"):
        error_certificate(MARGINS, labels=LABELS, tolerance=50)


def test_its_dictionary_is_fit_for_json():
    certificate = error_certificate(
        MARGINS, labels=LABELS, class_names=list("abcd"), train_margins=TRAIN
    )
    record = json.loads(json.dumps(certificate.to_dict(), allow_nan=False))
    assert record["upper"] == certificate.upper
    assert [row["method"] for row in record["methods"]] == list(certificate.table.index)
    assert record["per_class"][0] == {
        "class": "d", "n": 0, "errors": 0, "error_rate": None, "upper": 1.0
    }  # fmt: skip
    assert error_certificate(MARGINS).to_dict()["per_class"] is None


def test_it_draws_every_method_and_class(tmp_path):
    certificate = error_certificate(MARGINS, labels=LABELS, train_margins=TRAIN)
    figure = certificate.plot(tmp_path / "certificate.png")
    assert (tmp_path / "certificate.png").stat().st_size > 10_000
    methods, classes = figure.axes
    assert [t.get_text() for t in methods.get_yticklabels()] == list(certificate.table.index)
    assert [t.get_text() for t in classes.get_yticklabels()] == [
        str(name) for name in certificate.per_class["class"]
    ]
    assert len(error_certificate([1.0] * 9).plot().axes) == 1  # no spread: a plug-in of zero


def test_a_report_with_test_data_certifies_in_one_call(generator):
    vertices = nc.simplex_etf(4, 6, generator=generator, dtype=torch.float32)
    labels = torch.arange(80) % 4
    train, held_out = (
        vertices[labels] + 0.4 * torch.randn(80, 6, generator=generator) for _ in range(2)
    )
    report = nc.measure_features(
        train, labels, vertices, test_features=held_out, test_labels=labels, class_names="abcd"
    )
    certificate = certify_report(report, 0.9)
    logits, train_logits = held_out @ vertices.T, train @ vertices.T
    by_hand = error_certificate(
        nc.metrics.sample_margins(logits, labels),
        0.9,
        labels=labels,
        class_names="abcd",
        train_margins=nc.metrics.sample_margins(train_logits, labels),
        moments=nc.ClassMoments(4, 6).update(held_out, labels),
    )
    assert certificate.upper == by_hand.upper
    np.testing.assert_allclose(certificate.table["upper"], by_hand.table["upper"], rtol=1e-5)
    assert certificate.per_class.equals(by_hand.per_class)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test_features": None}, "report: expected test data and a head, got no test data"),
        ({"weight": None}, "got no margins; measure with test_loader or test_features, and with"),
    ],
)
def test_a_report_without_test_data_or_head_certifies_nothing(options, message):
    x, y = torch.tensor([[-3.0], [-1.0], [1.0], [3.0]]), torch.tensor([0, 0, 1, 1])
    options = {"weight": torch.tensor([[-1.0], [1.0]]), "test_features": x} | options
    if options["test_features"] is not None:
        options["test_labels"] = y
    with pytest.raises(NeuralCollapseError, match=message):
        certify_report(nc.measure_features(x, y, **options))


@pytest.mark.parametrize(
    ("margins", "options", "message"),
    [
        ([], {}, "margins: expected at least one sample, got none; hold out some of the data"),
        ([[1.0]], {}, r"margins: expected 1 axis, got shape \(1, 1\); pass one margin per sample"),
        ([1.0], {"confidence": 0.0}, r"confidence: expected a number in \(0, 1\), got 0.0"),
        ([1.0], {"confidence": 95.0}, r"expected a number in \(0, 1\), got 95.0; use 0.95 for"),
        ([1.0, 2.0], {"labels": [0]}, "labels: expected 2 labels, one per row"),
        ([1.0, 2.0], {"labels": [0.0, 1.0]}, "labels: expected whole numbers"),
        ([1.0, 2.0], {"labels": [0, 0]}, "labels: expected at least 2 classes, got 1; one class"),
        ([1.0], {"labels": [3], "class_names": "abc"}, "below 3, .* got labels from 3"),
        ([1.0], {"train_margins": []}, "train_margins: expected at least one sample, got none"),
        (
            [1.0, 2.0],
            {"train_margins": [1.0, 2.0]},
            "margins: expected margins of samples that were not trained on, got the training marg",
        ),
        ([1.0], {"train_ids": [1]}, "held_out_ids: expected ids of both samples or of neither"),
        ([1.0], {"held_out_ids": [1]}, "train_ids: expected ids of both samples or of neither"),
        (
            [1.0],
            {"held_out_ids": [1, 2], "train_ids": [3]},
            "held_out_ids: expected 1, one for each margin, got 2; pass all ids",
        ),
        (
            [1.0, 1.0],
            {"held_out_ids": [1, 1], "train_ids": [3]},
            "held_out_ids: expected each sample once, got 1 repeated; count a sample once",
        ),
        *(
            ([1.0], {"held_out_ids": [name], "train_ids": [1, 2]}, f"got {kind} beside Number")
            for name, kind in (("1", "str"), (b"1", "bytes"), ((1,), "tuple"))
        ),
        (
            [1.0, 1.0],
            {"held_out_ids": ["a", "b"], "train_ids": ["b", "c"]},
            r"samples that were not trained on, got 1 that are training ids too \(b\); certify",
        ),
        (
            [1.0] * 5,
            {"held_out_ids": torch.arange(5), "train_ids": np.arange(9)},
            r"got 5 that are training ids too \(0, 1, 2, ...\)",
        ),
    ],
)
def test_bad_input_is_refused(margins, options, message):
    with pytest.raises(NeuralCollapseError, match=message):
        error_certificate(margins, **options)


@pytest.mark.parametrize(("held_out", "train"), [("xy", {"z"}), ([1, 2], [3.0]), ([1, 2], [])])
def test_ids_that_do_not_meet_are_accepted(held_out, train):
    certificate = error_certificate([1.0, 2.0], held_out_ids=[*held_out], train_ids=train)
    assert certificate.n == 2


@pytest.mark.parametrize("argument", ["margins", "train_margins"])
def test_nan_is_refused(argument):
    margins = {"margins": [1.0, 2.0], "train_margins": [3.0]} | {argument: [float("nan"), 1.0]}
    with pytest.raises(NonFiniteError, match=f"{argument}: expected finite numbers, got 1 NaN"):
        error_certificate(**margins)
