"""The page in a real browser: it draws, answers to pointer and keys, and fits a phone."""

import pytest

from neuralcollapse.metrics.catalogue import CATALOGUE
from neuralcollapse.report.html.curves import TRAINED
from neuralcollapse.runs import read_run

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
    name = link.inner_text()
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


def test_dark_is_dark_by_the_system_and_by_the_button(visit, page_file):
    background = "getComputedStyle(document.body).backgroundColor"
    page = visit(page_file, color_scheme="dark")
    black, dark = page.evaluate(background), page.evaluate(PIXELS, "gram")
    page.emulate_media(color_scheme="light")
    assert page.evaluate(background) != black
    assert page.evaluate(PIXELS, "gram") != dark
    page.locator("#theme").click()
    assert page.evaluate(background) == black
    assert page.evaluate(PIXELS, "gram") == dark
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
