from __future__ import annotations

import itertools
import json
import re
import shutil

import numpy as np
import pytest

from forestgaps_core import DataError
from forestgaps_evaluation.counting.network import open_network
from forestgaps_evaluation.counting.tile_counts import count_split
from forestgaps_evaluation.protocol.evaluation import evaluate_counts
from forestgaps_evaluation.protocol.scores import compute_gap_fraction, compute_scores
from forestgaps_evaluation.run_report.facts import choose_main_threshold, choose_thresholds
from forestgaps_evaluation.run_report.page import STAC_FILE, Report, write_run_report

html = pytest.importorskip("lxml.html")


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory):
    """The run with a log, as callbacks leave one."""
    copy = tmp_path_factory.mktemp("report") / "toy <1>"
    shutil.copytree(run, copy)
    rows = [{"row": "epoch", "step": n, "epoch": n, "train/loss": 1 / n, "validation/gaps/mean_iou": 0.2 * n} for n in (1, 2)]
    (copy / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return copy


@pytest.fixture(scope="module")
def report(folder, plugins) -> Report:
    return write_run_report(folder, folder / "report.html", device="cpu", notes="Credit: <nobody> & others", plugins=plugins)


@pytest.fixture(scope="module")
def page(report):
    return html.document_fromstring(report.page.read_text(encoding="utf-8"))


def table(page, caption: str) -> list[list[str]]:
    """Rows of the table so captioned, head first."""
    found = page.xpath(f"//table[caption[@id='{caption}']]")[0]
    return [[" ".join(cell.text_content().split()) for cell in row.xpath("./th|./td")] for row in found.xpath(".//tr")]


def test_numbers_on_the_page_are_those_of_the_tallies(page, folder, plugins):
    tile_counts = count_split(open_network(folder, device="cpu", plugins=plugins), "test", [2, 3, 5, 10, 15, 20])
    total = tile_counts.counts.sum(0)
    values, fraction = compute_scores(total), compute_gap_fraction(total)
    head, *rows = table(page, "score-table")
    assert [row[0] for row in rows] == ["2 m", "3 m", "5 m", "10 m", "15 m", "20 m"]
    for k, row in enumerate(rows):
        cells = dict(zip(head, row, strict=True))
        assert cells["Gap fraction, reference"] == f"{100 * fraction[k]:.1f} %"
        assert cells["Gap fraction, map"] == f"{100 * (total[k, 0] + total[k, 1]) / total[k].sum():.1f} %"
        for name, key in {
            "Mean IoU": "mean_iou",
            "Gap IoU": "gap_iou",
            "Canopy IoU": "canopy_iou",
            "Precision": "gap_precision",
        }.items():
            assert cells[name] == f"{values[key][k]:.2f}"
        low, high = (float(value) for value in cells["95 % interval"].split(" to "))
        assert low <= float(cells["Mean IoU"]) + 0.005
        assert high >= float(cells["Mean IoU"]) - 0.005
        assert cells["Mean IoU, baseline"] == f"{max(fraction[k], 1 - fraction[k]) / 2:.2f}"


def test_confusion_adds_up_to_the_whole(page):
    _, *rows = table(page, "confusion-table")
    for row in rows:
        assert sum(float(cell.split()[0]) for cell in row[1:5]) == pytest.approx(100, abs=0.21)


def test_strata_are_those_of_the_evaluation(page, report):
    classes = [part.label.replace("-", "–") for part in report.evaluation.overall if part.by == "slope"]
    assert [row[0] for row in table(page, "strata-1")[1:]] == classes


def test_every_section_of_the_contents_is_there(page):
    for link in page.xpath("//nav//a/@href"):
        assert page.xpath(f"//section[@id='{link[1:]}']/h2")
    assert len(page.xpath("//nav//a")) == 12


def test_headings_go_down_one_by_one(page):
    levels = [int(heading.tag[1]) for heading in page.iter("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in itertools.pairwise(levels))


def test_ids_are_used_once_and_labels_lead_somewhere(page):
    ids = page.xpath("//@id")
    assert len(ids) == len(set(ids))
    for names in page.xpath("//@aria-labelledby"):
        assert set(names.split()) <= set(ids)


def test_pictures_and_charts_are_described(page):
    images = page.xpath("//img")
    assert len(images) >= 12
    assert all(image.get("alt", "").strip() for image in images)
    for chart in page.xpath("//*[local-name()='svg'][not(@aria-hidden)]"):
        assert chart.get("role") == "img"
        assert all(part.text.strip() for part in chart.xpath("./*[local-name()='title' or local-name()='desc']"))
    for found in page.xpath("//table"):
        assert found.xpath("./caption")
        assert all(cell.get("scope") in ("row", "col") for cell in found.iter("th"))


def test_nothing_is_loaded_from_elsewhere(page, report):
    text = report.page.read_text(encoding="utf-8")
    sources = page.xpath("//@src") + page.xpath("//link/@href") + re.findall(r"url\((.*?)\)", text) + page.xpath("//@srcset")
    assert all(source.startswith("data:") for source in sources)
    assert not page.xpath("//script|//iframe|//object|//embed")
    assert "http://" not in text
    assert "https://" not in text


def test_words_of_users_are_text_and_nothing_else(page):
    assert page.xpath("//p[@class='notes']")[0].text == "Credit: <nobody> & others"
    assert "toy <1>" in page.xpath("//p[contains(@class, 'eyebrow')]")[0].text


def test_the_run_is_described_in_full(page, folder):
    assert (folder / "run.toml").read_text().strip() == page.xpath("//pre[@aria-label='Run file']")[0].text_content().strip()
    assert "torch" in page.xpath("//section[@id='made-of']")[0].text_content()


def test_it_is_small(report):
    assert report.page.stat().st_size < 5_000_000


def test_the_card_stands_beside_it_with_the_scores(report, folder):
    item = json.loads((folder / STAC_FILE).read_text())
    rows = {f"{row.threshold:g}": row for row in report.evaluation.rows if row.by == "all" and row.evaluated}
    assert item["properties"]["forestgaps:test_mean_iou"] == {
        level: pytest.approx(row.scores["mean_iou"].mean, abs=1e-4) for level, row in rows.items()
    }
    assert item["assets"]["weights"]["href"].startswith("checkpoints/")


def test_nothing_is_overwritten(report, folder, plugins):
    before = report.page.read_bytes()
    with pytest.raises(DataError, match=r"report\.html: exists already"):
        write_run_report(folder, folder / "report.html", plugins=plugins)
    with pytest.raises(DataError, match=r"stac\.json: exists already"):
        write_run_report(folder, folder / "other.html", plugins=plugins)
    assert not (folder / "other.html").exists()
    assert report.page.read_bytes() == before


def test_without_log_and_notes_there_is_no_training_and_a_warning(run, plugins, tmp_path):
    done = write_run_report(run, tmp_path / "a.html", split="validation", thresholds=[5], device="cpu", plugins=plugins)
    page = html.document_fromstring(done.page.read_text(encoding="utf-8"))
    assert not page.xpath("//section[@id='training']")
    assert "training" not in {link[1:] for link in page.xpath("//nav//a/@href")}
    assert "Check their license before" in page.text_content()
    assert "tiles of the validation split" in page.text_content()
    assert [row[0] for row in table(page, "score-table")[1:]] == ["5 m"]


def test_thresholds_are_those_of_the_protocol_that_it_learned():
    assert choose_thresholds((2.0, 5.0, 10.0, 20.0)) == (2, 3, 5, 10, 15, 20)
    assert choose_thresholds((6.0, 8.0)) == (6, 8)


def test_one_threshold_stands_for_all(trained):
    tile_counts = count_split(trained, "test", [2, 5, 10, 20])
    rows = [row for row in evaluate_counts([tile_counts]).rows if row.by == "all"]
    evaluated = [row.threshold for row in rows if row.evaluated]
    assert choose_main_threshold(rows) == min(evaluated, key=lambda level: abs(level - 5))
    assert np.isin(choose_main_threshold(rows), evaluated)
