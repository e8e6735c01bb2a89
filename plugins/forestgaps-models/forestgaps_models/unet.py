"""U-Nets: one body, two heads."""

from __future__ import annotations

from typing import ClassVar

from attrs import field, frozen
from attrs.validators import and_, ge, in_, le, max_len, min_len

from forestgaps_core import NormFactory
from forestgaps_core.config.thresholds import validate_ascending, validate_distinct
from forestgaps_models.attention import Attention
from forestgaps_models.blocks import PlainBlock, ResidualBlock
from forestgaps_models.encoder_decoder import EncoderDecoder, count_blocks
from forestgaps_models.heads import EDGES_M, HeightNetwork
from forestgaps_models.network import Network
from forestgaps_models.network_config import NetworkConfig

ATTENTION_HELP = "Attention: none, gates (on what passes across the U), cbam (in every block)."


@frozen(kw_only=True)
class UNetBody(NetworkConfig):
    """What all U-Nets have in common; see `forestgaps_models.encoder_decoder`."""

    depth: int = field(
        default=4, validator=and_(ge(1), le(8)), metadata={"help": "How many times the tile is halved; each doubles the context."}
    )
    blocks: int = field(default=1, validator=and_(ge(1), le(8)), metadata={"help": "Blocks per level, down and up."})
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
    """U-Net of residual blocks, asked about each threshold by feature-wise modulation (FiLM) at its end.

    The U runs once for a tile; the threshold modulates what follows it. Any threshold may be asked, best within the range of
    the training thresholds. Source: Ronneberger et al. 2015, arXiv:1505.04597; He et al. 2016, arXiv:1512.03385; Perez et al.
    2018, arXiv:1709.07871
    """

    conditioned: int = field(
        default=0,
        validator=and_(ge(0), le(8)),
        metadata={"help": "3x3 convolutions at full size that run once per threshold; 0: what is modulated meets a 1x1 only."},
    )

    def build(self, normalization: NormFactory, resolution_m: float) -> Network:
        return self.build_threshold_network(normalization, resolution_m, conditioned=self.conditioned)


@frozen(kw_only=True)
class PlainUNet(UNet):
    """U-Net as first published, without shortcuts in its blocks, and so without drop path; asked as `unet` is.

    Source: Ronneberger et al. 2015, arXiv:1505.04597
    """

    block: ClassVar[type[ResidualBlock] | type[PlainBlock]] = PlainBlock

    def __attrs_post_init__(self) -> None:
        if self.drop_path:
            raise ValueError("drop_path skips blocks, and a plain U-Net has no shortcut past them; use unet")


@frozen(kw_only=True)
class AttentionUNet(UNet):
    """U-Net with attention gates on what passes across the U. Source: Oktay et al. 2018, arXiv:1804.03999"""

    attention: Attention = field(default="gates", validator=in_(("none", "gates", "cbam")), metadata={"help": ATTENTION_HELP})


@frozen(kw_only=True)
class CbamUNet(UNet):
    """U-Net with attention to channels and places in every block. Source: Woo et al. 2018, arXiv:1807.06521"""

    attention: Attention = field(default="cbam", validator=in_(("none", "gates", "cbam")), metadata={"help": ATTENTION_HELP})


@frozen(kw_only=True)
class HeightUNet(UNetBody):
    """U-Net that predicts for each pixel the distribution of canopy height, from which any threshold is read.

    All thresholds come from one pass and never contradict each other: a gap at 5 m is a gap at 10 m. Its network also has
    `predict_heights(dsm, valid)`, the expected height in meters. Formula: `forestgaps_models.heads.HeightHead`.

    Source: Ronneberger et al. 2015, arXiv:1505.04597; a distribution over bins of depth: Bhat et al. 2021, arXiv:2011.14141
    """

    edges_m: tuple[float, ...] = field(
        default=EDGES_M,
        validator=and_(min_len(3), max_len(1024), validate_ascending, validate_distinct),
        metadata={"help": "Edges of the height bins, meters, ascending; fine where thresholds lie. Both ends are open."},
    )

    def build(self, normalization: NormFactory, resolution_m: float) -> HeightNetwork:
        return self.build_height_network(normalization, resolution_m, edges_m=self.edges_m)
