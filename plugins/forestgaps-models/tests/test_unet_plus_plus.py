from __future__ import annotations

import pytest
import torch
from torch import nn

from forestgaps_core.testing import build_component, check_model
from forestgaps_models.unet_plus_plus import UNetPlusPlus, UNetPlusPlusBody
from forestgaps_models.views import View

SMALL = UNetPlusPlus(base=4, depth=2, view=View(relief_m=9, tophats_m=(3, 7)), drop_path=0.2, output="thresholds")


@pytest.mark.parametrize("config", [UNetPlusPlus(), SMALL], ids=["default", "small"])
def test_contract(config: UNetPlusPlus) -> None:
    check_model(config)


def test_the_triangle_has_the_nodes_of_the_paper() -> None:
    body = build_component("model", SMALL).body
    assert [len(step.blocks) for step in body.steps] == [2, 1]
    # X[0, 2] is made of X[0, 0], X[0, 1] and the enlarged X[1, 1], 4 planes each.
    assert body.steps[1].blocks[0].branch[0].in_channels == 12


def test_a_node_is_made_of_its_level_and_the_one_below() -> None:
    """With blocks that keep the mean and enlargements that repeat it, the triangle can be worked by hand."""

    class Mean(nn.Module):
        def forward(self, x: torch.Tensor, known: torch.Tensor | None = None) -> torch.Tensor:
            return x.mean(1, keepdim=True)

    class Halve(Mean):
        def forward(self, x: torch.Tensor, known: torch.Tensor | None = None) -> torch.Tensor:
            return 2 * nn.functional.avg_pool2d(super().forward(x), 2)

    body = UNetPlusPlusBody(1, nn.BatchNorm2d, base=4, depth=2, paths=SMALL.make_drop_paths(6), dropout=0.0)
    body.down = nn.ModuleList([Mean(), Halve(), Halve()])
    for step in body.steps:
        step.blocks = nn.ModuleList(Mean() for _ in step.blocks)
        step.enlarge = nn.ModuleList(nn.Upsample(scale_factor=2) for _ in step.enlarge)
    # levels 1, 2, 4; X01 = (1 + 2) / 2, X11 = (2 + 4) / 2, X02 = (1 + 1.5 + 3) / 3
    assert torch.allclose(body(torch.ones(1, 1, 4, 4), torch.ones(1, 1, 4, 4, dtype=torch.bool)), torch.tensor(5.5 / 3))
