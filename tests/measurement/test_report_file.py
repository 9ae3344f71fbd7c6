import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

import neuralcollapse as nc
from neuralcollapse.errors import NeuralCollapseError
from three_classes import measured


@pytest.fixture(scope="module")
def report():
    return measured(bias=torch.zeros(3), class_names=["a_b", "50 %", "c&d"])


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


def test_a_report_is_named_as_what_it_is(tmp_path):
    report = nc.measure_features([[0.0], [1.0]], [0, 1])
    with pytest.raises(NeuralCollapseError, match=r"save: expected .*\.safetensors, got r.npz"):
        report.save(tmp_path / "r.npz")
    assert not list(tmp_path.iterdir())


def test_a_report_with_a_changed_byte_is_refused(report, tmp_path):
    report.save(tmp_path / "r.safetensors")
    content = bytearray((tmp_path / "r.safetensors").read_bytes())
    head = 8 + int.from_bytes(content[:8], "little")
    for place in (content.index(b"50 %"), head, (head + len(content)) // 2, len(content) - 1):
        content[place] ^= 1
        (tmp_path / "s.safetensors").write_bytes(content)
        with pytest.raises(NeuralCollapseError, match="other content than was saved"):
            nc.load_report(tmp_path / "s.safetensors")
        content[place] ^= 1


def test_a_single_sample_is_not_several(tmp_path):
    report = nc.measure_features([[0.0], [1.0]], [0, 1], test_features=[[0.0]], test_labels=[0])
    assert "2 classes, 1 feature; test data of 1 sample\n" in str(report)
