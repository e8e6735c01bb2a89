from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from forestgaps_core.components import Batch
from forestgaps_core.errors import ConfigError
from forestgaps_core.testing import example_batch, example_logits
from forestgaps_metrics import BoundaryScore
from forestgaps_metrics.boundary import BoundaryScoreConfig, dilate_by_disk, find_outline

from .example_pixels import make_rotated_pair


def maps(predicted, surveyed):
    target = surveyed[None, None].float()
    valid = torch.ones_like(target, dtype=torch.bool)
    batch = Batch(dsm=torch.zeros_like(target), thresholds=torch.tensor([[5.0]]), target=target, valid=valid)
    return (predicted[None, None].float() - 0.5) * 10, batch


def square(left, size=20):
    """A gap of 6 x 6 pixels whose outline has 20."""
    plane = torch.zeros((size, size), dtype=torch.bool)
    plane[7:13, left : left + 6] = True
    return plane


def scored(logits, batch, **options):
    metric = BoundaryScore(**options)
    metric.update(logits, batch)
    return metric.compute()


def test_a_square_moved_by_three_pixels():
    pair = maps(square(8), square(5))
    assert scored(*pair, tolerance_px=3)["boundary_f1"] == 1
    # Without tolerance the 2 x 3 pixels agree that the upper and lower sides share.
    assert scored(*pair, tolerance_px=0)["boundary_f1"] == pytest.approx(6 / 20)
    # At 2 pixels only the far side, 6 pixels at a distance of 3, has no partner.
    assert scored(*pair, tolerance_px=2)["boundary_f1"] == pytest.approx(14 / 20)


def test_precision_judges_the_map_and_recall_the_survey():
    nothing = torch.zeros((20, 20), dtype=torch.bool)
    both = square(1) | square(12)
    values = scored(*maps(both, square(1)))
    assert (values["boundary_precision@5m"], values["boundary_recall@5m"]) == (0.5, 1)
    values = scored(*maps(square(1), both))
    assert (values["boundary_precision@5m"], values["boundary_recall@5m"]) == (1, 0.5)
    assert values["boundary_f1@5m"] == pytest.approx(2 / 3)
    assert scored(*maps(nothing, square(1)))["boundary_f1"] == 0
    assert scored(*maps(square(1), nothing))["boundary_f1"] == 0
    assert math.isnan(scored(*maps(nothing, nothing))["boundary_f1"])


def test_the_edge_of_the_tile_and_of_the_data_is_no_outline():
    everything = torch.ones((1, 1, 8, 8), dtype=torch.bool)
    assert not find_outline(everything, everything).any()
    valid = everything.clone()
    valid[..., 4:] = False
    assert not find_outline(everything & valid, valid).any()


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 14), st.integers(1, 14), st.floats(0, 20), st.floats(0, 0.3), st.integers(0, 99))
def test_near_is_the_euclidean_distance_to_the_nearest_pixel(rows, columns, radius, share, seed):
    mask = torch.rand((2, 1, rows, columns), generator=torch.Generator().manual_seed(seed)) < share
    found = dilate_by_disk(mask, radius)
    for plane, ours in zip(mask[:, 0].numpy(), found[:, 0].numpy(), strict=True):
        exact = ndimage.distance_transform_edt(~plane) <= radius if plane.any() else np.zeros_like(plane)
        assert (ours == exact).all()


def test_scores_agree_with_distance_transforms():
    batch = example_batch()
    logits = example_logits(batch)
    values = scored(logits, batch, tolerance_px=1.5)
    cross = ndimage.generate_binary_structure(2, 1)
    for plane, end in enumerate(("@2m", "@5m", "@10m")):
        right = predicted_total = found = surveyed_total = 0
        for sample in range(len(batch)):
            valid = batch.valid[sample, 0].numpy()
            gaps = ((logits[sample, plane] > 0).numpy() & valid, (batch.target[sample, plane] > 0.5).numpy() & valid)
            edges = [gap & ndimage.binary_dilation(~gap & valid, cross) for gap in gaps]
            far = [ndimage.distance_transform_edt(~edge) if edge.any() else np.full(edge.shape, np.inf) for edge in edges]
            right += (edges[0] & (far[1] <= 1.5)).sum()
            found += (edges[1] & (far[0] <= 1.5)).sum()
            predicted_total += edges[0].sum()
            surveyed_total += edges[1].sum()
        assert values[f"boundary_precision{end}"] == pytest.approx(right / predicted_total)
        assert values[f"boundary_recall{end}"] == pytest.approx(found / surveyed_total)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 7), st.integers(0, 99))
def test_a_rotated_tile_has_the_same_scores(turn, seed):
    original, rotated = (scored(*pair) for pair in make_rotated_pair(turn, seed))
    assert rotated == pytest.approx(original, nan_ok=True, abs=0)


def test_a_tolerance_in_meters_follows_the_pixel_size():
    assert BoundaryScoreConfig(tolerance_m=3.0).build(resolution_m=0.5).tolerance_px == 6
    assert BoundaryScoreConfig(tolerance_px=4.0).build(resolution_m=0.5).tolerance_px == 4
    with pytest.raises(ConfigError, match="tolerance_m: the pixel size"):
        BoundaryScoreConfig(tolerance_m=3.0).build()
