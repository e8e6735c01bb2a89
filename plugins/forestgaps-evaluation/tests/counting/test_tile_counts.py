from __future__ import annotations

import math

import attrs
import numpy as np
import pytest
import torch

from forestgaps_core import load_config, train_model
from forestgaps_core.config.thresholds import Thresholds
from forestgaps_core.data.batch_maker import BatchMaker
from forestgaps_core.errors import ConfigError, DataError
from forestgaps_evaluation.counting.tile_counts import (
    DECISION_THRESHOLD_COUNT,
    PROTOCOL_THRESHOLDS_M,
    count_split,
    count_tiles,
)
from forestgaps_evaluation.protocol.leakage import SourceSubset

LEVELS = (2.0, 5.0, 10.0, 20.0)


def tiles_of(trained, levels=LEVELS):
    """Each tile by itself: probability (K, H, W), height, valid, and the tile."""
    source = trained.source("test")
    for index in range(len(source)):
        tile = source.read(index, 0)
        probability = trained.predictor(tile.dsm[None, None], tile.valid[None, None], levels)[0]
        yield probability.double().numpy(), tile.height.numpy(), tile.valid.numpy(), tile


def test_it_counts_what_slow_lines_count(trained):
    found = count_split(trained, "test", LEVELS)
    reliability, curve = np.zeros((4, 20, 3)), np.zeros((4, DECISION_THRESHOLD_COUNT, 2), int)
    for n, (probability, height, valid, tile) in enumerate(tiles_of(trained)):
        assert found.canopy_cover[n] == pytest.approx((height[valid] >= 2).mean())
        assert found.valid_pixels[n] == valid.sum()
        assert found.cell_pixels[n].tolist() == [valid[a : a + 20, b : b + 20].sum() for a in (0, 20) for b in (0, 20)]
        predicted_height = trained.predictor.model.predict_heights(*filled(tile)).detach()[0, 0].numpy()
        error = (predicted_height - height)[valid]
        assert found.height_errors[n] == pytest.approx(
            [error.sum(), np.abs(error).sum(), (error**2).sum()], abs=1e-3 * len(error), rel=1e-3
        )
        for k, level in enumerate(LEVELS):
            p, gap = probability[k][valid], (height < level)[valid]
            called = p > 0.5
            assert found.counts[n, k].tolist() == [
                (called & gap).sum(), (called & ~gap).sum(), (~called & gap).sum(), (~called & ~gap).sum()
            ]  # fmt: skip
            bins = np.clip(np.ceil(p.astype(np.float32) * np.float32(100)).astype(int) - 1, 0, 99) // 5
            for b in range(20):
                reliability[k, b] += [(bins == b).sum(), p[bins == b].sum(), gap[bins == b].sum()]
            for c in range(DECISION_THRESHOLD_COUNT):
                above = p > c / 100 if c else np.ones_like(gap)
                curve[k, c] += [(above & gap).sum(), (above & ~gap).sum()]
            for cell, (a, b) in enumerate((a, b) for a in (0, 20) for b in (0, 20)):
                inside = valid[a : a + 20, b : b + 20]
                sides = (probability[k] > 0.5, height < level)
                assert found.cells[n, cell, k].tolist() == [(side[a : a + 20, b : b + 20] & inside).sum() for side in sides]
    assert found.reliability[..., [0, 2]].tolist() == reliability[..., [0, 2]].tolist()
    assert found.reliability[..., 1] == pytest.approx(reliability[..., 1], abs=0.05)
    # A probability next to a cut may fall to its other side in float32.
    assert np.abs(found.curve - curve).sum() <= 4
    assert (found.curve[:, 50] == found.counts.sum(0)[:, :2]).all()
    assert found.cell_m == (100.0, 100.0)


def filled(tile):
    median = tile.dsm[tile.valid].median()
    return torch.where(tile.valid, tile.dsm, median)[None, None], tile.valid[None, None]


def test_it_counts_what_the_metrics_of_the_core_count(trained):
    segmentation = pytest.importorskip("forestgaps_metrics.segmentation")
    calibration = pytest.importorskip("forestgaps_metrics.calibration")
    metric, trust = segmentation.SegmentationMetrics(), calibration.Calibration(bins=20)
    maker = BatchMaker(thresholds=Thresholds(values=LEVELS))
    for tiles in trained.loader("test"):
        batch = maker(tiles)
        with torch.inference_mode():
            logits = trained.predictor.model(batch.dsm, batch.valid, batch.thresholds)
        metric.update(logits, batch)
        trust.update(logits, batch)
    found = count_split(trained, "test", LEVELS)
    assert found.counts.sum(0).tolist() == metric.counts.values.tolist()
    pixels, probability, gaps = found.reliability.sum(1).T
    counts = trust.counts.values.sum(1)
    assert (pixels.tolist(), gaps.tolist()) == (counts[:, 0].tolist(), counts[:, 1].tolist())
    assert probability == pytest.approx(counts[:, 2].numpy() / calibration.UNIT, abs=1e-2)


def test_what_stands_at_invalid_pixels_does_not_matter(trained):
    other = attrs.evolve(trained, data=attrs.evolve(trained.data, test=attrs.evolve(trained.data.test, garbage=8848.0)))
    one, two = (count_split(which, "test", LEVELS) for which in (trained, other))
    for name in ("counts", "reliability", "curve", "cells", "canopy_cover", "slope_deg", "height_errors"):
        assert np.array_equal(getattr(one, name), getattr(two, name)), name


def test_the_protocol_asks_for_eight_thresholds_and_marks_those_never_trained(run, plugins):
    found = count_tiles(run, device="cpu", plugins=plugins)
    assert tuple(found.thresholds) == PROTOCOL_THRESHOLDS_M
    assert PROTOCOL_THRESHOLDS_M == (2, 3, 5, 10, 15, 20, 25, 30)
    assert found.thresholds[found.extrapolated].tolist() == [25, 30]
    assert found.trained == LEVELS
    assert (found.resolution_m, found.tile_px, found.seed, found.split) == (5.0, (40, 40), 4, "test")


def test_thresholds_come_in_any_order(trained):
    one, two = count_split(trained, "test", (5, 2, 5.0)), count_split(trained, "test", (2, 5))
    assert one.thresholds.tolist() == [2, 5]
    assert np.array_equal(one.counts, two.counts)


def test_slopes_and_blocks_are_those_of_the_tiles(trained):
    found = count_split(trained, "test", (2,))
    assert found.slope_deg == pytest.approx([5, 15, 25, 35] * 2, abs=0.5)
    assert found.blocks == ("0", "0", "1", "1", "2", "2", "3", "3")
    assert found.sites == ("hill",) * 6 + ("vale",) * 2


def test_some_tiles_of_a_pass(trained):
    whole = count_split(trained, "test", LEVELS)
    some = whole.select(whole.slope_deg > 20)
    assert some.index.tolist() == [2, 3, 6, 7]
    assert some.blocks == ("1", "1", "3", "3")
    assert some.sites == ("hill", "hill", "vale", "vale")
    assert np.array_equal(some.counts, whole.counts[[2, 3, 6, 7]])
    assert some.curve.sum() == some.reliability.sum() == 0


def test_cells_with_too_few_pixels_are_left_out(trained):
    whole = count_split(trained, "test", LEVELS)
    fractions, tile = whole.cell_fractions()
    assert fractions.shape == (32, 4, 2)
    assert tile.tolist() == sorted([*range(8)] * 4)
    assert fractions[5] == pytest.approx(whole.cells[1, 1] / whole.cell_pixels[1, 1])
    assert len(whole.cell_fractions(minimum_valid=1.0)[0]) == 0


def test_a_network_without_heights_that_is_not_monotone_is_evaluated_as_it_is_mapped(run_file, plugins, tmp_path):
    config = load_config(run_file, overrides=["model.name=wavering", "training.epochs=1"], plugins=plugins)
    train_model(config, tmp_path / "run", plugins=plugins)
    found = count_tiles(tmp_path / "run", "test", LEVELS, device="cpu", plugins=plugins)
    assert found.height_errors is None
    called = found.counts[..., :2].sum(-1)
    assert (np.diff(called, axis=1) >= 0).all(), "a gap at 5 m is a gap at 10 m"


@pytest.mark.parametrize(
    ("split", "levels", "said"),
    [("tests", (2,), "expected one of"), ("test", (-1,), "thresholds -1 m"), ("test", (), "thresholds")],
)
def test_nonsense_is_refused(trained, split, levels, said):
    with pytest.raises(ConfigError, match=said):
        count_split(trained, split, levels)


def test_an_empty_split_is_reported(trained):
    empty = attrs.evolve(trained, data=attrs.evolve(trained.data, test=SourceSubset(trained.data.test, ())))
    with pytest.raises(DataError, match="test split of its data is empty"):
        count_split(empty)


def test_a_tile_without_data_has_no_cover_and_no_slope(trained):
    tile = trained.data.test.read(0, 0)

    class Void:
        def __len__(self):
            return 1

        def read(self, index, draw):
            return attrs.evolve(tile, valid=torch.zeros_like(tile.valid))

    found = count_split(attrs.evolve(trained, data=attrs.evolve(trained.data, test=Void())), "test", (2,))
    assert math.isnan(found.canopy_cover[0])
    assert math.isnan(found.slope_deg[0])
    assert found.counts.sum() == 0
    assert found.blocks == ("tile 0",)
