from __future__ import annotations

import numpy as np
import pytest

from forestgaps_geo.bands.band import Band, open_band
from forestgaps_geo.checks.pair_checks import check_pair
from forestgaps_geo.files.gdal import configure_gdal


class AsWindows:
    def __init__(self, band: Band) -> None:
        self.grid, self.window = band.grid, band.read


@pytest.fixture
def pair(raster):
    """What is found in a surface with its ground, or its heights: severity by kind, and the sentences."""

    def look(dsm: np.ndarray, other: np.ndarray, *, is_ground: bool = True) -> tuple[dict[str, str], str]:
        one, two = raster("dsm.tif", dsm), raster("dtm.tif" if is_ground else "chm.tif", other)
        with configure_gdal(), open_band(one) as surface, open_band(two) as below:
            found = check_pair(AsWindows(surface), AsWindows(below), is_ground=is_ground, names=("dsm.tif", low_name(is_ground)))
        return {finding.kind: finding.severity for finding in found}, "\n".join(finding.message for finding in found)

    return look


def low_name(is_ground: bool) -> str:
    return "dtm.tif" if is_ground else "chm.tif"


def wood(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Ground of a slope, and heights over it with a third of the pixels bare."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:200, :220]
    ground = (300 + 0.2 * y + 0.1 * x).astype(np.float32)
    return ground, np.maximum(random.normal(6, 12, ground.shape), 0).astype(np.float32)


def test_a_pair_that_fits_is_fine(pair) -> None:
    ground, height = wood()
    assert pair(ground + height, ground) == ({}, "")
    assert pair(ground + height, height, is_ground=False) == ({}, "")


def test_two_copies_of_one_raster_are_refused(pair) -> None:
    ground, height = wood()
    found, said = pair(ground + height, ground + height)
    assert found == {"same raster": "error"}
    assert "hold the same elevations (100 % of pixels)" in said
    found, said = pair(ground + height, ground + height, is_ground=False)
    assert found["same raster"] == "error"
    assert "no canopy height model" in said


def test_the_wrong_way_round_is_refused(pair) -> None:
    ground, height = wood()
    found, said = pair(ground, ground + height)
    assert found == {"ground above surface": "error"}
    assert "lies more than 1 m above the DSM" in said
    assert "the wrong way round" in said


def test_ground_above_the_surface_here_and_there_is_refused_or_noted(pair) -> None:
    ground, height = wood()
    for rows, severity in ((60, "error"), (10, "note")):
        above = ground.copy()
        above[:rows] += 60
        found, said = pair(ground + height, above)
        assert found == {"ground above surface": severity}
        assert "above the DSM" in said
    assert "the wrong way round" not in said


def test_noise_below_zero_is_fine(pair) -> None:
    ground, height = wood()
    noise = np.random.default_rng(1).normal(0, 0.3, ground.shape).astype(np.float32)
    assert pair(ground + height, ground + noise) == ({}, "")


def test_another_vertical_datum_is_refused(pair) -> None:
    ground, height = wood()
    assert pair(ground + height + 45, ground)[0] == {"no ground": "error"}
    found, said = pair(ground + height + 18, ground)
    assert found == {"no ground": "note"}
    assert "vertical datum" in said
    assert pair(ground + height - 25, ground)[0] == {"ground above surface": "error"}


def test_elevations_below_120_m_given_as_heights_are_refused(pair) -> None:
    ground, height = wood()
    found, said = pair(ground + height - 250, ground - 250, is_ground=False)
    assert found == {"no ground": "error"}
    assert "--dtm" in said


def test_negative_heights_are_refused_or_noted(pair) -> None:
    ground, height = wood()
    assert pair(ground + height, height - 5, is_ground=False)[0] == {"negative heights": "error"}
    few = height.copy()
    few[:8] = -3
    assert pair(ground + height, few, is_ground=False)[0] == {"negative heights": "note"}


def test_heights_beyond_trees_are_noted(pair) -> None:
    ground, height = wood()
    height[100:104, 100:130] = 150
    found, said = pair(ground + height, ground)
    assert found == {"too tall": "note"}
    assert "over 110 m" in said


def test_a_pair_without_common_data_is_left_to_others(pair) -> None:
    ground, height = wood()
    ground[:, :110], height[:, 110:] = np.nan, np.nan
    assert pair(400 + height, ground) == ({}, "")


@pytest.mark.parametrize("offset", [1.5, 4, 11])
def test_a_small_offset_between_two_datums_is_noted(pair, offset) -> None:
    ground, height = wood()
    found, said = pair(ground + height + offset, ground)
    assert found == {"offset": "note"}
    assert f"{offset:.1f} m too high" in said
    assert "geoid" in said
