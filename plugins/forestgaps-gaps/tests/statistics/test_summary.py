from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forestgaps_gaps.detection.gap_table import GapTable
from forestgaps_gaps.detection.measures import Measures
from forestgaps_gaps.detection.nearest import measure_nearest
from forestgaps_gaps.rasters.grid import Pixel
from forestgaps_gaps.statistics.clark_evans import compute_clark_evans
from forestgaps_gaps.statistics.power_law import estimate_lambda_asner, estimate_lambda_hanel, fit_power_law, sample_sizes
from forestgaps_gaps.statistics.summary import describe_values, summarize_gaps
from forestgaps_gaps.statistics.summary_text import format_summary
from forestgaps_gaps.statistics.window import make_window
from forestgaps_geo.gap_labeling import label_raster


def table_of(height: np.ndarray, threshold: float = 5.0, resolution: float = 1.0, at_least: int = 1) -> GapTable:
    gap, pixel = height < threshold, Pixel(resolution, resolution, 0, 0, resolution, -resolution)
    labels = label_raster(lambda row, count: gap[row : row + count], *gap.shape, at_least=at_least)
    measures = Measures(labels.count, gap.shape[1], 8)
    for strip in labels.strips():
        measures.add(strip, np.ones(strip.local.shape, bool), height[strip.row : strip.row + len(strip.local)])
    measures.finish()
    return measures.make_table(np.arange(1, labels.count + 1), measure_nearest(labels, pixel), pixel, threshold)


def forest(seed: int = 0, side: int = 300, gaps: int = 150) -> np.ndarray:
    """A canopy of 20 m with square holes whose areas follow a power law."""
    random = np.random.default_rng(seed)
    height = random.normal(20, 1, (side, side)).astype(np.float32)
    for size in sample_sizes(1.8, gaps, 4, 900, random):
        edge = max(round(size**0.5), 1)
        row, column = random.integers(1, side - edge, 2)
        height[row : row + edge, column : column + edge] = 2
    return height


def summary_of(table: GapTable, **options: Any) -> dict[str, Any]:
    settings = {"surveyed_m2": 90_000.0, "resolution_m": 1.0, "minimum_area_m2": 4.0, "threshold_m": 5.0}
    return summarize_gaps(table, **{**settings, "at_most": False, "connectivity": 8, **options})


def test_the_summary_adds_up() -> None:
    height = forest()
    table = table_of(height)
    found = summary_of(table)
    assert found["gaps"] == len(table)
    assert found["gap_area_m2"] == (height < 5).sum()
    assert found["gap_fraction"] == pytest.approx((height < 5).mean())
    assert found["gaps_per_hectare"] == pytest.approx(len(table) / 9)
    assert found["height_mean_m"] == pytest.approx(2)
    assert found["area_m2"]["largest"] == table.area_m2.max()
    assert found["area_m2"]["sd"] == pytest.approx(np.std(table.area_m2, ddof=1))
    assert found["nearest_m"]["mean"] == pytest.approx(table.nearest_m.mean())
    sizes = found["size_distribution"]
    assert sizes["exponent"] == fit_power_law(table.pixels, 4).exponent
    assert sizes["lambda_hanel"] == estimate_lambda_hanel(table.area_m2)
    assert sizes["lambda_asner"] == estimate_lambda_asner(table.area_m2)
    assert sizes["comparison"]["better"] in ("power law", "lognormal", None)
    assert 0 < sizes["plausibility"] <= 1


def test_the_exponent_does_not_depend_on_the_unit_of_pixels() -> None:
    height = forest()
    fine = summary_of(table_of(height, resolution=0.5), resolution_m=0.5, minimum_area_m2=1.0, surveyed_m2=22_500.0)
    coarse = summary_of(table_of(height))
    assert fine["size_distribution"]["exponent"] == coarse["size_distribution"]["exponent"]
    assert fine["size_distribution"]["smallest_m2"] == 1.0
    assert fine["clark_evans"]["ratio"] == pytest.approx(coarse["clark_evans"]["ratio"])
    shift = coarse["size_distribution"]["lognormal"]["location_ln_m2"] - fine["size_distribution"]["lognormal"]["location_ln_m2"]
    assert shift == pytest.approx(np.log(4))
    assert fine["size_distribution"]["lambda_asner"] is None, "a zeta distribution knows whole square meters only"


def test_a_largest_area_is_passed_to_the_fit() -> None:
    table = table_of(forest())
    table = table.select(table.area_m2 <= 100)
    found = summary_of(table, maximum_area_m2=100.0)["size_distribution"]
    assert found["exponent"] == fit_power_law(table.pixels, 4, 100).exponent
    assert found["largest_m2"] == 100


def test_the_pattern_is_evaluated_in_the_valid_area() -> None:
    height = forest()
    table, mask = table_of(height), np.ones(height.shape, bool)
    points = np.stack([table.column, table.row], 1)
    assert (
        summary_of(table, window=make_window(mask, 1.0))["clark_evans"]["ratio"] == compute_clark_evans(points, 90_000, 1200).ratio
    )
    assert summary_of(table)["clark_evans"]["ratio"] == pytest.approx(compute_clark_evans(points, 90_000, 1200).ratio, rel=0.01)
    assert summary_of(table)["ripley"] is None
    mask[:, :20] = False
    simulated = summary_of(table, window=make_window(mask, 1.0))["clark_evans"]
    assert "199 simulations" in simulated["method"]


def test_curves_of_the_pattern_are_given_and_reported() -> None:
    table, window = table_of(forest()), make_window(np.ones((300, 300), bool), 1.0)
    found = summary_of(table, window=window)
    curves = found["ripley"]
    assert len(curves["r_m"]) == len(curves["l"]) == len(curves["l_high"]) == 25
    assert (curves["simulations"], curves["r_m"][-1]) == (99, 75)
    assert any("Ripley's L to 75 m compared with 99 simulations" in line for line in format_summary(found))
    y, x = np.mgrid[:300, :300]
    clustered = np.where((y % 100 < 30) & (x % 100 < 30) & (y % 6 < 3) & (x % 6 < 3), 1.0, 20.0).astype(np.float32)
    said = format_summary(summary_of(table_of(clustered), window=window))
    assert any("above them (clustered) at" in line and "p = 0.01" in line for line in said)
    few = summary_of(table_of(np.full((300, 300), 20, np.float32)), window=window)
    assert few["ripley"]["why"] == "0 gaps; a pattern requires at least 10"


def test_words_carry_what_the_exponent_depends_on() -> None:
    said = "\n".join(format_summary(summary_of(table_of(forest()), maximum_area_m2=900.0)))
    line = next(line for line in said.splitlines() if "exponent" in line)
    for word in ("canopy below 5 m", "at least 4 m2", "at most 900 m2", "1 m pixels", "95 % interval"):
        assert word in line
    assert "lognormal" in said and "Vuong" in said
    assert "Hanel 2017" in said and "Asner 2013" in said
    assert "Clark-Evans R" in said


def test_few_gaps_are_reported_with_reasons_instead_of_numbers() -> None:
    height = np.full((100, 100), 20.0, np.float32)
    height[10:13, 10:13] = height[40:50, 40:42] = 1
    found = summary_of(table_of(height), surveyed_m2=10_000.0)
    assert found["size_distribution"]["exponent"] is None
    assert found["clark_evans"]["ratio"] is None
    said = "\n".join(format_summary(found))
    assert said.startswith("2 gaps: canopy below 5 m, of at least 4 m2, 8 neighbors")
    assert "no power-law exponent: 2 gaps within the limits; an exponent requires at least 10" in said
    assert "pattern: not estimated, 2 gaps" in said


def test_no_gap_is_one_line() -> None:
    found = summary_of(table_of(np.full((20, 20), 30.0, np.float32)), threshold_m=None, at_most=True)
    assert found["gap_fraction"] == 0
    assert found["area_m2"]["mean"] is None
    assert format_summary(found) == ["no gaps of the map, of at least 4 m2 on 9 ha surveyed"]


def test_open_land_is_called_open_land() -> None:
    height = np.full((60, 60), 1.0, np.float32)
    height[20:30, 20:30] = 20
    assert any("open land" in line for line in format_summary(summary_of(table_of(height), surveyed_m2=3600.0)))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.floats(0.01, 0.99), st.integers(1, 3))
def test_any_map_has_a_summary_json_can_hold_and_words(seed, share, at_least) -> None:
    random = np.random.default_rng(seed)
    height = np.where(random.random((20, 25)) < share, 1.0, 20.0).astype(np.float32)
    found = summary_of(table_of(height, at_least=at_least), surveyed_m2=500.0, minimum_area_m2=float(at_least), seed=1)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert all(isinstance(line, str) and "nan" not in line and "None" not in line for line in format_summary(found))


def test_describing_nothing_gives_nothing() -> None:
    assert set(describe_values(np.empty(0)).values()) == {None}
    assert describe_values(np.array([3.0, np.nan])) == {"mean": 3, "median": 3, "sd": None, "smallest": 3, "largest": 3}
