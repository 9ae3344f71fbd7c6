import contextlib
import io
import re
import sys
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GENERATED = [ROOT / "docs" / name for name in ("gallery", "scripts", "reference/api")]
DOCUMENTS = [
    ROOT / "README.md",
    *(p for p in sorted((ROOT / "docs").rglob("*.md")) if not set(GENERATED) & set(p.parents)),
]
# Python, and what it prints if that stands right below it.
BLOCK = re.compile(r"^```python\n(.*?)^```$(?:\n\n```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?://|#|mailto:)([^)#\s]+)")
MODULE = re.compile(r"^:::\{dropdown\} (\w+)\.py.*\n\Z", re.MULTILINE)
NUMBER = re.compile(r"(-?\d+(?:\.\d+)?(?:e-?\d+)?)")


def name(document):
    return str(document.relative_to(ROOT))


def run(document, block, text, namespace):
    """Run a block, whose traceback names the document's own line; return what it printed."""
    source = "\n" * text.count("\n", 0, block.start(1)) + block[1]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(source, str(document), "exec"), namespace)
    return printed.getvalue()


def same(printed, shown):
    """Say whether two texts have the same words, and numbers alike to the last shown digit."""
    ours, theirs = (NUMBER.split(text.rstrip()) for text in (printed, shown))
    if ours[::2] != theirs[::2]:
        return False
    return all(
        abs(float(a) - float(b)) <= 1.5 * 10.0 ** -len(b.partition("e")[0].partition(".")[2])
        for a, b in zip(ours[1::2], theirs[1::2], strict=True)
    )


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_its_python_runs(document, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = document.read_text()
    blocks = list(BLOCK.finditer(text))
    for block in blocks:
        if found := MODULE.search(text, 0, block.start()):  # blocks above it import from it
            module = types.ModuleType(found[1])
            run(document, block, text, vars(module))
            monkeypatch.setitem(sys.modules, found[1], module)
    namespace = {"__name__": "__main__"}  # the blocks of one document build on each other
    for block in blocks:
        printed = run(document, block, text, namespace)
        assert block[2] is None or same(printed, block[2]), printed


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_its_links_lead_somewhere(document):
    missing = [
        target
        for target in LINK.findall(document.read_text())
        if not (document.parent / target).exists()
        and not (document.parent / target).is_relative_to(GENERATED[0])
    ]
    assert not missing
