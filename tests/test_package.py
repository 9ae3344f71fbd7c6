"""What is published: the wheel has all it needs, and the README shows where it is shown alone."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src/neuralcollapse"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build a wheel from a copy, so that nothing is left in the tree."""
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "copy"
    skipped = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(SOURCE.parent, copy / "src", ignore=skipped)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, copy]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    (path,) = folder.glob("*.whl")
    return zipfile.ZipFile(path)


@pytest.mark.slow
def test_the_wheel_has_every_file_of_the_package(wheel):
    source = {
        path.relative_to(SOURCE.parent).as_posix()
        for path in SOURCE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert packed == source
    assert "neuralcollapse/py.typed" in packed
    assert sum(name.endswith(".pyi") for name in packed) > 10
    assert any(name.startswith("neuralcollapse/report/html/assets/") for name in packed)


@pytest.mark.slow
def test_the_wheel_knows_its_command_and_its_licence(wheel):
    (folder,) = {name.partition("/")[0] for name in wheel.namelist() if ".dist-info/" in name}
    read = {
        name: wheel.read(f"{folder}/{name}").decode() for name in ("METADATA", "entry_points.txt")
    }
    assert "neuralcollapse = neuralcollapse.cli:app" in read["entry_points.txt"]
    assert "License-Expression: Apache-2.0" in read["METADATA"]
    assert "Description-Content-Type: text/markdown" in read["METADATA"]
    assert read["METADATA"].rstrip().endswith((ROOT / "README.md").read_text().rstrip())
    assert f"{folder}/licenses/LICENSE" in wheel.namelist()


def tokens(text):
    """Return all tokens of a Markdown text, those within lines too."""
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        yield token
        yield from token.children or []


def test_the_readme_is_markdown_alone():
    found = list(tokens((ROOT / "README.md").read_text()))
    assert not [token.content for token in found if token.type in ("html_block", "html_inline")]
    assert any(token.type == "table_open" for token in found)


def test_pictures_of_the_readme_are_there_and_say_what_they_show():
    pictures = [t for t in tokens((ROOT / "README.md").read_text()) if t.type == "image"]
    assert pictures
    for picture in pictures:
        source = picture.attrs["src"]
        assert source.startswith("https://") or (ROOT / source).is_file()
        assert picture.content
