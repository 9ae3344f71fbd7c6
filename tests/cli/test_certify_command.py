"""The commands for models and files that exist: certify, compare, ood, and measure's outputs."""

import html
import json

import numpy as np
import pandas as pd
import pytest
import torch

import neuralcollapse as nc
from cli_runner import run

RNG = np.random.default_rng(0)
LABELS = np.arange(90) % 3
LOGITS = 3 * np.eye(3)[LABELS] + RNG.normal(size=(90, 3))
VERTICES = nc.simplex_etf(3, 4, "axis").numpy()
NAMES = ["ant", "bee", "cat"]


@pytest.fixture
def decisions(tmp_path):
    np.savez(tmp_path / "d.npz", logits=LOGITS, labels=LABELS, class_names=NAMES)
    return tmp_path / "d.npz"


@pytest.fixture
def saved(tmp_path):
    features = VERTICES[LABELS] + 0.3 * RNG.normal(size=(90, 4))
    np.savez(
        tmp_path / "f.npz", features=features, labels=LABELS, weight=VERTICES, class_names=NAMES,
        test_features=VERTICES[LABELS] + 0.3 * RNG.normal(size=(90, 4)), test_labels=LABELS,
    )  # fmt: skip
    return tmp_path / "f.npz"


def test_logits_and_labels_give_certificate_calibration_and_page(decisions, tmp_path):
    page, values = tmp_path / "p.html", tmp_path / "v.json"
    result = run("certify", decisions, "--html", page, "--json", values, "--tolerance", 0.5)
    assert result.exit_code == 0, result.output
    margins = nc.metrics.sample_margins(torch.tensor(LOGITS), torch.tensor(LABELS))
    expected = nc.generalization.error_certificate(
        margins, labels=LABELS, class_names=NAMES, tolerance=0.5
    )
    flat = " ".join(result.output.split())
    assert expected.sentence in flat
    assert "the calibration error is" in flat
    document = json.loads(values.read_text())
    assert document["certificate"]["upper"] == expected.upper
    assert 0 <= document["calibration"]["ece"] <= 1
    text = page.read_text()
    for word in (expected.sentence.split(":")[0], "Reliability diagram", "<svg", "bee"):
        assert word in text
    assert "http://" not in text.replace("http://www.w3.org", "")


def test_of_few_samples_the_certificate_alone_is_told(tmp_path):
    np.savez(tmp_path / "d.npz", logits=LOGITS[:3], labels=LABELS[:3])
    page, values = tmp_path / "p.html", tmp_path / "v.json"
    result = run("certify", tmp_path / "d.npz", "--html", page, "--json", values)
    assert result.exit_code == 0, result.output
    assert "held-out samples are" in result.output
    reason = "Calibration is left out: it takes at least 4 samples, not 3."
    assert reason in " ".join(result.output.split())
    assert json.loads(values.read_text())["calibration"] is None
    assert "<h2>Calibration" not in page.read_text()


def test_names_are_text_on_the_page(tmp_path):
    names = ["<script>alert(1)</script>", "b", "c"]
    np.savez(tmp_path / "d.npz", logits=LOGITS, labels=LABELS, class_names=names)
    assert run("certify", tmp_path / "d.npz", "--html", tmp_path / "p.html").exit_code == 0
    assert "<script>alert" not in (tmp_path / "p.html").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--confidence", "95"], "--confidence: expected a number in (0, 1)"),
        (["--tolerance", "7"], "--tolerance: expected a number in (0, 1)"),
        (["--bins", "0"], "--bins: expected at least 1"),
    ],
)
def test_errors_name_the_option(decisions, options, message):
    result = run("certify", decisions, *options)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_missing_file_is_named_as_the_help_names_it(tmp_path):
    result = run("certify", tmp_path / "none.npz")
    assert result.exit_code == 2
    assert "FILE: expected a file, got nothing at" in result.stderr


def test_exit_codes_are_in_the_help():
    assert "Exit codes: 0, done" in " ".join(run("--help").output.split())


def test_measure_writes_page_tables_and_report(saved, tmp_path):
    out = {name: tmp_path / f"o.{name}" for name in ("html", "csv", "tex", "safetensors")}
    result = run(
        "measure", saved, "--html", out["html"], "--csv", out["csv"], "--latex", out["tex"],
        "--save", out["safetensors"], "--preset", "papyan2020",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "papyan2020" in result.output
    assert "nc2_equiangular_std" in result.output
    assert "bee" in out["html"].read_text()
    assert pd.read_csv(tmp_path / "o-classes.csv")["class"].isin(NAMES).all()
    assert r"\toprule" in out["tex"].read_text()
    report = nc.load_report(out["safetensors"])
    assert report.class_names == NAMES
    result = run("compare", out["safetensors"], saved, "--csv", tmp_path / "c.csv")
    assert result.exit_code == 0, result.output
    assert "taken as the same samples" in result.output
    table = pd.read_csv(tmp_path / "c.csv", index_col="metric")
    assert table.loc["cdnv", "change"] == pytest.approx(1)
    result = run("compare", saved, tmp_path / "missing.json")
    assert result.exit_code == 2
    assert "error: SECOND: expected a file, got nothing at" in result.stderr
    result = run("compare", tmp_path / "missing.npz", saved)
    assert "error: FIRST: expected a file, got nothing at" in result.stderr
    nan = tmp_path / "nan.npz"
    np.savez(nan, features=np.full((6, 2), np.nan), labels=np.arange(6) % 2)
    result = run("compare", saved, nan)
    assert result.exit_code == 2
    assert f"error: features in batch 0 in {nan}: expected finite" in result.stderr


def test_measure_takes_names_from_a_text_file(tmp_path):
    np.savez(tmp_path / "f.npz", features=RNG.normal(size=(9, 4)), labels=np.arange(9) % 3)
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    result = run("measure", tmp_path / "f.npz", "--class-names", tmp_path / "names.txt",
                 "--per-class")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "bee" in result.output


def test_an_unknown_preset_is_named_by_its_option(saved):
    result = run("measure", saved, "--preset", "nobody1999")
    assert result.exit_code == 2
    assert "--preset: expected one of papyan2020" in result.stderr


MODULE = """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
torch.manual_seed(0)
model = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 3))
data = TensorDataset(torch.randn(60, 2), torch.arange(60) % 3)
def build():
    return model
def loaders():
    return DataLoader(data, batch_size=20), DataLoader(data, batch_size=30)
def nothing():
    return 7
"""


def test_a_network_and_its_data_are_named_by_import_path(tmp_path, monkeypatch):
    (tmp_path / "made_up_network.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    for model, data in (("model", "loaders"), ("build", "data")):
        result = run("measure", f"made_up_network:{model}", "--data", f"made_up_network:{data}")
        assert result.exit_code == 0, result.output
        assert "60 samples, 3 classes, 8 features" in " ".join(result.output.split())
    assert ("test data of 60" in result.output) is False
    for arguments, message in (
        (["made_up_network:model"], "--data: expected package.module:loader"),
        (["made_up_network:nothing", "--data", "made_up_network:data"], "WHAT: expected"),
        (["made_up_network:model", "--data", "made_up_network:nothing"], "--data: expected a load"),
        (["made_up_network:none", "--data", "made_up_network:data"], "to be importable"),
    ):
        result = run("measure", *arguments)
        assert result.exit_code == 2, result.output
        assert message in result.stderr


def test_familiar_and_foreign_samples_are_parted(saved, tmp_path):
    with np.load(saved) as arrays:
        parts = dict(arrays)
    np.savez(tmp_path / "o.npz", **parts, foreign_features=5 + RNG.normal(size=(40, 4)))
    result = run("ood", tmp_path / "o.npz", "--method", "mahalanobis", "--method", "msp",
                 "--csv", tmp_path / "s.csv")  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "auroc" in result.output
    table = pd.read_csv(tmp_path / "s.csv")
    assert list(table.columns) == ["data", "row", "mahalanobis", "msp"]
    assert len(table) == 130
    inside, outside = (table[table["data"] == part]["mahalanobis"] for part in ("test", "foreign"))
    assert nc.ood.auroc(inside.to_numpy(), outside.to_numpy()) > 0.99
    assert run("ood", saved).exit_code == 0
    for command in ("measure", "certify"):  # which have no use for samples without a class
        both = [run(command, file) for file in (tmp_path / "o.npz", saved)]
        assert [result.exit_code for result in both] == [0, 0], both[0].output
        assert both[0].output.replace("o.npz", "f.npz") == both[1].output
    del parts["test_features"]
    np.savez(tmp_path / "n.npz", **parts)
    result = run("ood", tmp_path / "n.npz")
    assert result.exit_code == 2
    assert "foreign_features to score" in result.stderr


def test_a_file_that_cannot_be_written_is_one_line(decisions):
    result = run("certify", decisions, "--json", decisions / "below" / "x.json")
    assert result.exit_code == 2
    assert "error:" in result.output
    assert "d.npz" in result.output


def test_the_page_says_what_the_terminal_says(tmp_path):
    labels = np.arange(120) % 3
    logits = 3 * np.eye(3)[labels]
    logits[::8] = 0  # ties
    np.savez(tmp_path / "a.npz", logits=logits, labels=labels, class_names=["a", "b", "<c>"])
    page = tmp_path / "a.html"
    result = run("certify", tmp_path / "a.npz", "--tolerance", 0.3, "--html", page)
    said, shown = " ".join(result.output.split()), html.unescape(page.read_text())
    for words in ("tie", "Holm's test at the same joint level shows an error below 30 %"):
        assert words in said
        assert words in shown


def test_what_is_wrong_with_a_file_is_named_as_in_the_file(tmp_path):
    x = np.random.default_rng(0).normal(size=(40, 60)) + np.eye(2, 60)[np.arange(40) % 2]
    arrays = {"features": x, "labels": np.arange(40) % 2, "test_features": x}
    path = tmp_path / "a.npz"
    np.savez(path, foreign_features=np.where(x > 0, x, np.nan), **arrays)
    result = run("ood", path, "--method", "mahalanobis")
    assert "error: foreign_features: expected finite" in result.stderr
    few = {name: array[:4] for name, array in arrays.items()}
    np.savez(path, foreign_features=x, weight=np.eye(2, 60), **few)
    result = run("ood", path, "--method", "vim")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: --method: ")
    path.write_bytes(b"no archive")
    assert run("compare", path, path).stderr.startswith("error: FIRST")
