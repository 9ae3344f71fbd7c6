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


def test_the_list_has_every_set_with_its_place_or_its_origin_unbroken(tmp_path, monkeypatch):
    (tmp_path / "cifar100").mkdir()
    for name in ("train.bin", "test.bin"):
        (tmp_path / "cifar100" / name).touch()
    (tmp_path / "svhn.safetensors").touch()
    monkeypatch.setitem(DATASETS, "mine", lambda root: None)
    monkeypatch.setenv("COLUMNS", "80")
    result = run("--root", tmp_path)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert max(len(line) for line in lines if str(tmp_path) not in line) <= 80
    rows = {line.split()[0]: line for line in lines if line.split()}
    first = {line.split()[0]: line for line in reversed(lines) if line.split()}
    assert "scikit-learn" in first["digits"]
    assert "registered here" in first["mine"]
    for name, file in (("cifar100", "cifar100"), ("svhn", "svhn.safetensors")):
        assert first[name].split()[-1] == "yes"
        assert lines[lines.index(rows[f"{name}:"]) + 1].strip() == str(tmp_path / file)
    for name in ("mnist", "fashion-mnist", "kmnist", "cifar10", "stl10"):
        source = next(source for source in SOURCES if source.name == name)
        assert first[name].split()[-1] == "no"
        assert f"{source.sizes[0]:,}" in first[name]
        how, _, address = source.origin.removesuffix(")").partition(" (")
        assert rows[f"{name}:"] == f"{name}: {how}"
        assert not address or f"  {address}" in lines


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
    assert failed.stderr.startswith("error: NAME: expected train-images-idx3-ubyte")
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
