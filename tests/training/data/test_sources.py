"""Every data set from files written by hand, a number at a time, in the published format."""

import gzip
import pickle
import sys
from dataclasses import replace
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import ClassVar

import numpy as np
import pytest
import torch
from scipy.io import savemat

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.training import DATASETS, load_dataset
from neuralcollapse.training.data import download
from neuralcollapse.training.data.registry import SOURCES
from neuralcollapse.training.data.source import DATA_VARIABLE
from neuralcollapse.training.data.splits import write_splits


@pytest.fixture(autouse=True)
def no_data_of_this_machine(monkeypatch):
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    monkeypatch.setitem(sys.modules, "torchvision", None)


def pictures(n, shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


def write_cifar10(folder):
    """Three images a training batch, four in the test batch; returns images and labels in order."""
    images, labels = pictures(19, (3, 32, 32)), [i % 10 for i in range(19)]
    for number in range(6):
        rows = range(3 * number, 3 * number + 3) if number < 5 else range(15, 19)
        content = b""
        for i in rows:
            content += bytes([labels[i]])
            for channel in range(3):
                for y in range(32):
                    content += bytes(images[i, channel, y].tolist())
        name = f"data_batch_{number + 1}.bin" if number < 5 else "test_batch.bin"
        (folder / name).write_bytes(content)
    return images, labels


def write_cifar100(folder):
    images, labels = pictures(7, (3, 32, 32)), [99, 0, 50, 7, 3, 2, 1]
    for name, rows in (("train.bin", range(4)), ("test.bin", range(4, 7))):
        content = b"".join(bytes([19, labels[i]]) + images[i].tobytes() for i in rows)
        (folder / name).write_bytes(content)
    return images, labels


def write_stl10(folder):
    images, labels = pictures(5, (3, 96, 96)), [0, 9, 4, 1, 2]
    for name, rows in (("train", range(3)), ("test", range(3, 5))):
        content = bytearray()
        for i in rows:
            for channel in range(3):
                for x in range(96):
                    content += bytes(images[i, channel, :, x].tolist())
        (folder / f"{name}_X.bin").write_bytes(bytes(content))
        (folder / f"{name}_y.bin").write_bytes(bytes(labels[i] + 1 for i in rows))
    return images, labels


def write_svhn(folder):
    images, labels = pictures(6, (3, 32, 32)), [0, 9, 4, 1, 2, 0]
    for name, rows in (("train", range(4)), ("test", range(4, 6))):
        stacked = np.stack([images[i].transpose(1, 2, 0) for i in rows], axis=3)
        digits = np.array([[labels[i] or 10] for i in rows], dtype=np.uint8)
        savemat(folder / f"{name}_32x32.mat", {"X": stacked, "y": digits})
    return images, labels


WRITERS = {
    "cifar10": write_cifar10,
    "cifar100": write_cifar100,
    "stl10": write_stl10,
    "svhn": write_svhn,
}


@pytest.mark.parametrize("name", WRITERS)
def test_images_and_labels_come_back_in_order(tmp_path, name):
    images, labels = WRITERS[name](tmp_path)
    data = load_dataset(name, tmp_path)
    count = len(data.train)
    assert count + len(data.test) == len(labels)
    assert data.train.tensors[1].tolist() == labels[:count]
    assert data.test.tensors[1].tolist() == labels[count:]
    train = images[:count] / 255.0  # standardised by the training images, channel by channel
    mean, spread = train.mean((0, 2, 3)), train.std((0, 2, 3))
    for split, rows in ((data.train, images[:count]), (data.test, images[count:])):
        expected = (rows / 255.0 - mean[:, None, None]) / spread[:, None, None]
        np.testing.assert_allclose(split.tensors[0].numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("name", WRITERS)
def test_files_may_be_compressed_and_lie_where_their_archive_puts_them(tmp_path, monkeypatch, name):
    source = next(source for source in SOURCES if source.name == name)
    folder = tmp_path / (source.folders or (name,))[0]
    folder.mkdir()
    _, labels = WRITERS[name](folder)
    for file in folder.iterdir():
        (folder / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
        file.unlink()
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    data = load_dataset(name)
    assert data.train.tensors[1].tolist() == labels[: len(data.train)]


def test_classes_and_shapes_are_the_published_ones():
    known = {name: source for name, source in DATASETS.items() if source in SOURCES}
    assert {name: len(source.class_names) for name, source in known.items()} == {
        "mnist": 10, "fashion-mnist": 10, "kmnist": 10, "cifar10": 10, "cifar100": 100,
        "stl10": 10, "svhn": 10,
    }  # fmt: skip
    for source in SOURCES:
        assert len(set(source.class_names)) == len(source.class_names)
        # Colour images, and no others, are standardised.
        assert source.standardized == (source.input_shape[0] == 3)
        if source.openml:
            assert sum(source.openml[2]) == source.sizes[1]


@pytest.mark.parametrize("name", [source.name for source in SOURCES])
def test_missing_files_are_named_with_where_and_how(tmp_path, name):
    with pytest.raises(
        NeuralCollapseError,
        match=rf"data: expected .* no such file in {tmp_path}, {tmp_path}/{name}.*{DATA_VARIABLE} "
        rf"to the files' folder; or run: neuralcollapse data {name} --download",
    ):
        load_dataset(name, tmp_path)


@pytest.mark.parametrize(
    ("name", "file", "content", "message"),
    [
        ("cifar10", "data_batch_3.bin", b"x" * 3074, "of records of 3073 bytes, got 3074 bytes"),
        (
            "cifar10",
            "test_batch.bin",
            b"",
            "file .*test_batch.bin: expected a whole .* got 0 bytes",
        ),
        ("cifar100", "train.bin", b"x" * 3073, "of records of 3074 bytes, got 3073 bytes; fetch"),
        ("cifar10", "test_batch.bin", b"\x0a" * 3073, "test files of cifar10: .* from 10 to 10"),
        ("stl10", "train_X.bin", b"x" * 100, "number of images of 27648 bytes, got 100 bytes"),
        (
            "stl10",
            "train_y.bin",
            b"\x01",
            r"train files of stl10: .* \(3, 3, 96, 96\), \(1,\), lab",
        ),
        ("stl10", "test_y.bin", b"\x00\x01", "test files of stl10: .* labels from -1 to 0"),
        ("svhn", "train_32x32.mat", b"no matlab", "file .*train_32x32.mat: expected a MATLAB file"),
        ("svhn", "test_32x32.mat", b"", "expected a MATLAB file with X .* got"),
        ("cifar10", "data_batch_1.bin", b"\x1f\x8bxx", "expected whole gzip data, got"),
    ],
)
def test_damaged_files_are_refused(tmp_path, name, file, content, message):
    WRITERS[name](tmp_path)
    (tmp_path / file).write_bytes(content)
    with pytest.raises(NeuralCollapseError, match=message):
        load_dataset(name, tmp_path)


@pytest.mark.parametrize("wrong", [{"X": np.zeros(3)}, {"X": np.zeros((2, 2)), "y": np.ones(2)}])
def test_a_matlab_file_with_something_else_is_refused(tmp_path, wrong):
    write_svhn(tmp_path)
    savemat(tmp_path / "test_32x32.mat", wrong)
    with pytest.raises(NeuralCollapseError, match=r"expected a MATLAB file with X .* fetch"):
        load_dataset("svhn", tmp_path)


class Boom:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was opened",))


def test_a_pickle_is_never_opened(tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        (folder / name).write_bytes(pickle.dumps(Boom()))
    with pytest.raises(NeuralCollapseError, match=r"data_batch_1.bin"):
        load_dataset("cifar10", tmp_path)


def fake_torchvision(monkeypatch, **classes):
    module = ModuleType("torchvision.datasets")
    vars(module).update(classes)
    package = ModuleType("torchvision")
    package.__spec__ = ModuleSpec("torchvision", None)
    package.datasets = module
    monkeypatch.setitem(sys.modules, "torchvision", package)
    monkeypatch.setitem(sys.modules, "torchvision.datasets", module)


class FakeCIFAR10:
    """The interface of torchvision's class: height, width and channels last, a list of targets."""

    calls: ClassVar[list] = []

    def __init__(self, root, train=True, transform=None, download=False):
        self.calls.append((root, train, download))
        n = 20 if train else 10
        self.data = pictures(n, (32, 32, 3), seed=int(train))
        self.targets = [i % 10 for i in range(n)]


class FakeSTL10:
    """Another of its interfaces: channels first, an array of labels, splits by name."""

    def __init__(self, root, split="train", download=False):
        n = 6 if split == "train" else 4
        self.data, self.labels = pictures(n, (3, 96, 96)), np.arange(n)


class FakeMNIST:
    def __init__(self, root, train=True, download=False):
        self.data, self.targets = torch.zeros(10, 28, 28, dtype=torch.uint8), torch.arange(10)


def test_torchvision_reads_the_pickled_version_where_it_is_installed(tmp_path, monkeypatch):
    (tmp_path / "cifar-10-batches-py").mkdir()
    FakeCIFAR10.calls.clear()
    fake_torchvision(monkeypatch, CIFAR10=FakeCIFAR10)
    data = load_dataset("cifar10", tmp_path)
    assert FakeCIFAR10.calls == [(str(tmp_path), True, False), (str(tmp_path), False, False)]
    pixels = pictures(20, (32, 32, 3), seed=1).transpose(0, 3, 1, 2) / 255.0
    expected = (pixels - pixels.mean((0, 2, 3), keepdims=True)) / pixels.std(
        (0, 2, 3), keepdims=True
    )
    np.testing.assert_allclose(data.train.tensors[0].numpy(), expected, atol=1e-4)


def test_a_failure_of_torchvision_is_told(tmp_path, monkeypatch):
    def broken(root, train=True, download=False):
        raise RuntimeError("Dataset not found or corrupted.")

    (tmp_path / "cifar-10-batches-py").mkdir()
    fake_torchvision(monkeypatch, CIFAR10=broken)
    with pytest.raises(NeuralCollapseError, match=r"torchvision to read CIFAR10 .* or corrupted"):
        load_dataset("cifar10", tmp_path)


@pytest.mark.parametrize("name", ["cifar10", "stl10", "mnist"])
def test_a_download_leaves_one_file_that_is_found_again(tmp_path, monkeypatch, name):
    fake_torchvision(monkeypatch, CIFAR10=FakeCIFAR10, STL10=FakeSTL10, MNIST=FakeMNIST)
    path = download.download_dataset(name, tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == [path]
    monkeypatch.setitem(sys.modules, "torchvision", None)
    data = load_dataset(name, tmp_path / "new")
    channels, size = {"cifar10": (3, 32), "stl10": (3, 96), "mnist": (1, 28)}[name]
    assert data.input_shape == (channels, size, size)
    assert len(data.train) == {"cifar10": 20, "stl10": 6, "mnist": 10}[name]


def openml(monkeypatch, table):
    def fetch(name, version, return_X_y, as_frame, data_home):
        assert (version, return_X_y, as_frame) == (1, True, False)
        return table(name)

    monkeypatch.setattr(download, "fetch_openml", fetch)


def test_openml_is_asked_where_there_is_no_torchvision(tmp_path, monkeypatch):
    kmnist = DATASETS["kmnist"]
    sizes = (2, 1, 1, 1, 1, 1, 1, 1, 1, 1)
    small = replace(kmnist, sizes=(30, 11), openml=(kmnist.openml[0], 1, sizes))
    monkeypatch.setattr(download, "SOURCES", (small,))
    labels = np.arange(41) % 10  # 30 training rows of three a class, then 0, ..., 9, 0
    images = (labels[:, None] * np.ones(784)).astype(float)
    openml(monkeypatch, lambda name: (images, labels.astype(str).astype(object)))
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    assert download.download_dataset("kmnist").name == "kmnist.safetensors"
    data = load_dataset("kmnist")
    assert (len(data.train), len(data.test)) == (30, 11)
    pixels, found = data.test.tensors
    np.testing.assert_allclose(pixels[:, 0, 0, 0].numpy() * 255, found.numpy(), atol=1e-4)
    # Rows in another order have other class sizes at the end.
    openml(monkeypatch, lambda name: (images, np.sort(labels).astype(str).astype(object)))
    with pytest.raises(
        NeuralCollapseError, match="41 rows of Kuzushiji-MNIST, the last 11 its test"
    ):
        download.download_dataset("kmnist")


def test_no_way_to_a_data_set_is_told(tmp_path, monkeypatch):
    def unreachable(name):
        raise OSError("no route to host")

    openml(monkeypatch, unreachable)
    with pytest.raises(
        NeuralCollapseError, match=r"mnist_784 from OpenML, .* no route to host; che"
    ):
        download.download_dataset("mnist", tmp_path)
    with pytest.raises(
        NeuralCollapseError, match="torchvision, to fetch svhn, got none, and OpenML"
    ):
        download.download_dataset("svhn", tmp_path)
    with pytest.raises(
        NeuralCollapseError, match=r"root: expected a folder to put .* got none; pass"
    ):
        download.download_dataset("mnist")
    with pytest.raises(NeuralCollapseError, match=r"data: expected one of mnist, .* got 'digits'"):
        download.download_dataset("digits", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_download_is_refused(tmp_path):
    path = tmp_path / "cifar10.safetensors"
    path.write_bytes(b"half of it")
    with pytest.raises(
        NeuralCollapseError, match=r"cifar10.safetensors: expected the arrays train_i"
    ):
        load_dataset("cifar10", tmp_path)
    images, labels = pictures(2, (3, 32, 32)), np.array([0, 10])
    write_splits(path, (images, labels), (images, labels))
    with pytest.raises(NeuralCollapseError, match=r"train files of cifar10: .* from 0 to 10; take"):
        load_dataset("cifar10", tmp_path)
