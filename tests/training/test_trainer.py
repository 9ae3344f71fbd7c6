import json

import pytest
import torch

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.measurement import measure
from neuralcollapse.report import read_history
from neuralcollapse.training import TrainConfig, build_network, load_dataset, sgd_epochs, train

TINY = TrainConfig(width=0.125, epochs=3, per_class=20, batch_size=50, lr=0.05)


def without_seconds(records):
    return [{k: v for k, v in record.items() if k != "seconds"} for record in records]


def test_the_run_folder_holds_what_was_returned(tmp_path):
    records = train(TINY, tmp_path / "run", measure_every=2, progress=False)
    assert [(r["epoch"], r["step"]) for r in records] == [(2, 8), (3, 12)]
    assert read_history(tmp_path / "run") == records
    kept = json.loads((tmp_path / "run/config.json").read_text())
    assert TrainConfig.from_dict(kept["config"]) == TINY
    assert torch.__version__.startswith(kept["versions"]["torch"].split("+")[0])


def test_records_are_those_of_a_measurement_by_hand(tmp_path):
    records = train(TINY, tmp_path, progress=False)
    data = load_dataset("digits").subset(20)
    model = build_network("mlp", data.input_shape, data.num_classes, width=TINY.width)
    for record, epoch in zip(records, sgd_epochs(model, data.train, TINY), strict=True):
        report = measure(model, [data.train.tensors], test_loader=[data.test.tensors])
        assert record["train_loss"] == epoch.loss
        for name, value in report.to_dict().items():
            assert record[name] == pytest.approx(value, rel=1e-4, abs=1e-6, nan_ok=True), name


def test_a_seed_determines_the_run(tmp_path):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = train(TINY, tmp_path / "a", progress=False)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    again = train(TINY, tmp_path / "b", progress=False)
    other = train(TrainConfig(**TINY.to_dict() | {"seed": 1}), tmp_path / "c", progress=False)
    assert without_seconds(first) == without_seconds(again)
    assert first[-1]["nc1_pinv"] != other[-1]["nc1_pinv"]


def test_a_history_is_replaced_only_when_asked(tmp_path):
    (tmp_path / "history.jsonl").write_text("precious\n")
    with pytest.raises(NeuralCollapseError, match="out: expected a folder without a history"):
        train(TINY, tmp_path, progress=False)
    assert (tmp_path / "history.jsonl").read_text() == "precious\n"
    records = train(TINY, tmp_path, progress=False, overwrite=True)
    assert read_history(tmp_path) == records


def test_measuring_less_than_every_epoch_is_refused(tmp_path):
    with pytest.raises(
        NeuralCollapseError, match="measure_every: expected at least 1 epoch, got 0"
    ):
        train(TINY, tmp_path, measure_every=0)


def test_the_progress_bar_shows_accuracy_and_collapse(tmp_path, capsys):
    train(TINY, tmp_path)
    shown = capsys.readouterr().out
    assert "3/3" in shown
    assert "NC1" in shown


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["ce", "mse"])
def test_training_past_zero_error_collapses(tmp_path, loss):
    records = train(TrainConfig(loss=loss), tmp_path, progress=False, measure_every=10)
    first, last = records[0], records[-1]
    assert last["accuracy"] == last["nc4_agreement"] == 1
    assert last["nc1_pinv"] < first["nc1_pinv"] / 100
    assert last["nc2_etf"] < 0.1
    assert last["nc3_self_duality"] < 0.1
