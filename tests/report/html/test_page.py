import json
import re
from html.parser import HTMLParser

import pytest
import torch

from made_up_run import HOSTILE_NAMES, write_run
from neuralcollapse.errors import NeuralCollapseError
from neuralcollapse.geometry import simplex_etf
from neuralcollapse.integrations import watch
from neuralcollapse.measurement import compare, measure, measure_features
from neuralcollapse.plain_text import brief
from neuralcollapse.report.html import render_page
from neuralcollapse.report.html.template import LONGEST
from neuralcollapse.runs import append_record, read_runs, write_snapshot
from neuralcollapse.runs.schedule import KEPT

VOID = {"meta", "link", "input", "br", "img"}
SECTIONS = ["verdicts", "alarms", "curves", "geometry", "margins", "layers", "theory", "settings"]


class Checked(HTMLParser):
    """Reads a page and notes what is not as it should be."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.faults, self.ids, self.links, self.loaded = [], [], [], [], []
        self.scripts, self.text, self.tags = [], [], []
        self.feed(text)
        self.close()
        if self.open:
            self.faults.append(f"never closed: {self.open}")

    def handle_starttag(self, tag, attributes):
        names = [name for name, _ in attributes]
        given = dict(attributes)
        self.tags.append((tag, given))
        if len(set(names)) < len(names):
            self.faults.append(f"an attribute twice in {tag}")
        if "id" in given:
            self.ids.append(given["id"])
        if tag == "a":
            self.links.append(given.get("href"))
        self.loaded += [
            given[name] for name in ("src", "data", "action", "srcset") if name in given
        ]
        if tag == "link":
            self.loaded.append(given["href"])
        if tag == "p" and "p" in self.open:
            self.faults.append("a paragraph in a paragraph")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open[-1] != tag:
            self.faults.append(f"</{tag}> in {self.open[-3:]}")
        else:
            self.open.pop()

    def handle_data(self, data):
        if self.open and self.open[-1] in ("script", "style"):
            self.scripts.append((self.open[-1], data))
        else:
            self.text.append(data)


def data_of(text):
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])


@pytest.fixture(scope="module", params=["one", "two", "bare"])
def page(request, page_file, two_runs_file, tmp_path_factory):
    if request.param == "bare":
        folder = tmp_path_factory.mktemp("bare") / "bare"
        bare = write_run(folder, headed=False, tested=False, snapshots=0, epochs=3)
        (bare / "config.json").unlink()
        return render_page(read_runs([bare]))
    return {"one": page_file, "two": two_runs_file}[request.param].read_text()


def test_it_is_valid_html(page):
    checked = Checked(page)
    assert page.startswith("<!DOCTYPE html>")
    assert checked.faults == []
    assert len(set(checked.ids)) == len(checked.ids)
    assert [tag for tag, _ in checked.tags].count("title") == 1
    assert {"lang": "en"} in [given for tag, given in checked.tags if tag == "html"]
    for tag, given in checked.tags:
        if tag in ("canvas", "button") or given.get("type") == "range":
            assert given.get("aria-label") or tag == "button"


def test_every_section_is_there_and_every_link_leads_somewhere(page):
    checked = Checked(page)
    assert set(SECTIONS) <= set(checked.ids)
    assert {f"#{name}" for name in SECTIONS} <= set(checked.links)
    for link in checked.links:
        assert link.startswith("#")
        assert link[1:] in checked.ids


def test_nothing_is_loaded_from_elsewhere(page):
    checked = Checked(page)
    assert set(checked.loaded) == {"data:,"}
    style = "".join(text for kind, text in checked.scripts if kind == "style")
    assert "@import" not in style
    assert "url(" not in style
    # The name of the SVG namespace is no address that anything fetches.
    assert set(re.findall(r"https?://[^\s\"'<]*", page)) <= {"http://www.w3.org/2000/svg"}
    for word in ("fetch(", "XMLHttpRequest", "WebSocket", "import("):
        assert word not in page


def test_names_are_text_and_nothing_else(page_file):
    text = page_file.read_text()
    checked = Checked(text)
    assert "<script>window" not in text
    assert text.count("</script>") == 2  # the data and the program
    assert data_of(text)["classes"] == HOSTILE_NAMES
    for name in HOSTILE_NAMES:
        assert brief(name, LONGEST) in checked.text


def test_empty_states_say_what_to_do(tmp_path):
    run = write_run(tmp_path / "bare", headed=False, tested=False, snapshots=0, epochs=3)
    (run / "config.json").unlink()
    text = " ".join(Checked(render_page(read_runs([run]))).text)
    for sentence in (
        "No snapshots of the geometry were taken.",
        "Margins by class and pair are in the snapshots, and this run took none.",
        "The comparison needs a snapshot of the class means",
        "the run recorded one layer only",
        "A certificate needs the margins of test data",
        "has no config.json",
    ):
        assert sentence in text


def test_a_history_of_other_things_makes_a_page_too(tmp_path):
    append_record(tmp_path / "history.jsonl", {"epoch": 1, "temperature": 20.0})
    text = " ".join(Checked(render_page(read_runs([tmp_path]))).text)
    assert "none of the metrics that the verdicts are about" in text
    assert "This history has no metric to draw." in text


def test_the_assumption_and_the_level_stand_beside_the_certified_error(two_runs_file):
    checked, page = Checked(two_runs_file.read_text()), two_runs_file.read_text()
    text = " ".join(" ".join(checked.text).split())
    for part in (text[text.index("Where it stands") :], text[text.index("The certificate") :]):
        assert "This holds if the held-out data chose nothing" in part
        assert "If you pick this run as the best of the 2 here, it is at most " in part
    assert "certified</span>" not in page  # a bound is a number, not a success
    assert 'data-grade="bound">at most ' in page


def test_corrected_values_stand_on_the_page_as_in_the_record(tmp_path):
    estimates = {
        "cdnv": {"corrected": 0.1234, "lower": 0.11, "upper": 0.14},
        "test_accuracy": {"corrected": 0.75, "lower": 0.71234, "upper": 0.78},
    }
    record = {"epoch": 1, "cdnv": 0.12, "estimates": estimates}
    append_record(tmp_path / "history.jsonl", record)
    text = " ".join(" ".join(Checked(render_page(read_runs([tmp_path]))).text).split())
    assert "0.123 0.11 to 0.14" in text
    assert "75 % 71.2 % to 78 %" in text
    assert "what unlimited fresh samples would give" in text


def test_settings_versions_and_seeds_are_shown_and_what_differs(two_runs_file):
    checked = Checked(two_runs_file.read_text())
    text = " ".join(checked.text)
    for word in ("seed", "python", "threads", "made up", "tetrahedron", "sibling"):
        assert word in text
    rows = re.findall(r'<tr class="differ"><th scope="row">(\w+)', two_runs_file.read_text())
    assert {"seed", "epochs"} <= set(rows)
    assert "data" not in rows


def test_a_long_run_of_a_hundred_classes_stays_small(tmp_path):
    labels = torch.arange(400) % 100
    generator = torch.Generator().manual_seed(0)
    head = simplex_etf(100, 128, generator=generator)
    features = head[labels] + 0.2 * torch.randn(400, 128, generator=generator)
    report = measure_features(features, labels, head, test_features=features, test_labels=labels)
    for epoch in range(1, 301):
        # Digits that do not repeat, as in a real history.
        values = {name: value * (1 + 1 / epoch) for name, value in report.to_dict().items()}
        append_record(tmp_path / "history.jsonl", {"epoch": epoch, "step": epoch, **values})
    for epoch in KEPT.epochs(300):
        write_snapshot(tmp_path, epoch, report)
    (run,) = read_runs([tmp_path])
    assert len(run.snapshots) > 30
    text = render_page([run])
    assert len(text.encode()) < 15e6
    assert len(data_of(text)["runs"][0]["geometry"]["gram"]["classes"]) == 100


def test_there_is_at_least_one_run():
    for wrong in ([], ()):
        with pytest.raises(NeuralCollapseError, match="runs: expected at least one run, got none"):
            render_page(wrong)


@pytest.mark.parametrize("name", ["0", "ImageNet-C / fog", "test", "clean", ""])
def test_test_sets_may_be_called_anything(tmp_path, name):
    torch.manual_seed(0)
    network, labels = torch.nn.Linear(6, 3), torch.arange(60) % 3
    loader = [(2 * torch.eye(3, 6)[labels] + torch.randn(60, 6), labels)]
    tests = {name: loader, "other": loader}
    with watch(network, loader, test_loader=tests, history=tmp_path / "run") as collapse:
        collapse.epoch_end()
    value = collapse.records[0][f"test_{name}_nc1_trace_ratio"]
    assert f"{name}_nc1_trace_ratio" in render_page(read_runs([tmp_path / "run"]))
    report = measure(network, loader, test_loader=tests)
    assert report[f"test_{name}_nc1_trace_ratio"] == pytest.approx(value)
    assert f"test_{name}_nc1_trace_ratio" in str(compare(report, report))
