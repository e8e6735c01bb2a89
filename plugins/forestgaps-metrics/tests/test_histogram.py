from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forestgaps_metrics.histogram import find_bins, sum_by_class


@settings(deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 9), st.integers(1, 6), st.integers(0, 99))
def test_sums_are_those_of_adding_pixel_by_pixel(samples, planes, size, count, seed):
    generator = torch.Generator().manual_seed(seed)
    classes = torch.randint(count, (samples, planes, size, size), generator=generator)
    values = torch.randint(1000, classes.shape, generator=generator)
    valid = torch.rand((samples, 1, size, size), generator=generator) < 0.7
    pixels, sums = [[0] * count for _ in range(planes)], [[0] * count for _ in range(planes)]
    for sample in range(samples):
        for plane in range(planes):
            columns = (classes[sample, plane], values[sample, plane], valid[sample])
            for class_, value, known in zip(*(column.flatten() for column in columns), strict=True):
                pixels[plane][class_] += int(known)
                sums[plane][class_] += int(value) * int(known)
    assert sum_by_class(classes, valid, count).tolist() == pixels
    assert sum_by_class(classes, valid, count, values).tolist() == sums


def test_levels_divide_0_to_1_evenly_and_keep_its_ends():
    assert find_bins(torch.tensor([0.0, 0.24, 0.25, 0.5, 0.99, 1.0]), 4).tolist() == [0, 0, 1, 2, 3, 3]
