"""The callback in real runs of the Hugging Face Trainer, of tiny networks with random weights."""

import json
import math
import warnings

import pytest
import torch

import neuralcollapse as nc
from neuralcollapse.runs import CollapseWarning, read_history
from ranks import launched

transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")  # which the Trainer needs

from neuralcollapse.integrations import CollapseTrainerCallback  # noqa: E402

CLASSES = 3


def bert():
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=20,
        hidden_size=12,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=8,
        num_labels=CLASSES,
        id2label={0: "red", 1: "green", 2: "blue"},
    )
    return transformers.BertForSequenceClassification(config)


def sentences(dtype=torch.float32, size=24):
    generator = torch.Generator().manual_seed(0)
    return [
        {
            "input_ids": torch.randint(5 * k, 5 * k + 8, (6,), generator=generator) % 20,
            "attention_mask": torch.ones(6, dtype=torch.int64),
            "labels": k,
        }
        for k in (i % CLASSES for i in range(size))
    ]


def vit():
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        image_size=8,
        patch_size=4,
        num_channels=1,
        hidden_size=12,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        num_labels=CLASSES,
    )
    return transformers.ViTForImageClassification(config)


def images(dtype=torch.float32, size=24):
    generator = torch.Generator().manual_seed(0)
    return [
        {"pixel_values": (i % CLASSES + noise).to(dtype), "label": i % CLASSES}
        for i, noise in enumerate(torch.randn(size, 1, 8, 8, generator=generator))
    ]


def trainer_of(model, data, folder, **options):
    settings = {
        "output_dir": str(folder),
        "num_train_epochs": 3,
        "per_device_train_batch_size": 8,
        "learning_rate": 1e-3,
        "report_to": [],
        "save_strategy": "no",
        "disable_tqdm": True,
        "use_cpu": True,
        "dataloader_pin_memory": False,
    }
    arguments = transformers.TrainingArguments(**settings | options)
    return transformers.Trainer(
        model=model, args=arguments, train_dataset=data, eval_dataset=data[:12]
    )


def run(trainer):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.train()


@pytest.mark.parametrize(("model", "data"), [(bert, sentences), (vit, images)])
def test_values_are_those_of_measure(model, data, tmp_path):
    # In float64: the order of samples differs, and a few tokens leave a nearly singular scatter.
    network, samples = model().double(), data(torch.float64)
    trainer = trainer_of(network, samples, tmp_path)
    callback = CollapseTrainerCallback(trainer, "full", history=tmp_path / "history.jsonl")
    trainer.add_callback(callback)
    run(trainer)
    loader = trainer.get_train_dataloader()
    report = nc.measure(network, loader, test_loader=trainer.get_eval_dataloader())
    last = callback.records[-1]
    for name, value in report.items():
        assert last[name] == pytest.approx(value, rel=1e-5, abs=1e-8), name
    logged = [entry for entry in trainer.state.log_history if "collapse/nc1_pinv" in entry]
    assert [entry["epoch"] for entry in logged] == [1, 2, 3]
    assert logged[-1]["collapse/nc1_pinv"] == last["nc1_pinv"]
    assert logged[-1]["collapse/test_nc1_pinv"] == last["test_nc1_pinv"]
    assert len(read_history(tmp_path)) == 3
    assert last["optimizer"]["decoupled"] is ("AdamW" in last["optimizer"]["name"]) is True
    names = ["red", "green", "blue"] if model is bert else ["LABEL_0", "LABEL_1", "LABEL_2"]
    assert [row["class"] for row in last["classes"]] == names


@pytest.mark.parametrize("options", [{}, {"gradient_accumulation_steps": 3}])
def test_batches_of_training_are_measured_each_once(tmp_path, options):
    trainer = trainer_of(bert(), sentences(), tmp_path, **options)
    callback = CollapseTrainerCallback(trainer, "full", mode="batches")
    trainer.add_callback(callback)
    run(trainer)
    for record in callback.records:
        assert sum(row["samples"] for row in record["classes"]) == 24
    assert any("collapse_batches/nc1_pinv" in entry for entry in trainer.state.log_history)


def test_training_goes_on_where_a_batch_cannot_be_read(tmp_path):
    unclear = [{**each, "attention_mask": torch.zeros(6)} for each in sentences()]
    trainer = trainer_of(bert(), unclear, tmp_path, num_train_epochs=1)
    trainer.add_callback(CollapseTrainerCallback(trainer, "full", mode="batches"))
    with pytest.warns(CollapseWarning, match="training goes on: .*attention_mask: .*zeros"):
        trainer.train()
    assert trainer.state.global_step == 3
    assert not torch.overrides._get_current_function_mode_stack()


@pytest.mark.parametrize("mode", ["pass", "batches"])
def test_training_goes_on_as_if_nothing_had_been_measured(tmp_path, mode):
    states = []
    for measured in (False, True):
        network = bert()
        trainer = trainer_of(network, sentences(), tmp_path, seed=1, eval_strategy="epoch")
        if measured:
            trainer.add_callback(CollapseTrainerCallback(trainer, mode=mode))
        run(trainer)
        states.append(list(network.state_dict().values()))
        modules = list(network.modules())
        assert not any(module._forward_hooks for module in modules)
        assert not any(module._forward_pre_hooks for module in modules)
    assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))


def test_tensorboard_receives_the_values(tmp_path, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path))
    trainer = trainer_of(vit(), images(), tmp_path, report_to=["tensorboard"])
    callback = CollapseTrainerCallback(trainer)
    trainer.add_callback(callback)
    run(trainer)
    [file] = tmp_path.rglob("events.out.tfevents*")
    events = EventAccumulator(str(file)).Reload()
    points = events.Scalars("train/collapse/nc1_pinv")
    values = [record["nc1_pinv"] for record in callback.records]
    assert [point.value for point in points] == pytest.approx(values)


def test_labels_that_do_not_reach_the_model_are_asked_for(tmp_path):
    trainer = trainer_of(bert(), sentences(), tmp_path, label_smoothing_factor=0.1)
    callback = CollapseTrainerCallback(trainer, mode="batches")
    trainer.add_callback(callback)
    with pytest.warns(CollapseWarning, match="labels among the arguments of the model") as caught:
        trainer.train()
    assert trainer.state.epoch == 3
    assert callback.quiet
    assert len([item for item in caught if item.category is CollapseWarning]) == 1


def llama():
    torch.manual_seed(0)
    size = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1}
    config = transformers.LlamaConfig(vocab_size=20, num_attention_heads=2, **size)
    return transformers.LlamaForCausalLM(config)


def texts():
    rows = sentences()
    for row in rows:
        row["labels"] = row["input_ids"].clone()
    return rows


@pytest.mark.parametrize("mode", ["pass", "batches"])
def test_causal_models_train_on_and_are_measured_as_they_are_trained(tmp_path, mode):
    network = llama()
    trainer = trainer_of(network, texts(), tmp_path)
    callback = CollapseTrainerCallback(trainer, "full", mode=mode, evaluation=False)
    trainer.add_callback(callback)
    run(trainer)
    assert not callback.quiet
    assert trainer.state.epoch == 3
    assert sum(row["samples"] for row in callback.records[-1]["classes"]) == 24 * 5
    if mode == "pass":
        report = nc.measure(network, trainer.get_train_dataloader())
        assert callback.records[-1]["nc1_trace_ratio"] == pytest.approx(
            report["nc1_trace_ratio"], rel=1e-4
        )


def test_new_models_named_evaluation_data_own_labels_and_few_steps(tmp_path):
    class Renamed(transformers.BertForSequenceClassification):
        def forward(self, input_ids=None, attention_mask=None, mine=None, **rest):
            return super().forward(input_ids, attention_mask, labels=mine, **rest)

    rows = [{**row, "mine": row["labels"]} for row in sentences()]
    for row in rows:
        del row["labels"]

    def made():
        torch.manual_seed(0)
        return Renamed(bert().config)

    for mode in ("pass", "batches"):
        arguments = transformers.TrainingArguments(
            output_dir=str(tmp_path), per_device_train_batch_size=8, report_to=[], use_cpu=True,
            save_strategy="no", disable_tqdm=True, dataloader_pin_memory=False, max_steps=5,
            label_names=["mine"],
        )  # fmt: skip
        trainer = transformers.Trainer(
            model_init=made,
            args=arguments,
            train_dataset=rows,
            eval_dataset={"some": rows[:12], "all": rows},
        )
        callback = CollapseTrainerCallback(trainer, "full", mode=mode)
        trainer.add_callback(callback)
        for _ in range(2):
            run(trainer)
        assert not callback.quiet
        assert [record["epoch"] for record in callback.records] == [1, 2, 3, 4]
        counts = [sum(row["samples"] for row in r["classes"]) for r in callback.records]
        last = 24 if mode == "pass" else 16  # a pass reads what the longest epoch had
        assert counts == [24, last, 24, last]
        if mode == "pass":
            assert callback.records[-1]["test_all_nc1_pinv"] > 0
            assert callback.records[-1]["test_some_accuracy"] >= 0


@pytest.mark.parametrize("mode", ["pass", "batches"])
def test_every_epoch_of_a_stream_of_unknown_length_is_measured(tmp_path, mode):
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter(sentences())

    trainer = trainer_of(bert(), sentences(), tmp_path, max_steps=7)
    trainer.train_dataset = Stream()
    callback = CollapseTrainerCallback(trainer, "full", mode=mode)
    trainer.add_callback(callback)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "epoch . is not measured again")
        trainer.train()
    assert not callback.quiet
    assert [record["epoch"] for record in callback.records] == [1, 2, 3]
    counts = [sum(row["samples"] for row in r["classes"]) for r in callback.records]
    assert counts == [24, 24, 24 if mode == "pass" else 8]


def _rank(rank, world, folder):
    sizes = {"per_device_train_batch_size": 4, "per_device_eval_batch_size": 2}
    samples = sentences(torch.float64)
    trainer = trainer_of(bert().double(), samples, folder, num_train_epochs=2, **sizes)
    assert trainer.args.world_size == world
    history = folder / "history.jsonl"
    callbacks = [
        CollapseTrainerCallback(trainer, "full", history=history),
        CollapseTrainerCallback(trainer, "full", mode="batches"),
    ]
    for callback in callbacks:
        trainer.add_callback(callback)
    run(trainer)
    records = [callback.records for callback in callbacks]
    (folder / f"{rank}.json").write_text(json.dumps(records))
    if rank == 0:
        torch.save(trainer.model.state_dict(), folder / "network.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("world", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_several_processes_measure_what_one_does(tmp_path, world):
    launched(_rank, world, tmp_path)
    network = bert().double()
    network.load_state_dict(torch.load(tmp_path / "network.pt", weights_only=True))
    loader = torch.utils.data.DataLoader(sentences(torch.float64), batch_size=24)
    held_out = torch.utils.data.DataLoader(sentences(torch.float64)[:12], batch_size=12)
    report = nc.measure(network, loader, test_loader=held_out)
    ranks = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(world)]
    last = ranks[0][0][-1]
    for name, value in report.items():
        assert last[name] == pytest.approx(value, rel=1e-5, abs=1e-8), name
    samples = [row["samples"] for row in ranks[0][1][-1]["classes"]]
    assert samples == report.per_class.sort_values("class")["samples"].tolist()
    for other in ranks[1:]:
        for mine, theirs in zip(other[0] + other[1], ranks[0][0] + ranks[0][1], strict=True):
            assert {**mine, "seconds": 0} == {**theirs, "seconds": 0}
    assert len(read_history(tmp_path)) == 2  # one process writes


def test_records_go_on_from_a_checkpoint_and_later_ones_are_made_again(tmp_path):
    def going(epochs, checkpoint=None):
        trainer = trainer_of(
            bert(), sentences(), tmp_path / "out", num_train_epochs=epochs, save_strategy="epoch"
        )
        callback = CollapseTrainerCallback(trainer, history=tmp_path / "run")
        trainer.add_callback(callback)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer.train(resume_from_checkpoint=checkpoint)
        assert not callback.quiet
        return callback.records

    first = going(2)
    again = going(3, str(tmp_path / "out/checkpoint-3"))  # of the end of the first epoch
    assert [record["epoch"] for record in again] == [1, 2, 3]
    assert again[0]["nc1_pinv"] == first[0]["nc1_pinv"]
    assert [record["epoch"] for record in read_history(tmp_path / "run")] == [1, 2, 3]


def test_batches_after_a_resume_go_by_the_class_means_of_the_epoch_before(tmp_path):
    """A network that stays as it is agrees with its class means alike, resumed or not."""

    def agreements(epochs, checkpoint=None):
        network = bert()
        for module in network.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        trainer = trainer_of(
            network, sentences(), tmp_path, num_train_epochs=epochs, save_strategy="epoch",
            learning_rate=0.0,
        )  # fmt: skip
        callback = CollapseTrainerCallback(trainer, mode="batches")
        trainer.add_callback(callback)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer.train(resume_from_checkpoint=checkpoint)
        return [record["nc4_agreement"] for record in callback.records]

    whole = agreements(2)
    first, resumed = agreements(2, str(tmp_path / "checkpoint-3"))
    assert math.isnan(first)
    assert resumed == pytest.approx(whole[1])


@pytest.mark.parametrize("options", [{}, {"gradient_accumulation_steps": 3}])
def test_layers_are_measured_from_batches_with_their_masks(tmp_path, options):
    """Of a network that does not move, batches give what a pass gives; padding is left out."""
    samples = sentences()
    for row in samples[::2]:
        row["attention_mask"] = torch.tensor([1, 1, 1, 0, 0, 0])
    records = []
    for mode in ("pass", "batches"):
        network = bert()
        for module in network.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        trainer = trainer_of(
            network, samples, tmp_path, learning_rate=0.0, num_train_epochs=1, **options
        )
        callback = CollapseTrainerCallback(
            trainer, mode=mode, evaluation=False, layers=["bert.embeddings"]
        )
        trainer.add_callback(callback)
        run(trainer)
        assert not any(module._forward_pre_hooks for module in network.modules())
        records.append(callback.records[-1]["layers"]["bert.embeddings"])
    assert records[0] == pytest.approx(records[1], rel=1e-4)


def test_a_second_process_that_resumes_the_folder_numbers_on(tmp_path):
    """Without a checkpoint of the Trainer: it counts from 0, the folder goes on."""
    for resume in (False, True):
        trainer = trainer_of(bert(), sentences(), tmp_path / "out", num_train_epochs=2)
        callback = CollapseTrainerCallback(trainer, history=tmp_path / "run", resume=resume)
        trainer.add_callback(callback)
        run(trainer)
    assert not callback.quiet
    assert [record["epoch"] for record in read_history(tmp_path / "run")] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"class_names": ["a", "b"]}, "class_names: expected 3 names, one per class"),
        ({"include": ["nc9"]}, "include: expected metrics that are measured"),
        ({"val_loader": [{"input_ids": torch.ones(1, 6).long(), "labels": [7]}]}, "labels: .*7"),
    ],
)
def test_what_cannot_be_measured_shows_before_training(tmp_path, options, message):
    class Noted(transformers.TrainerCallback):
        def on_train_begin(self, *_, **__):
            self.quiet = callback.quiet

    trainer, noted = trainer_of(bert(), sentences(), tmp_path, num_train_epochs=1), Noted()
    callback = CollapseTrainerCallback(trainer, **options)
    trainer.add_callback(callback)
    trainer.add_callback(noted)
    with pytest.warns(CollapseWarning, match=message):
        trainer.train()
    assert noted.quiet


def test_a_model_of_one_logit_has_two_classes_whatever_its_configuration_names(tmp_path):
    """Its configuration has one name, which is of no class."""
    torch.manual_seed(0)
    config = bert().config
    config.num_labels, config.problem_type = 1, "multi_label_classification"
    model = transformers.BertForSequenceClassification(config)
    samples = [row | {"labels": [float(row["labels"] > 0)]} for row in sentences()]
    trainer = trainer_of(model, samples, tmp_path, num_train_epochs=1)
    callback = CollapseTrainerCallback(trainer)
    trainer.add_callback(callback)
    run(trainer)
    assert not callback.quiet
    assert callback.records[0]["num_classes"] == 2
