"""The common settings of all networks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Literal

from attrs import field, frozen
from attrs.validators import and_, ge, in_, le, lt

from forestgaps_core import InputLayer, NormFactory
from forestgaps_models.drop_path import DropPath, Rule, compute_depth_shares
from forestgaps_models.heads import EDGES_M, HeightHead, HeightNetwork, ThresholdHead
from forestgaps_models.input_layers import NO_LAYERS, LayerChannels
from forestgaps_models.network import Body, Network
from forestgaps_models.views import View, ViewLayer


@frozen(kw_only=True)
class NetworkConfig(ABC):
    """View, width and regularization. A subclass adds the body and chooses a head."""

    view: View = field(factory=View, metadata={"help": "Input channels computed from the DSM; a table of its own."})
    base: int = field(
        default=16,
        validator=and_(ge(4), le(1024)),
        metadata={"help": "Feature channels at full resolution; doubled at each halving."},
    )
    drop_path: float = field(
        default=0.0,
        validator=and_(ge(0), lt(1)),
        metadata={"help": "Maximum probability of skipping a residual block in training."},
    )
    drop_path_rule: Rule = field(
        default="linear",
        validator=in_(("linear", "constant")),
        metadata={"help": "Whether drop_path increases with the depth of the block (linear) or is the same for all (constant)."},
    )
    dropout: float = field(
        default=0.0,
        validator=and_(ge(0), lt(1)),
        metadata={"help": "Probability of zeroing a whole feature channel inside a block in training (spatial dropout)."},
    )

    @abstractmethod
    def make_body(self, inputs: int, normalization: NormFactory) -> Body:
        """Return the layers between view and head, for a number of channels of the view."""

    def make_drop_paths(self, blocks: int) -> list[DropPath]:
        """Return the drop-path layers of a number of blocks, from input to output."""
        return [DropPath(share, self.drop_path) for share in compute_depth_shares(blocks, self.drop_path_rule)]

    def build_threshold_network(
        self, normalization: NormFactory, resolution_m: float, layers: Mapping[str, InputLayer], *, conditioned: int = 0
    ) -> Network:
        view, further = self.view.build(resolution_m), make_layer_channels(layers)
        body = self.make_body(count_inputs(view, further), normalization)
        return Network(view, body, ThresholdHead(body.channels, normalization, blocks=conditioned), further)

    def build_height_network(
        self,
        normalization: NormFactory,
        resolution_m: float,
        layers: Mapping[str, InputLayer],
        *,
        edges_m: tuple[float, ...] = EDGES_M,
    ) -> HeightNetwork:
        view, further = self.view.build(resolution_m), make_layer_channels(layers)
        body = self.make_body(count_inputs(view, further), normalization)
        return HeightNetwork(view, body, HeightHead(body.channels, normalization, edges_m=edges_m), further)


def make_layer_channels(layers: Mapping[str, InputLayer]) -> LayerChannels | None:
    return LayerChannels(layers) if layers else None


def count_inputs(view: ViewLayer, further: LayerChannels | None) -> int:
    return view.channel_count + (further.channel_count if further else 0)


@frozen(kw_only=True)
class EitherHead(NetworkConfig):
    """A network with either of the two heads."""

    output: Literal["thresholds", "heights"] = field(
        default="heights",
        validator=in_(("thresholds", "heights")),
        metadata={
            "help": "heights: a distribution of canopy height, which gives the gaps at any threshold; thresholds: a "
            "threshold-conditioned network (FiLM)."
        },
    )

    def build(self, normalization: NormFactory, resolution_m: float, layers: Mapping[str, InputLayer] = NO_LAYERS) -> Network:
        if self.output == "heights":
            return self.build_height_network(normalization, resolution_m, layers)
        return self.build_threshold_network(normalization, resolution_m, layers)
