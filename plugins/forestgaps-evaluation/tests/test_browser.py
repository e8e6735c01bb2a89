"""The pages in a real browser: nothing it complains of, nothing it asks for, legible to everyone, on screen and on paper."""

from __future__ import annotations

import pytest

from forestgaps_evaluation.run_report.page import write_run_report

pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.browser

# For each piece of text that is painted: its words, the contrast with what lies behind it (WCAG 2.2, 1.4.3), its size in px.
CONTRAST = """
() => {
  const parsed = text => { const n = text.match(/[\\d.]+/g).map(Number); return n.length === 3 ? [...n, 1] : n; };
  const linear = c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const over = (top, base) => [0, 1, 2].map(i => top[i] * top[3] + base[i] * (1 - top[3]));
  const behind = element => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) {
      const color = parsed(getComputedStyle(at).backgroundColor);
      if (color[3] > 0) layers.push(color);
      if (color[3] === 1) break;
    }
    return layers.reverse().reduce((base, layer) => over(layer, base), [255, 255, 255]);
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement, words = walker.currentNode.textContent.trim();
    const style = getComputedStyle(element);
    if (!words || style.visibility === "hidden" || !element.getClientRects().length) continue;
    if (["title", "desc", "STYLE"].includes(element.tagName)) continue;
    const ink = parsed(element.closest("svg") ? style.fill : style.color), paper = behind(element);
    const [high, low] = [light(over(ink, paper)), light(paper)].sort((a, b) => b - a);
    found.push([words, (high + 0.05) / (low + 0.05), parseFloat(style.fontSize)]);
  }
  return found;
}
"""


@pytest.fixture(scope="module")
def page_file(run, plugins, tmp_path_factory):
    return write_run_report(run, tmp_path_factory.mktemp("pages") / "run.html", device="cpu", plugins=plugins).page


@pytest.fixture(scope="module")
def map_file(tmp_path_factory):
    pytest.importorskip("rasterio")
    from forestgaps_evaluation.map_report.page import write_map_report

    from .example_maps import write_example_maps

    folder = tmp_path_factory.mktemp("maps")
    return write_map_report(folder, write_example_maps(folder, shape=(320, 340)), folder / "report.html")


@pytest.fixture(scope="module", params=["run", "map"])
def file(request):
    return request.getfixturevalue({"run": "page_file", "map": "map_file"}[request.param])


@pytest.fixture
def show(browser, file):
    """Opens the page in a window of a width, and fails on anything the browser complains of or asks for."""
    complaints, opened = [], []

    def open_page(width=1280, scheme="light"):
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.set_default_timeout(180_000)  # on a busy machine a page of many pictures takes its time
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("requestfailed", lambda request: complaints.append(f"failed: {request.url[:100]}"))
        page.on("request", lambda request: opened.append(request.url))
        page.goto(file.as_uri())
        return page

    yield open_page
    assert complaints == []
    assert {url.split(":")[0] for url in opened} <= {"file", "data"}
    assert [url for url in opened if url.startswith("file:")] == [file.as_uri()]


def test_every_picture_is_drawn(show):
    page = show()
    images = page.evaluate("[...document.images].map(image => [image.naturalWidth, image.getAttribute('width'), image.alt])")
    assert images
    assert all(width == int(declared) for width, declared, _ in images)
    assert all(alt.strip() for *_, alt in images)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_stands_out(show, scheme):
    found = show(scheme=scheme).evaluate(CONTRAST)
    assert len(found) > 100
    assert [(words, round(ratio, 2)) for words, ratio, _ in found if ratio < 4.5] == []


def test_printed_text_stands_out_though_the_screen_is_dark(show):
    page = show(scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert [words for words, ratio, _ in page.evaluate(CONTRAST) if ratio < 4.5] == []


@pytest.mark.parametrize("width", [360, 820])
def test_a_narrow_window_needs_no_sideways_scrolling(show, width):
    page = show(width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    small = page.evaluate("[...document.querySelectorAll('svg.chart text')].map(text => text.getBoundingClientRect().height)")
    assert min(small, default=9) >= 8.9 or min(height for height in small if height) >= 8.9


def test_lines_and_marks_differ_besides_in_color(show):
    page = show()
    styles = page.evaluate(
        """() => Object.fromEntries(["predicted", "reference", "baseline"].map(role => {
          const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
          path.setAttribute("class", `line ${role}`);
          document.querySelector("svg.chart").append(path);
          const style = getComputedStyle(path);
          return [role, [style.strokeDasharray, style.stroke]];
        }))"""
    )
    assert len({dash for dash, _ in styles.values()}) == 3
    assert len({color for _, color in styles.values()}) == 3


def test_screen_readers_meet_named_things_only(show):
    page = show()
    tree = page.locator("body").aria_snapshot()
    images = [line.strip() for line in tree.splitlines() if line.strip().startswith("- img")]
    assert images
    assert all('"' in line for line in images)
    assert "- main" in tree
    assert '- navigation "Contents"' in tree


def test_it_prints_whole(show):
    page = show()
    page.emulate_media(media="print")
    for summary in page.locator("details").all():
        assert summary.locator(":scope > :last-child").evaluate("part => part.getBoundingClientRect().height") > 0
    data = page.pdf(prefer_css_page_size=True)
    assert data.startswith(b"%PDF")
    assert 2 <= data.count(b"/Type /Page\n") <= 25
