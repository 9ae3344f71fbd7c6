import errno
import math
import os
import pickle

import pytest
import torch
from safetensors.torch import load_file

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.training.checkpoints import (
    Checkpoint,
    load_checkpoint,
    save_checkpoint,
    save_weights,
)


def example():
    model = torch.nn.Linear(50, 20)
    optimizer = torch.optim.SGD(model.parameters(), 0.1, 0.9)
    model(torch.ones(3, 50)).sum().backward()
    optimizer.step()
    return Checkpoint(7, 1.5, 300, model.state_dict(), optimizer.state_dict())


def same(first, second):
    """Whether two nests of containers and tensors agree bit for bit."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    if isinstance(first, list):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second


def test_reads_back_what_was_written(tmp_path):
    checkpoint = example()
    save_checkpoint(tmp_path / "c.pt", checkpoint)
    assert same(vars(load_checkpoint(tmp_path / "c.pt")), vars(checkpoint))
    assert [path.name for path in tmp_path.iterdir()] == ["c.pt"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        lambda content: b"no checkpoint",
        lambda content: pickle.dumps({"epoch": 1}),
    ],
    ids=["empty", "half", "cut", "text", "pickle"],
)
def test_a_damaged_file_is_refused(tmp_path, damage):
    file = tmp_path / "c.pt"
    save_checkpoint(file, example())
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(
        NeuralCollapseError, match=r"checkpoint: expected the whole checkpoint .*; restore the file"
    ):
        load_checkpoint(file)


def test_what_is_no_checkpoint_is_refused(tmp_path):
    torch.save({"epoch": 1, "weights": torch.zeros(2)}, tmp_path / "c.pt")
    with pytest.raises(NeuralCollapseError, match=r"checkpoint: .*(argument|keyword)"):
        load_checkpoint(tmp_path / "c.pt")


def test_no_flipped_bit_goes_unnoticed(tmp_path):
    file, checkpoint = tmp_path / "c.pt", example()
    save_checkpoint(file, checkpoint)
    content = file.read_bytes()
    refused = 0
    for place in range(0, len(content), 29):
        changed = bytearray(content)
        changed[place] ^= 1
        file.write_bytes(changed)
        try:
            read = load_checkpoint(file)
        except NeuralCollapseError:
            refused += 1
        else:  # padding, or a field of the archive that says nothing of its content
            assert same(vars(read), vars(checkpoint))
    assert refused > math.ceil(len(content) / 29) / 4


def full_disk(descriptor):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_leaves_the_file_before(tmp_path, monkeypatch):
    file, checkpoint = tmp_path / "c.pt", example()
    save_checkpoint(file, checkpoint)
    before = file.read_bytes()
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(file, example())
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["c.pt"]


def test_weights_that_share_memory_are_written_each(tmp_path):
    weight = torch.arange(6.0).reshape(2, 3)
    save_weights(tmp_path / "w.safetensors", {"a": weight, "b": weight.T})
    read = load_file(tmp_path / "w.safetensors")
    assert torch.equal(read["a"], weight)
    assert torch.equal(read["b"], weight.T)
