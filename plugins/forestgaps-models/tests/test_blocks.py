from __future__ import annotations

import pytest
import torch
from torch import nn

from forestgaps_models.blocks import ResidualBlock
from forestgaps_models.drop_path import DropPath

X = torch.rand(4, 3, 8, 6, generator=torch.Generator().manual_seed(0))
EVERYWHERE = torch.ones(4, 1, 8, 6, dtype=torch.bool)


@pytest.mark.parametrize(("outputs", "stride", "shape"), [(3, 1, (4, 3, 8, 6)), (5, 1, (4, 5, 8, 6)), (5, 2, (4, 5, 4, 3))])
def test_shapes(outputs: int, stride: int, shape: tuple[int, ...]) -> None:
    assert (
        ResidualBlock(3, outputs, nn.BatchNorm2d, stride=stride)(X, torch.ones(4, 1, *shape[2:], dtype=torch.bool)).shape == shape
    )


def test_a_block_whose_branch_is_silent_is_its_shortcut() -> None:
    block = ResidualBlock(3, 3, nn.BatchNorm2d)
    nn.init.zeros_(block.branch[5].weight)
    assert torch.equal(block(X, EVERYWHERE), X)


def test_a_dropped_branch_leaves_the_shortcut() -> None:
    torch.manual_seed(0)
    out = ResidualBlock(3, 3, nn.BatchNorm2d, drop_path=DropPath(rate=0.5))(X.repeat(16, 1, 1, 1), EVERYWHERE[:1])
    same = (out == X.repeat(16, 1, 1, 1)).flatten(1).all(1)
    assert 10 < same.sum() < 54  # of 64 samples, at even odds


def test_dropout_takes_whole_planes() -> None:
    torch.manual_seed(0)
    block = ResidualBlock(3, 32, nn.BatchNorm2d, dropout=0.5)
    channels = block.branch[3](torch.ones(1, 32, 4, 4)).flatten(2)
    assert ((channels == 0).all(2) | (channels == 2).all(2)).all()
    assert (channels == 0).any() and (channels == 2).any()
