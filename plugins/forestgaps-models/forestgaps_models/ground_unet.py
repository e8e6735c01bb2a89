"""A network that estimates the ground below the canopy and takes the canopy from the surface model.

The surface is known, the ground below it is not. On cells of a few meters, the network predicts weights for the ground
estimates of classical filters (`forestgaps_models.candidates`), a residual and a scale. Finer detail comes from the surface:

    ground  g_c = sum_i w_ci g_i + residual_c        w = softmax over the estimates, for each component c
    height  h_c = DSM - g_c
    P(height < t) = F(t) = sum_c p_c sigmoid((t - h_c) / s_c)

a mixture of logistic distributions of height with scales s. The first component has no residual: the ground is either at the
estimate of a filter, or where the other components predict it. Under a closed canopy both may be likely, and their mean would
be wrong. The logit of a gap is log F - log(1 - F). It increases with t, so gaps are monotone in the threshold for any weights.
The network predicts gaps at any threshold.
"""

from __future__ import annotations

import copy
from functools import reduce

import torch
from attrs import field, frozen
from attrs.validators import and_, deep_iterable, ge, gt, le, lt, max_len, min_len
from torch import Tensor, nn
from torch.nn.functional import pad, softplus

from forestgaps_core import NormFactory
from forestgaps_core.config.thresholds import validate_ascending, validate_distinct
from forestgaps_models.blocks import ResidualBlock
from forestgaps_models.candidates import GroundCandidates
from forestgaps_models.drop_path import DropPath, compute_depth_shares, set_drop_path
from forestgaps_models.encoder_decoder import EncoderDecoder, count_blocks
from forestgaps_models.masking import enlarge
from forestgaps_models.network import compute_padding

RESIDUAL_M = 5.0  # residual of the ground at an output of 1, in meters
SPREAD_M = 1.5  # at an output of 0, the scale of the distribution is this times log 2, plus LEAST_SPREAD_M
LEAST_SPREAD_M = 0.1  # with a smaller scale, a logit would overflow half precision at 60 m
SCORE_CAP = 60.0  # nats; exp(-60) is far above the smallest float32, so no logarithm is of 0
ODDS_CAP = 40.0  # nats, without gradients; the product of two odds is far below the largest float32
# With this margin, windows change no probability by more than 0.02, as measured by benchmarks/window_consistency.py. The tails of
# the Gaussians are longer, but their weights are negligible.
CONTEXT_M = 160.0
# Down to half the pixel size of the training, maps are best with cells and windows of the same number of pixels as in training.
# For finer pixels, cells and windows keep their size in meters. Measured by benchmarks/pixel_sizes.py.
COUNTS_PIXELS = 0.5
BISECTIONS = 16  # of the median: components that are 65 m apart give it to 1 mm
FINEST = 0.1  # finest pixel size, times that of the training; windows of finer pixels would need more than 2 GB
FAVOR = 2.0  # initial bias of the two best estimates, in nats, so that the untrained network is a good filter


@frozen(kw_only=True)
class GroundUNet:
    """U-Net on cells of 4 m that estimates the ground from classical ground filters, and canopy height from the ground.

    The network learns weights of the filters and a residual; the canopy keeps the detail of the surface. One pass predicts all
    thresholds, and gaps are monotone in the threshold. The network also has `predict_heights(dsm, valid)`, in meters.
    Formulas: `forestgaps_models.ground_unet`; filters: `forestgaps_models.candidates`.

    Source: U-Net: Ronneberger et al. 2015, arXiv:1505.04597; residual blocks: He et al. 2016, arXiv:1512.03385; openings with
    several windows: Zhang et al. 2003, doi 10.1109/TGRS.2003.810682
    """

    openings_m: tuple[float, ...] = field(
        default=(12.0, 20.0, 44.0, 60.0, 92.0),
        validator=and_(min_len(1), max_len(16), deep_iterable(and_(gt(0), le(2000))), validate_ascending, validate_distinct),
        metadata={"help": "Windows of the openings of the surface, in meters, ascending."},
    )
    over_trend_m: tuple[float, ...] = field(
        default=(20.0, 44.0, 76.0),
        validator=and_(min_len(1), max_len(16), deep_iterable(and_(gt(0), le(2000))), validate_ascending, validate_distinct),
        metadata={"help": "Windows of the openings of the surface above its trend, in meters, ascending."},
    )
    base: int = field(
        default=16,
        validator=and_(ge(4), le(1024)),
        metadata={"help": "Feature channels at the first level of the U-Net; doubled at each further level."},
    )
    depth: int = field(
        default=3,
        validator=and_(ge(1), le(6)),
        metadata={"help": "Number of times the resolution of the cells is halved; each doubles the context."},
    )
    blocks: int = field(default=1, validator=and_(ge(1), le(8)), metadata={"help": "Blocks per level of the encoder and decoder."})
    components: int = field(
        default=2,
        validator=and_(ge(1), le(4)),
        metadata={
            "help": "Number of logistic distributions in the mixture. With 2, the ground may be either at the estimate of a filter "
            "or much lower; with 1, it is between."
        },
    )
    drop_path: float = field(
        default=0.0,
        validator=and_(ge(0), lt(1)),
        metadata={"help": "Maximum probability of skipping a residual block in training."},
    )
    dropout: float = field(
        default=0.0,
        validator=and_(ge(0), lt(1)),
        metadata={"help": "Probability of zeroing a whole feature channel inside a block in training (spatial dropout)."},
    )

    def build(self, normalization: NormFactory, resolution_m: float) -> GroundNetwork:
        candidates = GroundCandidates(self.openings_m, self.over_trend_m, resolution_m)
        body = EncoderDecoder(
            candidates.channel_count,
            normalization,
            base=self.base,
            depth=self.depth,
            blocks=self.blocks,
            paths=[
                DropPath(share, self.drop_path) for share in compute_depth_shares(count_blocks(self.depth, self.blocks), "linear")
            ],
            dropout=self.dropout,
            attention="none",
            block=ResidualBlock,
        )
        return GroundNetwork(candidates, body, self.components)


class GroundNetwork(nn.Module):
    """Maps (dsm, valid, thresholds) to logits (B, K, H, W), for tiles of any size; see the module.

    Attributes:
        monotone: A gap at one threshold is a gap at any higher threshold, by construction.
        context_m: Distance beyond which pixels have a negligible effect, in meters; see `CONTEXT_M`.
        context_pixels: The same in pixels, if the pixel size is not that of the training.
        multiple: Windows that start at multiples of this number of pixels have the same cells.
        pixel_bytes: Memory per pixel in prediction, in bytes, measured.
        finest: Finest pixel size of `for_pixels`, times the pixel size of the training.
    """

    monotone = True
    context_m = CONTEXT_M
    context_pixels: float | None = None
    pixel_bytes = 160
    finest = FINEST

    def __init__(self, candidates: GroundCandidates, body: EncoderDecoder, components: int) -> None:
        super().__init__()
        self.candidates, self.body, self.components = candidates, body, components
        count = candidates.count
        self.last = nn.Conv2d(body.channels, components * (count + 3), 1)
        nn.init.zeros_(self.last.weight)
        with torch.no_grad():
            bias = self.last.bias.zero_().view(components, count + 3)  # type: ignore[union-attr]  # made with one
            bias[:, [len(candidates.openings_m) // 2, candidates.shown_against]] = FAVOR
            # Further components start lower, because filters tend to overestimate the ground.
            bias[:, count] = -torch.arange(components) / 2.0
            bias[:, count + 2] = -torch.arange(components) / 2.0

    @property
    def multiple(self) -> int:
        return self.candidates.coarse * self.body.multiple

    def for_pixels(self, times: float) -> GroundNetwork:
        """Return the best network for pixels `times` as large as those of the training; see `COUNTS_PIXELS`."""
        if times >= COUNTS_PIXELS:
            return self
        adapted = copy.deepcopy(self)
        old, finer = self.candidates, times / COUNTS_PIXELS
        adapted.candidates = GroundCandidates(old.openings_m, old.over_trend_m, old.resolution_m * finer)
        adapted.context_pixels = CONTEXT_M / adapted.candidates.resolution_m
        return adapted

    def set_drop_path(self, rate: float) -> None:
        """Set the maximum drop-path rate, at least 0 and below 1; the rate of a block depends on its depth."""
        set_drop_path(self, rate)

    def compute_components(self, dsm: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return height and scale in meters, and log-weight of each component: (B, C, H, W) float32 each."""
        ground, scale, weight = self.compute_distribution(dsm, valid).chunk(3, dim=1)
        return ground, scale, weight

    def compute_distribution(self, dsm: Tensor, valid: Tensor) -> Tensor:
        """Return the parameters of the distribution of height, (B, 3 C, H, W) float32: `compute_components` in one tensor."""
        rows, columns = dsm.shape[-2:]
        margin = compute_padding(dsm, self.candidates.coarse * self.body.multiple)
        channels, grounds, valid_cells = self.candidates(pad(dsm, margin), pad(valid, margin))
        out = self.last(self.body(channels.contiguous(memory_format=torch.channels_last), valid_cells)).float()
        out = out.unflatten(1, (self.components, -1))
        count = self.candidates.count
        residual = RESIDUAL_M * out[:, :, count]
        if self.components > 1:
            residual = torch.cat([torch.zeros_like(residual[:, :1]), residual[:, 1:]], dim=1)
        ground = (out[:, :, :count].softmax(dim=2) * grounds[:, None]).sum(dim=2) + residual
        coarse = torch.cat([ground, out[:, :, count + 1], out[:, :, count + 2]], dim=1)
        fine = enlarge(coarse, valid_cells, self.candidates.coarse)
        ground, spread, weight = fine[..., :rows, :columns].chunk(3, dim=1)
        return torch.cat([dsm.float() - ground, SPREAD_M * softplus(spread) + LEAST_SPREAD_M, weight.log_softmax(dim=1)], dim=1)

    def forward(self, dsm: Tensor, valid: Tensor, thresholds: Tensor) -> Tensor:
        return self.compute_logits(self.compute_distribution(dsm, valid), thresholds)

    def compute_logits(self, distribution: Tensor, thresholds: Tensor) -> Tensor:
        """Return the logits (B, K, h, w) of the distribution (B, 3 C, h, w) of some pixels."""
        height, scale, weight = (part[:, :, None] for part in distribution.chunk(3, dim=1))
        score = (thresholds.float()[:, None, :, None, None] - height) / scale
        if self.components == 1:
            return score[:, 0]
        # Both sums are over positive numbers, so each has the relative precision of float32 also near 0 and 1.
        share = weight.exp()
        if torch.is_grad_enabled():
            score = score.clamp(-SCORE_CAP, SCORE_CAP)
            return (share * score.sigmoid()).sum(1).log() - (share * (-score).sigmoid()).sum(1).log()
        # The same from the odds e of each component, F/(1 - F) = sum p e/(1 + e) over sum p/(1 + e), with half the memory traffic.
        # Its gradients would vanish far from 0.
        odds = score.clamp_(-ODDS_CAP, ODDS_CAP).exp_()
        above = share / (odds + 1)
        below = odds.mul_(above)
        return (reduce(torch.add, below.unbind(1)) / reduce(torch.add, above.unbind(1))).log_()

    def predict_heights(self, dsm: Tensor, valid: Tensor) -> Tensor:
        """Return the median of the canopy height in meters, (B, 1, H, W) float32.

        The median is less than a threshold exactly where the logit of the threshold is above 0. A mean would lie between the two
        modes of a mixture of canopy and ground.
        """
        return compute_median(*self.compute_components(dsm, valid))


@torch.no_grad()
def compute_median(height: Tensor, scale: Tensor, weight: Tensor) -> Tensor:
    """Return the median of a mixture of logistic distributions, meters, (B, 1, H, W) float32.

    Args:
        height: Median of each component, meters, (B, C, H, W).
        scale: Scale of each component, meters, above 0.
        weight: Logarithm of the weight of each component; the weights of a pixel sum to 1.
    """
    low, high = height.amin(dim=1, keepdim=True), height.amax(dim=1, keepdim=True)
    if height.shape[1] == 1:
        return low
    share = weight.exp()
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        below = (share * ((middle - height) / scale).sigmoid()).sum(dim=1, keepdim=True) < 0.5
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2
