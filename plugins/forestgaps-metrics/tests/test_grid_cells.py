from __future__ import annotations

import math

import attrs
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forestgaps_core.errors import ConfigError
from forestgaps_core.testing import example_batch, example_logits
from forestgaps_metrics import GridCells
from forestgaps_metrics.grid_cells import GridCellsConfig, count_by_cell


def scored(logits, batch, **options):
    metric = GridCells(**options)
    metric.update(logits, batch)
    return metric.compute()


@pytest.mark.parametrize(("side", "cell", "cells"), [(128, 64, 2), (128, 100, 1), (128, 80, 2), (128, 200, 1), (250, 100, 2)])
def test_a_tile_is_divided_evenly_into_cells_nearest_to_the_size_requested(side, cell, cells):
    assert count_by_cell(torch.ones((1, 1, side, side), dtype=torch.bool), cell).shape == (1, 1, cells, cells)


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.floats(1, 60), st.integers(0, 99))
def test_cells_hold_the_sums_of_their_pixels(rows, columns, cell, seed):
    mask = torch.rand((2, 3, rows, columns), generator=torch.Generator().manual_seed(seed)) < 0.5
    sums = count_by_cell(mask, cell)
    high, wide = rows // sums.shape[2], columns // sums.shape[3]
    for i in range(sums.shape[2]):
        for j in range(sums.shape[3]):
            piece = mask[:, :, i * high : (i + 1) * high, j * wide : (j + 1) * wide]
            assert torch.equal(sums[:, :, i, j], piece.sum((2, 3)))


def test_values_agree_with_scikit_learn_cell_by_cell():
    sk = pytest.importorskip("sklearn.metrics")
    linear = pytest.importorskip("sklearn.linear_model").LinearRegression
    batch = example_batch()
    logits = example_logits(batch)
    values = scored(logits, batch, cell_px=8)
    for plane, meters in enumerate((2, 5, 10)):
        pairs = []
        for sample in range(len(batch)):
            for i in range(0, 32, 8):
                for j in range(0, 32, 8):
                    cell = (slice(i, i + 8), slice(j, j + 8))
                    known = batch.valid[sample, 0][cell]
                    gap, truth = (logits[sample, plane] > 0)[cell], batch.target[sample, plane][cell]
                    pairs.append((gap[known].double().mean().item(), truth[known].double().mean().item()))
        p, o = np.array(pairs).T
        line = linear().fit(o[:, None], p)
        expected = {
            "cells": len(pairs),
            "mae": sk.mean_absolute_error(o, p),
            "rmse": sk.root_mean_squared_error(o, p),
            "bias": (p - o).mean(),
            "r2": sk.r2_score(o, p),
            "slope": line.coef_[0],
            "intercept": line.intercept_,
        }
        assert {name: values[f"{name}@{meters}m"] for name in expected} == pytest.approx(expected, abs=5e-5)


def test_errors_that_cancel_within_a_cell_do_not_count():
    batch = example_batch(nodata=0.0)
    flipped = (batch.target.flip(-1) - 0.5) * 10
    values = scored(flipped, batch, cell_px=32)
    for end in ("@2m", "@5m", "@10m"):
        assert values[f"rmse{end}"] == 0
        assert values[f"slope{end}"] == pytest.approx(1)
        assert values[f"r2{end}"] == 1


def test_cells_with_too_few_valid_pixels_are_left_out():
    batch = example_batch(samples=2, nodata=0.0)
    valid = batch.valid.clone()
    valid[0, :, :, 10:] = False  # 10 of 32 columns remain
    batch = attrs.evolve(batch, valid=valid)
    logits = example_logits(batch)
    assert scored(logits, batch, min_valid=0.5)["cells@2m"] == 1
    assert scored(logits, batch, min_valid=0.3)["cells@2m"] == 2
    batch = attrs.evolve(batch, valid=torch.zeros_like(valid))
    values = scored(logits, batch, min_valid=0.0)
    assert values["cells@2m"] == 0
    assert math.isnan(values["mae@2m"])


def test_a_side_in_meters_follows_the_pixel_size():
    assert GridCellsConfig(cell_m=100.0).build(resolution_m=0.5).cell_px == 200
    with pytest.raises(ConfigError, match="cell_m: the pixel size"):
        GridCellsConfig(cell_m=100.0).build()
