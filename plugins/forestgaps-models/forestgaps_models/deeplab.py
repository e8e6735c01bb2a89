"""DeepLabV3+: context from parallel dilated convolutions, edges from an early layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from attrs import field, frozen
from attrs.validators import and_, deep_iterable, ge, le, max_len, min_len
from torch import Tensor, nn

from forestgaps_core import NormFactory
from forestgaps_models.blocks import ResidualBlock, run_blocks
from forestgaps_models.convolution import ConvNormAct
from forestgaps_models.drop_path import DropPath
from forestgaps_models.encoder_decoder import compute_level_widths
from forestgaps_models.masking import enlarge, mask_features, mask_pyramid
from forestgaps_models.network import Body
from forestgaps_models.network_config import EitherHead

HALVINGS = 3  # to an eighth of the resolution, the finer of the two choices in the paper
FINE = 1  # level of the features for the edges, four times as fine as the context


class TileMean(nn.Module):
    """The mean of the valid pixels of the tile after a 1x1 convolution, at every pixel.

    It is not normalized, because a batch of one tile has only a single value per channel.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.mix = nn.Sequential(nn.Conv2d(inputs, outputs, 1), nn.ReLU(inplace=True))

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        mixed: Tensor = self.mix(x.sum((2, 3), keepdim=True) / valid.sum((2, 3), keepdim=True).clamp(min=1))
        return mixed.expand(-1, -1, *x.shape[2:])


class Pyramid(nn.Module):
    """Atrous spatial pyramid pooling: a 1x1 and dilated 3x3 convolutions in parallel, then a 1x1 convolution.

    Source: Chen et al. 2017, section 3.3, arXiv:1706.05587
    """

    def __init__(self, inputs: int, outputs: int, normalization: NormFactory, *, rates: Sequence[int], tile_mean: bool) -> None:
        super().__init__()
        self.branches = nn.ModuleList([ConvNormAct(inputs, outputs, normalization, size=1)])
        self.branches.extend(ConvNormAct(inputs, outputs, normalization, dilation=rate) for rate in rates)
        if tile_mean:
            self.branches.append(TileMean(inputs, outputs))
        self.mix = ConvNormAct(len(self.branches) * outputs, outputs, normalization, size=1)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        seen = [branch(x, valid) if isinstance(branch, TileMean) else branch(x) for branch in self.branches]
        mixed: Tensor = self.mix(torch.cat(seen, dim=1))
        return mixed


class DeepLabBody(Body):
    """Residual blocks to an eighth of the resolution, the pyramid, upsampling to a half, and features of that resolution.

    Source: Chen et al. 2018, fig. 2, arXiv:1802.02611, with residual blocks as the backbone
    """

    def __init__(
        self,
        inputs: int,
        normalization: NormFactory,
        *,
        base: int,
        blocks: int,
        rates: Sequence[int],
        tile_mean: bool,
        paths: Sequence[DropPath],
        dropout: float,
    ) -> None:
        super().__init__()
        self.channels, self.multiple = 2 * base, 2**HALVINGS
        down = sum(2 * blocks * 2**level for level in range(HALVINGS + 1))
        self.reach = down + (max(rates) + 2) * 2**HALVINGS + 4 * 2**FINE  # and two enlargements, and two convolutions between
        widths = compute_level_widths(base, HALVINGS)
        remaining = iter(paths)
        self.down = nn.ModuleList()
        for level, width in enumerate(widths):
            before = inputs if level == 0 else widths[level - 1]
            places = [(before, 1 if level == 0 else 2)] + [(width, 1)] * (blocks - 1)
            self.down.append(
                nn.Sequential(
                    *(
                        ResidualBlock(channels, width, normalization, stride=stride, dropout=dropout, drop_path=next(remaining))
                        for channels, stride in places
                    )
                )
            )
        context = 4 * base
        self.pyramid = Pyramid(widths[-1], context, normalization, rates=rates, tile_mean=tile_mean)
        # Few channels from the early layer, so that they do not dominate the context (table 1 of the paper).
        self.fine = ConvNormAct(widths[FINE], base, normalization, size=1)
        self.join = nn.Sequential(
            ConvNormAct(context + base, context, normalization), ConvNormAct(context, self.channels, normalization)
        )

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        masks = mask_pyramid(valid, HALVINGS)
        seen = []
        for stage, mask in zip(self.down, masks, strict=True):
            x = run_blocks(stage, x, mask)
            seen.append(x)
        context = enlarge(self.pyramid(x, masks[-1]), masks[-1], 2 ** (HALVINGS - FINE))
        x = torch.cat([context, self.fine(seen[FINE])], dim=1)
        for layer in self.join:
            x = layer(mask_features(x, masks[FINE]))
        return mask_features(enlarge(x, masks[FINE], 2**FINE), valid)


@frozen(kw_only=True)
class DeepLabV3Plus(EitherHead):
    """DeepLabV3+ with residual blocks: a large context with few levels, and edges with a resolution of two pixels.

    Source: Chen et al. 2018, arXiv:1802.02611
    """

    blocks: int = field(default=1, validator=and_(ge(1), le(8)), metadata={"help": "Residual blocks per level."})
    rates: tuple[int, ...] = field(
        default=(2, 4, 6),
        validator=and_(min_len(1), max_len(16), deep_iterable(and_(ge(1), le(1024)))),
        metadata={"help": "Dilations of the pyramid's convolutions, in steps of 8 pixels (their distance from the center)."},
    )
    tile_mean: bool = field(
        default=False,
        metadata={
            "help": "Whether the pyramid also sees the mean of the whole tile, as in the paper; a pixel's result then depends on "
            "the window it is predicted in."
        },
    )

    def make_body(self, inputs: int, normalization: NormFactory) -> DeepLabBody:
        return DeepLabBody(
            inputs,
            normalization,
            base=self.base,
            blocks=self.blocks,
            rates=self.rates,
            tile_mean=self.tile_mean,
            paths=self.make_drop_paths(self.blocks * (HALVINGS + 1)),
            dropout=self.dropout,
        )
