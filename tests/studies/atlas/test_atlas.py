import json

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread
from scipy.stats import spearmanr

from neuralcollapse.studies import FigureJob, load_study, run_study
from neuralcollapse.studies.atlas import design, figures
from neuralcollapse.studies.atlas.correlations import stratified_correlations
from neuralcollapse.studies.atlas.design import FACTORS, atlas_design


def test_the_networks_are_many_and_have_every_level_often():
    small = atlas_design("small")
    assert len(small) >= 60
    for factor, levels in FACTORS.items():
        counts = [sum(level == own[factor] for own, _ in small) for level in levels]
        assert min(counts) >= 0.7 * len(small) / len(levels)
    assert atlas_design("quick") == small[: design.NETWORKS["quick"]]
    for levels, config in small:
        assert config.loss == ("ce" if levels["loss"] == "cross-entropy" else "mse")
        assert f"{config.weight_decay:g}" == levels["weight decay"]


def test_one_stratum_gives_spearman():
    random = np.random.default_rng(0)
    table = pd.DataFrame({"x": random.normal(size=40), "s": 0})
    table["y"] = table["x"] + random.normal(size=40)
    (row,) = stratified_correlations(table, ["x"], ["y"], ["s"]).to_dict("records")
    assert row["rho"] == pytest.approx(spearmanr(table["x"], table["y"]).statistic)
    assert row["low"] < row["rho"] < row["high"]
    assert row["p"] == row["p_holm"]
    assert row["p"] == pytest.approx(spearmanr(table["x"], table["y"]).pvalue, abs=0.01)


def test_what_strata_do_is_left_out():
    # Within each stratum y falls with x; between them it rises, and would win.
    parts = [pd.DataFrame({"x": np.arange(9) + 100 * s, "y": 100 * s - np.arange(9), "s": s})
             for s in range(4)]  # fmt: skip
    table = pd.concat(parts, ignore_index=True)
    assert spearmanr(table["x"], table["y"]).statistic > 0.8
    (row,) = stratified_correlations(table, ["x"], ["y"], ["s"], 200).to_dict("records")
    assert row["rho"] == pytest.approx(-1)


def test_chance_is_rarely_found_once_all_tried_are_paid_for():
    random = np.random.default_rng(1)
    columns = {name: random.normal(size=60) for name in "abcdefgh"}
    table = pd.DataFrame(columns).assign(s=np.arange(60) % 3)
    found = stratified_correlations(table, list("abcd"), list("efgh"), ["s"], 500)
    assert len(found) == 16
    assert (found["p_holm"] >= found["p"]).all()
    assert found["p_holm"].min() > 0.05
    # Intervals of 95 % hold nought most of the time.
    assert ((found["low"] < 0) & (found["high"] > 0)).mean() >= 0.8


def test_a_constant_has_no_correlation():
    table = pd.DataFrame({"x": np.arange(8), "y": 1.0, "s": 0})
    (row,) = stratified_correlations(table, ["x"], ["y"], ["s"], 50).to_dict("records")
    assert np.isnan(row["rho"])
    assert row["p"] == 1


def test_the_atlas_is_drawn_and_drawn_again_from_kept_runs(tmp_path, monkeypatch):
    monkeypatch.setitem(design.NETWORKS, "quick", 4)
    monkeypatch.setattr(design, "DRAW_SEED", 5)
    digits = {"digits": {"data": "digits", "per_class": 20}, "more digits": {"per_class": 25}}
    monkeypatch.setitem(FACTORS, "data", digits)
    monkeypatch.setitem(design.COMMON, "epochs", 3)
    monkeypatch.setitem(design.COMMON, "width", 0.125)
    kept = tmp_path / "kept"
    common = {"kept": kept, "settings": {"batch_size": 40}}
    job = FigureJob(tmp_path / "a", workers={"workers": 1}, **common)
    written = run_study("atlas", job)
    assert [path.name for path in written] == [
        "atlas_quick.csv", "figure1_quick.png", "figure1_quick.txt", "figure2_quick.png",
        "figure2_quick.txt", "correlations_quick.json", "figure3_quick.png", "figure3_quick.txt",
    ]  # fmt: skip
    table = pd.read_csv(written[0])
    assert len(table) == 4
    assert "width × 0.125, 3 epochs, batches of 40" in written[2].read_text()
    assert table["certificate"].between(table["test_error"], 1).all()
    assert table["ece"].between(0, 1).all()
    found = json.loads(written[5].read_text())
    assert len(found) == len(figures.COLLAPSE) * len(figures.OUTCOMES)
    again = run_study("atlas", FigureJob(tmp_path / "b", training=False, **common))
    for first, second in zip(written, again, strict=True):
        if first.suffix == ".png":
            assert min(imread(first).shape[:2]) >= 400
        else:
            assert first.read_text() == second.read_text()


def test_the_atlas_claims_nothing():
    study = load_study("atlas")
    assert not study.claims
    assert study.figures.keys() == {1, 2, 3}
