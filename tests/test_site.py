"""The documentation is built as a reader gets it, and says all that is public."""

import ast
import importlib
import inspect
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from filelock import FileLock

import neuralcollapse
from neuralcollapse import metrics
from neuralcollapse.metrics.catalogue import CATALOGUE

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PACKAGES = sorted(
    path.parent.relative_to(ROOT / "src").as_posix().replace("/", ".")
    for path in (ROOT / "src/neuralcollapse").rglob("__init__.pyi")
    if path.parent.name != "neuralcollapse"
)


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """Build the site, once for all processes; every warning is an error."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "site"
    with FileLock(folder.with_suffix(".lock")):
        if not (folder / "built").exists():
            build(folder)
            (folder / "built").touch()
    return folder


def build(folder):
    path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
    run = subprocess.run(
        # Never with --quiet: what is not logged is not counted, and no warning fails the build.
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": path, "NO_MKDOCS_2_WARNING": "1"},
    )
    assert run.returncode == 0, run.stdout + run.stderr


class Page(HTMLParser):
    """What a page names, and what it loads."""

    def __init__(self, path):
        super().__init__()
        self.ids, self.definitions, self.sections, self.loaded = set(), set(), [], []
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if "id" in values:
            self.ids.add(values["id"])
            if tag == "h3" and "doc-heading" in (values.get("class") or ""):
                self.definitions.add(values["id"])
            if tag == "h2":
                self.sections.append(values["id"])
        if tag in ("script", "img", "iframe"):
            self.loaded.append(values.get("src") or "")
        if tag == "link" and values.get("rel") in ("stylesheet", "preload", "preconnect", "icon"):
            self.loaded.append(values["href"])


def family(package):
    """Return a package of the front door and the packages within it."""
    return [name for name in PACKAGES if name == package or name.startswith(package + ".")]


def public_values(package):
    """Return the public names of a package that are no modules."""
    module = importlib.import_module(package)
    return {name for name in module.__all__ if f"{package}.{name}" not in PACKAGES}


@pytest.mark.parametrize("package", [name for name in PACKAGES if name.count(".") == 1])
def test_a_page_of_the_reference_has_exactly_the_public_names(site, package):
    page = Page(site / "reference" / f"{package.rpartition('.')[2]}.html")
    documented = {path.rpartition(".")[2] for path in page.definitions}
    assert documented == set().union(*map(public_values, family(package)))
    own = {f"{package}.{name}" for name in public_values(package)}
    assert own <= page.ids  # to be linked to by the name that users write
    modules = {path.removeprefix(package + ".").rpartition(".")[0] for path in page.definitions}
    assert sorted(page.sections) == sorted(module.replace(".", "") for module in modules)


def test_the_front_door_is_listed_and_leads_somewhere(site):
    text = (site / "reference/index.html").read_text()
    rows = dict(re.findall(r'<td><a[^>]*href="([^"]+)"[^>]*><code>nc\.(\w+)</code></a></td>', text))
    assert sorted(rows.values()) == sorted(neuralcollapse.__all__)
    for target in rows:
        name, _, anchor = target.partition("#")
        page = site / "reference" / (name or "index.html")
        assert page.exists()
        assert not anchor or anchor in Page(page).ids


def test_pages_load_nothing_from_elsewhere(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 30
    loaded = {source for page in pages for source in Page(page).loaded}
    assert not {source for source in loaded if re.match(r"(https?:)?//", source)}
    styles = "".join(sheet.read_text() for sheet in site.rglob("*.css"))
    assert not re.findall(r"url\(['\"]?https?://[^)]*\)|@import[^;]*https?://[^;]*", styles)


def test_every_formula_of_the_metrics_is_drawn(site):
    text = (site / "reference/metrics.html").read_text()
    documented = (getattr(metrics, name) for name in public_values("neuralcollapse.metrics"))
    formulas = sum((inspect.getdoc(value) or "").count(".. math::") for value in documented)
    assert text.count('<div class="formula">') == formulas > 20
    assert 'class="arithmatex"' not in "".join(page.read_text() for page in site.rglob("*.html"))


def claims_in_the_source(paper):
    """Return whether each claim that a decorator registers has a correction, by its name."""
    decorators = (
        decorator
        for path in (ROOT / "src/neuralcollapse/studies" / paper).glob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
        for decorator in node.decorator_list
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "study.claim"
    )
    return {
        call.args[0].value: len(call.args) > 2 or any(k.arg == "correction" for k in call.keywords)
        for call in decorators
    }


def test_claims_are_listed_with_their_corrections(site):
    text = (site / "theory/index.html").read_text()
    rows = re.findall(r"<td><code>([^<]+)</code></td>\s*<td>.*?</td>\s*<td>(.*?)</td>", text)
    uncorrected = ("stands as stated", "not in the paper")
    listed = {name: words not in uncorrected for name, words in rows}
    assert listed == {
        name: corrected
        for paper in ("ji2022", "tirer2023", "gao2023")
        for name, corrected in claims_in_the_source(paper).items()
    }
    assert 5 < sum(listed.values()) < len(listed)


def test_the_gallery_lists_every_script_with_its_first_line(site):
    rows = re.findall(
        r"^\| \[(\w+)\]\(\.\./examples/\1\.py\) \| (.*) \|$",
        (DOCS / "gallery.md").read_text(),
        re.MULTILINE,
    )
    scripts = {path.stem: path for path in (ROOT / "examples").glob("*.py")}
    assert dict(rows) == {
        stem: ast.get_docstring(ast.parse(path.read_text())).splitlines()[0]
        for stem, path in scripts.items()
    }
    for stem in scripts:
        assert (site / "examples" / f"{stem}.html").exists()


def test_every_metric_of_a_report_is_explained(site):
    text = (site / "which_metric.html").read_text().partition('id="on-request"')[0]
    explained = re.findall(r"<td><code>(\w+)</code></td>", text)
    assert explained == list(CATALOGUE)


def test_contributing_names_every_floor_of_the_house():
    text = (ROOT / "CONTRIBUTING.md").read_text().partition("## The house")[2]
    named = [
        name
        for line in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
        for name in re.findall(r"`([^`]+)`", line)
    ]
    folder = ROOT / "src/neuralcollapse"
    packages = [f"{path.parent.name}/" for path in folder.glob("*/__init__.py")]
    modules = [path.name for path in folder.glob("*.py") if path.name != "__init__.py"]
    assert sorted(named) == sorted(packages + modules)
