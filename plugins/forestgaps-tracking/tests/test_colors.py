from __future__ import annotations

import pytest
import torch

from forestgaps_tracking.colors import (
    CANOPY,
    FALSE_NEGATIVE,
    FALSE_POSITIVE,
    GAP,
    TRUE_POSITIVE,
    VIRIDIS,
    paint_classes,
    paint_shares,
)


def test_whole_numbers_choose_their_colors() -> None:
    picture = paint_classes(torch.tensor([[[0, 1]]]), (GAP, TRUE_POSITIVE))
    assert picture.shape == (1, 3, 1, 2)
    assert torch.equal(picture[0, :, 0].T, torch.tensor([GAP, TRUE_POSITIVE]))


def test_the_ramp_is_viridis_within_a_hundredth_at_its_anchors() -> None:
    matplotlib = pytest.importorskip("matplotlib")
    for place, color in enumerate(VIRIDIS):
        expected = matplotlib.colormaps["viridis"](place / (len(VIRIDIS) - 1))[:3]
        assert color == pytest.approx(expected, abs=0.01)


def test_the_ramp_gets_lighter_all_the_way() -> None:
    colors = paint_shares(torch.linspace(0, 1, 101)[None])
    lightness = (colors * torch.tensor([0.2126, 0.7152, 0.0722])[:, None, None]).sum(0)[0]
    assert (lightness.diff() > 0).all()


def test_errors_can_be_distinguished_by_lightness_alone() -> None:
    """CIE L* of any two differs by 10 or more, so they differ for every kind of color vision."""
    parts = torch.tensor([CANOPY, GAP, TRUE_POSITIVE, FALSE_NEGATIVE, FALSE_POSITIVE])
    linear = torch.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    luminance = linear @ torch.tensor([0.2126, 0.7152, 0.0722])
    assert (116 * luminance ** (1 / 3) - 16).sort().values.diff().min() > 10
