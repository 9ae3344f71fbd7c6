"""The documentation is built as a reader gets it, and says all that is public."""

import ast
import builtins
import doctest
import importlib
import inspect
import io
import json
import os
import re
import sys
import warnings
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest
from filelock import FileLock
from PIL import Image

import neuralcollapse
from neuralcollapse import metrics
from neuralcollapse.cli.demo import demo
from neuralcollapse.glossary import GLOSSARY
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
    """Build the site, once for all processes, its scripts not run; no warning is let by."""
    application = pytest.importorskip("sphinx.application").Sphinx
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "site"
    with FileLock(folder.with_suffix(".lock")):
        if not (folder / "built").exists():
            complaints, places = io.StringIO(), (DOCS, DOCS, folder, folder.with_name("trees"))
            with warnings.catch_warnings(action="ignore"):  # of how extensions use Sphinx
                application(
                    *places, "html", {"plot_gallery": "0"}, status=None, warning=complaints
                ).build()
            assert complaints.getvalue() == ""
            (folder / "built").touch()
    return folder


class Page(HTMLParser):
    """What a page names, links to, and loads."""

    def __init__(self, path):
        super().__init__()
        self.ids, self.links, self.empty, self.loaded, self.inside = set(), [], [], [], None
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if "id" in values:
            self.ids.add(values["id"])
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
            self.inside = values.get("aria-label") or values.get("title") or ""
        if self.inside is not None and tag in ("img", "svg"):
            self.inside += values.get("alt") or values.get("aria-label") or ""
        if tag in ("script", "img", "iframe"):
            self.loaded.append(values.get("src") or "")
        if tag == "link" and values.get("rel") in ("stylesheet", "preload", "preconnect", "icon"):
            self.loaded.append(values["href"])

    def handle_data(self, data):
        if self.inside is not None:
            self.inside += data

    def handle_endtag(self, tag):
        if tag == "a" and self.inside is not None:
            if not self.inside.strip():
                self.empty.append(self.links[-1])
            self.inside = None


@pytest.fixture(scope="session")
def pages(site):
    return {path: Page(path) for path in sorted(site.rglob("*.html"))}


def public_objects():
    """Return each public object that is no module, once, by the name that users write."""
    names = {}
    for package in ["neuralcollapse", *PACKAGES]:
        module = importlib.import_module(package)
        for name in module.__all__:
            value = getattr(module, name)
            if not inspect.ismodule(value) and id(value) not in {id(v) for v in names.values()}:
                names[f"{package}.{name}"] = value
    return {name: value for name, value in names.items() if not name.endswith("__version__")}


def documented_objects():
    """Return the public objects, and the classes that they return, by the names of their pages."""
    found = public_objects()
    public = {id(value) for value in found.values()}
    for function in filter(inspect.isfunction, public_objects().values()):
        for name in re.findall(r"\w+", str(function.__annotations__.get("return"))):
            value = vars(sys.modules[function.__module__]).get(name)
            ours = inspect.isclass(value) and value.__module__.startswith("neuralcollapse.")
            if ours and id(value) not in public:
                found[f"{value.__module__}.{name}"] = value
    return found


def test_the_reference_has_a_page_for_each_public_object_and_lists_it(site, pages):
    documented = {path.stem: page for path, page in pages.items() if path.parent.name == "api"}
    assert set(documented) == set(documented_objects())
    for name, page in documented.items():
        assert name in page.ids  # to be linked to by the name that users write
    for package in [name for name in PACKAGES if name.count(".") == 1] + ["neuralcollapse"]:
        listing = "index" if package == "neuralcollapse" else package.rpartition(".")[2]
        linked = set(pages[site / f"reference/{listing}.html"].links)
        own = {n for n in documented if n.rpartition(".")[0] == package}
        assert {f"api/{name}.html" for name in own} <= linked


def undefined(docstring):
    """Return the names that the examples of a docstring use and do not define or import."""
    known, missing = set(vars(builtins)) | {"__name__"}, []
    for example in doctest.DocTestParser().get_examples(docstring):
        nodes = list(ast.walk(ast.parse(example.source)))
        for node in nodes:
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                known |= {(a.asname or a.name).partition(".")[0] for a in node.names}
            elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                known.add(node.name)
            elif isinstance(node, ast.arg):
                known.add(node.arg)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                known.add(node.id)
        missing += [n.id for n in nodes if isinstance(n, ast.Name) and n.id not in known]
    return missing


def test_each_public_object_has_an_example_that_can_be_copied():
    documented = {
        name: inspect.getdoc(v) or "" for name, v in documented_objects().items() if callable(v)
    }
    assert [name for name, text in documented.items() if ">>>" not in text] == []
    assert {n: found for n, text in documented.items() if (found := undefined(text))} == {}


def test_the_front_door_is_listed_and_leads_somewhere(site, pages):
    text = (site / "reference/index.html").read_text()
    rows = re.findall(r'<td><p><a[^>]*href="([^"]+)"[^>]*>.*?nc\.(\w+)</span>', text)
    assert sorted(name for _, name in rows) == sorted(neuralcollapse.__all__)
    for target, _ in rows:
        page, _, anchor = target.partition("#")
        assert not anchor or anchor in pages[site / "reference" / page].ids


def test_pages_load_nothing_from_elsewhere_and_no_link_is_empty(site, pages):
    assert len(pages) > 300
    loaded = {source for page in pages.values() for source in page.loaded}
    assert not {source for source in loaded if re.match(r"(https?:)?//", source)}
    styles = "".join(sheet.read_text() for sheet in site.rglob("*.css"))
    assert not re.findall(r"url\(['\"]?https?://[^)]*\)|@import[^;]*https?://[^;]*", styles)
    assert {path: page.empty for path, page in pages.items() if page.empty} == {}


def test_links_between_pages_lead_somewhere(site, pages):
    broken = set()
    for path, page in pages.items():
        for link in page.links:
            target, _, anchor = link.partition("#")
            if re.match(r"\w+:", target):
                continue
            file = Path(os.path.normpath(path.parent / target)) if target else path
            known = pages[file].ids if file in pages else {anchor}
            if not file.exists() or (anchor and anchor not in known):
                broken.add((path.relative_to(site).as_posix(), link))
    assert broken == set()


def test_every_formula_of_the_metrics_is_drawn(site):
    documented = {n: v for n, v in public_objects().items() if v in vars(metrics).values()}
    assert len(documented) > 30
    for name, value in documented.items():
        formulas = (inspect.getdoc(value) or "").count(".. math::")
        text = (site / f"reference/api/{name}.html").read_text()
        assert text.count('<div class="formula">') >= formulas


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


def cells(text):
    """Return the rows of a page's tables, as plain text."""
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", text, re.DOTALL)
    return [
        [re.sub(r"<[^>]+>", "", cell).strip() for cell in re.findall(r"<td>(.*?)</td>", row, re.S)]
        for row in rows
    ]


def test_claims_are_listed_with_their_corrections(site):
    rows = cells((site / "theory/index.html").read_text())
    uncorrected = ("stands as stated", "not in the paper")
    claims = {
        name: corrected
        for paper in ("ji2022", "tirer2023", "gao2023")
        for name, corrected in claims_in_the_source(paper).items()
    }
    listed = {row[0]: row[2] not in uncorrected for row in rows if row and row[0] in claims}
    assert listed == claims
    assert 5 < sum(listed.values()) < len(listed)


def test_chapters_and_claims_have_no_plain_formula(site):
    for page in sorted((site / "theory").glob("*.html")):
        text = page.read_text().partition("<article")[2].partition("</article>")[0]
        prose = re.sub(r"<(pre|code|svg)\b.*?</\1>|<[^>]+>", " ", text, flags=re.DOTALL)
        assert re.findall(r"\S*(?:\^|\|\||sqrt\(|\blambda|[A-Zα-ω‖]_\w|\b[A-Z]-\d)\S*", prose) == []
    claims = (site / "theory/index.html").read_text()
    assert "−1/(<i>K</i>−1)" in claims
    assert "(‖<i>G</i>‖<sub>2</sub> − κ)" in claims


def test_the_gallery_shows_every_script_and_the_reference_leads_to_it(site, pages):
    gallery = (site / "gallery/index.html").read_text()
    scripts = {path.stem: path for path in (ROOT / "examples").glob("*.py")}
    for stem, path in scripts.items():
        title, line = ast.get_docstring(ast.parse(path.read_text())).splitlines()[:2]
        assert line == "=" * len(title)
        assert f"gallery/{stem}.html" in gallery or f'href="{stem}.html' in gallery
        assert re.search(rf'href="[^"]*{stem}\.ipynb"', (site / f"gallery/{stem}.html").read_text())
    measure = pages[site / "reference/api/neuralcollapse.measure.html"].links
    users = {stem for stem, path in scripts.items() if "nc.measure(" in path.read_text()}
    assert users == {s for s in scripts if any(f"gallery/{s}.html" in link for link in measure)}


def test_every_metric_of_a_report_is_explained(site):
    text = (site / "which_metric.html").read_text().partition('id="on-request"')[0]
    assert [row[0] for row in cells(text) if row and row[0] in CATALOGUE] == list(CATALOGUE)


def test_the_glossary_has_every_term_with_its_meaning(site):
    text = (site / "about/glossary.html").read_text().replace("’", "'")
    told = re.findall(r"<dt[^>]*>(.*?)</dt><dd>(.*?)</dd>", text, re.DOTALL)
    plain = [
        tuple(unescape(re.sub(r"<a .*?</a>|<[^>]+>", "", t)).split()) for row in told for t in row
    ]
    for term in GLOSSARY:
        assert tuple(term.name.split()) in plain
        assert tuple(term.meaning.split()) in plain


def test_the_search_finds_what_readers_call_things(site):
    index = (site / "searchindex.js").read_text()
    for word in ("imbalanc", "llm", "overconfid", "wandb"):
        assert re.search(rf'"?{word}\w*"?:', index), word


PAGES = [
    "index.html",
    "reference/cli.html",
    "reference/api/neuralcollapse.metrics.nc1_pinv.html",
    "gallery/index.html",
    "how_to/cost.html",
    "404.html",
]
# Of these, wider than their column; what prints tables scrolls on a phone.
SCROLLING = """selector => [...document.querySelectorAll(selector)]
    .map(e => (e.tagName === "TABLE" ? e.parentElement : e))
    .filter(e => e.scrollWidth > e.clientWidth + 1)
    .map(e => e.textContent.slice(0, 60))"""


@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_a_phone_and_shuts_nobody_out(site, tab, name):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    tab.set_viewport_size({"width": 390, "height": 844})
    tab.emulate_media(color_scheme="dark")
    tab.goto((site / name).as_uri())
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    assert tab.evaluate(SCROLLING, ".bd-article :is(table, .highlight-python pre)") == []
    tab.set_viewport_size({"width": 1280, "height": 844})
    assert tab.evaluate(SCROLLING, ".bd-article pre") == []
    tab.set_viewport_size({"width": 390, "height": 844})
    found = axe.run(tab, options={"resultTypes": ["violations"]})
    assert found.violations_count == 0, found.generate_report()


def test_the_search_works_from_a_folder(site, tab):
    tab.goto((site / "search.html").as_uri() + "?q=imbalance")
    tab.wait_for_selector("#search-results li a[href*='unequal_classes']")


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


def test_the_picture_of_a_report_shows_the_demo_that_its_caption_names():
    shown = json.loads(Image.open(DOCS / "figures/report.png").text["config.json"])["config"]
    defaults = inspect.signature(demo).parameters
    for name in ("data", "net", "loss", "epochs", "weight_decay", "seed"):
        assert shown[name] == defaults[name].default, name
