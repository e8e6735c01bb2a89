"""A network that looks for the ground and leaves the canopy to the surface model.

The surface is known; what is missing is the ground below it. So this network does not draw gaps: it works on cells of a few
meters, where it weighs the guesses of classical filters against each other (`forestgaps_models.candidates`), adds what none of
them sees, and says how sure it is. Everything finer comes from the surface itself:

    ground  g_c = sum_i w_ci g_i + residual_c        w = softmax over the guesses, for each component c
    height  h_c = DSM - g_c
    P(height < t) = F(t) = sum_c p_c sigmoid((t - h_c) / s_c)

a mixture of logistic distributions of height with scales s. The first component has no residual: either a filter is right, or
the ground lies where the others say. Under a closed canopy both may be likely, and a mean of the two would be wrong for sure.
The logit of a gap is log F - log(1 - F). It rises with t: gaps are monotone in the threshold for any weights, and any threshold
may be asked.
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

RESIDUAL_M = 5.0  # meters that an output of 1 adds to the ground
SPREAD_M = 1.5  # scale of the distribution at an output of 0 is this times log 2, plus the least
LEAST_SPREAD_M = 0.1  # below, a logit would overflow half precision at 60 m
SCORE_CAP = 60.0  # nats; exp(-60) is far from the smallest float32, so no logarithm is of 0
ODDS_CAP = 40.0  # nats, where no gradient is asked; so that odds multiplied by odds stay far from the largest float32
# Windows whose margin is so wide change no probability by 0.02, as measured by benchmarks/window_consistency.py; the tails of the
# Gaussians reach farther, with weights that do not matter.
CONTEXT_M = 160.0
# From half the pixel size of the training on, a map is best when the network counts in pixels as it did in training. Finer pixels
# are given cells and windows of the size in meters that they have there. Measured by benchmarks/pixel_sizes.py.
COUNTS_PIXELS = 0.5
FINEST = 0.1  # times the pixel size of the training; windows of still finer pixels would take more than 2 GB
FAVOR = 2.0  # head start of the two guesses that are best alone, in nats: the network begins as a good filter


@frozen(kw_only=True)
class GroundUNet:
    """U-Net on cells of 4 m that estimates the ground from the guesses of classical filters, and with it canopy height.

    Starts as a filter and learns which to trust where, and what none of them sees; canopy keeps the detail of the surface.
    All thresholds come from one pass and never contradict each other. Its network also has `predict_heights(dsm, valid)`, meters.
    Formulas: `forestgaps_models.ground_unet`; guesses: `forestgaps_models.candidates`.

    Source: U-Net: Ronneberger et al. 2015, arXiv:1505.04597; its blocks: He et al. 2016, arXiv:1512.03385; openings over growing
    windows: Zhang et al. 2003, doi 10.1109/TGRS.2003.810682
    """

    openings_m: tuple[float, ...] = field(
        default=(12.0, 20.0, 44.0, 60.0, 92.0),
        validator=and_(min_len(1), max_len(16), deep_iterable(and_(gt(0), le(2000))), validate_ascending, validate_distinct),
        metadata={"help": "Windows of the openings of the surface, meters, ascending."},
    )
    over_trend_m: tuple[float, ...] = field(
        default=(20.0, 44.0, 76.0),
        validator=and_(min_len(1), max_len(16), deep_iterable(and_(gt(0), le(2000))), validate_ascending, validate_distinct),
        metadata={"help": "Windows of the openings of the surface over its trend, meters, ascending."},
    )
    base: int = field(
        default=16,
        validator=and_(ge(4), le(1024)),
        metadata={"help": "Feature channels of the U-Net at its first level, doubled below."},
    )
    depth: int = field(
        default=3,
        validator=and_(ge(1), le(6)),
        metadata={"help": "How many times the cells are halved; each doubles the context."},
    )
    blocks: int = field(default=1, validator=and_(ge(1), le(8)), metadata={"help": "Blocks per level, down and up."})
    components: int = field(
        default=2,
        validator=and_(ge(1), le(4)),
        metadata={
            "help": "Logistic distributions mixed: 2 can say that the ground is either where a filter sees it or much lower; 1 has "
            "to settle in between."
        },
    )
    drop_path: float = field(
        default=0.0,
        validator=and_(ge(0), lt(1)),
        metadata={"help": "Highest probability of skipping a residual block in training."},
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
    """(dsm, valid, thresholds) to logits (B, K, H, W), for tiles of any size; see the module.

    Attributes:
        monotone: Gaps at one threshold are gaps at any higher one, by construction.
        context_m: What lies farther than this from a pixel hardly matters to it, meters; see `CONTEXT_M`.
        context_pixels: The same in pixels, where they are not those of the training.
        multiple: Windows that begin at multiples of so many pixels have their cells on the same pixels.
        pixel_bytes: Memory it takes for each pixel when it predicts, bytes, measured.
        finest: The finest pixels that `for_pixels` takes, times the pixel size of the training.
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
            # Further components begin lower: what a filter misses is ground below what it found.
            bias[:, count] = -torch.arange(components) / 2.0
            bias[:, count + 2] = -torch.arange(components) / 2.0

    @property
    def multiple(self) -> int:
        return self.candidates.coarse * self.body.multiple

    def for_pixels(self, times: float) -> GroundNetwork:
        """Return the network that maps pixels `times` as large as those of the training best; see `COUNTS_PIXELS`."""
        if times >= COUNTS_PIXELS:
            return self
        made = copy.deepcopy(self)
        old, finer = self.candidates, times / COUNTS_PIXELS
        made.candidates = GroundCandidates(old.openings_m, old.over_trend_m, old.resolution_m * finer)
        made.context_pixels = CONTEXT_M / made.candidates.resolution_m
        return made

    def set_drop_path(self, rate: float) -> None:
        """Set the highest drop-path rate, at least 0 and below 1; blocks take their share by depth."""
        set_drop_path(self, rate)

    def compute_components(self, dsm: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Height and scale, meters, and log-weight of each component: (B, C, H, W) float32 each."""
        ground, scale, weight = self.compute_distribution(dsm, valid).chunk(3, dim=1)
        return ground, scale, weight

    def compute_distribution(self, dsm: Tensor, valid: Tensor) -> Tensor:
        """All that thresholds are read off, pixel by pixel: (B, 3 C, H, W) float32, `compute_components` in one tensor."""
        rows, columns = dsm.shape[-2:]
        margin = compute_padding(dsm, self.candidates.coarse * self.body.multiple)
        channels, grounds, known = self.candidates(pad(dsm, margin), pad(valid, margin))
        out = self.last(self.body(channels.contiguous(memory_format=torch.channels_last), known)).float()
        out = out.unflatten(1, (self.components, -1))
        count = self.candidates.count
        residual = RESIDUAL_M * out[:, :, count]
        if self.components > 1:
            residual = torch.cat([torch.zeros_like(residual[:, :1]), residual[:, 1:]], dim=1)
        ground = (out[:, :, :count].softmax(dim=2) * grounds[:, None]).sum(dim=2) + residual
        coarse = torch.cat([ground, out[:, :, count + 1], out[:, :, count + 2]], dim=1)
        fine = enlarge(coarse, known, self.candidates.coarse)
        ground, spread, weight = fine[..., :rows, :columns].chunk(3, dim=1)
        return torch.cat([dsm.float() - ground, SPREAD_M * softplus(spread) + LEAST_SPREAD_M, weight.log_softmax(dim=1)], dim=1)

    def forward(self, dsm: Tensor, valid: Tensor, thresholds: Tensor) -> Tensor:
        return self.compute_logits(self.compute_distribution(dsm, valid), thresholds)

    def compute_logits(self, distribution: Tensor, thresholds: Tensor) -> Tensor:
        """Logits (B, K, h, w) from the distribution (B, 3 C, h, w) of some pixels."""
        height, scale, weight = (part[:, :, None] for part in distribution.chunk(3, dim=1))
        score = (thresholds.float()[:, None, :, None, None] - height) / scale
        if self.components == 1:
            return score[:, 0]
        # Both sums run over positive numbers, so each has the relative precision of float32 also next to 0 and 1.
        share = weight.exp()
        if torch.is_grad_enabled():
            score = score.clamp(-SCORE_CAP, SCORE_CAP)
            return (share * score.sigmoid()).sum(1).log() - (share * (-score).sigmoid()).sum(1).log()
        # The same from the odds e of each component, F/(1 - F) = sum p e/(1 + e) over sum p/(1 + e): half the passes over memory.
        # Its gradients would be lost far from 0.
        odds = score.clamp_(-ODDS_CAP, ODDS_CAP).exp_()
        above = share / (odds + 1)
        below = odds.mul_(above)
        return (reduce(torch.add, below.unbind(1)) / reduce(torch.add, above.unbind(1))).log_()

    def predict_heights(self, dsm: Tensor, valid: Tensor) -> Tensor:
        """The expected canopy height, meters, (B, 1, H, W) float32."""
        height, _, weight = self.compute_components(dsm, valid)
        return (weight.exp() * height).sum(dim=1, keepdim=True)
