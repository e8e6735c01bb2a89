"""The built documentation, opened from disk: it finds words, fits a phone, and requests nothing from other machines."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("material")
pytest.importorskip("mkdocstrings_handlers.python")
pytest.importorskip("playwright.sync_api")
ROOT = Path(__file__).parent.parent
LOADED = re.compile(r"<(?:script|img|iframe|source)\b[^>]*\bsrc=[\"']?(\w+:)?//|<link\b[^>]*rel=[\"']?(?:stylesheet|icon)[^>]*//")
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    return folder


@pytest.fixture
def show(browser, site):
    """Opens a page, and fails on what the browser reports and on requests that leave this machine."""
    problems, requested = [], []

    def open_page(name, width=1280):
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.set_default_timeout(180_000)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("requestfailed", lambda request: problems.append(f"failed: {request.url[:100]}"))
        page.on("request", lambda request: requested.append(request.url))
        page.goto((site / name).as_uri())
        return page

    yield open_page
    assert problems == []
    assert requested
    assert {url.split(":")[0] for url in requested} <= {"file", "data", "blob"}


def test_no_page_loads_anything_from_another_machine(site):
    pages = [*site.rglob("*.html")]
    assert len(pages) > 60
    assert [page.name for page in pages if LOADED.search(page.read_text(encoding="utf-8"))] == []


def test_the_search_of_a_page_on_disk_finds_a_word(show):
    page = show("how-to/evaluate.html")
    page.keyboard.press("s")
    page.keyboard.type("tversky")
    page.locator(".md-search-result__link").first.wait_for()
    links = page.locator(".md-search-result__link").evaluate_all("links => links.map(link => link.getAttribute('href'))")
    assert any("reference/catalogue/loss.html" in link for link in links), links


@pytest.mark.parametrize("name", ["index.html", "reference/commands.html", "reference/catalogue/loss.html", "how-to/evaluate.html"])
def test_a_page_is_no_wider_than_a_phone(show, name):
    assert show(name, width=390).evaluate("document.documentElement.scrollWidth") <= 390
