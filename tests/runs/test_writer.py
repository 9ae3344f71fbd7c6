"""Records of others' runs: one rule for a folder that is there, and no training is ever ended."""

import errno
import os

import pytest

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.files import read_json
from neuralcollapse.runs import CollapseWarning, read_history
from neuralcollapse.runs.folder import RunFolder
from neuralcollapse.runs.writer import RunWriter


def opened(path, **how):
    writer = RunWriter(path, **how)
    return writer, writer.open({"config": {"lr": 0.1}})


def epochs(path):
    return [record["epoch"] for record in read_history(path)]


@pytest.fixture
def run(tmp_path):
    writer, earlier = opened(tmp_path / "run")
    assert earlier == []
    for epoch in (1, 2):
        writer.add({"epoch": epoch})
    return tmp_path / "run"


@pytest.mark.parametrize("name", ["", "history.jsonl"])
def test_a_folder_that_is_there_is_refused_resumed_or_overwritten(run, name):
    with pytest.raises(NeuralCollapseError, match=r"^history: .*with resume, replace it"):
        opened(run / name)
    writer, earlier = opened(run / name, resume=True)
    assert [record["epoch"] for record in earlier] == [1, 2]
    writer.add({"epoch": 3})
    assert epochs(run) == [1, 2, 3]
    writer, earlier = opened(run / name, overwrite=True)
    assert earlier == []
    writer.add({"epoch": 1})
    assert epochs(run) == [1]


def test_a_run_that_goes_on_says_what_holds_now(run):
    writer = RunWriter(run, resume=True)
    writer.open({"config": {"lr": 0.2, "epochs": 16}, "class_names": None})
    content = read_json(run / "config.json")
    assert content["config"] == {"lr": 0.2, "epochs": 16}
    assert epochs(run) == [1, 2]
    RunWriter(run, resume=True).open({"config": {}})  # who knows nothing says nothing
    assert read_json(run / "config.json") == content


def test_two_writers_never_interleave(run):
    first, _ = opened(run, resume=True)
    second, _ = opened(run, resume=True)
    first.add({"epoch": 3})
    with pytest.warns(CollapseWarning, match="one that another process has written to; give each"):
        second.add({"epoch": 3})
    second.add({"epoch": 4})  # said once
    assert epochs(run) == [1, 2, 3]


def test_a_full_disk_ends_no_training_and_loses_nothing(run, monkeypatch):
    writer, _ = opened(run, resume=True)

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.warns(CollapseWarning, match="records wait in memory, .* No space left on device"):
        writer.add({"epoch": 3})
    writer.add({"epoch": 4})
    monkeypatch.undo()
    assert epochs(run) == [1, 2]
    writer.add({"epoch": 5})
    assert epochs(run) == [1, 2, 3, 4, 5]


def test_while_another_process_holds_the_folder_records_wait(run):
    writer, _ = opened(run, resume=True)
    with (
        RunFolder(run).locked(),
        pytest.warns(CollapseWarning, match="no other process writes to"),
    ):
        writer.add({"epoch": 3})
    writer.add({"epoch": 4})
    assert epochs(run) == [1, 2, 3, 4]


def test_what_another_wrote_is_never_replaced(tmp_path):
    (tmp_path / "config.json").write_text('{"of": "another"}')
    for how in ({}, {"overwrite": True}, {"resume": True}):
        with pytest.raises(NeuralCollapseError, match=r"a folder whose config\.json is of a run"):
            opened(tmp_path, **how)
    assert (tmp_path / "config.json").read_text() == '{"of": "another"}'


def test_bad_arguments_are_refused(tmp_path):
    with pytest.raises(NeuralCollapseError, match="history: expected the folder of a run, got the"):
        RunWriter(tmp_path / "mine.jsonl")
    with pytest.raises(NeuralCollapseError, match="resume, overwrite: expected at most one"):
        RunWriter(tmp_path, resume=True, overwrite=True)
