import inspect
import json
import math
import warnings

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import neuralcollapse as nc
from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.integrations import sink
from neuralcollapse.measurement import FeatureTap, measure
from neuralcollapse.report import collapse_figure
from neuralcollapse.runs import CollapseWarning, read_history
from neuralcollapse.runs.recorder import CollapseRecorder


def train_epoch(network, batches, lr=0.05):
    optimizer = torch.optim.SGD(network.parameters(), lr=lr)
    network.train()
    for inputs, labels in batches:
        optimizer.zero_grad()
        cross_entropy(network(inputs), labels).backward()
        optimizer.step()


def test_it_has_one_documented_name_and_keeps_its_earlier_one():
    assert nc.integrations.CollapseWatch is nc.integrations.watch is nc.watch
    assert "CollapseWatch" not in nc.integrations.__all__


def test_a_pass_gives_what_measure_gives(network, loader):
    train_epoch(network, loader)
    measured = measure(network, loader, test_loader=loader)
    report = nc.measure(network, loader, test_loader=loader)
    assert set(measured) == set(report)
    for name, value in report.items():
        assert measured[name] == pytest.approx(value, rel=1e-5, abs=1e-9), name
    classes = report.per_class.sort_values("class")
    accuracies = measured.train.state.per_class()["accuracy"]
    assert accuracies.tolist() == pytest.approx(classes["accuracy"].tolist())


def test_without_room_for_features_the_network_runs_twice(network, loader):
    whole = measure(network, loader)
    twice = measure(network, loader, feature_budget=0)
    assert twice.to_dict() == pytest.approx(whole.to_dict(), rel=1e-5)
    with pytest.raises(NeuralCollapseError, match="a loader that can be read only once"):
        measure(network, iter(loader), feature_budget=0)
    with pytest.raises(NeuralCollapseError, match="at least one batch with samples"):
        measure(network, [])


@pytest.mark.parametrize("mode", ["pass", "batches"])
def test_watching_leaves_training_as_it_was(network, loader, mode):
    states = []
    for watched in (False, True):
        torch.manual_seed(1)
        for layer in network:
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()
        with nc.watch(network, loader, mode=mode, schedule="full") as collapse:
            for _ in range(3):
                train_epoch(network, collapse.batches() if watched else loader)
                if watched:
                    collapse.epoch_end()
        states.append([tensor.clone() for tensor in network.state_dict().values()])
        assert network.training
    assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))
    assert not any(module._forward_hooks for module in network.modules())


def test_batches_of_a_network_at_rest_give_what_a_pass_gives(network, loader):
    network = network.eval()
    with nc.watch(network, loader, mode="batches", schedule="full") as collapse:
        for _ in range(2):
            for inputs, _labels in collapse.batches():
                network(inputs)
            collapse.epoch_end()
    report = nc.measure(network, loader)
    first, second = collapse.records
    assert math.isnan(first["nc4_agreement"])  # no class means are known yet
    assert math.isnan(first["ncc_accuracy"])
    for name, value in report.items():
        assert second[name] == pytest.approx(value, rel=1e-5, abs=1e-9), name
    assert (first["mode"], first["step"], second["step"]) == ("batches", 6, 12)
    assert [row["class"] for row in second["classes"]] == ["0", "1", "2"]
    assert sum(row["samples"] for row in second["classes"]) == 96
    i, j, value = second["worst_pairs"][0]
    worst = report.worst_pairs(1).iloc[0]
    assert (i, j, value) == (worst["class i"], worst["class j"], pytest.approx(worst["cdnv"]))


def test_a_validation_run_between_batches_is_not_taken_for_training(network, loader):
    with nc.watch(network, loader, mode="batches") as collapse:
        for _ in range(2):
            train_epoch(network, collapse.batches(), lr=0.0)
            network.eval()
            network(torch.full((50, 6), 1e6))
            record = collapse.epoch_end()
    assert record["epoch"] == 2
    assert record["nc1_trace_ratio"] < 1e3


def test_economy_measures_few_epochs_and_the_last(network, loader):
    with nc.watch(network, loader, schedule=10) as collapse:
        made = [collapse.epoch_end() is not None for _ in range(12)]
    assert [number for number, record in enumerate(made, 1) if record] == [1, 10]
    assert [record["epoch"] for record in collapse.records] == [1, 10, 12]  # the last, at the end
    with (
        pytest.warns(CollapseWarning, match="still wrong at epoch 10 of 12"),
        nc.watch(network, loader, schedule=10, epochs=12) as collapse,
    ):
        made = [collapse.epoch_end() is not None for _ in range(12)]
    assert [number for number, record in enumerate(made, 1) if record] == [1, 10, 12]


def resumed(network, loader, folder, **options):
    """A run of ten epochs, of which 1, 4 and 8 were measured, and the watch that goes on."""
    earlier = nc.watch(network, loader, schedule=4, history=folder, **options)
    for _ in range(10):
        earlier.epoch_end()
    again = nc.watch(network, loader, schedule=4, history=folder, resume=True, **options)
    return earlier, again


def test_a_resumed_run_is_told_the_number_of_its_epoch(network, loader, tmp_path):
    _, again = resumed(network, loader, tmp_path / "run")
    with warnings.catch_warnings():
        warnings.simplefilter("error", CollapseWarning)
        made = [again.epoch_end(epoch=epoch) is not None for epoch in (11, 12, 13)]
        again.epoch_end()
    assert (made, again.epoch) == ([False, True, False], 14)
    assert [record["epoch"] for record in read_history(tmp_path / "run")] == [1, 4, 8, 12]
    with pytest.raises(NeuralCollapseError, match="epoch: expected at least 1, got 0"):
        again.epoch_end(epoch=0)


def test_a_resumed_run_without_steps_logs_under_its_epochs(network, loader, tmp_path):
    steps = []
    _, again = resumed(
        network, loader, tmp_path / "run", log=lambda values, step: steps.append(step)
    )
    again.epoch_end(epoch=12)
    assert steps == [1, 4, 8, 12]


def test_a_resumed_run_that_is_told_nothing_says_what_it_guesses(network, loader, tmp_path):
    _, again = resumed(network, loader, tmp_path / "run")
    with pytest.warns(CollapseWarning, match="of epoch 8, and this epoch is taken for 9: pass its"):
        again.epoch_end()
    with warnings.catch_warnings():
        warnings.simplefilter("error", CollapseWarning)
        again.epoch_end()
    assert again.epoch == 10


def test_an_epoch_that_has_a_record_is_not_measured_again(network, loader, tmp_path):
    _, again = resumed(network, loader, tmp_path / "run")
    with pytest.warns(CollapseWarning, match="epoch 4 is not measured again: there are records to"):
        assert again.epoch_end(epoch=4) is None
    assert [record["epoch"] for record in read_history(tmp_path / "run")] == [1, 4, 8]


@pytest.mark.parametrize("mode", ["pass", "batches"])
def test_the_state_of_a_watch_continues_a_run_to_the_epoch_and_step(
    network, loader, tmp_path, mode
):
    def trained(collapse, epochs):
        for _ in range(epochs):
            for inputs, _labels in collapse.batches():
                network(inputs)
            collapse.epoch_end()

    options = {"schedule": 4, "history": tmp_path / "run", "mode": mode}
    earlier = nc.watch(network, loader, **options)
    trained(earlier, 7)
    kept = json.loads(json.dumps(earlier.state_dict()))
    trained(earlier, 2)  # which the checkpoint does not know
    again = nc.watch(network, loader, **options)
    again.load_state_dict(kept)
    assert (again.epoch, [record["epoch"] for record in again.records]) == (7, [1, 4])
    trained(again, 2)
    assert [(record["epoch"], record["step"]) for record in again.records] == [
        (1, 6), (4, 24), (8, 48)
    ]  # fmt: skip
    assert [record["epoch"] for record in read_history(tmp_path / "run")] == [1, 4, 8]


def test_a_resumed_run_compares_batches_with_the_class_means_of_the_epoch_before(network, loader):
    def trained(collapse):
        for inputs, _labels in collapse.batches():
            network(inputs)
        return collapse.epoch_end()["nc4_agreement"]

    network.eval()  # without dropout, and in one order, so that epochs are alike
    loader = list(loader)
    whole = nc.watch(network, loader, mode="batches")
    assert math.isnan(trained(whole))
    kept = json.loads(json.dumps(whole.state_dict()))
    again = nc.watch(network, loader, mode="batches")
    again.load_state_dict(kept)
    assert trained(again) == trained(whole)


def test_an_error_in_the_loop_is_not_followed_by_a_measurement(network, loader):
    watched = nc.watch(network, loader, mode="batches")

    def interrupted():
        with watched as collapse:
            for inputs, _ in collapse.batches():
                network(inputs)
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        interrupted()
    assert not any(module._forward_hooks for module in network.modules())
    assert watched.records == []


def test_the_history_is_one_that_figures_read(network, loader, tmp_path):
    folder = tmp_path / "run"
    with nc.watch(network, loader, test_loader=loader, history=folder, schedule="full") as collapse:
        for _ in range(2):
            train_epoch(network, loader)
            collapse.epoch_end()
    records = read_history(folder)
    assert [record["epoch"] for record in records] == [1, 2]
    assert records[1]["nc1_pinv"] == collapse.records[1]["nc1_pinv"]
    assert len(collapse_figure(records).axes) == 4


def test_logged_names_and_every_kind_of_logger(network, loader):
    class Logger:
        def __init__(self):
            self.calls = []

        def log_metrics(self, values, step):
            self.calls.append((step, values))

    class Writer:
        def __init__(self):
            self.calls = []

        def add_scalar(self, name, value, step):
            self.calls.append((name, value, step))

    class Run:
        def log(self, values, step):
            self.step = step

    logger = Logger()
    with nc.watch(
        network, loader, test_loader=loader, log=logger, schedule="full", class_names="abc"
    ) as collapse:
        record = collapse.epoch_end(step=42)
    [(step, values)] = logger.calls
    assert step == 42
    assert values["collapse/nc1_pinv"] == record["nc1_pinv"]
    assert values["collapse/test_nc1_pinv"] == record["test_nc1_pinv"]
    assert values["collapse/alarm_loss_of_rank"] == 0
    assert values["collapse_class/trace_variance/b"] > 0
    assert all(isinstance(value, float) for value in values.values())
    writer, run, seen = Writer(), Run(), []
    sink(writer)(values, 3)
    assert ("collapse/nc1_pinv", record["nc1_pinv"], 3) in writer.calls
    sink(run)(values, 5)
    assert run.step == 5
    sink(lambda values, step: seen.append(step))(values, 6)
    assert seen == [6]
    with pytest.raises(NeuralCollapseError, match="a logger with log_metrics, add_scalar or log"):
        sink(3)


def test_batches_are_logged_under_a_name_of_their_own(network, loader):
    names = []
    with nc.watch(
        network, loader, mode="batches", log=lambda values, step: names.extend(values)
    ) as collapse:
        train_epoch(network, collapse.batches())
        collapse.epoch_end()
    assert {name.split("/")[0] for name in names} == {"collapse_batches"}


def test_an_alarm_warns_once_and_is_logged_while_it_lasts(network, dataset):
    inputs, labels = dataset.tensors
    some = DataLoader(TensorDataset(inputs[labels != 2], labels[labels != 2]), batch_size=16)
    logged = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with nc.watch(
            network, some, log=lambda v, s: logged.append(v["collapse/alarm_absent_class"])
        ) as collapse:
            for _ in range(3):
                collapse.epoch_end()
    ours = [item for item in caught if item.category is CollapseWarning]
    assert [str(item.message) for item in ours] == [
        "no training sample of class 2: no metric counts it; check the data set and the order of "
        "class_names"
    ]
    assert logged == [1.0, 1.0, 1.0]
    assert list(collapse.records[2]["alarms"]) == ["absent_class"]


def test_bad_input_is_refused(network, loader):
    with pytest.raises(
        NeuralCollapseError, match="mode: expected one of pass, batches, got 'both'"
    ):
        inspect.unwrap(CollapseRecorder.__init__)(object.__new__(CollapseRecorder), mode="both")
    with pytest.raises(NeuralCollapseError, match="3 names, one per class, got 2"):
        nc.watch(network, loader, class_names="ab").epoch_end()
    with pytest.raises(NeuralCollapseError, match="training batches with labels between two"):
        nc.watch(network, loader, mode="batches").epoch_end()


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda net, x: net(x[:8]), "8 labels, one for each sample that ran, got 16"),
        (lambda net, x: net(net(x)[:, [0, 1, 2, 0, 1, 2]]), "one call in each forward pass, got 2"),
        (lambda net, x: None, "one call in each forward pass, got 0"),
    ],
)
def test_batches_that_do_not_run_once_are_refused(network, loader, run, message):
    watched = nc.watch(network, loader, mode="batches", head="4")
    batches = watched.batches()
    inputs, _ = next(batches)
    run(network, inputs)
    with pytest.raises(NeuralCollapseError, match=message):
        next(batches)
    assert not any(module._forward_hooks for module in network.modules())


def test_a_tap_can_be_opened_again(network):
    tap = FeatureTap(network)
    for _ in range(2):
        with tap:
            network(torch.zeros(5, 6))
            assert tap.take()[1].shape == (5, 3)
    assert isinstance(tap.head, nn.Linear)


def test_what_cannot_be_measured_is_refused_before_training(network, loader, mistaken):
    options, message = mistaken
    network[3].unused = nn.Identity()
    with pytest.raises(NeuralCollapseError, match=message):
        nc.watch(network, loader, **options)


@pytest.mark.parametrize("options", [{"class_names": "ab"}, {"include": ["test_nc1_pinv"]}])
def test_what_cannot_be_measured_of_batches_is_refused_at_the_first(network, loader, options):
    watched = nc.watch(network, loader, mode="batches", **options)
    batches = watched.batches()
    network(next(batches)[0])
    with pytest.raises(NeuralCollapseError, match=next(iter(options))):
        next(batches)


def test_every_metric_that_is_measured_can_be_included(network, loader):
    for name in nc.measure(network, loader, test_loader=loader):
        nc.watch(network, loader, test_loader=loader, include=[name])
        nc.watch(network, loader, test_loader=loader, include=name)
    nc.watch(network, loader, include=["mine"], metrics={"mine": lambda measured: 0.0})


def test_a_batch_without_some_classes_does_not_tell_what_is_measured_of_all():
    """A softmax code is of all classes, of which the batch of the rehearsal has a half."""
    network = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 8))
    batches = [(torch.randn(4, 2), labels) for labels in torch.arange(16).view(4, 4) % 8]
    watched = nc.watch(network, batches, include=["nc2_code"])
    assert watched.epoch_end()["nc2_code"] <= 1.001
    wide = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 8))
    with pytest.raises(NeuralCollapseError, match="include: expected metrics that are measured"):
        nc.watch(wide, batches, include=["nc2_code"])


@pytest.mark.parametrize(
    "given", [{"val_loader": []}, {"test_loader": []}, {"max_batches": 2}, {"min_samples": 5}]
)
def test_what_only_a_pass_heeds_is_refused_of_batches(network, loader, given):
    words = rf"^{next(iter(given))}: expected nothing with mode='batches'.*use mode='pass'"
    with pytest.raises(NeuralCollapseError, match=words):
        nc.watch(network, loader, mode="batches", **given)


@pytest.mark.parametrize("mode", ["pass", "batches"])
def test_how_samples_were_read_is_said_in_every_mode(mode):
    torch.manual_seed(0)
    network = nn.Linear(4, 3)
    loader = [(torch.randn(6, 5, 4), torch.arange(30).reshape(6, 5) % 3)]
    with (
        warnings.catch_warnings(record=True, action="always") as caught,
        nc.watch(network, loader, mode=mode, shift_labels=True) as collapse,
    ):
        for inputs, _labels in collapse.batches():
            network(inputs)
        collapse.epoch_end()
    said = [str(warning.message) for warning in caught]
    for words in ("Labels are shifted", "Each position counts as a sample"):
        assert any(words in text for text in said)
        assert any(words in text for text in collapse.records[0]["cautions"])
