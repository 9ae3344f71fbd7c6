"""What a user has is never lost to an output, and what is wrong is told before the work."""

import os
import subprocess

import numpy as np
import pytest

from cli_runner import run

WEIGHT = np.eye(3, 4)
LABELS = np.arange(12) % 3
FEATURES = WEIGHT[LABELS] + 0.1 * np.random.default_rng(0).normal(size=(12, 4))
OUTPUTS = {
    "measure": ["--json", "--csv", "--latex", "--html", "--save", "--plot"],
    "certify": ["--json", "--html", "--plot"],
    "ood": ["--csv"],
    "measure-head": ["--json"],
    "compare": ["--csv"],
}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "f.npz"
    np.savez(path, features=FEATURES, labels=LABELS, weight=WEIGHT)
    return path


def error_of(*arguments):
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert len(result.stderr.strip().splitlines()) == 1
    return result.stderr


@pytest.mark.parametrize(
    ("command", "option"), [(name, each) for name, options in OUTPUTS.items() for each in options]
)
def test_no_command_writes_over_its_input(command, option, file):
    before = file.read_bytes()
    (file.parent / "link.npz").symlink_to(file)
    os.link(file, file.parent / "hard.npz")
    inputs = [file, file] if command == "compare" else [file]
    for spelled in (file, file.parent / "." / ".." / file.parent.name / file.name,
                    file.parent / "link.npz", file.parent / "hard.npz"):  # fmt: skip
        assert f"{option}: expected a file that is not read" in error_of(
            command, *inputs, option, spelled
        )
    assert file.read_bytes() == before


def test_neither_names_of_classes_nor_another_output_are_written_over(file):
    names = file.with_name("names.txt")
    names.write_text("a\nb\nc\n")
    assert "--json" in error_of("measure", file, "--class-names", names, "--json", names)
    assert names.read_text() == "a\nb\nc\n"
    twice = file.with_name("twice")
    assert "not read, nor written" in error_of("measure", file, "--json", twice, "--latex", twice)
    assert not twice.exists()


def test_tables_beside_the_values_replace_their_like_alone(file):
    table, foreign = file.with_name("x.csv"), file.with_name("x-classes.csv")
    foreign.write_text("mine\n")
    assert "--csv: expected a new file, or a table of an earlier report, got" in error_of(
        "measure", file, "--csv", table
    )
    assert foreign.read_text() == "mine\n"
    assert not table.exists()
    foreign.unlink()
    for _ in range(2):
        assert run("measure", file, "--csv", table).exit_code == 0
    assert {path.name for path in file.parent.glob("x*")} == {
        "x.csv", "x-classes.csv", "x-pairs.csv"
    }  # fmt: skip


def test_beside_a_pipe_nothing_is_written(file, tmp_path):
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    reader = subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE, text=True)
    assert run("measure", file, "--csv", pipe).exit_code == 0
    assert reader.communicate()[0].startswith("metric,train")
    assert {path.name for path in tmp_path.iterdir()} == {"f.npz", "pipe.csv"}


@pytest.mark.parametrize(
    ("option", "name", "expected"),
    [
        ("--html", "mine.html", "--html: expected a new file, or an earlier report"),
        ("--html", ".", "--html: expected the name of a file to write"),
        ("--plot", "x.foo", "--plot: expected one of .eps"),
        ("--save", "x.npz", "--save: expected a file name that ends in .safetensors"),
        ("--csv", "x.tsv", "--csv: expected one of .csv, got '.tsv'"),
        ("--html", "x.pdf", "--html: expected one of .html, .htm, got '.pdf'"),
        ("--latex", "x.csv", "--latex: expected one of .tex, got '.csv'"),
        ("--preset", "foo", "--preset: expected one of papyan2020"),
    ],
)
def test_what_cannot_be_written_is_refused_before_anything_else_is(file, option, name, expected):
    (file.parent / "mine.html").write_text("<p>mine</p>")
    given = name if option == "--preset" else file.parent / name
    first = file.with_name("values.json")
    result = run("measure", file, "--json", first, option, given)
    assert (result.exit_code, result.stdout) == (2, "")
    assert expected in result.stderr
    assert not first.exists()


def test_no_file_is_called_as_output_is_elsewhere(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("measure", file, "--json", "-")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--json: expected the name of a file to write, got -" in result.stderr


def test_a_foreign_table_stays_where_a_sweep_would_write_its_own(tmp_path):
    grid, table = tmp_path / "grid.json", tmp_path / "out" / "sweep.csv"
    grid.write_text("{}")
    table.parent.mkdir()
    table.write_text("mine\n")
    assert "--out: expected a new file, or the table of an earlier sweep" in error_of(
        "sweep", grid, "--out", table.parent
    )
    assert table.read_text() == "mine\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["train", "--accelerator", "tpu9"], "--accelerator: expected accelerator 'tpu9'"),
        (["train", "--data-root", "nowhere"], "--data-root: expected none for digits, which no fi"),
        (["train", "--resume", "--overwrite"], "--resume, --overwrite: expected at most one"),
        (["train", "--config", "nowhere"], "--config nowhere: expected a file with a JSON object"),
        (["study", "tirer2023", "--figure", "3", "--seed", "-1"], "--seed: expected a whole"),
        (["study", "tirer2023", "--set", "foo=1"], "--set: expected the keys data, "),
        (["study", "tirer2023", "--set", "epochs=0", "--figure", "3"], "--set epochs: expected a"),
        (["study", "tirer2023", "--features", "nowhere"], "--features: expected a file"),
        (
            ["study", "atlas", "--data-root", "nowhere"],
            "--data-root: expected the folder of the da",
        ),
        (["sweep", "grid.json", "--workers", "0"], "'--workers'"),
        (["certify", "f.npz", "--confidence", "high"], "'--confidence'"),
        (["study", "ji2022", "--scale", "huge"], "'--scale'"),
        (["measure", "f.npz", "--jsn", "x"], "--jsn"),
        (["compare", "f.npz"], "Missing argument"),
        (["report", "nowhere"], "RUNS: expected the folder of a run"),
        (["data", "nowhere"], "NAME: expected one of digits"),
        (["sweep", "nowhere"], "FILE nowhere: expected a file with a JSON object"),
        (["measure", "nowhere.npz", "--class-names", "nobody"], "--class-names nobody: expected"),
    ],
)
def test_errors_name_the_option(arguments, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert expected in error_of(*arguments)


@pytest.mark.parametrize(
    "command", [["sweep", "grid.json"], ["demo"], ["study", "atlas"], ["train"]]
)
def test_a_file_is_no_folder_to_write_in(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "grid.json").write_text("{}")
    assert "'mine' is a file" in error_of(*command, "--out", "mine")
    assert "'.' is a dir" in error_of("report", "run", "--out", ".")
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.mark.parametrize("arguments", [("foo",), ("--foo",), ("glossary", "--foo")])
def test_what_is_no_command_is_one_line_too(arguments):
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: No such ")
    assert len(result.stderr.splitlines()) == 1
    assert "Usage" in run().output  # without a command there is help


def test_no_output_lies_in_a_file(file):
    for option in ("--json", "--save"):
        told = error_of("measure", file, option, file / "new" / "x")
        assert f"{option}: expected a path in a folder, got" in told
