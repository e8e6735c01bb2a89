"""Tables at the widths of real terminals: nothing is cut, and every value is there."""

import io
import re
from math import nan

import pytest
from rich.console import Console

from forestgaps_core.output.tables import print_table, show_scores

WIDTHS = (40, 60, 80, 120)
LEVELS = (1, 2, 3, 5, 7.5, 10, 15, 20, 25, 30)
SCORES = ("gap_iou", "canopy_iou", "mean_iou", "precision", "recall", "f1", "expected_calibration_error", "matthews_correlation")


def printed(scores: dict[str, float], width: int) -> str:
    stream = io.StringIO()
    show_scores(scores, Console(file=stream, width=width))
    return stream.getvalue()


def many_scores() -> dict[str, float]:
    levels = {f"test/gaps/{name}@{level:g}m": 0.1 + n / 100 + level / 1000 for n, name in enumerate(SCORES) for level in LEVELS}
    return {**levels, **{f"test/gaps/{name}": 0.9 for name in SCORES}, "test/loss": 0.123456}


@pytest.mark.parametrize("width", WIDTHS)
def test_show_scores_cuts_nothing_and_prints_every_value(width: int) -> None:
    text = printed(many_scores(), width)
    assert "…" not in text and max(map(len, text.splitlines())) <= width
    for value in many_scores().values():
        assert f"{value:.3f}" in text


def test_show_scores_has_thresholds_in_rows() -> None:
    lines = printed({"test/g/iou@2m": 0.5, "test/g/iou@10m": 0.7, "test/g/iou": 0.6}, 80).splitlines()
    assert [line.split() for line in lines if line.strip("─ ")] == [
        ["g", "iou"],
        ["2", "m", "0.500"],
        ["10", "m", "0.700"],
        ["all", "0.600"],
    ]


def test_show_scores_explains_a_dash() -> None:
    assert re.search(r"2 m +- ", text := printed({"test/g/iou@2m": nan}, 80)) and "not defined" in text
    assert "not defined" not in printed({"test/g/iou@2m": 0.5}, 80)


@pytest.mark.parametrize("width", WIDTHS)
def test_print_table_breaks_long_labels_and_long_cells_instead_of_cutting(width: int) -> None:
    stream = io.StringIO()
    site, cell = "us_hawaii_dryforest_" * 8, "x" * 150
    print_table(["site", "area", "note"], [[site, "1,234.5", cell], ["b", "2", "two\nlines"]], Console(file=stream, width=width))
    text = stream.getvalue()
    assert "…" not in text and max(map(len, text.splitlines())) <= width
    assert text.count("x") == len(cell) and re.sub(r"[^a-z_]", "", text).count("_") >= site.count("_")


def test_print_table_shows_markup_and_control_characters_as_text() -> None:
    stream = io.StringIO()
    print_table(["[bold]name[/]", "v"], [["\x1b[31mred", "1"]], Console(file=stream, width=80))
    assert "[bold]name[/]" in stream.getvalue() and "\x1b" not in stream.getvalue()
