"""The body of the U-Net: an encoder and a decoder with skip connections."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from forestgaps_core import NormFactory
from forestgaps_models.attention import Attention, AttentionGate, make_attention
from forestgaps_models.blocks import PlainBlock, ResidualBlock, run_blocks
from forestgaps_models.drop_path import DropPath
from forestgaps_models.masking import mask_features, mask_pyramid
from forestgaps_models.network import Body

WIDEST = 8  # times the base: deeper levels cost many parameters and add little


def compute_level_widths(base: int, depth: int) -> list[int]:
    """Return the channels of each level from the full resolution: doubled at each halving, at most 8 times the base."""
    return [base * min(2**level, WIDEST) for level in range(depth + 1)]


def count_blocks(depth: int, blocks: int) -> int:
    """Return the number of residual blocks of an `EncoderDecoder`."""
    return blocks * (2 * depth + 1)


def compute_convolution_reach(depth: int, blocks: int) -> int:
    """Return the reach of the 3x3 convolutions of a U-Net in pixels: two per block, each as wide as the cells of its level."""
    cells = [1 << level for level in range(depth + 1)]
    return 2 * blocks * (sum(cells) + sum(cells[:-1])) + cells[-1]


class EncoderDecoder(Body):
    """U-Net of residual blocks, or of plain ones.

    Level l has 1/2^l of the resolution and `base` * 2^l channels (at most 8 times `base`), with `blocks` blocks in the encoder
    and in the decoder. The decoder upsamples by a 2x2 transposed convolution, then appends the channels of the skip connection.

    Args:
        inputs: Channels of the view.
        depth: Number of halvings; the size of tiles must be a multiple of 2^depth.
        paths: Drop-path layers of the blocks, from input to output, `count_blocks(depth, blocks)` of them.

    Source: Ronneberger et al. 2015, arXiv:1505.04597; residual blocks: He et al. 2016, arXiv:1512.03385
    """

    def __init__(
        self,
        inputs: int,
        normalization: NormFactory,
        *,
        base: int,
        depth: int,
        blocks: int,
        paths: Sequence[DropPath],
        dropout: float,
        attention: Attention,
        block: type[ResidualBlock] | type[PlainBlock] = ResidualBlock,
    ) -> None:
        super().__init__()
        self.channels, self.multiple, self.reach = base, 2**depth, compute_convolution_reach(depth, blocks)
        widths = compute_level_widths(base, depth)
        remaining = iter(paths)

        def stage(before: int, width: int, stride: int = 1) -> nn.Sequential:
            return nn.Sequential(
                *(
                    block(
                        before if place == 0 else width,
                        width,
                        normalization,
                        stride=stride if place == 0 else 1,
                        dropout=dropout,
                        drop_path=next(remaining),
                        attention=make_attention(attention, width),
                    )
                    for place in range(blocks)
                )
            )

        self.down = nn.ModuleList([stage(inputs, widths[0])])
        self.down.extend(stage(widths[level], widths[level + 1], stride=2) for level in range(depth))
        upwards = range(depth - 1, -1, -1)
        self.enlarge = nn.ModuleList(nn.ConvTranspose2d(widths[level + 1], widths[level], 2, stride=2) for level in upwards)
        self.gates = nn.ModuleList(
            AttentionGate(widths[level], widths[level], normalization) if attention == "gates" else nn.Identity()
            for level in upwards
        )
        self.up = nn.ModuleList(stage(2 * widths[level], widths[level]) for level in upwards)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        masks = mask_pyramid(valid, len(self.up))
        seen = []
        for stage, mask in zip(self.down, masks, strict=True):
            x = run_blocks(stage, x, mask)
            seen.append(x)
        seen.pop()
        masks.pop()
        for enlarge, gate, stage in zip(self.enlarge, self.gates, self.up, strict=True):
            mask = masks.pop()
            x = mask_features(enlarge(x), mask)
            skip = seen.pop()
            if isinstance(gate, AttentionGate):
                skip = gate(skip, x)
            x = run_blocks(stage, torch.cat([skip, x], dim=1), mask)
        return x
