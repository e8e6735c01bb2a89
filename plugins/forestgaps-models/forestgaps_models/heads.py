"""The two heads: a threshold-conditioned head, and a head that predicts the distribution of canopy height."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from forestgaps_core import NormFactory
from forestgaps_models.convolution import ConvNormAct, convolution
from forestgaps_models.film import Film, ThresholdEncoding
from forestgaps_models.masking import mask_features
from forestgaps_models.network import Network

CODE_WIDTH = 32
SCORE_CAP = 30.0  # nats; exp(-2 * 30) is far above the smallest float32, so no probability is 0
TAIL_CAP = 60.0  # nats; an open bin keeps at least exp(-60) of its mass beyond any threshold
EDGES_M = tuple(
    float(edge) for edge in (0, 0.5, 1, 1.5, 2, 3, 4, 5, 6, 8, 10, 12, 14, 16, 18, 20, 22.5, 25, 27.5, 30, 33, 36, 40, 45, 50, 60)
)


class ThresholdHead(nn.Module):
    """Logits from features modulated by the threshold. One 3x3 convolution runs once, the other layers once per threshold.

    Args:
        blocks: Number of modulated 3x3 convolutions that run once per threshold; with 0, only a 1x1 convolution does.
    """

    def __init__(self, channels: int, normalization: NormFactory, *, blocks: int) -> None:
        super().__init__()
        self.reach = 1 + blocks  # pixels, of 3x3 convolutions
        self.code = ThresholdEncoding(CODE_WIDTH)
        self.convolutions = nn.ModuleList(
            nn.Sequential(convolution(channels, channels), normalization(channels)) for _ in range(1 + blocks)
        )
        self.films = nn.ModuleList(Film(channels, CODE_WIDTH) for _ in range(1 + blocks))
        self.last = nn.Conv2d(channels, 1, 1)

    def forward(self, features: Tensor, thresholds: Tensor, valid: Tensor) -> Tensor:
        code = self.code(thresholds)
        x, mask = features, valid[:, None].expand(-1, thresholds.shape[1], -1, -1, -1).flatten(0, 1)
        for number, (convolve, film) in enumerate(zip(self.convolutions, self.films, strict=True)):
            x = torch.relu(film(convolve(mask_features(x, mask) if number else x), code))
        logits: Tensor = self.last(x).float()
        return logits.reshape(*thresholds.shape, *features.shape[-2:])


class HeightHead(nn.Module):
    """The distribution of canopy height in each pixel, evaluated at each threshold.

    The features give each of N height bins a score s; bin n has the probability p_n = softmax(s)_n. The probability of a
    gap at threshold t is F(t), the mass below t, which is uniform inside a bin. The logit is

        log F(t) - log(1 - F(t)) = log sum_n w_n(t) e^{s_n} - log sum_n (1 - w_n(t)) e^{s_n},

    where w_n(t) is the fraction of bin n below t. Both w and the logits increase with t, so gaps are monotone in the threshold
    for any weights. The bins below the first and above the last edge are open: their mass decreases exponentially over the width
    of the neighboring bin, so logits are finite at any threshold.

    Both sums are over positive numbers, so each has the relative precision of float32 also where F is near 0 or 1. Scores are
    limited smoothly to +-30, so that the exponentials neither overflow nor become 0.

    Args:
        edges_m: Edges of the bins, in meters, ascending.
    """

    edges: Tensor
    centers: Tensor

    def __init__(self, channels: int, normalization: NormFactory, *, edges_m: Sequence[float]) -> None:
        super().__init__()
        self.reach = 1  # pixels, of a 3x3 convolution
        edges = torch.tensor(edges_m, dtype=torch.float32)
        widths = edges.diff()
        # The mean of an exponential tail is one scale beyond its edge.
        centers = torch.cat([edges[:1] - widths[:1], (edges[1:] + edges[:-1]) / 2, edges[-1:] + widths[-1:]])
        self.register_buffer("edges", edges, persistent=False)
        self.register_buffer("centers", centers, persistent=False)
        self.first = ConvNormAct(channels, 2 * channels, normalization)
        self.last = nn.Conv2d(2 * channels, len(centers), 1)

    def compute_scores(self, features: Tensor) -> Tensor:
        """Return the scores relative to the maximum in each pixel, 0 to -60, (B, N, H, W) float32."""
        scores = SCORE_CAP * torch.tanh(self.last(self.first(features)).float() / SCORE_CAP)
        return scores - scores.amax(dim=1, keepdim=True).detach()

    def compute_bin_shares(self, thresholds: Tensor) -> tuple[Tensor, Tensor]:
        """Return the fractions of each bin below and above each threshold, (B, K, N) each, both accurate near 0."""
        t = thresholds.float()[..., None]
        low, high = self.edges[:-1], self.edges[1:]
        widths = high - low
        below = ((t - low) / widths).clamp(0, 1)
        above = ((high - t) / widths).clamp(0, 1)
        under = ((self.edges[:1] - t) / widths[:1]).clamp(0, TAIL_CAP)  # scales below the first edge
        over = ((t - self.edges[-1:]) / widths[-1:]).clamp(0, TAIL_CAP)
        return (
            torch.cat([torch.exp(-under), below, -torch.expm1(-over)], dim=-1),
            torch.cat([-torch.expm1(-under), above, torch.exp(-over)], dim=-1),
        )

    def forward(self, features: Tensor, thresholds: Tensor) -> Tensor:
        return self.compute_logits(torch.exp(self.compute_scores(features)), thresholds)

    def compute_logits(self, weights: Tensor, thresholds: Tensor) -> Tensor:
        """Return the logits (B, K, h, w) from e^s (B, N, h, w) of some pixels."""
        with torch.autocast(weights.device.type, enabled=False):
            below, above = self.compute_bin_shares(thresholds)
            mass = torch.log(torch.cat([below, above], dim=1) @ weights.flatten(2))
            under, over = mass.reshape(mass.shape[0], 2, thresholds.shape[1], *weights.shape[-2:]).unbind(1)
            return under - over

    def predict_heights(self, features: Tensor) -> Tensor:
        """Return the expected height in meters, (B, 1, H, W) float32."""
        probability = torch.softmax(self.compute_scores(features), dim=1)
        return (probability * self.centers[:, None, None]).sum(dim=1, keepdim=True)


class HeightNetwork(Network):
    """A network with a `HeightHead`, which also predicts canopy height."""

    monotone = True  # a gap at one threshold is a gap at any higher threshold
    head: HeightHead

    def forward(self, dsm: Tensor, valid: Tensor, thresholds: Tensor, layers: Mapping[str, Tensor] | None = None) -> Tensor:
        return self.compute_logits(self.compute_distribution(dsm, valid, layers), thresholds)

    def compute_distribution(self, dsm: Tensor, valid: Tensor, layers: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return the distribution of height in each pixel, (B, N, H, W) float32."""
        return torch.exp(self.head.compute_scores(self.extract_features(dsm, valid, layers)))

    def compute_logits(self, distribution: Tensor, thresholds: Tensor) -> Tensor:
        """Return the logits (B, K, h, w) of the distribution (B, N, h, w) of some pixels."""
        return self.head.compute_logits(distribution, thresholds)

    def predict_heights(self, dsm: Tensor, valid: Tensor, layers: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return the expected canopy height in meters, (B, 1, H, W) float32."""
        return self.head.predict_heights(self.extract_features(dsm, valid, layers))
