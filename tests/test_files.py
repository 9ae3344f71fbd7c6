"""Files are written whole, where they are; what cannot be read gives one clear error."""

import io
import os
import random
import socket
import struct
import subprocess
import sys
import tempfile
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.figure_style import save
from neuralcollapse.files import atomic_path, read_json, write_whole
from neuralcollapse.npz_files import read_npz, write_npz
from neuralcollapse.plain_text import plain, unmathed


def write(path, text):
    with atomic_path(path) as temporary:
        temporary.write_text(text)


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"
    assert {path.name for path in tmp_path.iterdir()} == {"real", "link"}


def test_a_pipe_is_written_to(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE, text=True)
    write(tmp_path / "pipe", "through")
    assert reader.communicate()[0] == "through"
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="no files in memory")
def test_a_file_in_memory_is_replaced():
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        for text in ("first", "second"):
            write(f"{folder}/a.txt", text)
        assert Path(folder, "a.txt").read_text() == "second"


@pytest.mark.parametrize("target", ["pipe", "file"])
def test_standard_output_is_written_to(tmp_path, target):
    code = "from neuralcollapse.files import atomic_path\nprint('first', flush=True)\n"
    code += "with atomic_path('/dev/stdout') as t: t.write_text('second')"
    with open(tmp_path / "out", "w+") as file:
        out = file if target == "file" else subprocess.PIPE
        run = subprocess.run([sys.executable, "-c", code], stdout=out, text=True, check=True)
        file.seek(0)
        assert (run.stdout or file.read()) == "first\nsecond"


def test_what_a_killed_process_left_is_removed_and_the_living_is_not(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    names = [f".a.txt-{socket.gethostname()}-{pid}-x" for pid in (dead.pid, os.getppid())]
    for name in names:
        (tmp_path / name).mkdir()
    write(tmp_path / "a.txt", "whole")
    assert {path.name for path in tmp_path.iterdir()} == {"a.txt", names[1]}


def npz_bytes(**arrays):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def test_damaged_archives_give_one_error(tmp_path):
    """Flip, cut and overwrite bytes anywhere: the arrays as they were, or one clear error."""
    whole, dice = npz_bytes(a=np.arange(50.0), b=np.array(["x", "y"])), random.Random(0)
    path = tmp_path / "a.npz"
    for _ in range(400):
        damaged = bytearray(whole)
        for _ in range(dice.randint(1, 4)):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        path.write_bytes(damaged[: dice.choice([len(damaged), dice.randrange(len(damaged))])])
        with suppress(NeuralCollapseError):
            read_npz(path)


@pytest.mark.parametrize("flags", [0x1, 0x20])
def test_encrypted_archives_are_refused(tmp_path, flags):
    whole = bytearray(npz_bytes(a=np.arange(3)))
    start = whole.index(b"PK\x01\x02")
    whole[start + 8 : start + 10] = struct.pack("<H", flags)
    (tmp_path / "a.npz").write_bytes(whole)
    with pytest.raises(NeuralCollapseError, match=r"a\.npz: expected an npz file of plain arrays"):
        read_npz(tmp_path / "a.npz")


def test_an_archive_that_unpacks_without_end_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", b"\0" * 2**20)
    whole = bytearray((tmp_path / "a.npz").read_bytes())
    start = whole.index(b"PK\x01\x02")
    whole[start + 24 : start + 28] = struct.pack("<I", 2**31)
    (tmp_path / "a.npz").write_bytes(whole)
    with pytest.raises(NeuralCollapseError, match=r"got 2,147,483,648 bytes in"):
        read_npz(tmp_path / "a.npz")


def test_another_byte_order_is_read(tmp_path):
    values = np.arange(3.0)
    path = write_npz(
        tmp_path / "a.npz", {"a": values.astype(">f8"), "b": np.arange(3, dtype=">i4")}
    )
    arrays = read_npz(path)
    assert all(array.dtype.isnative for array in arrays.values())
    np.testing.assert_array_equal(arrays["a"], values)


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (None, "no such file"),
        (b"[1]", "a JSON list"),
        (b"{", "Expecting property name"),
        (b"\xff", "codec can't decode"),
        (b'{"a":' * 100_000, "recursion"),
    ],
)
def test_json_that_is_none_is_refused(tmp_path, content, got):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(NeuralCollapseError, match=f"a file with a JSON object, got .*{got}"):
        read_json(path)


def test_nothing_from_outside_steers_a_terminal():
    hostile = "\x1b[31m\u202eexe.\udcff\n$\\frac$"
    shown = str(NeuralCollapseError("a", hostile, "b", "c"))
    assert "\\x1b[31m\\u202eexe.\\udcff\n" in shown
    assert plain(hostile).isprintable()
    assert plain("日本 é 👩\u200d🔬") == "日本 é 👩\u200d🔬"
    assert unmathed("$x$") == r"\$x\$"


def test_a_name_that_is_no_utf8_is_written_out(tmp_path):
    assert write_whole(tmp_path / "a.csv", "class\n\udcff\n").read_text() == "class\n\\udcff\n"


def test_arrays_of_objects_are_not_written(tmp_path):
    path = tmp_path / "objects.npz"
    with pytest.raises(ValueError, match="Python objects are not written: odd"):
        write_npz(path, {"x": [1, 2], "odd": np.array([{}], dtype=object)})
    assert not list(tmp_path.iterdir())


def test_what_is_written_is_what_was_given(tmp_path):
    path = write_npz(tmp_path / "a.npz", {"x": [1.5, 2.0], "names": np.array(["a", "b"])})
    assert sorted(read_npz(path)) == ["names", "x"]


def test_a_folder_is_no_file_to_write(tmp_path):
    with pytest.raises(NeuralCollapseError, match="the name of a file to write, got a folder"):
        write_whole(tmp_path, "text")
    with pytest.raises(NeuralCollapseError, match=r"ending of the image: expected one of .*\.png"):
        save(Figure(), tmp_path / "figure")
    assert not list(tmp_path.iterdir())
