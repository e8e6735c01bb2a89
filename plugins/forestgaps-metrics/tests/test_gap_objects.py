from __future__ import annotations

import math

import attrs
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forestgaps_core.components import Batch
from forestgaps_core.errors import ConfigError
from forestgaps_core.testing import example_batch
from forestgaps_metrics import GapObjects
from forestgaps_metrics.gap_objects import GapObjectsConfig, count_objects

from .example_pixels import make_rotated_pair


def flooded(gap):
    """Connected components the slow way: a set of pixels each."""
    left = {tuple(pixel) for pixel in np.argwhere(gap)}
    parts = []
    while left:
        front = [left.pop()]
        part = set(front)
        while front:
            row, column = front.pop()
            around = {(row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & left
            left -= around
            part |= around
            front += around
        parts.append(part)
    return parts


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.floats(0.05, 0.6), st.floats(0.1, 1))
def test_objects_are_those_of_a_flood_fill(seed, share, overlap):
    generator = np.random.default_rng(seed)
    gap, other = generator.random((2, 3, 9, 11)) < share, generator.random((2, 3, 9, 11)) < 0.5
    limits = (2.0, 4.0, 9.0)
    expected = np.zeros((3, 3, 2), dtype=np.int64)
    for sample in range(2):
        for plane in range(3):
            for part in flooded(gap[sample, plane]):
                size = len(part)
                if size >= limits[0]:
                    class_ = sum(size >= limit for limit in limits) - 1
                    known = sum(other[sample, plane][pixel] for pixel in part) >= overlap * size
                    expected[plane, class_] += (1, int(known))
    assert (count_objects(gap, other, limits, overlap) == expected).all()


def maps(predicted, surveyed):
    target = surveyed[None, None].float()
    valid = torch.ones_like(target, dtype=torch.bool)
    batch = Batch(dsm=torch.zeros_like(target), thresholds=torch.tensor([[5.0]]), target=target, valid=valid)
    return (predicted[None, None].float() - 0.5) * 10, batch


def scene():
    """Surveyed: gaps of 4, 16 and 4 pixels. Predicted: the first, half of the second, and a false one of 9."""
    surveyed, predicted = torch.zeros((2, 20, 20), dtype=torch.bool)
    surveyed[1:3, 1:3] = surveyed[6:10, 6:10] = surveyed[15:17, 1:3] = True
    predicted[1:3, 1:3] = predicted[6:10, 6:8] = predicted[15:18, 15:18] = True
    return maps(predicted, surveyed)


def scored(logits, batch, **options):
    metric = GapObjects(**options)
    metric.update(logits, batch)
    return metric.compute()


def test_a_scene_worked_by_hand():
    values = scored(*scene(), classes_px=(2, 8))
    assert values["reference_gaps"] == values["predicted_gaps"] == 3
    assert values["detection_rate"] == pytest.approx(2 / 3)
    assert values["commission_rate"] == pytest.approx(1 / 3)
    assert values["detection_rate_2_8px@5m"] == 1 / 2
    assert values["detection_rate_8px_up@5m"] == 1
    assert values["commission_rate_2_8px@5m"] == 0
    assert values["commission_rate_8px_up@5m"] == 1 / 2


def test_a_stricter_overlap_detects_fewer():
    assert scored(*scene(), classes_px=(2,), overlap=0.6)["detection_rate"] == pytest.approx(1 / 3)


def test_gaps_below_the_smallest_class_are_not_counted():
    assert scored(*scene(), classes_px=(5,))["reference_gaps"] == 1
    assert math.isnan(scored(*scene(), classes_px=(50,))["detection_rate"])


def test_calling_everything_gap_detects_all_and_is_false():
    _, batch = scene()
    values = scored(torch.ones_like(batch.target), batch, classes_px=(2,))
    assert values["detection_rate"] == values["commission_rate"] == 1


def test_gaps_touching_in_other_samples_or_channels_stay_apart():
    batch = example_batch(samples=3, size=8, nodata=0.0)
    everything = attrs.evolve(batch, target=torch.ones_like(batch.target))
    values = scored(torch.ones_like(batch.target), everything)
    assert [values[f"reference_gaps@{meters}m"] for meters in (2, 5, 10)] == [3, 3, 3]


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 7), st.integers(0, 99))
def test_a_rotated_tile_has_the_same_scores(turn, seed):
    original, rotated = (scored(*pair, classes_px=(2, 6)) for pair in make_rotated_pair(turn, seed))
    assert rotated == pytest.approx(original, nan_ok=True, abs=0)


def test_classes_in_square_meters_follow_the_pixel_size():
    assert GapObjectsConfig(classes_m2=(10.0, 50.0)).build(resolution_m=0.5).classes_px == (40, 200)
    with pytest.raises(ConfigError, match="classes_m2: the pixel size"):
        GapObjectsConfig(classes_m2=(10.0,)).build()
