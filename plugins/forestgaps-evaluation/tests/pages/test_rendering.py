from __future__ import annotations

import pytest

from forestgaps_evaluation.pages import rendering


@pytest.mark.parametrize(
    ("function", "value", "words"),
    [
        (rendering.format_percent, 0.1234, "12.3 %"),
        (rendering.format_percent, float("nan"), "–"),
        (rendering.format_points, -0.0512, "−5.1"),
        (rendering.format_points, 0.02, "+2.0"),
        (rendering.format_score, 0.876, "0.88"),
        (rendering.format_score, -0.5, "−0.50"),
        (rendering.format_number, 1234567, "1 234 567"),
        (rendering.format_meters, 0.5, "0.5 m"),
        (rendering.format_hectares, 12.345, "12.3 ha"),
        (rendering.format_hectares, 1234.5, "1 234 ha"),
        (rendering.format_area, 999.6, "1 000 m²"),
        (rendering.format_area, 25_000, "2.5 ha"),
        (rendering.format_area, None, "–"),
    ],
)
def test_numbers_read_as_numbers(function, value, words):
    assert function(value).replace("\u202f", " ") == words
