"""The callback in real runs of the Trainer, on one process and on two."""

import copy
import itertools
import json
import math
import warnings

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import neuralcollapse as nc
from neuralcollapse.integrations import CollapseCallback
from neuralcollapse.runs import CollapseWarning, read_history
from ranks import launched

lightning = pytest.importorskip("lightning.pytorch")
import pytorch_lightning  # noqa: E402
from lightning.pytorch.callbacks import EarlyStopping  # noqa: E402
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger  # noqa: E402


def module_of(package, network):
    class Classifier(package.LightningModule):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, inputs):
            return self.network(inputs)

        def training_step(self, batch, batch_idx):
            inputs, labels = batch
            return cross_entropy(self(inputs), labels)

        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            inputs, labels = batch
            self.log("val_loss", cross_entropy(self(inputs), labels))

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.05)

    return Classifier()


def fit(package, network, loader, callbacks, epochs=3, logger=False, **options):
    trainer = package.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=epochs,
        callbacks=callbacks,
        logger=logger,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(module_of(package, network), loader, loader)
    return trainer


@pytest.mark.parametrize("package", [lightning, pytorch_lightning], ids=lambda p: p.__name__)
def test_values_are_those_of_measure(package, network, loader, tmp_path):
    callback = CollapseCallback(history=tmp_path)
    trainer = fit(package, network, loader, [callback])
    report = nc.measure(network, loader, test_loader=loader)
    last = callback.records[-1]
    for name, value in report.items():
        assert last[name] == pytest.approx(value, rel=1e-5, abs=1e-9), name
    logged = trainer.callback_metrics
    assert float(logged["collapse/nc1_pinv"]) == pytest.approx(report["nc1_pinv"], rel=1e-5)
    assert float(logged["collapse/test_cdnv"]) == pytest.approx(report["test_cdnv"], rel=1e-5)
    assert [record["epoch"] for record in read_history(tmp_path)] == [1, 2, 3]
    assert [record["step"] for record in callback.records] == [6, 12, 18]
    assert last["optimizer"] | {"lr": 0.05, "weight_decay": 0.0} == last["optimizer"]


@pytest.mark.parametrize("mode", ["pass", "batches"])
def test_training_goes_on_as_if_nothing_had_been_measured(network, loader, mode):
    states = []
    for callbacks in ([], [CollapseCallback("full", mode=mode)]):
        torch.manual_seed(1)
        for layer in network:
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()
        fit(lightning, network, loader, callbacks)
        states.append([tensor.clone() for tensor in network.state_dict().values()])
    assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))
    assert not any(module._forward_hooks for module in network.modules())


def test_loggers_receive_the_values(network, loader, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    loggers = [CSVLogger(tmp_path, name="csv"), TensorBoardLogger(tmp_path, name="board")]
    callback = CollapseCallback(mode="batches")
    fit(lightning, network, loader, [callback], logger=loggers)
    lines = (tmp_path / "csv/version_0/metrics.csv").read_text().splitlines()
    assert "collapse_batches/nc1_pinv" in lines[0].split(",")
    events = EventAccumulator(str(tmp_path / "board/version_0")).Reload()
    points = events.Scalars("collapse_batches/nc1_pinv")
    assert [point.value for point in points] == pytest.approx(
        [record["nc1_pinv"] for record in callback.records]
    )
    assert "collapse_batches/alarm_loss_of_rank" in events.Tags()["scalars"]


def test_a_value_can_be_monitored_and_the_last_epoch_is_measured(network, loader):
    stopping = EarlyStopping("collapse/nc1_trace_ratio", stopping_threshold=1e9, mode="min")
    callback = CollapseCallback()
    fit(lightning, network, loader, [callback, stopping], epochs=9)
    assert [record["epoch"] for record in callback.records] == [1]

    class Stop(lightning.Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            trainer.should_stop = trainer.current_epoch == 6

    callback = CollapseCallback("economy")
    fit(lightning, network, loader, [callback, Stop()], epochs=99)
    assert [record["epoch"] for record in callback.records] == [1, 2, 3, 4, 5, 6, 7]


def test_several_loaders_are_refused_with_a_way_out(network, loader):
    callback = CollapseCallback()
    with pytest.warns(
        CollapseWarning, match=r"goes on: .* one training loader, got a dict of 2; pass loader="
    ):
        fit_pairs(network, {"a": loader, "b": loader}, callback)
    assert callback.records == []
    callback = CollapseCallback(loader=loader)
    fit_pairs(network, {"a": loader, "b": loader}, callback)
    assert len(callback.records) == 1


def fit_pairs(network, loaders, callback):
    module = module_of(lightning, network)
    module.training_step = lambda batch: cross_entropy(module(batch["a"][0]), batch["a"][1])
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=1,
        callbacks=[callback],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, loaders)


def _rank(rank, world, folder):
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    module = module_of(lightning, nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)))

    def optimizers():
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.0)]

    module.configure_optimizers = optimizers
    data = TensorDataset(*torch.load(folder / "data.pt", weights_only=True))
    loader, held_out = (
        DataLoader(data, batch_size=8, shuffle=shuffle) for shuffle in (True, False)
    )
    callbacks = [CollapseCallback("full", mode=m, history=folder / m) for m in ("pass", "batches")]
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=world,
        strategy="ddp",
        max_epochs=2,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, loader, held_out)
    logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
    found = [callbacks[0].records, callbacks[1].records, logged]
    (folder / f"rank{rank}.json").write_text(json.dumps(found))
    if rank == 0:
        torch.save(module.network.state_dict(), folder / "network.pt")


@pytest.mark.parametrize("world", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_several_processes_measure_what_one_does(dataset, tmp_path, world):
    """Each holds its part of the data; in the second epoch the learning rate is 0.

    So its batches see the same network as a pass at its end, on one process.
    """
    torch.save(list(dataset.tensors), tmp_path / "data.pt")
    launched(_rank, world, tmp_path)
    network = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    network.load_state_dict(torch.load(tmp_path / "network.pt", weights_only=True))
    loader = DataLoader(dataset, batch_size=96)
    report = nc.measure(network, loader, test_loader=loader)
    classes = report.per_class.sort_values("class")
    ranks = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(world)]
    for index, mode in enumerate(("pass", "batches")):
        first, *others = (rank[index][1] for rank in ranks)
        for name in report if mode == "pass" else report.train.values:
            # What nearest-mean decisions use in "batches" are the means of the epoch before.
            if mode == "pass" or name not in ("ncc_accuracy", "nc4_agreement"):
                assert first[name] == pytest.approx(report[name], rel=1e-5, abs=1e-9), name
            assert all(other[name] == first[name] for other in others), name
        for column in ("samples", "trace_variance", "distance_to_center", "accuracy"):
            measured = [row[column] for row in first["classes"]]
            assert measured == pytest.approx(classes[column].tolist(), rel=1e-5), column
        assert len(read_history(tmp_path / mode)) == 2  # one process writes
    for logged in (rank[2] for rank in ranks):
        for prefix in ("collapse", "collapse_batches"):
            assert logged[f"{prefix}/nc1_pinv"] == pytest.approx(report["nc1_pinv"], rel=1e-5)


def quiet_fit(module, loader, callback, val=None, **options):
    settings = {
        "accelerator": "cpu", "devices": 1, "max_epochs": 2, "callbacks": [callback],
        "logger": False, "enable_checkpointing": False, "enable_progress_bar": False,
        "enable_model_summary": False, "num_sanity_val_steps": 0,
    }  # fmt: skip
    trainer = lightning.Trainer(**settings | options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(module, loader, val)
    return trainer


def test_batches_go_through_the_three_hooks_of_their_transfer(network, dataset):
    inputs, labels = dataset.tensors
    module = module_of(lightning, network)
    module.on_before_batch_transfer = lambda batch, index: (batch[0] - 1, batch[1])
    module.transfer_batch_to_device = lambda batch, device, index: (batch[0] / 2, batch[1])
    module.on_after_batch_transfer = lambda batch, index: (batch[0] * 3, batch[1])
    loader = DataLoader(dataset, batch_size=32)
    callback = CollapseCallback()
    quiet_fit(module, loader, callback)
    report = nc.measure(network, [((inputs - 1) / 2 * 3, labels)])
    for name, value in report.items():
        assert callback.records[-1][name] == pytest.approx(value, rel=1e-4, abs=1e-6), name


@pytest.mark.parametrize("mode", ["pass", "batches"])
def test_a_second_fit_of_another_module_goes_on(network, loader, mode):
    callback = CollapseCallback(mode=mode)
    for _ in range(2):
        for layer in network:
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()
        quiet_fit(module_of(lightning, copy.deepcopy(network)), loader, callback)
    assert [record["epoch"] for record in callback.records] == [1, 2, 3, 4]
    assert not callback.quiet


def test_limits_of_the_trainer_and_options_of_measure(network, dataset):
    loader = DataLoader(dataset, batch_size=16)
    val = {"clean": loader, "half": DataLoader(dataset, batch_size=48)}
    options = {"include": ["nc1_pinv"], "scatter": "per_class", "layers": ["network.2"]}
    callback = CollapseCallback("full", val_loader=val, **options)
    module = module_of(lightning, network)
    trainer = quiet_fit(module, loader, callback, limit_train_batches=2)
    record = callback.records[-1]
    assert sum(row["samples"] for row in record["classes"]) == 32
    assert record["test_clean_nc1_pinv"] == pytest.approx(record["test_half_nc1_pinv"], rel=1e-4)
    assert "vci" not in record
    assert record["layers"]["network.2"]["nc1_pinv"] > 0
    assert "collapse/test_clean_nc1_pinv" in trainer.callback_metrics

    class Endless(IterableDataset):
        def __iter__(self):
            return itertools.cycle(zip(*dataset.tensors, strict=True))

    callback = CollapseCallback("full", validation=False)
    stream = DataLoader(Endless(), batch_size=16)
    quiet_fit(module_of(lightning, network), stream, callback, limit_train_batches=3)
    assert sum(row["samples"] for row in callback.records[0]["classes"]) == 48


def test_an_epoch_cut_short_is_measured_on_what_the_longest_had(network, dataset):
    loader = DataLoader(dataset, batch_size=len(dataset) // 3)
    callback = CollapseCallback("full")
    quiet_fit(module_of(lightning, network), loader, callback, max_steps=4, max_epochs=-1)
    counts = [sum(row["samples"] for row in r["classes"]) for r in callback.records]
    assert counts == [len(dataset)] * 2


@pytest.mark.parametrize("mode", ["pass", "batches"])
def test_what_cannot_be_measured_never_ends_training(network, loader, mode):
    network.append(nn.Softmin(1))  # which turns every decision round
    callback = CollapseCallback(mode=mode)
    trainer = lightning.Trainer(
        accelerator="cpu", devices=1, max_epochs=2, callbacks=[callback], logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    with pytest.warns(CollapseWarning, match="goes on: NeuralCollapseError: head") as caught:
        trainer.fit(module_of(lightning, network), loader)
    assert trainer.current_epoch == 2
    assert len([item for item in caught if item.category is CollapseWarning]) == 1


def test_a_module_without_forward_is_told_what_to_pass(network, loader):
    class Stepping(type(module_of(lightning, network))):
        forward = lightning.LightningModule.forward  # as where none is defined

        def training_step(self, batch, batch_idx):
            return cross_entropy(self.network(batch[0]), batch[1])

    module = module_of(lightning, network)
    module.__class__ = Stepping
    given = {"forward": lambda module, inputs: module.network(inputs)}
    told, measured = CollapseCallback(), CollapseCallback(prefix="given", **given)
    trainer = lightning.Trainer(
        accelerator="cpu", max_epochs=1, callbacks=[told, measured], logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    with pytest.warns(CollapseWarning, match="Stepping, which has no forward of its own; define"):
        trainer.fit(module, loader)
    assert told.quiet
    wanted = nc.measure(network, loader)["nc1_pinv"]
    assert measured.records[-1]["nc1_pinv"] == pytest.approx(wanted, rel=1e-5)


def test_a_second_process_that_resumes_the_folder_numbers_on(network, loader, tmp_path):
    """Without a checkpoint of Lightning: the Trainer counts from 0, the folder goes on."""
    for resume in (False, True):
        callback = CollapseCallback(history=tmp_path / "run", resume=resume)
        quiet_fit(module_of(lightning, network), loader, callback)
    assert not callback.quiet
    assert [record["epoch"] for record in read_history(tmp_path / "run")] == [1, 2, 3, 4]


def test_batches_after_a_resume_go_by_the_class_means_of_the_epoch_before(
    network, dataset, tmp_path
):
    """A network that stays as it is agrees with its class means alike, resumed or not."""
    network.eval()
    loader = DataLoader(dataset, batch_size=16)

    def fit(epochs, **options):
        module, callback = module_of(lightning, network), CollapseCallback(mode="batches")
        module.configure_optimizers = lambda: torch.optim.SGD(network.parameters(), lr=0.0)
        trainer = lightning.Trainer(
            accelerator="cpu", devices=1, max_epochs=epochs, callbacks=[callback], logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        trainer.fit(module, loader, **options)
        trainer.save_checkpoint(tmp_path / "c.ckpt")
        return [record["nc4_agreement"] for record in callback.records]

    fit(1)
    first, resumed = fit(2, ckpt_path=tmp_path / "c.ckpt")
    assert math.isnan(first)
    assert resumed == fit(2)[1]


def test_without_its_state_the_folder_goes_on_after_its_last_record(network, loader, tmp_path):
    """A checkpoint that knows nothing of the callback is older than the records in the folder."""

    def fit(epochs, *callbacks, **options):
        trainer = lightning.Trainer(
            accelerator="cpu", devices=1, max_epochs=epochs, callbacks=[*callbacks], logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        trainer.fit(module_of(lightning, network), loader, **options)
        return trainer

    fit(1).save_checkpoint(tmp_path / "c.ckpt")
    fit(3, CollapseCallback(history=tmp_path / "run"))
    again = CollapseCallback(history=tmp_path / "run", resume=True)
    with pytest.warns(CollapseWarning, match="epoch 2 is not measured again: there are records to"):
        fit(5, again, ckpt_path=tmp_path / "c.ckpt")
    assert not again.quiet
    assert [record["epoch"] for record in read_history(tmp_path / "run")] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("precision", ["bf16-true", "16-true", "64-true", "bf16-mixed"])
@pytest.mark.parametrize("mode", ["pass", "batches"])
def test_a_pass_runs_in_the_precision_of_training(dataset, precision, mode):
    """Inputs are converted, and statistics are taken in their own precision: weights alike."""
    states, callback = [], CollapseCallback(mode=mode, layers=["network.0"])
    for callbacks in ([], [callback]):
        torch.manual_seed(1)
        network = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
        loader = DataLoader(dataset, batch_size=16)
        options = {"precision": precision, "callbacks": callbacks}
        quiet_fit(module_of(lightning, network), loader, callback, loader, **options)
        states.append([parameter.clone() for parameter in network.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))
    assert not callback.quiet
    assert len(callback.records) == 2
    if mode == "pass":
        dtype = next(network.parameters()).dtype
        inputs, labels = dataset.tensors
        with torch.autocast("cpu", torch.bfloat16, enabled="mixed" in precision):
            report = nc.measure(network, [(inputs.to(dtype), labels)])
        rel = 1e-6 if precision == "64-true" else 0.02
        found = callback.records[-1]["nc1_trace_ratio"]
        assert found == pytest.approx(report["nc1_trace_ratio"], rel=rel)


def test_what_cannot_be_measured_shows_before_training(network, dataset, mistaken):
    class Noted(lightning.Callback):
        def on_train_start(self, trainer, pl_module):
            self.quiet = callback.quiet

    options, _ = mistaken
    if "layers" in options:
        network[3].unused = nn.Identity()
        options = {"layers": [f"network.{name}" for name in options["layers"]]}
    callback, noted = CollapseCallback(**options), Noted()
    loader = DataLoader(dataset, batch_size=32)
    quiet_fit(module_of(lightning, network), loader, None, callbacks=[callback, noted])
    assert noted.quiet


class Endless(IterableDataset):
    def __init__(self, inputs, labels):
        self.samples = list(zip(inputs, labels, strict=True))

    def __iter__(self):
        return itertools.cycle(self.samples)


@pytest.mark.parametrize("kind", ["one", "several", "named"])
def test_a_pass_reads_as_many_validation_batches_as_the_trainer_does(network, dataset, kind):
    """Also of a stream that never ends."""
    val = DataLoader(Endless(*dataset.tensors), batch_size=12)
    finite = DataLoader(dataset, batch_size=6)
    loaders = {"one": val, "several": [val, finite], "named": {"a": val, "b": finite}}[kind]
    callback = CollapseCallback()
    train = DataLoader(dataset, batch_size=16)
    quiet_fit(
        module_of(lightning, network), train, callback, loaders, limit_val_batches=2, max_epochs=1
    )
    assert not callback.quiet
    inputs, labels = dataset.tensors
    report = nc.measure(network, [(inputs, labels)], test_loader=[(inputs[:24], labels[:24])])
    name = {"one": "test", "several": "test_0", "named": "test_a"}[kind]
    for metric in ("accuracy", "nc1_trace_ratio"):
        value = callback.records[0][f"{name}_{metric}"]
        assert value == pytest.approx(report[f"test_{metric}"], rel=1e-5)
