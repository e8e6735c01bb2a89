"""One meaning per color, and colors that every reader can tell apart."""

from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forestgaps_core.output.palette import (
    AGREEMENT,
    CANOPY,
    CONFUSION,
    FALSE_NEGATIVE,
    FALSE_POSITIVE,
    GAP,
    NO_DATA,
    SHORT_AGREEMENT,
    TRUE_POSITIVE,
    VIRIDIS,
    rgb_fractions,
    threshold_colors,
    viridis_color,
)

# What people with full protanopia, deuteranopia and tritanopia see: Machado et al. 2009, doi 10.1109/TVCG.2009.113, table 1.
VISIONS = {
    "usual": np.eye(3),
    "protanopia": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
    "deuteranopia": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]),
    "tritanopia": np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]]),
}


def linear(color: str) -> np.ndarray:
    parts = np.array(rgb_fractions(color))
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def lab(light: np.ndarray) -> np.ndarray:
    """CIE L*a*b* (D65) of linear sRGB."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = np.cbrt(np.maximum(to_xyz @ np.clip(light, 0, 1), 0.0089) / [0.9505, 1, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("vision", VISIONS)
def test_classes_differ_for_every_color_vision(vision: str) -> None:
    seen = {color: lab(VISIONS[vision] @ linear(color)) for color in (*CONFUSION, GAP, NO_DATA)}
    for one, other in combinations(seen, 2):
        assert np.linalg.norm(seen[one] - seen[other]) > 10, (one, other)


def test_each_class_has_one_color_and_the_words_of_the_field() -> None:
    assert CONFUSION == (CANOPY, FALSE_POSITIVE, FALSE_NEGATIVE, TRUE_POSITIVE)
    assert len({CANOPY, GAP, NO_DATA, TRUE_POSITIVE, FALSE_NEGATIVE, FALSE_POSITIVE}) == 6
    for legend in (AGREEMENT, SHORT_AGREEMENT):
        colors = {words.split(" (")[0]: color for words, color in legend.items()}
        assert colors["true positive"] == TRUE_POSITIVE
        assert colors["false negative"] == FALSE_NEGATIVE and any("omission" in words for words in legend)
        assert colors["false positive"] == FALSE_POSITIVE and any("commission" in words for words in legend)


def test_no_other_module_defines_the_color_of_a_class() -> None:
    root = Path(__file__).parents[2]
    own = {color.lower() for color in (TRUE_POSITIVE, FALSE_NEGATIVE, FALSE_POSITIVE)} | {"#d55e00", "#56b4e9", "#cc79a7"}
    sources = [*root.glob("forestgaps_core/**/*.py"), *root.glob("plugins/*/forestgaps_*/**/*.*"), *root.glob("docs/**/*.py")]
    assert len(sources) > 200
    for path in sources:
        if path.suffix in {".py", ".css", ".html"} and path.name != "palette.py":
            assert not [color for color in own if color in path.read_text(encoding="utf-8").lower()], path


@given(st.lists(st.floats(0, 1), min_size=2, max_size=8))
def test_viridis_rises_in_lightness(shares: list[float]) -> None:
    lightness = [lab(linear(viridis_color(share)))[0] for share in sorted(shares)]
    assert all(later >= sooner - 0.5 for sooner, later in pairwise(lightness))


def test_viridis_is_that_of_matplotlib() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    for place, color in enumerate(VIRIDIS):
        assert rgb_fractions(color) == pytest.approx(matplotlib.colormaps["viridis"](place / (len(VIRIDIS) - 1))[:3], abs=0.01)
    assert [viridis_color(share) for share in (0, 1)] == [VIRIDIS[0], VIRIDIS[-1]]


@pytest.mark.parametrize("count", [1, 2, 5, 12])
def test_the_lowest_threshold_is_the_brightest(count: int) -> None:
    colors = threshold_colors(count)
    assert len(set(colors)) == count and colors[0] == VIRIDIS[-1]
    assert all(lab(linear(one))[0] > lab(linear(other))[0] for one, other in pairwise(colors))
