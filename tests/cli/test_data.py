import sys

import pytest
import torch
from torch.utils.data import TensorDataset
from typer.testing import CliRunner

from neuralcollapse.cli import app
from neuralcollapse.training import DATASETS, ImageData
from neuralcollapse.training.data import download
from neuralcollapse.training.data.registry import SOURCES
from neuralcollapse.training.data.source import DATA_VARIABLE


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch):
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.setenv("COLUMNS", "200")


def run(*arguments):
    return CliRunner().invoke(app, ["data", *map(str, arguments)])


def test_the_table_lists_every_set_with_its_place_or_its_origin(tmp_path, monkeypatch):
    (tmp_path / "cifar100").mkdir()
    for name in ("train.bin", "test.bin"):
        (tmp_path / "cifar100" / name).touch()
    (tmp_path / "svhn.safetensors").touch()
    monkeypatch.setitem(DATASETS, "mine", lambda root: None)
    result = run("--root", tmp_path)
    assert result.exit_code == 0, result.output
    lines = {line.split()[0]: line for line in result.stdout.splitlines() if line.split()}
    assert "scikit-learn" in lines["digits"]
    assert str(tmp_path / "cifar100") in lines["cifar100"]
    assert str(tmp_path / "svhn.safetensors") in lines["svhn"]
    for name in ("mnist", "fashion-mnist", "kmnist", "cifar10", "stl10"):
        source = next(source for source in SOURCES if source.name == name)
        assert source.origin in lines[name]
        assert f"{source.sizes[0]:,}" in lines[name]
    assert "registered here" in lines["mine"]


def test_one_set_is_described(monkeypatch):
    result = run("digits")
    assert result.exit_code == 0, result.output
    assert "digits: 1,437 training and 360 test images of 8×8×1, 10 classes of 139 to 146" in (
        result.stdout
    )
    split = TensorDataset(torch.zeros(4, 3, 5, 6), torch.arange(4) % 2)
    data = ImageData("mine", split, split, ("[red]", "b"))
    monkeypatch.setitem(DATASETS, "mine", lambda root: data)
    described = run("mine").stdout
    assert "images of 5×6×3, 2 classes of 2 training images" in described
    assert "Classes: [red], b." in described


def test_a_download_is_only_made_when_asked_for(tmp_path, monkeypatch):
    asked = []

    def fetch(name, root):
        asked.append((name, root))
        path = tmp_path / "mnist.safetensors"
        images = torch.zeros(3, 1, 28, 28, dtype=torch.uint8).numpy()
        split = (images, torch.arange(3).numpy())
        return download.write_splits(path, split, split)

    monkeypatch.setattr("neuralcollapse.training.data.download_dataset", fetch)
    failed = run("mnist", "--root", tmp_path)
    assert failed.exit_code == 2
    assert failed.stderr.startswith("error: data: expected train-images-idx3-ubyte")
    assert not asked
    result = run("mnist", "--root", tmp_path, "--download")
    assert result.exit_code == 0, result.output
    assert asked == [("mnist", tmp_path)]
    assert f"Written to {tmp_path}/mnist.safetensors." in result.stdout
    assert "mnist: 3 training" in result.stdout


def test_a_download_of_nothing_is_refused():
    result = run("--download")
    assert result.exit_code == 2
    assert "--download: expected the name of a data set" in result.stderr
