from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

import neuralcollapse as nc
from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.measurement.compare import _row

GENERATOR = torch.Generator().manual_seed(0)
LABELS = torch.arange(60) % 3
VERTICES = nc.simplex_etf(3, 4, "axis").float()


def _features(noise=0.5):
    return 2 * VERTICES[LABELS] + noise * torch.randn(60, 4, generator=GENERATOR)


@pytest.fixture(scope="module")
def report():
    return nc.measure_features(
        _features(), LABELS, VERTICES, torch.zeros(3), test_features=_features(),
        test_labels=LABELS, class_names=["a_b", "50 %", "c&d"],
    )  # fmt: skip


def test_a_report_comes_back_as_it_was(report, tmp_path):
    report.save(tmp_path / "r.safetensors")
    again = nc.load_report(tmp_path / "r.safetensors")
    assert dict(again) == dict(report)
    pd.testing.assert_frame_equal(again.per_class, report.per_class)
    assert str(again).splitlines()[0] == str(report).splitlines()[0]
    for name, found in report.estimates.items():
        other = again.estimates[name]
        assert (other.reason, other.words) == (found.reason, found.words)
        assert other.upper == pytest.approx(found.upper, rel=1e-9, nan_ok=True)
    assert torch.equal(again.margins, report.margins)
    assert again.reading("nc2_etf") == report.reading("nc2_etf")


def test_a_file_of_something_else_is_refused(tmp_path):
    save_file({"features": torch.ones(2, 2)}, tmp_path / "f.safetensors")
    (tmp_path / "g.safetensors").write_bytes(b"half")
    for name in ("f.safetensors", "g.safetensors", "none.safetensors"):
        with pytest.raises(NeuralCollapseError, match=f"{name}: expected a report, written by"):
            nc.load_report(tmp_path / name)


def test_tables_go_to_csv_and_latex(report, tmp_path):
    report.to_csv(tmp_path / "v.csv")
    values = pd.read_csv(tmp_path / "v.csv", index_col="metric")
    assert values.loc["cdnv", "train"] == pytest.approx(report["cdnv"], rel=1e-12)
    assert len(pd.read_csv(tmp_path / "v-classes.csv")) == 3
    assert len(pd.read_csv(tmp_path / "v-pairs.csv")) == 3
    text = report.to_latex(tmp_path / "v.tex")
    assert (tmp_path / "v.tex").read_text() == text
    assert r"c\&d" in text
    assert r"50 \%" in text
    assert r"a\_b" in text
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 3
    for line in text.splitlines():
        if line.endswith(r"\\"):
            assert "nan" not in line


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


def test_a_report_is_named_as_what_it_is(tmp_path):
    report = nc.measure_features([[0.0], [1.0]], [0, 1])
    with pytest.raises(NeuralCollapseError, match=r"save: expected .*\.safetensors, got r.npz"):
        report.save(tmp_path / "r.npz")
    assert not list(tmp_path.iterdir())


def test_round_off_is_no_difference(report):
    """What a file gives back may differ in the last digit, and then so do all groups alike."""
    for name in ("nc2_etf", "nc1_trace_ratio"):
        one = report.estimates[name]
        scaled, *parts = (value * (1 + 4e-16) for value in (one.scaled, *one.replicates))
        row = _row(one, replace(one, scaled=scaled, replicates=tuple(parts)), True)
        assert row["differs"] is False
        assert row["change"] == (1 if row["of"] == "ratio" else 0)
