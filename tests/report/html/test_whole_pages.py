"""The page of a run that others trained has all that the page of `train` has."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

import neuralcollapse as nc
from neuralcollapse.report.html import write_page
from neuralcollapse.runs import read_run
from neuralcollapse.training import TrainConfig, train

lightning = pytest.importorskip("lightning.pytorch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")

NAMES = ["red", "green", "blue"]
EPOCHS = 2
WAYS = ["watch", "batches", "lightning", "huggingface"]
HEADINGS = "h2, h3:not(.cautions *)"  # what is to be read with care is of each run
SECTIONS = f"""() => Object.fromEntries([...document.querySelectorAll("main section")].map(
    section => [section.id, [...section.querySelectorAll("{HEADINGS}")].map(
        heading => heading.firstChild.textContent.trim())]
))"""


def data():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(48) % 3
    features = 2 * torch.eye(3, 5)[labels] + torch.randn(48, 5, generator=generator)
    return TensorDataset(features, labels)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 3))


def trained(folder):
    layers = ["features.1"]
    config = TrainConfig(per_class=6, width=0.125, epochs=EPOCHS)
    train(config, folder, layers=layers, progress=False, accelerator="cpu")


def watched(folder, mode="pass"):
    model, loader = network(), DataLoader(data(), 16)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    options = {"val_loader": loader} if mode == "pass" else {}
    with nc.watch(
        model, loader, mode=mode, epochs=EPOCHS, history=folder, class_names=NAMES, layers=["1"],
        config={"lr": 0.1}, optimizer=optimizer, **options,
    ) as collapse:  # fmt: skip
        for _ in range(EPOCHS):
            for inputs, labels in collapse.batches():
                optimizer.zero_grad()
                cross_entropy(model(inputs), labels).backward()
                optimizer.step()
            collapse.epoch_end()


class Module(lightning.LightningModule):
    def __init__(self, lr=0.1):
        super().__init__()
        self.save_hyperparameters()
        self.network = network()

    def forward(self, inputs):
        return self.network(inputs)

    def training_step(self, batch, batch_idx):
        return cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.hparams.lr)


def by_lightning(folder):
    callback = nc.integrations.CollapseCallback(
        history=folder, class_names=NAMES, layers=["network.1"]
    )
    trainer = lightning.Trainer(
        accelerator="cpu", devices=1, max_epochs=EPOCHS, callbacks=[callback], logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Module(), DataLoader(data(), 16), DataLoader(data(), 16))


def by_huggingface(folder):
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        image_size=4, patch_size=2, num_channels=1, hidden_size=6, num_hidden_layers=1,
        num_attention_heads=1, intermediate_size=8, id2label=dict(enumerate(NAMES)),
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    rows = [
        {"pixel_values": torch.randn(1, 4, 4, generator=generator) + i % 3, "labels": i % 3}
        for i in range(48)
    ]
    arguments = transformers.TrainingArguments(
        output_dir=str(folder.parent / "trainer"), num_train_epochs=EPOCHS, report_to=[],
        per_device_train_batch_size=16, save_strategy="no", disable_tqdm=True, use_cpu=True,
        dataloader_pin_memory=False,
    )  # fmt: skip
    trainer = transformers.Trainer(
        transformers.ViTForImageClassification(config), arguments, train_dataset=rows,
        eval_dataset=rows,
    )  # fmt: skip
    trainer.add_callback(
        nc.integrations.CollapseTrainerCallback(trainer, history=folder, layers=["vit.embeddings"])
    )
    trainer.train()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder, made = tmp_path_factory.mktemp("whole"), {}
    makers = {
        "train": trained,
        "watch": watched,
        "batches": lambda folder: watched(folder, "batches"),
        "lightning": by_lightning,
        "huggingface": by_huggingface,
    }
    for name, make in makers.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            make(folder / name)
        made[name] = write_page([read_run(folder / name)], folder / f"{name}.html")
    return made


@pytest.mark.parametrize("way", WAYS)
def test_the_run_holds_what_one_of_train_holds(pages, way):
    ours, theirs = (read_run(pages[name].with_suffix("")) for name in ("train", way))
    assert theirs.class_names == NAMES
    assert [shot.epoch for shot in theirs.snapshots] == [shot.epoch for shot in ours.snapshots]
    assert {"versions", "git", "config"} <= set(theirs.provenance)
    assert theirs.config
    last, reference = theirs.records[-1], ours.records[-1]
    tested = {name for name in reference if name.startswith("test_")}
    lacking = {"lr", "train_loss", *((*tested, "estimates") if way == "batches" else ())}
    assert set(reference) - lacking <= set(last)
    shot = theirs.snapshots[-1]
    assert shot.before is not None
    assert (shot.held_out_margins is None) == (way == "batches")
    (values,) = last["layers"].values()
    (wanted,) = reference["layers"].values()
    assert set(values) == {n for n in wanted if way != "batches" or not n.startswith("test_")}


@pytest.fixture(scope="module")
def sections(pages, tab):
    """What the page of `train` has."""
    tab.goto(pages["train"].as_uri())
    return tab.evaluate(SECTIONS)


@pytest.mark.parametrize("way", WAYS)
def test_the_page_has_every_section_of_one_of_train(pages, sections, visit, way):
    theirs = visit(pages[way])
    reference = sections | {"curves": [name for name in sections["curves"] if name != "Training"]}
    if way == "batches":  # of a network that moved between its samples nothing is corrected
        del reference["estimates"]
        reference["theory"] = reference["theory"][:-1]  # no test data, so no calibration
        reference["verdicts"] = [name for name in reference["verdicts"] if name != "New data"]
    assert theirs.evaluate(SECTIONS) == reference
    empty = theirs.locator("section .empty:visible").all_inner_texts()
    assert len(empty) == (1 if way == "batches" else 0), empty  # no test data, so no certificate
    for name in ("gram", "space"):
        assert theirs.locator(f"#{name}").count() == 1
    for name in ("angles", "norms", "next"):
        assert theirs.locator(f"[data-theory={name}] svg").count() == 1
    assert theirs.locator("#layers tbody tr").count() == 1
    assert theirs.locator("#alarms .empty").count() == 0
