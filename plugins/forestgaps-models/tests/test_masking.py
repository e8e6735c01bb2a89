"""No answer depends on what fills invalid pixels, or on how much of nothing lies around a tile."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from forestgaps_models.deeplab import DeepLabV3Plus
from forestgaps_models.ground_unet import GroundUNet
from forestgaps_models.masking import enlarge, halve_mask, mask_features
from forestgaps_models.unet import AttentionUNet, CbamUNet, HeightUNet, PlainUNet, UNet
from forestgaps_models.unet_plus_plus import UNetPlusPlus
from forestgaps_models.views import View
from forestgaps_normalization.layer import LayerNormConfig

WIDE = View(channels=("relief", "tophats", "ground"), relief_m=21, tophats_m=(5, 15))
NETWORKS = {
    "ground_unet": lambda: GroundUNet(base=4),
    "ground_unet, one component": lambda: GroundUNet(base=4, depth=2, components=1),
    "height_unet": lambda: HeightUNet(base=4, depth=3),
    "height_unet, shown filters": lambda: HeightUNet(base=4, depth=3, view=WIDE),
    "unet": lambda: UNet(base=4, depth=3),
    "unet, convolutions per threshold": lambda: UNet(base=4, depth=2, conditioned=2),
    "plain_unet": lambda: PlainUNet(base=4, depth=3),
    "attention_unet": lambda: AttentionUNet(base=4, depth=3),
    "cbam_unet": lambda: CbamUNet(base=4, depth=3),
    "unet_plus_plus": lambda: UNetPlusPlus(base=4, depth=3),
    "deeplab": lambda: DeepLabV3Plus(base=4),
    "deeplab, tile mean": lambda: DeepLabV3Plus(base=4, tile_mean=True, output="thresholds"),
}
THRESHOLDS = torch.tensor([[2.0, 5.0, 12.0, 25.0]])
CLOSE = 2e-4  # of a probability; float32 rounds the sums of other windows otherwise. The promise is 0.02


@cache
def network(name: str) -> nn.Module:
    """With weights and statistics that no training made, so that every layer says something where nothing is known."""
    torch.manual_seed(1)
    normalization = LayerNormConfig().build() if name == "unet" else nn.BatchNorm2d
    made = NETWORKS[name]().build(normalization, 1.0).eval()
    for layer in made.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.bias, std=0.5)
            nn.init.normal_(layer.running_mean, std=0.3)
    for parameter in list(made.parameters())[-2:]:
        nn.init.normal_(parameter, std=0.5)
    return made


def terrain(rows: int, columns: int, seed: int) -> Tensor:
    """Crowns of some pixels on a slope, meters."""
    generator = torch.Generator().manual_seed(seed)
    crowns = torch.rand(1, 1, -(-rows // 6), -(-columns // 6), generator=generator) * 24
    y, x = torch.arange(float(rows))[:, None], torch.arange(float(columns))[None, :]
    canopy = interpolate(crowns, scale_factor=6)[..., :rows, :columns] + torch.rand(1, 1, rows, columns, generator=generator)
    return 700 + 0.4 * y - 0.2 * x + canopy


def holes(shape: str, rows: int, columns: int, seed: int) -> Tensor:
    """Where there is data, (1, 1, rows, columns)."""
    y, x = torch.arange(rows)[:, None], torch.arange(columns)[None, :]
    valid = {
        "none": torch.ones(rows, columns, dtype=torch.bool),
        "collar": (y >= rows // 7) & (y < rows - rows // 5) & (x >= columns // 6),
        "disc": (y - rows / 2) ** 2 + (x - columns / 3) ** 2 > (min(rows, columns) / 4) ** 2,
        "diagonal": y + x > (rows + columns) // 3,
        "half": (x < columns // 2).expand(rows, columns),
        "speckle": torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed)) > 0.3,
        "island": ((y - rows // 2).abs() < 3) & ((x - columns // 2).abs() < 3),
    }[shape]
    return valid[None, None]


SHAPES = ("none", "collar", "disc", "diagonal", "half", "speckle", "island")


def probabilities(model: nn.Module, dsm: Tensor, valid: Tensor) -> Tensor:
    with torch.inference_mode():
        found: Tensor = model(dsm, valid, THRESHOLDS).sigmoid()
    return found


def largest_difference(one: Tensor, other: Tensor, valid: Tensor) -> float:
    return torch.where(valid, one - other, 0.0).abs().max().item()


@pytest.mark.parametrize("name", NETWORKS)
@settings(max_examples=8, deadline=None)
@given(
    rows=st.integers(1, 70),
    columns=st.integers(1, 70),
    shape=st.sampled_from(SHAPES),
    seed=st.integers(0, 100),
    multiple=st.sampled_from([1, 32, 64, 128]),
    before=st.sampled_from([(0, 0), (64, 0), (32, 96)]),
    filling=st.sampled_from([0.0, -9999.0, 700.0, 1e30, float("nan"), float("-inf")]),
)
def test_an_answer_depends_neither_on_padding_nor_on_filling(
    name: str, rows: int, columns: int, shape: str, seed: int, multiple: int, before: tuple[int, int], filling: float
) -> None:
    model, valid = network(name), holes(shape, rows, columns, seed)
    dsm = terrain(rows, columns, seed)
    alone = probabilities(model, torch.where(valid, dsm, dsm.median()), valid)
    top, left = before
    around = (left, -columns % multiple, top, -rows % multiple)
    wide = probabilities(model, pad(torch.where(valid, dsm, filling), around, value=filling), pad(valid, around))
    assert alone.isfinite().logical_or(~valid).all()
    assert largest_difference(alone, wide[..., top : top + rows, left : left + columns], valid) <= CLOSE


@pytest.mark.parametrize("name", NETWORKS)
def test_a_raster_cut_at_its_survey_is_mapped_as_within_its_collar(name: str) -> None:
    """The same survey, with and without a margin of nodata around it."""
    model, dsm = network(name), terrain(64, 96, 3)
    alone = probabilities(model, dsm, torch.ones_like(dsm, dtype=torch.bool))
    collar = (64, 128, 128, 64)
    within = probabilities(model, pad(dsm, collar, value=123.0), pad(torch.ones_like(dsm, dtype=torch.bool), collar))
    assert largest_difference(alone, within[..., 128:192, 64:160], torch.tensor(True)) <= CLOSE


@pytest.mark.parametrize("name", NETWORKS)
def test_no_gradient_reaches_a_pixel_without_data(name: str) -> None:
    model, valid = network(name), holes("disc", 48, 40, 0)
    dsm = terrain(48, 40, 0).requires_grad_()
    (gradient,) = torch.autograd.grad((model(dsm, valid, THRESHOLDS) * valid).sum(), dsm)
    assert gradient[~valid].abs().max() == 0
    assert gradient[valid].abs().max() > 0


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), share=st.floats(0.2, 1), factor=st.sampled_from([2, 3, 4]), around=st.integers(0, 3))
def test_enlarging_reads_known_cells_only(seed: int, share: float, factor: int, around: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    cells = torch.rand(1, 2, 5, 7, generator=generator) * 30 + 2000
    known = torch.rand(1, 1, 5, 7, generator=generator) < share
    fine = known.repeat_interleave(factor, -1).repeat_interleave(factor, -2)
    found = enlarge(cells, known, factor)
    margin = (around,) * 4
    wide = enlarge(pad(torch.where(known, cells, torch.nan), margin, value=torch.inf), pad(known, margin), factor)
    wide = wide[..., around * factor :, around * factor :][..., : found.shape[-2], : found.shape[-1]]
    torch.testing.assert_close(torch.where(fine, wide, 0.0), torch.where(fine, found, 0.0))
    low, high = cells.amin((2, 3), keepdim=True), cells.amax((2, 3), keepdim=True)
    assert ((found >= low - 1e-2) & (found <= high + 1e-2) | ~fine).all()


def test_enlarging_a_plane_of_known_cells_gives_the_plane_inside() -> None:
    y, x = torch.meshgrid(torch.arange(6.0), torch.arange(7.0), indexing="ij")
    cells = (3 * y + 5 * x)[None, None]
    found = enlarge(cells, torch.ones_like(cells, dtype=torch.bool), 4)
    expected = interpolate(cells, scale_factor=4, mode="bilinear", align_corners=False)
    torch.testing.assert_close(found[..., 4:-4, 4:-4], expected[..., 4:-4, 4:-4])


def test_a_cell_is_known_if_one_of_its_pixels_is() -> None:
    known = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    known[..., 1, 2] = True
    assert halve_mask(known).tolist() == [[[[False, True], [False, False]]]]


@pytest.mark.parametrize("guard", [torch.enable_grad, torch.inference_mode])
def test_masking_keeps_the_kind_of_numbers(guard: Callable[[], torch.inference_mode]) -> None:
    known = torch.tensor([True, False, True, True]).reshape(1, 1, 2, 2)
    for kind in (torch.float32, torch.bfloat16, torch.uint8):
        with guard():
            found = mask_features(torch.full((1, 3, 2, 2), 7).to(kind), known)
        assert found.dtype == kind
        assert (found == 7 * known).all()


@pytest.mark.parametrize("name", ["height_unet", "unet", "plain_unet", "attention_unet", "unet_plus_plus", "deeplab"])
def test_what_lies_beyond_the_context_changes_nothing(name: str) -> None:
    """So windows that overlap by twice the context give one map. Networks that sum over a tile, as `cbam_unet`, have no context."""
    model: Any = network(name)
    size = -(-(2 * model.context_pixels + 2) // 64) * 64
    dsm = terrain(size, 64, 0)
    changed = dsm.clone()
    changed[..., 0, :] += 15
    everywhere = torch.ones_like(dsm, dtype=torch.bool)
    off = (probabilities(model, dsm, everywhere) - probabilities(model, changed, everywhere)).abs().amax((0, 1, 3))
    assert off[: model.context_pixels].max() > 1e-6
    assert off[model.context_pixels :].max() < CLOSE
