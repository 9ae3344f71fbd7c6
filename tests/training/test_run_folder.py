import errno
import os
import resource
import socket
import subprocess
import sys
from contextlib import contextmanager

import pytest

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.runs import read_history
from neuralcollapse.runs.history import append_record
from neuralcollapse.training.run_folder import TrainingFolder
from training_runs import TINY, quiet


@contextmanager
def no_file_larger_than(size):
    """Let the system refuse to write beyond a size, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def visible(folder):
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def test_too_small_a_disk_is_refused_before_training(tmp_path, monkeypatch):
    monkeypatch.setattr("neuralcollapse.training.run.train_epoch", None)
    with (
        no_file_larger_than(100_000),
        pytest.raises(
            NeuralCollapseError,
            match=r"out: expected room and permission to write .*, got File too large; "
            "free space, or choose another folder",
        ),
    ):
        quiet(TINY, tmp_path / "run")
    assert visible(tmp_path / "run") == set()


@pytest.mark.parametrize("place", ["file", "file/inside"])
def test_a_folder_that_cannot_be_made_is_refused_before_training(tmp_path, monkeypatch, place):
    monkeypatch.setattr("neuralcollapse.training.run.train_epoch", None)
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(NeuralCollapseError, match=r"got (File exists|Not a directory); free"):
        quiet(TINY, tmp_path / place)


@pytest.mark.parametrize("written", ["checkpoint.pt", "model.safetensors"])
def test_a_disk_that_fills_up_keeps_the_checkpoint(tmp_path, monkeypatch, written):
    fsync, count = os.fsync, 0

    def full(descriptor):
        nonlocal count
        name = os.readlink(f"/proc/self/fd/{descriptor}")
        count += name.endswith(written)
        if name.endswith(written) and (count == 2 or written == "model.safetensors"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    expected = quiet(TINY, tmp_path / "whole")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(
        NeuralCollapseError,
        match=r"got No space left on device; the last checkpoint in .* is whole; free space, and",
    ):
        quiet(TINY, tmp_path / "run", checkpoint_every=1)
    monkeypatch.undo()
    assert visible(tmp_path / "run") == {
        "config.json",
        "history.jsonl",
        "checkpoint.pt",
        "snapshots",
    }
    records = quiet(TINY, tmp_path / "run", resume=True)
    assert [r["nc1_pinv"] for r in records] == [r["nc1_pinv"] for r in expected]


def test_a_record_is_written_whole_or_not_at_all(tmp_path):
    file = tmp_path / "history.jsonl"
    append_record(file, {"epoch": 1})
    with no_file_larger_than(40), pytest.raises(OSError, match=r"(No space left|File too large)"):
        append_record(file, {"epoch": 2, "text": "x" * 100})
    assert read_history(file) == [{"epoch": 1}]
    append_record(file, {"epoch": 3})
    assert [record["epoch"] for record in read_history(file)] == [1, 3]


def test_what_killed_writes_left_is_removed(tmp_path):
    quiet(TINY, tmp_path)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    stale = tmp_path / f".checkpoint.pt-{socket.gethostname()}-{dead.pid}-abcd"
    stale.mkdir()
    (stale / "checkpoint.pt").write_text("half")
    (tmp_path / "notes-of-mine").mkdir()
    TrainingFolder(tmp_path).resume()
    assert not stale.exists()
    assert (tmp_path / "notes-of-mine").exists()
