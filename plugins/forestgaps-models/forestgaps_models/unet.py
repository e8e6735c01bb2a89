"""U-Nets: one body with either of two heads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from attrs import field, frozen
from attrs.validators import and_, ge, in_, le, max_len, min_len

from forestgaps_core import InputLayer, NormFactory
from forestgaps_core.config.thresholds import validate_ascending, validate_distinct
from forestgaps_models.attention import Attention
from forestgaps_models.blocks import PlainBlock, ResidualBlock
from forestgaps_models.encoder_decoder import EncoderDecoder, count_blocks
from forestgaps_models.heads import EDGES_M, HeightNetwork
from forestgaps_models.input_layers import NO_LAYERS
from forestgaps_models.network import Network
from forestgaps_models.network_config import NetworkConfig

ATTENTION_HELP = "Attention: none, gates (on the skip connections), cbam (in every block)."


@frozen(kw_only=True)
class UNetBody(NetworkConfig):
    """The common settings of all U-Nets; see `forestgaps_models.encoder_decoder`."""

    depth: int = field(
        default=4,
        validator=and_(ge(1), le(8)),
        metadata={"help": "Number of times the resolution is halved; each doubles the context."},
    )
    blocks: int = field(default=1, validator=and_(ge(1), le(8)), metadata={"help": "Blocks per level of the encoder and decoder."})
    attention: Attention = field(default="none", validator=in_(("none", "gates", "cbam")), metadata={"help": ATTENTION_HELP})

    block: ClassVar[type[ResidualBlock] | type[PlainBlock]] = ResidualBlock

    def make_body(self, inputs: int, normalization: NormFactory) -> EncoderDecoder:
        return EncoderDecoder(
            inputs,
            normalization,
            base=self.base,
            depth=self.depth,
            blocks=self.blocks,
            paths=self.make_drop_paths(count_blocks(self.depth, self.blocks)),
            dropout=self.dropout,
            attention=self.attention,
            block=self.block,
        )


@frozen(kw_only=True)
class UNet(UNetBody):
    """U-Net of residual blocks with a threshold-conditioned head (FiLM).

    Encoder and decoder run once per tile, the head once per threshold. The network accepts any threshold; use thresholds within
    the range of the training. Source: Ronneberger et al. 2015, arXiv:1505.04597; He et al. 2016, arXiv:1512.03385; Perez et al.
    2018, arXiv:1709.07871
    """

    conditioned: int = field(
        default=0,
        validator=and_(ge(0), le(8)),
        metadata={"help": "3x3 convolutions at full resolution that run once per threshold; with 0, only a 1x1 convolution does."},
    )

    def build(self, normalization: NormFactory, resolution_m: float, layers: Mapping[str, InputLayer] = NO_LAYERS) -> Network:
        return self.build_threshold_network(normalization, resolution_m, layers, conditioned=self.conditioned)


@frozen(kw_only=True)
class PlainUNet(UNet):
    """U-Net as first published: its blocks have no shortcuts, so it has no drop path. The head is that of `unet`.

    Source: Ronneberger et al. 2015, arXiv:1505.04597
    """

    block: ClassVar[type[ResidualBlock] | type[PlainBlock]] = PlainBlock

    def __attrs_post_init__(self) -> None:
        if self.drop_path:
            raise ValueError("drop_path needs residual blocks, and a plain U-Net has none. Set drop_path = 0, or use unet")


@frozen(kw_only=True)
class AttentionUNet(UNet):
    """U-Net with attention gates on its skip connections. Source: Oktay et al. 2018, arXiv:1804.03999"""

    attention: Attention = field(default="gates", validator=in_(("none", "gates", "cbam")), metadata={"help": ATTENTION_HELP})


@frozen(kw_only=True)
class CbamUNet(UNet):
    """U-Net with channel and spatial attention (CBAM) in every block. Source: Woo et al. 2018, arXiv:1807.06521"""

    attention: Attention = field(default="cbam", validator=in_(("none", "gates", "cbam")), metadata={"help": ATTENTION_HELP})


@frozen(kw_only=True)
class HeightUNet(UNetBody):
    """U-Net that predicts the distribution of canopy height in each pixel, which gives the gaps at any threshold.

    One pass predicts all thresholds, and gaps are monotone in the threshold. The network also has `predict_heights(dsm, valid)`,
    the expected height in meters. Formula: `forestgaps_models.heads.HeightHead`.

    Source: Ronneberger et al. 2015, arXiv:1505.04597; distribution over bins: Bhat et al. 2021, arXiv:2011.14141
    """

    edges_m: tuple[float, ...] = field(
        default=EDGES_M,
        validator=and_(min_len(3), max_len(1024), validate_ascending, validate_distinct),
        metadata={
            "help": "Edges of the height bins, in meters, ascending. Use narrow bins near the thresholds. Both ends are open."
        },
    )

    def build(self, normalization: NormFactory, resolution_m: float, layers: Mapping[str, InputLayer] = NO_LAYERS) -> HeightNetwork:
        return self.build_height_network(normalization, resolution_m, layers, edges_m=self.edges_m)
