from __future__ import annotations

import attrs
import numpy as np
import pytest
import torch

from forestgaps_core.errors import PluginError
from forestgaps_evaluation.counting.baseline import SURROUNDINGS_M, BaselineMap
from forestgaps_evaluation.counting.tile_counts import count_split

LEVELS = (2.0, 5.0, 20.0)


def flat(dsm, resolution_m):
    """The lowest pixel everywhere."""
    return np.full(dsm.shape, np.nanmin(dsm))


def make_baseline(trained, ground_filter=flat, **changes):
    shared = {part.name: getattr(trained, part.name) for part in attrs.fields(type(trained))}
    return BaselineMap(**{**shared, "run": "flat", **changes}, ground_filter=ground_filter, words="flat of toys", split="test")


def test_counts_equal_those_of_heights_above_the_filters_ground(trained):
    found = count_split(make_baseline(trained), "test", LEVELS)
    assert found.run == "flat"
    for index in range(len(found)):
        tile = trained.data.test.read(index, 0)
        dsm, height, valid = tile.dsm.double(), tile.height, tile.valid
        above = dsm - dsm[valid].min()
        for k, level in enumerate(LEVELS):
            gap, truth = (above < level)[valid], (height < level)[valid]
            expected = [(gap & truth).sum(), (gap & ~truth).sum(), (~gap & truth).sum(), (~gap & ~truth).sum()]
            assert found.counts[index, k].tolist() == [int(number) for number in expected]
    errors = np.zeros(len(found))
    for index in range(len(found)):
        tile = trained.data.test.read(index, 0)
        above = tile.dsm.double() - tile.dsm[tile.valid].double().min()
        errors[index] = (above - tile.height)[tile.valid].sum()
    np.testing.assert_allclose(found.height_errors[:, 0], errors, rtol=1e-4, atol=1.0)


class Surrounded:
    """A source whose tiles have lower ground around them."""

    def __init__(self, source):
        self.source, self.asked = source, []

    def __getattr__(self, name):
        return getattr(self.source, name)

    def __len__(self):
        return len(self.source)

    def surroundings(self, index, margin):
        self.asked.append((index, margin))
        tile = self.source.read(index, 0)
        surface = np.where(tile.valid, tile.dsm, np.nan).astype(np.float32)
        wide = np.pad(surface, ((2, 1), (3, 0)), constant_values=np.nanmin(surface) - 7)
        return wide, (slice(2, 2 + surface.shape[0]), slice(3, 3 + surface.shape[1]))


def test_the_filter_sees_the_surroundings_of_a_tile(trained):
    source = Surrounded(trained.data.test)
    wide = make_baseline(trained, data=attrs.evolve(trained.data, test=source))
    higher, alone = (count_split(one, "test", (9.0,)) for one in (wide, make_baseline(trained)))
    assert source.asked == [(index, round(SURROUNDINGS_M / 5)) for index in range(8)]
    pixels = alone.valid_pixels
    np.testing.assert_allclose((higher.height_errors - alone.height_errors)[:, 0], 7.0 * pixels, rtol=1e-4)


@pytest.mark.parametrize("wrong", [lambda dsm, resolution: None, lambda dsm, resolution: dsm[1:], lambda dsm, resolution: 1 / 0])
def test_a_filter_that_fails_is_named(trained, wrong):
    with pytest.raises(PluginError, match="flat of toys"):
        count_split(make_baseline(trained, wrong), "test", LEVELS)


def test_a_tile_without_data_is_no_gap_and_not_given_to_the_filter(trained):
    baseline = make_baseline(trained)

    class Batch:
        dsm = torch.zeros(1, 1, 4, 4)
        valid = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
        index = torch.tensor([0])

    assert baseline.heights(Batch()).abs().sum() == 0
