"""What holds for all ground filters, whatever their settings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from forestgaps_baselines import (
    Bulldozer,
    ClothSimulation,
    Dsm2Dtm,
    Envelope,
    Opening,
    Progressive,
    estimate_ground,
)
from forestgaps_baselines.contract import Plane, check_ground_filter

NEEDS = {ClothSimulation: "CSF", Dsm2Dtm: "dsm2dtm", Bulldozer: "bulldozer"}
FILTERS = [
    *(Opening(), Opening(window_m=60.0), Progressive(), Progressive(slope=0.0), Envelope(), Envelope(passes=1, percentile=0.0)),
    *(ClothSimulation(), ClothSimulation(rigidness=1, slope_smoothing=False), Dsm2Dtm(), Dsm2Dtm(radius_m=20.0), Bulldozer()),
]


@pytest.fixture(params=FILTERS, ids=repr)
def config(request: pytest.FixtureRequest) -> Any:
    if type(request.param) in NEEDS:
        pytest.importorskip(NEEDS[type(request.param)])
    return request.param


def make_stand(resolution_m: float = 1.0, slope: float = 0.0) -> tuple[Plane, Plane]:
    """A DSM, and its ground: trees of 15 m in groups of 12 m, on a slope; (H, W) each."""
    rows, columns = (index * resolution_m for index in np.mgrid[: round(160 / resolution_m), : round(140 / resolution_m)])
    ground = 300 + slope * columns
    canopy = ((rows % 30 < 12) & (columns % 30 < 12)) * 15.0
    return ground + canopy, ground


def test_the_contract_holds(config: Any) -> None:
    check_ground_filter(config)


@pytest.mark.parametrize("resolution_m", [0.5, 1.0, 2.0])
def test_the_ground_between_groups_of_trees_is_found(config: Any, resolution_m: float) -> None:
    dsm, ground = make_stand(resolution_m)
    found = estimate_ground(config.build(), dsm, resolution_m)
    # The first trend of the envelope is the mean surface; one pass at a percentile of 0 stays below the ground.
    # Bulldozer is made for towns in images of several kilometers.
    limit = 3.0 if isinstance(config, Bulldozer | Envelope) else 0.5
    assert np.abs(found - ground).mean() < limit


def test_the_ground_is_nowhere_above_the_surface_and_nan_without_data(config: Any) -> None:
    dsm, _ = make_stand(slope=0.4)
    dsm[40:60, 30:80] = np.nan
    found = estimate_ground(config.build(), dsm, 1.0)
    assert np.array_equal(np.isnan(found), np.isnan(dsm))
    assert (found <= dsm)[np.isfinite(dsm)].all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (3, 2), (2, 64)])
def test_small_surfaces_have_a_ground(config: Any, shape: tuple[int, int]) -> None:
    found = estimate_ground(config.build(), np.full(shape, 7.5), 1.0)
    assert np.array_equal(found, np.full(shape, 7.5)) or np.abs(found - 7.5).max() < 0.1


def test_one_valid_pixel_is_its_own_ground(config: Any) -> None:
    dsm = np.full((40, 30), np.nan)
    dsm[11, 12] = -3.25
    found = estimate_ground(config.build(), dsm, 1.0)
    assert found[11, 12] == pytest.approx(-3.25, abs=1e-3)
    assert np.isnan(found).sum() == found.size - 1


def test_no_data_at_all_gives_no_ground(config: Any) -> None:
    assert np.isnan(estimate_ground(config.build(), np.full((5, 4), np.nan), 1.0)).all()


def test_nothing_is_printed(config: Any, capfd: pytest.CaptureFixture[str]) -> None:
    estimate_ground(config.build(), make_stand()[0], 1.0)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""
