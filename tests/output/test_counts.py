from math import nan

import pytest

from forestgaps_core.output.counts import format_count, format_for_table, format_hectares, format_square_meters


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 sites"), (1, "1 site"), (2, "2 sites"), (1200, "1,200 sites"), (1_000_001, "1,000,001 sites")]
)
def test_format_count_agrees_with_the_number(count: int, text: str) -> None:
    assert format_count(count, "site") == text


def test_format_count_takes_an_irregular_plural() -> None:
    assert [format_count(count, "class", "classes") for count in (1, 2)] == ["1 class", "2 classes"]


@pytest.mark.parametrize(
    ("area_m2", "text"), [(0, "0 ha"), (0.25, "2.5e-05 ha"), (25, "0.0025 ha"), (123_456, "12.3 ha"), (123_456_789, "12,346 ha")]
)
def test_format_hectares_shows_small_and_large_areas(area_m2: float, text: str) -> None:
    assert format_hectares(area_m2) == text


@pytest.mark.parametrize(
    ("area", "text"),
    [(None, "-"), (202.9999996, "203"), (0.09290304, "0.092903"), (1234.5678, "1,234.6"), (12345678.9, "12,345,679"), (0.0, "0")],
)
def test_square_meters_have_five_digits_and_are_whole_from_10000_on(area, text):
    assert format_square_meters(area) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(202.9999996, "203"), (0.092903041234, "0.09290304"), (1234567.8912, "1234567.891"), (7.0, "7"), (0.0, "0"), (nan, "")],
)
def test_numbers_of_a_table_have_three_decimals_or_seven_digits(value, text):
    assert format_for_table(value) == text
