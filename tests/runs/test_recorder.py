"""What a recorder goes on with after a checkpoint, alone and with its folder."""

import json
import math
import warnings
from dataclasses import replace

import pytest
import torch

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.measurement import measure_features
from neuralcollapse.runs import CollapseWarning, read_history, read_run
from neuralcollapse.runs.alarms.samples import OFTEN
from neuralcollapse.runs.recorder import CollapseRecorder
from neuralcollapse.runs.schedule import KEPT

LABELS = torch.arange(40) % 2


def measured(epoch=1):
    """Two classes apart, of which the sample 7 is wrong."""
    generator = torch.Generator().manual_seed(epoch)
    features = 3.0 * (2 * LABELS[:, None] - 1) + torch.randn(40, 3, generator=generator) / epoch
    features[7] = -features[7]
    weight = torch.tensor([[-1.0, -1, -1], [1, 1, 1]])
    return measure_features(features, LABELS, weight)


def recorded(recorder, epochs):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for epoch in epochs:
            recorder.record(measured(epoch), epoch)
    return [str(w.message) for w in said if w.category is CollapseWarning]


def test_alarms_and_records_go_on_from_a_checkpoint(tmp_path):
    """The checkpoint is of epoch 6; what was recorded after it is made again."""
    whole, cut = (
        CollapseRecorder(history=tmp_path / "whole"),
        CollapseRecorder(history=tmp_path / "cut"),
    )
    assert recorded(whole, range(1, OFTEN + 2))[0].startswith(
        "1 of 40 training samples stayed wrong"
    )
    assert recorded(cut, range(1, 7)) == []
    state = cut.state_dict()
    kept = {"records": list(state["records"]), "streaks": state["streaks"]}
    recorded(cut, range(7, 9))
    again = CollapseRecorder(history=tmp_path / "cut")
    again.load_state_dict(kept)
    again.open()
    assert [record["epoch"] for record in read_history(tmp_path / "cut")] == list(range(1, 7))
    assert len(recorded(again, range(7, OFTEN + 2))) == 1
    drop = {"seconds"}
    for ours, theirs in zip(again.records, whole.records, strict=True):
        assert {k: v for k, v in ours.items() if k not in drop} == {
            k: v for k, v in theirs.items() if k not in drop
        }
    run = read_run(tmp_path / "cut")
    assert [record["epoch"] for record in run.records] == list(range(1, OFTEN + 2))
    kept = [epoch for epoch in range(1, OFTEN + 2) if KEPT.due(epoch)]
    assert [shot.epoch for shot in run.snapshots] == kept


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    recorded(CollapseRecorder(history=tmp_path), [2, 4])
    other = CollapseRecorder()
    recorded(other, [1, 2])
    again = CollapseRecorder(history=tmp_path)
    again.load_state_dict(other.state_dict())
    with pytest.raises(NeuralCollapseError, match="history: expected the records of the checkp"):
        again.open()
    assert [record["epoch"] for record in read_history(tmp_path)] == [2, 4]


def test_names_in_warnings_are_plain():
    recorder = CollapseRecorder(class_names=["a", "b", "\x1b[31m\u202e"])
    features = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    report = measure_features(features, LABELS[:8], torch.eye(3))
    with pytest.warns(CollapseWarning, match=r"no training sample of class \\x1b\[31m\\u202e:"):
        recorder.record(report, 1)


def test_notes_of_how_samples_were_read_are_said_once():
    recorder = CollapseRecorder()
    noted = replace(measured(), notes=["Labels are shifted."])
    with pytest.warns(CollapseWarning, match="^Labels are shifted.$"):
        recorder.record(noted, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        recorder.record(noted, 2)


def test_class_means_of_batches_go_on_from_a_checkpoint_unless_they_are_many(monkeypatch):
    recorder, other = CollapseRecorder(mode="batches"), CollapseRecorder(mode="batches")
    recorder.centers = torch.tensor([[0.1, 1e-300], [math.nan, math.nan]], dtype=torch.float64)
    state = json.loads(json.dumps(recorder.state_dict()))
    other.load_state_dict(state)
    torch.testing.assert_close(other.centers, recorder.centers, rtol=0, atol=0, equal_nan=True)
    monkeypatch.setattr("neuralcollapse.runs.center_text.MOST", 3)
    other.load_state_dict(recorder.state_dict())
    assert other.centers is None
