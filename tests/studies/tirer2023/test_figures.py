from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.metrics.presets import preset
from neuralcollapse.moments import ClassMoments
from neuralcollapse.studies import FigureJob, run_study
from neuralcollapse.studies.tirer2023 import figure1, figure2, figure3
from neuralcollapse.studies.tirer2023.layerwise import (
    collapse_by_depth,
    end_to_end_features,
    layerwise_features,
)
from neuralcollapse.training import TrainConfig, load_dataset

TINY = TrainConfig(
    loss="mse", head_bias=False, width=1 / 16, batch_size=100, epochs=2, weight_decay=1e-2
)


def check_picture(path):
    height, width = imread(path).shape[:2]
    assert width >= 900
    assert height >= 500


def records(path):
    with np.load(path) as file:
        return dict(file)


def test_figure_1_has_the_spectra_of_the_paper(tmp_path):
    written = run_study("tirer2023", FigureJob(tmp_path), 1)
    pictures = ["figure1.png", "figure1_strengths.png"]
    names = ["figure1.npz", *(f"{p[:-4]}{end}" for p in pictures for end in (".png", ".txt"))]
    assert [path.name for path in written] == names
    assert "are ours" in written[2].read_text()
    for path in written[1::2]:
        check_picture(path)
    record = records(written[0])
    # beta = 100, lambda_H = 0.1: 6, 54, 3, 1 and 36 values, by hand from the formulas.
    (place,) = np.flatnonzero(record["strengths"] == 0.1)
    values = record["first-order"][0, place]
    expected = [1, 0.9990000000, 0.9987521206, 0.9975042412, 0.9973408521]
    np.testing.assert_allclose(values, np.repeat(expected, [6, 54, 3, 1, 36]), atol=1e-10)
    assert (record["exact"][:, :, 6:] >= record["first-order"][:, :, 6:] - 1e-15).all()
    for name in ("moving", "fixed"):
        by_h, by_w = record[name]
        np.testing.assert_allclose(record[name][..., 0], record[name][..., 1], atol=2e-3)
        assert (np.diff(by_h[:, 0]) < 0).all()
        assert (np.diff(by_w[:, 0]) > 0).all()


@pytest.mark.parametrize("train", [layerwise_features, end_to_end_features])
def test_features_of_every_depth(train):
    data = load_dataset("digits").subset(15)
    features = train(data, 3, TINY)
    assert [part.shape for part in features] == [(150, 16)] * 3
    assert all((part >= 0).all() for part in features)
    labels = data.train.tensors[1]
    values = collapse_by_depth(features, labels, 10)
    last = preset("tirer2023", ClassMoments(10, 16).update(features[2], labels))
    assert {name: value[2] for name, value in values.items()} == last


def test_a_deeper_stage_leaves_the_earlier_layers_alone():
    data = load_dataset("digits").subset(15)
    two, three = (layerwise_features(data, depth, TINY) for depth in (2, 3))
    for shallow, deep in zip(two, three[:2], strict=True):
        assert torch.equal(shallow, deep)


def test_figure_2_is_drawn_and_what_is_trained_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(figure2, "DEPTH", 3)
    monkeypatch.setitem(figure2.SCALES, "quick", {"width": TINY.width, "epochs": TINY.epochs})
    first = FigureJob(tmp_path, seeds=(0, 4))
    path, picture, caption = figure2.draw(first)
    assert "2 seeds" in caption.read_text()
    record = records(path)
    assert set(record) == {
        f"{way}_{name}"
        for way in ("layerwise", "end_to_end")
        for name in ("nc1_pinv", "nc1_trace_ratio", "nc2_etf")
    }
    assert all(values.shape == (2, 3) for values in record.values())
    assert all((values > 0).all() for values in record.values())
    check_picture(picture)
    monkeypatch.setattr(figure2, "WAYS", dict.fromkeys(figure2.WAYS))  # None cannot be called
    kept = replace(first, kept=tmp_path / "kept", training=False)
    for job in (first, kept, replace(kept, folder=tmp_path / "elsewhere")):
        for name, values in records(figure2.draw(job)[0]).items():
            assert np.array_equal(values, record[name])
    with pytest.raises(NeuralCollapseError, match=r"trained already.* got no .*npz"):
        figure2.draw(FigureJob(tmp_path / "empty", training=False))


def test_figure_3_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setitem(figure3.SEEDS, "quick", (0, 1))
    monkeypatch.setattr(figure3, "MEASURE_EVERY", 2)
    small = {"width": 0.0625, "per_class": 20, "batch_size": 50, "epochs": 3, "weight_decay": 0.1}
    monkeypatch.setitem(figure3.SCALES, "quick", small)
    path, picture, _ = figure3.draw(FigureJob(tmp_path, workers={"workers": 1}))
    record = records(path)
    assert record["epochs"].tolist() == [2, 3]
    for loss in ("mse", "ce"):
        assert record[f"{loss}_nc1_pinv"].shape == (5, 2, 2)
        effects = figure3.final_effects(record, loss, "nc1_pinv")
        assert list(effects) == ["head × 2", "head 0", "features × 2", "features 0"]
        last = record[f"{loss}_nc1_pinv"][:, :, -1]
        assert effects["features 0"][0] == pytest.approx(np.median(last[4] / last[0]))
        assert effects["features 0"][1:] == (
            pytest.approx((last[4] / last[0]).min()),
            pytest.approx((last[4] / last[0]).max()),
        )
        assert len({round(value, 12) for value in last[:, 0]}) == 5
    told = "features 0: {:.2g} ({:.2g} to {:.2g})".format(*effects["features 0"])
    assert told in figure3._effects(record)
    check_picture(picture)


def test_figure_3_gathers_each_run_in_its_place():
    base = TrainConfig(weight_decay=0.5)
    configs = figure3.decay_configs(base, (7, 8))
    assert configs[0] == replace(base, loss="mse", head_bias=False, head_weight_decay=0.5, seed=7)
    slowed = figure3.decay_configs(base, (7, 8), 5.0)
    assert [c.lr for c in slowed] == [base.lr / 5 if c.loss == "mse" else base.lr for c in configs]
    told = [[{"epoch": 1, **dict.fromkeys(figure3.METRICS, hash(config))}] for config in configs]
    record = figure3.record_decays(told)
    third = next(
        c for c in configs if (c.loss, c.weight_decay, c.head_weight_decay) == ("ce", 0.5, 0)
    )
    assert third.seed == 7
    assert third.head_bias
    place = list(figure3.DECAYS).index("head 0")
    assert record["ce_nc2_etf"][place, 0, 0] == float(hash(third))


def test_a_weight_decay_that_is_set_is_that_of_the_baseline_of_figure_3(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(FigureJob, "train", lambda job, configs, **options: seen.extend(configs))
    job = FigureJob(tmp_path, settings={"weight_decay": 0.002, "epochs": 7})
    with pytest.raises(TypeError):  # what is drawn from no histories
        figure3.draw(job)
    decays = {(config.weight_decay, config.head_weight_decay) for config in seen}
    assert decays == {
        (0.002 * features, 0.002 * head) for features, head in figure3.DECAYS.values()
    }
    assert {config.epochs for config in seen} == {7}


@pytest.mark.slow
def test_figure_2_falls_with_depth(tmp_path):
    path, picture, _ = run_study("tirer2023", FigureJob(tmp_path), 2)
    for name, values in records(path).items():
        if "nc1" in name:
            assert values.shape == (3, 10)
            assert (np.diff(np.median(values, 0)) < 0).all()
            assert values[:, -1].max() < values[:, 0].min() / 20
    check_picture(picture)


@pytest.mark.slow
def test_figure_3_moves_most_without_decay_of_the_features(tmp_path):
    path, picture, _ = run_study("tirer2023", FigureJob(tmp_path), 3)
    record = records(path)
    effects = figure3.final_effects(record, "mse", "nc1_pinv")
    assert effects["features 0"][0] > 5
    assert 0.5 < effects["head 0"][0] < 2
    assert all((record[f"{loss}_accuracy"][..., -1] == 1).all() for loss in ("mse", "ce"))
    check_picture(picture)


def test_every_figure_is_registered():
    assert figure1.study.figures.keys() == {1, 2, 3}
