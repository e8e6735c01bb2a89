"""U-Net++: a U-Net with nested convolutions between encoder and decoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from attrs import field, frozen
from attrs.validators import and_, ge, le
from torch import Tensor, nn

from forestgaps_core import NormFactory
from forestgaps_models.blocks import ResidualBlock
from forestgaps_models.drop_path import DropPath
from forestgaps_models.encoder_decoder import compute_convolution_reach, compute_level_widths
from forestgaps_models.masking import mask_features, mask_pyramid
from forestgaps_models.network import Body
from forestgaps_models.network_config import EitherHead


class Step(nn.Module):
    """One more node on every level except the lowest, computed from all nodes of its level and the upsampled level below."""

    def __init__(self, enlarge: Sequence[nn.Module], blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.enlarge, self.blocks = nn.ModuleList(enlarge), nn.ModuleList(blocks)

    def forward(self, levels: list[list[Tensor]], masks: list[Tensor]) -> list[list[Tensor]]:
        joined = []
        for nodes, below, mask, enlarge, block in zip(levels, levels[1:], masks, self.enlarge, self.blocks, strict=False):
            joined.append([*nodes, block(torch.cat([*nodes, mask_features(enlarge(below[-1]), mask)], dim=1), mask)])
        return joined


class UNetPlusPlusBody(Body):
    """The nodes X[level, step]: step 0 is the encoder, and

        X[l, s] = block(X[l, 0], ..., X[l, s - 1], upsampled X[l + 1, s - 1]).

    The output is X[0, depth]. `paths` has the order of the steps.

    Source: Zhou et al. 2018, eq. 1, arXiv:1807.10165 (residual blocks instead of plain ones; without deep supervision)
    """

    def __init__(
        self, inputs: int, normalization: NormFactory, *, base: int, depth: int, paths: Sequence[DropPath], dropout: float
    ) -> None:
        super().__init__()
        self.channels, self.multiple, self.reach = base, 2**depth, compute_convolution_reach(depth, 1)
        widths = compute_level_widths(base, depth)
        remaining = iter(paths)

        def node(before: int, width: int, stride: int = 1) -> ResidualBlock:
            return ResidualBlock(before, width, normalization, stride=stride, dropout=dropout, drop_path=next(remaining))

        def step(number: int) -> Step:
            levels = range(depth + 1 - number)
            return Step(
                [nn.ConvTranspose2d(widths[level + 1], widths[level], 2, stride=2) for level in levels],
                [node((number + 1) * widths[level], widths[level]) for level in levels],
            )

        self.down = nn.ModuleList([node(inputs, widths[0])])
        self.down.extend(node(widths[level], widths[level + 1], stride=2) for level in range(depth))
        self.steps = nn.ModuleList(step(number) for number in range(1, depth + 1))

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        masks = mask_pyramid(valid, len(self.steps))
        levels = []
        for block, mask in zip(self.down, masks, strict=True):
            x = block(x, mask)
            levels.append([x])
        for step in self.steps:
            levels = step(levels, masks)
        return levels[0][-1]


@frozen(kw_only=True)
class UNetPlusPlus(EitherHead):
    """U-Net with nested convolutions between encoder and decoder. It costs about 2.5 times a U-Net of the same width.

    Source: Zhou et al. 2018, arXiv:1807.10165
    """

    base: int = field(
        default=8,
        validator=and_(ge(4), le(1024)),
        metadata={"help": "Feature channels at full resolution; doubled at each halving."},
    )
    depth: int = field(
        default=4,
        validator=and_(ge(1), le(6)),
        metadata={"help": "Number of times the resolution is halved; each doubles the context."},
    )

    def make_body(self, inputs: int, normalization: NormFactory) -> UNetPlusPlusBody:
        nodes = (self.depth + 1) * (self.depth + 2) // 2
        return UNetPlusPlusBody(
            inputs, normalization, base=self.base, depth=self.depth, paths=self.make_drop_paths(nodes), dropout=self.dropout
        )
