import json

import numpy as np
import pytest
import torch

import neuralcollapse as nc
from allocations import LargestTensor


@pytest.fixture(scope="module")
def report():
    generator = torch.Generator().manual_seed(0)
    vertices = nc.simplex_etf(6, 8, generator=generator, dtype=torch.float32)
    labels = torch.arange(120) % 6
    features, held_out = (
        vertices[labels] + 0.3 * torch.randn(120, 8, generator=generator) for _ in range(2)
    )
    return nc.measure_features(
        features,
        labels,
        vertices,
        torch.zeros(6),
        test_features=held_out,
        test_labels=labels,
        class_names=["[b]a[/b]", "b", "c", "d", "e", "f"],
    )


def test_it_is_a_mapping_and_a_missing_metric_lists_the_others(report):
    assert dict(report) == report.to_dict()
    assert len(report) == 2 * 18
    with pytest.raises(KeyError, match="no metric 'nc1' was measured; there are: nc1_pinv, "):
        report["nc1"]


def test_the_table_has_every_value_and_a_reading(report, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    text = str(report)
    for name, value in report.train.values.items():
        line = next(line for line in text.splitlines() if line.split()[:1] == [name])
        assert f"{value:.4g}" in line
        assert line.rstrip().endswith(report.reading(name).words)
    assert "Pair of classes with the largest CDNV" in text
    assert "1.2" in text  # the ceiling K/(K-1)


@pytest.mark.parametrize("columns", [80, 100, 200])
def test_the_text_fits_the_terminal(report, columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = str(report).splitlines()
    assert max(map(len, lines)) <= columns
    assert "\x1b" not in "".join(lines)  # no terminal, no colours
    assert any("tr(Σ_W Σ_B⁺)/K" in line for line in lines) == (columns == 200)
    for name in report.train.values:
        assert [line for line in lines if line.split()[:1] == [name]]


def test_a_terminal_gets_colours_and_a_notebook_a_page(report, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    assert "\x1b[3" in str(report)
    page = report._repr_html_()
    assert page.startswith("<pre")
    assert "nc1_pinv" in page


def test_worst_pairs_are_the_largest_cdnv(report):
    moments = report.train.moments
    means, spread = moments.means.numpy(), moments.trace_variances.numpy()
    naive = sorted(
        (
            (spread[i] + spread[j]) / (2 * ((means[i] - means[j]) ** 2).sum())
            for i in range(6)
            for j in range(i)
        ),
        reverse=True,
    )
    pairs = report.worst_pairs(4)
    np.testing.assert_allclose(pairs["cdnv"], naive[:4])
    assert len(report.worst_pairs(100)) == 15


def test_per_class_table_starts_with_the_least_margin(report):
    table = report.per_class
    assert table["margin_min"].is_monotonic_increasing
    assert table["margin_min"][0] == report["margin_min"]
    assert (table["samples"] == 20).all()
    assert table["accuracy"].mean() == pytest.approx(report["accuracy"])
    assert table["test_accuracy"].mean() == pytest.approx(report["test_accuracy"])


def test_frame_and_json_hold_the_values(report, tmp_path):
    frame = report.to_frame()
    assert frame.loc["cdnv", "train"] == report["cdnv"]
    assert frame.loc["cdnv", "test"] == report["test_cdnv"]
    text = report.to_json(tmp_path / "deep" / "report.json")
    document = json.loads((tmp_path / "deep" / "report.json").read_text())
    assert document == json.loads(text)
    assert document["values"] == report.to_dict()
    assert len(document["per_class"]) == 6


def test_cosines_of_many_classes_are_averaged_over_squares():
    generator = torch.Generator().manual_seed(0)
    num, side = 1100, 3  # more than 512 pixels a side
    means = torch.randn(num, 6, generator=generator)
    features = torch.cat([means + 0.1, means - 0.1])
    report = nc.measure_features(features, torch.arange(num).repeat(2), scatter=False)
    with LargestTensor() as largest:
        figure = report.plot()
    assert largest.numel < num**2
    image = figure.axes[0].images[0].get_array()
    rows = report.train.moments.centered_means()
    units = (rows / rows.norm(dim=1, keepdim=True)).numpy()
    cosines = units @ units.T
    assert image.shape == (367, 367)
    assert image[1, 2] == pytest.approx(cosines[side : 2 * side, 2 * side : 3 * side].mean())
    assert image[366, 0] == pytest.approx(cosines[366 * side :, :side].mean())
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert any("mean of 3 x 3 classes" in label for label in labels)


def test_json_writes_null_for_undefined():
    report = nc.measure_features(torch.ones(4, 3), [0, 0, 1, 1])
    assert json.loads(report.to_json())["values"]["nc1_pinv"] is None


@pytest.mark.parametrize("case", ["full", "no head", "no scatter", "two classes", "K > d"])
def test_the_figure_draws_what_there_is(report, case, tmp_path):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(60, 2, generator=generator)
    if case == "no head":
        report = nc.measure_features(features, torch.arange(60) % 3)
    elif case == "no scatter":
        report = nc.measure_features(features, torch.arange(60) % 3, scatter=False)
    elif case == "two classes":
        report = nc.measure_features(features, torch.arange(60) % 2, torch.randn(2, 2))
    elif case == "K > d":
        report = nc.measure_features(features, torch.arange(60) % 30, torch.randn(30, 2))
    figure = report.plot(tmp_path / "report.png")
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")
    gram = figure.axes[0].images[0].get_array()
    rows = report.train.moments.centered_means()
    cosines = torch.nn.functional.cosine_similarity(rows[:, None], rows[None], dim=-1)
    np.testing.assert_allclose(gram, cosines, atol=1e-12)
