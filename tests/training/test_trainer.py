import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import Dataset, TensorDataset

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.measurement import measure
from neuralcollapse.runs import read_history
from neuralcollapse.training import (
    ImageData,
    TrainConfig,
    build_network,
    load_dataset,
    sgd_epochs,
    train,
)
from training_runs import TINY, apart, quiet, without_seconds


def test_the_run_folder_holds_what_was_returned(tmp_path):
    records = train(TINY, tmp_path / "run", measure_every=2, progress=False)
    assert [(r["epoch"], r["step"]) for r in records] == [(2, 8), (3, 12)]
    assert read_history(tmp_path / "run") == records
    kept = json.loads((tmp_path / "run/config.json").read_text())
    assert TrainConfig.from_dict(kept["config"]) == TINY
    assert torch.__version__.startswith(kept["versions"]["torch"].split("+")[0])
    assert kept["hardware"]["processes"] == 1
    weights = load_file(tmp_path / "run/model.safetensors")
    expected = build_network("mlp", (1, 8, 8), 10, width=TINY.width).state_dict()
    assert {name: v.shape for name, v in weights.items()} == {
        name: v.shape for name, v in expected.items()
    }


def test_records_are_those_of_a_measurement_by_hand(tmp_path):
    records = train(TINY, tmp_path, progress=False)
    data = load_dataset("digits").subset(20)
    model = build_network("mlp", data.input_shape, data.num_classes, width=TINY.width)
    for record, epoch in zip(records, sgd_epochs(model, data.train, TINY), strict=True):
        report = measure(model, [data.train.tensors], test_loader=[data.test.tensors])
        assert record["train_loss"] == epoch.loss
        assert record["optimizer"]["weight_decay"] == TINY.weight_decay
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
    train(TINY, tmp_path, progress=False)
    precious = (tmp_path / "history.jsonl").read_text()
    with pytest.raises(NeuralCollapseError, match="out: expected a folder without a history"):
        train(TINY, tmp_path, progress=False)
    assert (tmp_path / "history.jsonl").read_text() == precious
    records = train(TINY, tmp_path, progress=False, overwrite=True)
    assert read_history(tmp_path) == records


def test_a_checkpoint_more_than_every_epoch_is_refused(tmp_path):
    with pytest.raises(
        NeuralCollapseError, match="checkpoint_every: expected at least 1 epoch, got 0"
    ):
        train(TINY, tmp_path, checkpoint_every=0)


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


def test_layers_are_measured_in_the_same_pass(tmp_path):
    # The output of the last ReLU is the feature vector itself.
    plain = quiet(TINY, tmp_path / "plain")
    records = quiet(TINY, tmp_path / "run", layers=["features", "features.3"])
    for record, without in zip(records, plain, strict=True):
        layers = record.pop("layers")
        assert without_seconds([record]) == without_seconds([without])
        for prefix in ("", "test_"):
            for name in ("nc1_pinv", "nc1_trace_ratio", "nc2_etf", "cdnv"):
                value = layers["features"][prefix + name]
                assert value == pytest.approx(record[prefix + name], rel=1e-6)
        assert layers["features.3"]["nc1_trace_ratio"] > layers["features"]["nc1_trace_ratio"]
    assert read_history(tmp_path / "run")[0]["layers"].keys() == {"features", "features.3"}


def test_an_unknown_layer_is_refused_before_training(tmp_path):
    with pytest.raises(
        NeuralCollapseError,
        match="layers: expected names of modules of the model, got 'body'; choose among",
    ):
        quiet(TINY, tmp_path, layers=["body"])
    assert not (tmp_path / "history.jsonl").exists()


class Rows(Dataset):
    """The same samples as a data set of tensors, given out one by one."""

    def __init__(self, data):
        self.data = data

    def __len__(self):
        return len(self.data)

    def __getitem__(self, row):
        return self.data[row]


def own_network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))


def test_own_network_and_data(tmp_path):
    data = load_dataset("digits").subset(20)
    network = own_network()
    before = network[1].weight.detach().clone()
    config = replace(TINY, per_class=None)
    first = quiet(config, tmp_path / "a", model=network, data=data)
    assert not torch.equal(network[1].weight, before)
    pair = (Rows(data.train), Rows(data.test))
    second = quiet(config, tmp_path / "b", model=own_network(), data=pair)
    assert without_seconds(first) == without_seconds(second)
    kept = json.loads((tmp_path / "b/config.json").read_text())
    assert kept["given"] == {"model": "Sequential", "data": "tuple"}
    assert {"net", "width", "data", "data_root"}.isdisjoint(kept["config"])
    assert quiet(config, tmp_path / "a", model=own_network(), data=data, resume=True) == first


SAMPLES = TensorDataset(torch.zeros(2, 1), torch.arange(2))


def made(images=None, labels=None):
    """Return data of two classes, but for what is given."""
    images = torch.randn(4, 1, 8, 8) if images is None else images
    split = TensorDataset(images, torch.arange(4) % 2 if labels is None else labels)
    return ImageData("made", split, split, ("a", "b"))


@pytest.mark.untyped
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"data": (SAMPLES,) * 2},
            "model: expected a network for the data sets given, got none; pass model= too",
        ),
        ({"data": (SAMPLES,)}, "data: expected ImageData, or two data sets, got tuple"),
        (
            {"data": made(images=torch.zeros(4, 1, 8, 8, dtype=torch.float64))},
            "data: expected images in float32, got dtype torch.float64 among the train images",
        ),
        (
            {"data": made(labels=torch.tensor([0, 1, 0, -1]))},
            "train labels: expected labels of at least 0, got labels from -1 to 1",
        ),
        (
            {"data": made(labels=torch.tensor([0.0, 1, 0, 1]))},
            "train labels: expected whole numbers",
        ),
        (
            {"data": made(labels=torch.zeros(4, dtype=torch.int64))},
            "train labels: expected samples of at least 2 classes, got class 0 alone",
        ),
        (
            {"data": ([(torch.zeros(1, 8, 8), "ant")] * 4,) * 2, "model": nn.Linear(8, 2)},
            r"train labels: expected whole numbers from 0 to K - 1, got \['ant', ",
        ),
        (
            {"data": made(labels=torch.tensor([[0], [1], [0], [1]]))},
            r"train labels: expected shape \(n,\), or a row of 2 for each sample, got \(4, 1\); pa",
        ),
        (
            {"data": made(torch.zeros(4, 1, 8, 8).double()), "model": nn.Linear(8, 2)},
            r"data: expected inputs that the network takes: float64 of shape \(1, 8, 8\), got Runt",
        ),
        (
            {"data": made(torch.zeros(4, 1, 8, 9)), "model": nn.Linear(8, 2)},
            r"data: expected inputs that the network takes: float32 of shape \(1, 8, 9\), got Runt",
        ),
        (
            {"devices": 4001},
            "devices: expected at most .* processes on this machine, 2 a core, got 4001",
        ),
        (
            {"model": nn.Sequential(nn.Flatten(), nn.Linear(64, 5))},
            "data: expected labels below 5, the number of logits, got 9 among the train labels",
        ),
    ],
)
def test_network_and_data_must_go_together(tmp_path, options, message):
    with pytest.raises(NeuralCollapseError, match=message):
        quiet(replace(TINY, per_class=None), tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_a_head_with_a_bias_does_not_go_with_a_configuration_without(tmp_path):
    network = build_network("mlp", (1, 8, 8), 10, head_bias=True)
    config = TrainConfig(**TINY.to_dict() | {"head_bias": False})
    with pytest.raises(NeuralCollapseError, match="head_bias: expected True, as the network's"):
        quiet(config, tmp_path, model=network)


def test_bfloat16_rounds_the_products_and_not_the_weights(tmp_path):
    config = TrainConfig(**TINY.to_dict() | {"precision": "bf16"})
    exact, rounded = quiet(TINY, tmp_path / "32"), quiet(config, tmp_path / "bf16")
    for a, b in zip(exact, rounded, strict=True):
        assert a["train_loss"] != b["train_loss"]
        assert a["train_loss"] == pytest.approx(b["train_loss"], rel=0.05)
    weights = load_file(tmp_path / "bf16/model.safetensors")
    assert weights["head.weight"].dtype == torch.float32


def test_channels_last_changes_the_layout_alone(tmp_path):
    config = TrainConfig(**TINY.to_dict() | {"net": "cnn", "epochs": 2})
    plain = quiet(config, tmp_path / "a")
    last = quiet(config, tmp_path / "b", channels_last=True)
    assert last[0]["train_loss"] == pytest.approx(plain[0]["train_loss"], rel=1e-4)


@pytest.mark.slow
def test_a_compiled_network_trains_alike(tmp_path):
    # Apart from this process, whose type checks cannot be compiled.
    plain = apart(TINY, tmp_path / "a")
    compiled = apart(TINY, tmp_path / "b", compile=True)
    for a, b in zip(plain, compiled, strict=True):
        assert a["train_loss"] == pytest.approx(b["train_loss"], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["ce", "mse"])
def test_training_past_zero_error_collapses(tmp_path, loss):
    records = train(TrainConfig(loss=loss), tmp_path, progress=False, measure_every=10)
    first, last = records[0], records[-1]
    assert last["accuracy"] == last["nc4_agreement"] == 1
    assert last["nc1_pinv"] < first["nc1_pinv"] / 100
    assert last["nc2_etf"] < 0.1
    assert last["nc3_self_duality"] < 0.1


@pytest.mark.parametrize(
    ("name", "value"),
    [("per_class", 1), ("test_per_class", 1), ("imbalance", 2.0), ("label_noise", 0.25)],
)
def test_what_would_not_be_done_to_given_data_is_not_recorded_of_it(tmp_path, name, value):
    config = replace(TINY, **{"per_class": None, name: value})
    with pytest.raises(NeuralCollapseError, match=f"{name}: expected .*its default, for data that"):
        quiet(config, tmp_path / "run", data=made())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("part", "name"), [("train", "training"), ("test", "test")])
def test_data_without_a_sample_are_refused(tmp_path, part, name):
    data = replace(made(), **{part: TensorDataset(torch.zeros(0, 1, 8, 8), torch.arange(0))})
    with pytest.raises(NeuralCollapseError, match=f"data: .* got no {name} samples"):
        quiet(replace(TINY, per_class=None), tmp_path / "run", data=data)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("loss", ["ce", "mse"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32])
def test_labels_of_any_whole_numbers_train_alike(tmp_path, dtype, loss):
    config = TrainConfig(epochs=1, batch_size=2, width=1 / 16, loss=loss)
    images, labels = torch.randn(4, 1, 8, 8), torch.arange(4) % 2
    runs = [
        quiet(config, tmp_path / str(kind), data=made(images, labels.to(kind)))
        for kind in (torch.int64, dtype)
    ]
    assert without_seconds(runs[0]) == without_seconds(runs[1])


def test_a_batch_of_one_sample_is_refused_before_the_folder_begins_where_it_would_be_normalised(
    tmp_path,
):
    config = replace(TINY, per_class=2, test_per_class=2, batch_size=19, epochs=1)
    message = "batch_size: .*2 samples or more, for batch norm, got one of 1, of 20 samples in batc"
    with pytest.raises(NeuralCollapseError, match=message):
        quiet(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    # A batch norm over the places of an image has several values, and other networks have none.
    for name, options in (("cnn", {}), ("plain", {"model": own_network()})):
        net = "cnn" if name == "cnn" else "mlp"
        assert len(quiet(replace(config, net=net), tmp_path / name, **options)) == 1


@pytest.mark.untyped
def test_what_is_no_configuration_is_refused(tmp_path):
    with pytest.raises(NeuralCollapseError, match="config: expected a TrainConfig, got dict"):
        train({"lr": 0.1}, tmp_path)
