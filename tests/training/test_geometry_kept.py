from dataclasses import replace

import pytest
import torch

from neuralcollapse.report.html import render_page
from neuralcollapse.runs import read_runs, read_snapshots
from neuralcollapse.training import TrainConfig, train
from neuralcollapse.training.run_folder import TrainingFolder

TINY = TrainConfig(per_class=6, width=0.125, epochs=6)


def test_a_run_keeps_the_geometry_of_what_it_measured(tmp_path):
    records = train(TINY, tmp_path, measure_every=1, progress=False)
    shots = read_snapshots(tmp_path)
    assert [shot.epoch for shot in shots] == [1, 2, 3, 4, 5, 6]
    assert shots[-1].class_names == list("0123456789")
    for shot in shots:
        (record,) = [record for record in records if record["epoch"] == shot.epoch]
        assert float(shot.margin_levels[:, 0].min()) == pytest.approx(record["margin_min"])
        least = float(shot.held_out_margins.min())
        assert least == pytest.approx(record["test_margin_min"], rel=1e-6)


def test_only_measured_epochs_have_one(tmp_path):
    train(replace(TINY, epochs=5), tmp_path, measure_at=[2, 5], progress=False)
    assert [shot.epoch for shot in read_snapshots(tmp_path)] == [2, 5]


def test_the_layer_before_is_kept_once_and_predicted_from(tmp_path):
    from neuralcollapse.measurement.layer_choice import default_layers
    from neuralcollapse.training import build_network

    network = build_network("mlp", (1, 8, 8), 10, width=0.125)
    layer = default_layers(network)[-2]
    train(TINY, tmp_path, measure_every=2, layers=[layer], progress=False)
    *earlier, last = read_snapshots(tmp_path)
    assert all(shot.before is None for shot in earlier)
    assert last.before.counts.tolist() == [6] * 10
    assert "From this layer to the next" in render_page(read_runs([tmp_path]))


def test_a_run_that_starts_over_leaves_none_of_the_old(tmp_path):
    train(TINY, tmp_path, measure_every=1, progress=False)
    train(replace(TINY, epochs=2), tmp_path, measure_every=1, overwrite=True, progress=False)
    assert [shot.epoch for shot in read_snapshots(tmp_path)] == [1, 2]


def test_a_run_that_goes_on_ends_with_the_same(tmp_path, monkeypatch):
    options = {"measure_every": 1, "checkpoint_every": 2, "progress": False}
    train(TINY, tmp_path / "whole", **options)
    keep = TrainingFolder.keep_geometry

    def interrupted(folder, epoch, *rest):
        keep(folder, epoch, *rest)
        if epoch == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TrainingFolder, "keep_geometry", interrupted)
        with pytest.raises(KeyboardInterrupt):
            train(TINY, tmp_path / "cut", **options)
    assert [shot.epoch for shot in read_snapshots(tmp_path / "cut")] == [1, 2, 3]
    train(TINY, tmp_path / "cut", resume=True, **options)
    whole, again = (read_snapshots(tmp_path / name) for name in ("whole", "cut"))
    assert [shot.epoch for shot in whole] == [shot.epoch for shot in again]
    for a, b in zip(whole, again, strict=True):
        torch.testing.assert_close(a.rows, b.rows, rtol=0, atol=0)
