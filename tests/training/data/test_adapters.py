from collections import UserDict

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.training import DATASETS, from_hugging_face, from_torch, load_dataset


class Pairs(list):
    """A map-style data set of PyTorch's kind."""


class Picture:
    """What of a PIL image matters here: numpy can read it."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array


BYTES = np.random.default_rng(0).integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)
LABELS = [0, 1, 2, 0, 1, 2]
PLANES = torch.from_numpy(BYTES.transpose(0, 3, 1, 2) / 255.0).float()


@pytest.mark.parametrize(
    "items",
    [
        [torch.from_numpy(image.transpose(2, 0, 1).copy()) for image in BYTES],
        list(BYTES),
        [Picture(image) for image in BYTES],
        list(PLANES),
        [image / 255.0 for image in BYTES],
    ],
    ids=["byte tensors", "byte arrays", "PIL images", "float tensors", "float arrays"],
)
def test_images_of_every_kind_become_the_same_tensors(items):
    data = from_torch(Pairs(zip(items, LABELS, strict=True)), Pairs([(items[0], 1)]))
    torch.testing.assert_close(data.train.tensors[0], PLANES)
    assert data.train.tensors[1].tolist() == LABELS
    torch.testing.assert_close(data.test.tensors[0], PLANES[:1])
    assert data.class_names == ("0", "1", "2")


def test_grey_images_get_a_channel():
    for image in (BYTES[0, :, :, 0], torch.from_numpy(BYTES[0, :, :, 0].copy())):
        data = from_torch(Pairs([(image, 0)]), Pairs([(image, torch.tensor(0))]))
        assert data.input_shape == (1, 5, 4)
        torch.testing.assert_close(data.train.tensors[0][0, 0], PLANES[0, 0])


def test_class_names_are_those_of_the_data_set_or_the_users():
    pairs = Pairs(zip(PLANES, LABELS, strict=True))
    pairs.classes = ["x", "y", "z", "unseen"]
    assert from_torch(pairs, pairs).class_names == ("x", "y", "z", "unseen")
    assert from_torch(pairs, pairs, class_names="abc").class_names == ("a", "b", "c")
    with pytest.raises(NeuralCollapseError, match=r"labels of train: expected .* below 2, the"):
        from_torch(pairs, pairs, class_names="ab")


def test_a_data_set_of_ones_own_can_be_loaded_by_name(monkeypatch):
    pairs = TensorDataset(PLANES, torch.tensor(LABELS))
    data = from_torch(pairs, pairs, name="mine")
    monkeypatch.setitem(DATASETS, "mine", lambda root: data)
    assert load_dataset("mine", per_class=1).class_sizes.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([], "train: expected at least one image, got none"),
        ([(PLANES[0],)], r"train: expected items \(image, label\), got others"),
        (
            [(PLANES[0], 0), (PLANES[0, :, :3], 1)],
            r"of one shape, \(3, 5, 4\), got \(3, 3, 4\) at 1",
        ),
        ([("cat.png", 0)], "train: expected images: tensors, arrays or PIL images, got str"),
        ([(torch.zeros(4), 0)], r"train: expected images of two or three axes, got shape \(4,\)"),
        ([(PLANES[0], -1)], "labels of train: expected labels of at least 0"),
        ([(PLANES[0], 0.5)], "labels of train: expected whole numbers"),
    ],
)
def test_what_is_no_data_is_refused(items, message):
    with pytest.raises(NeuralCollapseError, match=message):
        from_torch(Pairs(items), Pairs([(PLANES[0], 0)]))


class Names:
    """datasets.ClassLabel, as far as it matters."""

    names = ("cat", "dog", "owl")


class Table:
    """A stand-in for datasets.Dataset: features by column, a column by name, a row by number."""

    def __init__(self, **columns):
        self.columns = columns
        self.features = {
            name: Names() if name in ("label", "fine_label") else object() for name in columns
        }

    def __getitem__(self, key):
        if isinstance(key, str):
            return iter(self.columns[key])  # newer versions give a lazy column
        return {name: column[key] for name, column in self.columns.items()}

    def __len__(self):
        return len(next(iter(self.columns.values())))


@pytest.mark.parametrize(
    "columns", [("image", "label"), ("img", "fine_label"), ("photo", "animal")]
)
def test_columns_are_found_or_named(columns):
    image, label = columns
    table = Table(**{image: [Picture(row) for row in BYTES], label: LABELS, "coarse": [0] * 6})
    asked = {"image": "photo", "label": "animal"} if image == "photo" else {}
    data = from_hugging_face(table, table, **asked)
    torch.testing.assert_close(data.train.tensors[0], PLANES)
    assert data.test.tensors[1].tolist() == LABELS
    named = ("0", "1", "2") if image == "photo" else ("cat", "dog", "owl")
    assert data.class_names == named


def test_both_splits_may_come_in_one_mapping():
    train, test = Table(image=BYTES, label=LABELS), Table(image=BYTES[:2], label=LABELS[:2])
    data = from_hugging_face(UserDict(train=train, test=test))
    assert (len(data.train), len(data.test)) == (6, 2)


def test_missing_splits_and_columns_are_named():
    table = Table(picture=BYTES, label=LABELS)
    with pytest.raises(
        NeuralCollapseError, match=r"test: expected the splits .* got one split; pass"
    ):
        from_hugging_face(table)
    with pytest.raises(NeuralCollapseError, match="the splits train and test, got train, valid;"):
        from_hugging_face({"train": table, "valid": table})
    with pytest.raises(
        NeuralCollapseError, match=r"'img' or .* got the columns 'picture', 'label'"
    ):
        from_hugging_face(table, table)
    with pytest.raises(NeuralCollapseError, match="label: expected a column 'y', got the columns"):
        from_hugging_face(table, table, image="picture", label="y")
