"""Two measurements beside each other: pairing, intervals, and what has none."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import neuralcollapse as nc
from neuralcollapse.measurement.compare import _row
from three_classes import GENERATOR, LABELS, VERTICES, measured


@pytest.fixture(scope="module")
def report():
    return measured()


def test_two_measurements_of_the_same_samples_are_paired(report):
    """Half the spread: a ratio of a quarter, with a narrower interval than of samples apart."""
    noise = torch.randn(60, 4, generator=GENERATOR)
    one, other = (2 * VERTICES[LABELS] + s * noise for s in (0.6, 0.3))
    a, b = (nc.measure_features(x, LABELS, VERTICES) for x in (one, other))
    paired = nc.compare(a, b)
    row = paired.table.loc["nc1_trace_ratio"]
    assert paired.paired == {"training data": True}
    assert row["of"] == "ratio"
    assert row["lower"] < 0.25 < row["upper"] < 0.5
    assert row["differs"]
    mixed = torch.randperm(60, generator=GENERATOR)
    apart = nc.compare(a, nc.measure_features(other[mixed], LABELS[mixed], VERTICES))
    assert apart.paired == {"training data": False}
    wide = apart.table.loc["nc1_trace_ratio"]
    assert wide["upper"] / wide["lower"] > row["upper"] / row["lower"]
    assert "taken as the same samples" in str(paired)


def test_nothing_differs_from_itself(report):
    table = nc.compare(report, report).table
    known = table[table["lower"].notna()]
    assert {"nc1_trace_ratio", "test_cdnv", "nc2_etf"} <= set(known.index)
    assert not known["differs"].any()
    np.testing.assert_allclose(known.loc[known["of"] == "ratio", "change"], 1)


def test_accuracies_of_the_same_samples_are_compared_by_a_sign_test():
    x, y = torch.cat([torch.eye(2)] * 20), torch.arange(40) % 2
    wrong = x.clone()
    wrong[:9] = wrong[:9].flip(1)
    head = torch.eye(2)
    a, b = (
        nc.measure_features(x, y, head, test_features=t, test_labels=y, intervals=False)
        for t in (x, wrong)
    )
    row = nc.compare(a, b).table.loc["test_accuracy"]
    assert row["of"] == "difference (sign test: p = 0.0039)"  # 2 / 2^9
    assert row["differs"]
    assert row["change"] == pytest.approx(-9 / 40)


def test_round_off_is_no_difference(report):
    """What a file gives back may differ in the last digit, and then so do all groups alike."""
    for name in ("nc2_etf", "nc1_trace_ratio"):
        one = report.estimates[name]
        scaled, *parts = (value * (1 + 4e-16) for value in (one.scaled, *one.replicates))
        row = _row(one, replace(one, scaled=scaled, replicates=tuple(parts)), True)
        assert row["differs"] is False
        assert row["change"] == (1 if row["of"] == "ratio" else 0)


def test_what_has_no_interval_says_why(report):
    once = nc.measure_features(torch.eye(3, 4), torch.arange(3))
    compared = nc.compare(once, report)
    assert compared.table.loc["cdnv", "reason"].startswith("one sample per class")
    assert compared.table["lower"].isna().all()
    text = str(compared)
    assert "No interval for nc1_pinv, nc1_trace_ratio, cdnv, vci" in text
    assert "None" not in text
    assert "95 % confidence" not in text
    reasons = nc.compare(report, report).table["reason"]
    assert set(reasons[reasons != ""].index) <= {"test_ncc_accuracy", "test_nc4_agreement"}


def test_samples_are_the_same_only_if_their_classes_are():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(60, 4, generator=generator), torch.arange(60) % 3
    kept = {"test_features": x, "test_labels": y}
    one = nc.measure_features(x, y, class_names="abc", **kept)
    assert all(nc.compare(one, one).paired.values())
    others = nc.measure_features(x, y, class_names="xyz", **kept)
    shuffled = nc.measure_features(x.flip(0), y.flip(0), class_names="abc", **kept)
    assert not any(nc.compare(one, others).paired.values())
    found = nc.compare(one, shuffled)
    assert found.paired == {"training data": False, "test data": True}
    assert "training data: labels, or the order of classes, do not agree one by one" in str(found)
    reason = nc.compare(one, others).table.loc["test_ncc_accuracy", "reason"]
    assert reason.startswith("a difference of shares has no interval")
