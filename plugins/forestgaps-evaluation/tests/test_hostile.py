"""Pages about things from elsewhere, in a real browser: whatever files, rasters and logs call themselves, none of it runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from forestgaps_core.files.checkpoint import load_checkpoint, save_checkpoint
from forestgaps_core.plugins.registry import Plugins
from forestgaps_evaluation.counting.network import open_network
from forestgaps_evaluation.counting.tile_counts import count_split
from forestgaps_evaluation.protocol import tables
from forestgaps_evaluation.protocol.evaluation import evaluate_counts
from forestgaps_evaluation.run_report.page import write_run_report
from forestgaps_evaluation.run_report.stac_item import format_json

from .conftest import TOY

pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.browser

RUN = "window.ran = 1"
EVIL = {
    "script": f"<script>{RUN}</script>",
    "image": f"\"><img src=x onerror='{RUN}'>",
    "style": f"</style><svg onload='{RUN}'>",
    "closing": f"</title></pre></code></script><script>{RUN}</script>",
    "attribute": f"' onmouseover='{RUN}' autofocus onfocus='{RUN}' x=\"",
    "address": f"javascript:{RUN}",
    "template": "{{7*7}}{% include '/etc/passwd' %}",
    "entity": f"&lt;script&gt;{RUN}&lt;/script&gt;",
    "comment": f"--><script>{RUN}</script><!--",
    "terminal": "\x1b[2J\x1b]0;evil\x07[bold]",
}
ALL = " ".join(EVIL.values())
FILE_NAME = "<img src=x onerror=window.ran=1>{{7*7}}[bold]\x1b[2J"  # names of files hold no slash
# What stands on the page that could do something, and was not written by a template.
LIVE = """() => [
  ...[...document.querySelectorAll("script, iframe, object, embed, form, base, link:not([rel=icon])")].map(e => e.outerHTML),
  ...[...document.querySelectorAll("*")].filter(e => [...e.attributes].some(a => a.name.startsWith("on"))).map(e => e.outerHTML),
  ...[...document.querySelectorAll("[href], [src], [action]")].map(e => e.getAttribute("href") || e.getAttribute("src") || "")
    .filter(address => !/^(#|data:image\\/|data:,)/.test(address)),
]"""


@pytest.fixture(scope="module")
def evil_plugins(tmp_path_factory):
    """Blocks of the data have a name that was chosen elsewhere."""
    path = tmp_path_factory.mktemp("plugin") / "toy_plugin.py"
    path.write_text(TOY.read_text().replace("return index // 2", f"return {ALL!r} + str(index // 2)"))
    found = Plugins()
    found.add_file(path)
    return found


@pytest.fixture(scope="module")
def evil_run(run, tmp_path_factory):
    folder = Path(shutil.copytree(run, tmp_path_factory.mktemp("runs") / FILE_NAME))
    state = load_checkpoint(folder / "checkpoints" / "last.safetensors")
    about = state["about"]
    for component in about["components"].values():
        component |= {"distribution": ALL, "version": ALL}
    about["components"][ALL] = {"name": ALL, "distribution": ALL, "version": ALL}
    about["config"]["data"] |= {ALL: ALL, "folder": ALL, "several": [ALL, ALL]}
    about["versions"] |= {ALL: ALL}
    save_checkpoint(folder / "checkpoints" / "last.safetensors", state)
    (folder / "versions.json").write_text(json.dumps({ALL: ALL}))
    rows = [
        {"row": "epoch", "step": 3 * n, "epoch": n, "validation/loss": 1 / n, f"{ALL}/mean_iou": 0.5, ALL: 1, "x/y": ALL}
        for n in (1, 2)
    ]
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with (folder / "run.toml").open("a") as file:
        file.write("".join(f"# {text}\n" for text in EVIL.values() if text.isprintable()))
    return folder


@pytest.fixture(scope="module")
def evil_report(evil_run, evil_plugins, tmp_path_factory):
    return write_run_report(evil_run, tmp_path_factory.mktemp("pages") / "run.html", device="cpu", plugins=evil_plugins, notes=ALL)


@pytest.fixture(scope="module")
def evil_map(tmp_path_factory):
    rasterio = pytest.importorskip("rasterio")
    from forestgaps_evaluation.map_report.page import write_map_report

    from .example_maps import write_example_maps

    folder = tmp_path_factory.mktemp("maps") / FILE_NAME
    folder.mkdir()
    shown = "".join(c for c in ALL if c.isprintable())
    quoted = shown.replace('"', "'")
    crs = rasterio.crs.CRS.from_wkt(
        f'LOCAL_CS["{quoted}",LOCAL_DATUM["{quoted}",32767],UNIT["metre",1],AXIS["Easting",EAST],AXIS["Northing",NORTH]]'
    )
    names, tags = (f"{shown} gap at 5 m", f"gap at 10 m {shown}"), {"TITLE": shown, "forestgaps": ALL, "a<b>": shown}
    dsm = write_example_maps(folder, f"{FILE_NAME}.tif", crs=crs, names=names, tags=tags)
    return write_map_report(folder, dsm, folder / "report.html", notes=ALL)


@pytest.fixture(scope="module", params=["run", "map"])
def file(request):
    return request.getfixturevalue("evil_report").page if request.param == "run" else request.getfixturevalue("evil_map")


def opened_page(browser, file, *, without_policy):
    """The page and what the browser said; without its policy, what was not escaped would run."""
    said: list[str] = []
    page = browser.new_context(bypass_csp=without_policy).new_page()
    page.set_default_timeout(180_000)
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.goto(file.as_uri())
    page.wait_for_load_state("load")
    return page, said


@pytest.mark.parametrize("without_policy", [True, False])
def test_nothing_that_came_from_a_file_runs(browser, file, without_policy):
    page, said = opened_page(browser, file, without_policy=without_policy)
    assert page.evaluate("window.ran") is None
    assert said == []
    assert page.evaluate(LIVE) == []
    page.evaluate("document.querySelectorAll('*').forEach(e => e.dispatchEvent(new Event('mouseover', {bubbles: false})))")
    assert page.evaluate("window.ran") is None
    words = page.evaluate("document.body.textContent")
    for name in ("script", "image", "closing", "template", "entity"):
        assert EVIL[name] in words, f"{name} is not shown as it stands in the file"


@pytest.mark.parametrize("text", [EVIL["script"], f"<img src=x onerror='{RUN}'>", f'<iframe srcdoc="{EVIL["script"]}"></iframe>'])
def test_the_policy_of_the_page_would_stop_it_all_the_same(browser, file, text, tmp_path):
    (tmp_path / "page.html").write_text(
        file.read_text(encoding="utf-8").replace('<main id="main">', f'<main id="main">{text}', 1), encoding="utf-8"
    )
    page, said = opened_page(browser, tmp_path / "page.html", without_policy=False)
    assert page.evaluate("window.ran") is None
    assert any("Content Security Policy" in line for line in said)
    free, _ = opened_page(browser, tmp_path / "page.html", without_policy=True)
    if "iframe" not in text:
        assert free.evaluate("window.ran") == 1, "the test itself must be able to fail"


def test_no_control_character_comes_to_the_page(file):
    text = file.read_text(encoding="utf-8")
    assert "\x1b" not in text
    assert "\x07" not in text


def test_the_item_for_catalogs_is_plain_json(evil_report):
    text = evil_report.card.read_text(encoding="utf-8")
    item = json.loads(text)
    assert text == format_json(item)
    assert item["id"].replace("-", "").isalnum()
    assert set(item["properties"]["mlm:name"]) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 _.-")
    assert ALL in item["properties"]["description"]  # notes as they were given, within a text


def test_tables_mark_nothing_up(evil_run, evil_plugins, capsys):
    from rich.console import Console

    network = open_network(evil_run, device="cpu", plugins=evil_plugins)
    result = evaluate_counts([count_split(network, "test", (5.0,))], resamples=100, notes=[ALL])
    tables.print_tables(result, Console(width=400))
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "[bold]" in shown
    text = tables.format_markdown(result)
    assert "\x1b" not in text
    assert "<script" not in text
    assert "<img" not in text
