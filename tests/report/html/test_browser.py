"""The page in a real browser: it draws, answers to pointer and keys, and fits a phone."""

import re
from base64 import b64decode
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from neuralcollapse.metrics.catalogue import CATALOGUE
from neuralcollapse.report.html import write_page
from neuralcollapse.report.html.curves import TRAINED
from neuralcollapse.runs import Run, read_run

PIXELS = "id => document.getElementById(id).toDataURL()"
CURVES = "() => [...document.querySelectorAll('#curves path.curve')].map(p => p.getAttribute('d'))"

# Of the texts of charts, the one that is hardest to tell from what is behind it.
LEAST_CONTRAST = """() => {
    const light = colour => {
        const [r, g, b] = colour.match(/[\\d.]+/g).map(Number).map(v => v / 255)
            .map(v => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = element => {
        for (let at = element; at; at = at.parentElement) {
            const colour = getComputedStyle(at).backgroundColor;
            if (/^rgb\\(/.test(colour)) return colour;
        }
        return getComputedStyle(document.body).backgroundColor;
    };
    const texts = [...document.querySelectorAll("main svg text")].filter(e => e.checkVisibility());
    return texts.map(e => {
        const [a, b] = [getComputedStyle(e).fill, ground(e)].map(light).sort((x, y) => y - x);
        return [(a + 0.05) / (b + 0.05), e.outerHTML.slice(0, 80)];
    }).sort((a, b) => a[0] - b[0])[0];
}"""


def colours_on(page, selector):
    """Return how many colours a canvas shows."""
    return page.evaluate(
        """selector => {
            const canvas = document.querySelector(selector);
            const { width, height } = canvas;
            const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
            return new Set(new Uint32Array(data.buffer)).size;
        }""",
        selector,
    )


def test_everything_is_drawn(visit, page_file, tetrahedron):
    page = visit(page_file)
    charts = page.locator("#curves .chart")
    measured = CATALOGUE.keys() & read_run(tetrahedron).records[-1].keys()
    assert charts.count() == len(measured) + len(TRAINED)
    for i in range(charts.count()):
        assert charts.nth(i).locator("path.curve").count() >= 1
    for name in ("gram", "space"):
        assert colours_on(page, f"#{name}") > 3
    assert colours_on(page, ".margin-map") > 3
    for name in ("angles", "norms", "next"):
        assert page.locator(f"[data-theory={name}] svg").count() == 1
    assert page.evaluate("window.hacked") is None


def test_the_slider_moves_both_pictures_by_keys_too(visit, page_file):
    page = visit(page_file)
    slider = page.locator("#epoch")
    seen = {}
    slider.focus()
    for key in ("End", "ArrowLeft", "Home"):
        page.keyboard.press(key)
        epoch = page.locator("#epoch-value").inner_text()
        seen[epoch] = page.evaluate(PIXELS, "gram"), page.evaluate(PIXELS, "space")
        assert slider.get_attribute("aria-valuetext") == f"epoch {epoch}"
    assert len(seen) == 3
    for pictures in zip(*seen.values(), strict=True):
        assert len(set(pictures)) == 3


def test_playing_walks_to_the_end(visit, page_file):
    page = visit(page_file)
    page.locator("#play").click()
    assert page.locator("#play").inner_text() == "pause"
    page.wait_for_function("document.getElementById('play').textContent === 'play'")
    assert page.locator("#epoch-value").inner_text() == "12"


def test_less_motion_means_no_playing(visit, page_file):
    page = visit(page_file, reduced_motion="reduce")
    assert page.locator("#play").count() == 0
    assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"


def test_every_toggle_changes_the_curves(visit, page_file):
    page = visit(page_file)
    toggles = {"x": ["log", "loglog", "linear"], "y": ["linear", "log"], "split": ["train", "test"]}
    before = page.evaluate(CURVES)
    for name, values in toggles.items():
        for value in values:
            page.locator(f"[name={name}][value={value}]").check(force=True)
            after = page.evaluate(CURVES)
            assert after != before
            assert not any("NaN" in path or "Infinity" in path for path in after)
            before = after


def test_toggles_obey_the_keyboard(visit, page_file):
    page = visit(page_file)
    before = page.evaluate(CURVES)
    page.locator("[name=x][value=linear]").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("[name=x][value=log]").is_checked()
    assert page.evaluate(CURVES) != before
    # Where the focus is can be seen.
    outline = "getComputedStyle(document.querySelector('[name=x]:checked + span')).outlineStyle"
    assert page.evaluate(outline) == "solid"


def test_reading_at_an_epoch_by_keys_and_by_pointer(visit, page_file):
    page = visit(page_file)
    chart = page.locator("[data-chart=nc1_trace_ratio]")
    last = chart.locator(".values").inner_text()
    page.locator("#read").focus()
    page.keyboard.press("Home")
    assert page.locator("#read-epoch").inner_text() == "1"
    first = chart.locator(".values").inner_text()
    assert first != last
    chart.locator("svg").hover(position={"x": 120, "y": 60})
    assert page.locator("#read-epoch").inner_text() not in ("1", "12")
    assert chart.locator(".values").inner_text() not in (first, last)


def test_the_picture_in_space_turns(visit, page_file):
    page = visit(page_file, reduced_motion="reduce")
    before = page.evaluate(PIXELS, "space")
    page.locator("#space").focus()
    page.keyboard.press("ArrowRight")
    turned = page.evaluate(PIXELS, "space")
    assert turned != before
    page.locator("#space").hover()
    page.mouse.down()
    page.locator("#space").hover(position={"x": 50, "y": 100})
    page.mouse.up()
    assert page.evaluate(PIXELS, "space") != turned


def test_a_pair_leads_to_its_place_in_the_gram_matrix(visit, page_file):
    page = visit(page_file)
    before = page.evaluate(PIXELS, "gram")
    link = page.locator("[data-pair]").first
    start, end = link.inner_text().split("…")  # of a long name, which is whole on pointing at it
    name = link.locator("span").get_attribute("title")
    assert name.startswith(start)
    assert name.endswith(end)
    link.click()
    assert page.evaluate(PIXELS, "gram") != before
    assert name in page.locator("#gram-readout").inner_text()
    assert page.url.endswith("#geometry")


def test_the_two_ways_to_show_the_gram_matrix(visit, page_file):
    page = visit(page_file)
    before = page.evaluate(PIXELS, "gram")
    page.locator("[name=gram][value=cosine]").check(force=True)
    assert page.evaluate(PIXELS, "gram") != before


def test_nothing_is_wider_than_the_screen(visit, page_file, two_runs_file):
    """Not on a phone, nor once it is turned or the window is drawn wider."""
    for path in (page_file, two_runs_file):
        page = visit(path, width=390)
        for width in (390, 768, 1280):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("document.documentElement.scrollWidth") <= width


def _difference(picture, other) -> float:
    """Mean difference of the pixels of two data addresses, of 255."""
    pixels = (
        np.asarray(Image.open(BytesIO(b64decode(one.split(",")[1]))).convert("RGBA"), dtype=float)
        for one in (picture, other)
    )
    return float(np.abs(np.subtract(*pixels)).mean())


def test_dark_is_dark_by_the_system_and_by_the_button(visit, page_file):
    background = "getComputedStyle(document.body).backgroundColor"
    page = visit(page_file, color_scheme="dark")
    black, dark = page.evaluate(background), page.evaluate(PIXELS, "gram")
    page.emulate_media(color_scheme="light")
    # The style sheet follows at once, the pictures with the event, which a busy machine delays.
    page.wait_for_function("document.getElementById('theme').textContent === 'dark'")
    assert page.evaluate(background) != black
    light = page.evaluate(PIXELS, "gram")
    page.locator("#theme").click()
    assert page.evaluate(background) == black
    # The same colours, not the same file: the browser may draw edges and letters by another way.
    assert _difference(page.evaluate(PIXELS, "gram"), dark) < 1 < 20 < _difference(light, dark)
    assert page.locator("#theme").get_attribute("aria-pressed") == "true"
    page.reload()
    assert page.evaluate(background) == black  # it is kept


@pytest.mark.parametrize(("files", "theme"), [("page_file", "light"), ("two_runs_file", "dark")])
def test_nobody_is_shut_out(visit, request, files, theme):
    """No rule of axe is broken, and texts in pictures, which it skips, have a contrast of 4.5."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page = visit(request.getfixturevalue(files), color_scheme=theme)
    found = axe.run(page, options={"resultTypes": ["violations"]})
    assert found.violations_count == 0, found.generate_report()
    worst = page.evaluate(LEAST_CONTRAST)
    assert worst[0] >= 4.5, worst


def test_runs_are_overlaid_and_one_is_looked_at(visit, two_runs_file):
    page = visit(two_runs_file)
    chart = page.locator("[data-chart=nc1_trace_ratio]")
    assert chart.locator("path.curve").count() == 4
    before = page.evaluate(PIXELS, "gram")
    page.locator("[name=run-margins][value='1']").check(force=True)
    assert page.locator("[name=run-geometry][value='1']").is_checked()
    assert page.evaluate(PIXELS, "gram") != before
    for section in ("margins", "theory"):
        shown = page.locator(f"#{section} [data-run]:visible")
        assert [shown.nth(i).get_attribute("data-run") for i in range(shown.count())] == ["1"]
    assert page.locator("#theory [data-theory=norms]:visible svg").count() == 1


def test_print_is_light_open_and_without_controls(visit, page_file):
    page = visit(page_file, color_scheme="dark")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    for selector in ("nav", ".toolbar", ".choice"):
        assert not page.locator(selector).first.is_visible()
    assert page.evaluate("[...document.querySelectorAll('details')].every(d => d.open)")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(252, 252, 250)"
    page.emulate_media(media="screen")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate("document.documentElement.dataset.theme") is None
    assert page.locator("nav").is_visible()


def test_a_box_shows_its_epochs_in_every_chart(visit, page_file):
    page = visit(page_file)
    whole = page.evaluate(CURVES)
    plot = page.locator("[data-chart=nc1_trace_ratio] .plot")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 50)
    page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + 60)
    page.mouse.up()
    low, high = (float(page.locator(f"#{end}").input_value()) for end in ("from", "to"))
    assert 1 < low < high <= 12
    assert all(a != b for a, b in zip(page.evaluate(CURVES), whole, strict=True))
    page.locator("#whole").click()
    assert page.evaluate(CURVES) == whole
    page.locator("#from").fill("4")  # and by keys
    page.keyboard.press("Enter")
    assert page.evaluate(CURVES) != whole


def test_what_is_chosen_stands_in_the_address(visit, page_file):
    page = visit(page_file)
    page.locator("[name=x][value=log]").check(force=True)
    page.locator("#to").fill("9")
    page.locator("#epoch").focus()
    page.keyboard.press("Home")
    page.wait_for_function("location.hash.includes('to=9') && location.hash.includes('epoch=0')")
    before = page.evaluate(CURVES), page.evaluate(PIXELS, "gram")
    page.reload()
    page.wait_for_selector("#curves path.curve")
    assert (page.evaluate(CURVES), page.evaluate(PIXELS, "gram")) == before
    page.locator("nav a[href='#margins']").click()
    page.wait_for_function("location.hash.startsWith('#margins?')")


def test_every_picture_can_be_saved(visit, page_file, tetrahedron):
    page = visit(page_file)
    read = {}
    for kind in ("CSV", "SVG", "PNG"):
        page.locator("[data-chart=cdnv] .save").click()
        with page.expect_download() as download:
            page.locator(".menu button", has_text=kind).click()
        assert download.value.suggested_filename == f"cdnv.{kind.lower()}"
        read[kind] = Path(download.value.path()).read_bytes()
    records = read_run(tetrahedron).records
    header, *rows = read["CSV"].decode().splitlines()
    assert header == "run,data,epoch,cdnv"
    assert len(rows) == 2 * len(records)
    assert float(rows[0].split(",")[3]) == pytest.approx(records[0]["cdnv"], rel=1e-4)
    assert b"<path" in read["SVG"]
    assert b"var(--" not in read["SVG"].split(b"<path", 1)[1].split(b">")[0]
    assert read["PNG"].startswith(b"\x89PNG")
    page.locator("#gram").locator("xpath=ancestor::figure").locator(".save").click()
    assert page.locator(".menu button").all_inner_texts() == ["CSV", "PNG"]


def test_matrices_obey_the_keyboard(visit, page_file):
    page = visit(page_file)
    for canvas in ("#gram", ".margin-map"):
        figure = page.locator(canvas).locator("xpath=ancestor::figure")
        page.locator(canvas).focus()
        seen = []
        for key in ("ArrowRight", "ArrowDown", "ArrowDown"):
            page.keyboard.press(key)
            seen.append(figure.locator(".readout").inner_text())
        assert len(set(seen)) == 3
        assert " and " in seen[0] or "samples of" in seen[0]


def test_pictures_keep_their_colours_where_others_are_forced(visit, page_file):
    page = visit(page_file)
    page.emulate_media(forced_colors="active")
    page.reload()
    page.wait_for_selector("#curves path.curve")
    assert colours_on(page, "#gram") > 3
    swatch = "getComputedStyle(document.querySelector('.card-value'), '::before').backgroundColor"
    assert page.evaluate(swatch) == "rgb(0, 114, 178)"


def test_a_run_that_is_not_ticked_is_not_drawn(visit, two_runs_file):
    page = visit(two_runs_file)
    curves = page.locator("[data-chart=nc1_trace_ratio] path.curve")
    page.locator("[data-mute='1']").uncheck()
    assert curves.count() == 2
    page.locator("[data-mute='0']").uncheck()
    assert curves.count() == 0
    page.locator("[data-mute='1']").check()
    assert curves.count() == 2


def test_layers_are_drawn_as_a_map_and_as_curves(visit, two_runs_file):
    page = visit(two_runs_file)
    page.locator("[name=run-layers][value='1']").check(force=True)
    block = page.locator("#layers [data-run='1']")
    assert block.locator(".heat rect").count() == 2 * 8  # layers and epochs
    assert block.locator(".layer-curves path.curve").count() == 2
    before = block.locator(".heat svg").inner_html()
    block.locator("select").select_option(index=1)
    assert block.locator(".heat svg").inner_html() != before


def test_the_map_of_layers_obeys_the_keyboard(visit, two_runs_file):
    page = visit(two_runs_file)
    page.locator("[name=run-layers][value='1']").check(force=True)
    block = page.locator("#layers [data-run='1']")
    block.locator(".heat svg").focus()
    seen = []
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowDown"):
        page.keyboard.press(key)
        seen.append(block.locator(".readout").inner_text())
        assert block.locator(".heat rect.read").count() == 1
    assert len(set(seen)) == 3  # there are two layers: the last key has nowhere to go
    assert all(re.fullmatch(r".+, epoch \d+: [\d.e−-]+", text) for text in seen)


def test_a_word_is_explained_by_pointer_and_keys_until_escape(visit, page_file):
    page = visit(page_file)
    word, tip = page.locator("a.term").first, page.get_by_role("tooltip")
    meaning = page.locator(f"{word.get_attribute('href')} dd").inner_text()
    assert tip.count() == 0  # hidden
    word.hover()
    assert tip.inner_text() == meaning
    page.keyboard.press("Escape")
    assert tip.count() == 0
    word.focus()
    assert tip.inner_text() == meaning
    word.press("Enter")
    assert page.url.endswith(word.get_attribute("href"))


def test_paper_has_every_run(visit, two_runs_file):
    page = visit(two_runs_file)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    for section in ("margins", "layers", "theory"):
        blocks = page.locator(f"#{section} [data-run]")
        assert [blocks.nth(i).is_visible() for i in range(blocks.count())] == [True, True]
    assert page.locator("#geometry .copy img").count() == 2
    assert page.locator("[data-theory=norms] svg").count() == 2
    page.emulate_media(media="screen")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("#geometry .copy").count() == 0
    assert page.locator("#theory [data-run]:visible").count() == 1


def test_a_sweep_is_bands_and_dots(visit, tmp_path):
    runs = [
        Run(
            f"{lr}-{seed}",
            [{"epoch": e, "num_classes": 2, "cdnv": (1 + seed) * lr / e} for e in (1, 2, 3)],
            provenance={"config": {"lr": lr, "seed": seed}},
        )
        for lr in (0.1, 0.2, 0.4, 0.8)
        for seed in range(3)
    ]
    page = visit(write_page(runs, tmp_path / "sweep.html"))
    chart = page.locator("[data-chart=cdnv]")
    assert (chart.locator("path.band").count(), chart.locator("path.curve").count()) == (4, 4)
    assert "lr 0.8 0.533 (0.267 to 0.8)" in chart.locator(".values").inner_text()
    page.locator("[name=seeds][value=each]").check(force=True)
    assert (chart.locator("path.band").count(), chart.locator("path.curve").count()) == (0, 12)
    assert page.locator("#sweep circle").count() == 12
    page.locator("[data-mute='5']").uncheck()
    assert page.locator("#sweep circle").count() == 11


def test_a_live_page_reloads_itself_and_keeps_what_was_chosen(visit, tmp_path, monkeypatch):
    monkeypatch.setattr("neuralcollapse.report.html.page.RELOAD", 0.5)
    run = Run("run", [{"epoch": e, "num_classes": 2, "cdnv": 1 / e} for e in (1, 2)])
    page = visit(write_page([run], tmp_path / "live.html", live=True))
    page.locator("[name=y][value=linear]").check(force=True)
    run.records.append({"epoch": 3, "num_classes": 2, "cdnv": 0.125})
    write_page([run], tmp_path / "live.html")
    page.wait_for_function("document.querySelector('.values')?.textContent === 'train 0.125'")
    assert page.locator("[name=y][value=linear]").is_checked()


def test_a_share_on_a_log_axis_is_titled_by_what_it_lacks(visit, page_file):
    page = visit(page_file)
    caption = page.locator("[data-chart=accuracy] figcaption")
    lacking, whole = "1 − argmaxₖ", "what is missing to 1: share of samples that are right"
    assert caption.inner_text().startswith(lacking)
    assert whole in caption.inner_text()
    page.locator("[name=y][value=linear]").check(force=True)
    assert not caption.inner_text().startswith("1")
    assert "missing" not in caption.inner_text()
