"""The outputs of ForestGapR on its own example data, row by row."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from forestgaps_gaps.detection.search import GapCriteria, GapSearch
from forestgaps_gaps.rasters.opening import ReadingOptions, open_layers

SURVEYS = Path(os.environ.get("FORESTGAPS_DATA", ""))
pytestmark = pytest.mark.surveys

SITES = {"ALS_CHM_DUC": "br_ducke", "ALS_CHM_CAU_2012": "br_cauaxi_2012", "ALS_CHM_CAU_2014": "br_cauaxi_2014"}


def rows() -> list[dict[str, str]]:
    path = SURVEYS / "golden_gaps.csv"
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines())) if path.is_file() else []


@pytest.mark.parametrize("row", rows(), ids=lambda row: f"{row['layer']}-{row['threshold']}")
def test_forestgapr_is_reproduced(row) -> None:
    how = ReadingOptions(thresholds=(float(row["threshold"]),), at_most=True, pixel_size_m=1.0)
    with open_layers(SURVEYS / SITES[row["layer"]] / "chm.tif", how) as (layer,):
        search = GapSearch(layer, GapCriteria(minimum_m2=float(row["smin"]), maximum_m2=float(row["smax"])), step=37)
        table = search.find_all()
    assert len(table) == int(row["n_gaps"])
    assert table.area_m2.sum() == float(row["total_area"])
    assert table.area_m2.max() == float(row["max_area"])
    assert np.median(table.area_m2) == float(row["median_area"])
    assert table.area_m2.mean() == pytest.approx(float(row["mean_area"]), rel=1e-12)
    assert table.area_m2.sum() / search.surveyed_m2 == pytest.approx(float(row["fraction"]), rel=1e-12)
    hundredths = np.round(table.height_mean, 2)  # which is what ForestGapR averages
    assert hundredths.mean() == pytest.approx(float(row["mean_chm"]), abs=0.011 / len(table))
