import shutil

import pytest

from made_up_run import write_run
from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.runs import append_record, read_run, read_runs


def test_a_run_is_its_folder(tetrahedron):
    run = read_run(tetrahedron)
    assert run.name == "tetrahedron"
    assert [record["epoch"] for record in run.records] == list(range(1, 13))
    assert [shot.epoch for shot in run.snapshots][-1] == 12
    assert run.config["seed"] == 0
    assert run.class_names == run.snapshots[0].class_names


def test_without_snapshots_classes_are_numbers(tmp_path):
    append_record(tmp_path / "history.jsonl", {"epoch": 1, "num_classes": 3})
    assert read_run(tmp_path).class_names == ["0", "1", "2"]


def test_runs_of_one_name_are_told_apart(tetrahedron, tmp_path):
    for parent in ("a", "b"):
        shutil.copytree(tetrahedron, tmp_path / parent / "run")
    names = [run.name for run in read_runs([tmp_path / "a/run", tmp_path / "b/run"])]
    assert [name.replace("\\", "/") for name in names] == ["a/run", "b/run"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (None, "run: expected the folder of a run, got no folder"),
        ({}, "expected a history.jsonl, got no file"),
        ({"history.jsonl": "{}\n{]"}, "line 2: expected one JSON object"),
        ({"history.jsonl": '{"loss": 1}'}, "line 1: expected a record with its epoch, got the key"),
        (
            {"history.jsonl": '{"epoch": 1}', "config.json": "{"},
            "config.json: expected a file with",
        ),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, files, message):
    folder = tmp_path / "run"
    if files is not None:
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)
    with pytest.raises(NeuralCollapseError, match=message):
        read_runs([folder])


def test_runs_with_other_classes_are_refused(tetrahedron, tmp_path):
    more = write_run(tmp_path / "more", num_classes=5, epochs=2, snapshots=2)
    with pytest.raises(NeuralCollapseError, match=r"the same classes in all, 4 .*got 5 .* in more"):
        read_runs([tetrahedron, more])
    renamed = write_run(tmp_path / "renamed", epochs=2, snapshots=2)
    with pytest.raises(NeuralCollapseError, match=r"got 4 .0, 1, 2, 3. in renamed; write one rep"):
        read_runs([tetrahedron, renamed])


def test_there_must_be_runs_and_each_once(tetrahedron):
    with pytest.raises(NeuralCollapseError, match="runs: expected at least one folder, got none"):
        read_runs([])
    with pytest.raises(NeuralCollapseError, match="runs: expected each folder once"):
        read_runs([tetrahedron, tetrahedron])
