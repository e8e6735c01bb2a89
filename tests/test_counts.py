import pytest

from forestgaps_core.counts import format_count, format_hectares


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
