from __future__ import annotations

import csv
import io
import json

import attrs
import pytest
from rich.console import Console

from forestgaps_evaluation.counting.tile_counts import count_split
from forestgaps_evaluation.protocol import tables
from forestgaps_evaluation.protocol.evaluation import Difference, Leakage, evaluate_counts


@pytest.fixture
def evaluation(trained):
    tile_counts = count_split(trained, "test", (2.0, 5.0, 30.0))
    found = evaluate_counts([tile_counts, attrs.evolve(tile_counts, run="other", seed=5)], resamples=100, notes=["a note"])
    difference = Difference(threshold=2.0, evaluated=True, spatial=0.5, mixed=0.6, difference=0.1, low=-0.05, high=0.2)
    return attrs.evolve(found, leakage=Leakage(run="a", folder="b", tiles=4, blocks=2, differences=(difference,)))


def test_every_table_is_rectangular(evaluation):
    found = list(tables.make_tables(evaluation))
    assert len(found) == 3
    for cells in found:
        assert {len(row) for row in cells.rows} == {len(cells.head)}


def test_a_row_has_score_gap_fraction_and_baseline(evaluation):
    cells = next(iter(tables.make_tables(evaluation)))
    row = dict(zip(cells.head, cells.rows[0], strict=True))
    first = evaluation.rows[0]
    assert row["threshold"] == "2 m"
    assert row["gap fraction"] == f"{first.gap_fraction:.1%}"
    assert row["mean IoU"] == f"{first.scores['mean_iou'].mean:.3f}"
    assert row["random"] == f"{first.random['mean_iou']:.3f}"
    assert row["seeds ±"] == "0.000"
    low, high = row["95 %"].split("-")
    assert float(low) < float(row["mean IoU"]) < float(high)


def test_one_threshold_is_marked_as_extreme_prevalence_and_extrapolated(evaluation):
    cells = next(iter(tables.make_tables(evaluation)))
    assert cells.rows[2][0] == "30 m †‡"
    assert [line[0] for line in cells.foot[:2]] == ["†", "‡"]
    assert "a note" in cells.foot


def test_leakage_is_labelled_as_no_score(evaluation):
    cells = list(tables.make_tables(evaluation))[-1]
    assert cells.rows == (("2 m", "0.500", "0.600", "+0.100", "-0.050 to +0.200"),)
    assert "These are not scores of the network" in cells.foot[0]
    without = attrs.evolve(evaluation, leakage=None)
    assert "Leakage" not in tables.format_markdown(without)


def test_markdown_has_tables_of_one_width(evaluation):
    lines = [line for line in tables.format_markdown(evaluation).splitlines() if line.startswith("|")]
    assert {line.count("|") for line in lines} == {len(cells.head) + 1 for cells in tables.make_tables(evaluation)}
    assert not any("\n" in line for line in lines)


def test_the_csv_has_a_line_for_each_place_threshold_and_score(evaluation):
    rows = list(csv.DictReader(io.StringIO(tables.format_csv(evaluation))))
    assert len(rows) == len(evaluation.rows) * 9
    first = rows[2]
    assert (first["by"], first["threshold"], first["score"]) == ("all", "2.0", "mean_iou")
    assert float(first["mean"]) == evaluation.rows[0].scores["mean_iou"].mean
    assert float(first["other"]) == evaluation.rows[0].scores["mean_iou"].each[1]
    assert next(row for row in rows if row["threshold"] == "30.0" and row["score"] == "canopy_recall")["mean"] == ""


def test_the_json_holds_everything_and_no_nan(evaluation):
    found = json.loads(tables.format_json(evaluation), parse_constant=pytest.fail)
    assert len(found["rows"]) == len(evaluation.rows)
    assert found["rows"][0]["scores"]["mean_iou"]["each"] == list(evaluation.rows[0].scores["mean_iou"].each)
    assert found["leakage"]["differences"][0]["difference"] == 0.1


def test_it_shows_on_a_screen(evaluation):
    console = Console(width=170, file=io.StringIO(), force_terminal=False)
    tables.print_tables(evaluation, console)
    said = console.file.getvalue()
    assert "…" not in said
    for word in ("gap fraction", "baseline", "slope 10-20°", "canopy cover", "Leakage", "†", "canopy height: mean error"):
        assert word in said


@pytest.mark.parametrize("width", [60, 80, 120])
def test_every_table_fits_the_terminal_with_ten_thresholds_and_long_names(trained, evaluation, width):
    levels = (1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 25.0, 30.0)
    found = evaluate_counts([count_split(trained, "test", levels)], resamples=100)
    long = "us_hawaii_dryforest_north_east_2024"
    rows = tuple(attrs.evolve(row, label=f"{long}_{row.label}") if row.by != "all" else row for row in found.rows)
    overall = tuple(attrs.evolve(part, label=f"{long}_{part.label}") if part.by != "all" else part for part in found.overall)
    found = attrs.evolve(found, rows=rows, overall=overall, leakage=evaluation.leakage)
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    tables.print_tables(found, console)
    text = console.file.getvalue()
    assert "…" not in text and max(map(len, text.splitlines())) <= width
    for cells in tables.make_tables(found):
        for cell in (cell for row in (cells.head, *cells.rows) for cell in row[1:]):
            assert all(line in text for line in cell.split("\n"))


def test_intervals_that_are_not_known_are_left_out(evaluation):
    unknown = {name: attrs.evolve(score, low=float("nan"), high=float("nan")) for name, score in evaluation.heights.items()}
    sentence = tables.format_heights(attrs.evolve(evaluation, heights=unknown))
    assert "mean error" in sentence and "-," not in sentence and "interval" not in sentence
    assert "95 % interval" in tables.format_heights(evaluation)


def test_counts_agree_with_their_nouns(trained):
    tile_counts = count_split(trained, "test", (5.0,))
    one = evaluate_counts([tile_counts.select(tallies_first(len(tile_counts)))], resamples=100)
    title = next(iter(tables.make_tables(one))).title
    assert "1 tile in 1 spatial block" in title and "1 tiles" not in title and "1 spatial blocks" not in title


def tallies_first(count):
    import numpy as np

    return np.arange(count) == 0
