from __future__ import annotations

import pytest

from forestgaps_evaluation import rendering


@pytest.mark.parametrize(
    ("function", "value", "words"),
    [
        (rendering.percent, 0.1234, "12.3 %"),
        (rendering.percent, float("nan"), "–"),
        (rendering.points, -0.0512, "−5.1"),
        (rendering.points, 0.02, "+2.0"),
        (rendering.score, 0.876, "0.88"),
        (rendering.score, -0.5, "−0.50"),
        (rendering.count, 1234567, "1 234 567"),
        (rendering.meters, 0.5, "0.5 m"),
        (rendering.hectares, 12.345, "12.3 ha"),
        (rendering.hectares, 1234.5, "1 234 ha"),
        (rendering.area, 999.6, "1 000 m²"),
        (rendering.area, 25_000, "2.5 ha"),
        (rendering.area, None, "–"),
    ],
)
def test_numbers_read_as_numbers(function, value, words):
    assert function(value).replace("\u202f", " ") == words
